"""How a statement would run, in words: what it was understood as, its stages, its SQL, its actions."""

from __future__ import annotations

from imq.grammar.printer import write
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from imq.grammar import ast

    from .plan import Plan
    from .verbs import Verb


def explain_query(statement: ast.Ask, plan: Plan, unmeasured: int) -> str:
    """Return the explanation of a query."""
    return "\n".join([f"statement: {write(statement)}", *_stages(plan, unmeasured)]) + "\n"


def explain_action(statement: ast.Act, verb: Verb, query: Plan | None, unmeasured: int) -> str:
    """Return the explanation of an action; `query` is the plan of the query it works on, if it works on one."""
    lines = [f"statement: {write(statement)}", f"verb:      {verb.name}: {verb.doc}"]
    if query is not None:
        lines += _stages(query, unmeasured)
    steps = ["list the actions"]
    if verb.destroys:
        steps.append("ask for confirmation, showing that list")
    steps.append("do exactly these, and report each")
    lines += [f"then:      {', '.join(steps)}"]
    return "\n".join(lines) + "\n"


def _stages(plan: Plan, unmeasured: int) -> list[str]:
    lines = []
    if plan.measures and unmeasured:
        lines.append(
            f"stage:     unpack {unmeasured} layers of the store that were never unpacked, to know their sizes"
        )
    lines.append("stage:     ask the store's index, no requests")
    lines.append(f"sql:       {plan.sql.text}")
    if plan.sql.parameters:
        lines.append("values:    " + ", ".join(f":{name} = {value!r}" for name, value in plan.sql.parameters.items()))
    return lines
