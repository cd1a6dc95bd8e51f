"""The verb `export`: unpacks an image of the store to a folder, or to an archive of its files."""

from __future__ import annotations

import os
from functools import partial

from imq.engine.atomic_writer import (
    classify_output,
    exchange_paths,
    make_directories,
    make_sibling_path,
    rename_without_replacing,
)
from imq.engine.oci import media_types
from imq.engine.oci.digest import Digest
from imq.engine.oci.manifest import Descriptor
from imq.engine.progress import CountingReader, make_byte_counter
from imq.engine.sources.action import Outcome, Skip
from imq.engine.sources.action_options import get_option, get_option_values
from imq.grammar.errors import Conflict, DigestMismatch, Malformed, StatementError
from imq.grammar.record import TYPE_CHECKING

from .output_file import FileAction, created_meanwhile, open_output_file
from .output_paths import Output, label_transfer, resolve_outputs, skips_existing
from .verb import OperandKind, Verb

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from imq.engine.layers.layer_stack import StackedLayer
    from imq.engine.sources.action import Action, ExecutionContext, PlanContext
    from imq.engine.store.store import Store
    from imq.grammar import ast

_ARCHIVES = {".tar": "", ".tar.gz": "gzip", ".tgz": "gzip", ".tar.zst": "zstd", ".tzst": "zstd"}
"""The compression of archives by the ending of their names."""


class Export(FileAction):
    """Unpack an image to the folder `path`, which is empty or missing unless `force` is set.

    With `compression` not None it is an archive instead: "" is none, others are those of `compressor`.
    """

    name: str
    root: Digest
    id: Digest
    compression: str | None = None

    def describe(self) -> Outcome:
        """Return the path with the image."""
        existing = self.describe_existing() if self.existing != "folder" or self.force else ""
        return Outcome("export", self.path, self.id, note=f"{self.name}{existing}")

    def execute(self, context: ExecutionContext) -> Iterator[Outcome]:
        """Unpack the image beside the path, then move it there. After an error the path is as it was."""
        from imq.engine.store.atomic_files import FREE_OUTPUT_SPACE, store_errors
        from imq.engine.store.measure import find_corruption

        store = context.store
        layers = _layers(store, self, partial(make_byte_counter, context.progress, label_transfer("export", self.path)))
        size = _content_size(store, self)
        try:
            if self.compression is not None:
                yield _write_archive(layers, self, self.compression, size)
                return
            with store_errors(f"write {self.path}", os.path.dirname(self.path), size, FREE_OUTPUT_SPACE):
                outcome = _write_folder(layers, self)
            yield outcome
        except (DigestMismatch, Malformed) as problem:
            raise find_corruption(store, [layer.digest for layer in layers], problem) from None


def _write_folder(layers: list[StackedLayer], action: Export) -> Outcome:
    from imq.engine.layers.unpack import remove_tree, unpack_layers
    from imq.engine.store.atomic_files import sync_file_system
    from imq.engine.store.directory import Directory

    with make_directories(os.path.dirname(action.path)):
        part = make_sibling_path(action.path)
        unpacked = unpack_layers(layers, part)
        try:
            sync_file_system(Directory.open(part))
            _put_folder(part, action)
        except BaseException:
            if os.path.isdir(part):
                remove_tree(part)
            raise
    left_out = [f"{count} {what}" for what, count in unpacked.skipped]
    note = "; ".join([_count_entries(unpacked.entries), *left_out])
    return Outcome("export", action.path, action.id, unpacked.size, note=note)


def _write_archive(layers: list[StackedLayer], action: Export, packed: str, size: int | None) -> Outcome:
    from imq.engine.layers.compression import make_compressor
    from imq.engine.layers.flatten import FlatArchive

    archive = FlatArchive(layers)
    packer = make_compressor(packed) if packed else None
    with open_output_file(action, size) as target:
        for piece in archive.iter_pieces():
            target.write(packer.feed(piece) if packer is not None else piece)
        if packer is not None:
            target.write(packer.finish())
    return Outcome("export", action.path, action.id, target.size, note=_count_entries(archive.entries))


def _content_size(store: Store, action: Export) -> int | None:
    """Return the size of the image's files; that of its compressed layers when these were never unpacked."""
    row = store.index.connection.execute(
        "SELECT coalesce(size, download_size) FROM image"
        " WHERE key = (SELECT image FROM entry WHERE root = ? AND id = ? LIMIT 1)",
        (action.root, action.id),
    ).fetchone()
    return row[0] if row else None


def _layers(store: Store, action: Export, watch: Callable[[int], Callable[[int], None]]) -> list[StackedLayer]:
    from imq.engine.layers.layer_stack import StackedLayer
    from imq.engine.store.layout import unknown_layer_type

    rows = store.index.connection.execute(
        "SELECT digest, diff_id, download_size, media_type FROM layer"
        " WHERE image = (SELECT image FROM entry WHERE root = ? AND id = ? LIMIT 1) ORDER BY position",
        (action.root, action.id),
    ).fetchall()
    layers = []
    moved = watch(sum(size for _, _, size, _ in rows))
    for digest, diff_id, size, media_type in rows:
        if not media_types.is_layer(media_type):
            raise unknown_layer_type(Descriptor(media_type, Digest(digest), size))
        blob = Digest(digest)
        layers.append(StackedLayer(blob, Digest(diff_id), None, partial(_open_layer, store, blob, moved)))
    return layers


