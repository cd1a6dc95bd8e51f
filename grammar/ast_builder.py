"""Builds the syntax tree: one method for each alias in `imq.lark`.

A method receives the parts of its production without keywords, as tokens and built values, and the span.
"""

from __future__ import annotations

from . import ast
from .errors import StatementError
from .lexer import split_path
from .record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from .errors import Span
    from .lexer import Token

_CLAUSES = {"explicit_all": "all", "group": "group by", "order": "order by", "keep_newest": "except newest"}
"""The keywords of clauses whose field in `ast.Query` has another name."""


CONDITION_WORDS = frozenset({
    "older", "newer", "except", "keep", "dangling", "untagged", "unused", "if", "unless", "without", "with",
    "which", "that", "whose", "but", "only", "of",
})  # fmt: skip
"""Words that begin a condition in English or in the language: after a name, they are no further names.

Otherwise `rm app:1 older than 30d` would remove app:1, whatever its age.
"""
_END_OPERATORS = {"total size": ("<", "<="), "disk use": ("<", "<="), "free": (">", ">=")}
"""The operators of each measure after `until`."""
_START_OPERATORS = {"disk use": (">", ">="), "free": ("<", "<=")}
"""The operators of each measure after `when`."""


class NamedContainer:
    """`container NAME` after `of`, before the sources of the statement are known."""

    def __init__(self, name: ast.Literal | ast.Variable, span: Span) -> None:
        self.name = name
        self.span = span


def _bind_containers(targets: list[Any], sources: Sequence[ast.Literal | ast.Variable]) -> tuple[Any, ...]:
    """Return operands of `of`, with a query for each container that is named in these sources."""
    return tuple(
        ast.make_container_query(target.name, sources, target.span) if isinstance(target, NamedContainer) else target
        for target in targets
    )


