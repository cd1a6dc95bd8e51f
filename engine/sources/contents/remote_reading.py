"""Reads contents of files on workers: each layer once, whatever images have it. Only what is needed comes back."""

from __future__ import annotations

import os

from imq.grammar.errors import ImqError
from imq.grammar.record import TYPE_CHECKING

from .protocol import NO_LOCATION, RESULT_TOO_LARGE, LayerTask, iterate_places

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from typing import Any

    from imq.engine.layer_index.contents import StoredContent
    from imq.engine.oci.digest import Digest
    from imq.engine.sources.context import SourceContext

    from .protocol import ImageLayers, LayerContents, LayerWorkers

    Unread = dict[tuple[int, Digest], list[tuple[int, str, StoredContent]]]
    """Contents by the number of the image and the layer: each has a row, a path and a place in the layer."""


class RemoteReading:
    """The contents of the rows of one scan, for tasks of one kind: `read` or `search`.

    `describe` returns what a task needs of the contents of rows. `errors` are those of layers that workers cannot read.
    """

    def __init__(
        self,
        contents: LayerContents,
        images: Sequence[ImageLayers],
        kind: str,
        describe: Callable[[Iterable[int]], Mapping[str, Any]],
    ) -> None:
        self._contents = contents
        self._images = images
        self._kind = kind
        self._describe = describe
        self.errors: dict[tuple[int, Digest], ImqError] = {}

    def read(
        self, workers: LayerWorkers, context: SourceContext, unread: Unread
    ) -> Iterator[tuple[Digest, Mapping[str, Any]]]:
        """Yield each layer with the result of its task. Those that workers read are removed from `unread`.

        Layers that they cannot reach stay in `unread`, and so do those with results that are too large to be sent.
        """
        images = [self._images[number] for number in dict.fromkeys(number for number, _ in unread)]
        needed = {diff_id for number, diff_id in unread if diff_id in self._images[number].diff_ids}
        places = dict(iterate_places(self._contents.plan_reads(images, needed)))
        by_layer: dict[Digest, list[tuple[int, Digest]]] = {}
        for key in unread:
            if key[1] in places:
                by_layer.setdefault(key[1], []).append(key)

        def make_tasks() -> Iterator[LayerTask]:
            for diff_id, keys in by_layer.items():
                places_of_rows = [
                    [row, content.offset, content.stored_size, content.size, content.details]
                    for key in keys
                    for row, _, content in unread[key]
                ]
                body = self._describe(row for key in keys for row, _, _ in unread[key])
                yield LayerTask(self._kind, diff_id, places[diff_id], {**body, "contents": places_of_rows})

        total = sum(places[diff_id].descriptor.size for diff_id in by_layer)
        done = 0
        try:
            for task, result in workers.run(make_tasks(), os.curdir):
                done += task.place.descriptor.size
                context.progress.report_bytes("read", done, max(total, done))
                keys = by_layer[task.diff_id]
                if isinstance(result, ImqError):
                    if result.code not in (NO_LOCATION, RESULT_TOO_LARGE):
                        self.errors |= dict.fromkeys(keys, result)
                        for key in keys:
                            del unread[key]
                    continue
                yield task.diff_id, result.document
                for key in keys:
                    del unread[key]
        finally:
            context.progress.stop()
