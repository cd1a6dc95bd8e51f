"""Explanations of statements: the parsed statement, its stages, its SQL, its actions."""

from __future__ import annotations

from imq.engine.actions import OperandKind, verb_of
from imq.engine.query.binder import bind_condition
from imq.engine.query.fetch_plan import BatchedStages
from imq.engine.query.sql.statements import write_select
from imq.grammar import ast
from imq.grammar.errors import StatementError
from imq.grammar.record import TYPE_CHECKING
from imq.grammar.unparser import unparse

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from imq.engine.query.fetch_plan import Step
    from imq.engine.query.plan import Assertion, Plan
    from imq.engine.query.source import Estimator

    from .queries import QueryRunner
    from .run_action import ActionRunner


class Explainer:
    """Explains statements; `expand` replaces the variables and views of one."""

    def __init__(
        self, queries: QueryRunner, actions: ActionRunner, expand: Callable[[ast.Statement], ast.Statement]
    ) -> None:
        self._queries = queries
        self._actions = actions
        self._expand = expand

    def explain(self, statement: ast.Statement) -> str:
        """Return how a statement would run."""
        if isinstance(statement, ast.Explain | ast.DryRun):
            return self.explain(statement.statement)
        expanded = (
            self._expand(statement)
            if isinstance(statement, ast.QueryStatement | ast.ActionStatement | ast.Assert)
            else statement
        )
        match expanded:
            case ast.QueryStatement():
                lines = self._plan_lines(self._queries.plan_output(expanded, self._queries.scope()))
            case ast.ActionStatement():
                lines = self._action_lines(expanded)
            case ast.Assert():
                scope = self._queries.scope()
                condition = bind_condition(expanded.condition, scope)
                lines = self._plan_lines(self._queries.plan_assertion(condition, scope.now))
                lines.append("then:      when it does not hold, show what is against it, and end with the exit code 1")
            case _:
                raise StatementError(
                    "only a question, an action or an assert can be explained", code="explain", span=statement.span
                )
        return "\n".join([f"statement: {unparse(statement)}", *lines]) + "\n"

    def _action_lines(self, act: ast.ActionStatement) -> list[str]:
        from imq.engine.actions.operands import TARGET_COLUMNS, id_only_query

        verb = verb_of(act)
        act = verb.expand(act) if verb.expand is not None else act
        lines = [f"verb:      {verb.name}: {verb.doc}"]
        if act.query is not None and verb.operand in (OperandKind.IMAGES, OperandKind.NAMES):
            context = self._actions.plan_context()
            select = context.bind(act.query)
            hidden: tuple[str, ...] = ()
            if not select.table.is_staged and verb.operand is OperandKind.IMAGES:
                select, hidden = context.bind(id_only_query(act, context)), TARGET_COLUMNS
            lines += self._plan_lines(self._queries.plan(select, context.scope.now, hidden), fresh=False)
        steps = ["list the actions"]
        if verb.needs_confirmation:
            steps.append("ask for confirmation, showing that list")
        steps.append("do exactly these, and report each")
        return [*lines, f"then:      {', '.join(steps)}"]

    def _plan_lines(self, planned: Plan | Assertion, *, fresh: bool = True) -> list[str]:
        return _stages(planned, self._queries.pending(planned), self._queries.estimators(planned, fresh=fresh))


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
