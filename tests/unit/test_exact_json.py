"""JSON that is parsed and written back unchanged."""

from __future__ import annotations

import json

import pytest
from imq.engine.oci.manifest import encode_json, parse_json_object, parse_layout_index
from imq.engine.units import exact_json
from imq.grammar.errors import Malformed

NUMBERS = '{"a":[1.10,1e400,-0.0,0.1234567890123456789012,{"b":2.50}],"c":12345678901234567890123,"d":-7E+2}'


@pytest.mark.parametrize("text", [NUMBERS, '{"a":-0}', "[]", '"é\u2028"', '{"\\ud800":"\\udcff"}', "[1.5,1.5]"])
def test_a_document_is_written_as_it_was_read(text: str) -> None:
    assert exact_json.dumps(exact_json.loads(text.encode())) == text.encode()


def test_indented_output_has_the_same_values() -> None:
    written = exact_json.dumps(exact_json.loads(NUMBERS.encode()), indent="\t")
    assert b"1e400" in written
    assert json.loads(written) == json.loads(NUMBERS)


def test_only_half_a_surrogate_pair_is_escaped() -> None:
    assert exact_json.dumps(["é\ud800", "\U0001f600"]) == '["é\\ud800","\U0001f600"]'.encode()


@pytest.mark.parametrize("text", ["NaN", "[Infinity]", '{"a":-Infinity}'])
def test_constants_of_javascript_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no number"):
        exact_json.loads(text.encode())


def test_a_value_without_json_is_refused() -> None:
    with pytest.raises(TypeError, match="set"):
        exact_json.dumps([set()])


def test_manifests_keep_their_numbers_on_request() -> None:
    assert encode_json(parse_json_object(NUMBERS.encode(), "it", keep_numbers=True)) == NUMBERS.encode()
    assert parse_json_object(b'{"a":1.50}', "it") == {"a": 1.5}


def test_a_kept_number_in_the_wrong_field_is_called_a_number() -> None:
    with pytest.raises(Malformed, match="mediaType is a number"):
        parse_layout_index(b'{"mediaType":1.5,"manifests":[]}', "index.json")
