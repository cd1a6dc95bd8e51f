"""A session: statements in, results out. This file reads as the drawing of how a statement flows.

    text ─parse→ tree ─bind→ typed query ─plan→ stages and SQL ─run→ rows
                   └ action: plan → list of actions → confirm → do → outcomes

Whatever touches the world (clock, streams, environment, confirmation) was handed in.
"""

from __future__ import annotations

import sqlite3

from imq.grammar import ast
from imq.grammar.errors import ImqError, StatementError, UnknownName, nearest
from imq.grammar.lexer import Vocabulary
from imq.grammar.parser import parse
from imq.grammar.record import TYPE_CHECKING, Record

from .actions import OUTCOMES, Action, Fail, Outcome, describe
from .bind import bind
from .expressions import Scope
from .plan import Plan, headings, plan
from .progress import Silent
from .result import Answer, Documents, Heading, Result, Told, worst
from .settings import SETTINGS, checked
from .store.store import Store
from .tables import TABLES, Kind
from .verbs import VERBS, Planning, Takes, Verb

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from datetime import tzinfo

    from . import bound
    from .oci.platform import Platform
    from .progress import Progress
    from .render.cell import Raw
    from .tables import Field


class World(Record):
    """What a session is given of its surroundings.

    `clock` tells nanoseconds since the epoch; `zone` None is the local zone. `confirm` is shown the actions of a verb
    that destroys and says whether to go on; None: there is nobody to ask, and the caller has confirmed already.
    `before_network` is called before the first request of a statement. `form` is that of answers that ask for none.
    """

    root: str
    environment: Mapping[str, str]
    clock: Callable[[], int]
    zone: tzinfo | None = None
    platform: Platform | None = None
    insecure: frozenset[str] = frozenset()
    progress: Progress = Silent()
    confirm: Callable[[Answer], bool] | None = None
    before_network: Callable[[], None] | None = None
    form: str = "table"

    def __hash__(self) -> int:
        """Hash by identity: a world holds mappings and functions."""
        return id(self)


