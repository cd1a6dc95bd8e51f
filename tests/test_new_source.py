"""A further source needs one file and one line: `support/json_source.py` is such a file."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from imq.engine.session.context import SessionContext
from imq.engine.session.session import Session
from imq.engine.sources import SOURCES
from imq.grammar.errors import StatementError, UnknownName
from support import json_source
from support.images import write_library

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DAY = 86_400 * 10**9
MAX_LINES = 150
IMAGES = [
    {"name": "web:1", "created": 20_000 * DAY, "size": 100, "label": {"env": "prod"}, "layers": [60, 40]},
    {"name": "web:2", "created": 20_001 * DAY, "size": 300, "label": {"env": "test"}, "layers": [300]},
    {"name": "db:1", "created": 20_002 * DAY, "size": 200, "label": {"env": "prod"}, "layers": [120, 80]},
]


@pytest.fixture
def session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Session]:
    monkeypatch.setitem(SOURCES, "test", "support.json_source")
    (tmp_path / "images.json").write_text(json.dumps(IMAGES))
    write_library(tmp_path / "store")
    (tmp_path / "deployed.csv").write_text("repository,env\nweb,prod\nweb,test\nghost,gone\n")
    monkeypatch.chdir(tmp_path)
    json_source.FETCHED.clear()
    environment = {"TEST_IMAGES": str(tmp_path / "images.json")}
    session = Session(SessionContext(str(tmp_path / "store"), environment, lambda: 20_010 * DAY))
    yield session
    session.close()


def answer(session: Session, text: str) -> list[Any]:
    """The first column of the rows of a statement; the row itself when there are several columns."""
    (result,) = session.run(text)
    rows = [tuple(row) for row in result.rows]  # type: ignore[union-attr]
    return [row[0] if len(row) == 1 else row for row in rows]


def test_the_file_is_small_and_nothing_else_knows_the_source() -> None:
    with open(json_source.__file__, encoding="utf-8") as file:
        assert len(file.readlines()) <= MAX_LINES


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("images in test select name", ["db:1", "web:2", "web:1"]),
        ("images in test where size > 150 order by size select name", ["db:1", "web:2"]),
        ("images in test where label.env = prod and tag = 1 select name", ["db:1", "web:1"]),
        ("images in test order by created limit 1 select name", ["web:1"]),
        ("images in test group by repository select repository, count, sum(size)", [("db", 1, 200), ("web", 2, 400)]),
        ("images in test where any layers where size > 100 select name", ["db:1", "web:2"]),
        ("images in test where count(layers) = 2 select name, sum(layers.size)", [("db:1", 200), ("web:1", 100)]),
        ("images in test except newest 1 per repository select name", ["web:1"]),
        ("images in test count", [3]),
        (
            "images in test join images in test as o on o.size > size where o.tag = 1 select name, o.size",
            [("web:1", 200)],
        ),
        (
            (
                "images in test inner join (images in store) as s on s.name != name and s.size > 200 limit 1 per name"
                " order by size select size"
            ),
            [100, 200, 300],
        ),
        (
            (
                "images in test full join (rows of deployed.csv) as d on d.env = label.env and d.repository = web"
                " order by name, d.env select name, d.env"
            ),
            [("db:1", "prod"), ("web:1", "prod"), ("web:2", "test"), (None, "gone")],
        ),
        (
            (
                "images in test join (rows of deployed.csv) as d on d.env = label.env where d.env is known and size > 1"
                " order by size limit 1 select name, created, d.repository"
            ),
            [("web:1", 20_000 * DAY, "web")],
        ),
        (
            "images in test order by created skip 1 select name, previous(size), size - previous(size per repository)",
            [("web:2", 100, 200), ("db:1", 300, None)],
        ),
        ("images in test order by created limit 1 skip 2 select previous(name per label.env)", ["web:1"]),
        ("layers of db:1 select index, size", [(0, 120), (1, 80)]),
        ("sources where name = test select kind, images", [("a JSON file", 3)]),
    ],
)
def test_a_query(session: Session, text: str, expected: list[Any]) -> None:
    assert answer(session, text) == expected


def test_fields_are_fetched_level_by_level_for_the_remaining_rows(session: Session) -> None:
    answer(session, "images in test where repository = web and created > 2024-10-04T12:00:00Z and size > 1 select name")
    assert json_source.FETCHED == [("created", ["web:1", "web:2"]), ("details", ["web:2"])]


def test_a_join_fetches_the_fields_of_its_condition_first(session: Session) -> None:
    """Whether a row has a partner is unknown until the fields of the condition are known."""
    found = answer(
        session,
        "images in test inner join (rows of deployed.csv) as d on created > 2024-10-05T12:00:00Z where d.env = gone"
        " and size > 1 select name",
    )
    assert found == ["db:1"]
    assert json_source.FETCHED == [("created", ["db:1", "web:1", "web:2"]), ("details", ["db:1"])]


def test_explain_shows_its_levels_in_its_words(session: Session) -> None:
    explained = "".join(session.explain_all("images in test where size > 1 and created is known"))
    assert "list images of test" in explained
    assert "fetch the times of the remaining rows, for: created" in explained
    assert "fetch the sizes and labels of the remaining rows, for: size" in explained
    assert "requests:  2 requests for each" in explained


def test_rows_of_several_sources_are_put_together(session: Session) -> None:
    stored = answer(session, "images in store select name, source")
    both = answer(session, "images in test, store order by name select name, source")
    assert sorted(both, key=str) == sorted([*stored, *((image["name"], "test") for image in IMAGES)], key=str)
    assert answer(session, "images in test, store where source = test and size > 150 select name") == ["db:1", "web:2"]
    layers = answer(session, "images in test, store where any layers where size = 300 select name")
    assert layers == ["web:2"]
    counted = answer(session, "images in store where count(layers) > 0 select name, count(layers)")
    joined = answer(
        session, "images in test, store where source = store and count(layers) > 0 select name, count(layers)"
    )
    assert joined == counted != []


def test_an_action_is_planned_and_executed_by_the_source(session: Session) -> None:
    planned = answer(session, "dry run rm images in test where size > 150B")
    assert [row[1] for row in planned] == ["db:1", "web:2"]
    assert answer(session, "images in test count") == [3]
    removed = answer(session, "rm images in test where size > 150B")
    assert [row[:2] for row in removed] == [("remove", "db:1"), ("remove", "web:2")]
    assert answer(session, "images in test select name") == ["web:1"]


def test_a_verb_that_it_does_not_plan_is_refused(session: Session) -> None:
    with pytest.raises(StatementError, match="untag does not support rows of test"):
        answer(session, "untag images in test where size > 150B")


def test_a_removal_from_several_sources_is_one_plan(session: Session) -> None:
    stored = set(answer(session, "images in store where size > 150 select id"))
    planned = answer(session, "dry run rm images in test, store where size > 150B as json")
    assert {row[1] for row in planned} >= {"db:1", "web:2"}
    assert {row[2] for row in planned} >= stored != set()
    assert answer(session, "images in test count") == [3]


def test_another_action_works_on_one_source_at_a_time(session: Session) -> None:
    with pytest.raises(StatementError, match="takes rows of one source"):
        answer(session, 'tag images in test, store where size > 150B as "x:{{.Tag}}"')


def test_without_its_line_it_is_unknown(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(SOURCES, "test")
    other = Session(session.context)
    with pytest.raises(UnknownName, match="test"):
        answer(other, "images in test")
    other.close()


def test_a_query_on_the_store_does_not_import_it(tmp_path: Path) -> None:
    write_library(tmp_path / "store")
    code = (
        "import sys; from imq.engine.sources import SOURCES; SOURCES['test'] = 'support.json_source';"
        "from imq.cli.main import Cli; Cli(sys.stdin, sys.stdout, sys.stderr, {}).main(sys.argv[1:]);"
        "print('support.json_source' in sys.modules, file=sys.stderr)"
    )
    command = [sys.executable, "-c", code, "--root", str(tmp_path / "store"), "images"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stderr.splitlines()[-1] == "False"
