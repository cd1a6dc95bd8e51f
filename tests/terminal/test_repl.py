"""The interactive session on a real terminal."""

from __future__ import annotations

import itertools
import re
import stat
from typing import TYPE_CHECKING

import pytest
from imq.grammar.display_width import display_width

if TYPE_CHECKING:
    from conftest import TerminalLab


def test_words_and_values_are_completed_while_typing(lab: TerminalLab) -> None:
    terminal = lab.imq()
    terminal.wait_for_prompt()
    terminal.type("ima")
    assert "table: " in terminal.wait("images ")
    terminal.type("ges where repository = te")
    terminal.wait("team/app")  # a value from the store
    terminal.press("Tab")
    terminal.wait("repository = team/app")
    terminal.type(" and label.e")
    terminal.wait(lambda screen: re.search(r"\n +env +key", screen) is not None)
    terminal.press("Tab")
    terminal.type(" = prod order by created desc sel")
    terminal.wait("select")
    terminal.press("Tab")
    terminal.type(" tag")
    terminal.press("Enter")
    terminal.wait("\nTAG\n2\n1\n")


def test_new_names_are_completed_after_the_statement(lab: TerminalLab) -> None:
    terminal = lab.imq()
    terminal.wait_for_prompt()
    terminal.enter("tag redis:7 as brandnew:1")
    terminal.wait("tag       brandnew:1")
    terminal.type("push brand")
    terminal.wait(lambda screen: "brandnew:1" in screen.rpartition("push brand")[2])


def test_an_error_shows_below_its_column_before_enter(lab: TerminalLab) -> None:
    terminal = lab.imq()
    terminal.wait_for_prompt()
    terminal.type("images whre size > 1")
    *_, typed, hint = terminal.wait("did you mean").rstrip().split("\n")
    assert typed.index("whre") == hint.index("^")
    terminal.press("C-u")
    terminal.type("images where 画像 = 1 and sizz > 1 ")
    screen = terminal.wait(lambda screen: "sizz" in screen and "^" in screen.rpartition("sizz")[2]).split("\n")
    typed, hint = next(pair for pair in itertools.pairwise(screen) if "^" in pair[1])
    assert display_width(typed.partition("画像")[0]) == hint.index("^")  # wide characters take two columns
    terminal.press("C-u")
    terminal.type("images where siz")
    terminal.wait(" size   field: ")  # it may still become a name
    assert "^" not in terminal.screen()


def test_tokens_are_coloured_by_kind(lab: TerminalLab) -> None:
    terminal = lab.imq()
    terminal.wait_for_prompt()
    terminal.type('images where tag = "x" # why')
    terminal.wait("\x1b[36mimages", styled=True)
    screen = terminal.wait("# why", styled=True)
    assert "\x1b[34mwhere" in screen
    assert '\x1b[32m"x"' in screen
    plain = lab.imq(NO_COLOR="1")
    plain.wait_for_prompt()
    plain.type("images where tag = x")
    plain.wait("= x")
    assert not re.search(r"\x1b\[3[0-7]m", plain.screen(styled=True))


def test_an_unfinished_statement_continues_on_the_next_line(lab: TerminalLab) -> None:
    terminal = lab.imq()
    terminal.wait_for_prompt()
    terminal.enter("images where")
    terminal.wait("...>")
    terminal.enter('tag = "7')
    terminal.wait(lambda screen: screen.count("...>") == 2)
    terminal.press("C-u", "BSpace", "BSpace", "BSpace")
    terminal.wait(lambda screen: screen.count("...>") == 1)
    terminal.enter('"7" or tag = latest')
    terminal.wait("redis        latest")
    terminal.enter("images where (")
    terminal.wait("...>")
    terminal.press("Enter")  # an empty line ends it, and the error names the missing part
    assert "error[syntax]" in terminal.wait("error")


