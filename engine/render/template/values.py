"""Values of templates: their kinds, truth, strings, fields and elements.

A value is None, a bool, int, float, str, sequence or mapping, or a record. A record is an object with `lookup(name)`,
which raises KeyError for an unknown name, and `data()`, a mapping of all fields. A number with its own `__str__`, such
as a size, is a number that prints as that string. `go_types.py` has values with Go's static types; they declare their
kind (`go_kind`: struct, pointer) and type (`go_type`).
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
    """How names are looked up. The default is for listings, in which an unknown value is not an error.

    `ignore_case`: names match in any case when there is no exact match. `error_on_missing_key` is Go's option
    `missingkey=error`. `error_on_nil`: a field of nil is an error, as in Go.
    """

    ignore_case: bool = True
    error_on_missing_key: bool = False
    error_on_nil: bool = False


LENIENT = LookupRules()


class TemplateFunctionError(Exception):
    """A function failed. The message is that of Go."""


class Heading:
    """The value of every field while a heading row is rendered. Its fields are headings too."""

    __slots__ = ("path", "titles")

    def __init__(self, path: tuple[str, ...], titles: Callable[[tuple[str, ...]], str]) -> None:
        self.path = path
        self.titles = titles

    def lookup(self, name: str) -> Heading:
        """Return the heading of a field below this one."""
        return Heading((*self.path, name if self.path else name.lower()), self.titles)

    def data(self) -> dict[str, object]:
        """Return an empty mapping."""
        return {}

    def __str__(self) -> str:
        return self.titles(self.path) if self.path else ""  # the whole row has no title


def get_kind(value: object) -> str:
    """Return the kind of a value: nil, bool, int, float, string, list, map, record, struct, pointer or other."""
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


def get_type_name(value: object) -> str:
    """Return the name of the type of a value in Go."""
    return getattr(value, "go_type", None) or _TYPE_NAMES[get_kind(value)]


def get_own_string(value: object) -> str | None:
    """Return a string, or the string of a value with its own `__str__`; None for all others."""
    if isinstance(value, str):
        return value
    kind = type(value)
    if kind.__str__ is object.__str__ or kind in _KINDS_BY_TYPE:
        return None
    return str(value) if isinstance(value, (int, float, Heading)) or get_kind(value) == "other" else None


def is_true(value: object) -> bool:
    """Return whether a value is true for `if`: not zero, not empty, not nil."""
    kind = get_kind(value)
    if kind == "string":
        return isinstance(value, Heading) or bool(value)
    return True if kind in {"record", "other", "struct"} else bool(value)


def sort_entries(value: object) -> list[tuple[object, object]]:
    """Return the keys and values of a map or record, sorted by key."""
    mapping: Mapping[object, object] = value.data() if get_kind(value) == "record" else value  # type: ignore[attr-defined,assignment]
    pairs = list(mapping.items())
    try:
        pairs.sort(key=_sort_key)
    except TypeError:  # keys of several types
        pairs.sort(key=lambda pair: (get_type_name(pair[0]), str(pair[0])))
    return pairs


def _sort_key(pair: tuple[object, object]) -> Any:
    return pair[0]


def get_field(value: object, name: str, rules: LookupRules = LENIENT) -> object:
    """Return the field of this name.

    A missing key of a map is None, or raises KeyError with `error_on_missing_key`. Other values raise KeyError. A field
    of nil is None, or raises `TemplateFunctionError` with `error_on_nil`.
    """
    kind = get_kind(value)
    if kind in {"nil", "pointer"}:
        if rules.error_on_nil:
            raise TemplateFunctionError(
                f"nil pointer evaluating {'interface {}' if value is None else get_type_name(value)}.{name}"
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
    """Return the names of the fields of a record, struct or map."""
    if get_kind(value) == "struct":
        return value.names()  # type: ignore[attr-defined,no-any-return]
    if get_kind(value) not in {"record", "map"}:
        return []
    return [str(key) for key, _ in sort_entries(value)]


def iter_elements(value: object) -> Iterator[tuple[object, object]] | None:
    """Return the pairs of index or key and element for `range`; None for a value that is not iterable."""
    if isinstance(value, Heading):
        return iter(((value, value),))
    match get_kind(value):
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
