"""A session: statements in, results out. This file reads as the drawing of how a statement flows.

    text ─parse→ tree ─bind→ typed query ─plan→ stages and SQL ─run→ rows
                   └ action: plan → list of actions → confirm → do → outcomes

Whatever touches the world (clock, streams, environment, confirmation) was handed in.
"""

from __future__ import annotations

import os
import sqlite3
from itertools import chain, islice

from imq.engine.actions import ABSENT, DESTROYING, VERBS, Planning, Takes, verb_of
from imq.engine.catalog.settings import parse_bytes, parse_limit, parse_span
from imq.engine.catalog.tables import ELSEWHERE, SEARCHED, TABLES, DataType
from imq.engine.query.binder import Scope, bind, bind_condition, needs_where
from imq.engine.query.fetch_executor import FetchExecutor
from imq.engine.query.ir import Comparison, Exists, Not, Select, subqueries, subquery_of, walk
from imq.engine.query.plan import (
    Assertion,
    Plan,
    columns_of,
    depends_on_others,
    plan,
    plan_assertion,
    plan_values,
    reads_documents,
)
from imq.engine.query.sqlite_executor import SqliteExecutor, convert_error
from imq.engine.query.visibility import NOTHING_RUNS, depends_on_containers, unseen_fields
from imq.engine.result import Column, Failure, Message, Result, RowSet, exit_code_of
from imq.engine.sources import open_sources
from imq.engine.store.store import Store
from imq.engine.units.paths import home_folder
from imq.grammar import ast
from imq.grammar.errors import (
    AssertionFailed,
    ImqError,
    Interrupted,
    NeedsConfirmation,
    Refused,
    StatementError,
    StoreError,
    TypeMismatch,
)
from imq.grammar.lexer import Vocabulary
from imq.grammar.record import TYPE_CHECKING
from imq.grammar.unparser import write

from .expand import expand
from .script_loader import ScriptLoader
from .state import SessionState

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping, Sequence
    from typing import Any

    from imq.engine.actions.base import Action, Outcome
    from imq.engine.catalog.schema import Raw
    from imq.engine.catalog.tables import Field
    from imq.engine.query.ir import Expr
    from imq.engine.query.source import Estimator
    from imq.engine.registry.settings import Settings as RegistrySettings
    from imq.engine.store.registry_cache import Remembered

    from .context import SessionContext


_BEGUN = 1000
"""Rows of an answer that are read before any is given out."""


