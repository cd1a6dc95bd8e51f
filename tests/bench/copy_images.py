"""Copying images that share layers from one registry to another, and pulling what is here already."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import os
import statistics
import tarfile
from typing import TYPE_CHECKING, Any, Self

from harness import empty, program
from layouts import REF_NAME, write_image, write_index
from measure import Contender, Figure, interleave, milliseconds, ratio, said_by
from registry_server import registry

if TYPE_CHECKING:
    from harness import Bench

IMAGES = 5
SHARED_LAYERS = 3
LAYER_BYTES = 8 << 20
COPY_TARGET = 1.0
AGAIN_TARGET = 30.0
PULLS = 20


def copying(bench: Bench) -> tuple[str, list[Figure]]:
    """Copy five images, one after the other, to a registry that has nothing."""
    source, folder = bench.registry(), os.path.join(bench.scratch, "copying")
    names = _images(folder, source)
    imq = Contender("imq copy, one statement", (), environment=bench.environment(), needed=True)
    skopeo = Contender("skopeo copy, each", (), needed=True)
    with contextlib.ExitStack() as stack:
        for contender in (imq, skopeo):
            contender.before = stack.enter_context(_Round(bench, contender, names))
        measured = interleave([imq, skopeo], bench.rounds)
    bench.note("copy", [imq, skopeo])
    figures = [] if skopeo not in measured else [ratio(imq.name, imq, skopeo, COPY_TARGET)]
    figures += [milliseconds(one.name, one) for one in measured]
    empty(folder)
    size = LAYER_BYTES * (SHARED_LAYERS + IMAGES) / 1e6
    return f"{IMAGES} images, {size:.0f} MB: {SHARED_LAYERS} layers that all have, one of its own for each", figures


class _Round:
    """Starts an empty registry for each run of a contender: skopeo remembers what it has brought to one before."""

    def __init__(self, bench: Bench, contender: Contender, names: list[str]) -> None:
        self._bench = bench
        self._contender = contender
        self._names = names
        self._stack = contextlib.ExitStack()
        self._number = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def __call__(self) -> None:
        self._stack.close()
        self._number += 1
        kind = "imq" if self._contender.environment else "skopeo"
        folder = os.path.join(self._bench.scratch, f"target-{kind}-{self._number}")
        self._stack.callback(empty, folder)  # last of all
        target = self._stack.enter_context(registry(folder))
        if self._contender.environment:
            self._contender.command = [self._bench.imq(), f"copy {', '.join(self._names)} to {target}/"]
            return
        copy = f"{program('skopeo')} copy --quiet --src-tls-verify=false --dest-tls-verify=false"
        copies = [f"{copy} docker://{name} docker://{target}/{name.partition('/')[2]}" for name in self._names]
        self._contender.command = ["sh", "-c", " && ".join(copies)]


def _images(folder: str, host: str) -> list[str]:
    """Push the images, each to a repository of its own, and return their names."""
    layout = os.path.join(folder, "layout")
    os.makedirs(os.path.join(layout, "blobs", "sha256"))
    shared = [_layer(layout) for _ in range(SHARED_LAYERS)]
    entries = []
    for number in range(IMAGES):
        image = write_image(layout, [*shared, _layer(layout)], created="2024-01-01T00:00:00Z")
        entries.append({**image, "annotations": {REF_NAME: str(number)}})
    write_index(layout, entries)
    names = [f"{host}/bench/shared{number}:1" for number in range(IMAGES)]
    for number, name in enumerate(names):
        said_by(["skopeo", "copy", "--quiet", "--dest-tls-verify=false", f"oci:{layout}:{number}", f"docker://{name}"])
    return names


def _layer(layout: str) -> dict[str, Any]:
    plain, packed = io.BytesIO(), io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as archive:
        entry = tarfile.TarInfo("random")
        entry.size = LAYER_BYTES
        archive.addfile(entry, io.BytesIO(os.urandom(LAYER_BYTES)))
    with gzip.GzipFile("", "wb", 1, packed, mtime=0) as target:
        target.write(plain.getvalue())
    digest = hashlib.sha256(packed.getvalue()).hexdigest()
    with open(os.path.join(layout, "blobs", "sha256", digest), "wb") as blob:
        blob.write(packed.getvalue())
    diff_id = f"sha256:{hashlib.sha256(plain.getvalue()).hexdigest()}"
    return {"digest": f"sha256:{digest}", "size": len(packed.getvalue()), "diff_id": diff_id}


def again(bench: Bench) -> tuple[str, list[Figure]]:
    """Pull an image that is here, in one session: what a pull costs beside the start of the process."""
    folder = os.path.join(bench.scratch, "again")
    (name, *_) = _images(os.path.join(bench.scratch, "again-images"), bench.registry())
    store = os.path.join(folder, "store")
    said_by([bench.imq(), "--root", store, f"pull {name}"], bench.environment())
    contenders = [
        Contender(
            f"imq, {count} pulls",
            [bench.imq(), "--root", store, "; ".join([f"pull {name}"] * count)],
            environment=bench.environment(),
            needed=True,
        )
        for count in (1, 1 + PULLS)
    ]
    measured = interleave(contenders, bench.rounds)
    bench.note("again", contenders)
    if len(measured) < len(contenders):
        return "it did not run", []
    one, many = (contender.seconds for contender in measured)
    values = tuple((b - a) / PULLS * 1e3 for a, b in zip(one, many, strict=True))
    median = (statistics.median(many) - statistics.median(one)) / PULLS * 1e3
    return "an image of 4 layers, all of them here", [Figure("a pull", "ms", values, median, AGAIN_TARGET)]
