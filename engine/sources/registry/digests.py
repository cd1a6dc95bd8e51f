"""The names of a query of tags, with the digests that they have."""

from __future__ import annotations

from imq.grammar import ast
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from imq.engine.sources.action import PlanContext


def query_digests(query: ast.RowSource, context: PlanContext) -> list[tuple[str, str | None, str | None]]:
    """Return the name of each row, its digest, and the message of the request that failed for it."""
    columns = tuple(ast.Column(ast.Field((name,))) for name in ("name", "digest", "problem"))
    _, rows = context.rows(ast.Query("", base=query, select=columns, span=query.span), ())
    return [
        (str(name), None if digest is None else str(digest), None if problem is None else str(problem))
        for name, digest, problem in rows
    ]
