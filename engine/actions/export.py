"""The verb `export`: unpacks an image to a folder, or to an archive of its files.

An image of an engine or of a place on disk is stored in a temporary store first, and verified there.
"""

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
from imq.engine.progress import CountingReader, make_byte_counter
from imq.engine.sources.action import Outcome, Skip
from imq.engine.sources.action_options import get_option, get_option_values
from imq.grammar.errors import Conflict, DigestMismatch, Malformed, NotFound, StatementError
from imq.grammar.record import TYPE_CHECKING

from .origins import group_origins, open_images
from .output_file import FileAction, created_meanwhile_error, open_output_file
from .output_paths import Output, label_transfer, resolve_outputs, skips_existing
from .verb import OperandKind, Verb

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from imq.engine.layers.layer_stack import StackedLayer
    from imq.engine.sources.action import Action, ExecutionContext, PlanContext
    from imq.engine.store.store import Store
    from imq.grammar import ast

    from .origins import Origin

_ARCHIVES = {".tar": "", ".tar.gz": "gzip", ".tgz": "gzip", ".tar.zst": "zstd", ".tzst": "zstd"}
"""The compression of an archive, by the suffix of its file name."""


class Export(FileAction):
    """Unpack an image to the folder `path`, which is empty or missing unless `force` is set.

    `origin` is where it is; None: the store.

    With a `compression` the image is written as an archive instead; "" means uncompressed.
    """

    name: str
    root: Digest
    id: Digest
    compression: str | None = None
    origin: Origin | None = None

    def describe(self) -> Outcome:
        """Return the path with the image."""
        existing = self.describe_existing() if self.existing != "folder" or self.force else ""
        return Outcome("export", self.path, self.id, note=f"{self.name}{existing}")

    def execute(self, context: ExecutionContext) -> Iterator[Outcome]:
        """Unpack the image to a temporary path, then rename it. An error leaves the path unchanged."""
        if self.origin is None:
            yield _export(context.store, self, context)
            return
        with open_images((self.origin,), context, label_transfer("export", self.path)) as (store, images):
            root = images[0][0]
            yield _export(store, self.replace(root=root, id=_find_id(store, root, self.id)), context)


def _export(store: Store, action: Export, context: ExecutionContext) -> Outcome:
    from imq.engine.store.atomic_files import FREE_OUTPUT_SPACE, store_errors
    from imq.engine.store.measure import find_corruption

    watch = partial(make_byte_counter, context.progress, label_transfer("export", action.path))
    layers = _list_layers(store, action, watch)
    size = _get_content_size(store, action)
    try:
        if action.compression is not None:
            return _write_archive(layers, action, action.compression, size)
        with store_errors(f"write {action.path}", os.path.dirname(action.path), size, FREE_OUTPUT_SPACE):
            return write_folder(layers, action, action.id)
    except (DigestMismatch, Malformed) as problem:
        raise find_corruption(store, [layer.digest for layer in layers], problem) from None


def _find_id(store: Store, root: Digest, id_: Digest) -> Digest:
    """Return the ID of the image to export: this one, or the only one of an engine whose IDs are those of indexes."""
    ids = {one for (one,) in store.index.connection.execute("SELECT id FROM images WHERE _root = ?", (root,))}
    if id_ in ids or not ids:
        return id_
    if len(ids) > 1:
        raise StatementError(
            f"{root.short} has images for {len(ids)} platforms, and export takes one",
            code="operand",
            hints=("choose one: export images in … where platform = linux/arm64 to …",),
        )
    return Digest(ids.pop())


