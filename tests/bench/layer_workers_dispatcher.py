"""Hands out descriptors to workers that return at once: python layer_workers_dispatcher.py NUMBER. Prints JSON.

The descriptors are those that reads of a registry have, in 1,000 repositories, and each layer is read once.
"""
# ruff: noqa: ARG002 - the methods of a backend

from __future__ import annotations

import json
import sys
import time
from collections import deque
from typing import TYPE_CHECKING, Any

from imq.engine.oci.digest import Digest
from imq.engine.oci.manifest import Descriptor
from imq.engine.progress import NullProgress
from imq.engine.registry.settings import Settings
from imq.engine.sources.contents.protocol import LayerPlace, LayerRead, LayerTask, iterate_places
from imq.engine.workers.dispatcher import Event
from imq.engine.workers.workers import Workers

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping


class Echo:
    """64 workers that return a small result at once."""

    slots = depth = 64

    def __init__(self) -> None:
        self._done: deque[Event] = deque()

    def submit(self, number: int, document: Mapping[str, Any], avoid: frozenset[str]) -> None:
        self._done.append(Event(number, {"scanned": True}, b"x" * 100, worker="w"))

    def wait(self, timeout: float) -> list[Event]:
        done = list(self._done)
        self._done.clear()
        return done

    def find_workers(self, numbers: Iterable[int]) -> dict[int, str]:
        return {}

    def cancel(self, numbers: Iterable[int]) -> None:
        pass


def list_reads(number: int) -> Iterator[LayerRead]:
    for at in range(number):
        digest = Digest(f"sha256:{at:064x}")
        place = LayerPlace(
            Descriptor("application/vnd.oci.image.layer.v1.tar+gzip", digest, 5_000_000), LOCATIONS[at % 1000]
        )
        yield LayerRead((digest,), 5_000_000, print, place)  # type: ignore[arg-type] # never run


LOCATIONS = [(f"docker://registry-{at % 10}.example:5000/team/app-{at}",) for at in range(1000)]


def main() -> None:
    number = int(sys.argv[1])
    workers = Workers("64", Settings(), {}, NullProgress())
    workers.host_limit = 64
    workers._backend = Echo()  # type: ignore[assignment]
    before = time.process_time()
    tasks = (LayerTask("scan", diff_id, place) for diff_id, place in iterate_places(list_reads(number)))
    done = sum(1 for _ in workers.run(tasks, "."))
    assert done == number
    seconds = time.process_time() - before
    print(json.dumps({"ms": seconds / number * 1e3, "mb": read_peak() / 1e6}))


def read_peak() -> int:
    """Return the peak memory of this process in bytes: that of getrusage has the parent's before exec."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM:")) * 1024


if __name__ == "__main__":
    main()
