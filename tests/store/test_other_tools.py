"""Other tools read the store after every action, and imq notices their changes; podman in both directions."""

from __future__ import annotations

import json
import os
import tempfile
import uuid
from typing import TYPE_CHECKING

import pytest
from store.support.serve_image import serve
from store.support.stores import StoreSession, check_store, run
from support.images import Image, Layout, layer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.servers import Registry

APP = Image([layer({"base": b"b" * 5000}, "gzip"), layer({"app": b"a" * 700}, "gzip")], labels={"env": "prod"})
OTHER = Image([layer({"base": b"b" * 5000}, "gzip")], labels={"env": "test"})


def others_read(store: StoreSession, root: Path) -> None:
    """Check that umoci lists the same names as imq, and that skopeo and umoci read the same images."""
    names = [name for name in store.names() if name]
    assert sorted(run("umoci", "ls", "--layout", root).split()) == sorted(names)
    for name in names:
        (row,) = store.rows(f"images where name = {name} select manifest_digest, layer_count")
        assert json.loads(run("skopeo", "inspect", f"oci:{root}:{name}"))["Digest"] == row["manifest_digest"]
        shown = json.loads(run("umoci", "stat", "--json", "--image", f"{root}:{name}"))
        assert sum(step.get("layer") is not None for step in shown["history"]) == row["layer_count"]


def test_other_tools_read_the_store_after_every_action(
    store: StoreSession, root: Path, registry: Registry, tmp_path: Path
) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "file").write_bytes(b"file")
    Layout(tmp_path / "source").add(OTHER, "other:1")
    name = serve(registry, f"app/{uuid.uuid4().hex[:8]}:1", APP)
    for statement in (
        f'import "{tmp_path / "tree"}" as tree:1',
        f'load "{tmp_path / "source"}"',
        f"pull {name}",
        f"tag {name} as app:1",
        "tag other:1 as app:latest",
        "rename app:latest as app:2",
        f'save app:1, app:2 to "{tmp_path / "saved.tar"}"',
        f'export app:1 to "{tmp_path / "app.tar"}"',
        "untag app:2",
        f"untag {name}",
        "rm tree:1",
        "reindex",
        "rm app:1",
        "prune",
    ):
        store.do(statement)
        others_read(store, root)
    run("umoci", "unpack", "--rootless", "--image", f"{root}:other:1", tmp_path / "bundle")
    assert (tmp_path / "bundle" / "rootfs" / "base").read_bytes() == b"b" * 5000


def test_changes_by_other_tools_are_noticed(store: StoreSession, root: Path, tmp_path: Path) -> None:
    Layout(tmp_path / "source").add(APP, "app:1")
    store.do(f'load "{tmp_path / "source"}"')
    Layout(tmp_path / "more").add(OTHER, "other:1")
    run("skopeo", "copy", f"oci:{tmp_path / 'more'}:other:1", f"oci:{root}:new:1")
    assert store.names() == ["app:1", "new:1"]
    run("umoci", "tag", "--image", f"{root}:app:1", "again:1")
    assert store.names() == ["again:1", "app:1", "new:1"]
    run("umoci", "rm", "--image", f"{root}:new:1")
    run("umoci", "gc", "--layout", root)
    assert store.names() == ["again:1", "app:1"]
    run("umoci", "new", "--image", f"{root}:empty:1")
    assert "empty:1" in store.names()
    store.do("rm empty:1")
    store.do("prune")
    check_store(root)
    others_read(store, root)


@pytest.fixture
def podman(tmp_path: Path) -> Iterator[list[str]]:
    """The first words of podman commands on a store of their own."""
    if os.geteuid() != 0:
        pytest.skip("podman without root needs more than is here")
    with tempfile.TemporaryDirectory(dir="/tmp") as short:  # podman takes at most fifty characters
        client = ["podman", "--root", f"{tmp_path}/podman", "--runroot", short, "--storage-driver", "vfs"]
        yield client
        run(*client, "rmi", "--all", "--force")


def test_podman_and_imq_exchange_images(
    store: StoreSession, registry: Registry, podman: list[str], tmp_path: Path
) -> None:
    there = f"{registry.host}/podman/{uuid.uuid4().hex[:8]}"
    name = serve(registry, f"app/{uuid.uuid4().hex[:8]}:1", APP)
    run(*podman, "pull", "--quiet", "--tls-verify=false", name)
    run(*podman, "push", "--quiet", "--tls-verify=false", name, f"{there}:theirs")
    store.do(f"pull {there}:theirs")
    store.do(f"push {there}:theirs to {there}:ours")
    assert run(*podman, "pull", "--quiet", "--tls-verify=false", f"{there}:ours").strip() == APP.id[7:]
    run(*podman, "save", "--quiet", "--output", tmp_path / "theirs.tar", name)
    run(*podman, "save", "--quiet", "--format", "oci-archive", "--output", tmp_path / "theirs-oci.tar", name)
    store.do(f"rm {there}:theirs")
    for archive in ("theirs.tar", "theirs-oci.tar"):
        (outcome,) = store.do(f'load "{tmp_path / archive}"')
        assert outcome["image"] == APP.id
        store.do(f"rm {APP.id}")
    store.do(f"pull {name}")
    store.do(f'save {name} to "{tmp_path / "ours.tar"}"')
    run(*podman, "rmi", "--all", "--force")
    assert name in run(*podman, "load", "--quiet", "--input", tmp_path / "ours.tar")
    assert run(*podman, "images", "--quiet", "--no-trunc").split() == [APP.id]
    store.do(f'export {name} to "{tmp_path / "flat.tar"}"')
    run(*podman, "import", tmp_path / "flat.tar", "flat:1")
    assert "flat" in run(*podman, "images")
