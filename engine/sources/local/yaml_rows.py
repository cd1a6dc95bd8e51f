"""Rows of YAML, as version 1.2 reads it; loaded only when YAML is read (24 ms).

Only what JSON can hold is read: `no`, `12:30` and `2024-01-31` are the texts that they are in YAML 1.2, `017` and
`12e34` those that they are in 1.1, and a tag makes no object. Aliases are followed, as far as a list may go that has
them written out.
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

from .column_types import DEEPEST, check_depth, malformed, too_deep, whole

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

_TAG = "tag:yaml.org,2002:"
_MOST = 1_000_000
"""Values that a list may have; each takes a kilobyte while it is read."""
_LARGEST = 64 << 20
"""Characters that the values may have when each alias is written out, with `_EACH` for every value."""
_EACH = 16


class _Loader(_Base):
    """A reader of YAML 1.2's core schema, and of merge keys, which files in use have."""


def _integer(loader: _Loader, node: yaml.ScalarNode) -> int | str:
    text = str(loader.construct_scalar(node))
    try:
        return whole(text)
    except ValueError:  # tagged as a number
        raise yaml.constructor.ConstructorError(None, None, "this is no whole number", node.start_mark) from None


def _float(loader: _Loader, node: yaml.ScalarNode) -> float | None:
    text = str(loader.construct_scalar(node)).lower()
    if text == ".nan":
        return None
    try:
        return float(text.replace(".inf", "inf"))
    except ValueError:
        raise yaml.constructor.ConstructorError(None, None, "this is no number", node.start_mark) from None


def _boolean(loader: _Loader, node: yaml.ScalarNode) -> bool:
    text = str(loader.construct_scalar(node)).lower()
    if text not in ("true", "false"):
        raise yaml.constructor.ConstructorError(None, None, "this is neither true nor false", node.start_mark)
    return text == "true"


def _set_up(loader: Any) -> None:
    """Give the loader the core schema in place of YAML 1.1's."""
    import re

    base = loader.yaml_constructors
    loader.yaml_constructors = {f"{_TAG}{name}": base[f"{_TAG}{name}"] for name in ("null", "str", "seq", "map")} | {
        f"{_TAG}int": _integer,
        f"{_TAG}float": _float,
        f"{_TAG}bool": _boolean,
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


_set_up(_Loader)


def yaml_items(source: str, text: str) -> Iterator[object]:
    """Yield the items of the sequences, and what else the documents hold; an empty document holds nothing."""
    try:
        _check_events(source, text)
        loader = _Loader(text)
        try:
            while loader.check_node():
                node = loader.get_node()
                assert node is not None
                _Extent(source).check(node)
                value = _plain(loader.construct_document(node))
                check_depth(source, value)
                if isinstance(value, list):
                    yield from value
                elif value is not None:
                    yield value
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        if "nesting depth" in (error.problem or ""):  # libyaml's own limit, which it may reach while it looks ahead
            raise too_deep(source) from None
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        raise malformed(source, f"this is not YAML: {error.problem or error.context}", line, column) from None
    except yaml.reader.ReaderError as error:
        line = text.encode()[: error.position].count(b"\n") + 1
        raise malformed(source, f"this is not YAML: {error.reason}", line) from None


def _check_events(source: str, text: str) -> None:
    """Refuse, before anything is built of it, what is too deep or too much."""
    depth = 0
    for number, event in enumerate(yaml.parse(text, Loader=_Loader)):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > DEEPEST:
                raise too_deep(source)
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if number > _MOST:
            raise Malformed(
                f"{source} has more than {_MOST} values", code="too-large", hints=("JSON may have more: make it JSON",)
            )


class _Extent:
    """How large and deep values are when their aliases are written out; each is looked at once."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._known: dict[int, tuple[int, int]] = {}

    def check(self, node: yaml.Node) -> None:
        """Refuse what is too large or too deep; a value within itself has no end of depth."""
        self._extent(node, 1)

    def _extent(self, node: yaml.Node, depth: int) -> tuple[int, int]:
        """Return the size and the height of a value that stands at this depth."""
        size, height = self._known.get(id(node), (0, 0))
        if not size:
            if isinstance(node, yaml.ScalarNode):
                size = len(node.value) + _EACH
            else:
                if depth > DEEPEST:
                    raise too_deep(self._source)
                size, height = _EACH, 1
                for inner in _children(node):
                    inner_size, inner_height = self._extent(inner, depth + 1)
                    size += inner_size
                    height = max(height, inner_height + 1)
            self._known[id(node)] = size, height
        if depth + height - 1 > DEEPEST:
            raise too_deep(self._source)
        if size > _LARGEST:
            raise Malformed(f"{self._source} has more than {_LARGEST >> 20} MiB with its aliases", code="too-large")
        return size, height


def _children(node: yaml.Node) -> Iterator[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield key
            yield value
    else:
        yield from node.value


def _plain(value: object) -> object:
    """Return a value whose maps have texts for keys, as JSON's have."""
    if isinstance(value, dict):
        return {key if isinstance(key, str) else json.dumps(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    return value
