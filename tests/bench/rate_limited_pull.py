"""Pulling one large layer through a proxy that gives each connection only so much, as registries on the Internet do."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from measure import Contender, Figure, interleave, milliseconds, peak, ratio
from pull import into
from pull_images import single
from registry_server import TESTS

if TYPE_CHECKING:
    from harness import Bench

SPEED = 16_000_000
"""Bytes a second for each connection."""
TARGET = 0.5
MEMORY_TARGET = 120


def limited(bench: Bench) -> tuple[str, list[Figure]]:
    """Pull the layer over as many connections as imq likes, over one, and with skopeo; return the figures."""
    sys.path.append(TESTS)
    from registry.support.fault_proxy import Fault, FaultProxy, limit_speed

    image = single("eight", bench.registry(), bench.cache)
    host, _, rest = image.reference.partition("/")
    folder = os.path.join(bench.scratch, "pull")
    with FaultProxy(host, Fault("GET .*/blobs/", change=limit_speed(SPEED))) as between:
        reference = f"{between.host}/{rest}"
        several = _imq(bench, folder, "imq pull, lazy", f"set verify = lazy; pull {reference}")
        alone = _imq(bench, folder, "the same with jobs = 1", f"set verify = lazy; set jobs = 1; pull {reference}")
        theirs = Contender("skopeo copy", [
            "skopeo", "copy", "--quiet", "--src-tls-verify=false", f"docker://{reference}", f"oci:{folder}:1",
        ])  # fmt: skip
        contenders = [into(folder, image, one) for one in (several, alone, theirs)]
        several.needed = theirs.needed = True
        measured = interleave(contenders, bench.rounds)
    bench.note("limited", contenders)
    figures = []
    if several in measured and theirs in measured:
        figures += [ratio(several.name, several, theirs, TARGET)]
        figures += [ratio(several.name, several, alone)] if alone in measured else []
        figures += [peak(f"{several.name}: memory", several, MEMORY_TARGET)]
        figures += [milliseconds(one.name, one) for one in measured]
    return f"{image.size / 1e6:.1f} MB in one layer, {SPEED / 1e6:g} MB a second for each connection", figures


def _imq(bench: Bench, folder: str, name: str, statement: str) -> Contender:
    contender = Contender(name, [bench.imq(), "--root", folder, statement])
    contender.environment = bench.environment()
    return contender
