"""How a statement would run, in words: what it was understood as, its stages, its SQL, its actions."""

from __future__ import annotations

from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from .plan import Assertion, Plan
    from .verbs import Verb


def explain_query(statement: str, plan: Plan, unmeasured: int) -> str:
    """Return the explanation of a query; `unmeasured` is how many layers were never unpacked."""
    return "\n".join([f"statement: {statement}", *_stages(plan, unmeasured)]) + "\n"


def explain_assertion(statement: str, plan: Assertion, unmeasured: int) -> str:
    """Return the explanation of an assertion."""
    last = "then:      when it does not hold, show what is against it, and end with the exit code 1"
    return "\n".join([f"statement: {statement}", *_stages(plan, unmeasured), last]) + "\n"


def explain_action(statement: str, verb: Verb, query: Plan | None, unmeasured: int) -> str:
    """Return the explanation of an action; `query` is the plan of the query it works on, if it works on one."""
    lines = [f"statement: {statement}", f"verb:      {verb.name}: {verb.doc}"]
    if query is not None:
        lines += _stages(query, unmeasured)
    steps = ["list the actions"]
    if verb.destroys:
        steps.append("ask for confirmation, showing that list")
    steps.append("do exactly these, and report each")
    lines += [f"then:      {', '.join(steps)}"]
    return "\n".join(lines) + "\n"


def _stages(plan: Plan | Assertion, unmeasured: int) -> list[str]:
    lines = []
    if plan.measures and unmeasured:
        lines.append(
            f"stage:     unpack {unmeasured} layers of the store that were never unpacked, to know their sizes"
        )
    lines += [
        "stage:     see that every row of the list is an id"
        if check.digests
        else f"stage:     see that {check.said} answers something, else refuse"
        for check in plan.checks
    ]
    lines.append("stage:     ask the store's index, no requests")
    lines.append(f"sql:       {plan.sql.text}")
    if plan.sql.parameters:
        lines.append("values:    " + ", ".join(f":{name} = {value!r}" for name, value in plan.sql.parameters.items()))
    return lines
