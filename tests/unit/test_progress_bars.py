"""Progress bars and progress lines, with a fake clock."""

from __future__ import annotations

import contextlib
import io
import os
import pty
import re
import time
from typing import TYPE_CHECKING

import pytest
from imq.cli.progress_bars import ProgressBars, ProgressLines
from imq.engine import progress as words
from imq.engine.oci.digest import Digest
from imq.engine.session.context import SessionContext
from imq.engine.session.session import Session
from imq.grammar.display_width import display_width
from support.images import write_library
from support.waiting import wait_until

if TYPE_CHECKING:
    import pathlib

MB = 1_000_000


def digest(number: int) -> Digest:
    return Digest(f"sha256:{number:02x}" + "0" * 62)


class Clock:
    """A clock that the test advances, in seconds."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def render_lines(bars: ProgressBars, wide: int = 79, high: int = 23, *, last: bool = False) -> list[str]:
    """Return the lines of the bars."""
    return bars._render_lines(wide, high, last=last)  # rendered directly, without the drawing thread


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def bars(clock: Clock) -> ProgressBars:
    bars = ProgressBars(io.StringIO(), clock)
    bars._is_redrawing = True  # prevents the drawing thread
    return bars


def test_each_layer_has_a_line_and_the_last_line_is_the_total(bars: ProgressBars, clock: Clock) -> None:
    bars.begin("redis:7", 30 * MB)
    bars.set_layer_status(digest(1), words.EXISTS, 5 * MB)
    bars.set_layer_status(digest(2), words.PULLING, 20 * MB)
    bars.set_layer_status(digest(3), words.PULLING, 10 * MB)
    assert render_lines(bars)[1] == "020000000000: Pulling fs layer"
    bars.set_layer_status(digest(2), words.DOWNLOADING, 20 * MB)
    for _ in range(10):
        clock.now += 0.5
        bars.advance(digest(2), int(2 * MB * (clock.now - 100)), int(2 * MB * (clock.now - 100)))
        lines = render_lines(bars)
    assert lines == [
        "010000000000: Already exists",
        "020000000000: Downloading  [============>           ]  10MB/20MB",
        "030000000000: Waiting",
        "redis:7  [========>               ]  10MB/30MB  2MB/s  0:10 left",
    ]
    bars.set_layer_status(digest(2), words.DOWNLOADED, 20 * MB)
    bars.set_layer_status(digest(2), words.PULLED, 20 * MB)
    bars.set_layer_status(digest(3), words.PULLED, 10 * MB)
    bars.advance(digest(3), 10 * MB, 30 * MB)
    clock.now += 5
    assert render_lines(bars, last=True)[1:] == [
        "020000000000: Pull complete",
        "030000000000: Pull complete",
        "redis:7  [========================]  30MB/30MB  3MB/s  0:10",
    ]


def test_the_speed_is_measured_over_the_last_seconds(bars: ProgressBars, clock: Clock) -> None:
    bars.begin("redis:7", 1000 * MB)
    for _ in range(100):
        clock.now += 0.1
        bars.advance(digest(1), 0, bars._done + MB)
        render_lines(bars)
    assert "10MB/s" in render_lines(bars)[-1]
    for _ in range(100):
        clock.now += 0.1
        render_lines(bars)
    assert "MB/s" not in render_lines(bars)[-1]  # no progress: neither a speed nor a remaining time
    assert "left" not in render_lines(bars)[-1]


@pytest.mark.parametrize("wide", [10, 20, 39, 59, 60, 79, 200])
def test_no_line_is_wider_than_the_terminal(bars: ProgressBars, clock: Clock, wide: int) -> None:
    bars.begin("registry.example.com:5000/team/画像の名前/of/some/length:latest", 30 * MB)
    bars.set_layer_status(digest(1), words.DOWNLOADING, 30 * MB)
    bars.set_layer_status(digest(2), f"{words.MOUNTED}team/画像の名前/of/some/length", 30 * MB)
    clock.now += 2
    bars.advance(digest(1), 15 * MB, 15 * MB)
    bars.report_items("query registry.example.com:5000 for all of its repositories", 3, 4)
    clock.now += 1
    lines = render_lines(bars, wide)
    assert max(map(display_width, lines)) <= wide
    assert len(lines) == 4
    if wide >= 20:
        assert "15MB/30MB" in lines[0]


def test_with_more_layers_than_rows_the_active_layers_are_shown(bars: ProgressBars) -> None:
    bars.begin("redis:7", 100 * MB)
    for number in range(40):
        bars.set_layer_status(digest(number), words.PULLED if number < 20 else words.PULLING, MB)
    bars.set_layer_status(digest(30), words.DOWNLOADING, MB)
    lines = render_lines(bars, high=9)
    assert len(lines) == 9
    assert any(line.startswith("1e0000000000: Downloading") for line in lines)
    assert lines[-2] == "40 layers, 20 of them done"
    assert len(render_lines(bars, high=9, last=True)) == 41  # the final drawing has all layers


def test_a_task_appears_after_a_delay_and_disappears_when_done(bars: ProgressBars, clock: Clock) -> None:
    bars.report_items("verify", 1, 4)
    assert render_lines(bars) == []
    clock.now += 3
    bars.report_items("verify", 3, 4)
    assert render_lines(bars) == ["verify  [==================>     ]  3/4  0:01 left"]
    bars.report_items("verify", 4, 4)
    assert render_lines(bars) == []
    bars.report_items("load x.tar", 7, 0)
    clock.now += 1
    assert render_lines(bars) == ["load x.tar: 7"]
    bars.stop()
    assert render_lines(bars) == []


def test_a_task_in_bytes_has_a_speed_and_a_remaining_time(bars: ProgressBars, clock: Clock) -> None:
    moved = words.make_byte_counter(bars, "load x.tar", 300 * MB)
    moved(1)
    assert render_lines(bars) == []
    clock.now += 1
    moved(100 * MB - 1)
    (line,) = render_lines(bars)
    assert line.startswith("load x.tar  [=======")
    assert line.endswith("100MB/300MB  100MB/s  0:02 left")
    moved(200 * MB)
    assert render_lines(bars) == []
    words.make_byte_counter(bars, "import folder", 0)(50 * MB)
    clock.now += 1
    assert render_lines(bars) == ["import folder: 50MB  50MB/s"]


def test_lines_report_bytes_in_readable_units(clock: Clock) -> None:
    shown = io.StringIO()
    moved = words.make_byte_counter(ProgressLines(shown, clock), "save x.tar", 300 * MB)
    moved(MB)
    clock.now += 60
    moved(99 * MB)
    moved(200 * MB)
    assert shown.getvalue() == "save x.tar: 100MB of 300MB\nsave x.tar: 300MB of 300MB\n"


@pytest.mark.parametrize("verb", ["save", "load", "import", "export"])
def test_archive_verbs_report_bytes(verb: str, tmp_path: pathlib.Path) -> None:
    write_library(tmp_path / "store")
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "file").write_bytes(b"x" * 100_000)
    archive = tmp_path / "some.tar"
    with contextlib.ExitStack() as stack:
        recorder = ByteRecorder()
        session = Session(SessionContext(str(tmp_path / "store"), environment={}, clock=time.time_ns))
        stack.callback(session.close)
        list(session.run(f"save redis:7 to '{archive}'"))
        other = Session(SessionContext(str(tmp_path / "store"), environment={}, clock=time.time_ns, progress=recorder))
        stack.callback(other.close)
        statements = {
            "save": f"save redis:7 to '{tmp_path / 'other.tar'}'",
            "load": f"load '{archive}'",
            "import": f"import '{tmp_path / 'tree'}' as tree:1",
            "export": f"export redis:7 to '{tmp_path / 'out'}'",
        }
        if verb == "load":
            list(other.run("rm redis:7; prune"))
        list(other.run(statements[verb]))
    name = {"save": "other.tar", "load": "some.tar", "import": "tree", "export": "out"}[verb]
    assert recorder.reported
    assert {label for label, _, _ in recorder.reported} == {f"{verb} {name}"}
    done = [count for _, count, _ in recorder.reported]
    assert done == sorted(done)
    assert done[-1] > 0
    assert all(count <= total for _, count, total in recorder.reported if total)


class ByteRecorder(words.NullProgress):
    """Records reports of bytes."""

    def __init__(self) -> None:
        self.reported: list[tuple[str, int, int]] = []

    def report_bytes(self, label: str, done: int, total: int) -> None:
        self.reported.append((label, done, total))


def test_lines_report_a_task_every_few_seconds(clock: Clock) -> None:
    stream = io.StringIO()
    lines = ProgressLines(stream, clock)
    for done in range(5):
        lines.report_items("verify", done, 4)
    assert stream.getvalue() == ""  # a short task is not reported
    for done in range(13):
        lines.report_items("verify", done, 12)
        clock.now += 1
    assert stream.getvalue() == "verify: 5 of 12\nverify: 10 of 12\nverify: 12 of 12\n"


def test_redrawing_erases_the_previous_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """The drawing thread runs on a pseudo terminal. Lines wrap when the terminal becomes narrower."""
    main, side = pty.openpty()
    sizes = [os.terminal_size((80, 24))]
    monkeypatch.setattr(os, "get_terminal_size", lambda _=0: sizes[-1])
    output = ""

    def has_output(text: str) -> bool:
        nonlocal output
        output += os.read(main, 65536).decode()
        return re.search(text, output) is not None

    with os.fdopen(side, "w") as stream:
        bars = ProgressBars(stream)
        bars.begin("redis:7", MB)
        bars.set_layer_status(digest(1), words.DOWNLOADING, MB)
        wait_until(lambda: has_output(r"redis:7 .*\r\n\x1b\[J\r\x1b\[2A010000000000: Downloading"))
        sizes.append(os.terminal_size((30, 24)))
        output = ""
        wait_until(lambda: has_output(r"\x1b\[5A"))  # 64 columns and 38 in 30: three rows and two
        bars.end()
        before = has_output("")
        time.sleep(0.25)
        stream.write("#")
        stream.flush()
        wait_until(lambda: has_output(r"#$"))
        assert before
        assert output.count("redis:7") < 6  # the drawing thread has stopped
    os.close(main)


class Screen(io.StringIO):
    """A stream that is a terminal."""

    def isatty(self) -> bool:
        return True


def test_control_characters_are_escaped_for_a_terminal(clock: Clock, bars: ProgressBars) -> None:
    evil = "a\x1b[2J\x9b\u202eb"
    screen, pipe = Screen(), io.StringIO()
    for stream in (screen, pipe):
        lines = ProgressLines(stream, clock)
        lines.begin(evil, 1)
        lines.set_layer_status(digest(1), f"{words.MOUNTED}{evil}", 1)
        lines.warn(evil)
    assert screen.getvalue().count(r"a\u001b[2J\u009b\u202eb") == 3
    assert "\x1b" not in screen.getvalue()
    assert pipe.getvalue().count(evil) == 3
    bars.begin(evil, 1)
    bars.set_layer_status(digest(1), f"{words.MOUNTED}{evil}", 1)
    bars.report_items(evil, 1, 2)
    clock.now += 1
    assert all(line.isprintable() for line in render_lines(bars))
    shown = Screen()
    ProgressBars(shown, clock).warn(evil)
    assert shown.getvalue() == "WARNING: a\\u001b[2J\\u009b\\u202eb\n"


def test_a_closed_pipe_does_not_stop_a_transfer() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    stream = os.fdopen(writing, "w")
    lines = ProgressLines(stream)
    lines.begin("redis:7", MB)
    lines.warn("something")
    lines.end()
    with pytest.raises(BrokenPipeError):
        stream.close()
