"""Any tree is unparsed and parsed back, and any text is parsed or refused in time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import settings as tried
from hypothesis import strategies as st
from imq.grammar import ast
from imq.grammar._lalr_tables import WORDS as KEYWORDS
from imq.grammar.errors import ImqError, Span, StatementError, closest_hint, format_error
from imq.grammar.parser import MAX_LENGTH, parse
from imq.grammar.unparser import quote, unparse
from language import strategies
from language.strategies import VOCABULARY
from support.waiting import deadline


@given(strategies.statements())
@tried(max_examples=300)
def test_any_tree_is_unparsed_and_parsed_to_an_equal_tree(tree: ast.Statement) -> None:
    written = unparse(tree)
    assert parse(written, VOCABULARY) == (tree,), written


@pytest.mark.parametrize(
    "text",
    [
        "images select (size of latest) / latest",
        "images select (2 * size of latest) / latest",
        "images select (size of latest) / 2 * size",
        "images select size / size of latest",
        "images where size > (size of latest + 1) / 2",
    ],
)
def test_an_image_before_a_slash_is_parsed_back(text: str) -> None:
    (tree,) = parse(text, VOCABULARY)
    assert parse(unparse(tree), VOCABULARY) == (tree,), unparse(tree)


@given(st.text(max_size=40))
def test_any_quoted_string_is_parsed_back(text: str) -> None:
    (ask,) = parse(f"images where tag = {quote(text)}", VOCABULARY)
    assert isinstance(ask, ast.QueryStatement)
    assert ask.query.where == ast.Comparison("=", ast.Field(("tag",)), ast.Literal(text, quoted=True))


def parse_within_deadline(text: str) -> tuple[ast.Statement, ...] | StatementError:
    """Parse a text; format its error, if any."""
    with deadline():
        try:
            result: tuple[ast.Statement, ...] | StatementError = parse(text, VOCABULARY)
        except StatementError as error:
            result = error
        if isinstance(result, StatementError):
            assert format_error(result).startswith(f"error[{result.code}]: ")
            assert result.span is None or 0 <= result.span.start <= result.span.end <= len(text)
    return result


SIGNS = [";", "\n", "<<", "{{", ">>", "}}", '"', "'", "\\", "#", "[", "]", "<", "!="]
WORDS = [*sorted({*VOCABULARY.tables, *VOCABULARY.verbs, *KEYWORDS}), *SIGNS]
WORDS += [
    "like",
    "before",
    "2",
    "weeks",
    "size",
    "tag",
    ".tag",
    "$x",
    "redis:7",
    "created",
    "json",
    "label.env",
    "lower",
]


@given(st.text(max_size=200))
@tried(max_examples=300)
def test_any_text_is_parsed_or_refused(text: str) -> None:
    parse_within_deadline(text)


@given(st.lists(st.sampled_from(WORDS), max_size=40), st.sampled_from(["", " "]))
@tried(max_examples=1000)
def test_any_words_are_parsed_or_refused(words: list[str], joint: str) -> None:
    parse_within_deadline(joint.join(words))


@given(st.binary(max_size=200))
def test_any_bytes_are_parsed_or_refused(content: bytes) -> None:
    parse_within_deadline(content.decode(errors="surrogateescape"))


MANY = 10_000
MIB = MAX_LENGTH - 100


@pytest.mark.parametrize(
    "text",
    [
        "images where " + "(" * MANY + "dangling" + ")" * MANY,
        "images where " + "not " * MANY + "dangling",
        "images where " + "dangling and " * MANY + "dangling",
        "images where " + "dangling or " * MANY + "dangling",
        "images where tag in (" + "x, " * MANY + "x)",
        "images;" * MANY,
        "images\n" * MANY,
        "images" + "\n" * MIB,
        "images" + " \n" * (MIB // 2),
        "images\n" + "# comment\n" * (MIB // 10),
        "images " + "\\\n" * (MIB // 2),
        "images where tag = " + "x" * MIB,
        "images where tag = '" + "x" * MIB + "'",
        "images where tag = '" + "\\'" * (MIB // 2) + "'",
        "images where tag = " + "{{x}}" * (MIB // 5),
        "images where tag = x{{" + "x" * MIB,
        "images where " + "x" * MIB,
        "images where " + "x." * (MIB // 2) + "x",
        "images format " + "{{.ID}} " * (MIB // 8),
        "images format " + "{" * MIB,
        "pull " + "x " * MANY,
        "rm x" + ", x" * MANY,
    ],
    ids=lambda text: f"{text[:24]}…",
)
def test_very_large_statements_are_parsed(text: str) -> None:
    assert not isinstance(parse_within_deadline(text), StatementError)


@pytest.mark.parametrize(
    "text",
    [
        "(" * MANY,
        "images where " + "(" * MANY,
        "images where " + "(" * MANY + "dangling",
        "images where " + ")" * MANY,
        "images where tag = " + "(" * MANY,
        "images where " + "not (dangling or " * MANY,
        "images where " + "lower(" * MANY + "tag" + ")" * MANY + " = x",
        "images where size = 1" + " + 1" * MANY,
        "layers of " + "(layers of " * MANY + "x" + ")" * MANY,
        "explain " * MANY,
        "explain " * MANY + "images",
        "dry run " * MANY + "images",
        "x" * MIB,
        "images where tag = '" + "x" * MIB,
        "images where tag = '" + "\\" * MIB,
        'images where label."' + "x" * MIB,
        "images where tag = <<" + "<" * MIB,
        "images where tag = [" + "[" * MIB,
        "images where tag " + "{{" * (MIB // 2),
        "images where tag = x" + "<<x" * (MIB // 3),
        "images as" + " " * MIB + "x",
        "x" * (MAX_LENGTH + 1),
        "\x00",
        "images where tag = a\x00",
        "images where tag = '\n\n",
        "\udcff",
    ],
    ids=lambda text: f"{text[:24]!a}…",
)
def test_too_large_statements_are_refused(text: str) -> None:
    assert isinstance(parse_within_deadline(text), StatementError)


def test_nesting_is_limited() -> None:
    deepest = parse("images where " + "lower(" * (ast.MAX_DEPTH - 5) + "tag" + ")" * (ast.MAX_DEPTH - 5), VOCABULARY)
    assert parse(unparse(deepest[0]), VOCABULARY) == deepest
    with pytest.raises(StatementError) as caught:
        parse("images where " + "lower(" * ast.MAX_DEPTH + "tag" + ")" * ast.MAX_DEPTH, VOCABULARY)
    assert caught.value.code == "too-deep"


@pytest.mark.parametrize(
    ("text", "message", "excerpt"),
    [
        ("images where\n", "the statement ends too early", ["  │ images where", "  │             ^"]),
        ("images where # why\n\n", "the statement ends too early", ["  │ images where # why", "  │             ^"]),
        (
            "images\r\nimages where tag = ^ ^\r\n",
            'unexpected "^"',
            ["  2 │ images where tag = ^ ^", "    │                      ^"],
        ),
        ("\timages where )", 'unexpected ")"', ["  │  images where )", "  │               ^"]),
        ("images 'x\ny'", "unexpected", ["  1 │ images 'x", "    │        ^^"]),
    ],
)
def test_an_error_marks_its_span(text: str, message: str, excerpt: list[str]) -> None:
    with pytest.raises(StatementError) as caught:
        parse(text, VOCABULARY)
    assert message in caught.value.message
    lines = format_error(caught.value).splitlines()
    assert lines[1] == excerpt[0]
    assert lines[2].startswith(excerpt[1])


def test_a_long_line_is_cut_around_the_span() -> None:
    text = "images where " + "dangling or " * 100 + "? ? or " + "dangling or " * 100 + "dangling"
    with pytest.raises(StatementError) as caught:
        parse(text, VOCABULARY)
    _, line, caret, *_ = format_error(caught.value).splitlines()
    assert len(line) < 160
    at = caret.index("^")
    assert line[at] == "?"


def test_statements_have_exact_spans() -> None:
    text = "images  ;\n rm redis:7 \n\nhelp"
    assert [text[tree.span.start : tree.span.end] for tree in parse(text, VOCABULARY) if tree.span] == [
        "images", "rm redis:7", "help",
    ]  # fmt: skip
    (ask,) = parse("images   as json", VOCABULARY)
    assert isinstance(ask, ast.QueryStatement)
    assert ask.query.span == Span(0, 6)


def test_an_atom_is_one_value_where_only_a_value_is_valid() -> None:
    text = 'import a b as x change "LABEL a=b" c d'
    start, other = text.index('"'), text.index("a b")
    wholes = {start: start + len('"LABEL a=b"'), other: other + 3}
    (act,) = parse(text.removesuffix(" c d"), VOCABULARY, wholes)
    assert isinstance(act, ast.ActionStatement)
    assert act.references == (ast.Literal("a b", quoted=True),)
    assert act.options[1] == ast.Option("change", (ast.Literal("LABEL a=b", quoted=True),))


def test_an_atom_can_be_the_rest_of_a_statement() -> None:
    for text in ("rm images where dangling", "rm all images", "images where tag = x or dangling"):
        blank = text.index(" ") + 1
        assert parse(text, VOCABULARY, {blank: len(text), 0: blank - 1}) == parse(text, VOCABULARY)


def test_a_suggested_name_keeps_its_spelling() -> None:
    assert closest_hint("createdsinse", ["CreatedSince", "Size"]) == 'did you mean "CreatedSince"?'
    assert closest_hint("x" * 1_000_000, ["CreatedSince"]) == ""
    assert closest_hint("nothing like it", ["Size"]) == ""
    assert closest_hint("sise", ["name", "size", "tag"]) == 'did you mean "size"?'
    assert (
        closest_hint("nmae", ["name", "size"]) == 'did you mean "name"?'
    )  # two letters that changed places are one slip
    assert closest_hint("an", ["and", "any", "images"]) == 'did you mean "and" or "any"?'
    assert closest_hint("run", ["prune", "rename"]) == ""
    assert closest_hint("ab", ["cd"]) == ""
    assert closest_hint("--force", ["--force", "--source"]) == ""  # a name is no correction of itself
    assert closest_hint("NAME", ["name"]) == 'did you mean "name"?'


def test_errors_are_formatted_completely() -> None:
    error = ImqError("it broke", code="some", hints=("", "first", "second"))
    assert format_error(error) == "error[some]: it broke\n  first\n  second"
    assert format_error(error.attach_text("text")) == format_error(error)
