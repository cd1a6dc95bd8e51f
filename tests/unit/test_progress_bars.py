"""What is drawn of a transfer, and of what is counted: times are told by a clock of the test's own."""

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
from imq.engine.render.text_table import display_width
from imq.engine.session.context import SessionContext
from imq.engine.session.session import Session
from support.images import library
from support.waiting import until

if TYPE_CHECKING:
    import pathlib

MB = 1_000_000


def digest(number: int) -> Digest:
    return Digest(f"sha256:{number:02x}" + "0" * 62)


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def drawn(bars: ProgressBars, wide: int = 79, high: int = 23, *, last: bool = False) -> list[str]:
    """Return the lines as they would be drawn now."""
    return bars._render_lines(wide, high, last=last)  # what the thread draws, without its pace


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def bars(clock: Clock) -> ProgressBars:
    made = ProgressBars(io.StringIO(), clock)
    made._is_redrawing = True  # no thread: the test draws
    return made


def test_each_layer_says_its_state_and_the_last_line_the_whole(bars: ProgressBars, clock: Clock) -> None:
    bars.begin("redis:7", 30 * MB)
    bars.status(digest(1), words.EXISTS, 5 * MB)
    bars.status(digest(2), words.PULLING, 20 * MB)
    bars.status(digest(3), words.PULLING, 10 * MB)
    assert drawn(bars)[1] == "020000000000: Pulling fs layer"
    bars.status(digest(2), words.DOWNLOADING, 20 * MB)
    for _ in range(10):
        clock.now += 0.5
        bars.advance(digest(2), int(2 * MB * (clock.now - 100)), int(2 * MB * (clock.now - 100)))
        lines = drawn(bars)
    assert lines == [
        "010000000000: Already exists",
        "020000000000: Downloading  [============>           ]  10MB/20MB",
        "030000000000: Waiting",
        "redis:7  [========>               ]  10MB/30MB  2MB/s  0:10 left",
    ]
    bars.status(digest(2), words.DOWNLOADED, 20 * MB)
    bars.status(digest(2), words.PULLED, 20 * MB)
    bars.status(digest(3), words.PULLED, 10 * MB)
    bars.advance(digest(3), 10 * MB, 30 * MB)
    clock.now += 5
    assert drawn(bars, last=True)[1:] == [
        "020000000000: Pull complete",
        "030000000000: Pull complete",
        "redis:7  [========================]  30MB/30MB  3MB/s  0:10",
    ]


def test_a_speed_is_that_of_the_last_seconds(bars: ProgressBars, clock: Clock) -> None:
    bars.begin("redis:7", 1000 * MB)
    for _ in range(100):
        clock.now += 0.1
        bars.advance(digest(1), 0, bars._done + MB)
        drawn(bars)
    assert "10MB/s" in drawn(bars)[-1]
    for _ in range(100):
        clock.now += 0.1
        drawn(bars)
    assert "MB/s" not in drawn(bars)[-1]  # it stands still, and nobody knows for how long
    assert "left" not in drawn(bars)[-1]


@pytest.mark.parametrize("wide", [10, 20, 39, 59, 60, 79, 200])
def test_no_line_is_wider_than_the_terminal(bars: ProgressBars, clock: Clock, wide: int) -> None:
    bars.begin("registry.example.com:5000/team/画像の名前/of/some/length:latest", 30 * MB)
    bars.status(digest(1), words.DOWNLOADING, 30 * MB)
    bars.status(digest(2), f"{words.MOUNTED}team/画像の名前/of/some/length", 30 * MB)
    clock.now += 2
    bars.advance(digest(1), 15 * MB, 15 * MB)
    bars.count("ask registry.example.com:5000 for all that it has to say", 3, 4)
    clock.now += 1
    lines = drawn(bars, wide)
    assert max(map(display_width, lines)) <= wide
    assert len(lines) == 4
    if wide >= 20:
        assert "15MB/30MB" in lines[0]


def test_more_layers_than_rows_show_those_that_move(bars: ProgressBars) -> None:
    bars.begin("redis:7", 100 * MB)
    for number in range(40):
        bars.status(digest(number), words.PULLED if number < 20 else words.PULLING, MB)
    bars.status(digest(30), words.DOWNLOADING, MB)
    lines = drawn(bars, high=9)
    assert len(lines) == 9
    assert any(line.startswith("1e0000000000: Downloading") for line in lines)
    assert lines[-2] == "40 layers, 20 of them done"
    assert len(drawn(bars, high=9, last=True)) == 41  # in the end all are left to be read


def test_what_is_counted_shows_when_it_lasts_and_goes_when_it_is_done(bars: ProgressBars, clock: Clock) -> None:
    bars.count("verify", 1, 4)
    assert drawn(bars) == []
    clock.now += 3
    bars.count("verify", 3, 4)
    assert drawn(bars) == ["verify  [==================>     ]  3/4  0:01 left"]
    bars.count("verify", 4, 4)
    assert drawn(bars) == []
    bars.count("load x.tar", 7, 0)
    clock.now += 1
    assert drawn(bars) == ["load x.tar: 7"]
    bars.stop()
    assert drawn(bars) == []


def test_bytes_have_a_speed_and_the_time_that_is_left(bars: ProgressBars, clock: Clock) -> None:
    moved = words.make_byte_counter(bars, "load x.tar", 300 * MB)
    moved(1)
    assert drawn(bars) == []
    clock.now += 1
    moved(100 * MB - 1)
    (line,) = drawn(bars)
    assert line.startswith("load x.tar  [=======")
    assert line.endswith("100MB/300MB  100MB/s  0:02 left")
    moved(200 * MB)
    assert drawn(bars) == []
    words.make_byte_counter(bars, "import folder", 0)(50 * MB)
    clock.now += 1
    assert drawn(bars) == ["import folder: 50MB  50MB/s"]


