"""Lines, and rows of JSON, CSV and YAML files; errors have a position."""

from __future__ import annotations

import io
import itertools
import json
import os
import re
import sqlite3
import subprocess
import sys
import tempfile
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from imq.engine.catalog.tables import DataType
from imq.engine.render.formats import write_rows
from imq.engine.render.values import DisplayOptions
from imq.engine.render.yaml_writer import write_yaml_sequence
from imq.engine.result import Column, RowSet
from imq.engine.sources.local import file_rows
from imq.engine.sources.local.file_rows import read_lines, read_rows
from imq.grammar.errors import ImqError, Malformed, NotFound
from imq.grammar.parser import parse
from imq.grammar.unparser import unparse
from language.strategies import VOCABULARY

if TYPE_CHECKING:
    import pathlib

    from imq.engine.sources.local.column_types import Records

LARGEST = (1 << 63) - 1


def rows(text: str) -> Records:
    return read_rows("stdin", io.StringIO(text, newline=""))


def file(folder: pathlib.Path, name: str, content: str | bytes) -> str:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


# ---- lines


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("redis:7\nalpine\n", ["redis:7", "alpine"]),
        ("redis:7\r\nalpine\r\n", ["redis:7", "alpine"]),
        ("redis:7", ["redis:7"]),
        ("\n\na\n \n\t\r\nb\n\n", ["a", "b"]),
        ("  a b \n", ["  a b "]),
        ("a\rb\x0bc\x85d\u2028e\n", ["a\rb\x0bc\x85d\u2028e"]),
        ("\ufeffa\n\ufeffb", ["a", "\ufeffb"]),
        ("", []),
        ("\n", []),
        ("# no comment\n", ["# no comment"]),
    ],
)
def test_lines(tmp_path: pathlib.Path, text: str, lines: list[str]) -> None:
    assert list(read_lines(file(tmp_path, "list", text))) == lines
    assert list(read_lines("-", io.StringIO(text, newline=""))) == lines


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n\0\ufeff"))))
def test_written_lines_are_read_back(lines: list[str]) -> None:
    text = "".join(line + "\n" for line in lines)
    assert list(read_lines("-", io.StringIO(text, newline=""))) == [line for line in lines if line.strip()]


def test_lines_of_a_pipe(tmp_path: pathlib.Path) -> None:
    pipe = str(tmp_path / "pipe")
    os.mkfifo(pipe)
    with subprocess.Popen(["sh", "-c", f"printf 'a\\nb\\n' > {pipe}"]):
        assert list(read_lines(pipe)) == ["a", "b"]


# ---- unreadable files


