"""Brings layers into the index of files: those that a statement needs and the index does not have.

Layers are scanned in threads, into databases of their own, which this thread adds to the index. Decompression and
hashing release the interpreter lock.
"""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from functools import partial

from imq.engine.oci.digest import Digest
from imq.engine.store.file_index import open_file_index
from imq.grammar.errors import DigestMismatch, ImqError, Interrupted, Malformed, NotFound
from imq.grammar.record import TYPE_CHECKING

from .protocol import NO_LOCATION, LayerTask, RangesIgnored, iterate_places

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from typing import Any, Self

    from imq.engine.layer_index.index import FileIndex
    from imq.engine.layer_index.scan_adder import ScanAdder
    from imq.engine.sources.context import SourceContext

    from .protocol import Chunks, ImageLayers, LayerContents, LayerRead, LayerResult, LayerTable, LayerWorkers

MIN_PARTS = 100
"""The least number of missing layers of which workers return parts: fewer indexes are read from the cache."""
_REPORT_STEP = 1 << 20
"""Bytes between two reports of progress."""


class LayerIndexer:
    """Scans layers into the index of files of a session."""

    def __init__(self, context: SourceContext) -> None:
        self._context = context
        self.index: FileIndex = open_file_index(context.store)
        self.parts: dict[Digest, Digest] = {}
        """The diff IDs of layers of which the index has a part, by the names of the parts."""
        self._errors: dict[Digest, ImqError] = {}

    def prepare(self, contents: LayerContents, images: Sequence[ImageLayers]) -> dict[int, ImqError]:
        """Scan the layers that the index lacks; return the errors of images that cannot be read, by position."""
        failed = {position: image.problem for position, image in enumerate(images) if image.problem is not None}
        known = [image for image in images if image.problem is None]
        missing = set(self.index.list_missing(key for image in known for key in image.indexed))
        if not missing:
            return failed
        tried = {diff_id: self._errors[diff_id] for diff_id in missing if diff_id in self._errors}
        missing -= tried.keys()
        self._read_cache(missing)
        errors = tried | self._scan_layers(contents, known, missing)
        missing |= tried.keys()
        for position, image in enumerate(images):
            lost = next((key for key in image.indexed if key in missing), None)
            if lost is not None and position not in failed:
                failed[position] = errors.get(lost) or missing_layer_error(lost)
        return failed

    def _read_cache(self, missing: set[Digest]) -> None:
        """Add the layers that the shared cache has, which are removed from `missing`."""
        cache = self._context.index_cache
        if cache is None:
            return
        from imq.engine.progress import make_item_counter

        diff_ids = sorted(missing)
        report = make_item_counter(self._context.progress, "index cache", len(diff_ids))
        with self._open_scans() as scans:
            for diff_id, packed in cache.get_all(diff_ids):
                try:
                    scans.add_packed(packed, diff_id)
                except Malformed as error:  # it is scanned instead
                    self._context.progress.warn(f"{error.message}; it is scanned again")
                else:
                    missing.discard(diff_id)
                report(diff_id)
        self._context.progress.stop()

    def list_by_tables(self, images: Sequence[ImageLayers]) -> list[ImageLayers]:
        """List layers that the index lacks by their tables of contents, where they have one.

        Returns the images with the keys of their layers. An image with a table that is not right has a problem.
        """
        unknown = set(self.index.list_missing(diff_id for image in images for diff_id in image.tables))
        tables = {
            table.digest: table for image in images for diff_id, table in image.tables.items() if diff_id in unknown
        }
        if not tables:
            return list(images)
        missing = set(self.index.list_missing(tables))
        errors = self._scan_tables([tables[digest] for digest in missing], missing)
        return [self._choose_keys(image, unknown, missing, errors) for image in images]

    @staticmethod
    def _choose_keys(
        image: ImageLayers, unknown: set[Digest], missing: set[Digest], errors: dict[Digest, ImqError]
    ) -> ImageLayers:
        keys = []
        for diff_id in image.diff_ids:
            table = image.tables.get(diff_id) if diff_id in unknown else None
            if table is not None and (error := errors.get(table.digest)) is not None:
                named = f"the layer {diff_id}: {error.message}"
                return image.replace(problem=type(error)(named, code=error.code, hints=error.hints))
            keys.append(diff_id if table is None or table.digest in missing else table.digest)
        return image.replace(keys=tuple(keys))

    def can_have_parts(self) -> bool:
        """Whether workers return parts of indexes: over a network, with a shared cache that gets the whole ones.

        Without the cache, the next statement would read the layers again.
        """
        workers = self._context.workers
        return workers is not None and workers.is_remote and self._context.index_cache is not None

    def prepare_parts(
        self, contents: LayerContents, images: Sequence[ImageLayers], selection: Mapping[str, Any]
    ) -> list[ImageLayers]:
        """Let workers return the parts of missing layers that a selection needs (see `PartSelection`).

        Returns the images with the names of these parts among their keys. That is done for many layers alone.
        """
        context = self._context
        workers = context.workers
        assert workers is not None, "it can have parts"
        known = [image for image in images if image.problem is None and not image.is_container]
        missing = self.index.list_missing(key for image in known for key in image.indexed if key in image.diff_ids)
        if len(missing) < MIN_PARTS:
            return list(images)
        from imq.engine.layer_index.index_part import make_part_key

        statement = os.urandom(16).hex()  # another one may drop its parts while this one reads its own
        names = {diff_id: make_part_key(diff_id, statement) for diff_id in missing}
        with self._open_scans() as scans:
            self._errors |= self._scan_on_workers(
                workers, contents, known, set(missing), scans, lambda one: {"part": {**selection, "key": names[one]}}
            )
        left = set(self.index.list_missing(names.values()))
        self.parts |= {name: diff_id for diff_id, name in names.items() if name not in left}
        found = {diff_id: name for name, diff_id in self.parts.items()}
        return [
            image if image.is_container else image.replace(keys=tuple(found.get(key, key) for key in image.indexed))
            for image in images
        ]

    def _scan_tables(self, tables: Sequence[LayerTable], missing: set[Digest]) -> dict[Digest, ImqError]:
        """Scan tables, which are removed from `missing` when the index has them; return errors by their digests."""
        errors: dict[Digest, ImqError] = {}
        if not tables:
            return errors
        from imq.engine.progress import make_item_counter
        from imq.engine.sources.side_by_side import iterate_side_by_side

        report = make_item_counter(self._context.progress, "list", len(tables))
        with self._open_scans() as scans:
            for table, result in iterate_side_by_side(tables, partial(_scan_table, scans.folder), self._context.jobs):
                if isinstance(result, ImqError):
                    errors[table.digest] = result
                elif result is None:
                    report(table)
                else:
                    scans.add(result)
                    missing.discard(table.digest)
        return errors

    def _scan_layers(
        self, contents: LayerContents, images: Sequence[ImageLayers], missing: set[Digest]
    ) -> dict[Digest, ImqError]:
        """Scan the `missing` layers, which are removed from the set when the index has them; return errors by layer."""
        errors: dict[Digest, ImqError] = {}
        if not missing:
            return errors
        with self._open_scans() as scans:
            workers = self._context.workers
            if workers is not None:
                errors = self._scan_on_workers(workers, contents, images, missing, scans)
            # a layer that a worker could not read for another reason has no better chance here
            left = missing - errors.keys()
            if left:
                reads = list(contents.plan_reads(images, left))
                with _ScanProgress(self._context, reads) as progress:
                    errors |= self._scan_here(reads, left, missing, scans, progress)
        return errors

    def _scan_here(
        self,
        reads: Sequence[LayerRead],
        left: set[Digest],
        missing: set[Digest],
        scans: _Scans,
        progress: _ScanProgress,
    ) -> dict[Digest, ImqError]:
        """Scan the layers `left` in threads; return errors by layer."""
        from imq.engine.sources.side_by_side import iterate_side_by_side

        errors: dict[Digest, ImqError] = {}
        tried: set[tuple[int, Digest]] = set()
        while chosen := _choose_scans(reads, left, tried, scans.folder, progress):
            for scan, result in iterate_side_by_side(chosen, _LayerScan.run, self._context.jobs):
                if isinstance(result, ImqError):
                    for diff_id in scan.diff_ids:
                        errors.setdefault(diff_id, result)
                elif result is not None:
                    diff_id, path = result
                    self._share(diff_id, path)
                    scans.add(path)
                    missing.discard(diff_id)
                    left.discard(diff_id)
        return errors

    def _share(self, diff_id: Digest, path: str) -> None:
        """Write the index of a layer that was scanned here to the shared cache."""
        cache = self._context.index_cache
        if cache is not None:
            from imq.engine.layer_index.packed_index import pack_index

            cache.put(diff_id, pack_index(path))

    def _scan_on_workers(
        self,
        workers: LayerWorkers,
        contents: LayerContents,
        images: Sequence[ImageLayers],
        missing: set[Digest],
        scans: _Scans,
        make_body: Callable[[Digest], Mapping[str, Any]] = lambda _: {},
    ) -> dict[Digest, ImqError]:
        """Scan the missing layers that workers can reach; return the errors of those that they cannot scan.

        `make_body` returns what else the task of a layer has.

        A layer whose files no worker has stays missing, without an error: this process may have it. The reads are
        planned while tasks run, so that a million of them take no memory.
        """
        from imq.engine.progress import make_byte_counter

        errors: dict[Digest, ImqError] = {}
        begun: set[Digest] = set()

        def make_tasks() -> Iterator[LayerTask]:
            for diff_id, place in iterate_places(contents.plan_reads(images, missing)):
                if diff_id in missing and diff_id not in begun:
                    begun.add(diff_id)
                    yield LayerTask("scan", diff_id, place, make_body(diff_id))

        sizes = {read.layers[0]: read.size for read in contents.plan_reads(images, missing) if read.place is not None}
        report = make_byte_counter(self._context.progress, "scan", sum(sizes.values()))
        unreachable = 0
        try:
            for task, result in workers.run(make_tasks(), scans.folder):
                report(task.place.descriptor.size)
                if isinstance(result, ImqError) and result.code == NO_LOCATION:
                    unreachable += 1
                elif isinstance(result, ImqError):
                    errors[task.diff_id] = result
                else:
                    self._add_result(task, result, scans)
                    missing.discard(task.diff_id)
        finally:
            self._context.progress.stop()
        if unreachable:
            noun = "layer" if unreachable == 1 else "layers"
            self._context.progress.warn(
                f"the workers cannot read {unreachable:,} {noun} that lie on this machine; they are scanned here"
            )
        return errors

    @staticmethod
    def _add_result(task: LayerTask, result: LayerResult, scans: _Scans) -> None:
        """Add the index of a layer that a worker has scanned, or its part."""
        path = result.document.get("path")
        if path is not None:
            scans.add(path)
        else:
            is_part = result.document.get("isPart")
            scans.add_packed(result.content, Digest(task.body["part"]["key"]) if is_part else task.diff_id)

    @contextmanager
    def _open_scans(self) -> Iterator[_Scans]:
        """Yield a temporary folder for the databases of scans, and what adds them to the index."""
        from imq.engine.store.atomic_files import store_errors
        from imq.engine.store.layer_scans import open_scan_folder

        with (
            store_errors("make a folder for the index of files"),
            open_scan_folder(self._context.environment) as folder,
            self.index.adding() as adder,
        ):
            yield _Scans(folder, adder, self._context.clock)


