"""What the removal of images frees in a namespace of containerd: blobs and snapshots, as ctr counts them."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from containerd.conftest import BASE, K8S, ONE, TWO
from imq.engine.containerd_client.client import ContainerdClient
from support.images import AMD64, ARM64, Image, Layout, layer

if TYPE_CHECKING:
    from containerd.conftest import Node


def collect_garbage(node: Node) -> None:
    """Remove what no image needs: an import leaves the index of its archive."""
    node.ctr("images", "tag", next(iter(node.names())), "docker.io/library/gone:1")
    node.ctr("images", "rm", "--sync", "docker.io/library/gone:1")


def count_bytes(node: Node) -> int:
    """Return the bytes of the blobs and of the snapshots of the namespace."""
    with closing(ContainerdClient(node.engine.socket)) as client:
        blobs = sum(blob.size for blob in client.list_content(K8S).values())
        keys = [line.split()[0] for line in node.ctr("snapshots", "ls").splitlines()[1:]]
        return blobs + sum(client.get_snapshot_size(K8S, "overlayfs", key) for key in keys)


@pytest.mark.parametrize(
    "condition", ["name = app:1", "name like 'app:*'", "name like '*b:2'", "tag is known"], ids=str
)
def test_reclaim_is_what_a_removal_frees(node: Node, condition: str) -> None:
    foreseen = node.rows(f"reclaim of (images in containerd:k8s.io where {condition})")
    total = sum(row["size"] for row in foreseen)
    planned = node.session.rows(f"rm images in containerd:k8s.io where {condition} dry run as json")
    assert sum(row["size"] or 0 for row in planned) == total
    collect_garbage(node)
    before = count_bytes(node)
    node.session.do(f"rm images in containerd:k8s.io where {condition}")
    assert before - count_bytes(node) == total


def test_an_index_goes_with_all_its_images(node: Node) -> None:
    layout = Layout(node.folder / "multi")
    images = [Image([BASE, layer({str(at): b"x" * 700})], platform=one) for at, one in enumerate((AMD64, ARM64))]
    layout.add_index(images, "docker.io/library/multi:1")
    node.add_layout(layout)
    collect_garbage(node)
    before = count_bytes(node)
    (row,) = node.rows("reclaim of (images in containerd:k8s.io where name = multi:1)")
    node.session.do("rm images in containerd:k8s.io where name = multi:1")
    assert before - count_bytes(node) == row["size"] == row["alone"] > 1400


def test_what_stays_frees_nothing(node: Node) -> None:
    node.ctr("images", "label", "ghcr.io/team/b:2", "io.cri-containerd.pinned=pinned")
    rows = {row["name"]: row for row in node.rows("reclaim of (images in containerd:k8s.io all)")}
    assert rows["ghcr.io/team/b:2"]["note"] == "the image is pinned"
    assert rows["ghcr.io/team/b:2"]["size"] == 0
    assert rows["app:1"]["alone"] == 0
    assert rows["app:1"]["size"] + rows["app:latest"]["size"] == len(ONE.config) + len(ONE.manifest)
    assert TWO.layers[0] == BASE
