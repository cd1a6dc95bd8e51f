"""The columns for the fields that image configs hold, and their values, as the catalog declares them.

A string has its own column in the tables `image` and `entry`, where rows are filtered and sorted. Lists and maps can
be long, so they are JSON columns of the table `config`.
"""

from __future__ import annotations

from imq.engine.catalog.schema import DataType
from imq.engine.catalog.tables.image_config import CONFIG_FIELDS
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from imq.engine.catalog.schema import Field
    from imq.engine.oci.config import Config

STRING_FIELDS = tuple(field for field in CONFIG_FIELDS if field.type not in (DataType.LIST, DataType.MAP))
JSON_FIELDS = tuple(field for field in CONFIG_FIELDS if field.type in (DataType.LIST, DataType.MAP))
MAP_FIELDS = tuple(field for field in CONFIG_FIELDS if field.type is DataType.MAP)

STRING_COLUMNS = ", ".join(field.name for field in STRING_FIELDS)
JSON_COLUMNS = ", ".join(field.name for field in JSON_FIELDS)
STRING_DEFINITIONS = ", ".join(f"{field.name} TEXT" for field in STRING_FIELDS)
JSON_DEFINITIONS = ", ".join(f"{field.name} TEXT{' NOT NULL' * (field.type is DataType.MAP)}" for field in JSON_FIELDS)


def _read_string(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _read_list(value: Any) -> list[str] | None:
    if isinstance(value, str):  # very old configs write a single command as one string
        return [value]
    if not isinstance(value, list):
        return None
    return [word if isinstance(word, str) else "" for word in value]


def _read_keys(value: Any) -> list[str]:
    return sorted(value) if isinstance(value, dict) else []


def _read_map(value: Any) -> dict[str, str]:
    pairs = value.items() if isinstance(value, dict) else ()
    return {name: text if isinstance(text, str) else "" for name, text in pairs}


def _read_pairs(value: Any) -> dict[str, str]:
    pairs = (word.partition("=") for word in _read_list(value) or ())
    return {name: text for name, _, text in pairs}


_READERS: dict[str, Callable[[Any], Any]] = {
    "string": _read_string,
    "property": _read_string,
    "list": _read_list,
    "pairs": _read_pairs,
    "map": _read_map,
    "keys": _read_keys,
}
"""The reader of a value, by `FromConfig.shape`. A value of another type counts as missing."""


def _read(config: Config, field: Field) -> Any:
    source = field.config
    assert source is not None, field.name
    if source.shape == "healthcheck":
        return config.healthcheck
    part = config.document if source.shape == "property" else config.runtime
    return _READERS[source.shape](part.get(source.key))


def read_strings(config: Config) -> tuple[str | None, ...]:
    """Return the values of `STRING_COLUMNS`."""
    return tuple(_read(config, field) for field in STRING_FIELDS)


def read_documents(config: Config) -> dict[str, Any]:
    """Return the lists and maps of `JSON_COLUMNS`, by column; None for a list that the config does not have."""
    return {field.name: _read(config, field) for field in JSON_FIELDS}
