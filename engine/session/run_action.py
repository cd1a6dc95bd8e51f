"""Actions of a session: planned as a list, shown, confirmed, and executed as that very list."""

from __future__ import annotations

from imq.engine.actions import verb_of
from imq.engine.catalog.tables import TABLES
from imq.engine.query.binder import bind
from imq.engine.query.visibility import STORE_HAS_NO_CONTAINERS, depends_on_containers
from imq.engine.result import Message
from imq.grammar import ast
from imq.grammar.errors import ImqError, NeedsConfirmation, StatementError
from imq.grammar.record import TYPE_CHECKING
from imq.grammar.unparser import unparse

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from imq.engine.catalog.schema import Raw
    from imq.engine.query.ir import Select
    from imq.engine.result import Result, RowSet
    from imq.engine.sources.action import Action, Outcome, PlanContext

    from .queries import QueryRunner
    from .resources import Resources

    Problems = list[tuple[str, ImqError]]


class ActionRunner:
    """Plans and executes actions.

    `warns` False: no warning about containers that a removal did not see, for Docker's command lines have none.
    `has_begun` says whether the last statement began to execute its actions.
    """

    def __init__(self, resources: Resources, queries: QueryRunner) -> None:
        self._resources = resources
        self._queries = queries
        self.warns = True
        self.has_begun = False

    def plan_context(self, problems: Problems | None = None) -> PlanContext:
        """Return what verbs plan with; `problems` gets what sources did not return about the rows of an action."""
        from imq.engine.sources.action import PlanContext

        resources = self._resources
        scope = self._queries.scope()

        def select_rows(
            query: ast.RowSource, hidden: Sequence[str], found: Problems | None = None
        ) -> tuple[Select, list[tuple[Raw, ...]]]:
            return self._queries.select_rows(query, hidden, scope, found)

        return PlanContext(
            resources.store,
            resources.sources,
            scope,
            resources.platform,
            lambda nodes: [word_of(node) for node in nodes],
            lambda query: bind(query, scope),
            lambda query, hidden: select_rows(query, hidden, problems),
            select_rows,
            resources.context.environment,
            resources.folder,
            resources.configuration.find_registry,
        )

    def run_action(self, statement: ast.ActionStatement, *, dry_run: bool) -> Result:
        """Run an action statement, or list what it would do."""
        from imq.engine.actions.outcome_rows import outcome_rows
        from imq.engine.actions.output_file import unconfirmed_overwrites
        from imq.engine.sources.action import Failed, Skip, StoreAction

        self.has_begun = False
        verb = verb_of(statement)
        problems: Problems = []
        context = self.plan_context(problems)
        if verb.answer is not None:
            return verb.answer(statement, context)
        assert verb.plan is not None
        actions = verb.plan(statement, context)
        actions = [*actions, *_failures(verb.name, actions, problems)]
        if (word := _table_among(statement)) and actions and all(isinstance(action, Failed) for action in actions):
            raise StatementError(
                f'"{word}" is a table, and no image here has that name',
                code="operand",
                span=statement.span,
                hints=(f"say which of them: {verb.name} {word} where …",),
            )
        if verb.runs_programs or (verb.removes and any(isinstance(action, StoreAction) for action in actions)):
            self._warn_of_containers(statement, context)
        output_format = self._resources.context.output_format
        listed = outcome_rows([action.describe() for action in actions], statement.output, output_format)
        if dry_run or any(option.name == "dry run" for option in statement.options):
            return listed
        confirms = verb.needs_confirmation and any(not isinstance(action, Failed | Skip) for action in actions)
        existing = unconfirmed_overwrites(actions)
        if (confirms or existing) and not self._confirm(listed, existing):
            return Message("nothing was done\n", NeedsConfirmation.exit_code)
        return outcome_rows(list(self._execute(actions)), statement.output, output_format)

    def _warn_of_containers(self, statement: ast.ActionStatement, context: PlanContext) -> None:
        """Warn when the rows of a removal or a program depend on containers: the store has none."""
        if self.warns and statement.query is not None and depends_on_containers(context.bind(statement.query)):
            self._resources.progress.warn(STORE_HAS_NO_CONTAINERS)

    def _confirm(self, listed: RowSet, existing: Sequence[str]) -> bool:
        """Return whether the user agrees to the plan; only a user may allow that `existing` files are replaced."""
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
            registry_settings=lambda: context.registry_settings(resources.state.settings),
            on_network=context.on_network,
            prompt=context.prompt,
            stdin=context.stdin,
        )
        yield from ActionExecutor(execution).execute(actions)


def word_of(node: ast.Literal | ast.Variable) -> str:
    """Return the word of an operand in which variables were replaced; raises `StatementError` for anything else."""
    if not isinstance(node, ast.Literal):
        raise StatementError(f"expected one word, not {unparse(node)}", code="operand", span=node.span)
    return node.text


def _table_among(statement: ast.ActionStatement) -> str:
    """Return a table's name among the operands, as in `rm dangling images`; "" when there is none."""
    named = [node.text for node in statement.references if isinstance(node, ast.Literal) and not node.quoted]
    return next((text for text in named if text.lower() in TABLES), "")


def _failures(verb: str, actions: Sequence[Action], problems: Problems) -> Iterator[Action]:
    """Yield a failure for each problem of a source that no planned action reports already."""
    from imq.engine.sources.action import Failed

    reported = [action.target for action in actions if isinstance(action, Failed)]
    for subject, error in problems:
        if not any(target == subject or target.startswith((f"{subject}:", f"{subject}@")) for target in reported):
            yield Failed(verb, subject, error)
