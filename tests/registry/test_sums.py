"""Sums and counts over registries: warnings about rows that they omit or count twice."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from imq.engine.progress import NullProgress
from registry.support.query import execute, open_session

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from imq.engine.session.session import Session
    from registry.conftest import RunningRegistry


class WarningRecorder(NullProgress):
    """Records warnings."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def warn(self, text: str) -> None:
        self.said.append(text)


@pytest.fixture
def warnings() -> WarningRecorder:
    return WarningRecorder()


@pytest.fixture
def session(tmp_path: Path, warnings: WarningRecorder) -> Iterator[Session]:
    server = open_session(tmp_path / "store")
    server.context = server.context.replace(progress=warnings)
    yield server
    server.close()


def test_a_sum_over_repositories_warns_about_shared_blobs(
    thousand: RunningRegistry, session: Session, warnings: WarningRecorder
) -> None:
    place = f"{thousand.host}/team"
    sizes = execute(session, f"repositories in {place} select name, size").column("size")
    assert warnings.said == []
    total = execute(session, f"repositories in {place} select sum(size) as total")
    assert total.column("total") == [sum(sizes)]
    assert warnings.said == ["sum(size) of repositories counts a blob once for each repository that has it"]
    warnings.said.clear()
    execute(session, f"repositories in {place} select max(size), count")
    assert warnings.said == []


def test_a_sum_over_tags_warns_about_shared_layers(
    thousand: RunningRegistry, session: Session, warnings: WarningRecorder
) -> None:
    execute(session, f"tags of {thousand.host}/mixed select count, max(size)")
    assert warnings.said == []
    execute(session, f"tags of {thousand.host}/mixed select sum(size)")
    assert warnings.said == ["sum(size) of tags counts a layer once for each tag whose image has it"]


@pytest.mark.parametrize(
    "summed", ["group by year(created) select year(created), count", "select count, sum(size)", "count"]
)
def test_a_count_of_manifests_warns_about_untagged_ones(
    thousand: RunningRegistry, session: Session, warnings: WarningRecorder, summed: str
) -> None:
    execute(session, f"manifests of {thousand.host}/mixed select digest, tags")
    assert warnings.said == []
    assert execute(session, f"manifests of {thousand.host}/mixed {summed}").exit_code == 0
    assert len(warnings.said) == 1
    assert "no manifests without a tag" in warnings.said[0]


def test_groups_of_manifests_are_complete(thousand: RunningRegistry, session: Session) -> None:
    of = f"manifests of {thousand.host}/mixed"
    every = execute(session, f"{of} select digest, tags")
    assert any(row["tags"] is None for row in every.rows)
    groups = execute(session, f"{of} group by year(created) select year(created) as year, count, sum(size) as size")
    assert sum(groups.column("count")) == len(every.rows)
    assert None in groups.column("year")


def test_a_field_of_a_name_is_read_from_the_source_of_the_rows(changeable: RunningRegistry, session: Session) -> None:
    name = f"{changeable.host}/mixed:1.0.0"
    list(session.run(f"pull {name}"))
    mine = changeable.contents.find("mixed", "1.0.0").digest
    list(session.run(f"copy {changeable.host}/mixed:1.1.0 to {name}"))
    theirs = changeable.contents.find("mixed", "1.1.0").digest
    assert execute(session, f"images where digest = digest of {name} select digest").column("digest") == [mine]
    there = execute(session, f"tags of {changeable.host}/mixed where digest = digest of {name} select tag, digest")
    assert {row["tag"]: row["digest"] for row in there.rows} == {"1.0.0": theirs, "1.1.0": theirs}
