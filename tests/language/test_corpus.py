"""Every statement of the corpus is parsed, unparsed, bound, explained and run.

The results of corpus/NAME.imq are in corpus/NAME.txt. Invalid statements and their errors are in refused/*.txt.
IMQ_UPDATE=1 rewrites these files.
"""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Generator
from datetime import UTC
from typing import TYPE_CHECKING, Any

import pytest
from imq.engine.actions import VERBS
from imq.engine.catalog.tables import SEARCH_TABLES, TABLES, UNAVAILABLE_TABLES
from imq.engine.render.formats import FORMATS, write_documents, write_rows
from imq.engine.render.values import DisplayOptions
from imq.engine.result import Documents, Result, RowSet
from imq.grammar import ast, parser
from imq.grammar.errors import ImqError, StatementError, format_error
from imq.grammar.generate_tables import GRAMMAR, generate, make_lark_parser
from imq.grammar.generate_tables import TABLES as TABLES_FILE
from imq.grammar.lexer import Lexer, Token, Vocabulary
from imq.grammar.unparser import unparse
from language.conftest import NOW

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from imq.engine.session.session import Session

HERE = os.path.dirname(__file__)
VOCABULARY = Vocabulary(
    frozenset(VERBS), frozenset({*TABLES, *UNAVAILABLE_TABLES}), frozenset(FORMATS), search_tables=SEARCH_TABLES
)
CORPUS = sorted(glob.glob(os.path.join(HERE, "corpus", "*.imq")))
REFUSED = sorted(glob.glob(os.path.join(HERE, "refused", "*.txt")))


def read(path: str) -> str:
    with open(path, encoding="utf-8", newline="") as source:
        return source.read()


def read_corpus() -> list[Any]:
    """Return each statement of the corpus as a parameter: its tree, its text, and the definitions before it.

    Definitions are variables, views and includes.
    """
    found = []
    for path in CORPUS:
        text = read(path)
        name = os.path.basename(path).removesuffix(".imq")
        before: list[ast.Statement] = []
        for tree in parser.parse(text, VOCABULARY, include_views=lambda _: ("large",)):
            assert tree.span is not None
            said = text[tree.span.start : tree.span.end]
            line = text.count(chr(10), 0, tree.span.start) + 1
            found.append(pytest.param(tree, said, tuple(before), id=f"{name}:{line}"))
            if isinstance(tree, ast.Let | ast.View | ast.Include):
                before.append(tree)
    return found


def make_vocabulary(before: tuple[ast.Statement, ...]) -> Vocabulary:
    """Return the vocabulary after these statements."""
    views = {statement.name for statement in before if isinstance(statement, ast.View) and statement.name}
    return VOCABULARY.replace(tables=VOCABULARY.tables | views | {"large"})


def read_refused(path: str) -> list[str]:
    """Return the statements of a file of invalid statements: lines after `> `, continued by lines after `| `."""
    blocks = read(path).split("\n\n> ")
    statements = []
    for block in blocks:
        first, *rest = block.removeprefix("> ").split("\n")
        statements.append("\n".join([first, *(line[2:] for line in rest if line.startswith("| "))]))
    return statements


def format_result(result: Result, form: str) -> str:
    """Return a result as text."""
    manner = DisplayOptions(NOW, UTC)
    if isinstance(result, RowSet):
        try:
            return "".join(write_rows(result, manner, form))
        finally:
            if isinstance(result.rows, Generator):
                result.rows.close()
    if isinstance(result, Documents):
        return "".join(write_documents(result, "json"))
    return result.text


def run_corpus(session: Session, path: str) -> Iterator[tuple[ast.Statement, str]]:
    """Yield each statement of a file with its result as text, twice when it has a form for people and one for data."""
    text = read(path)
    for tree in session.parse(text):
        assert tree.span is not None
        said = text[tree.span.start : tree.span.end]
        for form in ("table", "json"):
            session.context = session.context.replace(output_format=form)
            result = format_result(session.execute(tree, dry_run=True), form)
            shown = re.sub(r"(?m)[ ]+$", "", result)
            yield tree, f"> {said}\n{shown}" if form == "table" else shown
            if (
                not isinstance(tree, ast.QueryStatement | ast.ActionStatement | ast.DryRun)
                or "format" in said
                or " as " in said
            ):
                break


@pytest.fixture(autouse=True)
def lists(monkeypatch: pytest.MonkeyPatch) -> None:
    """Change to the folder of the lists that statements read."""
    monkeypatch.chdir(os.path.join(HERE, "lists"))


