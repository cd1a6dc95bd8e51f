"""Interoperability with skopeo: imq pulls images that skopeo pushed, and skopeo copies images that imq pushed."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING

import pytest
from imq.engine.oci import media_types
from imq.engine.oci.platform import Platform
from imq.engine.oci.reference import Reference
from imq.engine.progress import NullProgress
from imq.engine.registry.transfer.pull import pull
from imq.engine.registry.transfer.push import push
from registry.support import sample_images
from support import servers

if TYPE_CHECKING:
    from pathlib import Path

    from imq.engine.registry.client import Client
    from support.servers import Registry

AMD64 = Platform("linux", "amd64")


@pytest.fixture(autouse=True)
def skopeo() -> None:
    servers.require_programs("skopeo")


def run(*words: str) -> str:
    done = subprocess.run(["skopeo", "--insecure-policy", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def write_layout(folder: Path, store: sample_images.MemoryStore, manifest: str) -> None:
    """Write an image layout without imq's store."""
    (folder / "blobs" / "sha256").mkdir(parents=True)
    (folder / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    for digest, content in store.blobs.items():
        (folder / "blobs" / "sha256" / digest.encoded).write_bytes(content)
    entry = {"mediaType": media_types.OCI_MANIFEST, "digest": manifest, "size": len(store.blobs[manifest])}  # type: ignore[index]
    entry["annotations"] = {"org.opencontainers.image.ref.name": "x"}
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))


@pytest.mark.parametrize("form", ["oci", "v2s2"])
def test_pull_an_image_that_skopeo_pushed(client: Client, registry: Registry, tmp_path: Path, form: str) -> None:
    source_store, there = sample_images.MemoryStore(), sample_images.MemoryStore()
    manifest = sample_images.add_image(source_store)
    write_layout(tmp_path / "layout", source_store, manifest.digest)
    name = f"{registry.host}/from/skopeo:{form}"
    run("copy", "--dest-tls-verify=false", "--format", form, f"oci:{tmp_path}/layout:x", f"docker://{name}")
    pulled = pull(client, Reference.parse(name), AMD64, there, NullProgress())
    assert pulled.manifest.media_type == (media_types.OCI_MANIFEST if form == "oci" else media_types.DOCKER_MANIFEST)
    layers = [digest for digest in source_store.blobs if source_store.blobs[digest][:2] == b"\x1f\x8b"]
    assert len(layers) == 3
    assert all(there.blobs[digest] == source_store.blobs[digest] for digest in layers)


@pytest.mark.parametrize("docker", [False, True], ids=["oci", "docker"])
def test_skopeo_copies_a_pushed_image(client: Client, registry: Registry, tmp_path: Path, docker: bool) -> None:
    source_store = sample_images.MemoryStore()
    manifest = sample_images.add_image(source_store, docker=docker)
    name = Reference.parse(f"{registry.host}/to/skopeo:{'docker' if docker else 'oci'}")
    push(client, name, manifest, source_store, NullProgress())
    run("copy", "--src-tls-verify=false", "--preserve-digests", f"docker://{name}", f"dir:{tmp_path}/copy")
    assert (tmp_path / "copy" / "manifest.json").read_bytes() == source_store.blobs[manifest.digest]
    for digest, content in source_store.blobs.items():
        if digest != manifest.digest:
            assert (tmp_path / "copy" / digest.encoded).read_bytes() == content
    displayed = json.loads(run("inspect", "--tls-verify=false", f"docker://{name}"))
    assert displayed["Digest"] == manifest.digest
    assert displayed["Labels"] == {"made": "for tests"}


def test_skopeo_copies_a_pushed_index(client: Client, registry: Registry, tmp_path: Path) -> None:
    source_store = sample_images.MemoryStore()
    entries = [
        {**sample_images.add_image(source_store, p).to_json(), "platform": p}
        for p in (sample_images.AMD64, sample_images.ARM64)
    ]
    top = sample_images.add_index(source_store, entries)
    name = Reference.parse(f"{registry.host}/to/skopeo:index")
    push(client, name, top, source_store, NullProgress())
    run("copy", "--all", "--src-tls-verify=false", f"docker://{name}", f"oci:{tmp_path}/copy:x")
    copied = {path.name for path in (tmp_path / "copy" / "blobs" / "sha256").iterdir()}
    assert copied == {digest.encoded for digest in source_store.blobs}
