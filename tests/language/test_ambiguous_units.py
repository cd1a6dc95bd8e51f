"""Values whose unit or order a reader may take for another are refused: units in removals, strings in an order."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from imq.engine.result import RowSet
from imq.grammar.errors import StatementError

if TYPE_CHECKING:
    from imq.engine.session.session import Session

REFUSED = """
rm images where older than 6m -> 6 minutes or 6 months
rm images where not newer than 6m -> 6 minutes or 6 months
rm images where created before 6m ago -> 6 minutes or 6 months
rm images where created < 6m ago -> 6 minutes or 6 months
rm images where age(created) > 6m -> 6 minutes or 6 months
prune images where older than 30m -> 30 minutes or 30 months
rm (images where older than 6m) where tag = 1 -> 6 minutes or 6 months
rm images where size > 500 -> 500MB or 500B
untag images where size between 1 and 500 -> 1MB or 1B
images where tag < 1.10 -> version
images where tag >= v1.2.3 -> version
images where label.version < 1.10.0 -> version(label.version)
images where label.days < 30 -> number(label.days)
images where env.LEVEL between 1 and 10 -> number(env.LEVEL)
images where tag like "{1,2}.*" -> tag like … or tag like …
images where registry = "https://ghcr.io" -> registry = ghcr.io
images where registry = ghcr.io/org -> repository like "ghcr.io/org/*"
"""

ALLOWED = """
images where older than 6m
images where size > 500
rm images where older than 6 months
rm images where older than 90 minutes
rm images where older than 1h30m
rm images where size > 0
rm images where size > 1000000000
images where tag < "1.10"
images where label.built < 2024-01-31
images where label.stage > dev
images where number(label.days) < 30
"""


def run(session: Session, text: str) -> list[tuple[object, ...]]:
    return [row for result in session.run(text, dry_run=True) if isinstance(result, RowSet) for row in result.rows]


@pytest.mark.parametrize("line", REFUSED.strip().splitlines())
def test_an_ambiguous_value_is_refused_with_clear_ones(session: Session, line: str) -> None:
    text, _, hint = line.partition(" -> ")
    with pytest.raises(StatementError) as refused:
        run(session, text)
    assert any(hint in one for one in refused.value.hints)


@pytest.mark.parametrize("text", ALLOWED.strip().splitlines())
def test_clear_values_are_valid(session: Session, text: str) -> None:
    run(session, text)


def test_the_hosts_of_docker_hub_are_one_registry(session: Session) -> None:
    expected = run(session, "images where registry = docker.io select name")
    assert expected
    for host in ("index.docker.io", "registry-1.docker.io", "hub.docker.com"):
        assert run(session, f"images where registry = {host} select name") == expected
