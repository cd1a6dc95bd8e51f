"""A session: statements in, results out. This file reads as the pipeline.

    text ──parse──▶ AST ──expand──▶ query      ──bind, plan, fetch, SQL──▶ rows      (queries.py)
                                    action     ──plan, confirm, execute──▶ outcomes  (run_action.py)
                                    explain    ──plan──▶ text                        (explain.py)
                                    setting, variable, view ──▶ state                (state.py)

Time, streams, environment and prompts come in through the context.
"""

from __future__ import annotations

import os
import sqlite3

from imq.engine.actions import ABSENT, REMOVING, VERBS, get_verb
from imq.engine.catalog.tables import SEARCH_TABLES, TABLES, UNAVAILABLE_TABLES
from imq.engine.query.binder import bind, bind_condition, require_where
from imq.engine.query.sqlite_executor import convert_error
from imq.engine.result import Failure, Message, Result, RowSet
from imq.grammar import ast
from imq.grammar.errors import ImqError, Interrupted, StatementError
from imq.grammar.lexer import Vocabulary
from imq.grammar.record import TYPE_CHECKING

from .expand import expand
from .queries import QueryRunner
from .resources import Resources
from .script_loader import ScriptLoader

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping, Sequence
    from typing import Any

    from imq.engine.query.binder import Scope
    from imq.engine.query.source import Sources
    from imq.engine.query.sqlite_executor import SqliteExecutor
    from imq.engine.sources.action import Delegation, PlanContext
    from imq.engine.store.store import Store

    from .context import SessionContext
    from .run_action import ActionRunner
    from .state import SessionState


