"""Layers and build steps of images in registries are the same as in the store after a pull."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from imq.engine.oci.platform import Platform
from imq.grammar.errors import ImqError
from registry.support.fault_proxy import FaultProxy
from registry.support.query import execute, open_session

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from imq.engine.session.session import Session
    from registry.conftest import RunningRegistry

LAYERS = "index, image, digest, diff_id, chain_id, download_size, media_type, created, created_by"
STEPS = "index, image, created, created_by, empty, comment, layer"
CONFIG = "GET .*/blobs/"


@pytest.fixture(scope="module")
def pulled_session(thousand: RunningRegistry, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    """A session that has pulled the image for another platform."""
    session = open_session(tmp_path_factory.mktemp("here") / "store", platform=Platform("linux", "amd64"))
    execute(session, f"pull {thousand.host}/mixed:multi platform linux/arm64; images")
    yield session
    session.close()


class TestImageContents:
    @pytest.mark.parametrize(("table", "columns"), [("layers", LAYERS), ("history", STEPS)])
    def test_inspect_shows_the_stored_part_of_an_index(
        self, thousand: RunningRegistry, pulled_session: Session, tmp_path: Path, table: str, columns: str
    ) -> None:
        name = f"{thousand.host}/mixed:multi"
        expected = execute(pulled_session, f"{table} of {name} select {columns}").rows
        assert len(expected) == 2
        there = f"tags of {name} where platform = linux/arm64"
        for of in (
            f"{table} of {name} where platform = linux/arm64",
            f"{table} of ({there})",
            f"{table} of (platforms of {name} where platform = linux/arm64)",
        ):
            assert execute(tmp_path / "store", f"{of} order by index select {columns}").rows == expected, of
        (one,) = execute(
            tmp_path / "store", f"{there} select count({table}) as count, min({table}.created) as first"
        ).rows
        assert one == {"count": 2, "first": expected[0]["created"]}
        assert (
            execute(pulled_session, f"{table} of ({there}) select image").column("image") == [expected[0]["image"]] * 2
        )

    def test_size_is_the_download_size_and_images_counts_the_store(
        self, thousand: RunningRegistry, pulled_session: Session
    ) -> None:
        rows = execute(
            pulled_session, f"layers of {thousand.host}/mixed:1.0.0 select index, size, download_size, images, name"
        ).rows
        assert [row["images"] for row in rows] == [1, 0], "the first layer is also in the store"
        assert all(row["size"] == row["download_size"] > 0 for row in rows)
        assert {row["name"] for row in rows} == {f"{thousand.host}/mixed:1.0.0"}
        steps = execute(pulled_session, f"history of {thousand.host}/mixed:1.0.0 select size, layer").rows
        layers = execute(pulled_session, f"layers of {thousand.host}/mixed:1.0.0 select size, digest as layer").rows
        assert steps == layers

    def test_conditions_on_layers(self, thousand: RunningRegistry, pulled_session: Session) -> None:
        of = f"tags of {thousand.host}/mixed"
        (own,) = execute(pulled_session, f"layers of {thousand.host}/mixed:1.0.1 where index = 1 select digest").column(
            "digest"
        )
        assert execute(pulled_session, f"{of} where has layer {own} select tag").column("tag") == ["1.0.1"]
        copied = execute(pulled_session, f"{of} where any history where created_by like '*1.10*' select tag")
        assert copied.column("tag") == ["1.10.0"]
        chart = execute(
            pulled_session, f"{of} where tag = chart select count(layers) as layers, count(history) as steps"
        ).rows
        assert chart == [{"layers": 1, "steps": 0}]
        few = execute(
            pulled_session,
            f"{of} where (any layers where size > 1) and created is known select count(layers) as n limit 2",
        )
        assert few.column("n") == [2, 2], "a limit does not affect the rows of relations"
        counted = execute(
            pulled_session, f"platforms of {thousand.host}/mixed:multi where not attestation select count(layers) as n"
        )
        assert counted.column("n") == [2, 2, 2]
        images = execute(
            pulled_session, f"images in {thousand.host}/team where (no layers where size = 0) select count(layers) as n"
        )
        assert images.column("n") == [2, 2, 2]

    def test_only_requested_documents_are_fetched(self, thousand: RunningRegistry, tmp_path: Path) -> None:
        with FaultProxy(thousand.host) as proxy:
            session = open_session(tmp_path / "store")
            list(session.run("set fresh = 0"))
            of = f"layers of {proxy.host}/thousand:v1, {proxy.host}/thousand:v2"
            assert execute(session, f"{of} where size > 1 count").rows == [{"count": 4}]
            assert len(proxy.requests) == 4, "for each name its digest and its manifest"
            assert execute(session, f"{of} where index = 1 and diff_id is known count").rows == [{"count": 2}]
            assert proxy.count_requests(CONFIG) == 2
            before = len(proxy.requests)
            execute(session, f"{of.replace('layers', 'history')} count")
            assert len(proxy.requests) == before + 2, "what is remembered is not asked for again, only the digests"
            output = "".join(session.explain_all(of))
            assert "stage:     list layers of" in output
            session.close()

    def test_a_missing_name(self, thousand: RunningRegistry, pulled_session: Session) -> None:
        result = execute(
            pulled_session,
            f"layers of {thousand.host}/mixed:nope, {thousand.host}/mixed:1.0.0 select name, problem, index",
        )
        assert [row["index"] for row in result.rows] == [0, 1, None]
        assert "nope" in str(result.rows[-1]["problem"])
        assert result.exit_code == 3
        for wrong, code in (("redis:nope", "no-such-image"), ("(images select name)", "target")):
            with pytest.raises(ImqError) as caught:
                execute(pulled_session, f"layers of {wrong}")
            assert caught.value.code == code
