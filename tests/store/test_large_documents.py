"""The limit for manifests and configs, `largest_document`: larger ones are rejected, and unreadable when stored."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import pytest
from imq.engine.oci.digest import Digest
from imq.grammar.errors import Malformed, StatementError
from store.support.serve_image import serve
from store.support.stores import StoreSession
from support.images import Image, Layout, docker_archive, layer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.servers import Registry

CONFIG = Image([layer({"a": b"a"})], labels={"long": "x" * 100_000})
MANIFEST = Image([layer({"a": b"a"})], annotations={"long": "x" * 100_000})


def refused(store: StoreSession, text: str, allowed: int = 64 << 10) -> None:
    """Run a statement that must fail with an error that names the setting."""
    (failed,) = store.outcomes(text)
    assert failed["error"] == "document-size"
    assert f"largest_document allows {allowed}" in failed["message"]


@pytest.mark.parametrize("image", [CONFIG, MANIFEST], ids=["config", "manifest"])
def test_pull_copy_and_push_obey_the_limit(store: StoreSession, registry: Registry, image: Image) -> None:
    name = serve(registry, f"large/{uuid.uuid4().hex[:8]}:1", image)
    store.read_message("set largest_document = 64KiB")
    refused(store, f"pull {name}")
    if image is MANIFEST:  # a copy looks into no config
        refused(store, f"copy {name} to {name}-copy")
    assert store.names() == []
    store.read_message("set largest_document = 128KiB")
    store.do(f"pull {name}")
    store.do(f"copy {name} to {name}-copy")
    store.do(f"tag {name} as {name}-again")
    store.do(f"push {name}-again")
    assert store.names() == [name, f"{name}-again"]


@pytest.mark.parametrize("kind", ["layout", "docker"])
def test_load_obeys_the_limit(tmp_path: Path, opened: Callable[..., StoreSession], kind: str) -> None:
    image = Image([layer({"a": b"a"})], labels={"long": "x" * (5 << 20)})
    source = tmp_path / "source"
    if kind == "layout":
        Layout(source).add(image, "large:1")
    else:
        docker_archive(source, [(image, ["large:1"])])
    store = opened(tmp_path / "store")
    refused(store, f"load '{source}'", 4 << 20)
    store.read_message("set largest_document = 8MiB")
    store.do(f"load '{source}'")
    assert store.names() == ["large:1"]
    assert store.rows("inspect large:1")


def test_a_stored_document_above_the_limit_is_shown_as_unreadable(store: StoreSession, root: Path) -> None:
    Layout(root).add(CONFIG, "large:1")
    store.read_message("set largest_document = 64KiB")
    assert store.failure_code("reindex") == "unreadable"
    assert store.rows("images select name, id") == [{"name": "large:1", "id": None}]
    assert store.error_codes("images") == {"unreadable"}
    with pytest.raises(Malformed, match="largest_document allows 65536"):
        store.session.store.read_document(Digest(CONFIG.id))
    store.read_message("set largest_document = 128KiB")
    store.do("reindex")
    assert store.rows("images select name, id") == [{"name": "large:1", "id": CONFIG.id}]
    assert store.error_codes("images") == set()
    store.do("verify large:1")


@pytest.mark.parametrize("text", ["16MiB", "64KiB", "256MiB", "5000000"])
def test_the_limit_is_a_size(store: StoreSession, text: str) -> None:
    store.read_message(f"set largest_document = {text}")
    assert store.read_message("set largest_document") == f"largest_document = {text}\n"


@pytest.mark.parametrize("text", ["none", "0", "63KiB", "257MiB", "much"])
def test_other_values_of_the_limit_are_rejected(store: StoreSession, text: str) -> None:
    with pytest.raises(StatementError) as caught:
        store.read_message(f"set largest_document = {text}")
    assert caught.value.hints == ("values: 64KiB to 256MiB",)