def test_history_is_saved_for_the_next_session(lab: TerminalLab) -> None:
    first = lab.imq()
    first.wait_for_prompt()
    first.enter("images where tag = 7 count")
    first.wait("\n1\n")
    first.enter("let password = hunter2")
    first.enter(" let quiet = 1")
    first.enter("let last = 1")
    first.enter("\\history")
    first.wait("  let last = 1")
    first.wait_for_prompt()
    first.press("C-d")
    assert "exited with 0" in first.wait_for_exit()
    path = lab.home / ".local" / "state" / "imq" / "history"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    saved = path.read_text()
    assert "hunter2" not in saved
    assert "quiet" not in saved
    second = lab.imq()
    second.wait_for_prompt()
    second.press("Up", "Up")
    second.wait("imq> let last = 1")
    second.press("C-c", "C-r")
    second.type("tag = 7")
    second.wait("images where tag = 7 count")
    second.press("Enter", "Enter")
    second.wait("\n1\n")


def test_an_unwritable_home_is_reported_once(lab: TerminalLab) -> None:
    (lab.home / "file").write_text("")
    terminal = lab.imq(HOME=str(lab.home / "file"))
    terminal.wait("history is not saved: ")
    terminal.enter("images count")
    terminal.wait("\n11\n")
    terminal.enter("images where tag = 7 count")
    screen = terminal.wait("\n1\n")
    assert screen.count("history is not saved") == 1
    terminal.press("Up")
    terminal.wait("imq> images where tag = 7 count\n\n")


def test_meta_commands(lab: TerminalLab) -> None:
    terminal = lab.imq()
    terminal.wait_for_prompt()
    terminal.press("Enter")
    terminal.wait("images without a tag")
    terminal.resize(120, 80)
    terminal.enter("\\?")
    terminal.wait("\\timing [on|off]")
    terminal.enter("\\form jsonl")
    terminal.wait("the output format is jsonl")
    terminal.enter("images where tag = 7 select name")
    terminal.wait('{"name": "redis:7"}')
    terminal.enter("\\f table")
    terminal.wait("the output format is table")
    terminal.enter("\\timing")
    terminal.wait("timing is on")
    terminal.enter("images count")
    terminal.wait(lambda screen: re.search(r"\n11\n\d+\.\d ms\n", screen) is not None)
    terminal.enter("\\tming")
    terminal.wait('unknown command "\\tming"')
    terminal.wait('did you mean "timing"?')
    terminal.enter("help created")
    terminal.wait("images.created")
    terminal.enter("use nothing")
    terminal.wait("error[")
    terminal.enter("use 127.0.0.1:1")
    terminal.wait("imq 127.0.0.1:1>")
    terminal.enter("\\source store")
    terminal.wait_for_prompt()
    terminal.enter("quit")
    assert "exited with 0" in terminal.wait_for_exit()


def test_the_last_statement_opens_in_an_editor(lab: TerminalLab) -> None:
    editor = lab.folder / "editor"
    editor.write_text('#!/bin/sh\nsed -i s/tag/repository/ "$1"\n')
    editor.chmod(0o755)
    terminal = lab.imq(EDITOR=str(editor), VISUAL=None)
    terminal.wait_for_prompt()
    terminal.enter("images select tag limit 1")
    terminal.wait("TAG\n")
    terminal.enter("\\edit")
    terminal.wait("imq> images select repository limit 1")
    terminal.press("Enter")
    terminal.wait("REPOSITORY\n")


def test_pasted_lines_are_one_script(lab: TerminalLab) -> None:
    terminal = lab.imq()
    terminal.wait_for_prompt()
    lines = [f"# {number}\nimages where tag = 7 select tag as t{number} as csv" for number in range(30)]
    terminal.paste("\n".join(lines))
    terminal.wait("as t29 as csv")
    assert "t3\n7" not in terminal.screen()  # nothing runs before Enter
    terminal.press("Enter")
    terminal.wait("t29\n7\nimq>")
    whole = terminal.screen(whole=True)
    assert all(f"\nt{number}\n7\n" in whole for number in range(30))
    terminal.press("Up")  # they are one entry
    terminal.wait(lambda screen: "imq> # 0" in screen or "as t29 as csv\n" in screen.rpartition("t29\n7\n")[2])


