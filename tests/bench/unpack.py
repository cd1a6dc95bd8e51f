"""Unpacking of an image to a folder: imq and umoci."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from measure import BenchmarkError, Contender, Figure, interleave, milliseconds, output_of, peak, ratio
from pull_images import provide

if TYPE_CHECKING:
    from harness import Bench

TARGET = 0.5
MEMORY_TARGET = 120


def unpack(bench: Bench) -> tuple[str, list[Figure]]:
    """Unpack the two-layer image into new folders; return a description and the figures."""
    image = provide("two", bench.registry(), bench.cache)
    store, folder = os.path.join(bench.scratch, "store"), os.path.join(bench.scratch, "rootfs")
    output_of(
        ["skopeo", "copy", "--quiet", "--src-tls-verify=false", f"docker://{image.reference}", f"oci:{store}:bench:1"]
    )
    output_of([bench.imq(), "--root", store, "reindex"], bench.environment())
    imq = _make_contender(folder, "imq export", [bench.imq(), "--root", store, 'export bench:1 to "FOLDER"'])
    imq.environment = bench.environment()
    rootless = ["--rootless"] if os.geteuid() != 0 else []
    words = ["unpack", *rootless, "--image", f"{store}:bench:1", "FOLDER"]
    umoci = _make_contender(folder, "umoci unpack", ["umoci", *words])
    raw = _make_contender(folder, "umoci raw unpack", ["umoci", "raw", *words])
    imq.is_required = umoci.is_required = True
    measured = interleave([imq, umoci, raw], bench.rounds)
    bench.note("unpack", [imq, umoci, raw])
    figures = []
    if imq in measured and umoci in measured:
        figures += [ratio(imq.name, imq, umoci, TARGET)]
        figures += [ratio(imq.name, imq, raw)] if raw in measured else []
        figures += [peak(f"{imq.name}: memory", imq, MEMORY_TARGET), peak(f"{umoci.name}: memory", umoci)]
        figures += [milliseconds(one.name, one) for one in measured]
    return f"{image.size / 1e6:.1f} MB in {image.layers} layers, of an image layout", figures


def _make_contender(folder: str, name: str, command: list[str]) -> Contender:
    """Return a contender that writes to a new folder in each run, the word FOLDER of its command, which is checked.

    The folders are removed only at the end. ext4 does not reuse inodes of recently removed files, and searches past
    them for each new file: with removals in between, that search would be measured.
    """
    number, target = 0, ""
    contender = Contender(name, command)

    def before() -> None:
        nonlocal number, target
        number += 1
        target = f"{folder}-{name.replace(' ', '-')}-{number}"
        contender.command = [word.replace("FOLDER", target) for word in command]

    contender.before, contender.check = before, lambda: _check_files(name, target)
    return contender


def _check_files(name: str, folder: str) -> None:
    """Check some files of the root file system. umoci writes a bundle with the folder rootfs."""
    inner = os.path.join(folder, "rootfs")
    root = inner if os.path.exists(os.path.join(folder, "config.json")) else folder
    for path in ("etc/debian_version", "usr/bin/perl", "usr/bin/python3"):
        if not os.path.lexists(os.path.join(root, path)):
            raise BenchmarkError(f"{name} did not write {path}")
