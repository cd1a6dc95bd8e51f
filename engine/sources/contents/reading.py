"""Reads the contents of files of images for the fields `sha256` and `content`."""

from __future__ import annotations

import json
from functools import partial

from imq.engine.layer_index.contents import HashSink, TextSink, end_content, read_contents
from imq.grammar.errors import DigestMismatch, ImqError, Interrupted, Malformed
from imq.grammar.record import TYPE_CHECKING

from .content_search import SearchSink
from .indexer import check_diff_id, missing_layer_error, name_layer
from .protocol import RangesIgnored

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
    from typing import Any, Protocol, Self

    from imq.engine.layer_index.contents import ContentSink, StoredContent
    from imq.engine.layers.table_of_contents import Chunk
    from imq.engine.oci.digest import Digest
    from imq.engine.progress import Progress
    from imq.engine.query.searches import Search

    from .protocol import Chunks, ImageLayers, LayerContents, LayerTable, ReadLayer

    class RowSinks(Protocol):
        """Opens the sinks for the contents of rows."""

        def open_sinks(self, row: int, /) -> Iterable[ContentSink]:
            """Return the sinks for the content of a row, empty ones, however often it is called."""


_REPORT_STEP = 1 << 20
"""Bytes between two reports of progress."""
MAX_TEXT = 16 << 20
"""The largest content in bytes that `content` shows. Searches have no limit."""


class ContentFields:
    """The values of fields of the contents of rows, for the fields of these `names`.

    `checksums` are those that packages have for rows, such as `md5:HEX`: the field `modified` compares them.
    `searches` are those in the contents, which the rows `searched` need no more.
    """

    def __init__(
        self,
        names: frozenset[str],
        checksums: Mapping[int, str] | None = None,
        searches: frozenset[Search] = frozenset(),
        searched: Container[int] = (),
    ) -> None:
        self._names = names
        self._checksums = checksums or {}
        self._searches = searches
        self._searched = searched
        self._sinks: dict[int, tuple[HashSink | None, TextSink | None, HashSink | None, SearchSink | None]] = {}

    def open_sinks(self, row: int) -> Iterator[ContentSink]:
        """Yield the sinks for the content of a row."""
        digest = HashSink() if "sha256" in self._names else None
        text = TextSink(MAX_TEXT) if "content" in self._names else None
        checksum = self._checksums.get(row)
        own = HashSink(checksum.partition(":")[0]) if checksum is not None else None
        found = SearchSink(self._searches) if self._searches and row not in self._searched else None
        self._sinks[row] = digest, text, own, found
        yield from (sink for sink in (digest, text, own, found) if sink is not None)

    def describe(self, rows: Iterable[int]) -> dict[str, Any]:
        """Return what is needed of the contents of rows, as JSON: for a `ContentFields` of another process."""
        rows = list(rows)
        return {
            "fields": sorted(self._names),
            "checksums": {str(row): self._checksums[row] for row in rows if row in self._checksums},
            "searches": [one.describe() for one in self._searches],
            "searched": [row for row in rows if row in self._searched],
        }

    def discard(self, rows: Iterable[int]) -> None:
        """Forget the contents of rows: their layer is not what it should be."""
        for row in rows:
            self._sinks.pop(row, None)

    def take_rows(self) -> Iterator[tuple[str | None, str | None, bool | None, str | None, int]]:
        """Yield the digest and the text of each row, whether it differs from its checksum, its results, and its key.

        The results of the searches are a JSON object by their keys.
        """
        for row, (digest, text, own, found) in self._sinks.items():
            yield (
                digest.get_digest() if digest else None,
                text.get_text() if text else None,
                own.get_digest() != self._checksums[row] if own else None,
                json.dumps({key: int(result) for key, result in found.get_results().items()}) if found else None,
                row,
            )


class ReadProgress:
    """Reports how much of `total` bytes of decompressed layers is read; the reads are in its `with` block."""

    def __init__(self, progress: Progress, total: int) -> None:
        self._progress = progress
        self._total = total
        self._done = self._reported = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def count(self, size: int) -> None:
        """Report that so many more bytes are read. A layer that is read again, in another place, counts again."""
        self._done += size
        if self._done - self._reported >= _REPORT_STEP:
            self._reported = self._done
            self._progress.report_bytes("read", self._done, max(self._total, self._done))


