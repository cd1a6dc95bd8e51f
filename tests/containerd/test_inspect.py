"""`inspect` of images and containers of containerd."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from containerd.conftest import K8S, ONE, TWO
from imq.grammar.errors import NotFound

if TYPE_CHECKING:
    from containerd.conftest import Node


def test_an_image_has_the_keys_of_docker_and_those_of_containerd(node: Node) -> None:
    (document,) = node.session.rows(f"inspect app:1 from containerd:{K8S}")
    assert (document["Id"], document["RepoTags"]) == (ONE.id, ["app:1", "app:latest"])
    assert document["Config"]["Labels"] == {"part": "one"}
    assert document["RootFS"]["Layers"] == [one.diff_id for one in ONE.layers]
    assert document["Size"] > 5000
    own = document["Containerd"]
    assert (own["Namespace"], own["Manifest"], own["Complete"], own["Unpacked"]) == (K8S, ONE.digest, True, True)
    assert set(own["Names"]) == {"docker.io/library/app:1", "docker.io/library/app:latest"}


def test_rows_are_inspected(node: Node) -> None:
    documents = node.session.rows(f"inspect images in containerd:{K8S} where label.part = two")
    assert [one["Id"] for one in documents] == [TWO.id]


def test_a_container_has_the_keys_of_ctr(node: Node) -> None:
    node.ctr("containers", "create", "--label", "a=b", "ghcr.io/team/b:2", "web", "serve")
    (document,) = node.session.rows(f"inspect containers in containerd:{K8S} where name = web")
    assert (document["ID"], document["Image"], document["Status"]) == ("web", "ghcr.io/team/b:2", "created")
    assert document["Labels"]["a"] == "b"
    assert document["Spec"]["process"]["args"] == ["serve"]


def test_an_unknown_image_is_not_found(node: Node) -> None:
    with pytest.raises(NotFound, match="No such image: none:1"):
        node.session.rows(f"inspect none:1 from containerd:{K8S}")
