"""Unpacking an image of the store to a folder or as one archive, which is there whole or not at all."""

from __future__ import annotations

import os
from functools import partial

from imq.engine.actions import Outcome
from imq.engine.layers.stack import StackedLayer
from imq.engine.oci import media
from imq.engine.oci.digest import Digest
from imq.engine.oci.document import Descriptor
from imq.engine.progress import Watched
from imq.engine.store.directory import Directory
from imq.engine.store.files import ELSEWHERE, sync_all, sync_folder, told
from imq.engine.store.layout import unknown_type
from imq.engine.store.measuring import blame
from imq.grammar.errors import Conflict, DigestMismatch, Malformed
from imq.grammar.record import TYPE_CHECKING

from .beside import beside, file_beside, put_in_place

if TYPE_CHECKING:
    from collections.abc import Callable

    from imq.engine.actions import Export
    from imq.engine.store.store import Store


def export_image(store: Store, action: Export, watch: Callable[[int], Callable[[int], None]]) -> Outcome:
    """Unpack the image beside the target, then put it there; an error leaves the target as it was.

    `watch` is called with the bytes of its layers, and returns what is called whenever some of them were read.
    """
    layers = _layers(store, action, watch)
    with told(f"write {action.path}", os.path.dirname(action.path), _bytes(store, action), ELSEWHERE):
        try:
            if action.packed is not None:
                return _archive(layers, action, action.packed)
            return _folder(layers, action)
        except (DigestMismatch, Malformed) as problem:
            raise blame(store, [layer.digest for layer in layers], problem) from None


def _folder(layers: list[StackedLayer], action: Export) -> Outcome:
    from imq.engine.layers.unpack import discard, unpack_layers

    part = beside(action.path)
    unpacked = unpack_layers(layers, part)
    try:
        sync_all(Directory.open(part))
        _put(part, action)
    except BaseException:
        discard(part)
        raise
    left_out = [f"{count} {what}" for what, count in unpacked.left_out]
    note = "; ".join([_entries(unpacked.entries), *left_out])
    return Outcome("export", action.path, action.id, unpacked.size, note=note)


def _archive(layers: list[StackedLayer], action: Export, packed: str) -> Outcome:
    from imq.engine.layers.compression import compressor
    from imq.engine.layers.flat import FlatArchive

    archive = FlatArchive(layers)
    packer = compressor(packed) if packed else None
    with file_beside(action.path) as target:
        for piece in archive.pieces():
            target.write(packer.feed(piece) if packer is not None else piece)
        if packer is not None:
            target.write(packer.finish())
        if not action.replaces and os.path.lexists(action.path):
            raise _meanwhile(action)
        size = target.tell()
    return Outcome("export", action.path, action.id, size, note=_entries(archive.entries))


def _bytes(store: Store, action: Export) -> int | None:
    """Return the bytes of the image's files; those of its layers when these have not been unpacked yet."""
    row = store.index.connection.execute(
        "SELECT coalesce(size, download_size) FROM image"
        " WHERE key = (SELECT image FROM entry WHERE root = ? AND id = ? LIMIT 1)",
        (action.root, action.id),
    ).fetchone()
    return row[0] if row else None


def _layers(store: Store, action: Export, watch: Callable[[int], Callable[[int], None]]) -> list[StackedLayer]:
    rows = store.index.connection.execute(
        "SELECT digest, diff_id, download_size, media_type FROM layer"
        " WHERE image = (SELECT image FROM entry WHERE root = ? AND id = ? LIMIT 1) ORDER BY position",
        (action.root, action.id),
    ).fetchall()
    layers = []
    moved = watch(sum(size for _, _, size, _ in rows))
    for digest, diff_id, size, media_type in rows:
        compression = media.layer_compression(media_type)
        if compression is None:
            raise unknown_type(Descriptor(media_type, Digest(digest), size))
        blob = Digest(digest)
        layers.append(StackedLayer(blob, Digest(diff_id), compression, partial(_opened, store, blob, moved)))
    return layers


def _opened(store: Store, digest: Digest, moved: Callable[[int], None]) -> Watched:
    return Watched(store.open_blob(digest), moved)


def _put(part: str, action: Export) -> None:
    """Move the whole folder to its place: over nothing, an empty folder, or (`replaces`) whatever is there."""
    if action.replaces:
        put_in_place(part, action.path)
        return
    if os.path.lexists(action.path) and not os.path.isdir(action.path):
        raise _meanwhile(action)
    os.rename(part, action.path)  # fails when there is a folder that has something in it
    sync_folder(os.path.dirname(action.path))


def _meanwhile(action: Export) -> Conflict:
    return Conflict(f"{action.path} has come to be meanwhile", code="exists")


def _entries(count: int) -> str:
    return "1 entry" if count == 1 else f"{count} entries"
