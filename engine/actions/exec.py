"""The verb that runs other programs: exec."""

from __future__ import annotations

from imq.engine.query.binder import needs_where
from imq.grammar import ast
from imq.grammar.errors import StatementError
from imq.grammar.record import TYPE_CHECKING

from .base import Action, Exec
from .operands import named_query, option_texts
from .row_templates import rendered
from .verb import Takes, Verb

if TYPE_CHECKING:
    from .verb import Planning


def _plan_exec(act: ast.Act, planning: Planning) -> list[Action]:
    words = option_texts(act, "run", planning)
    if not words:
        raise StatementError(
            "exec needs a program to run",
            code="operand",
            span=act.span,
            hints=('such as: exec images where in use run trivy image "{{.Name}}"',),
        )
    query = act.query if act.query is not None else named_query(act, planning)
    if planning.bind(query).is_whole_rows:
        needs_where(query, "exec")
    # one word after the other, never through a shell: what a row holds can be no more than an argument
    return [Exec(argv) for argv, _ in rendered(query, words, planning)]


VERBS = (
    Verb(
        "exec",
        "Run a program for each row, without a shell; each word of it is a template of the row.",
        'exec images where in use run trivy image "{{.Name}}"',
        Takes.ROWS,
        options=("run", "dry run"),
        plan=_plan_exec,
    ),
)
