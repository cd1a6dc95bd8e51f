"""Output formats: formats for programs read back, and formats for people have one line a row, for any data."""

from __future__ import annotations

import csv
import io
import json
import re
from datetime import UTC
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st
from imq.engine.catalog.tables import DataType
from imq.engine.oci.digest import Digest
from imq.engine.render.formats import FORMATS, write_documents, write_rows
from imq.engine.render.text_table import escape_controls
from imq.engine.render.values import DisplayOptions
from imq.engine.result import Column, Documents, RowSet
from imq.grammar.ast import Output
from imq.grammar.display_width import display_width
from imq.grammar.errors import StatementError

if TYPE_CHECKING:
    from collections.abc import Sequence

NOW = 1_700_000_000_000_000_000
DAY = 86_400_000_000_000
MANNER = DisplayOptions(NOW, UTC)
IMAGES = {
    "repository": DataType.REPOSITORY,
    "tag": DataType.TAG,
    "id": DataType.DIGEST,
    "created": DataType.TIME,
    "size": DataType.SIZE,
}  # fmt: skip


def headings(columns: dict[str, DataType]) -> tuple[Column, ...]:
    return tuple(Column(name, name.upper(), kind) for name, kind in columns.items())


def write(form: str, columns: dict[str, DataType], rows: Sequence[tuple[Any, ...]]) -> str:
    return "".join(write_rows(RowSet(headings(columns), iter(rows)), MANNER, form))


def image(repository: str | None, tag: str | None, number: int) -> tuple[Any, ...]:
    return (repository, tag, f"sha256:{number:064x}"[:71], NOW - number * DAY, number * 1_000_000)


def texts(*values: str) -> list[tuple[str, ...]]:
    return [(value,) for value in values]


# ---- data

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
TRAPS = st.sampled_from(
    ["yes", "No", "on", "y", "N", "null", "~", "", " ", "1", "1e3", "0o17", "017", "0x1F", "1_000", "1:30", "-.inf",
     "2024-01-31", "2024-01-31T00:00:00Z", "<<", "=", "- a", "a: b", "a #b", "#", "'", '"', "|", ">", "%", "@", "&a",
     "*a", "!!str", "---", "...", "a\nb", "a\n", "\ta", "a\x85b", "\u2028", "\ufeff", "\x1b[31m", "\x9b", "\x7f", "😀",
     "a\rb", "a\r\nb", 'a"b', "a,b", "a\tb", "\0", "True", "NULL", ".5", "+1", "[]", "{}", "?", ":", "-"]
)  # fmt: skip
VALUES = TEXT | TRAPS
ROWS = st.lists(
    st.tuples(
        VALUES | st.none(),
        st.integers(-(1 << 63), (1 << 63) - 1) | st.floats(allow_nan=False) | st.none(),
        st.lists(VALUES, max_size=3).map(json.dumps) | st.none(),
        st.dictionaries(VALUES, VALUES, max_size=3).map(json.dumps) | st.none(),
        st.sampled_from([0, 1, None]),
    ),
    max_size=4,
)
KINDS = {
    "text": DataType.TEXT,
    "number": DataType.NUMBER,
    "list": DataType.LIST,
    "on": DataType.MAP,
    "1e3": DataType.BOOLEAN,
}


@given(ROWS)
def test_yaml_and_json_read_back_as_the_same_data(rows: list[tuple[Any, ...]]) -> None:
    expected = json.loads(write("json", KINDS, rows))
    written = write("yaml", KINDS, rows)
    assert yaml.load(written, yaml.CSafeLoader) == expected
    assert yaml.safe_load(written) == expected  # the other reader
    assert [json.loads(line) for line in write("jsonl", KINDS, rows).splitlines()] == expected


@given(st.lists(VALUES, min_size=1))
def test_yaml_quotes_ambiguous_strings(values: list[str]) -> None:
    for line in write("yaml", {"text": DataType.TEXT}, texts(*values)).splitlines():
        plain = line.removeprefix("- text: ")
        if not plain.startswith(("'", '"')):
            assert not re.match(r"[-+.~0-9]|(y|n|yes|no|on|off|true|false|null)\Z", plain, re.IGNORECASE)


