"""Layers and steps of images in registries: those that the store has once it has pulled them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from imq.engine.oci.platform import Platform
from imq.grammar.errors import ImqError
from registry.support.fault_proxy import Proxy
from registry.support.query import ask, opened

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from imq.engine.session.session import Session
    from registry.conftest import Thousand

LAYERS = "index, image, digest, diff_id, chain_id, download_size, media_type, created, created_by"
STEPS = "index, image, created, created_by, empty, comment, layer"
CONFIG = "GET .*/blobs/"


@pytest.fixture(scope="module")
def here(thousand: Thousand, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    """A session that has pulled the image for another platform than its own."""
    session = opened(tmp_path_factory.mktemp("here") / "store", platform=Platform("linux", "amd64"))
    ask(session, f"pull {thousand.host}/mixed:multi platform linux/arm64; images")
    yield session
    session.close()


class TestWhatIsInside:
    @pytest.mark.parametrize(("table", "columns"), [("layers", LAYERS), ("history", STEPS)])
    def test_it_is_what_the_store_has_of_it(
        self, thousand: Thousand, here: Session, tmp_path: Path, table: str, columns: str
    ) -> None:
        name = f"{thousand.host}/mixed:multi"
        expected = ask(here, f"{table} of {name} select {columns}").rows
        assert len(expected) == 2
        there = f"tags of {name} where platform = linux/arm64"
        for of in (
            f"{table} of {name} where platform = linux/arm64",
            f"{table} of ({there})",
            f"{table} of (platforms of {name} where platform = linux/arm64)",
        ):
            assert ask(tmp_path / "store", f"{of} order by index select {columns}").rows == expected, of
        (one,) = ask(tmp_path / "store", f"{there} select count({table}) as count, min({table}.created) as first").rows
        assert one == {"count": 2, "first": expected[0]["created"]}
        assert ask(here, f"{table} of ({there}) select image").column("image") == [expected[0]["image"]] * 2

    def test_the_size_is_what_travels_and_images_those_of_the_store(self, thousand: Thousand, here: Session) -> None:
        rows = ask(here, f"layers of {thousand.host}/mixed:1.0.0 select index, size, download_size, images, name").rows
        assert [row["images"] for row in rows] == [1, 0], "the first is that of the image that is here too"
        assert all(row["size"] == row["download_size"] > 0 for row in rows)
        assert {row["name"] for row in rows} == {f"{thousand.host}/mixed:1.0.0"}
        steps = ask(here, f"history of {thousand.host}/mixed:1.0.0 select size, layer").rows
        layers = ask(here, f"layers of {thousand.host}/mixed:1.0.0 select size, digest as layer").rows
        assert steps == layers

    def test_conditions_on_what_is_inside(self, thousand: Thousand, here: Session) -> None:
        of = f"tags of {thousand.host}/mixed"
        (own,) = ask(here, f"layers of {thousand.host}/mixed:1.0.1 where index = 1 select digest").column("digest")
        assert ask(here, f"{of} where has layer {own} select tag").column("tag") == ["1.0.1"]
        copied = ask(here, f"{of} where any history where created_by like '*1.10*' select tag")
        assert copied.column("tag") == ["1.10.0"]
        chart = ask(here, f"{of} where tag = chart select count(layers) as layers, count(history) as steps").rows
        assert chart == [{"layers": 1, "steps": 0}]
        few = ask(
            here, f"{of} where (any layers where size > 1) and created is known select count(layers) as n limit 2"
        )
        assert few.column("n") == [2, 2], "a limit ends no asking for what belongs to rows"
        counted = ask(here, f"platforms of {thousand.host}/mixed:multi where not attestation select count(layers) as n")
        assert counted.column("n") == [2, 2, 2]
        images = ask(here, f"images in {thousand.host}/team where (no layers where size = 0) select count(layers) as n")
        assert images.column("n") == [2, 2, 2]

    def test_no_more_is_fetched_than_is_asked_for(self, thousand: Thousand, tmp_path: Path) -> None:
        with Proxy(thousand.host) as proxy:
            session = opened(tmp_path / "store")
            of = f"layers of {proxy.host}/thousand:v1, {proxy.host}/thousand:v2"
            assert ask(session, f"{of} where size > 1 count").rows == [{"count": 4}]
            assert len(proxy.requests) == 4, "for each name its digest and its manifest"
            assert ask(session, f"{of} where index = 1 and diff_id is known count").rows == [{"count": 2}]
            assert proxy.count(CONFIG) == 2
            before = len(proxy.requests)
            ask(session, f"{of.replace('layers', 'history')} count")
            assert len(proxy.requests) == before + 2, "what is remembered is not asked for again, only the digests"
            said = "".join(session.explain_all(of))
            assert "stage:     list layers of" in said
            session.close()

    def test_what_is_not_there(self, thousand: Thousand, here: Session) -> None:
        found = ask(
            here, f"layers of {thousand.host}/mixed:nope, {thousand.host}/mixed:1.0.0 select name, problem, index"
        )
        assert [row["index"] for row in found.rows] == [0, 1, None]
        assert "nope" in str(found.rows[-1]["problem"])
        assert found.exit_code == 3
        for wrong, code in (("redis:nope", "no-such-image"), ("(images select name)", "target")):
            with pytest.raises(ImqError) as caught:
                ask(here, f"layers of {wrong}")
            assert caught.value.code == code