class Session:
    """Runs statements against one store, remembering settings, variables, views and the source between them.

    `warns` False: what a removal does not see is not told, as docker's command lines tell it in docker's words.
    """

    def __init__(self, context: SessionContext) -> None:
        self.context = context
        self.store = Store(context.root)
        self.store.platform = context.platform
        self.state = SessionState(context.configuration)
        self._reading: tuple[str, ...] = ()
        self._stops = True
        self.warns = True
        self.folder = os.curdir
        self._runner: SqliteExecutor | None = None
        self.sources = open_sources(_SessionView(self))
        self._fetch = FetchExecutor(self.sources, self._names)
        self._scripts = ScriptLoader()
        self._acts = False

    def close(self) -> None:
        """Close the connections to registries, and the store."""
        self._fetch.close()
        self.store.close()

    @property
    def vocabulary(self) -> Vocabulary:
        """The words that statements may use."""
        from imq.engine.render.formats import FORMS

        return Vocabulary(
            frozenset(VERBS),
            frozenset({*TABLES, *ELSEWHERE, *self.state.views}),
            frozenset(FORMS),
            ABSENT,
            SEARCHED,
            DESTROYING,
        )

    def parse(
        self, text: str, wholes: Mapping[int, int] | None = None, folder: str = os.curdir
    ) -> tuple[ast.Statement, ...]:
        """Return the statements of a text, all of them parsed before any is run; `wholes` as in `grammar.parser`.

        What it includes is read and parsed too; `folder` is where these paths begin.
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
        """Run the statements of a text one after the other and yield what each answers.

        One that fails ends it, unless `on error continue` was said: then a `Failure` is yielded, and it goes on.
        """
        try:
            statements = self.parse(text, wholes, folder)
        except StatementError as error:
            raise self._advised(error, text, wholes) from None
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
        """Run statements as `run` does; return whether what follows them may go on."""
        for statement in statements:
            if isinstance(statement, ast.Include):
                script = self._scripts.included(statement, folder, self.vocabulary)
                if not (yield from self._run(script.statements, script.text, script.folder, dry_run=dry_run)):
                    return False
                continue
            self.folder = folder
            try:
                result = self.execute(statement, dry_run=dry_run)
                if not self._stops and isinstance(result, RowSet):
                    result = result.replace(rows=list(result.rows))  # what goes wrong, goes wrong here
            except Interrupted:
                raise
            except ImqError as error:
                told = self._advised(error.at(text), text, wholes)
                if self._stops:
                    raise told from error.__cause__
                result = Failure(told)
            yield result
            if self._stops and not isinstance(result, Failure) and result.exit_code:
                return False
        return True

    def execute(self, statement: ast.Statement, *, dry_run: bool = False) -> Result:
        """Run one statement; of an `include`, the answer of its last one.

        When the index proves damaged, or an image is removed by another process while it is read, it is run once more,
        unless it has begun to change anything.
        """
        self._acts = False
        try:
            return self._execute(statement, dry_run=dry_run)
        except Interrupted:
            raise
        except Exception as problem:
            may_pass = isinstance(problem, ImqError) and problem.code == "changed"
            if not (may_pass or self._mended(problem)) or self._acts or isinstance(statement, ast.Include):
                raise
            return self._execute(statement, dry_run=dry_run)

    def _mended(self, problem: Exception) -> bool:
        """Make the index again if what went wrong comes from damage in it; return whether it was damaged."""
        if isinstance(problem, ImqError) and problem.code != "index":
            return False
        try:
            return self.store.index.mend(problem.__cause__ or problem)
        except (ImqError, sqlite3.Error):
            return False

    def _execute(self, statement: ast.Statement, *, dry_run: bool) -> Result:
        try:
            match statement:
                case ast.Ask():
                    return self._ask(self._expanded(statement))
                case ast.Act():
                    return self._act(self._expanded(statement), dry_run=dry_run)
                case ast.DryRun(inner):
                    return self.execute(inner, dry_run=True)
                case ast.Explain(inner):
                    return Message(self.explain(inner))
                case ast.Assert():
                    return self._assert(self._expanded(statement))
                case ast.Setting():
                    return self.state.set(self._expanded(statement))
                case ast.Let():
                    return self.state.let(self._expanded(statement))
                case ast.View():
                    return self._view(statement)
                case ast.Use(source):
                    return self._use(source)
                case ast.OnError(stop):
                    self._stops = stop
                    return Message("")
                case ast.Include():
                    return self._include(statement, dry_run=dry_run)
                case ast.Help(words):
                    from imq.engine.help.help import help_text

                    return Message(help_text(words))
        except sqlite3.Error as problem:
            raise convert_error(problem) from problem
        finally:
            self.context.progress.stop()

    def _include(self, statement: ast.Include, *, dry_run: bool) -> Result:
        last: Result = Message("")
        for result in self._run((statement,), "", self.folder, dry_run=dry_run):
            last = result
        return last

    # What is remembered

    @property
    def settings(self) -> dict[str, str]:
        """The settings as they are now."""
        return self.state.settings

    def define(self, name: str, value: str) -> None:
        """Set a setting when `name` is one, else let the variable of this name stand for a text."""
        self.state.define(name, value)

    def use(self, source: str) -> None:
        """Ask questions without `in` of this source from now on; raises `UnknownName` when it is not there."""
        self._use(ast.Literal(source))

    def _use(self, source: ast.Literal | None) -> Result:
        if source is not None:
            self.sources.resolve(source.text, source.span)
        return self.state.use(source)

    def _expanded(self, node: Any) -> Any:
        expanded = expand(node, self.state.names(self.context.environment, self._configured_view))
        if expanded is not node:
            ast.check_depth(expanded)
        if isinstance(expanded, ast.Ask | ast.Act) and expanded.output.template is not None:
            from imq.engine.render.formats import called

            expanded = expanded.replace(output=called(expanded.output))
        return expanded

    def _configured_view(self, name: str) -> ast.Rows:
        """Return what a view of the configuration stands for; what is wrong with it is told where it is used."""
        text = f"view {name} as {self.state.views[name]}"
        if name in self._reading:
            raise StatementError(f"the view {name} of the configuration stands for itself", code="view")
        self._reading += (name,)
        try:
            statement, *more = self.parse(text)
            if more or not isinstance(statement, ast.View) or statement.rows is None:
                raise StatementError(f"the view {name} is more than one query", code="view")
            meant: ast.Rows = self._expanded(statement.rows)
            bind(meant, self.scope())
        except ImqError as error:
            files = " and ".join(self.context.configuration.files) or "the configuration"
            error.hints = (*error.hints, f"in the view {name} of {files}")
            raise error.at(text) from error.__cause__
        finally:
            self._reading = self._reading[:-1]
        return meant

    def _view(self, statement: ast.View) -> Result:
        if statement.rows is not None:
            meant: ast.Rows = self._expanded(statement.rows)
            bind(meant, self.scope())  # a view that means nothing is refused where it is made
            statement = statement.replace(rows=meant)
        return self.state.view(statement)

    # Queries

    def scope(self) -> Scope:
        """Return what a statement that begins now is bound against."""
        self._bound_store()
        self.store.begin()
        self._fetch.begin(self.runner)
        return Scope(
            self.context.clock(),
            self.context.zone,
            lambda text: self.store.find(text).key,
            self._fetch,
            (self.sources.resolve(self.state.source),),
        )

    @property
    def runner(self) -> SqliteExecutor:
        """What runs SQL on the store's index, as the layout is now."""
        connection = self.store.index.connection
        if self._runner is None or self._runner.connection is not connection:
            self._runner = SqliteExecutor(connection)
        return self._runner

    def _ask(self, statement: ast.Ask) -> RowSet:
        scope = self.scope()
        select = bind(statement.query, scope)
        wanted = self._wanted(statement, select)
        if wanted is not None:
            select = bind(statement.query, scope, wanted)
        planned = self._planned(select, scope.now)
        for name in unseen_fields(select) if planned.steps else ():
            self.context.progress.warn(f"{name} cannot be seen in a registry: it is unknown of every image there")
        return self._answer(planned, statement.output)

    def _planned(self, select: Select, now: int, hidden: Sequence[str] = ()) -> Plan:
        levels = self._fetch.required_levels(subqueries(select))
        return plan(select, now, tuple(hidden), self._fetch.plan(select), levels)

    def _planned_assertion(self, condition: Expr, now: int) -> Assertion:
        inside = (found for value in walk((condition,)) if (found := subquery_of(value)) is not None)
        levels = self._fetch.required_levels(one for found in inside for one in subqueries(found))
        return plan_assertion(condition, now, self._fetch.plan_condition(condition), levels)

    def _wanted(self, statement: ast.Ask, select: Select) -> list[Field] | None:
        """Return the fields that the output reads, when the query chose no columns itself; None: the usual ones."""
        output, table = statement.output, select.table
        if not select.is_whole_rows:
            return None
        if output.template is not None:
            from imq.engine.render.template.template import Template, expand_escapes, split_table
            from imq.engine.render.template_row import template_fields

            return template_fields(table, Template.parse(expand_escapes(split_table(output.template)[1])).fields())
        if (output.form or self.context.output_format) != "table":
            from imq.engine.render.formats import form_named

            return list(table.fields) if form_named(output.form or self.context.output_format).whole else None
        return None

    def _answer(self, planned: Plan, output: ast.Output) -> RowSet:
        """Return the rows; what damaged layers and documents leave unknown is told beside them."""
        select = planned.select
        problems = (*self._unread(select), *self._measure(planned), *self._stage(planned))
        self._check(planned)
        if planned.steps:
            from imq.engine.query.caveats import caveats

            for caveat in caveats(select):
                self.context.progress.warn(caveat)
        code = exit_code_of(problems)
        rows = self._begun(self.runner.run(planned.sql))
        if select.count:
            heading = Column("count", "COUNT", DataType.NUMBER)
            return RowSet((heading,), rows, output, None, single=True, errors=problems, exit_code=code)
        return RowSet(columns_of(select), rows, output, select.table, errors=problems, exit_code=code)

    def _begun(self, rows: Iterator[tuple[Raw, ...]]) -> Iterator[tuple[Raw, ...]]:
        """Read the first rows of an answer, so that damage that they show is mended before anything is written."""
        first = list(islice(rows, _BEGUN))
        return chain(first, self._rest(rows)) if len(first) == _BEGUN else iter(first)

    def _rest(self, rows: Iterator[tuple[Raw, ...]]) -> Iterator[tuple[Raw, ...]]:
        try:
            yield from rows
        except ImqError as problem:
            if self._mended(problem):
                problem.hints = ("the index was damaged and has been made again: run the statement again",)
            raise

    def _measure(self, planned: Plan | Assertion) -> tuple[ImqError, ...]:
        return self._fetch.prepare(planned.native_levels)

    def _unread(self, *selects: Select) -> tuple[ImqError, ...]:
        """Return what is wrong with the images that cannot be read, if these queries ask about them."""
        return self.store.index.problems() if any(map(reads_documents, selects)) else ()

    def _stage(self, planned: Plan | Assertion) -> tuple[ImqError, ...]:
        """Ask the sources that have to be asked; return what they could not tell."""
        return tuple(error for *_, error in self._fetch.run(planned.steps, self.runner, planned.now, self._fresh))

    def _names(self, select: Select) -> Iterator[tuple[Raw, ...]]:
        """Run a query of names that rows are asked for by."""
        planned = plan(select, self.context.clock(), native_levels=self._fetch.required_levels(subqueries(select)))
        for problem in self._measure(planned):
            raise problem
        self._check(planned)
        return self.runner.run(planned.sql)

    def network(self) -> RegistrySettings:
        """Say that registries are about to be asked, and return what their client is told."""
        if self.context.on_network is not None:
            self.context.on_network()
        return self.context.registry_settings(self.settings)

    def _check(self, planned: Plan | Assertion) -> None:
        """Refuse to go on with an empty list that must not be, or with a list of ids that holds something else.

        The same with a store that is not there, where somebody has said that it is.
        """
        if self.context.missing_store != "pass" and not self.store.layout.exists and planned.reads_store:
            self._miss_store()
        for check in planned.checks:
            found = self.runner.one(check.sql)
            if check.digests and found is not None:
                raise TypeMismatch(
                    f'the list has "{found[0]}", which is no id: digests or their first digits are wanted'
                )
            if not check.digests and found is None:
                raise Refused(f"{check.text} answers nothing, and nonempty refuses that", code="empty")

    def _miss_store(self) -> None:
        missing = f"there is no store at {self.store.root}"
        if self.context.missing_store == "warn":
            self.context.progress.warn(missing)
            return
        hints = ("look at --root; pull, load and import make a store where there is none",)
        raise StoreError(missing, code="no-store", hints=hints)

    # Assertions

    def _assert(self, statement: ast.Assert) -> Result:
        scope = self.scope()
        parts = statement.condition.operands if isinstance(statement.condition, ast.And) else (statement.condition,)
        for part in parts:
            condition = bind_condition(part, scope)
            planned = self._planned_assertion(condition, scope.now)
            asked = [found for value in walk((condition,)) if (found := subquery_of(value)) is not None]
            for problem in (*self._unread(*asked), *self._measure(planned), *self._stage(planned)):
                raise problem
            self._check(planned)
            holds = self.runner.one(planned.sql)
            assert holds is not None
            if not holds[0]:
                failed = AssertionFailed(f"it does not hold: {write(part)}", span=part.span)
                return self._failed(part, planned, scope, statement.output).replace(errors=(failed,), exit_code=1)
        return Message("")

    def _failed(self, part: ast.Expr, planned: Assertion, scope: Scope, output: ast.Output) -> RowSet:
        """Return what shows that an assertion does not hold: the rows that should not be, or the two sides."""
        match planned.condition, part:
            case Not(Exists()), ast.Exists(rows):
                return self._ask(ast.Ask(rows, output))
            case Comparison(_, left, right), _:
                values = self.runner.one(plan_values((left, right), scope.now))
                assert values is not None
                kinds = [DataType.NUMBER if side.kind is DataType.SIZE else side.kind for side in (left, right)]
                columns = (Column("left", "LEFT", kinds[0]), Column("right", "RIGHT", kinds[1]))
                return RowSet(columns, [values], output)
            case _:
                return RowSet((Column("holds", "HOLDS", DataType.BOOLEAN),), [(0,)], output)

    # Actions

    def planning(self, unanswered: list[tuple[str, ImqError]] | None = None) -> Planning:
        """Return what verbs plan with.

        `unanswered` gets what a registry did not tell of the rows that a verb works on: what it is about, and why.
        """
        scope = self.scope()

        def lookup(
            query: ast.Rows, hidden: Sequence[str], problems: list[tuple[str, ImqError]] | None = None
        ) -> tuple[Select, list[tuple[Raw, ...]]]:
            select = bind(query, scope)
            planned = self._planned(select, scope.now, hidden)
            unread = self._unread(select) if depends_on_others(select) else ()
            for problem in (*unread, *self._measure(planned)):  # nothing is done by a condition that cannot be told
                raise problem
            for view, about, problem in self._fetch.run(planned.steps, self.runner, planned.now):
                if view != select.table.sql_name:  # rows that say themselves what could not be told are left out
                    raise problem
                if problems is not None:
                    problems.append((about, problem))
            self._check(planned)
            return select, list(self.runner.run(planned.sql))

        def rows(query: ast.Rows, hidden: Sequence[str]) -> tuple[Select, list[tuple[Raw, ...]]]:
            return lookup(query, hidden, unanswered)

        def literals(nodes: Sequence[ast.Literal | ast.Variable]) -> list[str]:
            return [_text(node) for node in nodes]

        return Planning(
            self.store,
            scope,
            self.context.platform,
            literals,
            lambda query: bind(query, scope),
            rows,
            lookup,
            self.context.environment,
            self.folder,
            self.context.configuration.registry,
        )

    def _act(self, statement: ast.Act, *, dry_run: bool) -> Result:
        from imq.engine.actions.base import DropPlatform, Fail, Remove, Stay, Untag, describe, outcomes, unasked

        verb = verb_of(statement)
        unanswered: list[tuple[str, ImqError]] = []
        planning = self.planning(unanswered)
        if verb.answer is not None:
            return verb.answer(statement, planning)
        assert verb.plan is not None
        actions = verb.plan(statement, planning)
        actions = [*actions, *_unanswered(verb.name, actions, unanswered)]
        if (word := _table_among(statement)) and actions and all(isinstance(action, Fail) for action in actions):
            raise StatementError(
                f'"{word}" is a table, and no image here has that name',
                code="operand",
                span=statement.span,
                hints=(f"say which of them: {verb.name} {word} where …",),
            )
        if verb.name in DESTROYING and any(isinstance(action, Remove | Untag | DropPlatform) for action in actions):
            self._warn_of_containers(statement, planning)
        form = self.context.output_format
        listed = outcomes([describe(action) for action in actions], statement.output, form)
        if dry_run or any(option.name == "dry run" for option in statement.options):
            return listed
        asks = verb.destroys and any(not isinstance(action, Fail | Stay) for action in actions)
        existing = unasked(actions)
        if (asks or existing) and not self._confirmed(listed, existing):
            return Message("nothing was done\n", NeedsConfirmation.exit_code)
        return outcomes(list(self._apply(actions)), statement.output, form)

    def _warn_of_containers(self, statement: ast.Act, planning: Planning) -> None:
        """Say what a removal did not see, when its query goes by containers: the store has none, and engines may."""
        if self.warns and statement.query is not None and depends_on_containers(planning.bind(statement.query)):
            self.context.progress.warn(NOTHING_RUNS)

    def _confirmed(self, listed: RowSet, existing: Sequence[str]) -> bool:
        """Whether the user agrees to the plan. That `existing` files are replaced is only for a user to allow."""
        confirm = self.context.confirm
        try:
            if confirm is not None:
                return confirm(listed)
        except NeedsConfirmation:
            if not existing:
                raise
        if not existing:
            return True
        from imq.engine.actions.output_paths import existing_files

        raise existing_files(existing)

    def _apply(self, actions: list[Action]) -> Iterator[Outcome]:
        from imq.engine.actions.base import WRITES_THERE
        from imq.engine.actions.executor import StoreSource

        self._acts = True
        world = self.context
        source = StoreSource(
            self.store,
            environment=world.environment,
            progress=world.progress,
            clock=world.clock,
            jobs=int(self.settings["jobs"]),
            lazily=self.settings["verify"] == "lazy",
            settings=lambda: world.registry_settings(self.settings),
            before_network=world.on_network,
            ask=world.prompt,
            stdin=world.stdin,
        )
        try:
            yield from source.apply(actions)
        finally:
            if any(isinstance(action, WRITES_THERE) for action in actions):
                self._remembered().doubt()

    def _bound_store(self) -> None:
        """Hold the store to what is set now."""
        self.store.quota = parse_limit(self.settings["quota"])
        self.store.largest_document = parse_bytes(self.settings["largest_document"])

    # The rest

    def _advised(self, error: ImqError, text: str, wholes: Mapping[int, int] | None) -> ImqError:
        """Return an error with the sentence that its statement was probably meant to be, when one is known."""
        if not isinstance(error, StatementError) or error.text != text:
            return error
        from imq.engine.suggest.suggest import meant

        error.meant = meant(text, wholes or {}, error, self.vocabulary, self._wrong)
        return error

    def _wrong(self, sentence: str) -> StatementError | None:
        """Return what is wrong with a sentence, as far as that can be told without running it."""
        try:
            for statement in self.parse(sentence):
                if isinstance(statement, ast.Act) and verb_of(statement).destroys:
                    if statement.query is not None:
                        needs_where(statement.query, statement.verb)
                    named = [_text(name) for name in statement.references if isinstance(name, ast.Literal)]
                    if any("*" in name or name.startswith("-") for name in named):
                        raise StatementError("a pattern or an option is no name", span=statement.span)
                self.look_through(statement)
        except StatementError as error:
            return error
        except ImqError:
            pass  # it is about something that is not here
        return None

    def look_through(self, statement: ast.Statement) -> None:
        """Raise what is wrong with the names and types of a statement; nothing is run, and no registry is asked."""
        match statement:
            case ast.Ask(query) | ast.Act(query=ast.Query() | ast.Combination() as query):
                bind(self._expanded(query), self.scope())
            case ast.Assert(condition):
                bind_condition(self._expanded(condition), self.scope())
            case ast.Explain(inner) | ast.DryRun(inner):
                self.look_through(inner)
            case _:
                pass  # what it says is told when it runs

    def explained(self, text: str, wholes: Mapping[int, int] | None = None, folder: str = os.curdir) -> Iterator[str]:
        """Yield how each statement of a text would run; those that name or set something are done, for what follows."""
        yield from self._explained(self.parse(text, wholes, folder), text, folder)

    def _explained(self, statements: Sequence[ast.Statement], text: str, folder: str) -> Iterator[str]:
        for statement in statements:
            self.folder = folder
            try:
                match statement:
                    case ast.Include():
                        script = self._scripts.included(statement, folder, self.vocabulary)
                        yield from self._explained(script.statements, script.text, script.folder)
                    case ast.Let() | ast.View() | ast.Use() | ast.Setting() | ast.OnError():
                        self.execute(statement)
                        yield f"statement: {write(statement)}\n"
                    case _:
                        yield self.explain(statement)
            except ImqError as error:
                raise error.at(text) from error.__cause__

    def _remembered(self) -> Remembered:
        """Return what registries have told; nothing is made where there is none yet."""
        from imq.engine.store.registry_cache import FILE, Remembered

        layout = self.store.layout
        there = layout.exists and layout.directory.has_file(FILE)
        return Remembered(self.runner.connection, self.store.memory_layout() if there else None)

    def _estimators(self, planned: Plan | Assertion | None, *, fresh: bool = True) -> Mapping[str, Estimator]:
        """Return what estimates how many requests a plan takes, by source; for an action nothing is `fresh`."""
        if planned is None or not planned.steps:
            return {}
        return self._fetch.estimators(planned.now, self._fresh if fresh else 0)

    def _pending(self, planned: Plan | Assertion | None) -> list[str]:
        """Return what tables in SQLite do before a plan runs, in words."""
        levels = planned.native_levels if planned is not None else frozenset()
        return [provider.pending(level) for provider, level in self._fetch.native_levels(levels)]

    @property
    def _fresh(self) -> int:
        """For how long, in nanoseconds, what a name stood for counts as known."""
        return parse_span(self.settings["fresh"]) or 0

    def explain(self, statement: ast.Statement) -> str:
        """Return how a statement would run."""
        from imq.engine.actions.operands import TARGET_COLUMNS, lean_query

        from .explain import explain_action, explain_assertion, explain_query

        said = write(statement)
        match statement:
            case ast.Ask():
                scope = self.scope()
                meant = self._expanded(statement)
                select = bind(meant.query, scope)
                wanted = self._wanted(meant, select)
                planned = self._planned(select if wanted is None else bind(meant.query, scope, wanted), scope.now)
                return explain_query(said, planned, self._pending(planned), self._estimators(planned))
            case ast.Act():
                act = self._expanded(statement)
                verb = verb_of(act)
                act = verb.short_for(act) if verb.short_for is not None else act
                query = None
                if act.query is not None and verb.takes in (Takes.IMAGES, Takes.NAMES):
                    planning = self.planning()
                    select = planning.bind(act.query)
                    hidden: tuple[str, ...] = ()
                    if not select.table.is_staged and verb.takes is Takes.IMAGES:
                        select, hidden = planning.bind(lean_query(act, planning)), TARGET_COLUMNS
                    query = self._planned(select, planning.scope.now, hidden)
                return explain_action(said, verb, query, self._pending(query), self._estimators(query, fresh=False))
            case ast.Assert():
                scope = self.scope()
                condition = bind_condition(self._expanded(statement.condition), scope)
                planned_one = self._planned_assertion(condition, scope.now)
                return explain_assertion(said, planned_one, self._pending(planned_one), self._estimators(planned_one))
            case ast.Explain(inner) | ast.DryRun(inner):
                return self.explain(inner)
            case _:
                raise StatementError(
                    "only a question, an action or an assert can be explained", code="explain", span=statement.span
                )


