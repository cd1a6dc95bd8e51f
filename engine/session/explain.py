"""How a statement would run, in words: what it was understood as, its stages, its SQL, its actions."""

from __future__ import annotations

from imq.engine.catalog.tables import Cost
from imq.engine.query.fetch_plan import Batches
from imq.engine.query.sql.statements import write_select
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from imq.engine.actions import Verb
    from imq.engine.query.estimate import Foresight
    from imq.engine.query.fetch_plan import Step
    from imq.engine.query.plan import Assertion, Plan


def explain_query(statement: str, plan: Plan, unmeasured: int, foresight: Foresight | None) -> str:
    """Return the explanation of a query; `unmeasured` is how many layers were never unpacked.

    `foresight` tells how many requests it takes; None: it takes none.
    """
    return "\n".join([f"statement: {statement}", *_stages(plan, unmeasured, foresight)]) + "\n"


def explain_assertion(statement: str, plan: Assertion, unmeasured: int, foresight: Foresight | None) -> str:
    """Return the explanation of an assertion."""
    last = "then:      when it does not hold, show what is against it, and end with the exit code 1"
    return "\n".join([f"statement: {statement}", *_stages(plan, unmeasured, foresight), last]) + "\n"


def explain_action(statement: str, verb: Verb, query: Plan | None, unmeasured: int, foresight: Foresight | None) -> str:
    """Return the explanation of an action; `query` is the plan of the query it works on, if it works on one."""
    lines = [f"statement: {statement}", f"verb:      {verb.name}: {verb.doc}"]
    if query is not None:
        lines += _stages(query, unmeasured, foresight)
    steps = ["list the actions"]
    if verb.destroys:
        steps.append("ask for confirmation, showing that list")
    steps.append("do exactly these, and report each")
    lines += [f"then:      {', '.join(steps)}"]
    return "\n".join(lines) + "\n"


_REQUESTS = {
    Cost.DIGEST: ("the digests", "1 request for each"),
    Cost.NAMED: ("the manifests and indexes that they stand for", "1 request for each digest that is new here"),
    Cost.MANIFEST: ("the manifests", "1 request for each digest that is new here, 2 below an index"),
    Cost.CONFIG: ("the configs", "1 request for each manifest and 1 for each config that is new here"),
    Cost.ATTACHED: ("what is attached to them", "2 requests for each, 3 where registries list no referrers"),
}
"""What a stage of this cost fetches, and what it takes; what is remembered by its digest is not asked for again."""
_LISTED = {
    "repositories": "1 request for each 1,000 repositories",
    "search": "1 request for each 100 hits",
    "platforms": "2 requests for each name, 1 when its index is known here",
    "referrers": "2 requests for each name",
    "layers": "1 request for each name, and 1 for its manifest if that is new here, 2 below an index",
    "history": "1 request for each name, and 2 for its manifest and config if they are new here, 3 below an index",
    "manifests": "1 request for each 1,000 tags, and for each tag and each manifest of an index",
}


def _step(step: Step, now: int, foresight: Foresight | None) -> list[str]:
    """Return the lines of one step of asking a source."""
    if isinstance(step, Batches):
        inner = [line for stage in step.stages for line in _step(stage, now, foresight)]
        return [
            f"stages:    in their order, some rows at a time, until {step.wanted} are in the answer:",
            *(f"  {line}" for line in inner),
        ]
    table = step.scan.table
    most = foresight.most(step) if foresight is not None else ""
    of = f" for {step.platform}" if step.platform else ""
    if step.cost is Cost.LISTED:
        if step.scan.drives:
            takes = _LISTED.get(table.name, "1 request for each")
            lines = [f"stage:     ask for the {table.name} by the {step.scan.drives[0]} of the rows that are left{of}"]
        else:
            said = [target if isinstance(target, str) else "(…)" for target in step.scan.targets]
            said += [place.said for place in step.scan.places]
            listed = "1 request for each 1,000 tags of a repository, none for a name with its tag"
            takes = _LISTED.get(table.name, listed)
            lines = [f"stage:     list the {table.name} of {', '.join(said)}{of}"]
        lines.append(f"requests:  {takes}{most}")
    else:
        what, takes = _REQUESTS[step.cost]
        if table.name == "repositories":
            what = "their tags" if step.cost is Cost.DIGEST else "the manifests of their tags"
            takes = "1 request for each 1,000 tags" + ("" if step.cost is Cost.DIGEST else ", and for each manifest")
        names = ", ".join(sorted(field.name for field in step.fields))
        lines = [f"stage:     fetch {what} of the rows that are left, for: {names}", f"requests:  {takes}{most}"]
    if step.rows is not None and step.rows.where is not None:
        sql = write_select(step.rows, now, hidden=("_row",))
        lines.append(f"rows:      {sql.text}")
        lines.append("values:    " + ", ".join(f":{name} = {value!r}" for name, value in sql.parameters.items()))
    return lines


def _stages(plan: Plan | Assertion, unmeasured: int, foresight: Foresight | None) -> list[str]:
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
    lines += [line for step in plan.steps for line in _step(step, plan.now, foresight)]
    where = "what was fetched" if plan.steps else "the store's index"
    lines.append(f"stage:     ask {where}, no requests")
    lines.append(f"sql:       {plan.sql.text}")
    if plan.sql.parameters:
        lines.append("values:    " + ", ".join(f":{name} = {value!r}" for name, value in plan.sql.parameters.items()))
    if foresight is not None:
        lines.append(foresight.remembered())
    return lines
