"""Pulling one image from a loopback registry: imq against skopeo, and whatever else is at hand."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

from daemons import daemon_pulls
from harness import empty
from measure import CannotRunError, Contender, Figure, interleave, milliseconds, peak, ratio
from pull_images import provide

if TYPE_CHECKING:
    from harness import Bench
    from pull_images import Image

FULL_TARGET = 1.0
LAZY_TARGET = 0.4
MEMORY_TARGET = 120


def pull(bench: Bench, name: str) -> tuple[str, list[Figure]]:
    """Pull the image into stores that are new each time; return what was pulled and the figures."""
    image = provide(name, bench.registry(), bench.cache)
    folder = os.path.join(bench.scratch, "pull")
    full = _imq(bench, image, folder, "imq pull", "pull")
    lazy = _imq(bench, image, folder, "imq pull, lazy", "set verify = lazy; pull")
    skopeo = into(folder, image, Contender("skopeo copy", [
        "skopeo", "copy", "--quiet", "--src-tls-verify=false", f"docker://{image.reference}", f"oci:{folder}:1",
    ]))  # fmt: skip
    skopeo.needed = full.needed = lazy.needed = True
    beside = _others(folder, image)
    with daemon_pulls(bench, image) as daemons:
        beside += daemons
        measured = interleave([full, skopeo, lazy, *beside], bench.rounds)
    bench.note(f"pull {name}", [full, skopeo, lazy, *beside])
    figures = []
    if skopeo in measured:
        targets = {full.name: FULL_TARGET, lazy.name: LAZY_TARGET}
        figures += [ratio(one.name, one, skopeo, targets.get(one.name)) for one in measured if one is not skopeo]
    figures += [peak(f"{one.name}: memory", one, MEMORY_TARGET) for one in (full, lazy) if one in measured]
    if skopeo in measured:
        figures += [peak("skopeo copy: memory", skopeo), milliseconds("skopeo copy", skopeo)]
    about = f"{image.size / 1e6:.1f} MB in {image.layers} layers, loopback docker-registry"
    return about, figures


def _imq(bench: Bench, image: Image, folder: str, name: str, statement: str) -> Contender:
    contender = Contender(name, [bench.imq(), "--root", folder, f"{statement} {image.reference}"])
    contender.environment = bench.environment()
    return into(folder, image, contender)


def into(folder: str, image: Image, contender: Contender) -> Contender:
    """Let a contender fill an image layout in `folder`: not there before, checked and removed after."""
    contender.before = contender.after = lambda: empty(folder)
    contender.check = lambda: _complete(contender.name, folder, image)
    return contender


def _complete(name: str, folder: str, image: Image) -> None:
    """Hold that every blob has come: who is fast because it fetched less has no figure."""
    for digest, size in image.blobs:
        path = os.path.join(folder, "blobs", *digest.split(":"))
        if not os.path.exists(path) or os.path.getsize(path) != size:
            raise CannotRunError(f"{name} has left no whole blob {digest}")


def _others(folder: str, image: Image) -> list[Contender]:
    """Return what is shown beside: bytes that are fetched and not hashed (a physical limit), and other clients."""
    urls = [word for place, url in enumerate(image.urls()) for word in ("-o", f"{folder}/{place}", url)]
    curl = ["curl", "--silent", "--fail", "--parallel", "--parallel-max", "6", *urls]
    found = [Contender("curl, no hashing", curl, lambda: _new(folder), after=lambda: empty(folder))]
    if shutil.which("crane"):
        command = ["crane", "pull", "--insecure", "--format=oci", image.reference, folder]
        found.append(into(folder, image, Contender("crane pull", command)))
    if shutil.which("regctl"):
        host = image.reference.partition("/")[0]
        command = ["regctl", "image", "copy", "--host", f"reg={host},tls=disabled", image.reference]
        copying = Contender("regctl image copy", [*command, f"ocidir://{folder}:1"])
        found.append(into(folder, image, copying))
    return found


def _new(folder: str) -> None:
    empty(folder)
    os.makedirs(folder)
