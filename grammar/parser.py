"""A shift-reduce parser over the LALR tables that Lark generates from `imq.lark`."""

from __future__ import annotations

import re

from . import ast
from ._lalr_tables import END, PRODUCTIONS, ROWS, START, WORDS
from .ast_builder import Builder
from .errors import Span, StatementError, UnknownName, closest_hint, closest_names, join_names
from .lexer import Lexer, Token, Vocabulary
from .record import TYPE_CHECKING, Record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any

MAX_LENGTH = 1 << 20
"""Maximum characters of an input."""

_PHRASES = {
    "ORDER": "by",
    "GROUP": "by",
    "OLDER": "than",
    "NEWER": "than",
    "BASED": "on",
    "LOCAL": "only",
    "DRY": "run",
}
"""Keywords with the keyword that must follow them."""
_DESCRIPTIONS = {
    "NAME": "a name",
    "KEYS": "a path of keys",
    "WORD": "a value",
    "STRING": "a quoted string",
    "FIELD": ".field",
    "VARIABLE": "$variable",
    "TEMPLATE": "a template",
    "FUNCTION": "a function",
    "OUTPUT_FORMAT": '"as" and an output format',
    "VERB": "a verb",
    "TABLE": "a table",
    "SEARCH_TABLE": "a table",
    "CONTAINER": "a value",
    "SEPARATOR": '";"',
    "PERCENTAGE": "a percentage",
    "COMPARISON": "= != < <= > >=",
    "WORD_OPERATOR": '"like", "matches", "has"',
    "TIME_OPERATOR": '"before", "after", "since", "within"',
    "RELATION": "a relation",
    "EXCEPT_NEWEST": '"except newest"',
    "SKIP_EXISTING": '"skip existing"',
    "WITH_ARCHIVES": '"with archives"',
    "SET_OPERATOR": '"union", "except", "intersect"',
    "$END": "the end",
    **{kind: f'"{word}"' for word, kind in WORDS.items()},
    **{kind: f'"{kind.lower()} {word}"' for kind, word in _PHRASES.items()},
}

_GROUPS = (
    (frozenset({"COMPARISON", "WORD_OPERATOR", "TIME_OPERATOR", "BETWEEN", "IN", "IS", "NOT"}), "a comparison"),
    (frozenset({"PLUS", "MINUS", "STAR", "SLASH", "PERCENT"}), "+ - * / %"),
    (frozenset({"CONTAINER", "WORD", "STRING", "VARIABLE"}), "a value"),
    (frozenset({"WORD", "STRING", "VARIABLE"}), "a value"),
    (frozenset({"TABLE", "SEARCH_TABLE"}), "a table"),
)
"""Terminals that errors describe together."""

_LIKELIEST = (
    "a table", "VERB", "a comparison", "a value", "NAME", "AND", "OR", "WHERE", "LPAR", "ORDER", "LIMIT", "SELECT",
    "GROUP", "OUTPUT_FORMAT", "TO", "AS", "FROM", "COMMA", "$END",
)  # fmt: skip
"""The terminals and groups that are meant most often, likeliest first."""
_MAX_EXPECTED = 3
"""The most terminals and groups that an error lists."""
_BEFORE_CONDITIONS = frozenset({"WHERE", "AND", "OR", "NOT", "HAVING", "ASSERT"})
_BEFORE_EXPRESSIONS = _BEFORE_CONDITIONS | {"BY", "SELECT"}
"""Keywords that an expression follows."""
_CLAUSE_WORDS = frozenset({"as", "count", "format", "group", "having", "limit", "order", "select", "skip", "where"})
"""Keywords that begin a clause; where a condition is expected, the lexer reads them as names of fields."""


_OPERATORS_OF_ITEMS = ("=", "!=", "like", "matches", "has")
_NEXT_WORD = r"\s*([\w.:/-]{1,60})"


_VIEW_PRODUCTIONS = frozenset({"view", "include"})
"""Productions of statements that declare views."""


_SHORTEST_TYPO = 3
"""The least letters of a word that is corrected to a destructive verb."""


class _ActionTable(dict[int, dict[str, int]]):
    """The rows of the action table, each converted to a dict on first use."""

    def __missing__(self, state: int) -> dict[str, int]:
        names, steps = ROWS[state]
        row = self[state] = dict(zip(names.split(), map(int, steps.split()), strict=True))
        return row


_ACTIONS = _ActionTable()


