"""Completion: a pure function of a text and a cursor position."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import settings as tried
from hypothesis import strategies as st
from imq.engine.help.completion import Completion, complete
from imq.grammar import ast
from imq.grammar.parser import parse
from imq.grammar.unparser import unparse
from language import strategies
from language.strategies import VOCABULARY
from support.waiting import deadline

HERE = "|"
"""The position of the cursor in a text."""


def at(text: str) -> Completion:
    return complete(text.replace(HERE, ""), text.index(HERE), VOCABULARY)


def words(text: str) -> list[str]:
    return [word.text for word in at(text).words]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("im|", ["images", "import"]),
        ("images wh|", ["when", "where"]),
        ("images where dang|", ["dangling"]),
        ("images where size > 1 an|", ["and"]),
        ("images order by siz|e desc", ["size", "size("]),
        ("images order by size de|", ["desc"]),
        ("images as j|", ["json", "jsonl"]),
        ("images select na|", ["name"]),
        ('images where contains text "x" select fou|', ["found"]),
        ("images select fou|", []),
        ("texts of redis:7 where occ|", ["occurrence"]),
        ("images where ol|", ["older than"]),
        ("images ex|", ["except newest", "except"]),
        ("images where label.env = prod gr|", ["group by"]),
        ("images where unique_size > .down|", [".download_size"]),
        ("images where dangling = t|", ["true"]),
        ("images where any la|", ["layers"]),
        ("images where any layers where diff|", ["diff_id"]),
        ("images where any layers where size > 1 order by reposit|", ["repository"]),
        ("images where (any layers where size > 1) and reposit|", ["repository"]),
        ("images where count(layers wh|", ["when", "where"]),
        ("layers of (images where dang|", ["dangling"]),
        ("layers of (images where dangling) where dif|", ["diff_id"]),
        ("images union layers where diff|", ["diff_id"]),
        ("images where base.na|", ["base.name"]),
        ("images where has lab|", ["label"]),
        ("images; layers where diff|", ["diff_id"]),
        ("images where dangling\nlayers where diff|", ["diff_id"]),
        ("rm app:1 fo|", ["format", "force"]),
        ("tag x as y dr|", ["dry run"]),
        ("set ver|", ["verify"]),
        ("set verify = l|", ["lazy"]),
        ("help ima|", ["images"]),
        ("help templ|", ["templates"]),
        ("help confi|", ["configuration"]),
        ("on error c|", ["continue"]),
        ("on er|", ["error"]),
        ("images where contains f|", ["file"]),
        ("images where shares |", ["layers with"]),
        ('images format "{{.CreatedS|', ["CreatedSince"]),
        ("images join containers as c on c.image_i|", ["c.image_id"]),
        ("images join (layers of redis:7) as l on size = 3 where l.created_|", ["l.created_by"]),
        ("images in|", ["inner join", "intersect"]),
        ("rm images until |", ["total size <=", "disk use <=", "free >="]),
        ("dry run ver|", ["verify"]),
        ("view stale as images where dangling; sta|", ["stale", "start"]),
        ('images where name = "unfinished |', []),
        ("images ) |", []),
        ("nonsense |", []),
        ("imàges |", []),
    ],
)
def test_words(text: str, expected: list[str]) -> None:
    assert sorted(words(text)) == sorted(expected)


@pytest.mark.parametrize(
    ("text", "kinds", "field"),
    [
        ("|", {"statement", "table", "verb"}, ""),
        ("images where |", {"field", "function", "keyword", "relation", "value", "variable"}, ""),
        ("images where tag = |", {"field", "function", "relation", "value", "variable"}, "tag"),
        ("images where tag in (latest, |", {"field", "function", "value", "variable"}, "tag"),
        ("images where label.env = |", {"field", "function", "relation", "value", "variable"}, "label.env"),
        ('images where label."a.b" = |', {"field", "function", "relation", "value", "variable"}, "label.a.b"),
        ("images where label.|", {"function", "key", "keyword", "value", "variable"}, "label"),
        ("images where created before |", {"field", "function", "reference", "relation", "variable"}, "created"),
        ("layers of |", {"reference", "variable"}, ""),
        ("images in |", {"source", "variable"}, ""),
        ("use |", {"source"}, ""),
        ("include |", {"path"}, ""),
        ("import |", {"keyword", "path", "variable"}, ""),
        ("pull redis:7, |", {"reference", "variable"}, ""),
        ("save redis:7 to |", {"path", "variable"}, ""),
        ("export redis:7 to |", {"path", "variable"}, ""),
        ("push redis:7 to |", {"reference", "variable"}, ""),
        ("tags of |", {"repository", "variable"}, ""),
        ("let |", {"name"}, ""),
        ("set |", {"setting"}, ""),
        ("images format {{.|", {"placeholder"}, ""),
    ],
)
def test_kinds(text: str, kinds: set[str], field: str) -> None:
    actual = at(text)
    assert actual.kinds >= kinds - {"relation"}
    assert not actual.kinds - kinds - {"relation"}
    assert actual.field == field


def test_a_candidate_replaces_the_prefix_at_the_cursor() -> None:
    assert at("images where siz|e > 1").start == len("images where ")
    assert at("images where a = b|").start == len("images where a = ")


def test_candidates_have_descriptions() -> None:
    (word,) = at("images where dang|").words
    assert (word.kind, word.doc) == ("field", "the image has no tag")


def test_a_used_clause_is_not_offered_again() -> None:
    assert "where" not in words("images where dangling |")
    assert "order by" in words("images where dangling |")
    assert "where" in words("images where dangling union layers |")


def test_common_keywords_are_listed_first() -> None:
    assert words("images |")[:2] == ["where", "order by"]
    assert words("images where dangling |")[:2] == ["and", "or"]


def test_the_options_of_a_verb_are_offered() -> None:
    assert {"as", "change", "message", "platform", "to"} <= set(words("import ./x |"))
    assert not {"from", "force"} & set(words("import ./x |"))
    assert "platform" not in words("import ./x platform linux/arm64 |")
    assert "images" not in words("import |")
    assert "images" in words("rm |")


def test_views_have_the_fields_of_their_tables() -> None:
    (view,) = parse("view big as (layers where size > 1GB) where index > 0", VOCABULARY)
    assert isinstance(view, ast.View)
    assert view.rows is not None
    vocabulary = VOCABULARY.replace(tables=VOCABULARY.tables | {"big"})
    completion = complete("big where diff", len("big where diff"), vocabulary, {"big": view.rows})
    assert [word.text for word in completion.words] == ["diff_id"]


@given(strategies.statements(), st.integers(0, 200))
@tried(max_examples=200)
def test_every_position_of_a_statement_can_be_completed(tree: ast.Statement, position: int) -> None:
    text = unparse(tree)
    cursor = min(position, len(text))
    with deadline():
        completion = complete(text, cursor, VOCABULARY)
    assert completion.start <= cursor


@given(st.text(max_size=60), st.integers(0, 60))
def test_any_text_can_be_completed(text: str, position: int) -> None:
    complete(text, min(position, len(text)), VOCABULARY)


CORPUS = [
    "images where dangling and size > 1GB order by size desc limit 3",
    "images group by repository having count(*) > 3 select repository, sum(size) as json",
    "rm images where repository like x and older than 30d and not in use except newest 3 per repository force",
    "images union images where has label order by tag",
    "assert no images where user = root and label is known",
    "images where any layers where size between 1MB and 2MB",
]


@pytest.mark.parametrize("text", CORPUS)
def test_each_keyword_of_a_statement_is_offered_at_its_position(text: str) -> None:
    """At the start of each keyword of a statement, that keyword is among the candidates."""
    keywords = {"where", "and", "order", "limit", "group", "having", "select", "desc", "older", "not", "union", "is"}
    for position, word in _split_with_offsets(text):
        if word in keywords:
            offered = {candidate.text.split(" ")[0] for candidate in complete(text, position, VOCABULARY).words}
            assert word in offered, (text[:position], word)


def _split_with_offsets(text: str) -> list[tuple[int, str]]:
    """Return the words of a text, each with its offset."""
    words, position = [], 0
    for word in text.split(" "):
        words.append((position, word))
        position += len(word) + 1
    return words