def _open_layer(store: Store, digest: Digest, moved: Callable[[int], None]) -> CountingReader:
    return CountingReader(store.open_blob(digest), moved)


def _put_folder(part: str, action: Export) -> None:
    """Move the folder to its path: where nothing is, over an empty folder, or with `force` over what was planned."""
    from imq.engine.store.atomic_files import sync_directory

    path, kind = action.path, classify_output(action.path)
    if kind == "stream" or (kind and kind != action.existing and not action.force):
        raise created_meanwhile(action)
    if kind and action.force:
        _replace_path(part, path)
    elif kind:
        os.rename(part, path)  # fails when there is a folder that has something in it
    else:
        rename_without_replacing(part, path)
    sync_directory(os.path.dirname(path))


def _replace_path(part: str, path: str) -> None:
    """Replace what is at `path` by a folder, in one step where the system can; then remove what was there."""
    from imq.engine.layers.unpack import remove_tree

    old = part
    if not exchange_paths(part, path):
        old = make_sibling_path(path)
        os.rename(path, old)
        os.rename(part, path)
    if os.path.isdir(old):
        remove_tree(old)
    else:
        os.unlink(old)


def _count_entries(count: int) -> str:
    return "1 entry" if count == 1 else f"{count} entries"


# Planning


def _plan_export(act: ast.ActionStatement, context: PlanContext) -> list[Action]:
    to = get_option_values(act, "to", context)
    if len(to) != 1:
        raise StatementError(
            "export needs a folder to unpack to, or an archive to write",
            code="operand",
            span=act.span,
            hints=('such as: export redis:7 to "rootfs", or to "rootfs.tar"',),
        )
    if to[0] == "-":
        raise StatementError(
            "export writes a folder or an archive, and not to standard output",
            code="operand",
            span=act.span,
            hints=('such as: export redis:7 to "rootfs.tar"',),
        )
    keeps = skips_existing(act)
    places = resolve_outputs(act, to[0], context)
    if not any(place.targets for place in places):
        raise StatementError("no image matches, so nothing is unpacked", code="nothing", span=act.span)
    return [_plan_one(act, place, context, keeps=keeps) for place in places]


def _plan_one(act: ast.ActionStatement, output: Output, context: PlanContext, *, keeps: bool) -> Export | Skip:
    found = output.targets
    images = list(dict.fromkeys((target.root, target.id) for target in found))
    if len(images) != 1:
        raise StatementError(
            f"one image can be unpacked to one place, and these are {len(images)}",
            code="operand",
            span=act.span,
            hints=('a place for each: export images where … to "{{.Tag}}"',),
        )
    if not context.store.index.has_image(images[0][0]):
        raise StatementError(
            f"{found[0].name or images[0][0].short} is no container image, so there is nothing to unpack",
            code="not-an-image",
            span=act.span,
            hints=("other artifacts have their own tools, such as oras or helm",),
        )
    force = get_option(act, "force") is not None
    root, id_ = images[0]
    name = found[0].name or id_.short
    path = output.path if output.kind == "stream" else os.path.realpath(output.path)
    packed = _compression_of(output)
    if output.kind == "file" and keeps:
        return Skip(path, id_, "it is there already")
    if packed is not None:
        return Export(path, output.kind, force, name, root, id_, packed)
    if _contains_path(path, context.store.root):
        what = "the root of this machine" if path == "/" else f"{path}, which holds the image store,"
        raise StatementError(f"{what} cannot be replaced", code="operand", span=act.span)
    if output.kind and not force and not (output.kind == "folder" and not os.listdir(path)):
        if keeps:
            return Skip(path, id_, "it is there already")
        raise Conflict(
            f"{path} is there already and {'not empty' if output.kind == 'folder' else 'no folder'}",
            code="exists",
            hints=("give another folder; with force it is replaced, with all that is in it",),
        )
    return Export(path, output.kind, force, name, root, id_, packed)


def _compression_of(output: Output) -> str | None:
    """Return the compression of the archive by the name of its file; None for a folder."""
    if output.kind == "folder":
        return None
    default = "" if output.kind == "stream" else None
    return next((packed for ending, packed in _ARCHIVES.items() if output.path.endswith(ending)), default)


def _contains_path(folder: str, path: str) -> bool:
    """Whether a folder is at a path, or above it."""
    path = os.path.realpath(path)
    return os.path.commonpath((folder, path)) == folder


VERB = Verb(
    "export",
    "Unpack an image to a folder, or to an archive: the files that a container of it would see. A template of paths"
    " makes one for each row.",
    'export redis:7 to "rootfs"',
    OperandKind.IMAGES,
    options=("to", "force", "skip existing", "dry run"),
    path_options=("to",),
    docker_differences=(
        "It is docker export for an image. A name that ends in .tar, .tar.gz or .tar.zst makes an archive: it has "
        "owners and devices whoever makes it, and tar and docker import read it. In a folder root gives files "
        "their owners; anybody else keeps what is made, without setuid and setgid bits, and finds an empty file in"
        " the place of each device. Either is there when all of it is, or not at all. With force what is there is "
        "replaced, not added to; skip existing leaves it. A device, FIFO or /dev/stdout is written to, as one "
        "archive."
    ),
    plan=_plan_export,
)
