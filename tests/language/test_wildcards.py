"""Wildcards of SQL in globs are refused, with the equivalent glob, because they would match nothing or everything."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from imq.engine.result import RowSet
from imq.grammar.errors import StatementError, format_error

if TYPE_CHECKING:
    from imq.engine.session.session import Session


def get_error(session: Session, text: str) -> StatementError:
    with pytest.raises(StatementError) as refused:
        for _ in session.run(text, dry_run=True):
            pass
    return refused.value


def rows(session: Session, statement: str) -> list[tuple[Any, ...]]:
    return [row for result in session.run(statement) if isinstance(result, RowSet) for row in result.rows]


@pytest.mark.parametrize(
    ("said", "glob"),
    [
        ("images where tag like 'pr-%'", 'like "pr-*"'),
        ("images where tag not like 'pr-%'", 'like "pr-*"'),
        ("images where not tag like '%-pr'", 'like "*-pr"'),
        ("rm images where repository not like '%/app'", 'like "*/app"'),
        ("images where label.env like 'p%d'", 'like "p*d"'),
        ("images where label like 'env=%'", 'like "env=*"'),
        ("images where cmd like '%server%'", 'like "*server*"'),
        ("images where any layers where created_by like '%COPY%'", 'like "*COPY*"'),
        ("images group by repository having repository like 'team/%'", 'like "team/*"'),
        ("images where tag like 'v_'", 'like "v?"'),
        ("images where tag like '7._'", 'like "7.?"'),
        ("images where env like 'A_'", 'like "A?"'),
        ("images where tag like 'a_b%'", 'like "a?b*"'),
        ("images where tag like '*%'", 'like "**"'),
        ("let p = 'pr-%'; images where tag like $p", 'like "pr-*"'),
        ("images where tag not like lower('PR-%')", 'like "pr-*"'),
        ("images where tag like if(1 = 1, 'v_', 'w')", 'like "v?"'),
        ("images where cmd like replace('%x%', 'x', 'server')", 'like "*server*"'),
        ("images where tag = lower('PR-*')", 'tag like "pr-*"'),
        ("images where tag in ('pr-%', latest)", 'tag like "pr-*"'),
        ("images where tag in ('pr-*', latest)", 'tag like "pr-*"'),
        ("images where tag not in ('pr-%')", 'tag like "pr-*"'),
        ("images where repository = 'team/%'", 'repository like "team/*"'),
        ('tags in "localhost:1/team/%"', "in localhost:1/team/*"),
        ('images in "localhost:1/pr-%"', "in localhost:1/pr-*"),
        ("images where name != 'team/%'", '(name is known and not name like "team/*")'),
    ],
)
def test_the_error_shows_the_equivalent_glob(session: Session, said: str, glob: str) -> None:
    error = get_error(session, said)
    assert error.code == "glob"
    assert glob in " ".join(error.hints)
    assert glob in " ".join(format_error(error).split()) or error.suggestion


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("rm images where tag like 'pr-%'", 'rm images where tag like "pr-*"'),
        ("rm images where tag not like 'pr-%'", 'rm images where tag not like "pr-*"'),
        ("images where tag like 'v_'", ""),  # any one character, or the sign itself
        ("images where tag like 'a_b%'", ""),
    ],
)
def test_a_statement_is_suggested_only_if_it_is_unambiguous(session: Session, said: str, meant: str) -> None:
    assert get_error(session, said).suggestion == meant


def test_wildcard_characters_can_be_escaped(session: Session) -> None:
    assert rows(session, 'images where "100%" like "100[%]" count') == rows(session, "images count")
    assert rows(session, r'images where "100%" like "100\%" count') == rows(session, "images count")
    assert rows(session, 'images where "100%x" like "*[%]*" count') == rows(session, "images count")
    assert rows(session, 'images where "a_b" like "a_*" count') == rows(session, "images count")
    assert rows(session, 'images where "a_b" like "a[_]b" count') == rows(session, "images count")
    assert rows(session, 'images where "a_b" = "a_b" count') == rows(session, "images count")


def test_docker_filters_match_the_character_itself(session: Session) -> None:
    assert rows(session, 'images where path_match(name, "pr-%") count') == [(0,)]
    assert rows(session, 'images where label.env = "prod%" count') == [(0,)]


@pytest.mark.parametrize(
    "condition",
    ["tag matches lower('(')", "path_match(name, lower('['))", "capture(name, lower('(A)'), length('xx')) = a"],
)
def test_a_computed_constant_pattern_is_checked_without_a_row(session: Session, condition: str) -> None:
    assert get_error(session, f"images where {condition}").code == "pattern"


@pytest.mark.parametrize(
    ("computed", "literal"),
    [("tag like lower('LAT*')", "tag like 'lat*'"), ("tag like lower('[!L]*')", "tag like '[!l]*'")],
)
def test_a_computed_constant_pattern_matches_as_the_literal(session: Session, computed: str, literal: str) -> None:
    found = rows(session, f"images where {computed} select name")
    assert found
    assert found == rows(session, f"images where {literal} select name")


def test_a_pattern_from_a_field_can_have_any_character(session: Session) -> None:
    assert rows(session, "images where tag like lower(.repository) select name") == []
    assert len(rows(session, "images where tag like .tag select name")) == len(
        rows(session, "images where tag is known")
    )
