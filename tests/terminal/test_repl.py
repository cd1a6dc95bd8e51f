"""The interactive session on a real terminal."""

from __future__ import annotations

import itertools
import re
import stat
from typing import TYPE_CHECKING

import pytest
from imq.engine.render.text_table import display_width

if TYPE_CHECKING:
    from conftest import Room


def test_what_comes_next_is_offered_while_typing(room: Room) -> None:
    terminal = room.imq()
    terminal.ready()
    terminal.type("ima")
    assert "table: " in terminal.wait("images ")
    terminal.type("ges where repository = te")
    terminal.wait("team/app")  # a value, of this store
    terminal.keys("Tab")
    terminal.wait("repository = team/app")
    terminal.type(" and label.e")
    terminal.wait(lambda screen: re.search(r"\n +env +key", screen) is not None)
    terminal.keys("Tab")
    terminal.type(" = prod order by created desc sel")
    terminal.wait("select")
    terminal.keys("Tab")
    terminal.type(" tag")
    terminal.keys("Enter")
    terminal.wait("\nTAG\n2\n1\n")


def test_names_that_a_statement_made_are_offered_after_it(room: Room) -> None:
    terminal = room.imq()
    terminal.ready()
    terminal.say("tag redis:7 as brandnew:1")
    terminal.wait("tag       brandnew:1")
    terminal.type("push brand")
    terminal.wait(lambda screen: "brandnew:1" in screen.rpartition("push brand")[2])


def test_a_mistake_is_told_under_its_column_before_enter(room: Room) -> None:
    terminal = room.imq()
    terminal.ready()
    terminal.type("images whre size > 1")
    *_, typed, hint = terminal.wait("did you mean").rstrip().split("\n")
    assert typed.index("whre") == hint.index("^")
    terminal.keys("C-u")
    terminal.type("images where 画像 = 1 and sizz > 1 ")
    screen = terminal.wait(lambda screen: "sizz" in screen and "^" in screen.rpartition("sizz")[2]).split("\n")
    typed, hint = next(pair for pair in itertools.pairwise(screen) if "^" in pair[1])
    assert display_width(typed.partition("画像")[0]) == hint.index("^")  # wide signs take two columns
    terminal.keys("C-u")
    terminal.type("images where siz")
    terminal.wait(" size   field: ")  # it may become a name yet
    assert "^" not in terminal.screen()


def test_words_are_coloured_by_what_they_are(room: Room) -> None:
    terminal = room.imq()
    terminal.ready()
    terminal.type('images where tag = "x" # why')
    terminal.wait("\x1b[36mimages", styled=True)
    screen = terminal.wait("# why", styled=True)
    assert "\x1b[34mwhere" in screen
    assert '\x1b[32m"x"' in screen
    plain = room.imq(NO_COLOR="1")
    plain.ready()
    plain.type("images where tag = x")
    plain.wait("= x")
    assert not re.search(r"\x1b\[3[0-7]m", plain.screen(styled=True))


def test_a_statement_that_breaks_off_goes_on(room: Room) -> None:
    terminal = room.imq()
    terminal.ready()
    terminal.say("images where")
    terminal.wait("...>")
    terminal.say('tag = "7')
    terminal.wait(lambda screen: screen.count("...>") == 2)
    terminal.keys("C-u", "BSpace", "BSpace", "BSpace")
    terminal.wait(lambda screen: screen.count("...>") == 1)
    terminal.say('"7" or tag = latest')
    terminal.wait("redis        latest")
    terminal.say("images where (")
    terminal.wait("...>")
    terminal.keys("Enter")  # an empty line ends it, and it says what is missing
    assert "error[syntax]" in terminal.wait("error")


