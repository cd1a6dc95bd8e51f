"""Pushes of one image to an empty loopback registry: imq and skopeo."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from harness import remove_folder
from measure import BenchmarkError, Contender, Figure, interleave, milliseconds, output_of, peak, ratio
from pull_images import provide
from registry_server import registry

if TYPE_CHECKING:
    from harness import Bench
    from pull_images import Image

TARGET = 0.6
MEMORY_TARGET = 120


def push(bench: Bench, name: str) -> tuple[str, list[Figure]]:
    """Push the image to an empty registry; return a description and the figures."""
    image = provide(name, bench.registry(), bench.cache)
    store, folder = os.path.join(bench.scratch, "full"), os.path.join(bench.scratch, "target")
    output_of(
        ["skopeo", "copy", "--quiet", "--src-tls-verify=false", f"docker://{image.reference}", f"oci:{store}:bench:1"]
    )
    output_of([bench.imq(), "--root", store, "reindex"], bench.environment())
    with registry(folder) as host:
        to = f"{host}/pushed/{name}:1"
        imq = _make_contender(folder, image, "imq push", [bench.imq(), "--root", store, f"push bench:1 to {to}"])
        imq.environment = bench.environment()
        skopeo = _make_contender(folder, image, "skopeo copy", [
            "skopeo", "copy", "--quiet", "--dest-tls-verify=false", f"oci:{store}:bench:1", f"docker://{to}",
        ])  # fmt: skip
        imq.is_required = skopeo.is_required = True
        measured = interleave([imq, skopeo], bench.rounds)
    bench.note(f"push {name}", [imq, skopeo])
    remove_folder(store)
    figures = []
    if imq in measured and skopeo in measured:
        figures += [ratio(imq.name, imq, skopeo, TARGET)]
        figures += [peak(f"{imq.name}: memory", imq, MEMORY_TARGET), peak(f"{skopeo.name}: memory", skopeo)]
        figures += [milliseconds(one.name, one) for one in measured]
    return f"{image.size / 1e6:.1f} MB in {image.layers} layers, to an empty loopback docker-registry", figures


def _make_contender(folder: str, image: Image, name: str, command: list[str]) -> Contender:
    """Return a contender that pushes to the registry of `folder`, which is emptied before each run."""
    data = os.path.join(folder, "data", "docker")
    return Contender(
        name,
        command,
        before=lambda: remove_folder(data),
        check=lambda: _check_blobs(name, data, image),
        after=lambda: remove_folder(data),
    )


def _check_blobs(name: str, data: str, image: Image) -> None:
    """Check that every blob is complete."""
    for digest, size in image.blobs:
        algorithm, _, encoded = digest.partition(":")
        path = os.path.join(data, "registry", "v2", "blobs", algorithm, encoded[:2], encoded, "data")
        if not os.path.exists(path) or os.path.getsize(path) != size:
            raise BenchmarkError(f"{name} did not push the complete blob {digest}")