class Expected(Record):
    """The terminals that can follow the beginning of a text, and the tokens of that beginning.

    `vocabulary` includes the views that these tokens declare.
    """

    terminals: frozenset[str]
    tokens: tuple[Token, ...]
    vocabulary: Vocabulary


class _Parser:
    """The parser of one text."""

    def __init__(
        self,
        text: str,
        vocabulary: Vocabulary,
        atoms: Mapping[int, int],
        include_views: Callable[[ast.Include], Iterable[str]],
    ) -> None:
        self._include_views = include_views
        self._text = text
        self._vocabulary = vocabulary
        self._lexer = Lexer(text, vocabulary, atoms)
        self._states = [START]
        self._values: list[Any] = []
        self._spans: list[Span] = []
        self._last_tokens: tuple[Token, ...] = ()
        builder = Builder()
        self._builders: list[Callable[..., Any]] = [getattr(builder, method) for _, _, method, _ in PRODUCTIONS]

    def run(self) -> list[ast.Statement]:
        while not self._shift(self._lexer.next(_ACTIONS[self._states[-1]])):
            pass
        statements: list[ast.Statement] = self._values[-1]
        return statements

    def read_until(self, end: int) -> Expected:
        """Parse the tokens that begin before `end`, and return what can follow them."""
        tokens: list[Token] = []
        while True:
            token = self._lexer.next(_ACTIONS[self._states[-1]])
            if token.kind == "$END" or token.span.start >= end:
                return Expected(frozenset(self._expected_terminals()), tuple(tokens), self._vocabulary)
            self._shift(token)
            tokens.append(token)

    def _shift(self, token: Token) -> bool:
        """Apply the reductions before a token and shift it. Return whether the text is complete."""
        states = self._states
        while True:
            step = _ACTIONS[states[-1]].get(token.kind)
            if step is None:
                raise self._unexpected_token(token)
            if step >= 0:
                states.append(step)
                self._values.append(token)
                self._spans.append(token.span)
                self._last_tokens = (*self._last_tokens[-1:], token)
                return False
            self._reduce(-1 - step, token)
            if token.kind == "$END" and states[-1] == END:
                return True

    def _reduce(self, production: int, token: Token) -> None:
        rule, length, method, kept_parts = PRODUCTIONS[production]
        if length:
            parts, spans = self._values[-length:], self._spans[-length:]
            span = Span(spans[0].start, spans[-1].end)
            del self._states[-length:], self._values[-length:], self._spans[-length:]
        else:
            at = self._spans[-1].end if self._spans else token.span.start
            parts, span = [], Span(at, at)
        value = self._builders[production](*(parts[at] for at in kept_parts), span)
        if method in _VIEW_PRODUCTIONS:
            self._declare_views(value)
        self._values.append(value)
        self._spans.append(span)
        self._states.append(_ACTIONS[self._states[-1]][rule])

    def _declare_views(self, statement: ast.View | ast.Include) -> None:
        """Add the views that a statement declares to the vocabulary."""
        match statement:
            case ast.View(str() as view):
                names: Iterable[str] = (view,)
            case ast.Include():
                names = self._include_views(statement)
            case _:
                return
        self._vocabulary = self._vocabulary.replace(tables=self._vocabulary.tables.union(names))
        self._lexer.vocabulary = self._vocabulary

    def _expected_terminals(self) -> list[str]:
        """Return the terminals that are valid next: those that end in a shift."""
        return [kind for kind in _ACTIONS[self._states[-1]] if kind.isupper() and self._accepts(kind)]

    def _accepts(self, kind: str) -> bool:
        states = list(self._states)
        while True:
            step = _ACTIONS[states[-1]].get(kind)
            if step is None or step >= 0:
                return step is not None
            rule, length, _, _ = PRODUCTIONS[-1 - step]
            if length:
                del states[-length:]
            states.append(_ACTIONS[states[-1]][rule])
            if states[-1] == END:
                return True

    def _is_in_assertion(self) -> bool:
        """Whether the current statement is an assertion."""
        return any(isinstance(value, Token) and value.kind == "ASSERT" for value in self._values)

    def _is_after_table(self) -> bool:
        """Whether the last token was the name of a table."""
        last = self._values[-1] if self._values else None
        return isinstance(last, Token) and last.kind == "TABLE"

    def _suggest_start(self, name: str, words: Iterable[str]) -> str:
        """Return a hint with the closest words that can begin a statement.

        A destructive verb is suggested only when no other word is as close, so that a typo never suggests `rm`, and
        never for a word of two letters.
        """
        unsupported = {verb for verb, _ in self._vocabulary.unsupported_verbs}
        close = closest_names(name, {*words, *unsupported})
        only = close[0] if len(close) == 1 else ""
        if only in unsupported or not unsupported.isdisjoint(close):
            return ""
        if not self._vocabulary.destructive_verbs.isdisjoint(close) and (
            not only or len(name) < _SHORTEST_TYPO or not _is_near_match(name.lower(), only)
        ):
            return ""
        return closest_hint(name, words)

    def _find_clause_before(self, token: Token) -> StatementError | None:
        """Return the error of a keyword that was read as a field: `limit` in `where limit 3`; None for other errors."""
        if len(self._last_tokens) < 2 or self._last_tokens[1].kind != "NAME" or token.kind in ("COMPARISON", "$END"):
            return None
        before, last = self._last_tokens
        if last.value.lower() not in _CLAUSE_WORDS or before.kind not in _BEFORE_EXPRESSIONS:
            return None
        hints = (f"expected {_describe_expression(before)}",)
        return StatementError(f'unexpected "{last.value}"', span=last.span, hints=hints)

    def _find_quantified_field(self, token: Token) -> StatementError | None:
        """Return the error of `any env like "*"`, in which a field follows `any` or `no`; None for other errors."""
        if len(self._last_tokens) < 2 or token.value.lower() not in _OPERATORS_OF_ITEMS:
            return None
        quantifier, name = self._last_tokens
        if quantifier.kind not in ("ANY", "NO") or name.kind not in ("RELATION", "TABLE", "NAME"):
            return None
        negation = "not " if quantifier.kind == "NO" else ""
        hints = (f"of a list or a map, any item counts: {negation}{name.value} {token.value} …",)
        return StatementError(f'unexpected "{token.value}"', span=token.span, hints=hints)

    def _describe_expected(self, expected: Iterable[str]) -> str:
        """Return what can come next in words, likeliest first; an ellipsis stands for the rest."""
        if "OLDER" in expected and self._last_tokens and (last := self._last_tokens[-1]).kind in _BEFORE_EXPRESSIONS:
            return _describe_expression(last)
        return _describe_terminals(expected)

    def _unknown_format(self, token: Token) -> StatementError:
        """Return the error of `as` before a word that is no output format: a typo, or a name for the rows."""
        next_word = re.compile(_NEXT_WORD).match(self._text, token.span.end)
        formats = sorted(self._vocabulary.formats)
        if next_word is None:
            expected = f"formats: {join_names(formats)}"
            return UnknownName("expected an output format", code="unknown-form", span=token.span, hints=(expected,))
        word, span = next_word[1], Span(next_word.start(1), next_word.end(1))
        close = closest_hint(word, formats)
        before, after = self._text[: token.span.start].split(), self._text[next_word.end(1) :].split()
        is_before_clause = bool(after) and after[0].lower() in ("where", "and", "or", "join", "on", ",")
        if is_before_clause or re.search(rf"(?<![\w.]){re.escape(word)}[.]\w", self._text):
            return StatementError(
                f'rows have no name here: "as {word}"',
                code="alias",
                span=span,
                hints=(
                    f'fields are named without "{word}.": images where any layers where size > 1MB',
                    f"rows of a join are named: images join (QUERY) as {word} on …",
                ),
            )
        is_after_rows = not close and bool(before) and before[-1].endswith(")")
        hints = (
            close,
            f"formats: {join_names(formats)}",
            "rows in parentheses have no name: fields are named alone" if is_after_rows else "",
        )
        return UnknownName(f'unknown output format "{word}"', code="unknown-form", span=span, hints=hints)

    def _unexpected_token(self, token: Token) -> StatementError:
        expected = self._expected_terminals()
        words: set[str] = {word for word, kind in WORDS.items() if kind in expected and word.isalpha()}
        starts = "VERB" in expected
        if starts:
            words |= self._vocabulary.verbs
        if "TABLE" in expected:
            words |= self._vocabulary.tables
        token_text = self._text[token.span.start : token.span.end]
        if (clause := self._find_clause_before(token) or self._find_quantified_field(token)) is not None:
            return clause
        hints: tuple[str, ...]
        if token.kind == "$END":
            message = "the statement ends too early"
        elif starts and token.kind == "WORD":
            name = token_text.split(".")[0]
            if (reason := dict(self._vocabulary.unsupported_verbs).get(name.lower())) is not None:
                return StatementError(
                    f'imq has no command "{name}"', code="unavailable", span=token.span, hints=(reason,)
                )
            order_hint = f"a query begins with its table: TABLE {name.lower()} …" if name.lower() in WORDS else ""
            choices = (order_hint or self._suggest_start(name, words), "help lists the tables and the verbs")
            return UnknownName(f'"{token_text}" is neither a table nor a verb', span=token.span, hints=choices)
        elif (
            "TABLE" in expected
            and "NAME" not in expected
            and token_text.isidentifier()
            and token_text.lower() not in WORDS
        ):
            known = sorted(self._vocabulary.tables)
            is_after_in = self._text[: token.span.start].lower().split()[-1:] == ["in"] and "LPAR" in expected
            hints = (
                closest_hint(token_text, known),
                f"for a value: in ({token_text}); for an item of a list: {token_text} has …" if is_after_in else "",
                f"tables: {join_names(known)}",
            )
            return UnknownName(f'unknown table "{token_text}"', span=token.span, hints=hints)
        elif token_text.lower() == "as" and "OUTPUT_FORMAT" in expected:
            return self._unknown_format(token)
        else:
            shown = " ".join(token_text.split())
            shown = shown if len(shown) <= 60 else shown[:57] + "…"
            message = f'unexpected "{shown}"' if token_text.strip() else "the statement ends too early"
        if "WHERE" not in expected and token_text.lower() == "where" and "WORD" in expected:
            hints = ("where follows a table: " + join_names(sorted(self._vocabulary.tables)),)
        elif "WHERE" not in expected and token_text.lower() == "where" and self._is_in_assertion():
            hints = ("in an assertion: any TABLE … where …, no TABLE … where …",)
        elif token.kind == "WORD" and "WHERE" in expected and self._is_after_table():
            advice = closest_hint(token_text, words) or f"to filter rows: {self._values[-1].value} where …"
            hints = (advice, "expected " + self._describe_expected(expected))
        else:
            hints = (
                closest_hint(token_text, words) if token.kind != "$END" else "",
                "expected " + self._describe_expected(expected),
            )
        return StatementError(message, span=token.span, hints=hints)


