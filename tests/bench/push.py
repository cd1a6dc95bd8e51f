"""Pushing one image from a store to an empty loopback registry: imq against skopeo."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from harness import empty
from measure import CannotRunError, Contender, Figure, interleave, milliseconds, peak, ratio, said_by
from pull_images import provide
from registry_server import registry

if TYPE_CHECKING:
    from harness import Bench
    from pull_images import Image

TARGET = 0.6
MEMORY_TARGET = 120


def push(bench: Bench, name: str) -> tuple[str, list[Figure]]:
    """Push the image to a registry that has nothing, each time; return what was pushed and the figures."""
    image = provide(name, bench.registry(), bench.cache)
    store, folder = os.path.join(bench.scratch, "full"), os.path.join(bench.scratch, "target")
    said_by(
        ["skopeo", "copy", "--quiet", "--src-tls-verify=false", f"docker://{image.reference}", f"oci:{store}:bench:1"]
    )
    said_by([bench.imq(), "--root", store, "reindex"], bench.environment())
    with registry(folder) as host:
        to = f"{host}/pushed/{name}:1"
        ours = _into(folder, image, "imq push", [bench.imq(), "--root", store, f"push bench:1 to {to}"])
        ours.environment = bench.environment()
        theirs = _into(folder, image, "skopeo copy", [
            "skopeo", "copy", "--quiet", "--dest-tls-verify=false", f"oci:{store}:bench:1", f"docker://{to}",
        ])  # fmt: skip
        ours.needed = theirs.needed = True
        measured = interleave([ours, theirs], bench.rounds)
    bench.note(f"push {name}", [ours, theirs])
    empty(store)
    figures = []
    if ours in measured and theirs in measured:
        figures += [ratio(ours.name, ours, theirs, TARGET)]
        figures += [peak(f"{ours.name}: memory", ours, MEMORY_TARGET), peak(f"{theirs.name}: memory", theirs)]
        figures += [milliseconds(one.name, one) for one in measured]
    return f"{image.size / 1e6:.1f} MB in {image.layers} layers, to an empty loopback docker-registry", figures


def _into(folder: str, image: Image, name: str, command: list[str]) -> Contender:
    """Return a contender that fills the registry of `folder`, which keeps nothing in memory of what it has stored."""
    data = os.path.join(folder, "data", "docker")
    return Contender(
        name,
        command,
        before=lambda: empty(data),
        check=lambda: _complete(name, data, image),
        after=lambda: empty(data),
    )


def _complete(name: str, data: str, image: Image) -> None:
    """Hold that every blob has arrived."""
    for digest, size in image.blobs:
        algorithm, _, encoded = digest.partition(":")
        path = os.path.join(data, "registry", "v2", "blobs", algorithm, encoded[:2], encoded, "data")
        if not os.path.exists(path) or os.path.getsize(path) != size:
            raise CannotRunError(f"{name} has brought no whole blob {digest}")