@given(st.lists(st.tuples(VALUES, VALUES)))
@example([("", "")])
@pytest.mark.parametrize(("form", "delimiter"), [("csv", ","), ("tsv", "\t")])
def test_delimited_values_read_back(form: str, delimiter: str, rows: list[tuple[str, str]]) -> None:
    written = write(form, {"a": DataType.TEXT, "b,\t": DataType.TEXT}, rows)
    assert written.endswith("\n")
    read = csv.reader(io.StringIO(written, newline=""), delimiter=delimiter, strict=True)
    assert [tuple(row) for row in read] == [("a", "b,\t"), *rows]


def test_delimited_values_keep_columns_with_the_same_name() -> None:
    heads = (Column("n", "N", DataType.TEXT), Column("n", "N", DataType.NUMBER))
    assert "".join(write_rows(RowSet(heads, [("a", 1)]), MANNER, "csv")) == "n,n\na,1\n"


@pytest.mark.parametrize("form", ["json", "jsonl", "yaml"])
def test_data_cannot_control_a_terminal(form: str) -> None:
    written = write(form, {"text": DataType.TEXT}, texts("a\x1b[31m", "b\x9b31m", "c\x7f", "d\u2028"))
    assert all(sign.isprintable() or sign == "\n" for sign in written)


def test_values_without_a_json_form_are_null() -> None:
    assert write("jsonl", {"n": DataType.NUMBER}, [(float("inf"),), (0.5,)]) == '{"n": null}\n{"n": 0.5}\n'


def test_a_digest_is_a_string_in_yaml() -> None:
    digest = Digest("sha256:" + "ab" * 32)
    written = write("yaml", {"image": DataType.DIGEST}, [(digest,)])
    assert yaml.safe_load(written) == [{"image": str(digest)}]


def test_yaml_is_plain_where_possible() -> None:
    columns = {
        "name": DataType.REFERENCE,
        "version": DataType.TEXT,
        "size": DataType.SIZE,
        "cmd": DataType.LIST,
        "label": DataType.MAP,
    }
    rows = [("redis:7", "7.2", 142, '["redis-server", "--port"]', '{"a": "yes"}'), (None, "é", None, "[]", "{}")]
    assert write("yaml", columns, rows) == (
        '- name: redis:7\n  version: "7.2"\n  size: 142\n  cmd:\n  - redis-server\n  - "--port"\n'
        '  label:\n    a: "yes"\n'
        "- name: null\n  version: é\n  size: null\n  cmd: []\n  label: {}\n"
    )


@pytest.mark.parametrize(("form", "written"), [("json", "[]\n"), ("yaml", "[]\n"), ("jsonl", ""), ("tree", "")])
def test_no_rows(form: str, written: str) -> None:
    assert write(form, IMAGES, []) == written


@pytest.mark.parametrize("form", ["csv", "tsv"])
def test_spreadsheet_safe_output_has_no_formulas(form: str) -> None:
    heads = (Column("=n", "N", DataType.TEXT), Column("size", "SIZE", DataType.NUMBER))
    rows: list[tuple[Any, ...]] = [
        (text, -1) for text in ("=1+1", "+1", "-1", "@SUM(A1)", " =1", "\uff1d1", "a=1", "", "\t=1")
    ]
    plain = "".join(write_rows(RowSet(heads, rows), MANNER, form))
    written = "".join(write_rows(RowSet(heads, rows), MANNER.replace(spreadsheet_safe=True), form))
    delimiter = {"csv": ",", "tsv": "\t"}[form]
    cells = [tuple(line) for line in csv.reader(io.StringIO(written, newline=""), delimiter=delimiter)]
    assert cells == [
        ("'=n", "size"), ("'=1+1", "-1"), ("'+1", "-1"), ("'-1", "-1"), ("'@SUM(A1)", "-1"), ("' =1", "-1"),
        ("'\uff1d1", "-1"), ("a=1", "-1"), ("", "-1"), ("'\t=1", "-1"),
    ]  # fmt: skip
    assert "'" not in plain


def test_tag_characters_are_escaped() -> None:
    """Tag characters are invisible, but they are part of copied text: `U+E0041` is an invisible A."""
    assert escape_controls("a\U000e0041\U000e007fb") == r"a\udb40\udc41\udb40\udc7fb"
    assert json.loads(f'"{escape_controls(chr(0xE0001))}"') == "\U000e0001"


def test_control_characters_are_escaped() -> None:
    assert escape_controls("plain\ttext\nü 画像 👩\u200d🔬") == "plain\ttext\nü 画像 👩\u200d🔬"
    assert escape_controls("\x1b[2J\x9b\x7f\r\u202e\u2066\udc9b\ud800") == (
        r"\u001b[2J\u009b\u007f\u000d\u202e\u2066\x9b\ud800"
    )


