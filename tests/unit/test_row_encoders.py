"""The encoders of columns write what the encoders of whole rows write."""

from __future__ import annotations

import json

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from imq.engine.catalog.json_values import to_json_value
from imq.engine.catalog.schema import DataType
from imq.engine.render.formats import FORMATS
from imq.engine.render.formats_data import to_json
from imq.engine.render.values import DisplayOptions
from imq.engine.render.yaml_writer import write_yaml_sequence
from imq.engine.result import Column, RowSet
from imq.grammar.ast import Output

OPTIONS = DisplayOptions(0, None)
TEXTS = st.one_of(
    st.text(max_size=8),
    st.text("ab:# \"'\\,[]{}-/%&*!|>@`?~=<\x7f\x80\u2028", max_size=6),
    st.sampled_from(
        ["no", "Null", "~", "1e3", "0o17", "1:30", "2024-01-31", "<<", "=", "---", "a: b", "a #b", "a ", "k" * 130]
    ),
)
RAW = {
    DataType.TEXT: TEXTS,
    DataType.NUMBER: st.one_of(st.integers(-(2**63), 2**63 - 1), st.floats()),
    DataType.SIZE: st.integers(0, 2**62),
    DataType.TIME: st.integers(0, 2**62),
    DataType.DURATION: st.integers(0, 2**62),
    DataType.BOOLEAN: st.integers(0, 1),
    DataType.VERSION: TEXTS.map(lambda text: f"key\x1f{text}"),
    DataType.LIST: st.lists(st.one_of(TEXTS, st.none(), st.integers(0, 9), st.floats(0, 1)), max_size=4).map(json.dumps)
    | st.lists(TEXTS, max_size=4).map(lambda value: json.dumps(value, ensure_ascii=False, separators=(",", ":"))),
    DataType.MAP: st.dictionaries(TEXTS, TEXTS, max_size=4).map(
        lambda value: json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    ),
}


@st.composite
def row_sets(draw: st.DrawFn) -> RowSet:
    types = draw(st.lists(st.sampled_from(list(RAW)), min_size=1, max_size=4))
    names = draw(st.lists(TEXTS.filter(bool), min_size=len(types), max_size=len(types)))
    rows = draw(st.lists(st.tuples(*(st.none() | RAW[kind] for kind in types)), max_size=3))
    return RowSet(tuple(Column(name, name, kind) for name, kind in zip(names, types, strict=True)), rows, Output())


def objects(row_set: RowSet) -> list[dict[str, object]]:
    return [
        {column.name: to_json_value(column.type, raw) for column, raw in zip(row_set.columns, row, strict=True)}
        for row in row_set.rows
    ]


@settings(max_examples=100, deadline=None)
@given(row_sets())
def test_rows_are_written_as_whole_objects_are(row_set: RowSet) -> None:
    wanted = objects(row_set)
    assert list(FORMATS["jsonl"].write(row_set, OPTIONS)) == [to_json(row) + "\n" for row in wanted]
    assert json.loads("".join(FORMATS["json"].write(row_set, OPTIONS))) == wanted
    assert "".join(FORMATS["yaml"].write(row_set, OPTIONS)) == "".join(write_yaml_sequence(wanted))


@pytest.mark.parametrize(
    "raw", ['["a",",","b"]', '{"a":",","b":":"}', '{"a":"1","a":"2"}', '["a", "b"]', "[1.50,true]"]
)
def test_values_that_look_like_their_separators(raw: str) -> None:
    kind = DataType.MAP if raw.startswith("{") else DataType.LIST
    row_set = RowSet((Column("value", "VALUE", kind),), [(raw,)], Output())
    assert list(FORMATS["jsonl"].write(row_set, OPTIONS)) == [json.dumps({"value": json.loads(raw)}) + "\n"]
    assert yaml.safe_load("".join(FORMATS["yaml"].write(row_set, OPTIONS))) == [{"value": json.loads(raw)}]
