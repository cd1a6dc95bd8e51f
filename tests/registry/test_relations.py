"""Relations of relations: they return the same as a query in two steps, and send no other requests."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from registry.support.fault_proxy import FaultProxy
from registry.support.query import execute, open_session
from registry.support.thousand_tags import RegistryWriter

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from imq.engine.session.session import Session
    from registry.conftest import RunningRegistry


class BaseImages:
    """A store with images on bases that have changed in their registry, behind a proxy that counts requests."""

    def __init__(self, session: Session, proxy: FaultProxy) -> None:
        self.session = session
        self.proxy = proxy

    def make_name(self, repository: str) -> str:
        return f"{self.proxy.host}/{repository}:1"

    def list_names(self, text: str) -> set[str]:
        """Return the repositories of the names that a query returns."""
        (column,) = {name for row in execute(self.session, text).rows for name in row} or {""}
        result = execute(self.session, text).column(column) if column else []
        return {name.rpartition("/")[2].partition(":")[0] for name in result if name is not None}

    def take_requested(self) -> set[str]:
        """Return the repositories that were requested since the last call."""
        seen = {request.path.split("/")[2] for request in self.proxy.requests if request.path.count("/") > 2}
        self.proxy.requests.clear()
        return seen


@pytest.fixture
def based(changeable: RunningRegistry, tmp_path: Path) -> Iterator[BaseImages]:
    """Three images on two bases, one of them with two names, and one image without a base."""
    writer = RegistryWriter(f"{changeable.registry.folder}/data")

    def add_image_of(name: str, year: int, *below: str) -> None:
        writer.tag(name, "1", writer.add_image(name, name, datetime(year, 1, 1, tzinfo=UTC), below=below))

    with FaultProxy(changeable.host) as proxy:
        session = open_session(tmp_path / "store")
        for name, below in {"old": (), "new": (), "one": ("old",), "two": ("new",), "three": ("old",)}.items():
            add_image_of(name, 2024, *below)
        writer.tag("alone", "1", writer.add_image("alone", "alone", datetime(2024, 1, 1, tzinfo=UTC)))
        list(session.run(f"pull {', '.join(f'{proxy.host}/{n}:1' for n in ('old', 'new', 'one', 'two', 'three'))}"))
        list(session.run(f"pull {proxy.host}/alone:1"))
        add_image_of("old", 2025, "fix")
        add_image_of("three", 2025, "old", "fix")
        proxy.requests.clear()
        yield BaseImages(session, proxy)
        session.close()


def read_rows(session: Session, text: str) -> list[dict[str, Any]]:
    return execute(session, text).rows


class TestTheStore:
    def test_fields_of_registry_images_in_every_row(self, based: BaseImages) -> None:
        result = read_rows(based.session, "images select name, remote.created as created, remote.layer_count as layers")
        for row in result:
            (alone,) = read_rows(based.session, f"tags of {row['name']} select created, layer_count")
            assert (row["created"], row["layers"]) == (alone["created"], alone["layer_count"])

    @pytest.mark.parametrize("field", ["digest", "created", "layer_count", "label.name"])
    def test_a_field_of_the_base_in_its_registry(self, based: BaseImages, field: str) -> None:
        result = read_rows(based.session, f"images select name, base.name as base, base.remote.{field} as there")
        assert {row["base"] for row in result} == {based.make_name("old"), based.make_name("new"), None}
        for row in result:
            there = read_rows(based.session, f"tags of {row['base']} select {field} as there") if row["base"] else [{}]
            assert row["there"] == there[0].get("there")

    def test_conditions_on_the_base_image(self, based: BaseImages) -> None:
        outdated = based.list_names("images where outdated select name")
        assert outdated == {"old", "three"}
        two_steps = {
            name
            for name in ("one", "two", "three", "alone", "old", "new")
            if based.list_names(f"images where name = {based.make_name(name)} select base.name") & outdated
        }
        assert two_steps == {"one", "three"}
        for condition in ("base.outdated", "any base where outdated", "base.remote.created >= 2025-01-01"):
            assert based.list_names(f"images where {condition} select name") == two_steps, condition
        shown = read_rows(based.session, "images select name, base.outdated as stale")
        assert {row["name"] for row in shown if row["stale"]} == {based.make_name(name) for name in two_steps}

    def test_only_bases_are_requested(self, based: BaseImages) -> None:
        for text in (
            "images where base.outdated",
            "images select base.remote.created",
            "images where any base where outdated",
        ):
            execute(based.session, f"set fresh = 0; {text}")
            assert based.take_requested() == {"old", "new"}, text
        execute(based.session, f"images where name = {based.make_name('two')} select base.remote.digest")
        assert based.take_requested() == {"new"}
        execute(
            based.session,
            "images where repository like '*/one' or repository like '*/two' order by name limit 1"
            " select base.remote.digest",
        )
        assert based.take_requested() == {"old"}

    def test_other_link_relations(self, based: BaseImages) -> None:
        assert based.list_names("images where any children where outdated select name") == {"old"}
        assert based.take_requested() == {"one", "two", "three"}
        counted = read_rows(based.session, "images where count(children where outdated) = 1 select name")
        assert [row["name"] for row in counted] == [based.make_name("old")]
        layers = {
            row["digest"] for row in read_rows(based.session, "layers where any names where outdated select digest")
        }
        outdated = ", ".join(based.make_name(name) for name in ("old", "three"))
        assert layers == {row["digest"] for row in read_rows(based.session, f"layers of {outdated} select digest")}
        steps = read_rows(based.session, "history where any names where outdated select image")
        assert {row["image"] for row in steps} == {
            row["image"] for row in read_rows(based.session, f"history of {outdated} select image")
        }

    def test_group_by_fields_of_a_registry(self, based: BaseImages) -> None:
        single = read_rows(based.session, "images select base.outdated as stale, base.remote.digest as there")
        for field in ("stale", "there"):
            path = {"stale": "base.outdated", "there": "base.remote.digest"}[field]
            groups = read_rows(based.session, f"images group by {path} select {path} as value, count order by count")
            expected = Counter(row[field] for row in single)
            assert {row["value"]: row["count"] for row in groups} == expected

    def test_retry_delays(self, based: BaseImages) -> None:
        assert based.list_names("images where any base where any children where outdated select name") == {
            "one",
            "three",
        }

    def test_layers_of_images_in_a_registry(self, based: BaseImages) -> None:
        inside = based.list_names("images where any remote where any layers where index = 3 select name")
        assert inside == {
            name
            for name in ("old", "new", "one", "two", "three", "alone")
            if read_rows(based.session, f"layers of (tags of {based.make_name(name)}) where index = 3")
        }
        assert inside == {"three"}


class TestRegistries:
    def test_relations_of_tags(self, thousand: RunningRegistry, tmp_path: Path) -> None:
        session, of = open_session(tmp_path / "store"), f"{thousand.host}/mixed"
        tags = [row["tag"] for row in read_rows(session, f"tags of {of} where media_type like '*index*'")]
        assert tags
        for inner in ("any layers where size > 1000B", "no manifests", "any history where created_by like '*arm*'"):
            expected = {
                tag for tag in tags if read_rows(session, f"platforms of {of}:{tag} where {inner} select digest")
            }
            together = read_rows(
                session, f"tags of {of} where media_type like '*index*' and any platforms where {inner}"
            )
            assert {row["tag"] for row in together} == expected, inner
        counts = read_rows(session, f"tags of {of} where tag = multi select count(platforms where any layers) as n")
        assert counts == [{"n": len(read_rows(session, f"platforms of {of}:multi where any layers select digest"))}]
        session.close()

    def test_relations_of_repositories(self, thousand: RunningRegistry, tmp_path: Path) -> None:
        session = open_session(tmp_path / "store")
        for inner in ("any referrers", "any platforms where os = linux", "any layers where index = 1"):
            together = read_rows(
                session, f"repositories in {thousand.host} where name like '*mixed' and any tags where {inner}"
            )
            expected = read_rows(session, f"tags of {thousand.host}/mixed where {inner}")
            assert [row["name"] for row in together] == ([f"{thousand.host}/mixed"] if expected else []), inner
        session.close()

    def test_lines_of_a_file(self, thousand: RunningRegistry, tmp_path: Path) -> None:
        session, listed = open_session(tmp_path / "store"), tmp_path / "images.txt"
        names = [f"{thousand.host}/mixed:{tag}" for tag in ("latest", "multi", "1.0.0")]
        listed.write_text("\n".join(names))
        result = read_rows(session, f'lines of "{listed}" select line, remote.created as created, remote.size as size')
        assert len(result) == len(names)
        for row in result:
            assert [{"created": row["created"], "size": row["size"]}] == read_rows(
                session, f"tags of {row['line']} select created, size"
            )
        several = read_rows(session, f'lines of "{listed}" where any remote where count(platforms) > 1')
        assert [row["line"] for row in several] == [names[1]]
        session.close()

    def test_a_name_with_tag_and_digest_is_requested_by_tag(self, changeable: RunningRegistry, tmp_path: Path) -> None:
        host, listed, session = changeable.host, tmp_path / "images.txt", open_session(tmp_path / "store")
        pinned = changeable.contents.find("mixed", "1.0.0").digest
        names = [f"{host}/mixed:1.0.0@{pinned}", f"{host}/mixed@{pinned}", f"{host}/mixed:1.0.0"]
        listed.write_text("\n".join(names))
        list(session.run(f"copy {host}/mixed:1.1.0 to {host}/mixed:1.0.0"))
        moved = changeable.contents.find("mixed", "1.1.0").digest
        result = read_rows(session, f'lines of "{listed}" select line, remote.digest as there, remote.tag as tag')
        assert {row["line"]: (row["there"], row["tag"]) for row in result} == {
            names[0]: (moved, "1.0.0"),
            names[1]: (pinned, None),
            names[2]: (moved, "1.0.0"),
        }
        session.close()