class _Scans:
    """Scans on their way to the index."""

    def __init__(self, folder: str, adder: ScanAdder, clock: Callable[[], int]) -> None:
        self.folder = folder
        self._adder = adder
        self._clock = clock

    def add(self, path: str) -> None:
        """Add the database of a layer, and remove it from the disk."""
        self._adder.add(path, self._clock())
        os.unlink(path)

    def add_packed(self, packed: bytes, key: Digest) -> None:
        """Add the index of a layer, or a part with the name `key`. Raises `Malformed`."""
        self._adder.add_packed(packed, key, os.path.join(self.folder, "received"), self._clock())


def _scan_table(folder: str, table: LayerTable) -> Iterator[str]:
    """Yield the database of a table of contents; nothing when its layer has to be read as a whole."""
    from imq.engine.layer_index.scan import scan_entries
    from imq.engine.layers.table_of_contents import read_table
    from imq.engine.store.layer_scans import make_scan_path

    try:
        contents = read_table(table.location, table.read)
    except RangesIgnored:
        return
    if contents is None:
        return
    path = make_scan_path(folder)
    scan_entries(contents.entries, path, table.digest)
    yield path


def missing_layer_error(diff_id: Digest) -> NotFound:
    """Return the error for a layer that a source has not delivered."""
    return NotFound(f"the layer {diff_id} of the image was not found", code="blob-missing")


