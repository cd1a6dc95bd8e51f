"""Why an image is in a plan: the columns that a person sees on a terminal."""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING, Any

import pytest
from imq.engine.result import RowSet
from imq.engine.session.context import SessionContext
from imq.engine.session.session import Session

from .conftest import NOW

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Explain = Callable[[str], dict[str, tuple[str, str | None]]]


@pytest.fixture
def explain(recipe_root: str) -> Iterator[Explain]:
    """Return the action and the reason of each target of a plan."""
    session = Session(SessionContext(recipe_root, {}, clock=lambda: NOW, zone=UTC, explains_plans=True))

    def run(statement: str) -> dict[str, tuple[str, Any]]:
        (result,) = session.run(statement, dry_run=True)
        assert isinstance(result, RowSet)
        names = [column.name for column in result.columns]
        rows = [dict(zip(names, row, strict=True)) for row in result.rows]
        return {str(row["target"]).partition("@")[0]: (row["action"], row.get("because")) for row in rows}

    yield run
    session.close()


def test_a_reason_is_the_part_of_an_or_that_holds(explain: Explain) -> None:
    found = explain("rm images where not in use and (dangling or repository = lib/jar and older than 51d)")
    assert found["quay.io/team/tool"] == ("remove", "not in use and dangling")
    assert found["lib/jar:1.1.0"] == ("remove", "not in use and repository = lib/jar and older than 51d")
    assert set(found) == {
        "quay.io/team/tool",
        "<none>",
        "lib/jar:1.1.0",
        "lib/jar:1.0-SNAPSHOT",
        "lib/jar:2.0-SNAPSHOT",
    }


def test_several_parts_that_hold_are_all_named(explain: Explain) -> None:
    found = explain("rm images where dangling or older than 200d or name = fresh:1")
    assert found["<none>"] == ("remove", "dangling or older than 200d")
    assert found["deep:1"] == ("remove", "older than 200d")
    assert found["fresh:1"] == ("remove", "name = fresh:1")


def test_each_or_of_a_condition_has_its_own_part(explain: Explain) -> None:
    found = explain("rm images where (tag = 1 or repository = lib/jar) and (size > 300B or version > 3) and not in use")
    assert found["lib/jar:1.1.0"] == ("remove", "repository = lib/jar and size > 300B and not in use")
    assert found["edge/agent:1"] == ("remove", "tag = 1 and size > 300B and not in use")


def test_a_part_that_is_unknown_does_not_hold(explain: Explain) -> None:
    found = explain("rm images where not newer than 90d and repository = reproducible or name = reproducible:1")
    assert found == {"reproducible:1": ("remove", "name = reproducible:1")}


def test_rows_that_stay_have_no_reason_to_go(explain: Explain) -> None:
    found = explain("rm images where repository = reproducible and (dangling or not newer than 90d)")
    assert found == {"reproducible:1": ("stay", None)}


def test_parts_are_named_beside_the_rank(explain: Explain) -> None:
    statement = 'rm images where tag like "*-SNAPSHOT" or tag like "1.1.*" except newest 1 per repository'
    found = explain(statement)
    assert found == {
        "lib/jar:1.0-SNAPSHOT": ("remove", 'tag like "*-SNAPSHOT", not newest 1 of lib/jar'),
        "lib/jar:2.0-SNAPSHOT": ("remove", 'tag like "*-SNAPSHOT", not newest 1 of lib/jar'),
        "lib/jar:1.1.0": ("keep", "newest 1 of lib/jar"),
    }


def test_without_an_or_the_condition_is_the_reason(explain: Explain) -> None:
    assert explain("rm images where name is unknown") == {"<none>": ("remove", "name is unknown")}
    assert explain("dry run prune")["<none>"][0] == "remove"
