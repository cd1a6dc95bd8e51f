"""Copies of images that share layers between registries, and pulls of an image that is in the store."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import os
import statistics
import tarfile
from typing import TYPE_CHECKING, Any, Self

from harness import find_program, remove_folder
from layouts import REF_NAME, write_image, write_index
from measure import Contender, Figure, interleave, milliseconds, output_of, ratio
from registry_server import registry

if TYPE_CHECKING:
    from harness import Bench

IMAGES = 5
SHARED_LAYERS = 3
LAYER_BYTES = 8 << 20
COPY_TARGET = 1.0
AGAIN_TARGET = 30.0
PULLS = 20


def copy_images(bench: Bench) -> tuple[str, list[Figure]]:
    """Copy five images to an empty registry."""
    source, folder = bench.registry(), os.path.join(bench.scratch, "copying")
    names = push_images(folder, source)
    imq = Contender("imq copy, one statement", (), environment=bench.environment(), is_required=True)
    skopeo = Contender("skopeo copy, each", (), is_required=True)
    with contextlib.ExitStack() as stack:
        for contender in (imq, skopeo):
            contender.before = stack.enter_context(_Round(bench, contender, names))
        measured = interleave([imq, skopeo], bench.rounds)
    bench.note("copy", [imq, skopeo])
    figures = [] if skopeo not in measured else [ratio(imq.name, imq, skopeo, COPY_TARGET)]
    figures += [milliseconds(one.name, one) for one in measured]
    remove_folder(folder)
    size = LAYER_BYTES * (SHARED_LAYERS + IMAGES) / 1e6
    return f"{IMAGES} images, {size:.0f} MB: {SHARED_LAYERS} shared layers, and one for each image", figures


class _Round:
    """Starts an empty registry for each run of a contender, since skopeo caches which blobs a registry has."""

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
        self._stack.callback(remove_folder, folder)  # after the registry has stopped
        target = self._stack.enter_context(registry(folder))
        if self._contender.environment:
            self._contender.command = [self._bench.imq(), f"copy {', '.join(self._names)} to {target}/"]
            return
        copy = f"{find_program('skopeo')} copy --quiet --src-tls-verify=false --dest-tls-verify=false"
        copies = [f"{copy} docker://{name} docker://{target}/{name.partition('/')[2]}" for name in self._names]
        self._contender.command = ["sh", "-c", " && ".join(copies)]


def push_images(folder: str, host: str) -> list[str]:
    """Push the images to different repositories; return their names."""
    layout = os.path.join(folder, "layout")
    os.makedirs(os.path.join(layout, "blobs", "sha256"))
    shared = [_write_layer(layout) for _ in range(SHARED_LAYERS)]
    entries = []
    for number in range(IMAGES):
        image = write_image(layout, [*shared, _write_layer(layout)], created="2024-01-01T00:00:00Z")
        entries.append({**image, "annotations": {REF_NAME: str(number)}})
    write_index(layout, entries)
    names = [f"{host}/bench/shared{number}:1" for number in range(IMAGES)]
    for number, name in enumerate(names):
        output_of(
            ["skopeo", "copy", "--quiet", "--dest-tls-verify=false", f"oci:{layout}:{number}", f"docker://{name}"]
        )
    return names


def _write_layer(layout: str) -> dict[str, Any]:
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


def pull_again(bench: Bench) -> tuple[str, list[Figure]]:
    """Pull an image that is in the store repeatedly in one session, without the start of the process."""
    folder = os.path.join(bench.scratch, "again")
    (name, *_) = push_images(os.path.join(bench.scratch, "again-images"), bench.registry())
    store = os.path.join(folder, "store")
    output_of([bench.imq(), "--root", store, f"pull {name}"], bench.environment())
    contenders = [
        Contender(
            f"imq, {count} pulls",
            [bench.imq(), "--root", store, "; ".join([f"pull {name}"] * count)],
            environment=bench.environment(),
            is_required=True,
        )
        for count in (1, 1 + PULLS)
    ]
    measured = interleave(contenders, bench.rounds)
    bench.note("again", contenders)
    if len(measured) < len(contenders):
        return "no figures", []
    one, many = (contender.seconds for contender in measured)
    values = tuple((b - a) / PULLS * 1e3 for a, b in zip(one, many, strict=True))
    median = (statistics.median(many) - statistics.median(one)) / PULLS * 1e3
    single, repeated = (statistics.median(contender.cpu_seconds) for contender in measured)
    cpu = (repeated - single) / PULLS * 1e3
    return "an image of 4 layers, all in the store", [Figure("a pull", "ms", values, median, AGAIN_TARGET, cpu)]
