"""YAML that every parser reads as the same data as the JSON. Imported only for YAML output (24 ms)."""

from __future__ import annotations

import re
from functools import lru_cache

import yaml

try:
    from yaml import CSafeDumper as _Base  # seven times as fast; only a PyYAML built without libyaml lacks it
except ImportError:
    from yaml import SafeDumper as _Base  # type: ignore[assignment]

from imq.engine.catalog.json_values import to_json_value
from imq.engine.catalog.schema import DataType
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from imq.engine.catalog.schema import Raw
    from imq.engine.result import RowSet

_AMBIGUOUS_WORDS = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})
"""Words that some parsers read as true, false or null without quotes, in any case."""
_AMBIGUOUS_PREFIXES = "0123456789+-.~"
"""First characters of numbers, times and null in YAML 1.1 or 1.2, which differ: `1e3`, `0o17`, `1:30`."""
_LINE_WIDTH = 1 << 30
"""Line width of the writer: no string is wrapped."""


_PLAIN = r"[A-Za-z_/](?:[!-9;-~]|:(?=[!-~])| (?=[!-\"$-9;-~]))*\Z"
"""A string of printable ASCII that every parser reads unquoted as it is, unless it is one of the ambiguous words."""
_QUOTED = r"[ !#-\[\]-~]*\Z"
"""A string of printable ASCII that needs no escapes in double quotes."""
_MAX_KEY_LENGTH = 100
"""Characters of a key that is certainly written on the line of its value."""
_CACHE_SIZE = 4096
"""The number of values of a column whose YAML is kept."""


class _Dumper(_Base):
    """A dumper that quotes every ambiguous string, and never writes an alias."""

    def ignore_aliases(self, _data: object) -> bool:
        """Write repeated data again."""
        return True


def _represent_string(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    quoted = text[:1] in _AMBIGUOUS_PREFIXES or text.lower() in _AMBIGUOUS_WORDS or not text.isprintable()
    if not text.isascii():
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"' if quoted else None)


_Dumper.add_representer(str, _represent_string)
_Dumper.add_multi_representer(str, lambda dumper, text: _represent_string(dumper, str(text)))  # a digest


def write_yaml_rows(row_set: RowSet) -> Iterator[str]:
    """Yield the rows as one YAML sequence of mappings, as `write_yaml_sequence` does, with an encoder for each column.

    Values that the writer of YAML might quote, fold or escape are left to it: it takes ten times as long.
    """
    columns = {
        column.name: (index, _make_encoder(column.name, column.type)) for index, column in enumerate(row_set.columns)
    }.values()
    empty = True
    for row in row_set.rows:
        empty = False
        yield "- " + "".join([encode(row[index]) for index, encode in columns])[2:]
    if empty:
        yield "[]\n"


def _make_encoder(name: str, data_type: DataType) -> Callable[[Raw], str]:
    """Return the function that writes a value of a column as lines of a mapping in a sequence."""
    key = _format_simple(name) if len(name) <= _MAX_KEY_LENGTH else None

    def dump(value: object) -> str:
        (text,) = write_yaml_sequence([{name: value}])
        return "  " + text[2:]

    def encode(raw: Raw) -> str:
        value = to_json_value(data_type, raw)
        if key is None:
            return dump(value)
        if isinstance(value, list):
            items = [_format_simple(item) for item in value]
            if None in items:
                return dump(value)
            return f"  {key}:\n" + "".join([f"  - {item}\n" for item in items]) if items else f"  {key}: []\n"
        if isinstance(value, dict):
            pairs = [(_format_simple(of), _format_simple(item)) for of, item in value.items()]
            if any(of is None or item is None or len(of) > _MAX_KEY_LENGTH for of, item in pairs):
                return dump(value)
            return (
                f"  {key}:\n" + "".join([f"    {of}: {item}\n" for of, item in pairs]) if pairs else f"  {key}: {{}}\n"
            )
        text = _format_simple(value)
        return dump(value) if text is None else f"  {key}: {text}\n"

    return lru_cache(_CACHE_SIZE)(encode)


def _format_simple(value: object) -> str | None:
    """Return the YAML of a value that has an obvious form; None for any other."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if not isinstance(value, str):
        return None
    if re.match(_PLAIN, value):
        return value if value.lower() not in _AMBIGUOUS_WORDS else f'"{value}"'
    return f'"{value}"' if value[:1] in _AMBIGUOUS_PREFIXES and re.match(_QUOTED, value) else None


def write_yaml_sequence(items: Iterable[object]) -> Iterator[str]:
    """Yield one YAML sequence, item by item. The items are JSON values.

    A lone surrogate, which YAML cannot represent, becomes the replacement character.
    """
    empty = True
    for item in items:
        empty = False
        yield yaml.dump(
            [item], Dumper=_Dumper, allow_unicode=True, sort_keys=False, default_flow_style=False, width=_LINE_WIDTH
        )
    if empty:
        yield "[]\n"