def name_layer(error: Malformed, diff_id: Digest, offset: int | None = None) -> Malformed:
    """Return the error of a layer with its diff ID. `offset`: how many bytes of it, as they lie, were read."""
    place = "" if offset is None else f", in its first {offset:,} bytes"
    return Malformed(f"the layer {diff_id} is damaged: {error.message}{place}", code=error.code, hints=error.hints)


def _choose_scans(
    reads: Iterable[LayerRead],
    missing: set[Digest],
    tried: set[tuple[int, Digest]],
    folder: str,
    progress: _ScanProgress,
) -> list[_LayerScan]:
    """Return the next reads: each layer that is still missing is read by one of them, where it was not tried yet."""
    claimed: set[Digest] = set()
    scans = []
    for number, read in enumerate(reads):
        diff_ids = [
            diff_id
            for diff_id in read.layers
            if diff_id in missing and diff_id not in claimed and (number, diff_id) not in tried
        ]
        if diff_ids:
            claimed.update(diff_ids)
            tried.update((number, diff_id) for diff_id in diff_ids)
            scans.append(_LayerScan(read, diff_ids, folder, progress))
    return scans


class _ScanProgress:
    """Counts the bytes of the layers that are scanned, in any thread. Leaving its `with` block stops the scans."""

    def __init__(self, context: SourceContext, reads: Sequence[LayerRead]) -> None:
        from threading import Event, Lock

        self._progress = context.progress
        sizes = {diff_id: read.size for read in reads for diff_id in read.layers if len(read.layers) == 1}
        self._total = sum(sizes.values()) or sum(read.size for read in reads)
        self._lock = Lock()
        self._done = self._reported = 0
        self._stopped = Event()

    def __enter__(self) -> Self:
        self._progress.report_bytes("scan", 0, self._total)
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._progress.stop()

    def count(self, chunks: Chunks) -> Iterator[bytes | memoryview]:
        """Yield the chunks of a layer. Raises `Interrupted` when the scans are stopped."""
        for chunk in chunks:
            if self._stopped.is_set():
                raise Interrupted("the scan was cancelled")
            with self._lock:
                self._done += len(chunk)
                done = self._done
                is_due = done - self._reported >= _REPORT_STEP
                if is_due:
                    self._reported = done
            if is_due:
                self._progress.report_bytes("scan", done, max(self._total, done))
            yield chunk