def test_what_was_said_is_kept_for_the_next_session(room: Room) -> None:
    first = room.imq()
    first.ready()
    first.say("images where tag = 7 count")
    first.wait("\n1\n")
    first.say("let password = hunter2")
    first.say(" let quiet = 1")
    first.say("let last = 1")
    first.say("\\history")
    first.wait("  let last = 1")
    first.keys("C-d")
    assert "ended with 0" in first.ended()
    path = room.home / ".local" / "state" / "imq" / "history"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    kept = path.read_text()
    assert "hunter2" not in kept
    assert "quiet" not in kept
    second = room.imq()
    second.ready()
    second.keys("Up", "Up")
    second.wait("imq> let last = 1")
    second.keys("C-c", "C-r")
    second.type("tag = 7")
    second.wait("images where tag = 7 count")
    second.keys("Enter", "Enter")
    second.wait("\n1\n")


def test_a_home_that_cannot_be_written_is_told_once(room: Room) -> None:
    (room.home / "file").write_text("")
    terminal = room.imq(HOME=str(room.home / "file"))
    terminal.wait("history is not kept: ")
    terminal.say("images count")
    terminal.wait("\n11\n")
    terminal.say("images where tag = 7 count")
    screen = terminal.wait("\n1\n")
    assert screen.count("history is not kept") == 1
    terminal.keys("Up")
    terminal.wait("imq> images where tag = 7 count\n\n")


def test_commands(room: Room) -> None:
    terminal = room.imq()
    terminal.ready()
    terminal.keys("Enter")
    terminal.wait("those without a tag")
    terminal.say("\\?")
    terminal.wait("\\timing [on|off]")
    terminal.say("\\form jsonl")
    terminal.wait("answers are shown as jsonl")
    terminal.say("images where tag = 7 select name")
    terminal.wait('{"name": "redis:7"}')
    terminal.say("\\f table")
    terminal.wait("answers are shown as table")
    terminal.say("\\timing")
    terminal.wait("timing is on")
    terminal.say("images count")
    terminal.wait(lambda screen: re.search(r"\n11\n\d+\.\d ms\n", screen) is not None)
    terminal.say("\\tming")
    terminal.wait('there is no command "\\tming"')
    terminal.wait('did you mean "timing"?')
    terminal.say("help created")
    terminal.wait("images.created")
    terminal.say("use nothing")
    terminal.wait("error[")
    terminal.say("use 127.0.0.1:1")
    terminal.wait("imq 127.0.0.1:1>")
    terminal.say("\\source store")
    terminal.ready()
    terminal.say("quit")
    assert "ended with 0" in terminal.ended()


def test_the_last_statement_can_be_edited_elsewhere(room: Room) -> None:
    editor = room.folder / "editor"
    editor.write_text('#!/bin/sh\nsed -i s/tag/repository/ "$1"\n')
    editor.chmod(0o755)
    terminal = room.imq(EDITOR=str(editor), VISUAL=None)
    terminal.ready()
    terminal.say("images select tag limit 1")
    terminal.wait("TAG\n")
    terminal.say("\\edit")
    terminal.wait("imq> images select repository limit 1")
    terminal.keys("Enter")
    terminal.wait("REPOSITORY\n")


def test_many_lines_are_pasted_as_one_script(room: Room) -> None:
    terminal = room.imq()
    terminal.ready()
    lines = [f"# {number}\nimages where tag = 7 select tag as t{number} as csv" for number in range(30)]
    terminal.paste("\n".join(lines))
    terminal.wait("as t29 as csv")
    assert "t3\n7" not in terminal.screen()  # nothing runs before Enter
    terminal.keys("Enter")
    terminal.wait("t29\n7\nimq>")
    whole = terminal.screen(whole=True)
    assert all(f"\nt{number}\n7\n" in whole for number in range(30))
    terminal.keys("Up")  # they are one entry
    terminal.wait(lambda screen: "imq> # 0" in screen or "as t29 as csv\n" in screen.rpartition("t29\n7\n")[2])


