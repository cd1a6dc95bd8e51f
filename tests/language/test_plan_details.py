"""Why an image is in a plan: the columns that a person sees on a terminal."""

from __future__ import annotations

import pathlib
import re
from datetime import UTC
from typing import TYPE_CHECKING, Any

import pytest
from imq.cli.output import _describe_total
from imq.engine.render.formats import write_rows
from imq.engine.render.values import DisplayOptions
from imq.engine.result import RowSet
from imq.engine.session.context import SessionContext
from imq.engine.session.session import Session

from .conftest import NOW

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Explain = Callable[[str], dict[str, tuple[str, str | None]]]


COMMAND_LINE = pathlib.Path(__file__).parents[2] / "dsl" / "docs" / "COMMAND-LINE.md"


@pytest.fixture
def session(recipe_root: str) -> Iterator[Session]:
    """A session of a person, who reads plans."""
    opened = Session(SessionContext(recipe_root, {}, clock=lambda: NOW, zone=UTC, explains_plans=True))
    yield opened
    opened.close()


def make_plan(session: Session, statement: str) -> RowSet:
    (result,) = session.run(statement, dry_run=True)
    assert isinstance(result, RowSet)
    return result.replace(rows=list(result.rows))


@pytest.fixture
def explain(session: Session) -> Explain:
    """Return the action and the reason of each target of a plan."""

    def run(statement: str) -> dict[str, tuple[str, Any]]:
        result = make_plan(session, statement)
        names = [column.name for column in result.columns]
        rows = [dict(zip(names, row, strict=True)) for row in result.rows]
        return {str(row["target"]).partition("@")[0]: (row["action"], row.get("because")) for row in rows}

    return run


def test_a_reason_is_the_part_of_an_or_that_holds(explain: Explain) -> None:
    found = explain("rm images where not in use and (dangling or repository = lib/jar and older than 51d)")
    assert found["quay.io/team/tool"] == ("remove", "dangling")
    assert found["lib/jar:1.1.0"] == ("remove", "repository = lib/jar and older than 51d")
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
    assert found["lib/jar:1.1.0"] == ("remove", "repository = lib/jar and size > 300B")
    assert found["edge/agent:1"] == ("remove", "tag = 1 and size > 300B")


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


def test_a_row_without_a_rank_is_kept_for_what_is_unknown(explain: Explain) -> None:
    found = explain("rm images where name is unknown or repository = reproducible except newest 1 per repository")
    assert found == {"<none>": ("keep", "repository is unknown"), "reproducible:1": ("keep", "created is unknown")}
    found = explain("rm images where tag in (latest, 1-libc) except newest 1 by version")
    assert found["redis:latest"] == ("keep", "version is unknown")


def test_the_page_shows_a_real_plan(session: Session) -> None:
    pattern = r'^\$ imq "(dry run rm [^"]+)"\n(.+?)^```$'
    (shown,) = re.findall(pattern, COMMAND_LINE.read_text(), re.MULTILINE | re.DOTALL)
    plan = make_plan(session, shown[0])
    lines = write_rows(plan, DisplayOptions(NOW, UTC, width=120, expanded="auto"))
    assert [*"".join(lines).splitlines(), _describe_total(plan).strip()] == shown[1].splitlines()


@pytest.mark.parametrize(
    ("width", "titles"),
    [
        (120, ["ACTION", "TARGET", "IMAGE ID", "SIZE", "CREATED", "BECAUSE"]),
        (82, ["ACTION", "TARGET", "IMAGE ID", "SIZE", "CREATED"]),
        (66, ["ACTION", "TARGET", "IMAGE ID", "SIZE"]),
        (51, ["ACTION", "TARGET", "SIZE"]),
    ],
)
def test_a_narrow_terminal_omits_columns_and_cuts_no_name(session: Session, width: int, titles: list[str]) -> None:
    plan = make_plan(session, "rm images where repository like registry.gitlab.com/*")
    heading, *lines = "".join(write_rows(plan, DisplayOptions(NOW, UTC, width=width, expanded="auto"))).splitlines()
    assert re.split(r"  +", heading) == titles
    assert [
        "registry.gitlab.com/group/app:1" in line or "registry.gitlab.com/other/app:1" in line for line in lines
    ] == [
        True,
        True,
    ]
    assert all(len(line) <= width for line in lines)


def test_an_image_without_a_name_keeps_its_id(session: Session) -> None:
    plan = make_plan(session, "rm images where name is unknown or repository like registry.gitlab.com/*")
    text = "".join(write_rows(plan, DisplayOptions(NOW, UTC, width=50, expanded="auto")))
    assert "RECORD" in text
    assert "4aa281d47c51" in text