def test_a_missing_file_is_an_error(tmp_path: pathlib.Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    for read in (lambda path: list(read_lines(path)), read_rows):
        with pytest.raises(NotFound, match=r"no such file: .*nothing"):
            read(str(tmp_path / "nothing"))
        with pytest.raises(Malformed, match="is a folder, not a file"):
            read(str(tmp_path))
        with pytest.raises(ImqError, match="Too many levels of symbolic links") as raised:
            read(str(tmp_path / "loop"))
        assert raised.value.code == "read"


@pytest.mark.parametrize(
    ("content", "message", "hint"),
    [
        (b"a\nb\xff\n", "line 2: not valid UTF-8", "convert the file to UTF-8"),
        ("a\n".encode("utf-16"), "line 1: not valid UTF-8", "the file looks like UTF-16"),
        (b"a\nb\nc\0", "line 3: unexpected NUL character", ""),
    ],
)
def test_binary_files_are_an_error(tmp_path: pathlib.Path, content: bytes, message: str, hint: str) -> None:
    with pytest.raises(Malformed, match=message) as raised:
        list(read_lines(file(tmp_path, "list", content)))
    assert raised.value.hints == ((hint,) if hint else ())


def test_binary_data_in_a_stream_is_an_error() -> None:
    data = io.BytesIO(b"a\nb\n\xff")
    with pytest.raises(Malformed, match="standard input, line 3: not valid UTF-8"):
        list(read_lines("-", io.TextIOWrapper(data, "utf-8", errors="surrogateescape")))
    with pytest.raises(Malformed, match="standard input is not valid UTF-8"):
        list(read_lines("-", io.TextIOWrapper(io.BytesIO(b"\xff"), "utf-8")))


def test_a_file_above_the_limit_is_an_error(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_rows, "MAX_SIZE", 4)
    assert list(read_lines(file(tmp_path, "list", "1234"))) == ["1234"]
    for read in (lambda: read_rows(file(tmp_path, "list", "12345")), lambda: rows("12345")):
        with pytest.raises(Malformed) as raised:
            read()
        assert raised.value.code == "too-large"


# ---- the format

JSON, YAML, CSV, TSV = '[{"a":"b,c"}]', 'a: "b,c"', 'a\n"b,c"\n', 'a\tb\n"b,c"\td\n'


@pytest.mark.parametrize(
    ("name", "text"),
    [
        *(
            ("x.json", JSON),
            ("x.jsonl", '{"a":"b,c"}\n'),
            ("x.NDJSON", '{"a":"b,c"}\n'),
            ("x", JSON),
            ("x", f" \n {JSON}"),
        ),
        *(("x.yaml", YAML), ("x.yml", JSON), ("x.txt", YAML), ("x", f"\n# names\n{YAML}"), ("x", f"---\n{YAML}")),
        *(("x", "- a: b,c\n"), ("x", "-\n  a: b,c\n"), ("x", '"a": b,c\n')),
        *(("x.csv", CSV), ("x", CSV), ("x", f"\ufeff{CSV}")),
    ],
)
def test_the_format_follows_from_the_suffix_or_the_first_characters(
    tmp_path: pathlib.Path, name: str, text: str
) -> None:
    records = read_rows(file(tmp_path, name, text))
    assert records.columns == (("a", DataType.TEXT),)
    assert records.rows == (("b,c",),)


@pytest.mark.parametrize("name", ["x.tsv", "x.tab", "x", "x.csv"])
def test_tabs_separate_cells(tmp_path: pathlib.Path, name: str) -> None:
    assert read_rows(file(tmp_path, name, TSV)).rows == (("b,c", "d"),)


@pytest.mark.parametrize("text", ["", "\n\n", "[]", "{}", "--- ~\n", "---\n---\n", "# nothing\n"])
def test_an_empty_list_has_one_column(text: str) -> None:
    records = read_rows("-", io.StringIO(text))
    assert len(records.columns) == 1
    assert all(row == (None,) for row in records.rows)


# ---- JSON


@pytest.mark.parametrize("text", ['["a", 1, null]', '"a"\n1\nnull\n', "- a\n- 1\n-\n", "--- a\n--- 1\n---\n- ~\n"])
def test_an_item_that_is_not_an_object_is_one_value(text: str) -> None:
    records = rows(text) if text[0] != '"' else rows(f"[{text.strip()}]".replace("\n", ","))
    assert records.columns == (("value", DataType.TEXT),)
    assert records.rows == (("a",), ("1",), (None,))


KINDS = [
    ([1, 2.5, None], DataType.NUMBER, [1, 2.5, None]),
    ([True, False, None], DataType.BOOLEAN, [1, 0, None]),
    ([["a"], [], None], DataType.LIST, ['["a"]', "[]", None]),
    ([{"é": 1}, {}], DataType.MAP, ['{"é": 1}', "{}"]),
    (["a", "", None], DataType.TEXT, ["a", "", None]),
    ([None, None], DataType.TEXT, [None, None]),
    ([1, "a", True, [1], {"a": None}], DataType.TEXT, ["1", "a", "true", "[1]", '{"a": null}']),
    ([1, True], DataType.TEXT, ["1", "true"]),
    ([LARGEST, -LARGEST - 1], DataType.NUMBER, [LARGEST, -LARGEST - 1]),
    ([1, LARGEST + 1], DataType.TEXT, ["1", str(LARGEST + 1)]),
    ([10**1000], DataType.TEXT, [str(10**1000)]),
    (["a\0b"], DataType.TEXT, ["a\0b"]),
    (["\ud800", ["\udc00"]], DataType.TEXT, ["\ufffd", '["\ufffd"]']),
]


@pytest.mark.parametrize(("values", "kind", "cells"), KINDS, ids=[str(number) for number in range(len(KINDS))])
@pytest.mark.parametrize("form", ["array", "lines", "yaml"])
def test_kinds(form: str, values: list[Any], kind: DataType, cells: list[Any]) -> None:
    lines = [json.dumps({"a": value}) for value in values]
    if form == "yaml":
        if "\\ud" in "".join(lines):
            return  # YAML has no halves of pairs
        text = "".join(f"- {line}\n" for line in lines)
    else:
        text = f"[{','.join(lines)}]" if form == "array" else "\n".join(lines)
    records = rows(text)
    assert records.columns == (("a", kind),)
    assert records.rows == tuple((cell,) for cell in cells)


def test_huge_integers_are_read_quickly() -> None:
    digits = "9" * 2_000_000
    for text in (f"[{digits}]", f"- {digits}\n", f"value\n{digits}\n"):
        assert rows(text).rows == ((digits,),)


def test_columns_are_in_the_order_of_first_occurrence() -> None:
    records = rows('[{"b": 1, "a": "x"}, {"c": true, "a": null}, 5, {"": 0}]')
    assert records.columns == (
        ("b", DataType.NUMBER),
        ("a", DataType.TEXT),
        ("c", DataType.BOOLEAN),
        ("value", DataType.NUMBER),
        ("column_5", DataType.NUMBER),
    )
    assert records.rows[1] == (None, None, 1, None, None)


def test_nan_and_infinity_are_read_as_python_writes_them() -> None:
    assert rows("[NaN, Infinity, 1]").rows == ((None,), (float("inf"),), (1,))


@pytest.mark.parametrize(
    ("text", "position", "reason"),
    [
        ('[1,\n "a"', "line 2, column 5", "expecting ',' delimiter"),
        ('{"a":1}\n{"a" 2}', "line 2, column 6", "expecting ':' delimiter"),
        ('{"a":1} nonsense', "line 1, column 9", "expecting value"),
        ('["a\nb"]', "line 1, column 4", "invalid control character at"),
    ],
)
def test_malformed_json(text: str, position: str, reason: str) -> None:
    with pytest.raises(Malformed, match=f"standard input, {position}: invalid JSON: {reason}"):
        rows(text)


@pytest.mark.parametrize(
    "text",
    [
        *("[" * 101 + "]" * 101, "[" * 100_000, '{"a":' * 5000 + "1" + "}" * 5000),
        *("- " * 101 + "a", "- " + "[" * 100_000, "a: &a [*a]", "a: &a {<<: *a}"),
        "".join(f"k{n}: &k{n} [*k{n - 1}]\n" if n else "k0: &k0 []\n" for n in range(9999)),
    ],
    ids=range(8),
)
def test_deep_nesting_is_an_error(text: str) -> None:
    with pytest.raises(Malformed, match="nested more than 100 levels deep") as raised:
        rows(text)
    assert raised.value.code == "too-deep"


def test_a_hundred_levels_are_allowed() -> None:
    assert rows("[" * 100 + "]" * 100).columns == (("value", DataType.LIST),)
    assert rows("- " + "[" * 99 + "]" * 99).columns == (("value", DataType.LIST),)


# ---- CSV


def test_csv() -> None:
    records = rows('name, size ,,note\r\nredis:7,12,x,"a ""b"",\nc"\r\n\r\nalpine,,y\r\n')
    assert [name for name, _ in records.columns] == ["name", "size", "column_3", "note"]
    assert records.rows == (("redis:7", 12, "x", 'a "b",\nc'), ("alpine", None, "y", None))


@pytest.mark.parametrize(
    ("cells", "numbers"),
    [
        (["1", "-2", "0", ""], [1, -2, 0, None]),
        (["1.5", "2", "-0.25"], [1.5, 2, -0.25]),
        ([str(LARGEST)], [LARGEST]),
        (["007", "1"], None),
        (["7.2", "7.10"], None),
        (["1e3"], None),
        (["0x1F"], None),
        ([" 1"], None),
        (["+1"], None),
        (["-0"], None),
        (["1,000"], None),
        (["nan"], None),
        (["٣"], None),
        ([str(LARGEST + 1)], None),
        (["0.12345678901234567890"], None),
        (["1", "x"], None),
        (["", ""], None),
        (["true"], None),
    ],
)
def test_a_column_is_numeric_when_all_its_cells_are_numbers(
    cells: list[str], numbers: list[float | None] | None
) -> None:
    records = rows("a,b\n" + "".join(f'"{cell}",x\n' for cell in cells))
    assert records.columns[0] == ("a", DataType.TEXT if numbers is None else DataType.NUMBER)
    assert [row[0] for row in records.rows] == (numbers or [cell or None for cell in cells])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2\n1,2,3\n", "line 3: 3 cells, but the header has 2"),
        ('a\n"b\n', "line 2: invalid CSV: unexpected end of data"),
        ('a\n"b"c\n', "line 2: invalid CSV: ',' expected after '\"'"),
    ],
)
def test_malformed_csv(text: str, message: str) -> None:
    with pytest.raises(Malformed, match=re.escape(f"standard input, {message}")):
        rows(text)


