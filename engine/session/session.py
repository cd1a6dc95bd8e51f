"""A session: statements in, results out. This file reads as the pipeline.

    text ──parse──▶ AST ──expand──▶ query      ──bind, plan, fetch, SQL──▶ rows      (queries.py)
                                    action     ──plan, confirm, execute──▶ outcomes  (run_action.py)
                                    explain    ──plan──▶ words                       (explain.py)
                                    setting, variable, view ──▶ state                (state.py)

Time, streams, environment and prompts come in through the context.
"""

from __future__ import annotations

import os
import sqlite3

from imq.engine.actions import ABSENT, REMOVING, VERBS, verb_of
from imq.engine.catalog.tables import SEARCH_TABLES, TABLES, UNAVAILABLE_TABLES
from imq.engine.query.binder import bind, bind_condition, needs_where
from imq.engine.query.sqlite_executor import convert_error
from imq.engine.result import Failure, Message, Result, RowSet
from imq.grammar import ast
from imq.grammar.errors import ImqError, Interrupted, StatementError
from imq.grammar.lexer import Vocabulary
from imq.grammar.record import TYPE_CHECKING
from imq.grammar.unparser import unparse

from .expand import expand
from .explain import Explainer
from .queries import QueryRunner
from .resources import Resources
from .run_action import ActionRunner, word_of
from .script_loader import ScriptLoader

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping, Sequence
    from typing import Any

    from imq.engine.query.binder import Scope
    from imq.engine.query.source import Sources
    from imq.engine.query.sqlite_executor import SqliteExecutor
    from imq.engine.sources.action import PlanContext
    from imq.engine.store.store import Store

    from .context import SessionContext
    from .state import SessionState