class Builder:
    """Builds the tree. Lists under construction are Python lists, which nodes store as tuples."""

    # Lists

    def empty_list(self, _span: Span) -> list[Any]:
        return []

    def absent(self, _span: Span) -> None:
        return None

    def pass_through(self, part: Any, _span: Span) -> Any:
        return part

    def parenthesized(self, part: ast.Expr, span: Span) -> ast.Expr:
        # The span shows that the condition of `(no layers where A and B)` is closed.
        return part.replace(span=span) if isinstance(part, ast.Exists) else part

    def one_item(self, part: Any, _span: Span) -> list[Any]:
        return [part]

    def two_items(self, left: Any, right: Any, _span: Span) -> list[Any]:
        return [left, right]

    def append(self, parts: list[Any], part: Any, _span: Span) -> list[Any]:
        parts.append(part)
        return parts

    def append_reference(self, references: list[Any], reference: ast.Literal | ast.Variable, _span: Span) -> list[Any]:
        if (
            isinstance(reference, ast.Literal)
            and not reference.quoted
            and (word := reference.text.lower()) in CONDITION_WORDS
            and references[-1] != ast.Literal("where")  # of `prune where`, whose error says more
        ):
            raise StatementError(
                f'unexpected "{word}": names have no condition',
                span=reference.span,
                hints=(
                    "a condition needs a table: rm images where name = app:1 and older than 30d",
                    f'for a name that is this word: …, {word}; or "{word}"',
                ),
            )
        references.append(reference)
        return references

    def ignore_separator(self, parts: list[Any], _separator: Token, _span: Span) -> list[Any]:
        return parts

    def append_statement(self, parts: list[Any], _separator: Token, part: Any, _span: Span) -> list[Any]:
        parts.append(part)
        return parts

    # Statements

    def explain(self, statement: ast.Statement, span: Span) -> ast.Explain:
        return ast.Explain(statement, span)

    def dry_run(self, statement: ast.Statement, span: Span) -> ast.DryRun:
        return ast.DryRun(statement, span)

    def query_statement(self, query: ast.RowSource, output: ast.Output, span: Span) -> ast.QueryStatement:
        return ast.QueryStatement(query, output, span)

    def report_rows(
        self, query: ast.RowSource, output: ast.Output, path: ast.Literal, options: list[Any], span: Span
    ) -> ast.ActionStatement:
        written = [output] if output != ast.Output() else []
        return self._build_action(
            "report", [ast.Option("to", (path,), path.span), *written, *options], span, query=query
        )

    def show_variables(self, span: Span) -> ast.Let:
        return ast.Let(span=span)

    def let(self, name: Token, value: ast.Expr, span: Span) -> ast.Let:
        return ast.Let(name.value, value, span)

    def let_list(self, name: Token, first: ast.Expr, rest: list[ast.Expr], span: Span) -> ast.Let:
        return ast.Let(name.value, ast.ListLiteral((first, *rest)), span)

    def let_query(self, name: Token, query: ast.Query, span: Span) -> ast.Let:
        return ast.Let(name.value, ast.Subquery(query, query.span), span)

    def show_views(self, span: Span) -> ast.View:
        return ast.View(span=span)

    def view(self, name: Token, rows: ast.RowSource, span: Span) -> ast.View:
        return ast.View(name.value.lower(), rows, span)

    def show_source(self, span: Span) -> ast.Use:
        return ast.Use(span=span)

    def use(self, source: ast.Literal, span: Span) -> ast.Use:
        return ast.Use(source, span)

    def include(self, path: ast.Literal, span: Span) -> ast.Include:
        return ast.Include(path.text, span=span)

    def on_error(self, word: Token, span: Span) -> ast.OnError:
        if word.value.lower() not in ("stop", "continue"):
            raise StatementError(
                f'unexpected "{word.value}" after "on error"',
                span=word.span,
                hints=("expected: on error stop, or on error continue",),
            )
        return ast.OnError(word.value.lower() == "stop", span)

    def assert_statement(self, condition: ast.Expr, output: ast.Output, span: Span) -> ast.Assert:
        return ast.Assert(condition, output, span)

    def show_settings(self, span: Span) -> ast.Set:
        return ast.Set(span=span)

    def show_setting(self, name: Token, span: Span) -> ast.Set:
        return ast.Set(name.value, span=span)

    def change_setting(self, name: Token, value: ast.Expr, span: Span) -> ast.Set:
        return ast.Set(name.value, value, span)

    def help(self, words: list[Token], span: Span) -> ast.Help:
        return ast.Help(tuple(word.value for word in words), span)

    # Actions

    def action_without_operand(
        self, verb: Token, place: ast.Option | None, options: list[Any], span: Span
    ) -> ast.ActionStatement:
        return self._build_action(verb.value, _join_options(place, options), span)

    def action_on_all(
        self, verb: Token, place: ast.Option | None, options: list[Any], span: Span
    ) -> ast.ActionStatement:
        return self._build_action(verb.value, _join_options(place, options), span, explicit_all=True)

    def action_on_references(
        self, verb: Token, references: list[Any], place: ast.Option | None, options: list[Any], span: Span
    ) -> ast.ActionStatement:
        return self._build_action(verb.value, _join_options(place, options), span, references=tuple(references))

    def action_on_query(self, verb: Token, query: ast.RowSource, options: list[Any], span: Span) -> ast.ActionStatement:
        return self._build_action(verb.value, options, span, query=query)

    def action_on_every_row(self, verb: Token, query: ast.Query, options: list[Any], span: Span) -> ast.ActionStatement:
        return self._build_action(verb.value, options, span, query=query.replace(explicit_all=True))

    def _build_action(self, verb: str, options: list[Any], span: Span, **operand: Any) -> ast.ActionStatement:
        outputs = [option for option in options if isinstance(option, ast.Output)]
        settings = [option for option in options if isinstance(option, ast.Option)]
        for position, option in enumerate(settings):
            if any(option.name == earlier.name for earlier in settings[:position]):
                raise StatementError(f'"{option.name}" is given twice', code="repeated", span=option.span)
        if len(outputs) > 1:
            raise StatementError("the output format is given twice", code="repeated", span=outputs[1].span)
        output = outputs[0] if outputs else ast.Output()
        return ast.ActionStatement(verb, options=tuple(settings), output=output, span=span, **operand)

    def option_as(self, value: ast.Literal, span: Span) -> ast.Option:
        return ast.Option("as", (value,), span)

    def append_as_in(self, options: list[Any], name: ast.Literal, places: list[ast.Literal], span: Span) -> list[Any]:
        return [*options, ast.Option("as", (name,), name.span), ast.Option("from", tuple(places), span)]

    def append_from_in(
        self, options: list[Any], names: list[ast.Literal], places: list[ast.Literal], span: Span
    ) -> list[Any]:
        return [*options, ast.Option("from", tuple(names), names[0].span), ast.Option("in", tuple(places), span)]

    def option_to(self, value: ast.Literal, span: Span) -> ast.Option:
        return ast.Option("to", (value,), span)

    def option_from(self, values: list[ast.Literal], span: Span) -> ast.Option:
        return ast.Option("from", tuple(values), span)

    def option_platform(self, values: list[ast.Literal], span: Span) -> ast.Option:
        return ast.Option("platform", tuple(values), span)

    def option_change(self, values: list[ast.Literal], span: Span) -> ast.Option:
        return ast.Option("change", tuple(values), span)

    def option_message(self, value: ast.Literal, span: Span) -> ast.Option:
        return ast.Option("message", (value,), span)

    def option_force(self, span: Span) -> ast.Option:
        return ast.Option("force", (), span)

    def option_with(self, word: Token, span: Span) -> ast.Option:
        return ast.Option(f"with {word.value.lower()}", (), span)

    def option_with_words(self, first: Token, second: Token, span: Span) -> ast.Option:
        return ast.Option(f"with {first.value.lower()} {second.value.lower()}", (), span)

    def option_with_values(self, pairs: list[Any], span: Span) -> ast.Option:
        names = (ast.Literal(name.value, span=name.span) for name in pairs[::2])
        values = [part for pair in zip(names, pairs[1::2], strict=True) for part in pair]
        return ast.Option("with", tuple(values), span)

    def append_two(self, items: list[Any], name: Token, value: ast.Literal, _span: Span) -> list[Any]:
        return [*items, name, value]

    def option_repair(self, span: Span) -> ast.Option:
        return ast.Option("repair", (), span)

    def option_ignoring_times(self, span: Span) -> ast.Option:
        return ast.Option("ignoring times", (), span)

    def option_skip_existing(self, _words: Token, span: Span) -> ast.Option:
        return ast.Option("skip existing", (), span)

    def option_run(self, values: list[ast.Literal], span: Span) -> ast.Option:
        return ast.Option("run", tuple(values), span)

    def option_dry_run(self, span: Span) -> ast.Option:
        return ast.Option("dry run", (), span)

    # Output

    def default_output(self, _span: Span) -> ast.Output:
        return ast.Output()

    def output_format(self, name: Token, span: Span) -> ast.Output:
        return ast.Output(format=name.value, span=span)

    def output_template(self, template: Token, span: Span) -> ast.Output:
        return ast.Output(template=template.value, span=span)

    # Queries

    def query(self, table: Token, clauses: list[Any], span: Span) -> ast.Query:
        return self._build_query(ast.Query(table.value), clauses, span)

    def query_of_source(self, source: ast.Query, clauses: list[Any], span: Span) -> ast.Query:
        return self._build_query(source, clauses, span)

    def nonempty_query(self, table: Token, clauses: list[Any], span: Span) -> ast.Query:
        return self._build_query(ast.Query(table.value, nonempty=True), clauses, span)

    def nonempty_query_of_source(self, source: ast.Query, clauses: list[Any], span: Span) -> ast.Query:
        return self._build_query(source.replace(nonempty=True), clauses, span)

    def query_of_group(self, base: ast.RowSource, clauses: list[Any], span: Span) -> ast.Query:
        if isinstance(base, ast.Query) and base == ast.Query(base.table):
            return self._build_query(base, clauses, span)  # `(images) where …` equals `images where …`
        return self._build_query(ast.Query("", base=base), clauses, span)

    def nonempty_query_of_group(self, base: ast.RowSource, clauses: list[Any], span: Span) -> ast.Query:
        return self.query_of_group(base, clauses, span).replace(nonempty=True)

    def _build_query(self, source: ast.Query, clauses: list[Any], span: Span) -> ast.Query:
        values: dict[str, Any] = {}
        for name, value, clause_span in clauses:
            if name == "joins":  # the only clause that a query can have several times
                values[name] = (*values.get(name, ()), value)
                continue
            if name in values:
                clause = _CLAUSES.get(name, name)
                raise StatementError(f'"{clause}" is given twice', code="repeated", span=clause_span)
            values[name] = value
        return source.replace(span=span, **values)

    def named_container(self, _word: Token, name: ast.Literal | ast.Variable, span: Span) -> NamedContainer:
        return NamedContainer(name, span)

    def source_of(self, table: Token, targets: list[Any], span: Span) -> ast.Query:
        return ast.Query(table.value, _bind_containers(targets, ()), span=span)

    def source_in(self, table: Token, sources: list[Any], span: Span) -> ast.Query:
        return ast.Query(table.value, sources=tuple(sources), span=span)

    def source_of_in(self, table: Token, targets: list[Any], sources: list[Any], span: Span) -> ast.Query:
        return ast.Query(table.value, _bind_containers(targets, sources), tuple(sources), span=span)

    def with_archives(self, source: ast.Query, words: Token, _span: Span) -> ast.Query:
        if source.table.lower() != "files":
            raise StatementError(
                f"{source.table} have no archives",
                code="table",
                span=words.span,
                hints=("expected: files of IMAGE with archives",),
            )
        return source.replace(table="archive_files")

    def source_of_at(self, table: Token, targets: list[Any], path: Token, span: Span) -> ast.Query:
        return ast.Query(table.value, tuple(targets), at=split_path(path.value), span=span)

    def relation(self, table: Token, *rest: Any) -> ast.Query:
        *condition, span = rest
        return ast.Query(table.value.lower(), where=condition[0] if condition else None, span=span)

    def relation_of_source(self, source: ast.Query, *rest: Any) -> ast.Query:
        *condition, span = rest
        return source.replace(where=condition[0] if condition else None, span=span)

    def nonempty_relation(self, query: ast.Query, span: Span) -> ast.Query:
        return query.replace(nonempty=True, span=span)

    def set_operation(
        self, left: ast.RowSource, operator: Token, right: ast.RowSource, by: list[ast.Expr], span: Span
    ) -> ast.Combination:
        return ast.Combination(operator.value, left, right, tuple(by), span)

    def left_join(self, *parts: Any) -> tuple[str, Any, Span]:
        return self._build_join("left", *parts)

    def inner_join(self, *parts: Any) -> tuple[str, Any, Span]:
        return self._build_join("inner", *parts)

    def full_join(self, *parts: Any) -> tuple[str, Any, Span]:
        return self._build_join("full", *parts)

    def _build_join(
        self, kind: str, rows: ast.RowSource, name: Token, condition: ast.Expr, span: Span
    ) -> tuple[str, Any, Span]:
        if "." in name.value:
            raise StatementError(f'"{name.value}" cannot be the name of a join: it has a dot', span=name.span)
        return "joins", ast.Join(kind, rows, name.value, condition, span), span

    def where(self, condition: ast.Expr, span: Span) -> tuple[str, Any, Span]:
        return "where", condition, span

    def explicit_all(self, span: Span) -> tuple[str, Any, Span]:
        return "explicit_all", True, span

    def group_by(self, keys: list[ast.Expr], span: Span) -> tuple[str, Any, Span]:
        return "group", tuple(keys), span

    def having(self, condition: ast.Expr, span: Span) -> tuple[str, Any, Span]:
        return "having", condition, span

    def order_by(self, keys: list[ast.Ordering], span: Span) -> tuple[str, Any, Span]:
        return "order", tuple(keys), span

    def limit(self, count: ast.Expr, per: list[ast.Expr], span: Span) -> tuple[str, Any, Span]:
        return "limit", ast.Limit(count, tuple(per), span), span

    def skip(self, count: ast.Expr, per: list[ast.Expr], span: Span) -> tuple[str, Any, Span]:
        return "skip", ast.Limit(count, tuple(per), span), span

    def keep_newest(
        self, _keyword: Token, count: ast.Expr, per: list[ast.Expr], by: ast.Expr | None, span: Span
    ) -> tuple[str, Any, Span]:
        return "keep_newest", ast.KeepNewest(count, tuple(per), by, span), span

    def until(self, measure: list[Token], operator: Token, amount: ast.Expr, span: Span) -> tuple[str, Any, Span]:
        words = " ".join(word.value.lower() for word in measure)
        if operator.value not in _END_OPERATORS.get(words, ()):
            raise StatementError(
                'expected "total size", "disk use" or "free" and a limit after "until"',
                span=span,
                hints=("example: until total size <= 16GB, until disk use <= 80%, until free >= 20GB",),
            )
        return "until", ast.UntilSize(operator.value, amount, words, span), span

    def when(self, measure: list[Token], operator: Token, amount: ast.Expr, span: Span) -> tuple[str, Any, Span]:
        words = " ".join(word.value.lower() for word in measure)
        if operator.value not in _START_OPERATORS.get(words, ()):
            raise StatementError(
                'expected "disk use" or "free" and a limit after "when"',
                span=span,
                hints=("example: when disk use > 85%, or when free < 20GB",),
            )
        return "when", ast.When(operator.value, amount, words, span), span

    def select(self, columns: list[ast.Column], span: Span) -> tuple[str, Any, Span]:
        return "select", tuple(columns), span

    def count_rows(self, span: Span) -> tuple[str, Any, Span]:
        return "count", True, span

    def ascending(self, key: ast.Expr, span: Span) -> ast.Ordering:
        return ast.Ordering(key, span=span)

    def descending(self, key: ast.Expr, span: Span) -> ast.Ordering:
        return ast.Ordering(key, descending=True, span=span)

    def column(self, value: ast.Expr, span: Span) -> ast.Column:
        return ast.Column(value, span=span)

    def named_column(self, value: ast.Expr, name: Token, span: Span) -> ast.Column:
        return ast.Column(value, name.value, span)

    # Expressions

    def disjunction(self, operands: list[ast.Expr], span: Span) -> ast.Or:
        flat = [part for o in operands for part in (o.operands if isinstance(o, ast.Or) else (o,))]
        return ast.Or(tuple(flat), span)

    def conjunction(self, operands: list[ast.Expr], span: Span) -> ast.And:
        flat = [part for o in operands for part in (o.operands if isinstance(o, ast.And) else (o,))]
        return ast.And(tuple(flat), span)

    def negation(self, operand: ast.Expr, span: Span) -> ast.Expr:
        return operand.operand if isinstance(operand, ast.Not) else ast.Not(operand, span)

    def comparison(self, left: ast.Expr, operator: Token, right: ast.Expr, span: Span) -> ast.Expr:
        return ast.Comparison(operator.value, left, right, span)

    def negated_comparison(self, left: ast.Expr, operator: Token, right: ast.Expr, span: Span) -> ast.Expr:
        return ast.Not(ast.Comparison(operator.value, left, right, span), span)

    def between(self, operand: ast.Expr, low: ast.Expr, high: ast.Expr, span: Span) -> ast.Expr:
        return ast.Between(operand, low, high, span)

    def comparison_ago(self, left: ast.Expr, operator: Token, age: ast.Expr, span: Span) -> ast.Expr:
        if operator.value in ("=", "!="):
            raise StatementError(
                f'"{operator.value}" cannot be combined with "ago": times have a precision of nanoseconds',
                span=operator.span,
                hints=("use < … ago for older, > … ago for newer", "or a range: between … ago and … ago"),
            )
        return ast.Comparison(operator.value, left, _subtract_from_now(age), span)

    def between_ago(self, operand: ast.Expr, low: ast.Expr, high: ast.Expr, span: Span) -> ast.Expr:
        return ast.Between(operand, _subtract_from_now(low), _subtract_from_now(high), span)

    def in_list(self, operand: ast.Expr, items: list[ast.Expr], span: Span) -> ast.Expr:
        return ast.In(operand, tuple(items), span=span)

    def not_in_list(self, operand: ast.Expr, items: list[ast.Expr], span: Span) -> ast.Expr:
        return ast.Not(ast.In(operand, tuple(items), span=span), span)

    def in_query(self, operand: ast.Expr, rows: ast.RowSource | ast.Variable, span: Span) -> ast.Expr:
        return ast.In(operand, rows=rows, span=span)

    def not_in_query(self, operand: ast.Expr, rows: ast.RowSource | ast.Variable, span: Span) -> ast.Expr:
        return ast.Not(ast.In(operand, rows=rows, span=span), span)

    def row_in_query(self, rows: ast.RowSource, keys: list[ast.Expr], span: Span) -> ast.Expr:
        """Return `in (ROWS by KEY)` as what it is short for: `KEY in (ROWS select KEY)`."""
        from .errors import StatementError

        if len(keys) != 1:
            raise StatementError(
                "rows are compared by one key in a condition",
                code="combination",
                span=span,
                hints=("by several keys: (… where …) except (…) by A, B",),
            )
        is_plain = isinstance(rows, ast.Query) and not (rows.select or rows.group or rows.count)
        query = rows if is_plain and isinstance(rows, ast.Query) else ast.Query("", base=rows, span=rows.span)
        return ast.In(keys[0], rows=query.replace(select=(ast.Column(keys[0]),)), span=span)

    def is_known(self, operand: ast.Expr, span: Span) -> ast.Expr:
        return ast.IsKnown(operand, known=True, span=span)

    def is_unknown(self, operand: ast.Expr, span: Span) -> ast.Expr:
        return ast.IsKnown(operand, known=False, span=span)

    def in_use(self, span: Span) -> ast.Expr:
        return ast.Predicate("in use", (), span)

    def older_than(self, age: ast.Expr, span: Span) -> ast.Expr:
        return ast.Predicate("older than", (age,), span)

    def newer_than(self, age: ast.Expr, span: Span) -> ast.Expr:
        return ast.Predicate("newer than", (age,), span)

    def has_any(self, field: Token, span: Span) -> ast.Expr:
        return ast.IsKnown(self.field(field, field.span), known=True, span=span)

    def has_item(self, field: Token, item: ast.Expr, span: Span) -> ast.Expr:
        return ast.Comparison("has", self.field(field, field.span), item, span)

    def exists(self, rows: ast.RowSource, span: Span) -> ast.Expr:
        return ast.Exists(rows, span=span)

    def not_exists(self, rows: ast.RowSource, span: Span) -> ast.Expr:
        return ast.Exists(rows, negated=True, span=span)

    def based_on(self, image: ast.Expr, span: Span) -> ast.Expr:
        return ast.Predicate("based on", (image,), span)

    def shares_with(self, object_word: Token, image: ast.Expr, span: Span) -> ast.Expr:
        return self._build_predicate("shares", object_word, ("layers",), "with", image, span)

    def contains(self, object_word: Token, value: ast.Expr, span: Span) -> ast.Expr:
        return self._build_predicate("contains", object_word, ("file", "package", "text"), "", value, span)

    def local_only(self, span: Span) -> ast.Expr:
        return ast.Predicate("local only", (), span)

    def writable_by(self, user: ast.Expr, span: Span) -> ast.Expr:
        return ast.Predicate("writable by", (user,), span)

    def executable_by(self, user: ast.Expr, span: Span) -> ast.Expr:
        return ast.Predicate("executable by", (user,), span)

    def _build_predicate(
        self, word: str, object_word: Token, known: tuple[str, ...], preposition: str, value: ast.Expr, span: Span
    ) -> ast.Expr:
        if object_word.value.lower() not in known:
            conditions = ", ".join(" ".join(f"{word} {one} {preposition}".split()) for one in known)
            raise StatementError(
                f'"{word} {object_word.value}" is not a condition',
                span=object_word.span,
                hints=(f"expected: {conditions}",),
            )
        return ast.Predicate(" ".join(f"{word} {object_word.value.lower()} {preposition}".split()), (value,), span)

    def add(self, left: ast.Expr, right: ast.Expr, span: Span) -> ast.Expr:
        return ast.Arithmetic("+", left, right, span)

    def subtract(self, left: ast.Expr, right: ast.Expr, span: Span) -> ast.Expr:
        return ast.Arithmetic("-", left, right, span)

    def multiply(self, left: ast.Expr, right: ast.Expr, span: Span) -> ast.Expr:
        return ast.Arithmetic("*", left, right, span)

    def divide(self, left: ast.Expr, right: ast.Expr, span: Span) -> ast.Expr:
        return ast.Arithmetic("/", left, right, span)

    def modulo(self, left: ast.Expr, right: ast.Expr, span: Span) -> ast.Expr:
        return ast.Arithmetic("%", left, right, span)

    def field(self, name: Token, span: Span) -> ast.Field:
        return ast.Field(split_path(name.value), span)

    def image_field(self, name: Token, target: ast.Literal | ast.Variable, span: Span) -> ast.ImageField:
        return ast.ImageField(split_path(name.value), target, span)

    def subquery(self, rows: ast.RowSource, span: Span) -> ast.Expr:
        return ast.Subquery(rows, span)

    def counted_rows(self, rows: ast.RowSource, span: Span) -> list[ast.Expr]:
        return [ast.Subquery(rows, span)]

    def literal(self, token: Token, span: Span) -> ast.Literal:
        return ast.Literal(token.value, token.kind == "STRING", span)

    def variable(self, token: Token, span: Span) -> ast.Variable:
        return ast.Variable(token.value, span)

    def call(self, function: Token, arguments: Any, span: Span) -> ast.Call:
        if isinstance(arguments, list):
            return ast.Call(function.value, tuple(arguments), span=span)
        if isinstance(arguments, ast.Limit):
            return ast.Call(function.value, (arguments.count,), per=arguments.per, span=span)
        return ast.Call(function.value, (arguments.value,), distinct=True, span=span)

    def star(self, _span: Span) -> list[Any]:
        return []

    def keyed_argument(self, argument: ast.Expr, keys: list[ast.Expr], span: Span) -> ast.Limit:
        return ast.Limit(argument, tuple(keys), span)  # only `call` receives this

    def distinct(self, argument: ast.Expr, span: Span) -> ast.Column:
        return ast.Column(argument, span=span)  # only `call` receives this


def _subtract_from_now(age: ast.Expr) -> ast.Expr:
    """Return the expression for now minus a duration."""
    return ast.Arithmetic("-", ast.Call("now", (), span=age.span), age, age.span)


def _join_options(place: ast.Option | None, options: list[Any]) -> list[Any]:
    """Return the options of an action with the one for its sources, which may come before all others."""
    return options if place is None else [place, *options]
