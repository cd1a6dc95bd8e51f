"""A containerd with a few images in two namespaces, and sessions that reach it by CONTAINERD_ADDRESS."""

from __future__ import annotations

import io
import json
import os
import tarfile
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from store.support.stores import StoreSession
from support.images import LAYER_TYPES, Image, Layer, Layout, digest_of, layer
from support.programs import wait_program

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterator

    from support.engines import Containerd

BASE = layer({"base": b"b" * 5000})
ONE = Image([BASE], labels={"part": "one"})
TWO = Image([BASE, layer({"two": b"2" * 9000})], labels={"part": "two"}, created="2024-02-01T00:00:00Z")
OLD = Image([layer({"old": b"0" * 3000})], labels={"part": "old"}, created="2020-01-01T00:00:00Z")
NAMES = {"docker.io/library/app:1": ONE, "docker.io/library/app:latest": ONE, "ghcr.io/team/b:2": TWO}
K8S = "k8s.io"


class Node(NamedTuple):
    """A containerd, and a session that reaches it."""

    engine: Containerd
    session: StoreSession
    folder: pathlib.Path

    def ctr(self, *words: str, namespace: str = K8S) -> str:
        """Run ctr in a namespace, and return its output."""
        return self.engine.run("-n", namespace, *words)

    def rows(self, text: str) -> list[dict[str, Any]]:
        """Run a query, and return its rows with the values of lists and maps. Without `select` all fields are there."""
        text += "" if " select " in text else " as json" if text.startswith(("rm ", "prune")) else " select * as json"
        return [
            {key: json.loads(value) if str(value)[:1] in ("{", "[") else value for key, value in row.items()}
            for row in self.session.rows(text)
        ]

    def names(self, namespace: str = K8S) -> set[str]:
        """Return the records of images, as ctr lists them."""
        return set(self.ctr("images", "ls", "-q", namespace=namespace).split())

    def add(self, images: dict[str, Image], namespace: str = K8S, *options: str) -> None:
        """Import images under their names."""
        layout = Layout(self.folder / f"layout-{len(os.listdir(self.folder))}")
        for name, image in images.items():
            layout.add(image, name)
        self.add_layout(layout, namespace, *options)

    def add_layout(self, layout: Layout, namespace: str = K8S, *options: str) -> None:
        """Import the images of a layout."""
        layout.close()
        path = self.folder / f"images-{len(os.listdir(self.folder))}.tar"
        with tarfile.open(path, "w") as archive:
            archive.add(layout.folder, ".")
        self.ctr("images", "import", "--all-platforms", *options, str(path), namespace=namespace)


def make_program() -> Image:
    """Return an image whose program `/wait` waits for ever, or exits with the digit that is its argument."""
    content, archive = wait_program(), io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        member = tarfile.TarInfo("wait")
        member.size, member.mode = len(content), 0o755
        tar.addfile(member, io.BytesIO(content))
    packed = archive.getvalue()
    return Image([Layer(packed, digest_of(packed), LAYER_TYPES[""], len(content))], settings={"Cmd": ["/wait"]})


def open_session(folder: pathlib.Path, address: str, **environment: str) -> StoreSession:
    """Return a session for which containerd is at this address."""
    given: dict[str, Any] = {"environment": {"CONTAINERD_ADDRESS": address, "HOME": str(folder), **environment}}
    return StoreSession(folder / "store", **given)


TWO_VERSIONS = ("test_tables", "test_actions")
"""The modules that are tested with two versions of containerd."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run the tests of a node for each containerd."""
    if "node" in metafunc.fixturenames:
        has_two = metafunc.module.__name__.rpartition(".")[2] in TWO_VERSIONS
        metafunc.parametrize("node", ["containerd", "debian_containerd"] if has_two else ["containerd"], indirect=True)


@pytest.fixture
def node(request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> Iterator[Node]:
    """Each containerd with `NAMES` in the namespace of Kubernetes, which are all that it has."""
    containerd: Containerd = request.getfixturevalue(request.param)
    containerd.clear()
    with open_session(tmp_path, containerd.socket) as session:
        node = Node(containerd, session, tmp_path)
        node.add(NAMES)
        yield node
    containerd.clear()