@pytest.mark.parametrize("answer", ["n", "y"])
def test_a_removal_shows_its_plan_and_what_it_frees_and_asks(room: Room, answer: str) -> None:
    terminal = room.imq()
    terminal.ready()
    terminal.say("rm images where repository = team/app and tag = 2")
    screen = terminal.wait("Do this? [y/N]")
    assert re.search(r"ACTION +TARGET +IMAGE ID +SIZE\nremove +team/app:2 .*\nThis frees \d+(\.\d+)?k?B\. Do", screen)
    terminal.say(answer)
    terminal.wait("nothing was done" if answer == "n" else lambda screen: screen.count("remove  ") == 2)
    terminal.say("images where repository = team/app and tag = 2 count")
    terminal.wait("\n1\n" if answer == "n" else "\n0\n")


def test_a_question_that_is_interrupted_is_asked_again(room: Room) -> None:
    terminal = room.imq()
    terminal.ready()
    terminal.say("rm all images")
    terminal.wait("Do this? [y/N]")
    terminal.keys("C-c")
    terminal.wait("error[interrupted]")
    terminal.say("images count")
    terminal.wait("\n11\n")
    terminal.type("images where nonsense")
    terminal.wait("where nonsense")
    terminal.keys("C-c")
    terminal.say("images where tag = 7 count")
    terminal.wait("\n1\n")


@pytest.mark.parametrize("term", ["dumb", None])
def test_a_terminal_without_a_cursor(room: Room, term: str | None) -> None:
    terminal = room.imq(TERM=term)
    terminal.ready()
    terminal.say("images where")
    terminal.wait("...>")
    terminal.say("tag = 7 count")
    terminal.wait("\n1\n")
    terminal.say("rm images where tag = 7")
    terminal.wait("Do this? [y/N]")
    terminal.say("")
    terminal.wait("nothing was done")
    terminal.keys("C-c")
    terminal.say("images as nonsense")
    terminal.wait("error[")
    assert "\x1b" not in terminal.screen(styled=True)
    terminal.keys("C-d")
    assert "ended with 0" in terminal.ended()


def test_a_narrow_terminal_that_is_resized(room: Room) -> None:
    terminal = room.imq(wide=40, high=10)
    terminal.ready()
    terminal.type("images where repository = redis and tag = 7 order by siz")
    terminal.wait(" size ")
    terminal.resize(100, 30)
    terminal.wait("imq> images where repository = redis and tag = 7 order by siz\n")
    terminal.resize(30, 8)
    terminal.wait(lambda screen: "siz" in screen and max(map(len, screen.split("\n"))) <= 30)
    terminal.type("e count")
    terminal.wait("count")
    terminal.keys("Enter")
    terminal.wait("\n1\n")


def test_wide_names_stand_in_columns(room: Room) -> None:
    terminal = room.imq()
    terminal.ready()
    terminal.say('images where tag in (7, latest) select if(tag = 7, "画像の名前", "plain") as what, tag, name')
    terminal.wait("NAME\n")
    screen = terminal.wait(lambda screen: screen.rstrip().endswith("imq>"))
    lines = [line for line in screen.split("\n") if line.endswith(("redis:7", "redis:latest"))]
    assert len(lines) == 2
    assert len({display_width(line[: line.index("redis:")]) for line in lines}) == 1


def test_a_long_answer_goes_through_the_pager(room: Room) -> None:
    terminal = room.imq("help images", PAGER=None, high=12)
    terminal.wait(lambda screen: screen.rstrip().endswith(":"))
    assert "ended with" not in terminal.screen()
    terminal.keys("q")
    assert "ended with 0" in terminal.ended()
    short = room.imq("images where tag = 7", PAGER=None, high=12)
    assert "redis" in short.ended()
    off = room.imq("help images", IMQ_PAGER="", high=12)
    assert "ended with 0" in off.ended()
    absent = room.imq("help images", IMQ_PAGER="no-such-program -x", high=12)
    assert "ended with 0" in absent.ended()