def write_folder(layers: list[StackedLayer], action: FileAction, image: Digest | None) -> Outcome:
    """Unpack layers to a temporary folder, and rename it to the path of an action."""
    from imq.engine.layers.remove_tree import remove_tree
    from imq.engine.layers.unpack import unpack_layers
    from imq.engine.store.atomic_files import sync_file_system
    from imq.engine.store.directory import Directory

    with make_directories(os.path.dirname(action.path)):
        partial_folder = make_sibling_path(action.path)
        unpacked = unpack_layers(layers, partial_folder)
        try:
            sync_file_system(Directory.open(partial_folder))
            _put_folder(partial_folder, action)
        except BaseException:
            if os.path.isdir(partial_folder):
                remove_tree(partial_folder)
            raise
    skipped = [f"{count} {reason}" for reason, count in unpacked.skipped]
    note = "; ".join([_count_entries(unpacked.entries), *skipped])
    return Outcome("export", action.path, image, unpacked.size, note=note)


def _write_archive(layers: list[StackedLayer], action: Export, compression: str, size: int | None) -> Outcome:
    from imq.engine.layers.compression import make_compressor
    from imq.engine.layers.flatten import FlatArchive

    archive = FlatArchive(layers)
    compressor = make_compressor(compression) if compression else None
    with open_output_file(action, size) as target:
        for piece in archive.iter_pieces():
            target.write(compressor.feed(piece) if compressor is not None else piece)
        if compressor is not None:
            target.write(compressor.finish())
    return Outcome("export", action.path, action.id, target.size, note=_count_entries(archive.entries))


def _get_content_size(store: Store, action: Export) -> int | None:
    """Return the size of the image's files in bytes, or of its compressed layers if they are not measured yet."""
    row = store.index.connection.execute(
        "SELECT coalesce(size, download_size) FROM image"
        " WHERE key = (SELECT image FROM entry WHERE root = ? AND id = ? LIMIT 1)",
        (action.root, action.id),
    ).fetchone()
    return row[0] if row else None


def _list_layers(store: Store, action: Export, watch: Callable[[int], Callable[[int], None]]) -> list[StackedLayer]:
    from imq.engine.layers.layer_stack import StackedLayer
    from imq.engine.store.index_check import find_image
    from imq.engine.store.layout import unknown_layer_type

    found = find_image(store.index, action.root, action.id)
    if found is None:
        store.read_document(action.root)  # raises when it is missing
        raise NotFound(f"{action.name} was changed meanwhile", code="changed", hints=("run the statement again",))
    _, manifest = found
    config = store.index.documents.read_image_config(manifest)
    layers = []
    moved = watch(sum(layer.size for layer in manifest.layers))
    for layer, diff_id in zip(manifest.layers, config.diff_ids, strict=True):
        if not media_types.is_layer(layer.media_type):
            raise unknown_layer_type(layer)
        layers.append(StackedLayer(layer.digest, diff_id, None, partial(_open_layer, store, layer.digest, moved)))
    return layers


def _open_layer(store: Store, digest: Digest, moved: Callable[[int], None]) -> CountingReader:
    return CountingReader(store.open_blob(digest), moved)


def _put_folder(partial_folder: str, action: FileAction) -> None:
    """Move the folder to its path, which is missing or an empty folder; with `force` replace what exists there."""
    from imq.engine.store.atomic_files import sync_directory

    path, kind = action.path, classify_output(action.path)
    if kind == "stream" or (kind and kind != action.existing and not action.force):
        raise created_meanwhile_error(action)
    if kind and action.force:
        _replace_path(partial_folder, path)
    elif kind:
        os.rename(partial_folder, path)  # fails when the folder is not empty
    else:
        rename_without_replacing(partial_folder, path)
    sync_directory(os.path.dirname(path))


