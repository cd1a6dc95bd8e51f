"""Unpacking an image of the store to a folder: imq against umoci."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from harness import empty
from measure import CannotRunError, Contender, Figure, interleave, milliseconds, peak, ratio, said_by
from pull_images import provide

if TYPE_CHECKING:
    from harness import Bench

TARGET = 0.5
MEMORY_TARGET = 120


def unpack(bench: Bench) -> tuple[str, list[Figure]]:
    """Unpack the two-layer image into folders that are new each time; return what was unpacked and the figures."""
    image = provide("two", bench.registry(), bench.cache)
    store, folder = os.path.join(bench.scratch, "store"), os.path.join(bench.scratch, "rootfs")
    said_by(
        ["skopeo", "copy", "--quiet", "--src-tls-verify=false", f"docker://{image.reference}", f"oci:{store}:bench:1"]
    )
    said_by([bench.imq(), "--root", store, "reindex"], bench.environment())
    ours = _into(folder, "imq export", [bench.imq(), "--root", store, f'export bench:1 to "{folder}"'])
    ours.environment = bench.environment()
    theirs = _into(folder, "umoci unpack", ["umoci", "unpack", "--image", f"{store}:bench:1", folder])
    raw = _into(folder, "umoci raw unpack", ["umoci", "raw", "unpack", "--image", f"{store}:bench:1", folder])
    if os.geteuid() != 0:
        for one in (theirs, raw):
            one.command = [*one.command[:-3], "--rootless", *one.command[-3:]]
    ours.needed = theirs.needed = True
    measured = interleave([ours, theirs, raw], bench.rounds)
    bench.note("unpack", [ours, theirs, raw])
    figures = []
    if ours in measured and theirs in measured:
        figures += [ratio(ours.name, ours, theirs, TARGET)]
        figures += [ratio(ours.name, ours, raw)] if raw in measured else []
        figures += [peak(f"{ours.name}: memory", ours, MEMORY_TARGET), peak(f"{theirs.name}: memory", theirs)]
        figures += [milliseconds(one.name, one) for one in measured]
    return f"{image.size / 1e6:.1f} MB in {image.layers} layers, of an image layout", figures


def _into(folder: str, name: str, command: list[str]) -> Contender:
    """Return a contender that fills `folder`: not there before, checked and removed after."""
    return Contender(
        name, command, before=lambda: empty(folder), check=lambda: _complete(name, folder), after=lambda: empty(folder)
    )


def _complete(name: str, folder: str) -> None:
    """Hold that there is a whole Debian: umoci makes a bundle, in which it is the folder rootfs."""
    inner = os.path.join(folder, "rootfs")
    root = inner if os.path.exists(os.path.join(folder, "config.json")) else folder
    for path in ("etc/debian_version", "usr/bin/perl", "usr/bin/python3"):
        if not os.path.lexists(os.path.join(root, path)):
            raise CannotRunError(f"{name} has left no {path}")
