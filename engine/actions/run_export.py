"""Unpacking an image of the store to a folder or as one archive, which is there whole or not at all."""

from __future__ import annotations

import os
from functools import partial

from imq.engine.atomic_writer import exchange, kind_of_output, made_folders, private_path, rename_without_replacing
from imq.engine.layers.layer_stack import StackedLayer
from imq.engine.oci import media_types
from imq.engine.oci.digest import Digest
from imq.engine.oci.manifest import Descriptor
from imq.engine.progress import Watched
from imq.engine.store.atomic_files import ELSEWHERE, sync_all, sync_folder, told
from imq.engine.store.directory import Directory
from imq.engine.store.layout import unknown_type
from imq.engine.store.measure import blame
from imq.grammar.errors import DigestMismatch, Malformed
from imq.grammar.record import TYPE_CHECKING

from .base import Outcome
from .write_output import came_meanwhile, written

if TYPE_CHECKING:
    from collections.abc import Callable

    from imq.engine.store.store import Store

    from .base import Export


def export_image(store: Store, action: Export, watch: Callable[[int], Callable[[int], None]]) -> Outcome:
    """Unpack the image beside the target, then put it there; an error leaves the target as it was.

    `watch` is called with the bytes of its layers, and returns what is called whenever some of them were read.
    """
    layers = _layers(store, action, watch)
    size = _bytes(store, action)
    try:
        if action.packed is not None:
            return _archive(layers, action, action.packed, size)
        with told(f"write {action.path}", os.path.dirname(action.path), size, ELSEWHERE):
            return _folder(layers, action)
    except (DigestMismatch, Malformed) as problem:
        raise blame(store, [layer.digest for layer in layers], problem) from None


def _folder(layers: list[StackedLayer], action: Export) -> Outcome:
    from imq.engine.layers.unpack import remove_tree, unpack_layers

    with made_folders(os.path.dirname(action.path)):
        part = private_path(action.path)
        unpacked = unpack_layers(layers, part)
        try:
            sync_all(Directory.open(part))
            _put(part, action)
        except BaseException:
            if os.path.isdir(part):
                remove_tree(part)
            raise
    left_out = [f"{count} {what}" for what, count in unpacked.skipped]
    note = "; ".join([_entries(unpacked.entries), *left_out])
    return Outcome("export", action.path, action.id, unpacked.size, note=note)


def _archive(layers: list[StackedLayer], action: Export, packed: str, size: int | None) -> Outcome:
    from imq.engine.layers.compression import make_compressor
    from imq.engine.layers.flatten import FlatArchive

    archive = FlatArchive(layers)
    packer = make_compressor(packed) if packed else None
    with written(action, size) as target:
        for piece in archive.iter_pieces():
            target.write(packer.feed(piece) if packer is not None else piece)
        if packer is not None:
            target.write(packer.finish())
    return Outcome("export", action.path, action.id, target.size, note=_entries(archive.entries))


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
        if not media_types.is_layer(media_type):
            raise unknown_type(Descriptor(media_type, Digest(digest), size))
        blob = Digest(digest)
        layers.append(StackedLayer(blob, Digest(diff_id), None, partial(_opened, store, blob, moved)))
    return layers


def _opened(store: Store, digest: Digest, moved: Callable[[int], None]) -> Watched:
    return Watched(store.open_blob(digest), moved)


def _put(part: str, action: Export) -> None:
    """Move the whole folder to its place: over nothing, an empty folder, or (with `force`) what was planned to go."""
    path, kind = action.path, kind_of_output(action.path)
    if kind == "stream" or (kind and kind != action.existing and not action.force):
        raise came_meanwhile(action)
    if kind and action.force:
        _replace(part, path)
    elif kind:
        os.rename(part, path)  # fails when there is a folder that has something in it
    else:
        rename_without_replacing(part, path)
    sync_folder(os.path.dirname(path))


def _replace(part: str, path: str) -> None:
    """Let a folder take the place of what is at `path`, in one step where the system can; that is removed then."""
    from imq.engine.layers.unpack import remove_tree

    old = part
    if not exchange(part, path):
        old = private_path(path)
        os.rename(path, old)
        os.rename(part, path)
    if os.path.isdir(old):
        remove_tree(old)
    else:
        os.unlink(old)


def _entries(count: int) -> str:
    return "1 entry" if count == 1 else f"{count} entries"
