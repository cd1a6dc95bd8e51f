"""Explains statements: the parsed statement, its stages, its SQL, its actions."""

from __future__ import annotations

from imq.engine.actions import get_verb
from imq.engine.actions.verb import OperandKind
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
    from imq.engine.query.plan import Plan
    from imq.engine.query.source import Estimator

    from .catalogue_answers import PlannedAnswer
    from .queries import QueryRunner
    from .run_action import ActionRunner


class Explainer:
    """Explains statements; `expand` replaces the variables and views of a statement."""

    def __init__(
        self, queries: QueryRunner, actions: ActionRunner, expand: Callable[[ast.Statement], ast.Statement]
    ) -> None:
        self._queries = queries
        self._actions = actions
        self._expand = expand

    def explain(self, statement: ast.Statement) -> str:
        """Return a description of how a statement would run."""
        if isinstance(statement, ast.Explain | ast.DryRun):
            return self.explain(statement.statement)
        expanded = (
            self._expand(statement)
            if isinstance(statement, ast.QueryStatement | ast.ActionStatement | ast.Assert)
            else statement
        )
        match expanded:
            case ast.QueryStatement():
                planned = self._queries.plan_output(expanded, self._queries.make_scope())
                lines = self._describe_plan(planned, is_answered=True)
            case ast.ActionStatement():
                lines = self._describe_action(expanded)
            case ast.Assert():
                scope = self._queries.make_scope()
                condition = bind_condition(expanded.condition, scope)
                assertion = self._queries.plan_assertion(condition, scope.now)
                lines = self._describe_plan(assertion, fresh=False, is_answered=True)
                lines.append("then:      if it is false, show the offending rows; the exit code is 1")
            case _:
                raise StatementError(
                    "explain takes a query, an action or an assert", code="explain", span=statement.span
                )
        return "\n".join([f"statement: {unparse(statement)}", *lines]) + "\n"

    def _describe_action(self, act: ast.ActionStatement) -> list[str]:
        from imq.engine.actions.operands import build_id_query, list_hidden_columns

        verb = get_verb(act)
        act = verb.expand(act) if verb.expand is not None else act
        lines = [f"verb:      {verb.name}: {verb.doc}"]
        if act.query is not None and verb.operand in (OperandKind.IMAGES, OperandKind.NAMES):
            context = self._actions.make_plan_context()
            select = context.bind(act.query)
            hidden: tuple[str, ...] = ()
            if not select.table.is_staged and verb.operand is OperandKind.IMAGES:
                query = build_id_query(act, context)
                select, hidden = context.bind(query), list_hidden_columns(query)
            lines += self._describe_plan(self._queries.plan(select, context.scope.now, hidden), fresh=False)
        steps = ["list the actions"]
        if verb.needs_confirmation:
            steps.append("ask for confirmation")
        steps.append("execute them and report each outcome")
        return [*lines, f"then:      {', '.join(steps)}"]

    def _describe_plan(self, planned: Plan, *, fresh: bool = True, is_answered: bool = False) -> list[str]:
        return _describe_stages(
            planned,
            self._queries.describe_pending(planned),
            self._queries.make_estimators(planned, fresh=fresh),
            self._queries.plan_answer(planned) if is_answered else None,
        )


def _describe_step(step: Step, now: int, estimators: Mapping[str, Estimator]) -> list[str]:
    """Return the lines about one fetch stage or one batch of stages."""
    if isinstance(step, BatchedStages):
        inner = [line for stage in step.stages for line in _describe_step(stage, now, estimators)]
        return [
            f"stages:    in this order, in batches of rows, until {step.limit} rows are complete:",
            *(f"  {line}" for line in inner),
        ]
    scan, table = step.scan, step.scan.table
    estimator = estimators.get(scan.source)
    upper_bound = (
        estimator.upper_bound(scan.make_request(step.platform), step.make_request(now)) if estimator is not None else ""
    )
    of = f" for {step.platform}" if step.platform else ""
    if step.level is None:
        if scan.lookup_fields:
            requests = scan.provider.lookup_requests
            lines = [f"stage:     look up {table.name} by the {scan.lookup_fields[0]} of the remaining rows{of}"]
        else:
            requests = scan.provider.listing_requests
            operands = [target if isinstance(target, str) else "(…)" for target in scan.targets]
            operands += [ref.text for ref in scan.refs]
            lines = [f"stage:     list {scan.provider.holders or table.name} of {', '.join(operands)}{of}"]
        lines.append(f"requests:  {requests}{upper_bound}")
    else:
        names = ", ".join(sorted(field.name for field in step.fields))
        lines = [
            f"stage:     fetch {step.level.content} of the remaining rows, for: {names}",
            f"requests:  {step.level.requests}{upper_bound}",
        ]
    if step.rows is not None and step.rows.where is not None:
        sql = write_select(step.rows, now, hidden=("_row",))
        lines.append(f"rows:      {sql.text}")
        lines.append("values:    " + ", ".join(f":{name} = {value!r}" for name, value in sql.parameters.items()))
    return lines


def _describe_stages(
    plan: Plan, native: Sequence[str], estimators: Mapping[str, Estimator], answer: PlannedAnswer | None
) -> list[str]:
    lines = [f"stage:     {words}" for words in native if words]
    lines += [
        "stage:     check that every row of the list is an id"
        if check.digests
        else f"stage:     check that {check.text} returns rows"
        for check in plan.checks
    ]
    lines += [line for step in plan.steps for line in _describe_step(step, plan.now, estimators)]
    rows = "the fetched rows" if plan.steps else "the store's index"
    sql = plan.sql
    if answer is not None and answer.sql is not None:
        sql = answer.sql
        lines.append(f"stage:     copy the rows that changed to the catalogue {answer.place}")
        lines.append("stage:     query the catalogue, no requests")
    else:
        if answer is not None:
            lines.append(f"note:      the catalogue does not answer this statement: it lacks {answer.reason}")
        lines.append(f"stage:     query {rows}, no requests")
    lines.append(f"sql:       {sql.text}")
    if sql.parameters:
        lines.append("values:    " + ", ".join(f":{name} = {value!r}" for name, value in sql.parameters.items()))
    lines += [words for estimator in estimators.values() if (words := estimator.describe_cached())]
    return lines
