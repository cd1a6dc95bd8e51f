"""Joins: rows of another query next to those of a query, and the fields `name.FIELD` of these rows."""

from __future__ import annotations

from imq.engine.catalog.functions import FUNCTIONS
from imq.engine.catalog.tables import DataType, casefold_name
from imq.engine.query import ir
from imq.grammar import ast
from imq.grammar.errors import StatementError
from imq.grammar.record import TYPE_CHECKING

from .set_operations import make_derived_table

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from imq.engine.catalog.tables import Field, Table

_NORMALIZERS = {
    DataType.REFERENCE: "as_name",
    DataType.REPOSITORY: "as_repository",
    DataType.DIGEST: "as_digest",
}
"""The functions that turn strings into the form of these types."""


class JoinedRows:
    """The rows that a join adds: `table` has their fields. Only the fields that a statement uses are read."""

    def __init__(self, node: ast.Join, rows: ir.Select) -> None:
        if rows.count:
            raise StatementError("a count has no rows to join", code="join", span=node.span, hints=("leave out count",))
        self.node = node
        self.name = casefold_name(node.name)
        self.table: Table = rows.table if rows.is_whole_rows else make_derived_table(rows)
        self._rows = rows
        self._used: dict[str, ir.Projection] = {}
        self._normalized: dict[tuple[str, str], ir.Column] = {}

    def list_default_columns(self, outer_names: frozenset[str]) -> tuple[str, ...]:
        """Return the fields that a query without `select` shows, and those that the query around it mentions."""
        mentioned = (one.name for one in self.table.fields if casefold_name(f"{self.name}.{one.name}") in outer_names)
        return tuple(dict.fromkeys((*self.table.default_columns, *mentioned)))

    def use(self, field: Field) -> ir.Column:
        """Return a field of the joined row."""
        if self._rows.is_whole_rows:
            self._used.setdefault(field.name, ir.Projection(field.name, ir.Column(field), field.column_title, field))
        return ir.Column(field, self.name)

    def use_normalized(self, field: Field, type_: DataType) -> ir.Column:
        """Return a string field of the joined row in the form of names or digests: `redis` is `redis:latest`."""
        function = _NORMALIZERS[type_]
        known = self._normalized.get((field.name, function))
        if known is None:
            column = next((one.value for one in self._rows.columns if one.name == field.name), ir.Column(field))
            if self._rows.is_whole_rows:
                column = ir.Column(field)
            form = field.replace(name=f"{field.name} {function}", type=type_, computed_from=None)
            value = ir.FunctionCall(FUNCTIONS[function], (column,), type_)
            self._used[form.name] = ir.Projection(form.name, value, form.column_title, form)
            known = self._normalized[field.name, function] = ir.Column(form, self.name)
        return known

    def finish(self, condition: ir.Expr) -> ir.Join:
        """Return the join, once the whole statement is bound."""
        columns = (*(() if self._rows.is_whole_rows else self._rows.columns), *self._used.values())
        return ir.Join(self.name, self.node.kind, self._rows.replace(columns=columns, is_whole_rows=False), condition)


def name_fields(node: ast.Expr, is_field: Callable[[ast.Literal], bool]) -> ast.Expr:
    """Return the condition of a join with the bare words that name fields as fields: `on o.repository = repository`."""

    def convert(operand: ast.Expr) -> ast.Expr:
        if not isinstance(operand, ast.Literal) or operand.quoted or not is_field(operand):
            return operand
        from imq.grammar.lexer import split_path

        return ast.Field(split_path(operand.text), operand.span)

    match node:
        case ast.And(operands) | ast.Or(operands):
            return node.replace(operands=tuple(name_fields(operand, is_field) for operand in operands))
        case ast.Not(operand):
            return node.replace(operand=name_fields(operand, is_field))
        case ast.Comparison(_, _, right):
            return node.replace(right=convert(right))
        case ast.Between(_, low, high):
            return node.replace(low=convert(low), high=convert(high))
        case ast.In(_, items, None):
            return node.replace(items=tuple(map(convert, items)))
        case _:
            return node


def normalize_names(condition: ir.Expr, joins: Mapping[str, JoinedRows]) -> ir.Expr:
    """Return the condition of a join in which strings that equal names or digests are read like literals are."""

    def normalize(value: ir.Expr) -> ir.Expr:
        if not isinstance(value, ir.Comparison) or value.operator not in ("=", "!="):
            return value
        left, right = value.left, value.right
        return value.replace(left=convert(left, right.kind), right=convert(right, left.kind))

    def convert(value: ir.Expr, other: DataType) -> ir.Expr:
        if value.kind is not DataType.TEXT or other not in _NORMALIZERS or isinstance(value, ir.Literal):
            return value
        if isinstance(value, ir.Column) and value.join:
            return joins[value.join].use_normalized(value.field, other)
        return ir.FunctionCall(FUNCTIONS[_NORMALIZERS[other]], (value,), other)

    return ir.transform(condition, normalize)