CELLS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))


@given(st.lists(st.tuples(CELLS, CELLS), min_size=1))
@example([("1\r2", "\r\n")])
@pytest.mark.parametrize("form", ["csv", "tsv", "json", "jsonl", "yaml"])
def test_the_output_of_a_format_is_read_back(form: str, values: list[tuple[str, str]]) -> None:
    texts = [(f"x{first}", f"y{second}") for first, second in values]
    answer = RowSet((Column("one", "", DataType.TEXT), Column("two", "", DataType.TEXT)), texts)
    written = "".join(write_rows(answer, DisplayOptions(0, None), form))
    records = read_rows("-", io.StringIO(written, newline=""))
    assert records.columns == (("one", DataType.TEXT), ("two", DataType.TEXT))
    assert list(records.rows) == texts


# ---- YAML


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *(("no", "no"), ("Yes", "Yes"), ("on", "on"), ("true", 1), ("False", 0), ("~", None), ("null", None)),
        *(("12", 12), ("-1", -1), ("+5", 5), ("0o17", 15), ("0x1F", 31), ("017", "017"), ("1_000", "1_000")),
        *(
            ("1.5", 1.5),
            ("1e+3", 1000.0),
            ("1.5e3", 1500.0),
            ("12e34", "12e34"),
            (".5", 0.5),
            ("1.", 1.0),
            (".nan", None),
            ("-.inf", -float("inf")),
        ),
        *(("22:22", "22:22"), ("2024-01-31", "2024-01-31"), ("2024-01-31T00:00:00Z", "2024-01-31T00:00:00Z")),
        *(
            ("'1'", "1"),
            ('"\\u00e9"', "é"),
            ("!!str 1", "1"),
            ("!!int '7'", 7),
            ("=", "="),
            ("|\n    a\n    b", "a\nb\n"),
        ),
    ],
)
def test_yaml_scalars(text: str, value: object) -> None:
    assert rows(f"- a: {text}\n").rows == ((value,),)


