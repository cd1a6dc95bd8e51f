"""An index of indexes is accepted up to one depth, and refused beyond it with one error, by every operation."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import pytest
from imq.engine.oci import media_types
from imq.engine.oci.digest import Digest
from imq.engine.oci.manifest import Descriptor, Index
from imq.engine.oci.manifest_walk import MAX_INDEX_DEPTH, IndexDepthError, read_manifest_tree
from imq.engine.oci.platform import Platform
from imq.engine.oci.reference import Reference
from imq.engine.progress import NullProgress
from imq.engine.registry.transfer.copy import copy
from imq.engine.registry.transfer.pull import pull, pull_index
from imq.engine.registry.transfer.push import push
from registry.support import sample_images
from store.support.stores import imq
from support.images import Layout, descriptor

if TYPE_CHECKING:
    from pathlib import Path

    from imq.engine.registry.client import Client
    from support.servers import Registry

AMD64 = Platform("linux", "amd64")


@pytest.fixture
def name(registry: Registry) -> Reference:
    return Reference.parse(f"{registry.host}/depth/{uuid.uuid4().hex[:8]}:v1")


@pytest.fixture
def target(second: Registry) -> Reference:
    return Reference.parse(f"{second.host}/depth/{uuid.uuid4().hex[:8]}:v1")


def add_nested_index(store: sample_images.MemoryStore, levels: int) -> list[Descriptor]:
    """Add an image within nested indexes to a store. Return the descriptors, beginning with the image."""
    nested = [sample_images.add_image(store)]
    for _ in range(levels):
        nested.append(sample_images.add_index(store, [{**nested[-1].to_json(), "platform": sample_images.AMD64}]))
    return nested


def write_layout(folder: Path, store: sample_images.MemoryStore, root: Descriptor, name: str) -> None:
    """Write the content of a store as an image layout with one name."""
    layout = Layout(folder)
    for content in store.blobs.values():
        layout.blob(content)
    layout.entry(descriptor(root.media_type, store.blobs[root.digest]), name)


def test_an_index_at_the_limit_is_pushed_pulled_and_copied(client: Client, name: Reference, target: Reference) -> None:
    source_store, pulled, copied = sample_images.MemoryStore(), sample_images.MemoryStore(), sample_images.MemoryStore()
    nested = add_nested_index(source_store, MAX_INDEX_DEPTH)
    push(client, name, nested[-1], source_store, NullProgress())
    copy(client, name, target, (), NullProgress())
    pull_index(client, target, (), pulled, NullProgress())
    assert pulled.blobs == source_store.blobs
    assert pull(client, target, AMD64, copied, NullProgress()).manifest.digest == nested[0].digest
    assert copy(client, name, target, (AMD64,), NullProgress()).manifest.digest == nested[0].digest


def test_an_index_beyond_the_limit_is_refused_with_one_error(
    client: Client, name: Reference, target: Reference
) -> None:
    source_store = sample_images.MemoryStore()
    nested = add_nested_index(source_store, MAX_INDEX_DEPTH + 1)
    push(client, name, nested[-2], source_store, NullProgress())
    client.put_manifest(name, source_store.read(nested[-1].digest), media_types.OCI_INDEX)
    refused = [
        lambda: push(client, target, nested[-1], source_store, NullProgress()),
        lambda: copy(client, name, target, (), NullProgress()),
        lambda: copy(client, name, target, (AMD64,), NullProgress()),
        lambda: pull_index(client, name, (), sample_images.MemoryStore(), NullProgress()),
        lambda: pull_index(client, name, (AMD64,), sample_images.MemoryStore(), NullProgress()),
        lambda: pull(client, name, AMD64, sample_images.MemoryStore(), NullProgress()),
    ]
    messages = set()
    for operation in refused:
        with pytest.raises(IndexDepthError) as caught:
            operation()
        assert caught.value.code == "document"
        messages.add(caught.value.message)
    assert messages == {IndexDepthError(nested[1]).message}


def test_an_index_at_the_limit_is_stored_saved_loaded_and_pushed(tmp_path: Path, target: Reference) -> None:
    source_store = sample_images.MemoryStore()
    nested = add_nested_index(source_store, MAX_INDEX_DEPTH)
    write_layout(tmp_path / "layout", source_store, nested[-1], str(target))
    imq(tmp_path / "one", f'load "{tmp_path}/layout"')
    imq(tmp_path / "one", f'save {target} to "{tmp_path}/saved.tar"')
    imq(tmp_path / "two", f'load "{tmp_path}/saved.tar"')
    imq(tmp_path / "two", f"push {target}")
    imq(tmp_path / "two", f"verify {target}")
    imq(tmp_path / "three", f"pull {target} platform all")
    for root in ("one", "two", "three"):
        assert imq(tmp_path / root, "images select id, name as csv").stdout.splitlines()[1:]


def test_an_index_beyond_the_limit_is_not_loaded(tmp_path: Path, target: Reference) -> None:
    source_store = sample_images.MemoryStore()
    nested = add_nested_index(source_store, MAX_INDEX_DEPTH + 1)
    write_layout(tmp_path / "layout", source_store, nested[-1], str(target))
    refused = imq(tmp_path / "store", f'load "{tmp_path}/layout"', code=None)
    assert refused.returncode
    assert IndexDepthError(nested[1]).message in refused.stderr


def test_an_index_beyond_the_limit_is_neither_saved_nor_pushed(tmp_path: Path, target: Reference) -> None:
    source_store = sample_images.MemoryStore()
    nested = add_nested_index(source_store, MAX_INDEX_DEPTH + 1)
    write_layout(tmp_path / "layout", source_store, nested[-1], str(target))
    verified = imq(tmp_path / "layout", f"verify {target}", code=None)
    assert IndexDepthError(nested[1]).message in verified.stdout + verified.stderr
    saved = imq(tmp_path / "layout", f'save {target} to "{tmp_path}/saved.tar"', code=None)
    assert "error[unreadable]" in saved.stderr
    pushed = imq(tmp_path / "layout", f"push {target}", code=None)
    assert IndexDepthError(nested[1]).message in pushed.stderr


def test_the_depth_of_a_document_is_its_shortest_path() -> None:
    source_store = sample_images.MemoryStore()
    nested = add_nested_index(source_store, MAX_INDEX_DEPTH + 3)
    root = sample_images.add_index(source_store, [one.to_json() for one in nested[::-1]])
    documents = {one.digest: _parse(source_store, one) for one in (root, *nested)}
    tree = read_manifest_tree(root, lambda one: documents[one.digest])
    assert [node.descriptor.digest for node in tree.bottom_up()] == [*(one.digest for one in nested), root.digest]
    assert [node.descriptor.digest for node in tree.top_down()] == [root.digest, *(one.digest for one in nested[::-1])]


def _parse(store: sample_images.MemoryStore, one: Descriptor) -> Index:
    from imq.engine.oci.manifest import parse_manifest

    return parse_manifest(store.read(Digest(one.digest)), one.media_type)  # type: ignore[return-value]
