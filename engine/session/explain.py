"""How a statement would run, in words: what it was understood as, its stages, its SQL, its actions."""

from __future__ import annotations

from imq.engine.query.fetch_plan import BatchedStages
from imq.engine.query.sql.statements import write_select
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from imq.engine.actions import Verb
    from imq.engine.query.fetch_plan import Step
    from imq.engine.query.plan import Assertion, Plan
    from imq.engine.query.source import Estimator


def explain_query(statement: str, plan: Plan, native: Sequence[str], estimators: Mapping[str, Estimator]) -> str:
    """Return the explanation of a query.

    `native` says what tables in SQLite do before it runs; `estimators` estimate the requests of each source.
    """
    return "\n".join([f"statement: {statement}", *_stages(plan, native, estimators)]) + "\n"


def explain_assertion(
    statement: str, plan: Assertion, native: Sequence[str], estimators: Mapping[str, Estimator]
) -> str:
    """Return the explanation of an assertion."""
    last = "then:      when it does not hold, show what is against it, and end with the exit code 1"
    return "\n".join([f"statement: {statement}", *_stages(plan, native, estimators), last]) + "\n"


def explain_action(
    statement: str, verb: Verb, query: Plan | None, native: Sequence[str], estimators: Mapping[str, Estimator]
) -> str:
    """Return the explanation of an action; `query` is the plan of the query it works on, if it works on one."""
    lines = [f"statement: {statement}", f"verb:      {verb.name}: {verb.doc}"]
    if query is not None:
        lines += _stages(query, native, estimators)
    steps = ["list the actions"]
    if verb.destroys:
        steps.append("ask for confirmation, showing that list")
    steps.append("do exactly these, and report each")
    lines += [f"then:      {', '.join(steps)}"]
    return "\n".join(lines) + "\n"


def _step(step: Step, now: int, estimators: Mapping[str, Estimator]) -> list[str]:
    """Return the lines of one step of asking a source."""
    if isinstance(step, BatchedStages):
        inner = [line for stage in step.stages for line in _step(stage, now, estimators)]
        return [
            f"stages:    in their order, some rows at a time, until {step.limit} are in the answer:",
            *(f"  {line}" for line in inner),
        ]
    scan, table = step.scan, step.scan.table
    estimator = estimators.get(scan.source)
    most = estimator.upper_bound(scan.request(step.platform), step.fetch_request()) if estimator is not None else ""
    of = f" for {step.platform}" if step.platform else ""
    if step.level is None:
        if scan.lookup_fields:
            takes = scan.provider.lookup
            lines = [
                f"stage:     ask for the {table.name} by the {scan.lookup_fields[0]} of the rows that are left{of}"
            ]
        else:
            takes = scan.provider.listing
            said = [target if isinstance(target, str) else "(…)" for target in scan.targets]
            said += [ref.text for ref in scan.refs]
            lines = [f"stage:     list the {table.name} of {', '.join(said)}{of}"]
        lines.append(f"requests:  {takes}{most}")
    else:
        names = ", ".join(sorted(field.name for field in step.fields))
        lines = [
            f"stage:     fetch {step.level.content} of the rows that are left, for: {names}",
            f"requests:  {step.level.requests}{most}",
        ]
    if step.rows is not None and step.rows.where is not None:
        sql = write_select(step.rows, now, hidden=("_row",))
        lines.append(f"rows:      {sql.text}")
        lines.append("values:    " + ", ".join(f":{name} = {value!r}" for name, value in sql.parameters.items()))
    return lines


def _stages(plan: Plan | Assertion, native: Sequence[str], estimators: Mapping[str, Estimator]) -> list[str]:
    lines = [f"stage:     {words}" for words in native if words]
    lines += [
        "stage:     see that every row of the list is an id"
        if check.digests
        else f"stage:     see that {check.text} answers something, else refuse"
        for check in plan.checks
    ]
    lines += [line for step in plan.steps for line in _step(step, plan.now, estimators)]
    where = "what was fetched" if plan.steps else "the store's index"
    lines.append(f"stage:     ask {where}, no requests")
    lines.append(f"sql:       {plan.sql.text}")
    if plan.sql.parameters:
        lines.append("values:    " + ", ".join(f":{name} = {value!r}" for name, value in plan.sql.parameters.items()))
    lines += [words for estimator in estimators.values() if (words := estimator.cached())]
    return lines
