"""Converts outcomes to rows."""

from __future__ import annotations

from imq.engine.result import Column, RowSet, get_exit_code
from imq.engine.sources.action import OUTCOMES
from imq.grammar.errors import EngineError
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

    from imq.engine.sources.action import OutcomeColumns
    from imq.grammar import ast
    from imq.grammar.errors import ImqError


def build_outcome_rows(
    outcomes: OutcomeColumns, output: ast.Output, form: str, problems: Collection[ImqError] = ()
) -> RowSet:
    """Return outcomes as rows. A format for programs gets all columns, other formats the columns with values.

    `problems` are the errors of engines that kept rows from being planned.
    """
    from imq.engine.render.formats import get_format

    every = output.template is not None or get_format(output.format or form).is_for_programs
    columns = [
        (field, column)
        for field, column in zip(OUTCOMES.fields, outcomes.values, strict=True)
        if every
        or field.name in ("action", "target")
        or (field.name != "message" and any(value is not None for value in column))
    ]
    errors, code = outcomes.errors, 0
    if errors:  # 1 when some actions failed; the code of the errors when all did, or when a source did not respond
        unmet = [error for error in errors if _is_unavailable(error) or any(error is one for one in problems)]
        code = 1 if len(errors) < len(outcomes.values[0]) and not unmet else get_exit_code(unmet or errors)
    return RowSet(
        tuple(Column(field.name, field.column_title, field.type, field) for field, _ in columns),
        list(zip(*(column for _, column in columns), strict=True)),
        output,
        OUTCOMES,
        errors=errors,
        exit_code=code,
    )


def _is_unavailable(error: ImqError) -> bool:
    """Whether an engine cannot be used at all: it is unreachable, hangs, or its answers are no answers."""
    return isinstance(error, EngineError) and error.code != EngineError.code