class Session:
    """Runs statements against one store, and keeps settings, variables, views and the source between them."""

    def __init__(self, context: SessionContext) -> None:
        self._resources = Resources(context)
        self._queries = QueryRunner(self._resources)
        self._actions = ActionRunner(self._resources, self._queries)
        self._explainer = Explainer(self._queries, self._actions, self._expand)
        self._scripts = ScriptLoader()
        self._views_being_read: tuple[str, ...] = ()
        self._stops_on_error = True

    def close(self) -> None:
        """Close the connections of the sources, and the store."""
        self._queries.close()
        self._resources.close()

    # Running

    def parse(
        self, text: str, wholes: Mapping[int, int] | None = None, folder: str = os.curdir
    ) -> tuple[ast.Statement, ...]:
        """Return the statements of a text, all of them parsed before any is run; `wholes` as in `grammar.parser`.

        Included files are read and parsed too; their paths begin at `folder`.
        """
        return self._scripts.parse(text, self.vocabulary, folder, wholes)

    def run(
        self,
        text: str,
        *,
        dry_run: bool = False,
        wholes: Mapping[int, int] | None = None,
        folder: str = os.curdir,
    ) -> Iterator[Result]:
        """Run the statements of a text one after the other and yield the result of each.

        A failure ends the run; after `on error continue` it is yielded as a `Failure`, and the run goes on.
        """
        try:
            statements = self.parse(text, wholes, folder)
        except StatementError as error:
            raise self._with_suggestion(error, text, wholes) from None
        yield from self._run(statements, text, folder, dry_run=dry_run, wholes=wholes)

    def _run(
        self,
        statements: Sequence[ast.Statement],
        text: str,
        folder: str,
        *,
        dry_run: bool,
        wholes: Mapping[int, int] | None = None,
    ) -> Generator[Result, None, bool]:
        """Run statements as `run` does; return whether the statements that follow may run."""
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
                located = self._with_suggestion(error.attach_text(text), text, wholes)
                if self._stops_on_error:
                    raise located from error.__cause__
                result = Failure(located)
            yield result
            if self._stops_on_error and not isinstance(result, Failure) and result.exit_code:
                return False
        return True

    def execute(self, statement: ast.Statement, *, dry_run: bool = False) -> Result:
        """Run one statement; of an `include`, return the result of its last one.

        When the index proves damaged, or another process removes an image while it is read, the statement runs once
        more, unless it has begun to change anything.
        """
        try:
            return self._execute(statement, dry_run=dry_run)
        except Interrupted:
            raise
        except Exception as problem:
            changed = isinstance(problem, ImqError) and problem.code == "changed"
            repeatable = not isinstance(statement, ast.Include) and not self._actions.has_begun
            if not (changed or self._queries.mend_index(problem)) or not repeatable:
                raise
            return self._execute(statement, dry_run=dry_run)

    def _execute(self, statement: ast.Statement, *, dry_run: bool) -> Result:
        self._actions.has_begun = False
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
                    return self._queries.run_assertion(self._expand(statement))
                case ast.Set():
                    return self.state.set(self._expand(statement))
                case ast.Let():
                    return self.state.let(self._expand(statement))
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

                    return Message(format_help(words))
        except sqlite3.Error as problem:
            raise convert_error(problem) from problem
        finally:
            self.context.progress.stop()

    def _include(self, statement: ast.Include, *, dry_run: bool) -> Result:
        last: Result = Message("")
        for result in self._run((statement,), "", self._resources.folder, dry_run=dry_run):
            last = result
        return last

    # Explaining and checking

    def explain(self, statement: ast.Statement) -> str:
        """Return how a statement would run."""
        return self._explainer.explain(statement)

    def explain_all(self, text: str, wholes: Mapping[int, int] | None = None, folder: str = os.curdir) -> Iterator[str]:
        """Yield how each statement of a text would run; settings, variables and views take effect for the next ones."""
        yield from self._explained(self.parse(text, wholes, folder), text, folder)

    def _explained(self, statements: Sequence[ast.Statement], text: str, folder: str) -> Iterator[str]:
        for statement in statements:
            self._resources.folder = folder
            try:
                match statement:
                    case ast.Include():
                        script = self._scripts.load_include(statement, folder, self.vocabulary)
                        yield from self._explained(script.statements, script.text, script.folder)
                    case ast.Let() | ast.View() | ast.Use() | ast.Set() | ast.OnError():
                        self.execute(statement)
                        yield f"statement: {unparse(statement)}\n"
                    case _:
                        yield self.explain(statement)
            except ImqError as error:
                raise error.attach_text(text) from error.__cause__

    def check(self, statement: ast.Statement) -> None:
        """Raise what is wrong with the names and types of a statement; nothing is run or requested."""
        match statement:
            case ast.QueryStatement(query) | ast.ActionStatement(query=ast.Query() | ast.Combination() as query):
                bind(self._expand(query), self.scope())
            case ast.Assert(condition):
                bind_condition(self._expand(condition), self.scope())
            case ast.Explain(inner) | ast.DryRun(inner):
                self.check(inner)
            case _:
                pass  # the other statements are checked when they run

    def _with_suggestion(self, error: ImqError, text: str, wholes: Mapping[int, int] | None) -> ImqError:
        """Return the error, with the statement that was probably intended when there is one."""
        if not isinstance(error, StatementError) or error.text != text:
            return error
        from imq.engine.suggest.suggest import suggest

        error.suggestion = suggest(text, wholes or {}, error, self.vocabulary, self._check)
        return error

    def _check(self, text: str) -> StatementError | None:
        """Return what is wrong with a suggested statement, as far as it can be checked without running it."""
        try:
            for statement in self.parse(text):
                if isinstance(statement, ast.ActionStatement) and verb_of(statement).needs_confirmation:
                    if statement.query is not None:
                        needs_where(statement.query, statement.verb)
                    names = [word_of(name) for name in statement.references if isinstance(name, ast.Literal)]
                    if any("*" in name or name.startswith("-") for name in names):
                        raise StatementError("a pattern or an option is not a name", span=statement.span)
                self.check(statement)
        except StatementError as error:
            return error
        except ImqError:
            pass  # the statement is well formed: it names something that is not here
        return None

    # Variables, views and settings

    def define(self, name: str, value: str) -> None:
        """Set the setting of this name, or else the variable."""
        self.state.define(name, value)

    def use(self, source: str) -> None:
        """Make this the source of queries that name none; raises `UnknownName` when there is no such source."""
        self._use(ast.Literal(source))

    def _use(self, source: ast.Literal | None) -> Result:
        if source is not None:
            self.sources.resolve(source.text, source.span)
        return self.state.use(source)

    def _define_view(self, statement: ast.View) -> Result:
        if statement.rows is not None:
            rows: ast.RowSource = self._expand(statement.rows)
            bind(rows, self.scope())  # an invalid view is refused where it is defined
            statement = statement.replace(rows=rows)
        return self.state.view(statement)

    def _expand(self, node: Any) -> Any:
        """Return a node with the values of its variables and the queries of its views."""
        expanded = expand(node, self.state.names(self.context.environment, self._configured_view))
        if expanded is not node:
            ast.check_limits(expanded)
        if isinstance(expanded, ast.QueryStatement | ast.ActionStatement) and expanded.output.template is not None:
            from imq.engine.render.formats import resolve_docker_format

            expanded = expanded.replace(output=resolve_docker_format(expanded.output))
        return expanded

    def _configured_view(self, name: str) -> ast.RowSource:
        """Return the query of a view of the configuration; an error in it is raised where the view is used."""
        text = f"view {name} as {self.state.views[name]}"
        if name in self._views_being_read:
            raise StatementError(f"the view {name} of the configuration contains itself", code="view")
        self._views_being_read += (name,)
        try:
            statement, *more = self.parse(text)
            if more or not isinstance(statement, ast.View) or statement.rows is None:
                raise StatementError(f"the view {name} is more than one query", code="view")
            rows: ast.RowSource = self._expand(statement.rows)
            bind(rows, self.scope())
        except ImqError as error:
            files = " and ".join(self.context.configuration.files) or "the configuration"
            error.hints = (*error.hints, f"in the view {name} of {files}")
            raise error.attach_text(text) from error.__cause__
        finally:
            self._views_being_read = self._views_being_read[:-1]
        return rows

    # What the session is made of

    @property
    def context(self) -> SessionContext:
        """The surroundings of the session; they may be replaced between statements."""
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
        """The sources that statements may name."""
        return self._resources.sources

    @property
    def runner(self) -> SqliteExecutor:
        """The executor of SQL on the store's index."""
        return self._resources.runner

    @property
    def warns(self) -> bool:
        """Whether a removal warns about containers that it did not see."""
        return self._actions.warns

    @warns.setter
    def warns(self, warns: bool) -> None:
        self._actions.warns = warns

    @property
    def vocabulary(self) -> Vocabulary:
        """The words that statements may use."""
        from imq.engine.render.formats import FORMATS

        tables = frozenset({*TABLES, *UNAVAILABLE_TABLES, *self.state.views})
        return Vocabulary(frozenset(VERBS), tables, frozenset(FORMATS), ABSENT, SEARCH_TABLES, REMOVING)

    def scope(self) -> Scope:
        """Return what a statement that begins now is bound against."""
        return self._queries.scope()

    def plan_context(self) -> PlanContext:
        """Return what verbs plan with."""
        return self._actions.plan_context()
