"""The table `logs`: both forms of logs, what is requested of a log, and logs that cannot be read."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any

import imq
import pytest
from imq.engine.sources.docker.log_stream import MAX_LINE_BYTES, LogError, LogReader
from support.engine_content import program_layer, wait_arguments
from support.engine_images import Place, clear, connect
from support.engines import http_answer
from support.images import Image, docker_archive
from support.programs import say_program
from support.scripted_session import A, Script, answer, container
from support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.engines import Engine

LONG = "x" * 40_000
LINES = [("stdout", "one"), ("stderr", "!two"), ("stdout", LONG), ("stdout", "last line \u00e9")]
WORDS = [text for _, text in LINES]
STAMP = "2024-01-31T10:00:0{}.5Z "
FIRST_TIME = 1_706_695_200_500_000_000


@pytest.fixture(scope="module", params=["dockerd", "debian_dockerd", "podman_service"])
def talking(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """Each engine with containers that wrote lines: `frames`, `terminal`; `unlogged` has no log and `new` never ran."""
    engine: Engine = request.getfixturevalue(request.param)
    name = "podman" if engine.kind == "podman" else "docker"
    clear(engine)
    folder = tmp_path_factory.mktemp("logs")
    docker_archive(folder / "say.tar", [(Image([program_layer("say", say_program())]), ["localhost/say:1"])])
    engine.run("load", "-i", str(folder / "say.tar"))
    own = wait_arguments(engine)
    kept = ("--log-driver", "json-file" if name == "docker" else "k8s-file")
    said = ("localhost/say:1", "/say", *WORDS)
    engine.run("create", "--name", "frames", *own, *kept, *said)
    engine.run("create", "--name", "terminal", "-t", *own, *kept, *said)
    engine.run("create", "--name", "unlogged", *own, "--log-driver", "none", *said)
    engine.run("create", "--name", "new", *own, *kept, *said)
    for one in ("frames", "terminal", "unlogged"):
        subprocess.run([*engine.client, "start", one], capture_output=True, check=True)
        wait_until(lambda one=one: engine.run("inspect", "-f", "{{.State.Status}}", one) == "exited")
    with connect(folder, name, engine) as connection:
        yield Place(name, engine, connection, folder)
    clear(engine)


class TestEngines:
    @pytest.mark.parametrize("name", ["frames", "terminal"])
    def test_lines_of_both_forms(self, talking: Place, name: str) -> None:
        rows = list(talking.connection(f"logs of {name} in {talking.name} select time, stream, text, image, source"))
        expected = [("stdout", text) for text in WORDS] if name == "terminal" else LINES
        for stream in ("stdout", "stderr"):  # an engine may receive the streams in another order
            assert [row.text for row in rows if row.stream == stream] == [
                text for kind, text in expected if kind == stream
            ]
        assert all(row.image == "localhost/say:1" and row.source == talking.name for row in rows)
        times = [row.time for row in rows]
        assert times == sorted(times)
        document = json.loads(talking.engine.run("container", "inspect", name))[0]
        assert str(times[0])[:10] == document["State"]["StartedAt"][:10]

    def test_the_same_text_as_the_client(self, talking: Place) -> None:
        rows = talking.connection(f"logs of frames in {talking.name} where stream = stdout")
        done = subprocess.run([*talking.engine.client, "logs", "frames"], capture_output=True, check=True)
        assert [row.text for row in rows] == done.stdout.decode().splitlines()

    def test_a_query_of_containers(self, talking: Place) -> None:
        rows = talking.connection(
            f"logs of (containers in {talking.name} where name = frames) where newer than 1d and text matches '^.tw'"
        )
        assert [(row.container, row.text) for row in rows] == [("frames", "!two")]

    def test_a_query_of_names(self, talking: Place) -> None:
        rows = talking.connection(
            f"logs of (containers in {talking.name} where name like 'fr*' select name) where text = one"
        )
        assert [(row.container, row.source) for row in rows] == [("frames", talking.name)]

    def test_a_condition_on_the_log_of_a_container(self, talking: Place) -> None:
        asked = f"containers in {talking.name} where name != unlogged and any logs where text = one order by name"
        assert [row.name for row in talking.connection(asked)] == ["frames", "terminal"]
        asked = f"containers in {talking.name} where name != unlogged and no logs"
        assert [row.name for row in talking.connection(asked)] == ["new"]

    def test_the_newest_and_the_first_lines(self, talking: Place) -> None:
        # a terminal has one stream; of two, an engine may write the lines in another order than that of their times
        newest = talking.connection(f"logs of terminal in {talking.name} order by time desc limit 1")
        first = talking.connection(f"logs of terminal in {talking.name} limit 2")
        every = [row.text for row in talking.connection(f"logs of terminal in {talking.name}")]
        assert sorted(every) == sorted(WORDS)
        assert [row.text for row in first] == every[:2]
        if talking.name == "docker":  # of podman all lines have the same second
            assert [row.text for row in newest] == every[-1:]

    def test_bounds_of_the_time(self, talking: Place) -> None:
        (row,) = talking.connection(f"logs of frames in {talking.name} where text = one")
        second = row.time.replace(microsecond=0).isoformat()
        for operator, expected in ((">=", True), ("<", False), (">= later", False), ("<= later", True)):
            words, _, shift = operator.partition(" ")
            moment = f'date("{second}")' + (" + 1s" if shift else "")
            rows = talking.connection(f"logs of frames in {talking.name} where time {words} {moment}")
            assert ("one" in {one.text for one in rows}) is expected, operator
        later = f"logs of frames in {talking.name} where time > now()"
        assert list(talking.connection(later)) == []

    def test_counts_and_groups_read_the_log(self, talking: Place) -> None:
        asked = f"logs in {talking.name} where container in (frames, new) group by container select container, count"
        assert [tuple(row) for row in talking.connection(asked)] == [("frames", 4)]

    def test_a_log_that_cannot_be_read(self, talking: Place) -> None:
        with pytest.raises(imq.EngineError, match=r"the log of unlogged: .*(not support reading|not logging output)"):
            talking.connection(f"logs of unlogged in {talking.name}")
        result = talking.connection(f"logs of containers in {talking.name} where text = one")
        assert [row.container for row in result] == ["frames", "terminal"]
        assert [error.code for error in result.errors] == ["engine"]

    def test_an_unreadable_log_removes_nothing(self, talking: Place) -> None:
        with pytest.raises(imq.EngineError, match="the log of unlogged"):
            talking.connection(f"rm containers in {talking.name} where no logs where newer than 1d")
        assert "new" in talking.engine.run("ps", "-a", "--format", "{{.Names}}")

    def test_unknown_containers(self, talking: Place) -> None:
        with pytest.raises(imq.NotFound, match="No such container: gone"):
            talking.connection(f"logs of gone in {talking.name}")
        result = talking.connection(f"logs of frames, gone in {talking.name} where text = one")
        assert len(result) == 1
        assert [error.code for error in result.errors] == ["no-such-container"]


def frame(stream: int, text: str, time: str) -> bytes:
    content = f"{time}{text}".encode()
    return bytes([stream, 0, 0, 0]) + len(content).to_bytes(4, "big") + content


def ask(folder: Path, log: bytes, text: str, *headers: str, tty: bool = False) -> Any:
    """Return the rows of a statement on a log as a scripted engine sends it, and the requests for it."""
    answers = {
        "/logs": http_answer(log, *headers),
        f"containers/{'1' * 64}/json": answer({"Id": "1" * 64, "Config": {"Tty": tty}}),
        "containers/json": answer([container(A)]),
    }
    script = Script(folder / "script", answers)
    try:
        return script.ask(text).rows, script.requests("/logs")
    finally:
        script.close()


LOG = b"".join(frame(1, f"line {at}\n", STAMP.format(at)) for at in range(6))


class TestRequests:
    @pytest.mark.parametrize(
        ("condition", "parameters", "count"),
        [
            ("", "", 6),
            ('where time >= "2024-01-31T10:00:02Z"', "&since=1706695202", 4),
            (
                'where time between "2024-01-31T10:00:02Z" and "2024-01-31T10:00:03Z"',
                "&since=1706695202&until=1706695204",
                1,
            ),
            ("where not newer than 1d", "", 6),  # a negation is no bound
            ("order by time desc limit 3", "&tail=4", 3),
            ('where time > "2024-01-31T10:00:02.7Z" order by time desc limit 1', "&since=1706695202&tail=2", 1),
            ('where time < "2024-01-31T10:00:02Z" order by time desc limit 1', "&until=1706695203", 1),
            ('where text like "line*" order by time desc limit 3', "", 3),  # the last lines can be others
            ("where container = web limit 2", "", 2),
            ("limit 2 skip 1", "", 2),
        ],
    )  # fmt: skip
    def test_what_is_requested(self, tmp_path: Path, condition: str, parameters: str, count: int) -> None:
        rows, (request,) = ask(tmp_path, LOG, f"logs in docker {condition}")
        assert request.split()[1].partition("timestamps=1")[2] == parameters
        assert len(rows) == count

    def test_other_containers_are_not_read(self, tmp_path: Path) -> None:
        rows, requests = ask(tmp_path, LOG, "logs in docker where container = other")
        assert rows == requests == []

    def test_equal_times_at_the_end(self, tmp_path: Path) -> None:
        """The last lines do not show which of the lines of one time come first, so more are requested."""
        log = b"".join(frame(1, f"line {at}\n", STAMP.format(0)) for at in range(8))
        answers = {
            "tail=3 ": http_answer(log[-3 * (len(log) // 8) :]),
            "/logs": http_answer(log),
            f"{'1' * 64}/json": answer({"Config": {}}),
            "containers/json": answer([container(A)]),
        }
        script = Script(tmp_path / "script", answers)
        try:
            rows = script.ask("logs in docker order by time desc limit 2 select text").rows
            assert [row["text"] for row in rows] == ["line 0", "line 1"]
            assert [line.rpartition("tail=")[2].split()[0] for line in script.requests("/logs")] == ["3", "24"]
        finally:
            script.close()

    @pytest.mark.parametrize("kind", ["raw", "multiplexed"])
    def test_a_new_engine_says_which_form(self, tmp_path: Path, kind: str) -> None:
        log = STAMP.format(0).encode() + b"text\r\n" if kind == "raw" else frame(1, "text\n", STAMP.format(0))
        header = f"Content-Type: application/vnd.docker.{kind}-stream"
        rows, _ = ask(tmp_path, log, "logs in docker select time, text", header, tty=kind != "raw")
        assert [row["text"] for row in rows] == ["text"]

    def test_a_program_that_writes_for_ever(self, tmp_path: Path) -> None:
        """Lines after the start of the response, by the clock of the engine, are not read."""
        log = b"".join(frame(1, f"{at}\n", f"2024-01-31T10:0{at}:00Z ") for at in range(9))
        rows, _ = ask(tmp_path, log, "logs in docker select text", "Date: Wed, 31 Jan 2024 10:03:30 GMT")
        assert [row["text"] for row in rows] == ["0", "1", "2", "3"]

    @pytest.mark.parametrize(
        ("log", "message"),
        [
            (frame(1, "text\n", STAMP.format(0))[:-2], "ends within a line"),
            (frame(1, "text\n", STAMP.format(0)) + b"\x01\0\0", "ends within a line"),
            (b"plain text without frames\n", "not in frames"),
            (frame(3, "disk failure", ""), "disk failure"),
        ],
    )
    def test_damaged_logs(self, tmp_path: Path, log: bytes, message: str) -> None:
        with pytest.raises(imq.EngineError, match=message):
            ask(tmp_path, log, "logs of web in docker")


class Chunks:
    """A stream that returns few bytes at a time."""

    def __init__(self, content: bytes, size: int) -> None:
        self._content, self._size = content, size

    def read(self, size: int, /) -> bytes:
        part, self._content = self._content[: min(size, self._size)], self._content[min(size, self._size) :]
        return part


class TestReader:
    @pytest.mark.parametrize("size", [1, 7, 1 << 20])
    def test_parts_of_lines_of_two_streams(self, size: int) -> None:
        log = (
            frame(1, "out ", STAMP.format(0))
            + frame(2, "err ", STAMP.format(1))
            + frame(1, "end\n", STAMP.format(2))
            + frame(2, "end\n\nthird\n", STAMP.format(3))
            + frame(1, "no line ending", STAMP.format(4))
        )
        reader = LogReader(Chunks(log, size), is_multiplexed=True)
        second = 1_000_000_000
        assert list(reader) == [
            (FIRST_TIME, "stdout", "out end"),
            (FIRST_TIME + second, "stderr", "err end"),
            (FIRST_TIME + second, "stderr", ""),
            (FIRST_TIME + second, "stderr", "third"),
            (FIRST_TIME + 4 * second, "stdout", "no line ending"),
        ]
        assert reader.messages == 5

    def test_a_line_without_end_fills_no_memory(self) -> None:
        log = b"".join(frame(1, "y" * 16_384, STAMP.format(0)) for _ in range(100))
        lines = list(LogReader(Chunks(log, 1 << 16), is_multiplexed=True))
        assert "".join(text for *_, text in lines) == "y" * 1_638_400
        assert len(lines) == 2
        assert max(len(text) for *_, text in lines) <= MAX_LINE_BYTES + 16_384

    def test_times_in_a_line_of_a_terminal_are_text(self) -> None:
        stamp = STAMP.format(0)
        line = f"{stamp}{'z' * 5000}{stamp}{'z' * 90}\r\n"
        ((time, _, text),) = LogReader(Chunks(line.encode(), 1 << 16), is_multiplexed=False)
        assert (time, text) == (FIRST_TIME, line.removesuffix("\r\n").removeprefix(stamp))

    def test_bytes_that_are_no_text(self) -> None:
        log = frame(1, "", STAMP.format(0))[:-0] + bytes([1, 0, 0, 0, 0, 0, 0, 3]) + b"\xff\0\n"
        lines = list(LogReader(Chunks(log, 64), is_multiplexed=True))
        assert [text for *_, text in lines] == ["\ufffd\0"]

    def test_a_huge_frame_is_refused(self) -> None:
        with pytest.raises(LogError):
            list(LogReader(Chunks(b"\x01\0\0\0\xff\xff\xff\xff", 64), is_multiplexed=True))
