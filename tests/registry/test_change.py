"""`change` in a registry: a config and a manifest are uploaded, and layers are shared."""

from __future__ import annotations

import json
import random
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest
from store.support.stores import StoreSession
from support.images import ARM64, Image, Layout, layer
from support.servers import Registry, require_programs

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterator

BASE = layer({"etc/os-release": b"ID=test\n"}, "gzip")
IMAGE = Image((BASE, layer({"srv/app": b"app"}, "gzip")), settings={"Cmd": ["run"], "Env": ["A=b"]}, labels={"a": "b"})


@pytest.fixture
def registry(tmp_path: pathlib.Path) -> Iterator[Registry]:
    require_programs("docker-registry")
    with Registry(tmp_path / "registry") as started:
        yield started


@pytest.fixture
def store(registry: Registry, tmp_path: pathlib.Path) -> Iterator[StoreSession]:
    """A store, with `app:1` and the index `app:multi` pushed to the registry."""
    layout = Layout(tmp_path / "layout")
    layout.add(IMAGE, "app:1")
    layout.add_index([IMAGE, Image((BASE,), platform=ARM64, settings={"Cmd": ["arm"]})], "app:multi")
    layout.close()
    with StoreSession(tmp_path / "store") as store:
        host = f"127.0.0.1:{registry.port}"
        store.do(f'load "{tmp_path}/layout"')
        for tag in ("1", "multi"):
            store.do(f"tag app:{tag} as {host}/app:{tag}")
            store.do(f"push {host}/app:{tag} platform all")
        yield store


def fetch(registry: Registry, path: str) -> dict[str, Any]:
    """Return a document of the registry."""
    kinds = ("application/vnd.oci.image.index.v1+json", "application/vnd.oci.image.manifest.v1+json")
    request = urllib.request.Request(
        f"http://127.0.0.1:{registry.port}/v2/{path}", headers={"Accept": ", ".join(kinds)}
    )
    with urllib.request.urlopen(request) as response:
        document: dict[str, Any] = json.load(response)
        return document


def config_of(registry: Registry, repository: str, manifest: dict[str, Any]) -> dict[str, Any]:
    return fetch(registry, f"{repository}/blobs/{manifest['config']['digest']}")


def test_an_image_is_changed_in_its_registry(registry: Registry, store: StoreSession) -> None:
    host = f"127.0.0.1:{registry.port}"
    statement = f'change {host}/app:1 "LABEL env=prod", "CMD [\\"serve\\"]" as {host}/app:2 from {host}'
    (planned,) = store.outcomes(statement, dry_run=True)
    assert planned["target"] == f"{host}/app:2"
    store.do(statement)
    old, new = fetch(registry, "app/manifests/1"), fetch(registry, "app/manifests/2")
    assert [layer["digest"] for layer in new["layers"]] == [layer["digest"] for layer in old["layers"]]
    config = config_of(registry, "app", new)
    assert (config["config"]["Labels"], config["config"]["Cmd"]) == ({"a": "b", "env": "prod"}, ["serve"])
    assert config["rootfs"] == config_of(registry, "app", old)["rootfs"]
    store.do(statement.replace("app:2", "app:3"))
    assert fetch(registry, "app/manifests/3") == new, "the same change gives the same image"
    store.do(f'change {host}/app:1 "LABEL env=prod", "CMD [\\"serve\\"]" as local:1')
    (own,) = store.rows("images where name = local:1 select manifest_digest")
    (there,) = store.rows(f"tags of {host}/app where tag = 2 select digest")
    assert own["manifest_digest"] == there["digest"], "and the same as in the store"


def test_every_platform_of_an_index_is_changed(registry: Registry, store: StoreSession) -> None:
    host = f"127.0.0.1:{registry.port}"
    store.do(f'change {host}/app:multi "LABEL env=prod" as {host}/other/app:2 from {host}')
    index = fetch(registry, "other/app/manifests/2")
    assert [entry["platform"]["architecture"] for entry in index["manifests"]] == ["amd64", "arm64"]
    for entry in index["manifests"]:
        manifest = fetch(registry, f"other/app/manifests/{entry['digest']}")
        assert config_of(registry, "other/app", manifest)["config"]["Labels"]["env"] == "prod"
    store.do(f"pull {host}/other/app:2")
    assert store.rows(f"images where name = {host}/other/app:2 select label.env") == [{"label.env": "prod"}]


@pytest.mark.parametrize("content", [b"hello\n", random.Random(1).randbytes(2_000_000)], ids=["text", "noise"])
def test_a_layer_is_appended_in_the_registry(
    registry: Registry, store: StoreSession, tmp_path: pathlib.Path, content: bytes
) -> None:
    host = f"127.0.0.1:{registry.port}"
    (tmp_path / "tree" / "srv").mkdir(parents=True)
    (tmp_path / "tree" / "srv" / "page").write_bytes(content)
    statement = f'append "{tmp_path}/tree" to {host}/app:1 as {host}/app:2 change "LABEL x=y"'
    store.do(f"{statement} from {host}")
    old, new = fetch(registry, "app/manifests/1"), fetch(registry, "app/manifests/2")
    assert [one["digest"] for one in new["layers"][:-1]] == [one["digest"] for one in old["layers"]]
    assert config_of(registry, "app", new)["config"]["Labels"] == {"a": "b", "x": "y"}
    store.do(f'append "{tmp_path}/tree" to {host}/app:1 as local:1 change "LABEL x=y"')
    (own,) = store.rows("images where name = local:1 select manifest_digest")
    (there,) = store.rows(f"tags of {host}/app where tag = 2 select digest")
    assert own["manifest_digest"] == there["digest"], "the same image as in the store"
    store.do(f"pull {host}/app:2")
    assert store.rows("verify all") is not None
    store.do(f'append "{tmp_path}/tree" to {host}/app:multi as {host}/app:3 from {host}')
    assert len(fetch(registry, "app/manifests/3")["manifests"]) == 2


def test_refused_changes_leave_the_registry_as_it_is(registry: Registry, store: StoreSession) -> None:
    host = f"127.0.0.1:{registry.port}"
    assert store.failure_code(f'change {host}/app:1 "RUN make" as {host}/app:9 from {host}') == "instruction"
    assert store.failure_code(f'change {host}/app:1 "LABEL a=b" from {host}') == "operand"
    assert store.failure_code(f'change {host}/app:none "LABEL a=b" as {host}/app:9 from {host}') == "manifest-unknown"
    assert [row["tag"] for row in store.rows(f"tags of {host}/app order by tag")] == ["1", "multi"]