@pytest.mark.parametrize(("tree", "said", "before"), read_corpus())
class TestCorpus:
    """Properties of every valid statement."""

    def test_unparse_then_parse_returns_the_same_tree(
        self, tree: ast.Statement, said: str, before: tuple[ast.Statement, ...]
    ) -> None:
        written = unparse(tree)
        assert parser.parse(written, make_vocabulary(before)) == (tree,), f"{said} was written as {written}"

    def test_explain_begins_with_the_statement(
        self, tree: ast.Statement, said: str, before: tuple[ast.Statement, ...], session: Session
    ) -> None:
        for statement in before:
            session.execute(statement)
        inner = tree
        while isinstance(inner, ast.Explain | ast.DryRun):
            inner = inner.statement
        if not isinstance(inner, ast.QueryStatement | ast.ActionStatement | ast.Assert):
            with pytest.raises(StatementError, match="explain takes a query"):
                session.explain(tree)
            return
        assert session.explain(tree).startswith(f"statement: {unparse(inner)}\n"), said

    def test_spans_are_exact(self, tree: ast.Statement, said: str, before: tuple[ast.Statement, ...]) -> None:
        """A statement is parsed to the same tree alone: spans are exact, and statements do not affect each other."""
        assert parser.parse(said, make_vocabulary(before)) == (tree,)
        assert parser.parse(f"{said}\n{said}\n", make_vocabulary(before)) == (tree, tree)


@pytest.mark.parametrize("path", CORPUS, ids=[os.path.basename(path) for path in CORPUS])
def test_results_equal_the_golden_file(path: str, unused_session: Session) -> None:
    """The results of all statements of a file, as table and JSON, equal the golden file."""
    session = unused_session
    session.store.measure_layers(jobs=2)  # so that the output of `explain` does not depend on earlier statements
    whole = "\n".join(block for _, block in run_corpus(session, path))
    golden = path.removesuffix(".imq") + ".txt"
    if os.environ.get("IMQ_UPDATE"):
        with open(golden, "w", encoding="utf-8", newline="") as target:
            target.write(whole)
    assert whole == read(golden)


@pytest.mark.parametrize("path", REFUSED, ids=[os.path.basename(path) for path in REFUSED])
def test_errors_equal_the_golden_file(path: str, session: Session) -> None:
    blocks = []
    for statement in read_refused(path):
        said = "> " + statement.replace("\n", "\n| ")
        with pytest.raises(ImqError) as caught:  # noqa: PT012 - a result is formatted while it is read
            for result in session.run(statement, dry_run=True):
                format_result(result, "table")
        blocks.append(f"{said}\n{format_error(caught.value)}\nexit {caught.value.exit_code}\n")
    whole = "\n".join(blocks)
    if os.environ.get("IMQ_UPDATE"):
        with open(path, "w", encoding="utf-8", newline="") as target:
            target.write(whole)
    assert whole == read(path)


# The tables


def test_generated_tables_are_current() -> None:
    assert generate(read(GRAMMAR)) == read(TABLES_FILE), "run: python -m imq.grammar.generate_tables"


class RecordingLexer(Lexer):
    """A lexer that records its tokens."""

    tokens: list[Token]

    def next(self, accepts: Mapping[str, int]) -> Token:
        token = super().next(accepts)
        self.tokens.append(token)
        return token


@pytest.mark.parametrize("path", [*CORPUS, *REFUSED])
def test_lark_accepts_and_refuses_the_same_tokens(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The parser of Lark accepts the same tokens and refuses the same token."""
    from lark import Token as LarkToken
    from lark import UnexpectedInput

    theirs = make_lark_parser(read(GRAMMAR))
    monkeypatch.setattr(parser, "Lexer", RecordingLexer)
    for text in read_refused(path) if path.endswith(".txt") else [read(path)]:
        tokens: list[Token] = []
        monkeypatch.setattr(RecordingLexer, "tokens", tokens, raising=False)
        problem = None
        try:
            parser.parse(text, VOCABULARY)
        except StatementError as error:
            problem = error
        interactive = theirs.parse_interactive("")
        stumbled = None
        for token in tokens:
            try:
                interactive.feed_token(LarkToken(token.kind, token.value))
            except UnexpectedInput:
                stumbled = token
                break
        if problem is None:
            assert stumbled is None, text
            assert tokens[-1].kind == "$END"
        elif stumbled is not None:
            assert stumbled is tokens[-1], text
            assert problem.span is not None
            assert problem.span.start >= stumbled.span.start, text
