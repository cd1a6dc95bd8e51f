r"""What a session adds to statements: docker's lines, `\x`, `\g`, `\watch`, `\o`, `\save`, `\d`, the toolbar."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Terminal, TerminalLab


@pytest.fixture
def terminal(lab: TerminalLab) -> Terminal:
    terminal = lab.imq(columns=120, rows=40)
    terminal.wait_for_prompt()
    return terminal


def test_dockers_lines_work_as_in_the_shell(terminal: Terminal) -> None:
    terminal.enter("images -q --filter dangling=true")
    terminal.wait("\nd3a42c551b35\n4aa281d47c51\n")
    terminal.enter("docker image ls redis --format '{{.Tag}} {{.ID}}'")
    terminal.wait("\n7 93f976cf844e\n")
    terminal.enter("tag redis:7 copied:1")
    terminal.enter("rmi copied:1")
    terminal.wait("Untagged: copied:1")
    terminal.enter("images --nonsense")
    terminal.wait("unknown flag: --nonsense")
    terminal.enter("images where tag = 7 select name")  # a statement as before
    terminal.wait("\nNAME\nredis:7\n(1 row)\n")


def test_a_docker_line_keeps_the_state_of_the_session(terminal: Terminal) -> None:
    terminal.enter("use 127.0.0.1:1")
    terminal.wait("imq 127.0.0.1:1>")
    terminal.enter("\\source store")
    terminal.wait_for_prompt()
    terminal.enter("let n = 1; view seven as images where tag = 7")
    terminal.enter("image ls -q redis:7")
    terminal.wait("\n93f976cf844e\n")
    terminal.enter("seven where size > 1B count")
    terminal.wait("\n1\n")


def test_no_error_shows_below_a_docker_line(terminal: Terminal) -> None:
    terminal.type("images --filter dangling=true -q ")
    terminal.wait(lambda screen: "-q" in screen and "^" not in screen)
    terminal.press("C-u")
    terminal.type("images -x where ( ")
    terminal.wait(lambda screen: "where (" in screen and "^" not in screen)


def test_rows_are_counted_after_tables_only(terminal: Terminal) -> None:
    terminal.enter("images where repository = redis")
    terminal.wait("\n(2 rows)\n")
    terminal.enter("images where tag = 7 select name as json")
    terminal.wait('"redis:7"\n  }\n]\nimq>')
    terminal.enter("images where tag = none")
    terminal.wait("\n(0 rows)\n")


def test_records(terminal: Terminal) -> None:
    terminal.enter("images where tag = 7 select name, size")
    terminal.wait("(1 row)")
    terminal.enter("\\x")
    terminal.wait("rows are shown as records always")
    terminal.enter("\\g")
    terminal.wait("-[ RECORD 1 ]-----------\nname | redis:7\nsize | 60kB\n(1 row)\n")
    terminal.enter("\\x off")
    terminal.wait("records never")
    terminal.enter("images where tag = 7 select tag \\gx")
    terminal.wait("RECORD 1 ]-----------\ntag | 7\n")
    terminal.enter("images where tag = 7 select tag")
    terminal.wait("\nTAG\n7\n(1 row)\n")


@pytest.mark.parametrize(("columns", "is_record"), [(120, False), (60, True)])
def test_a_row_that_is_wider_than_the_screen_is_a_record(lab: TerminalLab, columns: int, is_record: bool) -> None:
    terminal = lab.imq(columns=columns, rows=40)
    terminal.wait_for_prompt()
    terminal.enter("images where tag = 7 select name, id, created, size, platform, layer_count")
    screen = terminal.wait("(1 row)")
    assert ("RECORD 1" in screen) is is_record
    assert max(map(len, screen.splitlines())) <= columns


def test_results_are_written_to_a_file(terminal: Terminal, lab: TerminalLab) -> None:
    path = lab.folder / "result.txt"
    terminal.enter(f"\\o {path}")
    terminal.wait("results are written to ")
    terminal.enter("images where tag = 7 select name")
    terminal.enter("images where tag = latest select name as csv")
    terminal.enter("\\o")
    terminal.wait("results are written to the screen")
    assert path.read_text() == "NAME\nredis:7\nname\nredis:latest\n"
    terminal.enter("images where tag = 7 count")
    terminal.wait("\n1\n")
    terminal.enter(f"images where tag = 7 select tag \\g {path}")
    terminal.enter("images where repository = redis count")
    terminal.wait("\n2\n")
    assert path.read_text() == "TAG\n7\n"


def test_a_query_is_watched_until_ctrl_c(terminal: Terminal) -> None:
    terminal.enter("images where tag = 7 count \\watch 0.2")
    terminal.wait(lambda screen: screen.count("(every 0.2s, Ctrl-C ends it)\n1\n") >= 2)
    terminal.press("C-c")
    terminal.wait_for_prompt()
    terminal.enter("\\watch none")
    terminal.wait('\\watch takes a number of seconds, not "none"')
    terminal.enter("rm redis:7 \\watch")
    terminal.wait("only queries are run by")
    terminal.enter("images where tag = latest count")
    terminal.wait("\n1\n")


def test_views_are_kept_in_the_configuration(terminal: Terminal, lab: TerminalLab) -> None:
    path = lab.home / ".config" / "imq" / "config.toml"
    path.parent.mkdir(parents=True)
    path.write_text('# mine\n[views]\nother = "images"  # kept\n\n[settings]\njobs = 2\n')
    terminal.enter('images where tag = "7"')
    terminal.wait("(1 row)")
    terminal.enter("\\save seven")
    terminal.wait("the view seven is kept in ")
    assert path.read_text() == (
        '# mine\n[views]\nseven = "images where tag = \\"7\\""\nother = "images"  # kept\n\n[settings]\njobs = 2\n'
    )
    terminal.enter("\\d seven")
    terminal.wait('view seven as images where tag = "7"')
    terminal.enter("images where nosuchfield = 7")
    terminal.wait("error[")
    terminal.enter("\\save failed")
    terminal.wait("the last query is not kept, since it failed: ")
    assert "failed" not in path.read_text()
    second = lab.imq("seven select name")
    second.wait("redis:7")
    terminal.enter("\\unsave seven")
    terminal.wait("the view seven is removed from ")
    assert path.read_text() == '# mine\n[views]\nother = "images"  # kept\n\n[settings]\njobs = 2\n'
    terminal.enter("\\unsave seven")
    terminal.wait("error[view]")


def test_tables_are_described(terminal: Terminal) -> None:
    terminal.resize(120, 150)
    terminal.enter("\\d containers")
    terminal.wait("published_ports")
    terminal.enter("\\d")
    terminal.wait("\\d NAME shows the fields of a table")
    terminal.enter("show tables")
    terminal.wait("tables: what can be queried")


def test_the_toolbar_shows_the_state(terminal: Terminal, lab: TerminalLab) -> None:
    toolbar = terminal.wait_for_toolbar("source: store")
    assert toolbar == f"source: store │ {lab.store} │ \\? commands"[:118] or toolbar.endswith("…")
    terminal.enter("images where repository = redis")
    terminal.wait("(2 rows)")
    terminal.wait_for_toolbar(r"│ (2 rows in \d+\.\d+ m?s │|…$)")


def test_the_toolbar_has_one_line_on_a_narrow_screen(lab: TerminalLab) -> None:
    terminal = lab.imq(columns=60, rows=20)
    terminal.wait_for_prompt()
    toolbar = terminal.wait_for_toolbar("^source: store │ ")
    assert toolbar.endswith("…")
    assert len(toolbar) <= 60


def test_an_earlier_statement_is_suggested_in_grey(terminal: Terminal) -> None:
    terminal.enter("images where tag = 7 count")
    terminal.wait("\n1\n")
    terminal.wait_for_prompt()
    terminal.type("images where t")
    terminal.wait("t\x1b[90mag = 7 count", styled=True)
    terminal.press("Right")
    terminal.press("Enter")
    terminal.wait(lambda screen: screen.count("\n1\n") == 2)


def test_fields_and_functions_are_completed_inside_templates(terminal: Terminal) -> None:
    terminal.type("images format {{.Repo")
    terminal.wait(lambda screen: re.search(r"\n +Repository +placeholder", screen) is not None)
    terminal.press("C-u")
    terminal.type("images format {{upp")
    terminal.wait(lambda screen: re.search(r"\n +upper +function", screen) is not None)
    terminal.press("C-u")
    terminal.type("images where dangling = t")
    terminal.wait(lambda screen: re.search(r"\n +true +choice", screen) is not None)


def test_pasted_statements_and_commands_run_in_order(terminal: Terminal) -> None:
    terminal.paste(
        "let wanted = 7\nimages where tag = $wanted select name\n\\x on\nimages where tag = latest select name\n"
    )
    terminal.wait("tag = latest")
    terminal.press("Enter")
    terminal.wait(
        "NAME\nredis:7\n(1 row)\nrows are shown as records always\n-[ RECORD 1 ]-----------\nname | redis:latest\n"
    )


def test_a_dumb_terminal_has_the_commands_too(lab: TerminalLab) -> None:
    terminal = lab.imq(TERM="dumb", rows=60)
    terminal.wait_for_prompt()
    terminal.enter("images -q -f dangling=true")
    terminal.wait("\n4aa281d47c51\n")
    terminal.enter("images where tag = 7 select name \\gx")
    terminal.wait("name | redis:7\n(1 row)\n")
    assert terminal.toolbar() == ""
    assert "\x1b" not in terminal.screen(styled=True)


def test_a_session_on_an_empty_machine_says_what_to_do(lab: TerminalLab) -> None:
    terminal = lab.start_without_store()
    terminal.wait("imq pull alpine")
    terminal.wait("imq demo")
    terminal.wait_for_prompt()


def test_a_demo_opens_a_session(lab: TerminalLab) -> None:
    terminal = lab.imq("demo", rows=40, TMPDIR=str(lab.folder))
    terminal.wait_for_prompt()
    assert len(list(lab.folder.glob("imq-demo-*"))) == 1
    terminal.enter("images count")
    terminal.wait("\n9\n")
    terminal.press("C-d")
    terminal.wait_for_exit()
    assert not list(lab.folder.glob("imq-demo-*"))


def test_a_plan_says_why_each_image_is_removed_or_kept(terminal: Terminal) -> None:
    terminal.enter("dry run rm images where repository = redis except newest 1 per repository")
    screen = terminal.wait("1 action. This frees ")
    (removed,) = re.findall(r"^remove +redis:7 .*$", screen, re.MULTILINE)
    assert re.search(r" ago +repository = redis, not newest 1 of redis$", removed)
    (kept,) = re.findall(r"^keep +.*$", screen, re.MULTILINE)
    assert re.search(r"^keep +redis:latest +4083bcf14b56 .* ago +newest 1 of redis$", kept)
    terminal.enter("images where repository = redis count")
    terminal.wait("\n2\n")
