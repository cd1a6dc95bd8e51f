"""What terminals get and pipes do not: cut cells, records in place of wide rows, pretty JSON with colours."""

from __future__ import annotations

import json
import os
import re
import sys
from datetime import UTC
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from imq.cli.json_colors import color_json
from imq.engine.catalog.tables import TABLES, DataType
from imq.engine.help.help import format_help, wrap_lines
from imq.engine.render.formats import write_rows
from imq.engine.render.text_table import cut_text
from imq.engine.render.values import DisplayOptions
from imq.engine.result import Column, RowSet
from imq.engine.sources.action import OUTCOMES, Outcome
from imq.grammar.display_width import display_width
from imq.grammar.errors import Span, StatementError, format_error
from support.pseudo_terminal import run_on_terminal

if TYPE_CHECKING:
    from collections.abc import Sequence

NOW = 1_700_000_000_000_000_000
IMAGES = TABLES["images"]
COLUMNS = {"name": DataType.REFERENCE, "id": DataType.DIGEST, "created": DataType.TIME, "size": DataType.SIZE}
LONG = "registry.example.com/team/application/service:1.2.3"
ROW = (LONG, "sha256:" + "ab" * 32, NOW - 3 * 86_400_000_000_000, 142_000_000)


def write(form: str, rows: Sequence[tuple[Any, ...]] = (ROW,), *, columns: Any = None, **options: Any) -> str:
    headings = tuple(Column(name, name.upper(), kind) for name, kind in (columns or COLUMNS).items())
    return "".join(write_rows(RowSet(headings, iter(rows)), DisplayOptions(NOW, UTC, **options), form))


def test_a_pipe_gets_whole_cells() -> None:
    text = "x" * 100
    assert text in write("table", [(text,)], columns={"comment": DataType.TEXT})
    assert text not in write("table", [(text,)], columns={"comment": DataType.TEXT}, width=200)


@pytest.mark.parametrize("width", [120, 80, 60])
def test_a_row_fits_the_terminal(width: int) -> None:
    lines = write("table", width=width, expanded="auto").splitlines()
    assert len(lines) == 2
    assert all(display_width(line) <= width for line in lines)
    assert ("…" in lines[1]) == (width < 100 and LONG not in lines[1])
    assert lines[1].endswith("abababababab   3 days ago   142MB")


def test_numbers_sizes_and_times_are_never_cut() -> None:
    columns = {f"size{number}": DataType.SIZE for number in range(8)}
    text = write("table", [tuple([142_000_000] * 8)], columns=columns, width=40, expanded="off")
    assert text.splitlines()[1].split() == ["142MB"] * 8


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"])), st.integers(1, 30))
def test_a_cut_text_fits_and_begins_like_the_text(text: str, width: int) -> None:
    cut = cut_text(text, width)
    assert display_width(cut) <= max(width, 1)
    assert cut == text or (cut.endswith("…") and text.startswith(cut[:-1]))


def test_a_row_that_is_too_wide_becomes_a_record() -> None:
    text = write("table", width=40, expanded="auto")
    assert text == write("record")
    assert text == (
        "-[ RECORD 1 ]-----------\n"
        f"name    | {LONG}\n"
        f"id      | sha256:{'ab' * 32}\n"
        "created | 3 days ago (2023-11-11T22:13:20Z)\n"
        "size    | 142MB\n"
    )


def test_records_can_be_requested_and_refused() -> None:
    assert write("table", width=200, expanded="on") == write("record") == write("vertical")
    assert "RECORD" not in write("table", width=40, expanded="off")
    assert write("table", [], width=10, expanded="auto").startswith("NAME")


def test_a_table_that_is_not_truncated_is_not_cut() -> None:
    assert LONG in write("table", width=60, no_trunc=True)


def test_json_on_a_terminal_is_indented() -> None:
    pretty = write("json", pretty=True)
    assert json.loads(pretty) == json.loads(write("json"))
    assert pretty.startswith('[\n  {\n    "name": ')
    assert len(write("json").splitlines()) == 3


