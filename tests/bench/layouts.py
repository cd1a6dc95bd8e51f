"""Image layouts written without imq, since imq is measured on them."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import tarfile
from typing import Any

LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar+gzip"
CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
INDEX_TYPE = "application/vnd.oci.image.index.v1+json"
REF_NAME = "org.opencontainers.image.ref.name"

REPOSITORIES = 50
BASES = 12
DANGLING_EVERY = 25


def write_image(folder: str, layers: list[dict[str, Any]], created: str, **settings: object) -> dict[str, Any]:
    """Write config and manifest of layers (digest, size, diff_id) whose blobs exist; return the descriptor."""
    config = {
        "created": created,
        "architecture": _architecture(),
        "os": "linux",
        "config": {"Cmd": ["/bin/sh"], **settings},
        "rootfs": {"type": "layers", "diff_ids": [layer["diff_id"] for layer in layers]},
        "history": [{"created": created, "created_by": f"COPY layer {number} /"} for number in range(len(layers))],
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": write_blob(folder, CONFIG_TYPE, config),
        "layers": [{"mediaType": LAYER_TYPE, "digest": lay["digest"], "size": lay["size"]} for lay in layers],
    }
    return write_blob(folder, MANIFEST_TYPE, manifest)


def write_blob(folder: str, media_type: str, content: object) -> dict[str, Any]:
    """Write a document or bytes as a blob of the layout in `folder`; return its descriptor."""
    raw = content if isinstance(content, bytes) else json.dumps(content).encode()
    digest = hashlib.sha256(raw).hexdigest()
    os.makedirs(os.path.join(folder, "blobs", "sha256"), exist_ok=True)
    with open(os.path.join(folder, "blobs", "sha256", digest), "wb") as target:
        target.write(raw)
    return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(raw)}


def write_index(folder: str, descriptors: list[dict[str, Any]]) -> None:
    """Write the files `oci-layout` and `index.json`."""
    with open(os.path.join(folder, "oci-layout"), "w") as target:
        json.dump({"imageLayoutVersion": "1.0.0"}, target)
    with open(os.path.join(folder, "index.json"), "w") as target:
        json.dump({"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": descriptors}, target)


def write_images(folder: str, count: int) -> None:
    """Write a layout of `count` small images, similar to those of a build machine.

    They share a dozen bases of 1 to 12 MB unpacked. Each has one more layer, labels, variables and its own creation
    time; one in 25 has no name. The content is deterministic.
    """
    os.makedirs(folder, exist_ok=True)
    bases = [_write_layer(folder, f"usr/lib/base-{n}.bin", bytes([n]) * ((n + 1) << 20)) for n in range(BASES)]
    descriptors = []
    for n in range(count):
        own = _write_layer(folder, f"srv/app-{n}.txt", f"build {n}\n".encode() * (n % 97 + 1))
        image = write_image(
            folder,
            [bases[n % BASES], own],
            created=f"20{20 + n % 5}-{n % 12 + 1:02}-{n % 28 + 1:02}T{n % 24:02}:{n % 60:02}:00Z",
            Labels={"org.opencontainers.image.revision": f"{n:040x}", "team": f"team-{n % 7}"},
            Env=["PATH=/usr/local/bin:/usr/bin:/bin", f"BUILD={n}"],
        )
        if n % DANGLING_EVERY:
            name = f"registry.example.com/team-{n % 7}/app-{n % REPOSITORIES}:{n // REPOSITORIES}.{n % REPOSITORIES}"
            image["annotations"] = {REF_NAME: name}
        descriptors.append(image)
    write_index(folder, descriptors)


def _write_layer(folder: str, path: str, content: bytes) -> dict[str, Any]:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.PAX_FORMAT) as archive:
        entry = tarfile.TarInfo(path)
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
    packed = gzip.compress(raw.getvalue(), 6, mtime=0)
    descriptor = write_blob(folder, LAYER_TYPE, packed)
    descriptor["diff_id"] = "sha256:" + hashlib.sha256(raw.getvalue()).hexdigest()
    return descriptor


def _architecture() -> str:
    machine = os.uname().machine
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine)