@pytest.mark.parametrize("answer", ["n", "y"])
def test_a_removal_shows_its_plan_and_is_confirmed(lab: TerminalLab, answer: str) -> None:
    terminal = lab.imq()
    terminal.wait_for_prompt()
    terminal.enter("rm images where repository = team/app and tag = 2")
    screen = terminal.wait("Continue? [y/N]")
    assert re.search(
        r"ACTION +TARGET +IMAGE ID +SIZE +CREATED +BECAUSE\nremove +team/app:2 .*\n"
        r"This frees \d+(\.\d+)?k?B\. Continue",
        screen,
    )
    terminal.enter(answer)
    terminal.wait("nothing was done" if answer == "n" else lambda screen: screen.count("remove  ") == 2)
    terminal.enter("images where repository = team/app and tag = 2 count")
    terminal.wait("\n1\n" if answer == "n" else "\n0\n")


def test_the_session_continues_after_ctrl_c_at_a_confirmation(lab: TerminalLab) -> None:
    terminal = lab.imq()
    terminal.wait_for_prompt()
    terminal.enter("rm all images")
    terminal.wait("Continue? [y/N]")
    terminal.press("C-c")
    terminal.wait("error[interrupted]")
    terminal.enter("images count")
    terminal.wait("\n11\n")
    terminal.type("images where nonsense")
    terminal.wait("where nonsense")
    terminal.press("C-c")
    terminal.enter("images where tag = 7 count")
    terminal.wait("\n1\n")


@pytest.mark.parametrize("term", ["dumb", None])
def test_a_terminal_without_cursor_movement_reads_plain_lines(lab: TerminalLab, term: str | None) -> None:
    terminal = lab.imq(TERM=term)
    terminal.wait_for_prompt()
    terminal.enter("images where")
    terminal.wait("...>")
    terminal.enter("tag = 7 count")
    terminal.wait("\n1\n")
    terminal.enter("rm images where tag = 7")
    terminal.wait("Continue? [y/N]")
    terminal.enter("")
    terminal.wait("nothing was done")
    terminal.wait_for_prompt()
    terminal.press("C-c")  # a line that is typed before the program has handled it is lost
    terminal.wait(lambda screen: screen.rpartition("nothing was done")[2].count("imq>") == 2)
    terminal.enter("images as nonsense")
    terminal.wait("error[")
    assert "\x1b" not in terminal.screen(styled=True)
    terminal.press("C-d")
    assert "exited with 0" in terminal.wait_for_exit()


def test_a_resized_terminal_is_redrawn(lab: TerminalLab) -> None:
    terminal = lab.imq(columns=40, rows=10)
    terminal.wait_for_prompt()
    terminal.type("images where repository = redis and tag = 7 order by siz")
    terminal.wait(" size ")
    terminal.resize(100, 30)
    terminal.wait("imq> images where repository = redis and tag = 7 order by siz\n")
    terminal.resize(30, 8)
    terminal.wait(lambda screen: "siz" in screen and max(map(len, screen.split("\n"))) <= 30)
    terminal.type("e count")
    terminal.wait("count")
    terminal.press("Enter")
    terminal.wait("\n1\n")


def test_wide_characters_align_in_columns(lab: TerminalLab) -> None:
    terminal = lab.imq()
    terminal.wait_for_prompt()
    terminal.enter('images where tag in (7, latest) select if(tag = 7, "画像の名前", "plain") as what, tag, name')
    terminal.wait("NAME\n")
    screen = terminal.wait(lambda screen: screen.rstrip().endswith("imq>"))
    lines = [line for line in screen.split("\n") if line.endswith(("redis:7", "redis:latest"))]
    assert len(lines) == 2
    assert len({display_width(line[: line.index("redis:")]) for line in lines}) == 1


def test_a_long_result_goes_through_the_pager(lab: TerminalLab) -> None:
    terminal = lab.imq("help images", PAGER=None, rows=12)
    terminal.wait(lambda screen: screen.rstrip().endswith(":"))
    assert "exited with" not in terminal.screen()
    terminal.press("q")
    assert "exited with 0" in terminal.wait_for_exit()
    short = lab.imq("images where tag = 7", PAGER=None, rows=12)
    assert "redis" in short.wait_for_exit()
    off = lab.imq("help images", IMQ_PAGER="", rows=12)
    assert "exited with 0" in off.wait_for_exit()
    absent = lab.imq("help images", IMQ_PAGER="no-such-program -x", rows=12)
    assert "exited with 0" in absent.wait_for_exit()
