"""The namespace of a docker engine whose images containerd stores: the same images and containers by both sources."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from support.engine_content import load_images, make_images, push_and_move
from support.engine_images import clear
from support.servers import Registry, require_programs

from .conftest import open_session

if TYPE_CHECKING:
    from collections.abc import Iterator

    from store.support.stores import StoreSession
    from support.engines import Dockerd

PLACES = ("docker", "containerd:moby")


@pytest.fixture(scope="module")
def session(debian_dockerd: Dockerd, tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreSession]:
    """A session for a dockerd with images and two containers, and for the containerd that it started."""
    require_programs("docker-registry")
    clear(debian_dockerd)
    load_images(debian_dockerd, make_images())
    with Registry(tmp_path_factory.mktemp("registry")) as registry:
        push_and_move(debian_dockerd, registry.host)
    debian_dockerd.run("create", "--name", "web", "--network", "none", "wait:1", "/wait")
    debian_dockerd.run("run", "-d", "--name", "runs", "--network", "none", "wait:latest", "/wait")
    debian_dockerd.run("create", "--name", "ends", "--network", "none", "team/full:1.2", "x")
    debian_dockerd.run("create", "--name", "job", "--network", "none", "same:1", "/wait")
    address = f"{debian_dockerd.folder}/exec/containerd/containerd.sock"
    with open_session(tmp_path_factory.mktemp("moby"), address, DOCKER_HOST=debian_dockerd.address) as opened:
        yield opened
    debian_dockerd.run("kill", "runs")
    clear(debian_dockerd)


def both(session: StoreSession, text: str) -> list[list[tuple[Any, ...]]]:
    """Return the rows of a query in each source."""
    found = []
    for place in PLACES:
        rows = session.rows(text.replace("E", place))
        found.append([tuple(map(parse, row.values())) for row in rows])
    return found


def parse(value: Any) -> Any:
    """Return a map of JSON as one, which has no order."""
    return json.loads(value) if str(value).startswith("{") else value


@pytest.mark.parametrize(
    "query",
    [
        "images in E where name is known order by name select name, registry, repository, tag, dangling",
        "images in E where name is known order by name select platform, layer_count, chain_id, label, env, cmd, user",
        "images in E where in use order by name select name",
        "images in E where not in use order by chain_id select chain_id, dangling",
        "containers in E where status = running select command, id, status",
        "containers of team/full:1.2 in E select id, image_digest",
        "layers in E order by chain_id, index select index, diff_id, chain_id",
    ],
)
def test_both_sources_have_the_same(session: StoreSession, query: str) -> None:
    docker, containerd = both(session, query)
    assert docker
    assert docker == containerd


def test_ids_differ(session: StoreSession) -> None:
    """That of containerd is the digest of the config, as in other sources."""
    docker, containerd = both(session, "images in E where name = wait:1 select id")
    assert docker != containerd
    assert containerd == [(make_images()["wait"][0].id,)]


def test_a_container_that_containerd_has_no_record_of_holds_its_image(session: StoreSession) -> None:
    """Docker has no record of a container that does not run, and none of the snapshot of one that runs."""
    statuses = {row["status"] for row in session.rows("containers in containerd:moby select status")}
    assert statuses == {"running", "storage"}
    used = {row["name"] for row in session.rows("images in docker where in use select name")}
    planned = session.rows("rm images in containerd:moby where not in use", dry_run=True)
    targets = {name for row in planned for name in row["target"].split(", ")}
    assert targets
    assert not targets & used
    for force in ("", " force"):  # one that runs has it, too
        rows = session.rows(f"rm images in containerd:moby where label.team = web{force}", dry_run=True)
        assert [row.get("error") for row in rows] == ["in-use" if not force else None]
        id_ = make_images()["wait"][0].id
        rows = session.rows(f"rm images in containerd:moby where id = {id_}{force}", dry_run=True)
        assert {row.get("error") for row in rows} == {"in-use"}, (force, rows)
