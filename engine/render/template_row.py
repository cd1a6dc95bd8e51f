"""Rows for templates and for Python."""

from __future__ import annotations

from imq.engine.catalog.json_values import to_json_value
from imq.engine.catalog.schema import casefold_name
from imq.grammar.errors import UnknownName, closest_hint, join_names
from imq.grammar.record import TYPE_CHECKING

from .values import FORMATTERS, to_python_value

if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Mapping

    from imq.engine.catalog.schema import Field, Raw, Table
    from imq.engine.result import Column

    from .values import DisplayOptions


def find_placeholder(table: Table, name: str) -> tuple[Field, str] | None:
    """Return the field of a name in a template, and its formatter: docker's placeholders first, then the fields."""
    folded = casefold_name(name)
    for field in table.fields:
        for placeholder, style in field.docker_placeholders:
            if casefold_name(placeholder) == folded:
                return field, style
    matching_field = table.find_field(name)
    return (matching_field, "") if matching_field is not None else None


def resolve_template_fields(
    table: Table, names: frozenset[tuple[str, ...]] | None, joins: Container[str] = ()
) -> list[Field]:
    """Return the fields that a template reads; `names` None: all fields. Raises `UnknownName` for an unknown name.

    `joins` are the case-folded names of joined rows, which are no fields of the table.
    """
    if names is None:
        return list(table.output_fields)
    fields: list[Field] = []
    for name in sorted({path[0] for path in names if casefold_name(path[0]) not in joins}):
        match = find_placeholder(table, name)
        if match is None:
            known_names = [placeholder for field in table.fields for placeholder, _ in field.docker_placeholders]
            known_names += [field.name for field in table.fields]
            raise UnknownName(
                f"{table.name} have no field .{name}, which the template uses",
                code="template-field",
                hints=(closest_hint(name, known_names) or "fields: " + join_names(f".{name}" for name in known_names),),
            )
        if match[0] not in fields:
            fields.append(match[0])
    return fields or [table.fields[0]]


class Row:
    """One row of a result, with access by attribute, by key, or as a dict."""

    __slots__ = ("_columns", "_options", "_raw", "_table")

    def __init__(
        self, columns: tuple[Column, ...], raw: tuple[Raw, ...], table: Table | None, options: DisplayOptions
    ) -> None:
        self._columns = columns
        self._raw = raw
        self._table = table
        self._options = options

    def __getattr__(self, name: str) -> object:
        """Return the value of a column. Sizes are integers that print as in docker; times are RFC 3339 strings."""
        try:
            return self[name]
        except KeyError:
            names = [column.name for column in self._columns]
            raise AttributeError(f"the row has no {name!r}; it has: {', '.join(names)}") from None

    def __getitem__(self, name: str) -> object:
        """Return the value of a column."""
        index = self._find_index(name)
        if index is None:
            raise KeyError(name)
        return to_python_value(self._columns[index].type, self._raw[index])

    def keys(self) -> list[str]:
        """Return the names of the columns; `dict(row)` uses them."""
        return [column.name for column in self._columns]

    def __iter__(self) -> Iterator[object]:
        """Iterate over the values in the order of the columns."""
        return (self[name] for name in self.keys())

    def __len__(self) -> int:
        """Return the number of columns."""
        return len(self._columns)

    def __repr__(self) -> str:
        """Return the columns and values."""
        return f"Row({', '.join(f'{name}={self[name]!r}' for name in self.keys())})"

    def _find_index(self, name: str) -> int | None:
        folded = casefold_name(name)
        for index, column in enumerate(self._columns):
            if casefold_name(column.name) == folded:
                return index
        return None

    # The record protocol of templates

    def lookup(self, name: str) -> object:
        """Return the value of `.name` in a template. Raises `KeyError` for an unknown name."""
        index = self._find_index(name)
        column = self._columns[index] if index is not None else None
        if self._table is not None and (column is None or column.field is not None):
            match = find_placeholder(self._table, name)
            if match is not None:
                for position, other in enumerate(self._columns):
                    if other.field is match[0]:
                        return self._format(position, match[1])
        if index is None:
            return self._look_up_joined(name)
        return self._format(index, "")

    def _look_up_joined(self, name: str) -> Mapping[str, object]:
        """Return the columns `NAME.FIELD` of a joined row by their fields. Raises `KeyError` when there are none."""
        prefix = f"{casefold_name(name)}."
        places = {at: one.name for at, one in enumerate(self._columns) if casefold_name(one.name).startswith(prefix)}
        if not places:
            raise KeyError(name)
        return {one.partition(".")[2]: self._format(at, "") for at, one in places.items()}

    def _format(self, index: int, style: str) -> object:
        raw = self._raw[index]
        if style:
            return FORMATTERS[style](raw, self._options)
        value = to_python_value(self._columns[index].type, raw)
        return "" if value is None else value

    def data(self) -> Mapping[str, object]:
        """Return the row as JSON values, for `json .`."""
        return {h.name: to_json_value(h.type, raw) for h, raw in zip(self._columns, self._raw, strict=True)}
