"""Converts outcomes to rows."""

from __future__ import annotations

from imq.engine.result import Column, RowSet, get_exit_code
from imq.engine.sources.action import OUTCOMES
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from imq.engine.sources.action import Outcome
    from imq.grammar import ast


def build_outcome_rows(results: Sequence[Outcome], output: ast.Output, form: str) -> RowSet:
    """Return outcomes as rows. A format for programs gets all columns, other formats the columns with values."""
    from imq.engine.render.formats import get_format

    rows = [result.to_row() for result in results]
    every = output.template is not None or get_format(output.format or form).shows_all_fields
    columns = [
        (position, field)
        for position, field in enumerate(OUTCOMES.fields)
        if every
        or field.name in ("action", "target")
        or (field.name != "message" and any(row[position] is not None for row in rows))
    ]
    errors = tuple(result.error for result in results if result.error is not None)
    code = 0
    if errors:  # 1 when some actions failed; the code of the errors when all did
        code = 1 if len(errors) < len(results) else get_exit_code(errors)
    return RowSet(
        tuple(Column(field.name, field.column_title, field.type, field) for _, field in columns),
        [tuple(row[position] for position, _ in columns) for row in rows],
        output,
        OUTCOMES,
        errors=errors,
        exit_code=code,
    )