def _is_near_match(name: str, word: str) -> bool:
    """Whether two words have the same first letter and almost the same length."""
    return name != word and name[:1] == word[:1] and abs(len(name) - len(word)) <= 1


def _describe_expression(before: Token) -> str:
    """Return what an expression after a keyword is, in words."""
    if before.kind in _BEFORE_CONDITIONS:
        return f'a condition after "{before.value}", as in: {before.value} size > 1GB'
    return f'a field after "{before.value}", as in: {before.value} size'


def _describe_terminals(expected: Iterable[str]) -> str:
    """Return the likeliest terminals in words; an ellipsis stands for the others."""
    kinds, names = set(expected), []
    for group, name in _GROUPS:
        if kinds >= group:
            kinds -= group
            names.append(name)
    order = [*_LIKELIEST, *(name for _, name in _GROUPS), *_DESCRIPTIONS]
    likeliest = sorted([*names, *kinds], key=order.index)
    described = [_DESCRIPTIONS.get(name, name) for name in likeliest]
    return ", ".join(described[:_MAX_EXPECTED]) + (", …" if len(described) > _MAX_EXPECTED else "")


def parse(
    text: str,
    vocabulary: Vocabulary,
    atoms: Mapping[int, int] | None = None,
    include_views: Callable[[ast.Include], Iterable[str]] = lambda _: (),
) -> tuple[ast.Statement, ...]:
    """Return the statements of `text`. Raises `StatementError` with a span and the expected tokens.

    `atoms` are ranges of the text, start to end, that are one value where a value is valid. `include_views` returns the
    names of the views that an included file declares.
    """
    try:
        if len(text) > MAX_LENGTH:
            raise StatementError(f"the input has {len(text)} characters; the limit is {MAX_LENGTH}", code="too-long")
        statements = _Parser(text, vocabulary, atoms or {}, include_views).run()
        for statement in statements:
            ast.check_limits(statement)
    except StatementError as error:
        raise error.attach_text(text) from None
    return tuple(statements)


def find_expected(text: str, vocabulary: Vocabulary, lookahead: str = "") -> Expected:
    """Return what can follow `text`, the beginning of statements, when `lookahead` comes after it.

    The text after a name decides whether the name is a table or a field; `lookahead` is a guess of that text. Raises
    `StatementError` if `text` is invalid.
    """
    return _Parser(text + lookahead, vocabulary, {}, lambda _: ()).read_until(len(text))