@pytest.mark.parametrize("form", ["json", "jsonl", "yaml", "csv", "tsv", "ids"])
def test_a_row_is_written_before_the_next_is_read(form: str) -> None:
    read = 0

    def rows() -> Any:
        nonlocal read
        for number in range(3):
            read += 1
            yield image("redis", str(number), number)

    lines = write_rows(RowSet(headings(IMAGES), rows()), MANNER, form)
    next(line for line in lines if "0" in line)
    assert read == 1


DOCUMENTS = (
    {"Id": "sha256:1", "Env": ["A=1"], "Size": 5, "Healthcheck": None},
    {"Id": "\x9b\ud800", "Env": [], "N": 1.5},
)


@pytest.mark.parametrize(("form", "broken"), [("json", "\ud800"), ("table", "\ud800"), ("YAML", "\ufffd")])
def test_documents(form: str, broken: str) -> None:
    written = "".join(write_documents(Documents(DOCUMENTS, Output(form))))
    assert written.encode()  # a lone surrogate cannot be encoded
    read = yaml.safe_load(written) if form == "YAML" else json.loads(written)
    assert read == [DOCUMENTS[0], {**DOCUMENTS[1], "Id": "\x9b" + broken}]


def test_documents_have_no_columns() -> None:
    with pytest.raises(StatementError, match="documents cannot be written as csv"):
        list(write_documents(Documents(DOCUMENTS, Output("csv"))))
    with pytest.raises(StatementError, match='unknown output format "jsom"'):
        list(write_documents(Documents(DOCUMENTS, Output("jsom"))))


# ---- people

SEEN = ["table", "tree", "markdown", "html", "ids"]


@given(st.lists(st.text(), min_size=1))
@pytest.mark.parametrize("kind", [DataType.TEXT, DataType.TAG, DataType.REFERENCE, DataType.DIGEST])
@pytest.mark.parametrize("form", SEEN)
def test_each_row_is_one_line_for_any_data(form: str, kind: DataType, values: list[str]) -> None:
    written = write(form, {"a": kind, "b\x1b": DataType.TEXT}, [(value, value) for value in values])
    assert all(sign.isprintable() or sign == "\n" for sign in written)


def test_a_template_with_table_replaces_control_characters() -> None:
    answer = RowSet(headings({"a": DataType.TEXT}), [("x\x1b[31m",)], Output(template="table {{.A}}\\t{{.A}}"))
    assert "".join(write_rows(answer, MANNER)) == "A         A\nx [31m    x [31m\n"


def cells(line: str) -> list[str]:
    """Return the unescaped cells of a row of a Markdown table, split as GitHub does."""
    found = re.findall(r"((?:\\[!-/:-@\[-`{-~]|[^|])*)\|", line.removeprefix("|"))
    return [re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", cell.strip(" ")) for cell in found]


@given(st.lists(st.tuples(*[st.text("ab|\\<>*_`[]&~#1 é", max_size=8).map(str.strip)] * 2), min_size=1))
def test_markdown_cells_show_their_text(rows: list[tuple[str, str]]) -> None:
    lines = write("markdown", {"a": DataType.TEXT, "b": DataType.TEXT}, rows).splitlines()
    assert [tuple(cells(line)) for line in lines[2:]] == rows


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("<none>", r"\<none>"),
        ("a|b\\", r"a\|b\\"),
        ("a_b _c_", r"a_b \_c\_"),
        ("*x* `y` [z] ~q~", r"\*x\* \`y\` \[z\] \~q\~"),
        ("&lt; & &#60;", r"\&lt; & \&#60;"),
        ("https://example.com/a_b?c=1", "https://example.com/a_b?c=1"),
        ("a\nb", "a b"),
    ],
)
def test_markdown_cells_are_escaped(text: str, cell: str) -> None:
    assert write("markdown", {"a": DataType.TEXT}, texts(text)).splitlines()[2].removeprefix("| ")[:-1].rstrip() == cell


