"""Values with Go's static types: structs in their declared order, nil maps and lists, durations, times, nil pointers.

A declared type decodes a JSON value as `encoding/json` does, and a missing value to the zero value. A value of another
type counts as missing, because documents are not trusted.
"""

from __future__ import annotations

from imq.engine.units.go_strconv import format_duration
from imq.grammar.record import TYPE_CHECKING, Record

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

_INT64_LIMIT = 1 << 63
ZERO_TIME = "0001-01-01T00:00:00Z"
"""Go's zero time."""


class NilPointer:
    """A nil pointer: it prints as `<nil>`, is false, is null in JSON and has no fields."""

    __slots__ = ()
    go_kind = "pointer"
    go_type = "pointer"

    def __str__(self) -> str:
        return "<nil>"

    def __bool__(self) -> bool:
        return False

    def json_value(self) -> None:
        """Return the value for JSON."""


NIL_POINTER = NilPointer()


class TypedList(list[object]):
    """A list of one type. A nil list prints as an empty one and is null in JSON."""

    go_type = "[]string"
    is_nil = False

    def json_value(self) -> list[object] | None:
        """Return the value for JSON."""
        return None if self.is_nil else list(self)


class TypedMap(dict[str, object]):
    """A map of one type. `zero` is the result of `index` for a missing key."""

    go_type = "map[string]string"
    is_nil = False
    zero: object = ""

    def json_value(self) -> dict[str, object] | None:
        """Return the value for JSON."""
        return None if self.is_nil else dict(self)


class Duration(int):
    """A `time.Duration`: nanoseconds, printed as `1m30s`."""

    go_type = "time.Duration"

    def __str__(self) -> str:
        return format_duration(self)


class Time:
    """A `time.Time`, which prints as Go prints it and is RFC 3339 in JSON."""

    go_type = "time.Time"
    __slots__ = ("value",)

    def __init__(self, value: str) -> None:
        self.value = value

    def __str__(self) -> str:
        date, _, clock = self.value.partition("T")
        clock, zone = (clock[:-1], "+0000") if clock.endswith("Z") else (clock[:-6], clock[-6:].replace(":", ""))
        return f"{date} {clock} {zone} {'UTC' if zone == '+0000' else zone}"

    def json_value(self) -> str:
        """Return the value for JSON."""
        return self.value


class Struct:
    """A value of a struct type; members are looked up by name, including those of embedded structs."""

    __slots__ = ("type", "values")
    go_kind = "struct"

    def __init__(self, declared: StructType, values: Mapping[str, object]) -> None:
        self.type = declared
        self.values = values

    @property
    def go_type(self) -> str:
        """The name of the type in Go."""
        return self.type.name

    def lookup(self, name: str) -> object:
        """Return a member; raises `KeyError` for an unknown name."""
        for field in self.type.fields:
            value = self.values[field.name]
            if field.name == name:
                return value
            if field.is_embedded and isinstance(value, Struct):
                try:
                    return value.lookup(name)
                except KeyError:
                    continue
        raise KeyError(name)

    def names(self) -> list[str]:
        """Return the names of all members."""
        return list(self.type.names())

    def list_values(self) -> list[object]:
        """Return the values in their declared order, as `%v` prints them."""
        return [self.values[field.name] for field in self.type.fields]

    def data(self) -> dict[str, object]:
        """Return the JSON object: keys in declared order, without empty members that are tagged `omitempty`."""
        encoded: dict[str, object] = {}
        for field in self.type.fields:
            value = self.values[field.name]
            if field.is_embedded and isinstance(value, Struct):
                encoded |= value.data()
            elif not field.omit_empty or field.is_encoded(value):
                encoded[field.json_key or field.name] = value
        return encoded


class Type(Record):
    """A type other than a struct, by its name in Go."""

    name: str

    def decode(self, value: Any) -> object:
        """Return a JSON value as a value of this type; the zero value when it has another type."""
        match self.name:
            case "string":
                return value if isinstance(value, str) else ""
            case "bool":
                return value is True
            case "*int":
                return value if _is_int(value) else NIL_POINTER
            case "time.Duration":
                return Duration(value if _is_int(value) else 0)
            case "time.Time":
                return Time(value if isinstance(value, str) and "T" in value else ZERO_TIME)
            case "[]string":
                is_valid = isinstance(value, list) and all(isinstance(item, str | None) for item in value)
                strings = TypedList([item or "" for item in value] if is_valid else ())  # null is an empty string in Go
                strings.is_nil = not is_valid
                return strings
            case "map[string]string" | "map[string]struct {}":
                return self._decode_map(value)
            case _:
                return value if _is_int(value) else 0

    def _decode_map(self, value: Any) -> TypedMap:
        is_string_map = self.name == "map[string]string"
        is_valid = isinstance(value, dict) and (
            not is_string_map or all(isinstance(item, str | None) for item in value.values())
        )
        decoded = TypedMap(
            {key: (value[key] or "") if is_string_map else EMPTY_STRUCT for key in sorted(value)} if is_valid else ()
        )
        decoded.is_nil = not is_valid
        decoded.go_type = self.name
        decoded.zero = "" if is_string_map else EMPTY_STRUCT
        return decoded


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and -_INT64_LIMIT <= value < _INT64_LIMIT


class StructField(Record):
    """A member of a struct: its name, its type, its key in JSON if that differs, and the options of its tag."""

    name: str
    type: Type | StructType
    json_key: str = ""
    omit_empty: bool = False
    is_embedded: bool = False
    is_pointer: bool = False

    def is_encoded(self, value: object) -> bool:
        """Return whether a value with `omitempty` is encoded: structs and pointers always, others unless empty."""
        if self.type.name == "*int":
            return value is not NIL_POINTER
        return isinstance(value, (Struct, Time)) or bool(value)


class StructType(Record):
    """A struct type: its name in Go and its members in order."""

    name: str
    fields: tuple[StructField, ...]

    def names(self) -> Iterator[str]:
        """Yield the names of all members, with the members of embedded structs in place."""
        for field in self.fields:
            if field.is_embedded and isinstance(field.type, StructType):
                yield from field.type.names()
            else:
                yield field.name

    def decode(self, value: Any) -> Struct:
        """Return a JSON object as a struct of this type; any other JSON value is the zero struct."""
        decoded: Mapping[str, Any] = value if isinstance(value, dict) else {}
        values: dict[str, object] = {}
        for field in self.fields:
            if field.is_embedded:
                values[field.name] = field.type.decode(decoded)
                continue
            raw = decoded.get(field.json_key or field.name)
            if field.is_pointer and not isinstance(raw, dict):
                values[field.name] = NIL_POINTER
            else:
                values[field.name] = field.type.decode(raw)
        return Struct(self, values)


EMPTY_STRUCT = Struct(StructType("struct {}", ()), {})


def to_plain(value: object) -> Any:
    """Return a typed value as plain data, in the order of Go's JSON."""
    json_value = getattr(value, "json_value", None)
    if json_value is not None:
        value = json_value()
    if isinstance(value, Struct):
        return {key: to_plain(item) for key, item in value.data().items()}
    if isinstance(value, dict):
        return {key: to_plain(value[key]) for key in sorted(value)}
    if isinstance(value, list):
        return [to_plain(item) for item in value]
    return int(value) if isinstance(value, Duration) else value
