"""Image IDs of docker's two image stores: digests of configs, and digests of manifests, which never match."""

from __future__ import annotations

from typing import TYPE_CHECKING

import imq
import pytest
from support.command import run_imq
from support.engine_images import ONE, TWO
from support.images import docker_archive

if TYPE_CHECKING:
    import pathlib

    from support.engine_images import Place
    from support.prepared_engines import PreparedEngine


@pytest.fixture
def stored(docker_place: Place, tmp_path: pathlib.Path) -> Place:
    """An engine whose images are in the store as well."""
    docker_archive(tmp_path / "images.tar", [(ONE, ["localhost/app:1"]), (TWO, ["localhost/team/b:2"])])
    docker_place.connection(f'load "{tmp_path / "images.tar"}" to store')
    return docker_place


@pytest.mark.parametrize(
    "statement",
    [
        "rm images in docker where id not in (images in store select id)",
        "rm images in docker where not id in (images in store select id)",
        "rm images in docker where not (id in (images in store select id) or tag = none)",
        "rm images in docker except images in store by id",
        "rm images in store where id not in (images in docker select id)",
    ],
)
def test_a_removal_never_takes_an_image_whose_id_is_of_another_kind(stored: Place, statement: str) -> None:
    """Each image is on both sides, so none may go."""
    before = stored.names()
    if not stored.has_containerd_images:
        assert not list(stored.connection(statement))
    else:
        with pytest.raises(imq.Refused, match="are digests of manifests") as error:
            stored.connection(statement)
        assert error.value.code == "different-ids"
        assert "compare digests" in error.value.hints[0]
    assert stored.names() == before
    assert stored.connection("images in store count").scalar() == 2


@pytest.mark.parametrize(
    "statement",
    [
        "rm images in docker where id not in (containers in docker select image_id)",
        "rm images in docker where id in (images in store select id)",
        "rm images in docker where not in use and digest not in (images in store select digest)",
        "rm containers in docker where id not in (containers in docker where status = running select id)",
    ],
)
def test_ids_of_one_kind_are_compared(stored: Place, statement: str) -> None:
    stored.connection(statement, dry_run=True)


def test_a_query_warns(stored: Place) -> None:
    environment = {
        "DOCKER_HOST": stored.engine.address,
        "HOME": str(stored.folder),
        "IMQ_ROOT": str(stored.folder / "s"),
    }
    ran = run_imq(environment, "images in docker where id in (images in store select id)")
    assert ran.code == 0
    assert ("compare digests" in ran.stderr) == stored.has_containerd_images


def test_the_containers_of_an_engine_have_the_digests_of_their_images(
    prepared_containerd_docker: PreparedEngine,
) -> None:
    """Where an ID is a digest, no container has an unknown one, so the list of images in use is whole."""
    rows = prepared_containerd_docker.ask("containers in E select image_id, image_digest").rows
    assert rows
    assert all(row["image_id"] == row["image_digest"] for row in rows)
    text = "dry run rm images in E where digest not in (containers in E select image_digest) as json"
    planned = {row["image"] for row in prepared_containerd_docker.ask(text).rows}
    assert planned
    assert not planned & {row["image_id"] for row in rows}