def test_yaml_documents_aliases_and_merges() -> None:
    text = "base: &base {a: 1, b: x}\n---\n- &first {a: 2, b: y}\n- <<: *first\n  b: z\n- *first\n---\n"
    records = rows(text)
    assert records.columns == (("base", DataType.MAP), ("a", DataType.NUMBER), ("b", DataType.TEXT))
    assert records.rows == (('{"a": 1, "b": "x"}', None, None), (None, 2, "y"), (None, 2, "z"), (None, 2, "y"))


def test_yaml_keys_become_strings() -> None:
    assert rows("0: a\ntrue: b\n~: c\nx: {2: d}\n").columns == (
        ("0", DataType.TEXT),
        ("true", DataType.TEXT),
        ("null", DataType.TEXT),
        ("x", DataType.MAP),
    )


@pytest.mark.parametrize(
    ("text", "position", "reason"),
    [
        ("a: [1\nb: 2\n", "line 2, column 2", "did not find expected ',' or ']'"),
        ("a: b: c\n", "line 1, column 5", "mapping values are not allowed"),
        ("a: *b\n", "line 1, column 4", "found undefined alias"),
        ("- a\n- !!python/object:os.system x\n", "line 2, column 3", "could not determine a constructor"),
        ("- !local x\n", "line 1, column 3", "could not determine a constructor"),
        ("- !!timestamp x\n", "line 1, column 3", "could not determine a constructor"),
        ("- !!int x\n", "line 1, column 3", "not an integer"),
        ("- !!float x\n", "line 1, column 3", "not a number"),
        ("- !!bool x\n", "line 1, column 3", "not true or false"),
        ("- {[a]: b}\n", "line 1, column 4", "found unhashable key"),
        ("- a\n- \x01\n", "line 2", "control characters are not allowed"),
    ],
)
def test_malformed_yaml(text: str, position: str, reason: str) -> None:
    with pytest.raises(Malformed, match=f"standard input, {position}: invalid YAML: {re.escape(reason)}"):
        rows(text)


