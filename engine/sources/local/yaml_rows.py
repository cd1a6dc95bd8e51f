"""Reads rows of YAML 1.2. Importing this module takes 24 ms, so it is imported only to read YAML.

Values are limited to those of JSON. `no`, `12:30` and `2024-01-31` are strings, as in YAML 1.2; `017` and `12e34` are
strings, as in YAML 1.1. Tags never create objects. Aliases are expanded, up to a limit on the expanded size.
"""

from __future__ import annotations

import json

import yaml

try:
    from yaml import CSafeLoader as _Base  # seven times as fast; only a PyYAML built without libyaml lacks it
except ImportError:
    from yaml import SafeLoader as _Base  # type: ignore[assignment]

from imq.grammar.errors import Malformed
from imq.grammar.record import TYPE_CHECKING

from .column_types import MAX_DEPTH, check_depth, depth_error, malformed_at, parse_integer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

_TAG = "tag:yaml.org,2002:"
_MAX_VALUES = 1_000_000
"""The maximum number of values in a file; each takes a kilobyte of memory during parsing."""
_MAX_EXPANDED_SIZE = 64 << 20
"""The maximum number of characters after aliases are expanded, with `_VALUE_OVERHEAD` for each value."""
_VALUE_OVERHEAD = 16


class _Loader(_Base):
    """A loader for the core schema of YAML 1.2, and for merge keys, which many files use."""


def _construct_int(loader: _Loader, node: yaml.ScalarNode) -> int | str:
    text = str(loader.construct_scalar(node))
    try:
        return parse_integer(text)
    except ValueError:  # from an explicit tag, as in `!!int x`
        raise yaml.constructor.ConstructorError(None, None, "not an integer", node.start_mark) from None


def _construct_float(loader: _Loader, node: yaml.ScalarNode) -> float | None:
    text = str(loader.construct_scalar(node)).lower()
    if text == ".nan":
        return None
    try:
        return float(text.replace(".inf", "inf"))
    except ValueError:
        raise yaml.constructor.ConstructorError(None, None, "not a number", node.start_mark) from None


def _construct_bool(loader: _Loader, node: yaml.ScalarNode) -> bool:
    text = str(loader.construct_scalar(node)).lower()
    if text not in ("true", "false"):
        raise yaml.constructor.ConstructorError(None, None, "not true or false", node.start_mark)
    return text == "true"


def _configure_loader(loader: Any) -> None:
    """Replace the YAML 1.1 schema of the loader with the core schema of YAML 1.2."""
    import re

    base = loader.yaml_constructors
    loader.yaml_constructors = {f"{_TAG}{name}": base[f"{_TAG}{name}"] for name in ("null", "str", "seq", "map")} | {
        f"{_TAG}int": _construct_int,
        f"{_TAG}float": _construct_float,
        f"{_TAG}bool": _construct_bool,
        None: base[None],
    }
    loader.yaml_implicit_resolvers = {}
    for name, pattern, first in (
        ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
        ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
        ("int", r"[-+]?(0|[1-9][0-9]*)|0o[0-7]+|0x[0-9a-fA-F]+", list("-+0123456789")),
        (
            "float",
            r"[-+]?((\.[0-9]+|(0|[1-9][0-9]*)\.[0-9]*)([eE][-+]?[0-9]+)?|(0|[1-9][0-9]*)[eE][-+][0-9]+)",
            list("-+.0123456789"),
        ),
        ("float", r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", list("-+.")),
        ("merge", r"<<", ["<"]),
    ):
        loader.add_implicit_resolver(f"{_TAG}{name}", re.compile(rf"(?:{pattern})\Z"), first)


_configure_loader(_Loader)


def parse_yaml(source: str, text: str) -> Iterator[object]:
    """Yield the items of documents that are sequences, and the value of any other document that is not empty."""
    try:
        _check_events(source, text)
        loader = _Loader(text)
        try:
            while loader.check_node():
                node = loader.get_node()
                assert node is not None
                _ExpandedSize(source).check(node)
                value = _stringify_keys(loader.construct_document(node))
                check_depth(source, value)
                if isinstance(value, list):
                    yield from value
                elif value is not None:
                    yield value
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        if "nesting depth" in (error.problem or ""):  # libyaml's own limit; its look-ahead may reach it first
            raise depth_error(source) from None
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        raise malformed_at(source, f"invalid YAML: {error.problem or error.context}", line, column) from None
    except yaml.reader.ReaderError as error:
        line = text.encode()[: error.position].count(b"\n") + 1
        raise malformed_at(source, f"invalid YAML: {error.reason}", line) from None


def _check_events(source: str, text: str) -> None:
    """Raise for content that is too deep or too large, before any value is constructed."""
    depth = 0
    for number, event in enumerate(yaml.parse(text, Loader=_Loader)):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                raise depth_error(source)
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if number > _MAX_VALUES:
            raise Malformed(
                f"{source} has more than {_MAX_VALUES} values",
                code="too-large",
                hints=("convert it to JSON, which has no such limit",),
            )


class _ExpandedSize:
    """Measures the size and depth of values with their aliases expanded. Each node is measured once."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._measured: dict[int, tuple[int, int]] = {}

    def check(self, node: yaml.Node) -> None:
        """Raise for values that are too large or too deep, including values that contain themselves."""
        self._measure(node, 1)

    def _measure(self, node: yaml.Node, depth: int) -> tuple[int, int]:
        """Return the size and height of a value at this depth."""
        size, height = self._measured.get(id(node), (0, 0))
        if not size:
            if isinstance(node, yaml.ScalarNode):
                size = len(node.value) + _VALUE_OVERHEAD
            else:
                if depth > MAX_DEPTH:
                    raise depth_error(self._source)
                size, height = _VALUE_OVERHEAD, 1
                for inner in _children(node):
                    inner_size, inner_height = self._measure(inner, depth + 1)
                    size += inner_size
                    height = max(height, inner_height + 1)
            self._measured[id(node)] = size, height
        if depth + height - 1 > MAX_DEPTH:
            raise depth_error(self._source)
        if size > _MAX_EXPANDED_SIZE:
            raise Malformed(
                f"{self._source} has more than {_MAX_EXPANDED_SIZE >> 20} MiB with its aliases", code="too-large"
            )
        return size, height


def _children(node: yaml.Node) -> Iterator[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield key
            yield value
    else:
        yield from node.value


def _stringify_keys(value: object) -> object:
    """Convert the keys of maps to strings, as in JSON."""
    if isinstance(value, dict):
        return {
            key if isinstance(key, str) else json.dumps(key): _stringify_keys(inner) for key, inner in value.items()
        }
    if isinstance(value, list):
        return [_stringify_keys(inner) for inner in value]
    return value
