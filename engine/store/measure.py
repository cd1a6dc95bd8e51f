"""Unpacking layers that are in the store already, several at once, to check and measure them."""

from __future__ import annotations

import threading

from imq.engine.layers.layer_meter import LayerMeter
from imq.engine.oci import media_types
from imq.engine.oci.manifest import Descriptor
from imq.grammar.errors import DigestMismatch, ImqError
from imq.grammar.record import TYPE_CHECKING

from .atomic_files import told
from .blob_pipeline import PIECE
from .corruption import damaged, unmark
from .index import Content
from .layout import unknown_type, wrong_diff_id

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from imq.engine.oci.digest import Digest

    from .store import Store


def measure_layer(store: Store, digest: Digest, diff_id: Digest, size: int, media_type: str) -> Content:
    """Read, hash and unpack one stored layer; raises `DigestMismatch` or `Malformed` naming what is wrong with it."""
    if not media_types.is_layer(media_type):
        raise unknown_type(Descriptor(media_type, digest, size))
    problem: ImqError | None = None

    def feed(piece: memoryview) -> None:
        nonlocal problem
        if problem is None:
            try:
                meter.feed(piece)
            except ImqError as found:
                problem = found  # is the blob damaged, or was it made like that? its digest tells

    with LayerMeter(None) as meter:
        hash_blob(store, digest, size, feed)
        if problem is not None:
            raise problem
        return checked(meter, digest, diff_id, "remove it")


def hash_blob(
    store: Store, digest: Digest, size: int | None, feed: Callable[[memoryview], None] = lambda _: None
) -> None:
    """Read a stored blob, handing its pieces on; raises `StoreError` when it is missing, `DigestMismatch` when damaged.

    A `size` is what its image says that it has. What is found is remembered: the next pull fetches what is damaged.
    """
    hasher = digest.hasher()
    buffer = memoryview(bytearray(PIECE))
    found = 0
    with told(f"read the blob {digest}"), store.open_blob(digest) as source:
        while count := source.readinto(buffer):  # type: ignore[attr-defined]
            hasher.update(buffer[:count])
            found += count
            feed(buffer[:count])
    if hasher.hexdigest() != digest.hex:
        raise damaged(store.layout, digest)
    unmark(store.layout, digest)
    if size not in (found, None):
        raise DigestMismatch(
            f"the blob {digest} has {found} bytes, and its image says {size}",
            hints=("the image is damaged or forged; remove it",),
        )


def blame(store: Store, blobs: Iterable[Digest], problem: ImqError) -> ImqError:
    """Return what is wrong with the first of these blobs that is damaged, else `problem`, which made one look."""
    for digest in blobs:
        try:
            hash_blob(store, digest, None)
        except ImqError as found:
            return found
    return problem


def checked(meter: LayerMeter, digest: Digest, diff_id: Digest | None, advice: str) -> Content:
    """Return what unpacking a whole layer told; raises `DigestMismatch` when that is not what its config says."""
    measured = meter.finish()
    if measured.diff_id != diff_id:
        raise wrong_diff_id(digest, measured.diff_id, diff_id, advice)
    return Content(digest, measured.diff_id, measured.size, measured.tar_size, measured.entries)


def measure_layers(
    store: Store,
    pending: Sequence[tuple[Digest, Digest | None, int, str]],
    jobs: int,
    keep: Callable[[Content], None],
    report: Callable[[int], None],
) -> list[tuple[Digest, ImqError]]:
    """Measure the layers, largest first, in `jobs` threads; return what is wrong with those that cannot be measured.

    Blobs without a diff ID are hashed alone.
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
            content: Content | None = None
            try:
                if diff_id is not None:
                    content = measure_layer(store, digest, diff_id, size, media_type)
                else:
                    hash_blob(store, digest, size)
            except ImqError as problem:
                problems.append((digest, _about(digest, problem)))
                continue
            except BaseException as fault:  # noqa: BLE001 - raised again below
                faults.append(fault)
                return
            with guard:
                if content is not None:
                    keep(content)
                report(size)

    threads = [threading.Thread(target=work, daemon=True) for _ in range(min(jobs, len(queue)))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if faults:
        raise faults[0]
    return problems


def _about(digest: Digest, problem: ImqError) -> ImqError:
    """Let a problem say which layer it is about, as those of archives and streams do not."""
    if digest.hex not in problem.message:
        problem.message = f"the layer {digest} cannot be unpacked: {problem.message}"
    return problem