class Session:
    """Runs statements against one store, remembering settings between them."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.store = Store(world.root)
        self.settings = {setting.name: setting.default for setting in SETTINGS.values()}

    def close(self) -> None:
        """Close the store."""
        self.store.close()

    @property
    def vocabulary(self) -> Vocabulary:
        """The words that statements may use."""
        from .render.forms import FORMS

        return Vocabulary(frozenset(VERBS), frozenset(TABLES), frozenset(FORMS))

    def parse(self, text: str, wholes: Mapping[int, int] | None = None) -> tuple[ast.Statement, ...]:
        """Return the statements of a text, all of them parsed before any is run; `wholes` as in `grammar.parser`."""
        return parse(text, self.vocabulary, wholes)

    def run(self, text: str, *, dry_run: bool = False, wholes: Mapping[int, int] | None = None) -> Iterator[Result]:
        """Run the statements of a text one after the other and yield what each answers."""
        for statement in self.parse(text, wholes):
            try:
                yield self.execute(statement, dry_run=dry_run)
            except ImqError as error:
                raise error.at(text) from error.__cause__

    def execute(self, statement: ast.Statement, *, dry_run: bool = False) -> Result:
        """Run one statement."""
        try:
            match statement:
                case ast.Ask():
                    return self._ask(statement)
                case ast.Act():
                    return self._act(statement, dry_run=dry_run)
                case ast.DryRun(inner):
                    return self.execute(inner, dry_run=True)
                case ast.Explain(inner):
                    return Told(self.explain(inner))
                case ast.Setting():
                    return self._set(statement)
                case ast.Help(words):
                    from .help import help_text

                    return Told(help_text(words))
        except sqlite3.Error as problem:
            raise self._broken(problem) from problem

    @staticmethod
    def _broken(problem: sqlite3.Error) -> ImqError:
        advice = "free some space" if "full" in str(problem) else "imq reindex derives the index anew from the images"
        return ImqError(f"the store's index failed: {problem}", code="index", hints=(advice,))

    # Queries

    def scope(self) -> Scope:
        """Return what a statement that begins now is bound against."""
        variables = {f"env.{name}": value for name, value in self.world.environment.items()}
        return Scope(self.world.clock(), self.world.zone, variables, lambda text: self.store.find(text).key)

    def _ask(self, statement: ast.Ask) -> Answer:
        scope = self.scope()
        select = bind(statement.query, scope, self._wanted(statement))
        return self._answer(plan(select, scope.now), statement.output)

    def _wanted(self, statement: ast.Ask) -> list[Field] | None:
        """Return the fields that the output reads, when the query chose no columns itself."""
        query, output = statement.query, statement.output
        table = TABLES.get(query.table)
        if query.select or query.group or query.count or table is None:
            return None
        if output.template is not None:
            from .render.row import template_fields
            from .render.template import Template, expand_escapes, split_table

            return template_fields(table, Template.parse(expand_escapes(split_table(output.template)[1])).fields())
        if (output.form or self.world.form) != "table":
            from .render.forms import form_named

            return list(table.fields) if form_named(output.form or self.world.form).whole else None
        return None

    def _answer(self, planned: Plan, output: ast.Output) -> Answer:
        """Return the rows; where a damaged layer leaves a size unknown, the answer says so beside them."""
        select = planned.select
        problems = self._measure(planned)
        code = worst(problems)
        rows = self._fetch(planned)
        if select.count:
            heading = Heading("count", "COUNT", Kind.NUMBER)
            return Answer((heading,), rows, output, None, single=True, errors=problems, exit_code=code)
        return Answer(headings(select), rows, output, select.table, errors=problems, exit_code=code)

    def _measure(self, planned: Plan) -> tuple[ImqError, ...]:
        return self.store.measure(int(self.settings["jobs"])) if planned.measures else ()

    def _fetch(self, planned: Plan) -> Iterator[tuple[Raw, ...]]:
        """Run a plan and return its rows, as they come out of SQLite."""
        try:
            # `yield from` would close the cursor of a session that may be closed already
            for row in self.store.index.connection.execute(planned.sql.text, planned.sql.parameters):  # noqa: UP028
                yield row
        except sqlite3.Error as problem:
            raise self._broken(problem) from problem

    # Actions

    def planning(self) -> Planning:
        """Return what verbs plan with."""
        scope = self.scope()

        def rows(query: ast.Query, hidden: Sequence[str]) -> tuple[bound.Select, list[tuple[Raw, ...]]]:
            select = bind(query, scope)
            planned = plan(select, scope.now, tuple(hidden))
            for problem in self._measure(planned):  # nothing is done by a condition that cannot be told
                raise problem
            return select, list(self._fetch(planned))

        def literals(nodes: Sequence[ast.Literal | ast.Variable]) -> list[str]:
            return [self._text(node, scope) for node in nodes]

        return Planning(self.store, scope, self.world.platform, literals, rows, self.world.environment)

    @staticmethod
    def _text(node: ast.Literal | ast.Variable, scope: Scope) -> str:
        if isinstance(node, ast.Literal):
            return node.text
        value = scope.variables.get(node.name)
        if value is None:
            raise UnknownName(f"${node.name} has no value", code="unknown-variable", span=node.span)
        return value

    def _act(self, statement: ast.Act, *, dry_run: bool) -> Result:
        verb = self._verb(statement)
        planning = self.planning()
        if verb.answer is not None:
            return verb.answer(statement, planning)
        assert verb.plan is not None
        actions = verb.plan(statement, planning)
        form = self.world.form
        listed = outcomes([describe(action) for action in actions], statement.output, form)
        if dry_run or any(option.name == "dry run" for option in statement.options):
            return listed
        asks = verb.destroys and any(not isinstance(action, Fail) for action in actions)
        if asks and self.world.confirm is not None and not self.world.confirm(listed):
            return Told("nothing was done\n")
        return outcomes(list(self._apply(actions)), statement.output, form)

    def _verb(self, statement: ast.Act) -> Verb:
        """Return the verb's declaration, its operands and options checked against it."""
        verb = VERBS.get(statement.verb)
        if verb is None:
            raise UnknownName(
                f'there is no verb "{statement.verb}"', span=statement.span, hints=(nearest(statement.verb, VERBS),)
            )
        given = bool(statement.references) or statement.query is not None
        wrong = ""
        if statement.every and not verb.all:
            wrong = f"{verb.name} all: say all of what: {verb.name} all images"
        elif not given and not statement.every and not verb.alone:
            wrong = f"{verb.name} needs {verb.takes.value}"
        elif given and verb.takes is Takes.NOTHING:
            wrong = f"{verb.name} takes no operand"
        if wrong:
            raise StatementError(wrong, code="operand", span=statement.span, hints=(f"such as: {verb.example}",))
        for option in statement.options:
            if option.name not in verb.options:
                known = ", ".join(verb.options) or "none"
                raise StatementError(
                    f'{verb.name} does not take "{option.name}"',
                    code="option",
                    span=option.span,
                    hints=(f"its options: {known}",),
                )
        return verb

    def _apply(self, actions: list[Action]) -> Iterator[Outcome]:
        from .sources.store import StoreSource

        world = self.world
        source = StoreSource(
            self.store,
            environment=world.environment,
            progress=world.progress,
            clock=world.clock,
            jobs=int(self.settings["jobs"]),
            lazily=self.settings["verify"] == "lazy",
            insecure=world.insecure,
            before_network=world.before_network,
        )
        return source.apply(actions)

    # The rest

    def explain(self, statement: ast.Statement) -> str:
        """Return how a statement would run."""
        from .explain import explain_action, explain_query
        from .verbs.operands import TARGET_COLUMNS, target_query

        scope = self.scope()
        unmeasured = len(self.store.unmeasured())
        match statement:
            case ast.Ask(query):
                return explain_query(
                    statement, plan(bind(query, scope, self._wanted(statement)), scope.now), unmeasured
                )
            case ast.Act(query=query):
                verb = self._verb(statement)
                planned = None
                if query is not None:
                    planned = plan(bind(target_query(statement), scope), scope.now, TARGET_COLUMNS)
                return explain_action(statement, verb, planned, unmeasured)
            case ast.Explain(inner) | ast.DryRun(inner):
                return self.explain(inner)
            case ast.Setting() | ast.Help():
                raise StatementError(
                    "only a question or an action can be explained", code="explain", span=statement.span
                )

    def _set(self, statement: ast.Setting) -> Result:
        if statement.name is None:
            lines = [(name, value, SETTINGS[name].doc) for name, value in self.settings.items()]
            shown = (
                Heading("name", "NAME", Kind.TEXT),
                Heading("value", "VALUE", Kind.TEXT),
                Heading("doc", "MEANING", Kind.TEXT),
            )
            return Answer(shown, iter(lines))
        if statement.value is None:
            name, value = checked(statement.name, self.settings.get(statement.name.lower(), ""), statement.span)
            return Told(f"{name} = {value}\n")
        if not isinstance(statement.value, ast.Literal | ast.Variable):
            raise StatementError("a setting takes one word", code="setting", span=statement.span)
        name, value = checked(statement.name, self._text(statement.value, self.scope()), statement.span)
        self.settings[name] = value
        return Told("")


def outcomes(results: Sequence[Outcome], output: ast.Output, form: str) -> Answer:
    """Return outcomes as an answer in `form`: for people the columns that say something, for programs all of them."""
    from .render.forms import form_named

    rows = [result.row() for result in results]
    every = output.template is not None or form_named(output.form or form).whole
    kept = [
        (place, field)
        for place, field in enumerate(OUTCOMES.fields)
        if every
        or field.name in ("action", "target")
        or (field.name != "message" and any(row[place] is not None for row in rows))
    ]
    errors = tuple(result.error for result in results if result.error is not None)
    code = 0
    if errors:  # some items failed; when all did, what they needed decides
        code = 1 if len(errors) < len(results) else worst(errors)
    return Answer(
        tuple(Heading(field.name, field.heading, field.kind, field) for _, field in kept),
        [tuple(row[place] for place, _ in kept) for row in rows],
        output,
        OUTCOMES,
        errors=errors,
        exit_code=code,
    )


__all__ = ["Documents", "Session", "World", "outcomes"]
