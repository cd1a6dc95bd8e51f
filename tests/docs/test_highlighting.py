"""The Pygments lexer and the TextMate grammar highlight statements and have every word of the grammar."""

from __future__ import annotations

import json
import pathlib
import re
from importlib.metadata import entry_points

import pytest
from imq.editors.pygments_lexer import ImqLexer
from imq.editors.token_patterns import PATTERNS
from imq.engine.actions import VERBS
from imq.engine.catalog.tables import TABLES
from imq.grammar._lalr_tables import WORDS
from pygments import highlight
from pygments.formatters import NullFormatter
from pygments.token import Error

CHECKOUT = pathlib.Path(__file__).resolve().parents[2]
GRAMMAR = json.loads((CHECKOUT / "dsl" / "editors" / "imq.tmLanguage.json").read_text(encoding="utf-8"))
SAMPLE = """\
# what is stale
let days = 30d
dry run RM images where repository like "team/*" and size > 1.5GB and older than $days except newest 3 per repository;
images where count(layers where size > 100MB) > 2 and name != redis:7 format "{{.ID}}\\t{{.Size}}"
tag registry.local:5000/images/pull:where as x
"""
KINDS = {
    ("# what is stale", "Comment.Single"), ("let", "Keyword"), ("30d", "Literal.Number"), ("dry", "Keyword"),
    ("RM", "Keyword.Declaration"), ("images", "Name.Class"), ("where", "Keyword"), ("repository", "Name"),
    ('"team/*"', "Literal.String"), ("1.5GB", "Literal.Number"), ("$days", "Name.Variable"), ("newest", "Keyword"),
    ("3", "Literal.Number"), (";", "Punctuation"), ("count", "Name.Function"), ("layers", "Name.Class"),
    ("!=", "Operator"), ("redis:7", "Text"), ("format", "Keyword"),
    ("registry.local:5000/images/pull:where", "Text"), ("tag", "Keyword.Declaration"),
}  # fmt: skip


def tokenize(text: str) -> list[tuple[str, str]]:
    """Return the tokens of a text with their Pygments types."""
    return [(piece, str(kind).removeprefix("Token.")) for kind, piece in ImqLexer().get_tokens(text)]


def tokenize_as_editor(text: str) -> list[tuple[str, str]]:
    """Apply the TextMate grammar as editors do: from left to right, the first rule that matches."""
    rules = [(rule["name"], re.compile(rule["match"])) for rule in GRAMMAR["patterns"]]
    tokens, position = [], 0
    while hits := [
        (hit.start(), number, hit) for number, (_, rule) in enumerate(rules) if (hit := rule.search(text, position))
    ]:
        _, number, hit = min(hits, key=lambda one: one[:2])
        tokens.append((hit[0], rules[number][0]))
        position = hit.end()
    return tokens


def test_pygments_highlights_a_sample() -> None:
    pieces = tokenize(SAMPLE)
    assert "".join(piece for piece, _ in pieces) == SAMPLE
    assert set(pieces) >= KINDS
    assert not [piece for kind, piece in ImqLexer().get_tokens(SAMPLE) if kind is Error]
    assert highlight(SAMPLE, ImqLexer(), NullFormatter()) == SAMPLE


def test_editors_highlight_the_sample() -> None:
    scopes = {piece: scope for line in SAMPLE.splitlines() for piece, scope in tokenize_as_editor(line)}
    assert scopes["# what is stale"] == "comment.line.number-sign.imq"
    assert scopes["RM"] == "keyword.other.verb.imq"
    assert scopes["images"] == "entity.name.type.table.imq"
    assert scopes["count"] == "support.function.imq"
    assert scopes["1.5GB"] == "constant.numeric.imq"
    assert "pull" not in scopes


@pytest.mark.parametrize("word", sorted({*(word for word in WORDS if word.isalpha()), *TABLES, *VERBS}))
def test_every_word_has_one_kind(word: str) -> None:
    kinds = [kind for kind, pattern in PATTERNS.items() if re.fullmatch(pattern, word, re.IGNORECASE)]
    assert kinds[:1] in (["verb"], ["table"], ["keyword"])


def test_pygments_finds_the_lexer() -> None:
    (entry,) = [one for one in entry_points(group="pygments.lexers") if one.name == "imq"]
    assert entry.load() is ImqLexer
