"""What the removal of images frees in a namespace of containerd: blobs and snapshots, as ctr counts them."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from containerd.conftest import BASE, K8S, ONE, TWO
from imq.engine.containerd_client.client import ContainerdClient
from imq.grammar.errors import StatementError
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


class TestLimits:
    @pytest.mark.parametrize(("measure", "limit"), [("disk use", "<= 1%"), ("disk use", "< 1%"), ("free", ">= 1GB")])
    @pytest.mark.parametrize("place", ["containerd:k8s.io", "containerd:*", "containerd:k8s.io, containerd"])
    def test_a_limit_of_the_disk_is_refused_with_the_reason(
        self, node: Node, place: str, measure: str, limit: str
    ) -> None:
        message = f'"until {measure}" would remove too many images in namespaces of containerd: .* frees blobs too'
        with pytest.raises(StatementError, match=message) as caught:
            node.rows(f"rm images in {place} where not in use until {measure} {limit}")
        assert caught.value.code == "unseen"
        assert len(node.names()) == 3

    def test_what_a_removal_frees_is_more_than_the_sizes(self, node: Node) -> None:
        """The reason of the error: images without a second copy of their layers free more than their size."""
        (row,) = node.rows("images in containerd:k8s.io where name like '*b:2' select unique_size")
        (freed,) = node.rows("reclaim of (images in containerd:k8s.io where name like '*b:2') select size")
        assert freed["size"] > row["unique_size"]

    def test_the_statements_of_the_hints_work(self, node: Node) -> None:
        images = "images in containerd:k8s.io where not in use"
        with pytest.raises(StatementError) as caught:
            node.rows(f"rm {images} order by last_used until free >= 1GB")
        by_size, by_number, reclaim = caught.value.hints
        assert by_size.endswith("… until total size <= 16GB")
        assert node.session.rows(f"rm {images} until total size <= 16GB dry run as json") == []
        layers = node.rows("layers in containerd:k8s.io select chain_id, size")
        total = sum({layer["chain_id"]: layer["size"] for layer in layers}.values())
        assert node.session.rows(f"rm {images} until total size <= {total}B dry run as json") == []
        largest = f"rm {images} order by size desc until total size <= {total - 1}B"  # its second layer is its own
        (planned,) = node.session.rows(f"{largest} dry run as json")
        assert planned["target"] == "ghcr.io/team/b:2"
        assert by_number.endswith("… order by last_used limit 10")
        assert len(node.session.rows(f"rm {images} order by last_used limit 1 dry run as json")) == 1
        assert reclaim.endswith("reclaim of (images in containerd where …)")
        assert {row["name"] for row in node.rows(f"reclaim of ({images}) select name")} >= {"ghcr.io/team/b:2"}
