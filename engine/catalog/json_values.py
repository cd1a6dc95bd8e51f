"""Converts the values of fields, as SQLite returns them, to JSON values."""

from __future__ import annotations

from math import isfinite

from imq.engine.oci.timestamp import format_time
from imq.grammar.record import TYPE_CHECKING

from .schema import DataType

if TYPE_CHECKING:
    from typing import Any

    from .schema import Raw

    JsonValue = str | int | float | bool | list[str] | dict[str, str] | None

_NANOSECONDS = 1_000_000_000


def to_json_value(data_type: DataType, raw: Raw) -> JsonValue:
    """Return a value for JSON and other data formats: sizes in bytes, times in RFC 3339, durations in seconds."""
    if raw is None:
        return None
    if data_type is DataType.TIME:
        return format_time(int(raw))
    if data_type is DataType.DURATION:
        return int(raw) / _NANOSECONDS
    if data_type is DataType.BOOLEAN:
        return bool(raw)
    if data_type.is_version:
        return get_version_text(raw)
    if data_type in (DataType.LIST, DataType.MAP):
        value: list[str] | dict[str, str] = parse_json(raw)
        return value
    return None if isinstance(raw, float) and not isfinite(raw) else raw  # JSON has no infinity


def get_version_text(raw: Raw) -> str:
    """Return the text of a version, without the key by which SQLite sorts it."""
    from imq.engine.oci.tag_version import SEPARATOR  # compiles patterns that most queries do not need

    return str(raw).rpartition(SEPARATOR)[2]


def parse_json(raw: Raw) -> Any:
    """Return a list or map, which SQLite holds as JSON."""
    import json  # most queries do not need it

    return json.loads(str(raw))
