"""Runs the actions of a session: plans them as a list, confirms that list, and executes it."""

from __future__ import annotations

from imq.engine.actions import get_verb
from imq.engine.catalog.tables import TABLES
from imq.engine.query.binder import bind
from imq.engine.result import Message
from imq.grammar import ast
from imq.grammar.errors import EngineError, ImqError, NeedsConfirmation, StatementError
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from imq.engine.catalog.schema import Raw
    from imq.engine.query.ir import Select
    from imq.engine.result import Result, RowSet
    from imq.engine.sources.action import Action, Delegation, Outcome, PlanContext

    from .queries import QueryRunner, UncertainRow
    from .resources import Resources

    RowErrors = list[tuple[str, ImqError]]


class ActionRunner:
    """Plans and executes actions.

    `delegation`: see `PlanContext`. `answers`: what engines said that they did in the last statement.
    `has_begun`: the last statement has begun to execute its actions.
    """

    def __init__(self, resources: Resources, queries: QueryRunner) -> None:
        self._resources = resources
        self._queries = queries
        self.delegation: Delegation | None = None
        self.answers: tuple[str, ...] = ()
        self.has_begun = False

    def make_plan_context(
        self, problems: RowErrors | None = None, uncertain: list[UncertainRow] | None = None
    ) -> PlanContext:
        """Return the context in which verbs plan. Errors of rows of the action are appended to `problems`.

        With `uncertain`, as for removals, rows for which a condition may not hold are appended there instead.
        """
        from imq.engine.sources.action import PlanContext

        resources = self._resources
        scope = self._queries.make_scope()
        if problems is not None and uncertain is None:  # a removal refuses what another action reports
            scope = scope.replace(note=self._queries.make_notes())

        def select_rows(
            query: ast.RowSource,
            hidden: Sequence[str],
            errors: RowErrors | None = None,
            unsure: list[UncertainRow] | None = None,
        ) -> tuple[Select, list[tuple[Raw, ...]]]:
            return self._queries.select_rows(query, hidden, scope, errors, unsure)

        return PlanContext(
            resources.store,
            resources.sources,
            scope,
            resources.platform,
            lambda nodes: [get_word(node) for node in nodes],
            lambda query: bind(query, scope),
            lambda query, hidden: select_rows(query, hidden, problems, uncertain),
            select_rows,
            resources.context.environment,
            resources.folder,
            resources.configuration.find_registry,
            resources.chosen_refs,
            problems=() if problems is None else problems,
            delegation=self.delegation,
        )

    def run_action(self, statement: ast.ActionStatement, *, dry_run: bool) -> Result:
        """Run an action statement, or list what it would do."""
        store = self._resources.store
        store.map_index(False)
        try:
            return self._run_action(statement, dry_run=dry_run)
        finally:
            store.map_index(True)

    def _run_action(self, statement: ast.ActionStatement, *, dry_run: bool) -> Result:
        from imq.engine.actions.outcome_rows import build_outcome_rows
        from imq.engine.actions.output_file import list_unconfirmed_overwrites
        from imq.engine.sources.action import Failed, OutcomeColumns, Skip, StoreAction, describe_all

        self.has_begun = False
        verb = get_verb(statement)
        problems: RowErrors = []
        uncertain: list[UncertainRow] = []
        context = self.make_plan_context(problems, uncertain if verb.removes else None)
        if verb.answer is not None:
            return verb.answer(statement, context)
        assert verb.plan is not None
        if verb.removes and statement.query is not None:
            from imq.engine.query.unavailable_fields import check_known

            check_known(context.bind(statement.query), verb.name, statement.query.span)
        dry_run = dry_run or any(option.name == "dry run" for option in statement.options)
        actions = verb.plan(statement, context.replace(is_dry_run=dry_run))
        if verb.removes and statement.query is not None and has_limit(statement.query):
            _require_complete_rows(problems)
        actions = [*actions, *map(_leave, dict.fromkeys(uncertain)), *_list_failures(verb.name, actions, problems)]
        if (table := _find_table_name(statement)) and actions and all(isinstance(action, Failed) for action in actions):
            raise StatementError(
                f'"{table}" is a table, and no image has that name',
                code="operand",
                span=statement.span,
                hints=(f"to select rows of it: {verb.name} {table} where …",),
            )
        if verb.runs_programs or (verb.removes and any(isinstance(action, StoreAction) for action in actions)):
            self._warn_of_containers(statement, context)
        if verb.removes:
            self._warn_of_unreadable_images(statement, context, actions)
        output_format = self._resources.context.output_format
        unmet = [error for _, error in problems if isinstance(error, EngineError)]
        output = ast.Output() if verb.formats_files else statement.output
        listed = build_outcome_rows(describe_all(actions), output, output_format, unmet)
        if verb.removes and self._resources.context.explains_plans and output.format is None:
            from imq.engine.actions.plan_details import add_details

            listed = add_details(listed, statement.query, context)
        if dry_run:
            return listed.replace(is_plan=True)
        needs_confirmation = verb.needs_confirmation and any(
            not isinstance(action, Failed | Skip) for action in actions
        )
        existing = list_unconfirmed_overwrites(actions)
        if (needs_confirmation or existing) and not self._confirm(listed, existing):
            return Message("nothing was done\n", NeedsConfirmation.exit_code)
        outcomes = OutcomeColumns.of(list(self._execute(actions)))
        if not verb.removes and self._resources.store.layout.exists:
            self._resources.note_change_of_default()
        return build_outcome_rows(outcomes, output, output_format, unmet)

    def _warn_of_unreadable_images(
        self, statement: ast.ActionStatement, context: PlanContext, actions: Sequence[Action]
    ) -> None:
        """Warn of unreadable images that the condition of a removal may have missed: their fields are unknown."""
        from imq.engine.query.plan import reads_documents
        from imq.engine.sources.action import Failed

        if statement.query is None or not (problems := self._resources.store.index.list_problems()):
            return
        if any(isinstance(action, Failed) for action in actions) or not reads_documents(context.bind(statement.query)):
            return
        for problem in problems:
            self._resources.progress.warn(problem.message)

    def _warn_of_containers(self, statement: ast.ActionStatement, context: PlanContext) -> None:
        """Warn when the rows of a removal or a program depend on containers, and the store has none."""
        resources = self._resources
        if not resources.explains_conditions or statement.query is None or resources.store.has_containers():
            return
        from imq.engine.query.unavailable_fields import STORE_HAS_NO_CONTAINERS, depends_on_containers

        select = context.bind(statement.query)
        if not select.table.has_containers and depends_on_containers(select):
            self._resources.progress.warn(STORE_HAS_NO_CONTAINERS)

    def _confirm(self, listed: RowSet, existing: Sequence[str]) -> bool:
        """Return whether the user confirms the plan. Only a prompt can allow that `existing` files are replaced."""
        confirm = self._resources.context.confirm
        try:
            if confirm is not None:
                return confirm(listed)
        except NeedsConfirmation:
            if not existing:
                raise
        if not existing:
            return True
        from imq.engine.actions.output_paths import files_exist_error

        raise files_exist_error(existing)

    def _execute(self, actions: list[Action]) -> Iterator[Outcome]:
        from imq.engine.actions.executor import ActionExecutor
        from imq.engine.sources.action import ExecutionContext

        self.has_begun = True
        resources, context = self._resources, self._resources.context
        execution = ExecutionContext(
            resources.store,
            environment=context.environment,
            progress=context.progress,
            clock=context.clock,
            jobs=resources.jobs,
            lazy=resources.state.settings["verify"] == "lazy",
            indexes_files=resources.state.settings["index_files"] == "pull",
            registry_settings=lambda: context.registry_settings(resources.state.settings),
            on_network=context.on_network,
            prompt=context.prompt,
            stdin=context.stdin,
            runtime=resources.state.settings["runtime"],
            zone=context.zone,
            version=context.version,
            workers=resources.workers,
        )
        try:
            yield from ActionExecutor(execution).execute(actions)
        finally:
            self.answers = tuple(execution.answers)


