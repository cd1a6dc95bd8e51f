"""Values as templates see them: their kinds, truth, text, names and elements.

Data are None, bool, int, float, str, sequences, mappings, and records: objects with `lookup(name)` (KeyError when there
is no such name) and `data()` (a mapping of everything). A number whose class has a `__str__` of its own, as a size has,
counts as a number and prints as that text. `template_types` has values with Go's static types, which name their kind
(`go_kind`: struct, pointer) and their type (`go_type`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from imq.grammar.record import TYPE_CHECKING, Record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

_TYPE_NAMES = {
    "nil": "<nil>",
    "bool": "bool",
    "int": "int",
    "float": "float64",
    "string": "string",
    "list": "[]interface {}",
    "map": "map[string]interface {}",
    "record": "map[string]interface {}",
    "other": "interface {}",
}
_KINDS_BY_TYPE: dict[type, str] = {
    type(None): "nil",
    bool: "bool",
    int: "int",
    float: "float",
    str: "string",
    list: "list",
    tuple: "list",
    dict: "map",
}


class LookupRules(Record):
    """What a template may name. The default suits listings, where a value that is not known must not end the whole.

    `folds_case`: names compare without regard to case when they are not there as written. `missing_key_fails` is Go's
    option `missingkey=error`. `nil_fails`: a field of nil is an error, as in Go.
    """

    ignore_case: bool = True
    error_on_missing_key: bool = False
    error_on_nil: bool = False


LENIENT = LookupRules()


class TemplateFunctionError(Exception):
    """A function failed. The message is Go's."""


class Heading:
    """Stands for a field when the heading of a table is made: whatever is read from it is a heading again."""

    __slots__ = ("path", "titles")

    def __init__(self, path: tuple[str, ...], titles: Callable[[tuple[str, ...]], str]) -> None:
        self.path = path
        self.titles = titles

    def lookup(self, name: str) -> Heading:
        """Return the heading of what a field has under a name."""
        return Heading((*self.path, name if self.path else name.lower()), self.titles)

    def data(self) -> dict[str, object]:
        """Return an empty mapping: a heading has no names."""
        return {}

    def __str__(self) -> str:
        return self.titles(self.path) if self.path else ""  # the whole row has no title


def kind_of(value: object) -> str:
    """Return a value's kind: nil, bool, int, float, string, list, map, record, struct, nil pointer or other."""
    kind = _KINDS_BY_TYPE.get(type(value))
    if kind is None:
        kind = getattr(type(value), "go_kind", None)
    if kind is None:
        if isinstance(value, (str, Heading)):
            kind = "string"
        elif isinstance(value, int):
            kind = "int"
        elif isinstance(value, float):
            kind = "float"
        elif hasattr(value, "lookup"):
            kind = "record"
        elif isinstance(value, Mapping):
            kind = "map"
        elif isinstance(value, Sequence) and not isinstance(value, (bytes, bytearray)):
            kind = "list"
        else:
            kind = "other"
    return kind


def type_name(value: object) -> str:
    """Return the name of a value's type in Go."""
    return getattr(value, "go_type", None) or _TYPE_NAMES[kind_of(value)]


def get_own_string(value: object) -> str | None:
    """Return a string, or the string of a value with its own `__str__`; None for all others."""
    if isinstance(value, str):
        return value
    kind = type(value)
    if kind.__str__ is object.__str__ or kind in _KINDS_BY_TYPE:
        return None
    return str(value) if isinstance(value, (int, float, Heading)) or kind_of(value) == "other" else None


def is_true(value: object) -> bool:
    """Return whether a value is true for `if`: not zero, not empty, not nil."""
    kind = kind_of(value)
    if kind == "string":
        return isinstance(value, Heading) or bool(value)
    return True if kind in {"record", "other", "struct"} else bool(value)


def sort_entries(value: object) -> list[tuple[object, object]]:
    """Return the keys and values of a map or record, keys in order."""
    mapping: Mapping[object, object] = value.data() if kind_of(value) == "record" else value  # type: ignore[attr-defined,assignment]
    pairs = list(mapping.items())
    try:
        pairs.sort(key=_sort_key)
    except TypeError:  # keys of several kinds
        pairs.sort(key=lambda pair: (type_name(pair[0]), str(pair[0])))
    return pairs


def _sort_key(pair: tuple[object, object]) -> Any:
    return pair[0]


def get_field(value: object, name: str, rules: LookupRules = LENIENT) -> object:
    """Return what a value has under a name.

    A map without the name gives None, or by the rules raises KeyError, as a record, a struct, or a value which has no
    names does. An unknown value has unknown fields, None, or by the rules Failure.
    """
    kind = kind_of(value)
    if kind in {"nil", "pointer"}:
        if rules.error_on_nil:
            raise TemplateFunctionError(
                f"nil pointer evaluating {'interface {}' if value is None else type_name(value)}.{name}"
            )
        return None
    if kind in {"record", "struct"} or isinstance(value, Heading):
        return _get_record_field(value, name, rules)
    if kind != "map":
        raise KeyError(name)
    mapping: Mapping[object, object] = value  # type: ignore[assignment]
    if name in mapping:
        return mapping[name]
    if rules.ignore_case:
        folded = name.lower()
        for key in mapping:
            if isinstance(key, str) and key.lower() == folded:
                return mapping[key]
    if rules.error_on_missing_key:
        raise KeyError(name)
    return None


def _get_record_field(value: object, name: str, rules: LookupRules) -> object:
    lookup: Callable[[str], object] = value.lookup  # type: ignore[attr-defined]
    for spelling in (name, name.lower()) if rules.ignore_case else (name,):
        try:
            return lookup(spelling)
        except KeyError:
            continue
    if not rules.ignore_case:
        raise KeyError(name)
    folded = name.lower()
    for key in list_field_names(value):
        if key.lower() == folded:
            return lookup(key)
    raise KeyError(name)


def list_field_names(value: object) -> list[str]:
    """Return the names which can be read from a record, struct or map."""
    if kind_of(value) == "struct":
        return value.names()  # type: ignore[attr-defined,no-any-return]
    if kind_of(value) not in {"record", "map"}:
        return []
    return [str(key) for key, _ in sort_entries(value)]


def iter_elements(value: object) -> Iterator[tuple[object, object]] | None:
    """Return the (index or key, element) pairs that `range` goes through; None when it cannot go through the value."""
    if isinstance(value, Heading):
        return iter(((value, value),))
    match kind_of(value):
        case "nil":
            return iter(())
        case "list":
            return enumerate(value)  # type: ignore[arg-type]
        case "map" | "record":
            return iter(sort_entries(value))
        case "int":
            return ((number, number) for number in range(value))  # type: ignore[call-overload]
        case _:
            return None