def _table_among(statement: ast.Act) -> str:
    """Return a table's name that stands where an image's is wanted, as in `rm dangling images`; else nothing."""
    named = [node.text for node in statement.references if isinstance(node, ast.Literal) and not node.quoted]
    return next((text for text in named if text.lower() in TABLES), "")


def _unanswered(verb: str, actions: Sequence[Action], problems: Sequence[tuple[str, ImqError]]) -> Iterator[Action]:
    """Yield a failure for what a registry did not tell, unless an action tells of it by now."""
    from imq.engine.actions.base import Fail

    told = [action.target for action in actions if isinstance(action, Fail)]
    for about, error in problems:
        if not any(target == about or target.startswith((f"{about}:", f"{about}@")) for target in told):
            yield Fail(verb, about, error)


def _text(node: ast.Literal | ast.Variable) -> str:
    """Return the text of an operand whose variables were replaced."""
    if not isinstance(node, ast.Literal):
        raise StatementError(f"one word is wanted here, not {write(node)}", code="operand", span=node.span)
    return node.text


class _SessionView:
    """What sources see of a session (`SourceContext`), read anew each time: its surroundings may be replaced."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def __getattr__(self, name: str) -> Any:
        if name in ("store", "runner", "sources", "folder", "network"):
            return getattr(self._session, name)
        if name == "jobs":
            return int(self._session.settings["jobs"])
        if name == "home":
            return home_folder(self._session.context.environment)
        return getattr(self._session.context, name)