def bomb(first: str, inner: str) -> str:
    """Return YAML with nine levels of nine aliases each."""
    names = "abcdefghi"
    levels = [f"{name}: &{name} {inner % ','.join([f'*{below}'] * 9)}" for below, name in itertools.pairwise(names)]
    return "\n".join([f"a: &a {first}", *levels, ""])


@pytest.mark.parametrize(
    "text",
    [bomb("[x]", "[%s]"), bomb("{x: y}", "{<<: [%s]}"), f"a: &a {'x' * 100_000}\nb: [{','.join(['*a'] * 1000)}]\n"],
    ids=["lists", "merges", "texts"],
)
def test_yaml_bombs_are_refused(text: str) -> None:
    code = "import sys; from imq.engine.sources.local.file_rows import read_rows; read_rows('x', sys.stdin)"
    limit = "import resource; resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30)); "
    run = subprocess.run(
        [sys.executable, "-c", limit + code], input=text, capture_output=True, text=True, timeout=60, check=False
    )
    assert "standard input has more than 64 MiB with its aliases" in run.stderr


def test_yaml_with_too_many_values_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from imq.engine.sources.local import yaml_rows

    monkeypatch.setattr(yaml_rows, "_MAX_VALUES", 10)
    with pytest.raises(Malformed, match="more than 10 values") as raised:
        rows("- a\n" * 11)
    assert raised.value.code == "too-large"


JSONS = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 63), LARGEST) | st.floats(allow_nan=False) | CELLS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(CELLS, inner, max_size=3),
    max_leaves=8,
)


@given(st.lists(st.dictionaries(st.sampled_from("abc"), JSONS, max_size=3), max_size=4))
def test_yaml_is_read_as_the_same_json(items: list[dict[str, Any]]) -> None:
    text = "".join(write_yaml_sequence(items))
    assert rows(f"---\n{text}") == rows(json.dumps(items))


# ---- columns


@pytest.mark.parametrize(
    "text", ['[{"Name": 1}, {"name": 2}]', "- {layer_count: 1, LayerCount: 2}\n", "a_b,AB\n1,2\n", "a,a\n1,2\n"]
)
def test_duplicate_column_names_are_an_error(text: str) -> None:
    with pytest.raises(Malformed, match='has duplicate column names: "') as raised:
        rows(text)
    assert raised.value.code == "columns"


@pytest.mark.parametrize(
    "text", [json.dumps({f"k{n}": n for n in range(1001)}), ",".join(f"k{n}" for n in range(1001))]
)
def test_too_many_columns_are_an_error(text: str) -> None:
    with pytest.raises(Malformed, match="has more than 1000 columns") as raised:
        rows(text)
    assert raised.value.code == "too-wide"


def test_a_column_with_an_invalid_name() -> None:
    with pytest.raises(Malformed, match="NUL"):
        rows('{"a\\u0000": 1}')


@given(st.text(st.sampled_from('{}[]",:-\n\t #&*!|>ab1.~\\<é'), max_size=30) | st.text(max_size=30))
@pytest.mark.parametrize("ending", ["json", "yaml", "csv", "tsv", "txt"])
def test_any_text_results_in_rows_or_an_error(ending: str, text: str) -> None:
    with tempfile.NamedTemporaryFile(suffix=f".{ending}") as written:
        written.write(text.encode("utf-8", "replace"))
        written.flush()
        try:
            records = read_rows(written.name)
        except Malformed:
            return
    names = ", ".join('"' + column.replace('"', '""') + '"' for column, _ in records.columns)
    connection = sqlite3.connect(":memory:")
    connection.execute(f"CREATE TABLE t ({names})")
    connection.executemany(f"INSERT INTO t VALUES ({','.join('?' * len(records.columns))})", records.rows)
    connection.close()


