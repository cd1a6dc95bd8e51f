"""Values with Go's static types: structs in their declared order, nil maps and lists, durations, times, nil pointers.

A declared type decodes a JSON value as `encoding/json` does and gives a zero value for one that is missing. What does
not fit its type counts as missing: documents come from outside.
"""

from __future__ import annotations

from imq.engine.units.go_strconv import write_duration
from imq.grammar.record import TYPE_CHECKING, Record

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

_LARGEST = 1 << 63
ZERO_TIME = "0001-01-01T00:00:00Z"
"""What Go writes for a time that was never set."""


class NilPointer:
    """A pointer that points to nothing: it prints `<nil>`, is false, is null in JSON and has no fields."""

    __slots__ = ()
    go_kind = "pointer"
    go_type = "pointer"

    def __str__(self) -> str:
        return "<nil>"

    def __bool__(self) -> bool:
        return False

    def json_value(self) -> None:
        """Return what JSON writes for it."""


NIL = NilPointer()


class TypedList(list[object]):
    """A list of one type; one that is nil prints as an empty one and is null in JSON."""

    go_type = "[]string"
    nil = False

    def json_value(self) -> list[object] | None:
        """Return what JSON writes for it."""
        return None if self.nil else list(self)


class TypedMap(dict[str, object]):
    """A map of one type: `zero` is what `index` gives for a key that it does not have."""

    go_type = "map[string]string"
    nil = False
    zero: object = ""

    def json_value(self) -> dict[str, object] | None:
        """Return what JSON writes for it."""
        return None if self.nil else dict(self)


class Duration(int):
    """A `time.Duration`: nanoseconds that print as `1m30s`."""

    go_type = "time.Duration"

    def __str__(self) -> str:
        return write_duration(self)


class Time:
    """A `time.Time`, which prints as Go prints it and is RFC 3339 in JSON."""

    go_type = "time.Time"
    __slots__ = ("written",)

    def __init__(self, written: str) -> None:
        self.written = written

    def __str__(self) -> str:
        date, _, clock = self.written.partition("T")
        clock, zone = (clock[:-1], "+0000") if clock.endswith("Z") else (clock[:-6], clock[-6:].replace(":", ""))
        return f"{date} {clock} {zone} {'UTC' if zone == '+0000' else zone}"

    def json_value(self) -> str:
        """Return what JSON writes for it."""
        return self.written


class Struct:
    """A value of a declared struct type: its members by name, those of embedded structs too."""

    __slots__ = ("declared", "values")
    go_kind = "struct"

    def __init__(self, declared: StructType, values: Mapping[str, object]) -> None:
        self.declared = declared
        self.values = values

    @property
    def go_type(self) -> str:
        """What Go calls the type."""
        return self.declared.name

    def lookup(self, name: str) -> object:
        """Return a member; raise `KeyError` when the struct has none of this name."""
        for member in self.declared.members:
            value = self.values[member.name]
            if member.name == name:
                return value
            if member.embedded and isinstance(value, Struct):
                try:
                    return value.lookup(name)
                except KeyError:
                    continue
        raise KeyError(name)

    def names(self) -> list[str]:
        """Return the names of all members."""
        return list(self.declared.names())

    def members(self) -> list[object]:
        """Return the values in their declared order, as `%v` prints them."""
        return [self.values[member.name] for member in self.declared.members]

    def data(self) -> dict[str, object]:
        """Return the JSON object: keys in declared order, empty members left out where their tag says so."""
        written: dict[str, object] = {}
        for member in self.declared.members:
            value = self.values[member.name]
            if member.embedded and isinstance(value, Struct):
                written |= value.data()
            elif not member.omits_empty or member.keeps(value):
                written[member.key or member.name] = value
        return written


class Type(Record):
    """A type that is no struct, by its name in Go."""

    name: str

    def decode(self, value: Any) -> object:
        """Return a JSON value as one of this type; the zero value when it does not fit."""
        match self.name:
            case "string":
                return value if isinstance(value, str) else ""
            case "bool":
                return value is True
            case "*int":
                return value if _is_int(value) else NIL
            case "time.Duration":
                return Duration(value if _is_int(value) else 0)
            case "time.Time":
                return Time(value if isinstance(value, str) and "T" in value else ZERO_TIME)
            case "[]string":
                fits = isinstance(value, list) and all(isinstance(each, str | None) for each in value)
                words = TypedList([each or "" for each in value] if fits else ())  # null is an empty text in Go
                words.nil = not fits
                return words
            case "map[string]string" | "map[string]struct {}":
                return self._map(value)
            case _:
                return value if _is_int(value) else 0

    def _map(self, value: Any) -> TypedMap:
        texts = self.name == "map[string]string"
        fits = isinstance(value, dict) and (not texts or all(isinstance(each, str | None) for each in value.values()))
        held = TypedMap({key: (value[key] or "") if texts else EMPTY for key in sorted(value)} if fits else ())
        held.nil = not fits
        held.go_type = self.name
        held.zero = "" if texts else EMPTY
        return held


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and -_LARGEST <= value < _LARGEST


class Member(Record):
    """A member of a struct: its name, its type, its key in JSON when that is another, and the options of its tag."""

    name: str
    type: Type | StructType
    key: str = ""
    omits_empty: bool = False
    embedded: bool = False
    pointer: bool = False

    def keeps(self, value: object) -> bool:
        """Say whether `omitempty` keeps a value: structs and what a pointer points to always, others if not empty."""
        if self.type.name == "*int":
            return value is not NIL
        return isinstance(value, (Struct, Time)) or bool(value)


class StructType(Record):
    """A struct type: its name in Go and its members in order."""

    name: str
    members: tuple[Member, ...]

    def names(self) -> Iterator[str]:
        """Yield the names of all members, those of embedded structs in their place."""
        for member in self.members:
            if member.embedded and isinstance(member.type, StructType):
                yield from member.type.names()
            else:
                yield member.name

    def decode(self, value: Any) -> Struct:
        """Return a JSON object as a struct of this type; other JSON values give the zero struct."""
        held: Mapping[str, Any] = value if isinstance(value, dict) else {}
        values: dict[str, object] = {}
        for member in self.members:
            if member.embedded:
                values[member.name] = member.type.decode(held)
                continue
            given = held.get(member.key or member.name)
            if member.pointer and not isinstance(given, dict):
                values[member.name] = NIL
            else:
                values[member.name] = member.type.decode(given)
        return Struct(self, values)


EMPTY = Struct(StructType("struct {}", ()), {})


def plain(value: object) -> Any:
    """Return a typed value as plain data, in the order in which Go writes JSON."""
    own = getattr(value, "json_value", None)
    if own is not None:
        value = own()
    if isinstance(value, Struct):
        return {key: plain(each) for key, each in value.data().items()}
    if isinstance(value, dict):
        return {key: plain(value[key]) for key in sorted(value)}
    if isinstance(value, list):
        return [plain(each) for each in value]
    return int(value) if isinstance(value, Duration) else value
