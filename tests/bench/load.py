"""Loads of archives with a thousand small images, and a reindex of the store."""

from __future__ import annotations

import io
import json
import os
import tarfile
import zlib
from typing import TYPE_CHECKING, Any

from layouts import REF_NAME
from measure import BenchmarkError, Contender, Figure, interleave, milliseconds, output_of
from query import provide_layout

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness import Bench

IMAGES = 1000
TARGET = 2
"""Milliseconds an image for the whole process. `docker load` of 1,000 took 114 s, `podman load` of 200 took 23 s."""
VERIFY_TARGET = 3


def load(bench: Bench, images: int = IMAGES) -> tuple[str, list[Figure]]:
    """Load the images into new stores, from an archive of `docker save` and from one of an OCI layout."""
    imq = bench.imq()
    docker, layout = (provide_archive(bench, kind, images) for kind in ("docker", "layout"))
    contenders = [
        _make_contender(bench, imq, docker, "docker save", images),
        _make_contender(bench, imq, layout, "an OCI layout", images),
    ]
    store = os.path.join(bench.scratch, f"reindex-{images}")
    output_of([imq, "--root", store, "load", layout], bench.environment())
    contenders += [
        Contender(f"imq {text}", [imq, "--root", store, text], environment=bench.environment())
        for text in ("reindex", "verify all")
    ]
    for one in contenders:
        one.is_required = True
    measured = interleave(contenders, bench.rounds)
    bench.note("load", contenders)
    figures = []
    for one in measured:
        target = images * (VERIFY_TARGET if "verify" in one.name else TARGET)
        figures.append(milliseconds(one.name, one, target, cpu_target=target))
    return f"archives of {images:,} small images, a new store", figures


def _make_contender(bench: Bench, imq: str, archive: str, source: str, images: int) -> Contender:
    name = f"imq load, {source}"
    command = [imq, "--root", "", "load", archive]
    contender = Contender(name, command, environment=bench.environment())
    number = 0

    def before() -> None:
        # a new folder: ext4 does not reuse inodes of recently removed files, and searches past them for new ones
        nonlocal number
        number += 1
        command[2] = os.path.join(bench.scratch, f"loaded-{os.path.basename(archive)}-{number}")

    def check() -> None:
        count = output_of([imq, "--root", command[2], "images", "count"], bench.environment())
        if count != str(images):
            raise BenchmarkError(f"{name} left {count} images of {images}")

    contender.before, contender.check = before, check
    return contender


def provide_archive(bench: Bench, kind: str, count: int) -> str:
    """Return an archive of the images; write it when it is missing. `kind` is `docker` or `layout`."""
    path = os.path.join(bench.cache, f"{kind}-{count}.tar")
    if not os.path.exists(path):
        layout = provide_layout(bench, count)
        with tarfile.open(f"{path}.part", "w", format=tarfile.USTAR_FORMAT) as archive:
            written: set[str] = set()
            for name, content in (_docker_members if kind == "docker" else _layout_members)(layout):
                if name not in written:
                    written.add(name)
                    member = tarfile.TarInfo(name)
                    member.size = len(content)
                    archive.addfile(member, io.BytesIO(content))
        os.rename(f"{path}.part", path)
    return path


def _docker_members(layout: str) -> Iterator[tuple[str, bytes]]:
    """Yield the files of an archive as `docker save` wrote it until version 24."""
    listing = []
    for entry in _entries(layout):
        manifest = json.loads(_blob(layout, entry))
        config = manifest["config"]["digest"].partition(":")[2] + ".json"
        yield config, _blob(layout, manifest["config"])
        layers = []
        for layer in manifest["layers"]:
            layers.append(layer["digest"].partition(":")[2] + "/layer.tar")
            yield layers[-1], zlib.decompress(_blob(layout, layer), wbits=31)
        name = entry.get("annotations", {}).get(REF_NAME)
        listing.append({"Config": config, "RepoTags": [name] if name else None, "Layers": layers})
    yield "manifest.json", json.dumps(listing).encode()


def _layout_members(layout: str) -> Iterator[tuple[str, bytes]]:
    """Yield the files of a layout."""
    entries = _entries(layout)
    yield "oci-layout", b'{"imageLayoutVersion":"1.0.0"}'
    yield "index.json", json.dumps({"schemaVersion": 2, "manifests": entries}).encode()
    for entry in entries:
        manifest = json.loads(_blob(layout, entry))
        for blob in (entry, manifest["config"], *manifest["layers"]):
            yield f"blobs/sha256/{blob['digest'].partition(':')[2]}", _blob(layout, blob)


def _entries(layout: str) -> list[dict[str, Any]]:
    with open(os.path.join(layout, "index.json")) as source:
        entries: list[dict[str, Any]] = json.load(source)["manifests"]
    return entries


def _blob(layout: str, descriptor: dict[str, Any]) -> bytes:
    with open(os.path.join(layout, "blobs", "sha256", descriptor["digest"].partition(":")[2]), "rb") as source:
        return source.read()