def _leave(row: UncertainRow) -> Action:
    """Return the action that leaves a row, for which it is unknown whether the condition of a removal holds."""
    from imq.engine.oci.digest import Digest, is_digest
    from imq.engine.sources.action import Skip

    id_ = Digest(str(row.id)) if row.id is not None and is_digest(str(row.id)) else None
    name = str(row.name) if row.name is not None else id_.short if id_ is not None else str(row.id)
    return Skip(name, id_, f"unknown: {', '.join(row.unknown) or 'a value in the condition'}")


def has_limit(rows: ast.RowSource) -> bool:
    """Whether `limit` chooses among the rows of several sources, so that missing rows let others in.

    `except newest`, `skip` and `until` choose fewer rows when some are missing.
    """
    if isinstance(rows, ast.Combination):
        return has_limit(rows.left) or has_limit(rows.right)
    limits_each_source = rows.limit is not None and ast.Field(("source",)) in rows.limit.per
    return (rows.limit is not None and not limits_each_source) or (rows.base is not None and has_limit(rows.base))


def _require_complete_rows(problems: RowErrors) -> None:
    """Raise the first error of an engine: it may have the rows that the limit would have chosen."""
    for subject, error in problems:
        if isinstance(error, EngineError):
            raise EngineError(
                f"limit chooses other rows while {subject} does not respond: {error.message}",
                code="incomplete",
                hints=("limit the rows of each source: limit N per source", "or omit this source"),
                endpoint=error.endpoint,
            )


def get_word(node: ast.Literal | ast.Variable) -> str:
    """Return the word of an operand whose variables were replaced; raises `StatementError` for anything else."""
    if not isinstance(node, ast.Literal):
        from imq.grammar.unparser import unparse

        raise StatementError(f"expected one word, not {unparse(node)}", code="operand", span=node.span)
    return node.text


def _find_table_name(statement: ast.ActionStatement) -> str:
    """Return the first operand that is the name of a table, as in `rm dangling images`; "" without one."""
    words = [node.text for node in statement.references if isinstance(node, ast.Literal) and not node.quoted]
    return next((text for text in words if text.lower() in TABLES), "")


def _list_failures(verb: str, actions: Sequence[Action], problems: RowErrors) -> Iterator[Action]:
    """Yield a failure for each problem that no planned action reports already."""
    from imq.engine.sources.action import Failed

    reported = [action.target for action in actions if isinstance(action, Failed)]
    once = {(subject, error.message): (subject, error) for subject, error in problems}
    for subject, error in once.values():
        if not any(target == subject or target.startswith((f"{subject}:", f"{subject}@")) for target in reported):
            yield Failed(verb, subject, error)