def read_shared_contents(
    source: LayerContents,
    images: Iterable[ImageLayers],
    layer: Digest,
    contents: Sequence[tuple[int, str, StoredContent]],
    values: RowSinks,
    progress: ReadProgress,
) -> None:
    """Read contents of one layer of several images, in the first place of the layer where it can be read.

    Raises the error of the first place; see `read_contents_of`.
    """
    images = list(images)
    for image in images:
        if image.find_table(layer) is not None:
            read_contents_of(source, image, layer, contents, values)
            return
    problem: ImqError | None = None
    for planned in source.plan_reads(images, {layer}):
        try:
            _read_whole(partial(planned.run, (layer,)), layer, contents, values, progress.count)
        except Interrupted:
            raise
        except ImqError as error:
            problem = problem or error
        else:
            return
    raise problem or missing_layer_error(layer)


def read_contents_of(
    source: LayerContents,
    image: ImageLayers,
    layer: Digest,
    contents: Sequence[tuple[int, str, StoredContent]],
    values: RowSinks,
) -> None:
    """Read contents of one layer of an image, each for a row, with its path. `layer` is its name in the index.

    Raises `ImqError`; the values are not used then.
    """
    table = image.find_table(layer)
    if table is not None:
        diff_id = next(diff_id for diff_id, own in image.tables.items() if own.digest == layer)
        try:
            if _read_chunks(table, contents, values):
                return
        except (Malformed, DigestMismatch) as error:
            raise type(error)(f"the layer {diff_id}: {error.message}", code=error.code, hints=error.hints) from None
        raise Malformed(f"the layer {diff_id} cannot be read in parts", code="table-of-contents")
    _read_whole(partial(source.read_layers, image, (layer,)), layer, contents, values)


def _read_whole(
    run: Callable[[ReadLayer], None],
    layer: Digest,
    contents: Sequence[tuple[int, str, StoredContent]],
    values: RowSinks,
    report: Callable[[int], object] = lambda _size: None,
) -> None:
    """Read contents of a layer in one pass over it. `run` passes the bytes of layers to a function."""

    def read(diff_id: Digest | None, chunks: Chunks) -> Digest | None:
        if diff_id not in (layer, None) or layer in found:
            return None
        sinks = [(content, sink) for row, _, content in contents for sink in values.open_sinks(row)]
        offset = 0

        def count() -> Iterator[bytes | memoryview]:
            nonlocal offset
            for chunk in chunks:
                offset += len(chunk)
                yield chunk

        try:
            actual = read_contents(count(), sinks, algorithm=layer.algorithm, report=report)
        except Malformed as error:
            if diff_id is None:
                return None  # no layer, or another one
            raise name_layer(error, layer, offset) from None
        check_diff_id(actual, diff_id)
        found.add(actual)
        return actual

    found: set[Digest] = set()
    run(read)
    if layer not in found:
        raise missing_layer_error(layer)


def _read_chunks(table: LayerTable, contents: Sequence[tuple[int, str, StoredContent]], values: RowSinks) -> bool:
    """Read contents by the table of contents of their layer; return False when the layer cannot be read in parts."""
    from collections import Counter

    from imq.engine.layers.table_of_contents import MergedRanges, read_table

    try:
        listed = read_table(table.location, table.read)
        if listed is None:
            return False
        parts: list[tuple[int, Chunk, str, tuple[ContentSink, ...]]] = []
        for row, path, _ in contents:
            sinks, place = tuple(values.open_sinks(row)), 0
            for chunk in listed.list_chunks(path):
                place = max(place, chunk.start)  # the parts of a file stay in order
                parts.append((place, chunk, path, sinks))
        ranges = MergedRanges(table.read, ((chunk.start, chunk.end) for _, chunk, _, _ in parts if chunk.digest))
        left = Counter(id(sinks) for *_, sinks in parts)
        for _, chunk, path, sinks in sorted(parts, key=lambda part: part[0]):
            for piece in listed.read_chunk(path, chunk, ranges.read):
                for sink in sinks:
                    sink.write(piece)
            left[id(sinks)] -= 1
            if not left[id(sinks)]:
                for sink in sinks:
                    end_content(sink)
    except RangesIgnored:
        return False
    return True
