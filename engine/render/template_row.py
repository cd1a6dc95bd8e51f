"""A row as templates and Python see it."""

from __future__ import annotations

from imq.engine.catalog.json_values import to_json_value
from imq.engine.catalog.schema import casefold_name
from imq.grammar.errors import UnknownName, closest_hint, join_names
from imq.grammar.record import TYPE_CHECKING

from .values import FORMATTERS, to_python_value

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from imq.engine.catalog.schema import Field, Raw, Table
    from imq.engine.result import Column

    from .values import DisplayOptions


def find_placeholder(table: Table, name: str) -> tuple[Field, str] | None:
    """Return the field that a template's name shows, and the style: docker's placeholder first, then a field's name."""
    folded = casefold_name(name)
    for field in table.fields:
        for placeholder, style in field.docker_placeholders:
            if casefold_name(placeholder) == folded:
                return field, style
    named = table.find_field(name)
    return (named, "") if named is not None else None


def resolve_template_fields(table: Table, names: frozenset[tuple[str, ...]] | None) -> list[Field]:
    """Return the fields that a template needs (None: it may read all); an unknown name raises `UnknownName`."""
    if names is None:
        return list(table.fields)
    fields: list[Field] = []
    for name in sorted({path[0] for path in names}):
        match = find_placeholder(table, name)
        if match is None:
            known = [placeholder for field in table.fields for placeholder, _ in field.docker_placeholders]
            known += [field.name for field in table.fields]
            raise UnknownName(
                f"the template asks for .{name}, which {table.name} do not have",
                code="template-field",
                hints=(closest_hint(name, known) or "fields: " + join_names(f".{name}" for name in known),),
            )
        if match[0] not in fields:
            fields.append(match[0])
    return fields or [table.fields[0]]


class Row:
    """One row of an answer: by attribute, by key, or as a dict."""

    __slots__ = ("_columns", "_options", "_raw", "_table")

    def __init__(
        self, columns: tuple[Column, ...], raw: tuple[Raw, ...], table: Table | None, options: DisplayOptions
    ) -> None:
        self._columns = columns
        self._raw = raw
        self._table = table
        self._options = options

    def __getattr__(self, name: str) -> object:
        """Return the value of a column: sizes are ints that print as docker does, times are RFC 3339 texts."""
        try:
            return self[name]
        except KeyError:
            names = [column.name for column in self._columns]
            raise AttributeError(f"the row has no {name!r}; it has: {', '.join(names)}") from None

    def __getitem__(self, name: str) -> object:
        """Return the value of a column by its name."""
        index = self._find_index(name)
        if index is None:
            raise KeyError(name)
        return to_python_value(self._columns[index].type, self._raw[index])

    def keys(self) -> list[str]:
        """Return the names of the columns, so that `dict(row)` works."""
        return [column.name for column in self._columns]

    def __iter__(self) -> Iterator[object]:
        """Walk the values in the order of the columns."""
        return (self[name] for name in self.keys())

    def __len__(self) -> int:
        """Count the columns."""
        return len(self._columns)

    def __repr__(self) -> str:
        """Print the columns and values."""
        return f"Row({', '.join(f'{name}={self[name]!r}' for name in self.keys())})"

    def _find_index(self, name: str) -> int | None:
        folded = casefold_name(name)
        for index, column in enumerate(self._columns):
            if casefold_name(column.name) == folded:
                return index
        return None

    # What templates call

    def lookup(self, name: str) -> object:
        """Return what a template's `.name` shows; raises `KeyError` when the row has no such thing."""
        index = self._find_index(name)
        column = self._columns[index] if index is not None else None
        if self._table is not None and (column is None or column.field is not None):
            match = find_placeholder(self._table, name)
            if match is not None:
                for position, other in enumerate(self._columns):
                    if other.field is match[0]:
                        return self._format(position, match[1])
        if index is None:
            raise KeyError(name)
        return self._format(index, "")

    def _format(self, index: int, style: str) -> object:
        raw = self._raw[index]
        if style:
            return FORMATTERS[style](raw, self._options)
        value = to_python_value(self._columns[index].type, raw)
        return "" if value is None else value

    def data(self) -> Mapping[str, object]:
        """Return the whole row as data, for `json .`."""
        return {h.name: to_json_value(h.type, raw) for h, raw in zip(self._columns, self._raw, strict=True)}