class Page(HTMLParser):
    """Collects the cells of an HTML table and the names of its elements."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.cells: list[str] = []

    def handle_starttag(self, tag: str, _attributes: object) -> None:
        self.tags.add(tag)
        if tag == "td":
            self.cells.append("")

    def handle_data(self, data: str) -> None:
        if self.cells:
            self.cells[-1] += data


@given(st.lists(st.text("ab<>&\"'/;é ", max_size=8).map(str.strip), min_size=1))
@example(["<script>alert(1)</script>"])
def test_html_cells_show_their_text(values: list[str]) -> None:
    page = Page()
    page.feed(write("html", {"a": DataType.TEXT}, texts(*values)))
    assert [cell.strip() for cell in page.cells] == values
    assert page.tags <= {
        *("html", "head", "meta", "title", "style", "script", "body"),
        *("table", "thead", "tbody", "tr", "th", "td", "button"),
    }


def test_each_known_id_is_written_once() -> None:
    rows = [image("redis", "7", 1), image("redis", "latest", 1), ("x", "y", None, None, None), image("a", "b", 2)]
    assert write("ids", IMAGES, rows) == "000000000000\n"
    whole = DisplayOptions(NOW, UTC, no_trunc=True)
    written = "".join(write_rows(RowSet(headings(IMAGES), rows), whole, "ids"))
    assert written == f"sha256:{1:064x}\nsha256:{2:064x}\n"


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("abc", 3),
        ("é", 1),
        ("e\u0301", 1),
        ("日本", 4),
        ("😀", 2),
        ("", 0),
        ("a\u200db", 2),
        ("한", 2),
        ("\u1112\u1161\u11ab", 2),
    ],
)
def test_width(text: str, columns: int) -> None:
    assert display_width(text) == columns


# ---- the tree


def test_a_tree_of_images() -> None:
    rows = [image("redis", "7", 1), image("team/app", "1", 400), image("redis", "latest", 3), image(None, None, 9)]
    assert write("tree", IMAGES, rows) == (
        "redis\n"
        "├── 7        000000000000   24 hours ago    1MB\n"
        "└── latest   000000000000   3 days ago      3MB\n"
        "team/app\n"
        "└── 1        000000000000   13 months ago   400MB\n"
        "<none>\n"
        "└── <none>   000000000000   9 days ago      9MB\n"
    )


def test_a_tree_has_a_level_for_each_leading_column_with_shared_values() -> None:
    columns = {"registry": DataType.TEXT, "repository": DataType.REPOSITORY, "tag": DataType.TAG, "n": DataType.NUMBER}
    rows = [("docker.io", "redis", "7", 1), ("docker.io", "日本", "é", 2), ("ghcr.io", "app", "v1", 3)]
    rows += [("docker.io", "redis", "latest", 1), ("ghcr.io", "app", "v2", 3)]
    assert write("tree", columns, rows) == (
        "docker.io\n"
        "├── redis\n"
        "│   ├── 7        1\n"
        "│   └── latest   1\n"
        "└── 日本\n"
        "    └── é        2\n"
        "ghcr.io\n"
        "└── app\n"
        "    ├── v1       3\n"
        "    └── v2       3\n"
    )


def test_a_tree_without_shared_values_is_flat() -> None:
    assert write("tree", IMAGES, [image("a", "1", 1), image("bc", "1", 2), image(None, None, 3)]) == (
        "a        1        000000000000   24 hours ago   1MB\n"
        "bc       1        000000000000   2 days ago     2MB\n"
        "<none>   <none>   000000000000   3 days ago     3MB\n"
    )


def test_unknown_values_do_not_form_a_level() -> None:
    rows = [image("a", "1", 1), image(None, None, 2), image(None, None, 3)]
    assert "─" not in write("tree", IMAGES, rows)


def test_the_last_column_is_never_a_level() -> None:
    assert write("tree", {"name": DataType.TEXT}, texts("a", "b", "a")) == "a\nb\na\n"


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("abc"), st.integers(0, 9))))
def test_a_tree_has_every_row_and_each_branch_once(rows: list[tuple[str, str, int]]) -> None:
    branch, found = ["", ""], []
    written = write("tree", {"x": DataType.TEXT, "y": DataType.TEXT, "z": DataType.NUMBER}, rows)
    seen = []
    for line in written.splitlines():
        indent, words = re.fullmatch(r"([ │├└─]*)(.*)", line).groups()  # type: ignore[union-attr]
        depth, values = len(indent) // 4, words.split()
        if values[-1].isdigit():
            found.append((*branch[:depth], *values))
        else:
            branch[depth:] = values
            seen.append(tuple(branch))
    assert sorted(found) == sorted((x, y, str(z)) for x, y, z in rows)
    assert len(seen) == len(set(seen))


def test_every_format_is_described_in_help() -> None:
    for form in FORMATS.values():
        assert form.doc
        assert form.write.__doc__
