"""The logs of containers: what is written is read again."""

from __future__ import annotations

import json
import os
import subprocess
from typing import TYPE_CHECKING

import pytest
from imq.engine.containers.log_file import LogWriter, read_log
from imq.engine.sources.store.logs import _join

if TYPE_CHECKING:
    import pathlib

    from support.engines import Dockerd

    from .conftest import Machine

MOMENT = 1_700_000_000_999_999_998


def test_lines_written_at_once(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "log"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT)
    writer = LogWriter(descriptor, lambda: MOMENT)
    writer.write("stdout", b'a "quoted" \\ \x01\n\xff\xe2\x82\xac\n\nre')
    writer.write("stderr", b"other")
    writer.write("stdout", b"st\n")
    writer.finish()
    os.close(descriptor)
    lines = list(read_log(str(path)))
    texts = ['a "quoted" \\ \x01\n', "\ufffd\u20ac\n", "\n", "rest\n", "other"]
    assert [line.text for line in lines] == texts
    assert [line.stream for line in lines] == ["stdout"] * 4 + ["stderr"]
    assert [line.time - MOMENT for line in lines] == [0, 1, 1, 0, 0]  # a second has no further nanoseconds
    entries = path.read_text().splitlines()
    assert [json.dumps(json.loads(entry), ensure_ascii=False) for entry in entries] == entries
    assert json.loads(entries[0])["time"] == "2023-11-14T22:13:20.999999998Z"


def test_parts_of_a_long_line(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "log"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT)
    writer = LogWriter(descriptor)
    content = bytes(range(97, 123)) * 2000
    for start in range(0, len(content), 1000):
        writer.write("stdout", content[start : start + 1000])
        writer.write("stderr", b"e\n")
    writer.write("stdout", b"\nlast")
    writer.finish()
    os.close(descriptor)
    parts = [line.text for line in read_log(str(path)) if line.stream == "stdout"]
    assert [len(part) for part in parts] == [16384, 16384, 16384, 52000 - 3 * 16384 + 1, 4]
    assert "".join(parts).encode() == content + b"\nlast"
    whole = [line.text for line in _join(read_log(str(path))) if line.stream == "stdout"]
    assert whole == [content.decode() + "\n", "last"]


def test_a_long_line_is_followed(machine: Machine) -> None:
    program = "echo ready; while [ ! -e /go ]; do sleep 0.02; done; printf %040000d 1; echo; echo end"
    machine.do(f'run box:1 sh -c "{program}" as web with detach = true')
    with subprocess.Popen([*machine.prefix, "logs", "-f", "web"], stdout=subprocess.PIPE, text=True) as logs:
        assert logs.stdout is not None
        assert logs.stdout.readline() == "ready\n"
        machine.do("exec container web run touch /go")
        assert logs.stdout.read() == f"{1:040000}\nend\n"
        assert logs.wait(30) == 0


ENDLESS = r'printf "x\r\ny"; printf "%020000d" 1; echo; printf end'
"""A program whose output has a long line, an end of a line of a terminal, and no end of the last line."""


@pytest.mark.parametrize(
    "flags", ["", "--tail 1", "--tail 2", "--tail 0", "--tail all", "--since 1h", "--until 1h", "-f", "-f --tail 1"]
)
def test_logs_are_the_bytes_that_were_written(machine: Machine, dockerd: Dockerd, flags: str) -> None:
    for command in (machine.prefix, dockerd.client):
        words = ("run", "--network", "none", "--name", "web", "box:1", "sh", "-c", ENDLESS)
        subprocess.run([*command, *words], capture_output=True, check=True)
    texts = []
    for command in (machine.prefix, dockerd.client):
        done = subprocess.run([*command, "logs", *flags.split(), "web"], capture_output=True, check=True)
        texts.append(done.stdout)
    dockerd.run("rm", "web")
    assert texts[0] == texts[1]
    assert texts[0] == b"" or texts[0].endswith(b"end")


def test_times_stand_before_lines_alone(machine: Machine) -> None:
    """Not before the further parts of a long line."""
    subprocess.run(
        [*machine.prefix, "run", "--name", "web", "box:1", "sh", "-c", ENDLESS], capture_output=True, check=True
    )
    done = subprocess.run([*machine.prefix, "logs", "-t", "web"], capture_output=True, check=True)
    lines = done.stdout.split(b"\n")
    assert [line.partition(b" ")[2][:9] for line in lines] == [b"x\r", b"y00000000", b"end"]
    assert lines[1].count(b"Z ") == 1
