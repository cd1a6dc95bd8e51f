"""Renders the templates of `as`, `to` and `run` for each row of a query."""

from __future__ import annotations

from imq.grammar import ast
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from imq.engine.catalog.schema import Raw
    from imq.engine.render.template.template import Piece

    from .action import PlanContext


def is_template(text: str) -> bool:
    """Whether a string contains template actions, `{{…}}` or `<<…>>`."""
    return "{{" in text or "<<" in text


def render_rows(
    query: ast.RowSource, templates: Sequence[str], context: PlanContext, hidden: Sequence[str] = ()
) -> list[tuple[tuple[str, ...], tuple[Raw, ...]]]:
    """Return the result of `render_row_pieces`, with the pieces of each template joined to one string."""
    return [
        (tuple("".join(piece.text for piece in pieces) for pieces in texts), row)
        for texts, row in render_row_pieces(query, templates, context, hidden)
    ]


def render_row_pieces(
    query: ast.RowSource, templates: Sequence[str], context: PlanContext, hidden: Sequence[str] = ()
) -> list[tuple[tuple[list[Piece], ...], tuple[Raw, ...]]]:
    """Return, for each row of a query, the pieces of each template and the values of the `hidden` store columns.

    A query for whole rows is narrowed to the fields that the templates read. Raises `UnknownName` for a field that
    the rows do not have, and `StatementError` (code `template`) for an invalid template.
    """
    from imq.engine.query.plan import list_columns
    from imq.engine.render.template.template import Template
    from imq.engine.render.template_row import Row, resolve_template_fields
    from imq.engine.render.values import DisplayOptions

    parsed = [Template.parse(source) for source in templates]
    select = context.bind(query)
    if select.is_whole_rows:
        if isinstance(query, ast.Combination):
            query = ast.Query("", base=query, span=query.span)
        read = [template.find_fields() for template in parsed]
        paths = None if None in read else frozenset().union(*(paths for paths in read if paths is not None))
        fields = resolve_template_fields(select.table, paths)
        query = query.replace(select=tuple(ast.Column(ast.Field((field.name,))) for field in fields))
    table = select.table if select.is_whole_rows else None
    select, rows = context.rows(query, hidden)
    columns, options = list_columns(select), DisplayOptions(context.scope.now, context.scope.zone)
    width = len(select.columns)
    return [
        (tuple(template.render_pieces(Row(columns, row[:width], table, options)) for template in parsed), row[width:])
        for row in rows
    ]
