"""A row as templates and Python see it."""

from __future__ import annotations

from imq.engine.catalog.schema import casefold_name
from imq.grammar.errors import UnknownName, listed, nearest
from imq.grammar.record import TYPE_CHECKING

from .values import STYLES, data, field_value

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from imq.engine.catalog.schema import Field, Raw, Table
    from imq.engine.result import Column

    from .values import Manner


def placeholder(table: Table, name: str) -> tuple[Field, str] | None:
    """Return the field that a template's name shows, and the style: docker's placeholder first, then a field's name."""
    wanted = casefold_name(name)
    for field in table.fields:
        for said, style in field.docker_placeholders:
            if casefold_name(said) == wanted:
                return field, style
    named = table.find(name)
    return (named, "") if named is not None else None


def template_fields(table: Table, names: frozenset[tuple[str, ...]] | None) -> list[Field]:
    """Return the fields that a template needs (None: it may read all); an unknown name raises `UnknownName`."""
    if names is None:
        return list(table.fields)
    fields: list[Field] = []
    for name in sorted({path[0] for path in names}):
        found = placeholder(table, name)
        if found is None:
            known = [said for field in table.fields for said, _ in field.docker_placeholders]
            known += [field.name for field in table.fields]
            raise UnknownName(
                f"the template asks for .{name}, which {table.name} do not have",
                code="template-field",
                hints=(nearest(name, known) or "fields: " + listed(f".{name}" for name in known),),
            )
        if found[0] not in fields:
            fields.append(found[0])
    return fields or [table.fields[0]]


class Row:
    """One row of an answer: by attribute, by key, or as a dict."""

    __slots__ = ("_headings", "_manner", "_raw", "_table")

    def __init__(self, headings: tuple[Column, ...], raw: tuple[Raw, ...], table: Table | None, manner: Manner) -> None:
        self._headings = headings
        self._raw = raw
        self._table = table
        self._manner = manner

    def __getattr__(self, name: str) -> object:
        """Return the value of a column: sizes are ints that print as docker does, times are RFC 3339 texts."""
        try:
            return self[name]
        except KeyError:
            names = [heading.name for heading in self._headings]
            raise AttributeError(f"the row has no {name!r}; it has: {', '.join(names)}") from None

    def __getitem__(self, name: str) -> object:
        """Return the value of a column by its name."""
        place = self._place(name)
        if place is None:
            raise KeyError(name)
        return field_value(self._headings[place].kind, self._raw[place])

    def keys(self) -> list[str]:
        """Return the names of the columns, so that `dict(row)` works."""
        return [heading.name for heading in self._headings]

    def __iter__(self) -> Iterator[object]:
        """Walk the values in the order of the columns."""
        return (self[name] for name in self.keys())

    def __len__(self) -> int:
        """Count the columns."""
        return len(self._headings)

    def __repr__(self) -> str:
        """Print the columns and values."""
        return f"Row({', '.join(f'{name}={self[name]!r}' for name in self.keys())})"

    def _place(self, name: str) -> int | None:
        wanted = casefold_name(name)
        for place, heading in enumerate(self._headings):
            if casefold_name(heading.name) == wanted:
                return place
        return None

    # What templates call

    def lookup(self, name: str) -> object:
        """Return what a template's `.name` shows; raises `KeyError` when the row has no such thing."""
        place = self._place(name)
        heading = self._headings[place] if place is not None else None
        if self._table is not None and (heading is None or heading.field is not None):
            found = placeholder(self._table, name)
            if found is not None:
                for at, other in enumerate(self._headings):
                    if other.field is found[0]:
                        return self._styled(at, found[1])
        if place is None:
            raise KeyError(name)
        return self._styled(place, "")

    def _styled(self, place: int, style: str) -> object:
        raw = self._raw[place]
        if style:
            return STYLES[style](raw, self._manner)
        value = field_value(self._headings[place].kind, raw)
        return "" if value is None else value

    def data(self) -> Mapping[str, object]:
        """Return the whole row as data, for `json .`."""
        return {h.name: data(h.kind, raw) for h, raw in zip(self._headings, self._raw, strict=True)}
