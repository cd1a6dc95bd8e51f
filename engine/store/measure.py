"""Measuring stored layers: several are decompressed in parallel and checked against their diff IDs."""

from __future__ import annotations

import threading

from imq.engine.layers.layer_meter import LayerMeter
from imq.engine.oci import media_types
from imq.engine.oci.manifest import Descriptor
from imq.grammar.errors import DigestMismatch, ImqError
from imq.grammar.record import TYPE_CHECKING

from .atomic_files import store_errors
from .blob_pipeline import CHUNK_SIZE
from .corruption import mark_corrupt, unmark_corrupt
from .layer_measure import finish_measure
from .layout import unknown_layer_type

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import BinaryIO, Protocol

    from imq.engine.oci.digest import Digest

    from .layer_measure import LayerMeasure
    from .layout import Layout

    class BlobSource(Protocol):
        """A store to read blobs from."""

        layout: Layout

        def open_blob(self, digest: Digest, /) -> BinaryIO:
            """Open a stored blob for reading; raises `StoreError` when it is missing."""


def measure_layer(store: BlobSource, digest: Digest, diff_id: Digest, size: int, media_type: str) -> LayerMeasure:
    """Hash and decompress one stored layer; raises `DigestMismatch` or `Malformed`."""
    if not media_types.is_layer(media_type):
        raise unknown_layer_type(Descriptor(media_type, digest, size))
    problem: ImqError | None = None

    def feed(piece: memoryview) -> None:
        nonlocal problem
        if problem is None:
            try:
                meter.feed(piece)
            except ImqError as error:
                problem = error  # hashing goes on: the digest decides whether the blob is corrupt or was created so

    with LayerMeter(None) as meter:
        hash_blob(store, digest, size, feed)
        if problem is not None:
            raise problem
        return finish_measure(meter, digest, diff_id, "remove it")


def hash_blob(
    store: BlobSource, digest: Digest, size: int | None, on_chunk: Callable[[memoryview], None] = lambda _: None
) -> None:
    """Hash a stored blob and pass its chunks to `on_chunk`.

    Raises `StoreError` when it is missing, and `DigestMismatch` when it is corrupt or does not have this `size`. A
    corrupt blob is marked, so that the next pull fetches it.
    """
    hasher = digest.new_hash()
    buffer = memoryview(bytearray(CHUNK_SIZE))
    actual_size = 0
    with store_errors(f"read the blob {digest}"), store.open_blob(digest) as source:
        while count := source.readinto(buffer):  # type: ignore[attr-defined]
            hasher.update(buffer[:count])
            actual_size += count
            on_chunk(buffer[:count])
    if hasher.hexdigest() != digest.encoded:
        raise mark_corrupt(store.layout, digest)
    unmark_corrupt(store.layout, digest)
    if size not in (actual_size, None):
        raise DigestMismatch(
            f"the blob {digest} has {actual_size} bytes, and its descriptor says {size}",
            hints=("the image is damaged or forged; remove it",),
        )


def find_corruption(store: BlobSource, blobs: Iterable[Digest], problem: ImqError) -> ImqError:
    """Return the error of the first corrupt blob; `problem` when none is corrupt."""
    for digest in blobs:
        try:
            hash_blob(store, digest, None)
        except ImqError as error:
            return error
    return problem


def measure_layers(
    store: BlobSource,
    pending: Sequence[tuple[Digest, Digest | None, int, str]],
    jobs: int,
    on_measure: Callable[[LayerMeasure], None],
    on_progress: Callable[[int], None],
) -> list[tuple[Digest, ImqError]]:
    """Measure layers, largest first, in `jobs` threads; return an error for each that cannot be measured.

    Blobs without a diff ID are only hashed.
    """
    queue = sorted(pending, key=lambda layer: layer[2])
    problems: list[tuple[Digest, ImqError]] = []
    faults: list[BaseException] = []
    guard = threading.Lock()

    def work() -> None:
        while not faults:
            with guard:
                if not queue:
                    return
                digest, diff_id, size, media_type = queue.pop()
            content: LayerMeasure | None = None
            try:
                if diff_id is not None:
                    content = measure_layer(store, digest, diff_id, size, media_type)
                else:
                    hash_blob(store, digest, size)
            except ImqError as problem:
                problems.append((digest, _add_layer(digest, problem)))
                continue
            except BaseException as fault:  # noqa: BLE001 - raised again below
                faults.append(fault)
                return
            with guard:
                if content is not None:
                    on_measure(content)
                on_progress(size)

    threads = [threading.Thread(target=work, daemon=True) for _ in range(min(jobs, len(queue)))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if faults:
        raise faults[0]
    return problems


def _add_layer(digest: Digest, problem: ImqError) -> ImqError:
    """Add the digest of the layer to an error of its archive or stream.

    The errors of all layers are kept until the end, so those of many layers must not keep the buffers of their frames.
    """
    problem.__traceback__ = problem.__context__ = problem.__cause__ = None
    if digest.encoded not in problem.message:
        problem.message = f"the layer {digest} cannot be unpacked: {problem.message}"
    return problem