@pytest.mark.parametrize(
    ("name", "content", "at", "expected"),
    [
        ("a.json", '{"a": {"b": [{"c": 1}, [{"c": 2}]]}}', ("a", "b"), [(1,), (2,)]),
        ("a.json", '[{"a": [{"b": [1, 2]}]}, {"a": [{"b": []}]}, {"x": 1}]', ("a", "b"), [(1,), (2,)]),
        ("a.yaml", "a: {b: 1}\n---\na: {b: [2, 3]}\n---\nx: 1\n", ("a", "b"), [(1,), (2,), (3,)]),
        ("a.yaml", "a: {b: null}\n", ("a", "b"), []),
        ("a.json", "", ("a",), []),
    ],
)
def test_the_values_at_a_path_are_rows(
    tmp_path: pathlib.Path, name: str, content: str, at: tuple[str, ...], expected: list[tuple[int, ...]]
) -> None:
    assert list(read_rows(file(tmp_path, name, content), at=at).rows) == expected


def test_a_star_is_each_key_of_a_map(tmp_path: pathlib.Path) -> None:
    path = file(tmp_path, "compose.yaml", "services: {web: {image: app:1}, db: {image: redis:7, key: own}}\nname: x\n")
    services = read_rows(path, at=("services", "*"))
    assert [column for column, _ in services.columns] == ["key", "image", "parent"]
    assert [row[:2] for row in services.rows] == [("web", "app:1"), ("own", "redis:7")]
    assert list(read_rows(path, at=("services", "*", "image")).rows) == [("app:1",), ("redis:7",)]
    own = file(tmp_path, "own.json", '{"a": {"*": {"b": 1}, "c": {"b": 2}}}')
    assert list(read_rows(own, at=("a", "*", "b")).rows) == [(1,)], "a key of this name counts alone"
    with pytest.raises(Malformed, match=r"has nothing at services\.web\.\*"):
        read_rows(file(tmp_path, "empty.yaml", "services: {web: x}"), at=("services", "web", "*"))


def test_rows_at_a_path_know_what_they_are_part_of(tmp_path: pathlib.Path) -> None:
    """Of the next item of a list or document around a row: its scalar values, those of nested maps too."""
    path = file(
        tmp_path,
        "pods.yaml",
        "items:\n"
        "- kind: Pod\n"
        "  metadata: {name: web, labels: {app.io/name: x, deep: {er: {est: 1}}}, generation: 2}\n"
        "  spec: {hostNetwork: true, initContainers: [{image: a}], containers: [{image: b}, {image: c}]}\n"
        "- metadata: {name: job}\n"
        "  spec: {containers: [{image: d}], nodeName: n}\n",
    )
    records = read_rows(path, at=("items", "spec", "*"))
    names = [name for name, _ in records.columns]
    rows = [dict(zip(names, row, strict=True)) for row in records.rows]
    rows = [row for row in rows if row["image"] is not None]  # the others are scalars
    assert [(row["key"], row["image"]) for row in rows] == [
        ("initContainers", "a"), ("containers", "b"), ("containers", "c"), ("containers", "d"),
    ]  # fmt: skip
    web = {
        "kind": "Pod",
        "metadata.name": "web",
        "metadata.labels.app.io/name": "x",
        "metadata.generation": "2",
        "spec.hostNetwork": "true",
    }
    job = {"metadata.name": "job", "spec.nodeName": "n"}
    assert [json.loads(str(row["parent"])) for row in rows] == [web, web, web, job]
    own = file(tmp_path, "own.json", '{"name": "x", "a": [{"b": 1, "parent": "own"}]}')
    assert list(read_rows(own, at=("a",)).rows) == [(1, "own")]


def test_a_star_in_a_path_is_written_as_it_was_read() -> None:
    for text in ("services.*", "services.*.image", 'a."b c".*'):
        (statement,) = parse(f"rows of compose.yaml at {text} select image", VOCABULARY)
        assert unparse(statement) == f"rows of compose.yaml at {text} select image"


@pytest.mark.parametrize("content", ['{"a": {"c": 1}}', '{"a": 1}', '{"A": {"b": 1}}'])
def test_a_path_that_no_value_has_is_an_error(tmp_path: pathlib.Path, content: str) -> None:
    with pytest.raises(Malformed, match=r"has nothing at a") as caught:
        read_rows(file(tmp_path, "a.json", content), at=("a", "b"))
    assert caught.value.code == "path"
