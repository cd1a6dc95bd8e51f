"""Pulls of one large layer through a proxy that limits the speed of each connection, as some registries do."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from measure import Contender, Figure, interleave, milliseconds, peak, ratio
from pull import set_target
from pull_images import provide_first_layer
from registry_server import TESTS

if TYPE_CHECKING:
    from harness import Bench

SPEED = 16_000_000
"""Bytes per second of each connection."""
TARGET = 0.5
MEMORY_TARGET = 120


def rate_limited_pull(bench: Bench) -> tuple[str, list[Figure]]:
    """Pull the layer over several connections, over one, and with skopeo; return a description and the figures."""
    sys.path.append(TESTS)
    from registry.support.fault_proxy import Fault, FaultProxy, limit_speed

    image = provide_first_layer("eight", bench.registry(), bench.cache)
    host, _, rest = image.reference.partition("/")
    folder = os.path.join(bench.scratch, "pull")
    with FaultProxy(host, Fault("GET .*/blobs/", change=limit_speed(SPEED))) as proxy:
        reference = f"{proxy.host}/{rest}"
        several = _imq(bench, folder, "imq pull, lazy", f"set verify = lazy; pull {reference}")
        one_connection = _imq(
            bench, folder, "the same with jobs = 1", f"set verify = lazy; set jobs = 1; pull {reference}"
        )
        skopeo = Contender("skopeo copy", [
            "skopeo", "copy", "--quiet", "--src-tls-verify=false", f"docker://{reference}", f"oci:{folder}:1",
        ])  # fmt: skip
        contenders = [set_target(folder, image, one) for one in (several, one_connection, skopeo)]
        several.is_required = skopeo.is_required = True
        measured = interleave(contenders, bench.rounds)
    bench.note("limited", contenders)
    figures = []
    if several in measured and skopeo in measured:
        figures += [ratio(several.name, several, skopeo, TARGET)]
        figures += [ratio(several.name, several, one_connection)] if one_connection in measured else []
        figures += [peak(f"{several.name}: memory", several, MEMORY_TARGET)]
        figures += [milliseconds(one.name, one) for one in measured]
    return f"{image.size / 1e6:.1f} MB in one layer, {SPEED / 1e6:g} MB a second for each connection", figures


def _imq(bench: Bench, folder: str, name: str, statement: str) -> Contender:
    contender = Contender(name, [bench.imq(), "--root", folder, statement])
    contender.environment = bench.environment()
    return contender
