"""Checks layers on workers for `verify`: each blob once, whatever images have it. Only its measures come back."""

from __future__ import annotations

import os

from imq.engine.progress import make_byte_counter
from imq.engine.units.urls import make_file_url
from imq.grammar.errors import ImqError
from imq.grammar.record import TYPE_CHECKING, Record

from .protocol import OUT_OF_MEMORY, WORKER_CRASHED, LayerPlace, LayerTask

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

    from imq.engine.oci.digest import Digest
    from imq.engine.oci.manifest import Descriptor
    from imq.engine.progress import Progress

    from .protocol import LayerWorkers


class BlobCheck(Record):
    """A layer to check: its blob, in the file at `path`, and the diff ID that its config says."""

    descriptor: Descriptor
    diff_id: Digest
    path: str


def check_blobs(
    workers: LayerWorkers, checks: Sequence[BlobCheck], progress: Progress
) -> Iterator[tuple[BlobCheck, Mapping[str, Any] | ImqError]]:
    """Yield the layers that are intact, with their measures, and those that ended their workers, with the error.

    The measures are `size`, `tarSize` and `entries`, as of `LayerSummary`. Other layers are left out: this process
    reads them, and finds what is wrong with them. So does it with a layer of which a worker has read another file: on
    its host the path may lead to another disk.
    """
    places = {one: LayerPlace(one.descriptor, (make_file_url(one.path),)) for one in dict.fromkeys(checks)}
    of_tasks = {(place.locations, one.diff_id): one for one, place in places.items()}
    report = make_byte_counter(progress, "verify", sum(one.descriptor.size for one in places))

    def make_tasks() -> Iterator[LayerTask]:
        for one, place in places.items():
            yield LayerTask("verify", one.diff_id, place)

    try:
        for task, result in workers.run(make_tasks(), os.curdir):
            report(task.place.descriptor.size)
            check = of_tasks[task.place.locations, task.diff_id]
            if not isinstance(result, ImqError):
                if result.document["file"] in (None, identify_file(check.path)):
                    yield check, result.document
            elif result.code in {WORKER_CRASHED, OUT_OF_MEMORY}:
                yield check, result
    finally:
        progress.stop()


def identify_file(path: str) -> list[int]:
    """Return what tells a file from others of its path, on all hosts that share it; [] for one that has gone."""
    try:
        status = os.stat(path)
    except OSError:
        return []
    return [status.st_ino, status.st_size, status.st_mtime_ns]