def _replace_path(partial_folder: str, path: str) -> None:
    """Replace `path` with a folder, atomically if the system supports it, then delete the previous file or folder."""
    from imq.engine.layers.remove_tree import remove_tree

    old = partial_folder
    if not exchange_paths(partial_folder, path):
        old = make_sibling_path(path)
        os.rename(path, old)
        os.rename(partial_folder, path)
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
            "export needs a folder or an archive to write",
            code="operand",
            span=act.span,
            hints=('example: export redis:7 to "rootfs", or to "rootfs.tar"',),
        )
    if to[0] == "-":
        raise StatementError(
            "export cannot write to standard output",
            code="operand",
            span=act.span,
            hints=('example: export redis:7 to "rootfs.tar"',),
        )
    skip_existing = skips_existing(act)
    outputs = resolve_outputs(act, to[0], context, takes_places=True)
    if not any(output.targets for output in outputs):
        raise StatementError("no image matches, so nothing is exported", code="nothing", span=act.span)
    return [_plan_one(act, place, context, skip_existing=skip_existing) for place in outputs]


def _plan_one(act: ast.ActionStatement, output: Output, context: PlanContext, *, skip_existing: bool) -> Export | Skip:
    targets = output.targets
    images = list(dict.fromkeys((target.root, target.id) for target in targets))
    if len(images) != 1:
        raise StatementError(
            f"export takes one image for each path, and these are {len(images)}",
            code="operand",
            span=act.span,
            hints=('for a path of their own: export images where … to "{{.Tag}}"',),
        )
    origin = group_origins(targets)[0] if targets[0].place is not None else None
    if origin is None and not context.store.index.has_image(images[0][0]):
        raise StatementError(
            f"{targets[0].name or images[0][0].short} is not a container image, so it cannot be unpacked",
            code="not-an-image",
            span=act.span,
            hints=("use a tool for artifacts, such as oras or helm",),
        )
    force = get_option(act, "force") is not None
    root, id_ = images[0]
    name = targets[0].name or id_.short
    path = output.path if output.kind == "stream" else os.path.realpath(output.path)
    compression = find_compression(output)
    if output.kind == "file" and skip_existing:
        return Skip(path, id_, "it exists already")
    if compression is not None:
        return Export(path, output.kind, force, name, root, id_, compression, origin)
    if _contains_path(path, context.store.root):
        description = "the root directory" if path == "/" else f"{path}, which contains the image store,"
        raise StatementError(f"{description} cannot be replaced", code="operand", span=act.span)
    if output.kind and not force and not (output.kind == "folder" and not os.listdir(path)):
        if skip_existing:
            return Skip(path, id_, "it exists already")
        raise Conflict(
            f"{path} already exists and is {'not empty' if output.kind == 'folder' else 'not a folder'}",
            code="exists",
            hints=("choose another folder, or add force to replace it with all its contents",),
        )
    return Export(path, output.kind, force, name, root, id_, compression, origin)


def find_compression(output: Output) -> str | None:
    """Return the compression of the archive, from its file name; None for a folder."""
    if output.kind == "folder":
        return None
    default = "" if output.kind == "stream" else None
    return next((packed for ending, packed in _ARCHIVES.items() if output.path.endswith(ending)), default)


def _contains_path(folder: str, path: str) -> bool:
    """Return whether `folder` is `path` or a parent of it."""
    path = os.path.realpath(path)
    return os.path.commonpath((folder, path)) == folder


VERB = Verb(
    "export",
    "Unpack an image to a folder or an archive: the files that its containers would see. With a template as the path,"
    " each row gets a path of its own; from SOURCE says where the image is.",
    'export redis:7 to "rootfs"',
    OperandKind.IMAGES,
    options=("to", "from", "force", "skip existing", "dry run"),
    path_options=("to",),
    docker_differences=(
        "It is docker export for images. A path that ends in .tar, .tar.gz or .tar.zst is written as an archive with "
        "owners and devices, which tar and docker import read. In a folder, only root can set owners and create "
        "devices: for other users, files belong to the user, setuid and setgid bits are dropped, and each device "
        "becomes an empty file. The output appears when it is complete. With force an existing path is replaced, "
        "not merged; skip existing leaves it unchanged. A device, FIFO or /dev/stdout receives an archive."
    ),
    plan=_plan_export,
)
