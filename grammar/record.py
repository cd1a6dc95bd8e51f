"""Frozen value classes with slots, without the import cost of `dataclasses`.

`@dataclass(frozen=True, slots=True)` compiles source text for every class (0.4 ms each) and pulls in `inspect`
(15 ms). With 80 small classes that would take longer than most queries. A `Record` is declared the same way and
looks the same to type checkers, but all classes share one constructor:

    class Point(Record):
        x: int
        y: int = 0

Records compare and hash by value, are immutable, print as their constructor call, and match by position.
A field named `span` is a position in a text, and is excluded from comparing, hashing and printing.
A class may define `check(self)`, which runs after construction and raises for invalid values.
Modules with records start with `from __future__ import annotations`.
"""

from __future__ import annotations

from _operator import attrgetter  # the module operator is not needed for it
from itertools import repeat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, Self, dataclass_transform
else:

    def dataclass_transform(**_options):
        """Replace `typing.dataclass_transform`, which only type checkers need."""
        return lambda decorated: decorated


@dataclass_transform(frozen_default=True)
class _RecordType(type):
    """Turns the annotations of a class body into slots, defaults and match order.

    `_setters` and `_get_values` access the slots, faster than by their names.
    """

    _fields: tuple[str, ...]
    _values: tuple[str, ...]
    _defaults: dict[str, Any]
    _checks: bool
    _setters: tuple[Callable[[Any, Any], None], ...]
    _get_values: Callable[[Any], tuple[Any, ...]]

    def __new__(mcs, name: str, bases: tuple[type, ...], body: dict[str, Any]) -> _RecordType:
        inherited: tuple[str, ...] = ()
        defaults: dict[str, Any] = {}
        checks = bool(bases) and "check" in body
        for base in reversed(bases):
            if isinstance(base, _RecordType) and (base_fields := base._fields):
                inherited += tuple(field for field in base_fields if field not in inherited)
                defaults.update(base._defaults)
                checks = checks or base._checks
        # Lists, not generators: this runs for every class at startup.
        own = tuple(
            [
                field
                for field, kind in body.get("__annotations__", {}).items()
                if not str(kind).startswith("ClassVar") and field not in inherited
            ]
        )
        fields = inherited + own
        for field in fields:
            if field in body:
                defaults[field] = body.pop(field)
        values = tuple([field for field in fields if field != "span"]) if "span" in fields else fields
        body["__slots__"] = own
        body["_fields"] = fields
        body["_values"] = body["__match_args__"] = values
        body["_defaults"] = defaults
        body["_checks"] = checks
        created = type.__new__(mcs, name, bases, body)
        created._setters = tuple([getattr(created, field).__set__ for field in fields])
        if len(values) > 1:
            created._get_values = attrgetter(*values)
        else:
            created._get_values = lambda record: tuple([getattr(record, field) for field in values])
        return created


class Record(metaclass=_RecordType):
    """A frozen value; see the module's docstring."""

    if not TYPE_CHECKING:

        def __init__(self, *args, **named):
            """Accept the fields by position or by name, as a dataclass does."""
            setters = self._setters
            for assign, value in zip(setters, args, strict=False):
                assign(self, value)
            if named or len(args) != len(setters):
                self._assign_rest(args, named)
            if self._checks:
                self.check()

        def _assign_rest(self, args, named):
            """Assign the fields that were not given by position."""
            fields, values, assign = self._fields, self._defaults, object.__setattr__
            if len(args) > len(fields):
                raise TypeError(f"{type(self).__name__} takes {len(fields)} values, got {len(args)}")
            rest = fields[len(args) :]
            if named:
                values = {**values, **named}
                for name in named:
                    if name not in rest:
                        raise TypeError(f"{type(self).__name__} has no field {name!r}, or it is given twice")
            for field in rest:
                if field not in values:
                    raise TypeError(f"{type(self).__name__} needs a value for {field!r}")
                assign(self, field, values[field])

        def __setattr__(self, name, value):
            raise AttributeError(f"{type(self).__name__} is frozen")

        def __delattr__(self, name):
            raise AttributeError(f"{type(self).__name__} is frozen")

    @classmethod
    def make_many(cls, count: int, **columns: Iterable[Any]) -> list[Self]:
        """Return `count` records, whose fields have the values of these columns or their defaults.

        It takes a third of the time of as many calls. Raises `TypeError` for a column that is missing or too short.
        """
        if unknown := columns.keys() - set(cls._fields):
            raise TypeError(f"{cls.__name__} has no field {min(unknown)!r}")
        records = list(map(cls.__new__, repeat(cls, count)))
        for field, assign in zip(cls._fields, cls._setters, strict=True):
            if field not in columns and field not in cls._defaults:
                raise TypeError(f"{cls.__name__} needs values for {field!r}")
            values = columns[field] if field in columns else repeat(cls._defaults[field])
            if len(list(map(assign, records, values))) < count:
                raise TypeError(f"{cls.__name__} needs {count} values for {field!r}")
        if cls._checks:
            for record in records:
                record.check()
        return records

    def check(self) -> None:
        """Raise an exception for invalid field values. The default accepts everything."""

    @classmethod
    def compared_fields(cls) -> tuple[str, ...]:
        """Return the names of the fields that are compared."""
        return cls._values

    def replace(self, **changes: Any) -> Self:
        """Return a copy in which the named fields have new values."""
        fields: tuple[str, ...] = type(self)._fields
        values = [changes.pop(field) if field in changes else getattr(self, field) for field in fields]
        return type(self)(*values, **changes)

    def __eq__(self, other: object) -> bool:
        """Compare by class and by every field but `span`."""
        get_values = type(self)._get_values
        return type(self) is type(other) and get_values(self) == get_values(other)

    def __hash__(self) -> int:
        """Agree with `__eq__`."""
        return hash((type(self), type(self)._get_values(self)))

    def __repr__(self) -> str:
        """Print as the call that makes an equal value."""
        shown = ", ".join(f"{field}={getattr(self, field)!r}" for field in type(self)._values)
        return f"{type(self).__name__}({shown})"

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        """Copy and pickle through the constructor, so that a copy is checked too."""
        return type(self), tuple(getattr(self, field) for field in type(self)._fields)
