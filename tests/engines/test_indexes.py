"""Images for several platforms in docker's image store of containerd: the ID is the digest of the index."""

from __future__ import annotations

import dataclasses
import tarfile
from typing import TYPE_CHECKING

import pytest
from support.engine_content import make_images
from support.engine_images import Place, clear, connect
from support.images import ARM64, Layout
from support.servers import Registry, require_programs

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterator

    from support.engines import Dockerd

WAIT = make_images()["wait"][0]
ARM = dataclasses.replace(WAIT, platform=ARM64, created="2024-01-02T00:00:00Z", labels={"for": "arm"})
MULTI, OTHER, SHORT = "docker.io/library/multi:1", "docker.io/library/other:1", "short:1"
FIELDS = "name, id, digest, platform, label, in_use, containers, layer_count, problem"


@pytest.fixture
def indexes(debian_dockerd: Dockerd, tmp_path: pathlib.Path) -> Iterator[tuple[Place, dict[str, str]]]:
    """A dockerd with an index for two platforms, and one for another platform; and their digests."""
    clear(debian_dockerd)
    layout = Layout(tmp_path / "layout")
    digests = {"multi:1": layout.add_index([WAIT, ARM], MULTI), "other:1": layout.add_index([ARM], OTHER)}
    layout.close()
    with tarfile.open(tmp_path / "layout.tar", "w") as archive:
        archive.add(layout.folder, ".")
    debian_dockerd.run("load", "-i", str(tmp_path / "layout.tar"))
    with connect(tmp_path, "docker", debian_dockerd) as connection:
        yield Place("docker", debian_dockerd, connection, tmp_path), digests
    clear(debian_dockerd)


def test_an_index_is_the_image_for_the_platform_of_the_engine(indexes: tuple[Place, dict[str, str]]) -> None:
    place, digests = indexes
    place.engine.run("create", "--name", "web", "--network", "none", "multi:1", "/x")
    rows = {row.name: row for row in place.connection(f"images in docker select {FIELDS}")}
    assert {name: row.id for name, row in rows.items()} == digests
    assert {name: row.digest for name, row in rows.items()} == digests
    assert {name: str(row.platform) for name, row in rows.items()} == {
        "multi:1": "linux/amd64",
        "other:1": "linux/arm64",
    }
    assert (rows["multi:1"].in_use, rows["multi:1"].containers, rows["other:1"].in_use) == (True, 1, False)
    assert rows["other:1"].label == {"for": "arm"}
    assert {row.layer_count for row in rows.values()} == {2}
    assert {row.problem for row in rows.values()} == {None}
    (container,) = place.connection("containers in docker select image_id, image_digest")
    assert container.image_id == container.image_digest == digests["multi:1"]
    for table, count in (("layers", 2), ("history", 3)):
        assert [row.image for row in place.connection(f"{table} of multi:1 in docker")] == [digests["multi:1"]] * count


def test_a_container_holds_the_index(indexes: tuple[Place, dict[str, str]]) -> None:
    place, digests = indexes
    place.engine.run("create", "--name", "web", "--network", "none", "multi:1", "/x")
    (row,) = place.connection("rm multi:1 from docker")
    assert row.error == "conflict"
    assert [row.image for row in place.connection("rm images in docker where not in use")] == [digests["other:1"]]
    assert list(place.names()) == ["multi:1"]
    (row,) = place.connection("rm multi:1 from docker force")
    assert (row.action, row.error) == ("remove", None)
    assert place.names() == {}


def test_an_index_whose_other_platform_is_absent(indexes: tuple[Place, dict[str, str]], tmp_path: pathlib.Path) -> None:
    place, digests = indexes
    require_programs("docker-registry")
    (tmp_path / "registry").mkdir()
    with Registry(tmp_path / "registry") as registry:
        name = f"{registry.host}/multi:1"
        place.engine.run("tag", "multi:1", name)
        (pushed,) = place.connection(f"push {name} from docker")
        assert (pushed.error, pushed.image) == (None, digests["multi:1"])
        assert digests["multi:1"] in pushed.note
        place.connection("rm images in docker where tag = 1")
        assert place.names() == {}
        (pulled,) = place.connection(f"pull {name} to docker")
        assert (pulled.error, pulled.image) == (None, digests["multi:1"])
        assert not list(place.connection("images in docker where outdated"))
    (row,) = place.connection(f"images in docker select {FIELDS}")
    assert (row.name, row.digest, str(row.platform), row.problem) == (name, digests["multi:1"], "linux/amd64", None)
    assert [one.error for one in place.connection(f"copy {name} from docker to store")] == [None]
    (copied,) = place.connection("images in store select id, name, platform")
    assert (copied.id, copied.name, str(copied.platform)) == (WAIT.id, name, "linux/amd64")


def test_a_name_that_the_engine_does_not_write_out(debian_dockerd: Dockerd, tmp_path: pathlib.Path) -> None:
    """An archive can have names without a registry; docker lists them twice, and without a digest."""
    clear(debian_dockerd)
    layout = Layout(tmp_path / "layout")
    digest = layout.add(WAIT, SHORT).digest
    layout.close()
    with tarfile.open(tmp_path / "layout.tar", "w") as archive:
        archive.add(layout.folder, ".")
    debian_dockerd.run("load", "-i", str(tmp_path / "layout.tar"))
    with connect(tmp_path, "docker", debian_dockerd) as connection:
        (row,) = connection("images in docker select name, id")
        assert (row.name, row.id) == (SHORT, digest)
        debian_dockerd.run("create", "--name", "web", "--network", "none", digest, "/x")
        (container,) = connection("containers in docker select image_digest")
        assert container.image_digest == digest, "the engine is asked how it stores images"
    clear(debian_dockerd)