def test_lines_say_bytes_in_words(clock: Clock) -> None:
    shown = io.StringIO()
    moved = words.make_byte_counter(ProgressLines(shown, clock), "save x.tar", 300 * MB)
    moved(MB)
    clock.now += 60
    moved(99 * MB)
    moved(200 * MB)
    assert shown.getvalue() == "save x.tar: 100MB of 300MB\nsave x.tar: 300MB of 300MB\n"


@pytest.mark.parametrize("said", ["save", "load", "import", "export"])
def test_archives_are_weighed(said: str, tmp_path: pathlib.Path) -> None:
    library(tmp_path / "store")
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "file").write_bytes(b"x" * 100_000)
    archive = tmp_path / "some.tar"
    with contextlib.ExitStack() as stack:
        heard = _Heard()
        session = Session(SessionContext(str(tmp_path / "store"), environment={}, clock=time.time_ns))
        stack.callback(session.close)
        list(session.run(f"save redis:7 to '{archive}'"))
        other = Session(SessionContext(str(tmp_path / "store"), environment={}, clock=time.time_ns, progress=heard))
        stack.callback(other.close)
        statements = {
            "save": f"save redis:7 to '{tmp_path / 'other.tar'}'",
            "load": f"load '{archive}'",
            "import": f"import '{tmp_path / 'tree'}' as tree:1",
            "export": f"export redis:7 to '{tmp_path / 'out'}'",
        }
        if said == "load":
            list(other.run("rm redis:7; prune"))
        list(other.run(statements[said]))
    name = {"save": "other.tar", "load": "some.tar", "import": "tree", "export": "out"}[said]
    assert heard.weighed
    assert {what for what, _, _ in heard.weighed} == {f"{said} {name}"}
    done = [count for _, count, _ in heard.weighed]
    assert done == sorted(done)
    assert done[-1] > 0
    assert all(count <= total for _, count, total in heard.weighed if total)


class _Heard(words.NullProgress):
    """Keeps what was told of bytes."""

    def __init__(self) -> None:
        self.weighed: list[tuple[str, int, int]] = []

    def weigh(self, what: str, done: int, total: int) -> None:
        self.weighed.append((what, done, total))


def test_lines_say_now_and_then_how_far_it_has_come(clock: Clock) -> None:
    stream = io.StringIO()
    lines = ProgressLines(stream, clock)
    for done in range(5):
        lines.count("verify", done, 4)
    assert stream.getvalue() == ""  # what is over soon says nothing
    for done in range(13):
        lines.count("verify", done, 12)
        clock.now += 1
    assert stream.getvalue() == "verify: 5 of 12\nverify: 10 of 12\nverify: 12 of 12\n"


def test_a_redrawn_screen_takes_away_what_was_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """The drawing thread itself, on a pseudo terminal; a screen made narrower has wrapped what was drawn."""
    main, side = pty.openpty()
    sizes = [os.terminal_size((80, 24))]
    monkeypatch.setattr(os, "get_terminal_size", lambda _=0: sizes[-1])
    got = ""

    def shows(text: str) -> bool:
        nonlocal got
        got += os.read(main, 65536).decode()
        return re.search(text, got) is not None

    with os.fdopen(side, "w") as stream:
        bars = ProgressBars(stream)
        bars.begin("redis:7", MB)
        bars.status(digest(1), words.DOWNLOADING, MB)
        until(lambda: shows(r"redis:7 .*\r\n\x1b\[J\r\x1b\[2A010000000000: Downloading"))
        sizes.append(os.terminal_size((30, 24)))
        got = ""
        until(lambda: shows(r"\x1b\[5A"))  # 64 columns and 38 in 30: three rows and two
        bars.end()
        before = shows("")
        time.sleep(0.25)
        stream.write("#")
        stream.flush()
        until(lambda: shows(r"#$"))
        assert before
        assert got.count("redis:7") < 6  # it has stopped
    os.close(main)


class Screen(io.StringIO):
    """A terminal that keeps what it gets."""

    def isatty(self) -> bool:
        return True


def test_no_control_reaches_a_terminal(clock: Clock, bars: ProgressBars) -> None:
    evil = "a\x1b[2J\x9b\u202eb"
    screen, pipe = Screen(), io.StringIO()
    for stream in (screen, pipe):
        lines = ProgressLines(stream, clock)
        lines.begin(evil, 1)
        lines.status(digest(1), f"{words.MOUNTED}{evil}", 1)
        lines.warn(evil)
    assert screen.getvalue().count(r"a\u001b[2J\u009b\u202eb") == 3
    assert "\x1b" not in screen.getvalue()
    assert pipe.getvalue().count(evil) == 3
    bars.begin(evil, 1)
    bars.status(digest(1), f"{words.MOUNTED}{evil}", 1)
    bars.count(evil, 1, 2)
    clock.now += 1
    assert all(line.isprintable() for line in drawn(bars))
    shown = Screen()
    ProgressBars(shown, clock).warn(evil)
    assert shown.getvalue() == "WARNING: a\\u001b[2J\\u009b\\u202eb\n"


def test_nobody_who_watches_stops_nothing() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    stream = os.fdopen(writing, "w")
    lines = ProgressLines(stream)
    lines.begin("redis:7", MB)
    lines.warn("something")
    lines.end()
    with pytest.raises(BrokenPipeError):
        stream.close()