class Session:
    """Runs statements against one store. Settings, variables, views and the default source last between statements."""

    def __init__(self, context: SessionContext) -> None:
        self._resources = Resources(context)
        self._queries = QueryRunner(self._resources)
        self._action_runner: ActionRunner | None = None
        self._scripts = ScriptLoader()
        self._views_being_read: tuple[str, ...] = ()
        self._stops_on_error = True

    def close(self) -> None:
        """Close the connections of the sources, and the store."""
        self._queries.close()
        self._resources.close()

    # Running

    def parse(
        self, text: str, atoms: Mapping[int, int] | None = None, folder: str = os.curdir
    ) -> tuple[ast.Statement, ...]:
        """Return the statements of a text; `atoms` as in `grammar.parser`.

        Included files are read and parsed too; their relative paths start at `folder`.
        """
        return self._scripts.parse(text, self.vocabulary, folder, atoms)

    def run(
        self,
        text: str,
        *,
        dry_run: bool = False,
        atoms: Mapping[int, int] | None = None,
        folder: str = os.curdir,
    ) -> Iterator[Result]:
        """Run the statements of a text in order and yield the result of each.

        All statements are parsed before the first one runs. An error ends the run; after `on error continue` it is
        yielded as a `Failure`, and the run continues.
        """
        try:
            statements = self.parse(text, atoms, folder)
        except StatementError as error:
            raise self._with_suggestion(error, text, atoms) from None
        yield from self._run(statements, text, folder, dry_run=dry_run, atoms=atoms)

    def _run(
        self,
        statements: Sequence[ast.Statement],
        text: str,
        folder: str,
        *,
        dry_run: bool,
        atoms: Mapping[int, int] | None = None,
    ) -> Generator[Result, None, bool]:
        """Run statements as `run` does; return whether the run may continue."""
        for statement in statements:
            if isinstance(statement, ast.Include):
                script = self._scripts.load_include(statement, folder, self.vocabulary)
                if not (yield from self._run(script.statements, script.text, script.folder, dry_run=dry_run)):
                    return False
                continue
            self._resources.folder = folder
            try:
                result = self.execute(statement, dry_run=dry_run)
                if not self._stops_on_error and isinstance(result, RowSet):
                    result = result.replace(rows=list(result.rows))  # an error while rows are read belongs here
            except Interrupted:
                raise
            except ImqError as error:
                located = self._with_suggestion(error.attach_text(text), text, atoms)
                if self._stops_on_error:
                    raise located from error.__cause__
                result = Failure(located)
            yield result
            if self._stops_on_error and not isinstance(result, Failure) and result.exit_code:
                return False
        return True

    def execute(self, statement: ast.Statement, *, dry_run: bool = False) -> Result:
        """Run one statement; for an `include`, return the result of its last statement.

        The statement is run a second time when the index was corrupt, or when another process removed an image that was
        being read, unless its actions have begun.
        """
        try:
            return self._execute(statement, dry_run=dry_run)
        except Interrupted:
            raise
        except Exception as problem:
            changed = isinstance(problem, ImqError) and problem.code == "changed"
            has_begun = self._action_runner is not None and self._action_runner.has_begun
            repeatable = not isinstance(statement, ast.Include) and not has_begun
            if not (changed or self._queries.repair_index(problem)) or not repeatable:
                raise
            return self._execute(statement, dry_run=dry_run)

    def _execute(self, statement: ast.Statement, *, dry_run: bool) -> Result:
        if self._action_runner is not None:
            self._action_runner.has_begun = False
        try:
            match statement:
                case ast.QueryStatement():
                    return self._queries.run_query(self._expand(statement))
                case ast.ActionStatement():
                    return self._actions.run_action(self._expand(statement), dry_run=dry_run)
                case ast.DryRun(inner):
                    return self.execute(inner, dry_run=True)
                case ast.Explain(inner):
                    return Message(self.explain(inner))
                case ast.Assert():
                    return self._check_assertion(statement)
                case ast.Set():
                    return self.state.change_setting(self._expand(statement))
                case ast.Let():
                    return self.state.define_variable(self._expand(statement))
                case ast.View():
                    return self._define_view(statement)
                case ast.Use(source):
                    return self._use(source)
                case ast.OnError(stop):
                    self._stops_on_error = stop
                    return Message("")
                case ast.Include():
                    return self._include(statement, dry_run=dry_run)
                case ast.Help(words):
                    from imq.engine.help.help import format_help

                    return Message(format_help(words), is_prose=True)
        except sqlite3.Error as problem:
            raise convert_error(problem) from problem
        finally:
            self.context.progress.stop()

    def _check_assertion(self, statement: ast.Assert) -> Result:
        report = self.context.on_assertion
        try:
            result = self._queries.run_assertion(self._expand(statement))
        except ImqError as error:
            if report is not None:
                report(statement, error)
            raise
        if report is not None:
            if isinstance(result, RowSet):
                result = result.replace(rows=list(result.rows))
            report(statement, result)
        return result

    def _include(self, statement: ast.Include, *, dry_run: bool) -> Result:
        last: Result = Message("")
        for result in self._run((statement,), "", self._resources.folder, dry_run=dry_run):
            last = result
        return last

    # Explaining and checking

    def explain(self, statement: ast.Statement) -> str:
        """Return a description of how a statement would run."""
        from .explain import Explainer

        return Explainer(self._queries, self._actions, self._expand).explain(statement)

    def explain_all(self, text: str, atoms: Mapping[int, int] | None = None, folder: str = os.curdir) -> Iterator[str]:
        """Yield a description of each statement of a text. Settings, variables and views are applied."""
        yield from self._explain_statements(self.parse(text, atoms, folder), text, folder)

    def _explain_statements(self, statements: Sequence[ast.Statement], text: str, folder: str) -> Iterator[str]:
        for statement in statements:
            self._resources.folder = folder
            try:
                match statement:
                    case ast.Include():
                        script = self._scripts.load_include(statement, folder, self.vocabulary)
                        yield from self._explain_statements(script.statements, script.text, script.folder)
                    case ast.Let() | ast.View() | ast.Use() | ast.Set() | ast.OnError():
                        self.execute(statement)
                        from imq.grammar.unparser import unparse

                        yield f"statement: {unparse(statement)}\n"
                    case _:
                        yield self.explain(statement)
            except ImqError as error:
                raise error.attach_text(text) from error.__cause__

    def check(self, statement: ast.Statement) -> None:
        """Raise the first error in the names and types of a statement. Nothing is run or requested."""
        match statement:
            case ast.QueryStatement(query) | ast.ActionStatement(query=ast.Query() | ast.Combination() as query):
                bind(self._expand(query), self.make_scope())
            case ast.Assert(condition):
                bind_condition(self._expand(condition), self.make_scope())
            case ast.Explain(inner) | ast.DryRun(inner):
                self.check(inner)
            case _:
                pass  # the other statements are checked when they run

    def _with_suggestion(self, error: ImqError, text: str, atoms: Mapping[int, int] | None) -> ImqError:
        """Return the error, with a suggested statement if one is found."""
        if not isinstance(error, StatementError) or error.text != text:
            return error
        from imq.engine.suggest.suggest import suggest

        error.suggestion = suggest(text, atoms or {}, error, self.vocabulary, self._check)
        return error

    def _check(self, text: str) -> StatementError | None:
        """Return the error of a suggested statement, or None. The statement is checked but not run."""
        from .run_action import get_word

        try:
            for statement in self.parse(text):
                if isinstance(statement, ast.ActionStatement) and get_verb(statement).needs_confirmation:
                    if statement.query is not None:
                        require_where(statement.query, statement.verb)
                    names = [get_word(name) for name in statement.references if isinstance(name, ast.Literal)]
                    if any("*" in name or name.startswith("-") for name in names):
                        raise StatementError("a pattern or an option is not a name", span=statement.span)
                self.check(statement)
        except StatementError as error:
            return error
        except ImqError:
            pass  # the statement is valid: an image or a source that it names was not found
        return None

    # Variables, views and settings

    def define(self, name: str, value: str) -> None:
        """Set the setting of this name; without such a setting, the variable."""
        self.state.define(name, value)

    def use(self, source: str, reason: str = "set by use") -> None:
        """Set the source of queries without `in`, and why; raises `UnknownName` for an unknown source."""
        self._use(ast.Literal(source), reason)

    def find_source(self) -> str:
        """Return the source of statements that name none. The first call may look for an engine of this machine."""
        return self._resources.find_source()

    def explain_first_use(self) -> None:
        """Report where imq looked, and what to do next, when no source of this machine has images."""
        self._resources.explain_first_use()

    def _use(self, source: ast.Literal | None, reason: str = "set by use") -> Result:
        if source is None:
            name = self._resources.find_source()
            return Message(f"{name}: {self.state.source_reason}\n")
        self.sources.resolve_all(source.text, source.span)
        self.state.set_source(source.text, reason)
        return Message("")

    def _define_view(self, statement: ast.View) -> Result:
        if statement.rows is not None:
            rows: ast.RowSource = self._expand(statement.rows)
            bind(rows, self.make_scope())  # an invalid view is refused where it is defined
            statement = statement.replace(rows=rows)
        return self.state.define_view(statement)

    def _expand(self, node: Any) -> Any:
        """Return a node with its variables and views replaced."""
        expanded = expand(node, self.state.get_definitions(self.context.environment, self._read_configured_view))
        if expanded is not node:
            ast.check_limits(expanded)
        if isinstance(expanded, ast.QueryStatement | ast.ActionStatement) and expanded.output.template is not None:
            from imq.engine.render.formats import resolve_docker_format

            expanded = expanded.replace(output=resolve_docker_format(expanded.output))
        return expanded

    def _read_configured_view(self, name: str) -> ast.RowSource:
        """Return the query of a view of the configuration. Errors in it are raised when the view is used."""
        text = f"view {name} as {self.state.views[name]}"
        if name in self._views_being_read:
            raise StatementError(f"the view {name} of the configuration refers to itself", code="view")
        self._views_being_read += (name,)
        try:
            statement, *more = self.parse(text)
            if more or not isinstance(statement, ast.View) or statement.rows is None:
                raise StatementError(f"the view {name} is more than one query", code="view")
            rows: ast.RowSource = self._expand(statement.rows)
            bind(rows, self.make_scope())
        except ImqError as error:
            files = " and ".join(self.context.configuration.files) or "the configuration"
            error.hints = (*error.hints, f"in the view {name} of {files}")
            raise error.attach_text(text) from error.__cause__
        finally:
            self._views_being_read = self._views_being_read[:-1]
        return rows

    # State

    @property
    def context(self) -> SessionContext:
        """The context of the session; it may be replaced between statements."""
        return self._resources.context

    @context.setter
    def context(self, context: SessionContext) -> None:
        self._resources.context = context

    @property
    def state(self) -> SessionState:
        """Settings, variables, views and the source."""
        return self._resources.state

    @state.setter
    def state(self, state: SessionState) -> None:
        self._resources.state = state

    @property
    def settings(self) -> dict[str, str]:
        """The current settings."""
        return self.state.settings

    @property
    def store(self) -> Store:
        """The embedded store."""
        return self._resources.store

    @property
    def sources(self) -> Sources:
        """The sources of images."""
        return self._resources.sources

    @property
    def runner(self) -> SqliteExecutor:
        """The executor of SQL on the store's index."""
        return self._resources.runner

    @property
    def _actions(self) -> ActionRunner:
        """The runner of actions, which a session of queries does without."""
        if self._action_runner is None:
            from .run_action import ActionRunner

            self._action_runner = ActionRunner(self._resources, self._queries)
        return self._action_runner

    @property
    def is_of_engine(self) -> bool:
        """Whether statements that name no source are about engines with an API of docker, which remove by its rules."""
        resources = self._resources
        return all(resources.sources[ref.source].has_docker_rules for ref in resources.default_refs())

    def spares_any_label(self) -> bool:
        """Whether a prune with several filters `label!` spares images with any of the labels; see `Source`."""
        resources = self._resources
        return any(resources.sources[ref.source].spares_any_label(ref.text) for ref in resources.default_refs())

    @property
    def engine_answers(self) -> tuple[str, ...]:
        """The lines by which engines said what the last action did: `Untagged: redis:7`, `Deleted: sha256:…`."""
        return self._actions.answers

    def delegate_removals(self, delegation: Delegation) -> None:
        """Let engines decide by their own rules what the removal of a name does."""
        self._actions.delegation = delegation

    @property
    def explains_conditions(self) -> bool:
        """Whether a removal warns that the store has no containers, and a query of rows that it leaves out."""
        return self._resources.explains_conditions

    @explains_conditions.setter
    def explains_conditions(self, explains: bool) -> None:
        self._resources.explains_conditions = explains

    @property
    def vocabulary(self) -> Vocabulary:
        """The words that statements may use."""
        from imq.engine.render.formats import FORMATS

        tables = frozenset({*TABLES, *UNAVAILABLE_TABLES, *self.state.views})
        return Vocabulary(frozenset(VERBS), tables, frozenset(FORMATS), ABSENT, SEARCH_TABLES, REMOVING)

    def make_scope(self) -> Scope:
        """Prepare for a statement and return the scope that it is bound in."""
        return self._queries.make_scope()

    def make_plan_context(self) -> PlanContext:
        """Return the context in which verbs plan."""
        return self._actions.make_plan_context()