def test_colours_do_not_change_json() -> None:
    text = json.dumps({'a\\"b: ': [1, -2.5e3, None, True, "x: {null}", {}], "c": {"d": ""}}, indent=2)
    colored = color_json(text)
    assert re.sub(r"\x1b\[[\d;]*m", "", colored) == text
    assert "\x1b[90mnull\x1b[0m" in colored
    assert '\x1b[32m"x: {null}"\x1b[0m' in colored
    assert '\x1b[34;1m"c"\x1b[0m' in colored


def test_the_fields_of_json_are_those_of_the_table() -> None:
    assert list(json.loads(write("json"))[0]) == list(COLUMNS)


class Page(HTMLParser):
    """The cells of a page, each with its attributes and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.cells: list[tuple[dict[str, str | None], str]] = []
        self.tags: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag == "td":
            self.cells.append((dict(attrs), ""))

    def handle_data(self, data: str) -> None:
        if self.cells and self.tags[-1] == "td":
            attributes, text = self.cells[-1]
            self.cells[-1] = attributes, text + data.strip()


def test_html_is_a_page_with_values_for_programs() -> None:
    text = write("html", [ROW, (None, None, None, None)])
    assert text.startswith("<!DOCTYPE html>\n")
    assert text.endswith("</html>\n")
    assert "http" not in text.replace(LONG, "")
    page = Page(text)
    assert {"table", "thead", "tbody", "script", "style"} <= set(page.tags)
    values = [attributes.get("data-value") for attributes, _ in page.cells]
    assert values == [LONG, ROW[1], "2023-11-11T22:13:20Z", "142000000", None, None, None, None]
    assert [shown for _, shown in page.cells[:4]] == [LONG, "abababababab", "3 days ago", "142MB"]


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1, max_size=3))
def test_no_value_leaves_its_cell(values: list[str]) -> None:
    page = Page(write("html", [(value,) for value in values], columns={"a": DataType.TEXT}))
    assert len(page.cells) == len(values)
    assert page.tags.count("script") == 1


def test_dot_has_a_node_for_each_value_and_an_edge_for_each_step() -> None:
    columns = {"registry": DataType.TEXT, "name": DataType.TEXT}
    text = write("dot", [("a", 'x"\\'), ("a", "y"), ("b", "y")], columns=columns)
    assert text.startswith("digraph imq {\n")
    assert text.endswith("}\n")
    assert text.count(" -> ") == 3
    assert text.count("[label=") == 5
    assert '[label="x\\"\\\\"]' in text


@pytest.mark.parametrize("width", [40, 80, 200])
def test_the_targets_of_a_plan_are_never_cut(width: int) -> None:
    target = f"{LONG}, {LONG}-copy"
    row = Outcome("remove", target, size=1).to_row()
    columns = tuple(Column(field.name, field.column_title, field.type, field) for field in OUTCOMES.fields)
    planned = RowSet(columns, [row], table=OUTCOMES)
    assert target in "".join(write_rows(planned, DisplayOptions(NOW, UTC, width=width, expanded="auto")))


@pytest.mark.parametrize(
    ("width", "titles"),
    [
        (None, "IMAGE IMAGE ID SIZE UNIQUE SHARED █ UNIQUE ░ SHARED"),
        (120, "IMAGE IMAGE ID SIZE UNIQUE SHARED █ UNIQUE ░ SHARED"),
        (105, "IMAGE SIZE UNIQUE SHARED █ UNIQUE ░ SHARED"),
        (82, "IMAGE IMAGE ID SIZE UNIQUE SHARED █ UNIQUE ░ SHARED"),
        (68, "IMAGE SIZE UNIQUE SHARED █ UNIQUE ░ SHARED"),
        (60, "IMAGE SIZE UNIQUE SHARED"),
        (45, "IMAGE SIZE"),
        (30, "IMAGE SIZE"),
    ],
)
def test_a_tree_fits_the_terminal(width: int | None, titles: str) -> None:
    columns = tuple(
        Column(name, name, IMAGES.get_field(name).type, IMAGES.get_field(name)) for name in IMAGES.tree_fields
    )
    digest = "sha256:" + "a" * 64
    row = (LONG, digest, 142_000_000, 42_000_000, 100_000_000, f'["{digest}"]', "store")
    options = DisplayOptions(NOW, UTC, width=width, expanded="auto")
    lines = "".join(write_rows(RowSet(columns, [row], table=IMAGES), options, "tree")).splitlines()
    assert " ".join(lines[0].split()) == titles
    assert all(display_width(line) <= (width or 200) for line in lines)
    assert (LONG in lines[1]) == (width is None or width > 90)


@pytest.mark.parametrize("topic", ["", "like", "images", "dates", "rm"])
@pytest.mark.parametrize("width", [40, 60, 80])
def test_pages_of_help_fit_the_terminal(topic: str, width: int) -> None:
    page = format_help(tuple(topic.split()))
    wrapped = wrap_lines(page, width)
    assert wrapped.split() == page.split()
    assert all(len(line) <= width or " " not in line.strip() for line in wrapped.splitlines())


def test_errors_fit_the_terminal() -> None:
    statement = "images where id = sha256:" + "1" * 20
    span = Span(18, len(statement))
    error = StatementError("a digest has more digits", code="type", span=span, hints=("a" * 20, "word " * 30))
    error.text = statement
    note = f"{'^' * (span.end - span.start)} {'a' * 20}"
    assert note in format_error(error)
    narrow = format_error(error, 60).splitlines()
    assert note not in narrow[2]
    assert narrow[3] == f"  {'a' * 20}"
    assert all(len(line) <= 60 for line in narrow)


@pytest.mark.parametrize("columns", [40, 60, 80, None])
@pytest.mark.parametrize("before", [0, 1, 30, 70, 500])
@pytest.mark.parametrize("word", ["x", "wrong_field", "画像", "e\u0301a", "y" * 300])
@pytest.mark.parametrize("after", [0, 1, 40, 500])
def test_carets_are_below_their_word_on_any_terminal(columns: int | None, before: int, word: str, after: int) -> None:
    statement = "ab 画 " * before + word + " cd" * after
    start = statement.index(word)
    error = StatementError("unexpected word", span=Span(start, start + len(word)), text=statement)
    _, line, carets = format_error(error, columns).splitlines()
    assert max(map(display_width, (line, carets))) <= (columns or 150)
    first = carets.index("^")
    assert carets == " " * 2 + "│" + " " * (first - 3) + "^" * (len(carets) - first)
    position = next(at for at in range(len(line) + 1) if display_width(line[:at]) == first)
    marked = line[position:].rstrip("…")
    assert marked[: len(word)] == word[: len(marked)]
    assert len(carets) - first == display_width(word[: len(marked)])
    assert line.endswith("…") or marked == statement[start:]
    if display_width(statement) <= (columns or 150) - 4:
        assert line == f"  │ {statement}"
    elif after:
        assert len(marked) > len(word) or len(word) > 20  # what follows is shown too


def test_a_caret_after_the_last_word_stays_visible() -> None:
    statement = "images where " + "dangling or " * 20 + "size >"
    error = StatementError("the statement ends too early", span=Span(len(statement), len(statement)), text=statement)
    line, carets = format_error(error, 60).splitlines()[1:]
    assert line == "  │ …angling or dangling or dangling or dangling or size >"
    assert carets == "  │ " + " " * len(line.removeprefix("  │ ")) + "^"


def test_a_message_is_wrapped_between_words() -> None:
    error = StatementError("a word that no line can hold: " + "x" * 60 + " and more words follow it")
    assert format_error(error, 40).splitlines() == [
        "error[syntax]: a word that no line can",
        "  hold:",
        f"  {'x' * 60}",
        "  and more words follow it",
    ]
    assert len(format_error(error).splitlines()) == 1


@pytest.mark.parametrize("bars", [False, True])
def test_notes_and_warnings_are_wrapped_between_words(*, bars: bool) -> None:
    text = "no images found: the store is empty\n  docker at unix:///var/run/docker.sock is not reachable: no such file"
    code = (
        "import sys; from imq.cli.progress_bars import create_display;"
        f"display = create_display(sys.stderr, bars={bars}); display.note({text!r}); display.warn('word ' * 20)"
    )
    output = run_on_terminal([sys.executable, "-c", code], os.environ, columns=40).decode().replace("\x1b[J", "")
    lines = output.splitlines()
    assert all(len(line) <= 40 for line in lines)
    assert len(lines) == 6
    assert " ".join(output.split()) == " ".join(f"{text} WARNING: {'word ' * 20}".split())