class _LayerScan:
    """One read of layers, which has layers with these `diff_ids`. Each is scanned into a database of its own."""

    def __init__(self, read: LayerRead, diff_ids: Sequence[Digest], folder: str, progress: _ScanProgress) -> None:
        self.diff_ids = tuple(diff_ids)
        self._read = read
        self._folder = folder
        self._progress = progress
        self._scanned: dict[Digest, str] = {}

    def run(self) -> Iterator[tuple[Digest, str]]:
        """Read the layers; yield the diff ID and the database of each. Raises `ImqError` after those before it."""
        problem: ImqError | None = None
        try:
            self._read.run(self.diff_ids, self._scan)
        except Interrupted:
            raise
        except ImqError as error:
            problem = error
        yield from self._scanned.items()
        if problem is not None:
            raise problem

    def _scan(self, diff_id: Digest | None, chunks: Chunks) -> Digest:
        """Scan one layer, and return its diff ID. Raises `DigestMismatch` when it is not the layer `diff_id`."""
        from imq.engine.layer_index.readers import find_reader
        from imq.engine.layer_index.scan import scan_layer
        from imq.engine.store.layer_scans import make_scan_path

        path = make_scan_path(self._folder)
        is_kept = False
        offset = 0

        def count() -> Iterator[bytes | memoryview]:
            nonlocal offset
            for chunk in self._progress.count(chunks):
                offset += len(chunk)
                yield chunk

        try:
            algorithm = (diff_id or self.diff_ids[0]).algorithm
            try:
                actual = scan_layer(count(), path, find_reader, algorithm=algorithm)
            except Malformed as error:
                raise (name_layer(error, diff_id, offset) if diff_id is not None else error) from None
            check_diff_id(actual, diff_id)
            is_kept = actual in self.diff_ids and actual not in self._scanned
            if is_kept:
                self._scanned[actual] = path
            return actual
        finally:
            if not is_kept:
                with suppress(FileNotFoundError):
                    os.unlink(path)


def check_diff_id(actual: Digest, diff_id: Digest | None) -> None:
    """Raise `DigestMismatch` when a layer with another diff ID was read."""
    if diff_id is not None and actual != diff_id:
        raise DigestMismatch(
            f"a layer unpacks to {actual}, but the config says {diff_id}",
            code="diff-id-mismatch",
            hints=("the image is damaged or forged; remove it",),
        )
