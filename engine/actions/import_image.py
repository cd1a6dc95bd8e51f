"""The verb `import`: makes an image of one layer from a folder or a tar archive."""

from __future__ import annotations

import os

from imq.engine.oci import media_types
from imq.engine.oci.dockerfile_changes import apply_instructions
from imq.engine.oci.platform import Platform, host_platform
from imq.engine.oci.reference import Reference, parse_tag_name
from imq.engine.progress import CountingReader, make_byte_counter
from imq.engine.sources.action import Outcome
from imq.engine.sources.action_options import get_option_values, list_destination_refs
from imq.engine.sources.archives import ArchivePipe, ArchivePlace
from imq.grammar import ast
from imq.grammar.errors import NotFound, StatementError
from imq.grammar.record import TYPE_CHECKING, Record

from .operands import get_platform, plan_receiving
from .output_paths import label_transfer, resolve_path
from .verb import OperandKind, Verb

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import Any, BinaryIO

    from imq.engine.layers.tar_entry import TarEntry
    from imq.engine.oci.digest import Digest
    from imq.engine.oci.manifest import Descriptor
    from imq.engine.sources.action import Action, ExecutionContext, PlanContext
    from imq.engine.store.ingest import ImportedLayer, Ingest
    from imq.engine.store.store import Store

_PIECE = 1 << 20


class Import(Record):
    """Make an image of one layer from a folder or a tar archive. The `path` "-" is standard input."""

    path: str
    name: Reference | None
    changes: tuple[str, ...]
    message: str
    platform: Platform

    def describe(self) -> Outcome:
        """Return the name and the path."""
        return Outcome("import", str(self.name) if self.name else "<none>", note=f"from {self.path}")

    def execute(self, context: ExecutionContext) -> Iterator[Outcome]:
        """Store the image and set its name."""
        _, outcome = self.store_image(context.store, context)
        yield outcome

    def store_image(self, store: Store, context: ExecutionContext) -> tuple[Digest, Outcome]:
        """Store the image in a store, which may be a temporary one; return the digest of its manifest."""
        with store.start_ingest() as ingest:
            size = os.path.getsize(self.path) if os.path.isfile(self.path) else 0
            moved = make_byte_counter(context.progress, label_transfer("import", self.path), size)
            descriptor, id_ = _make_image(ingest, self, context.clock(), moved)
            ingest.sync()
            with store.start_transaction(ingest.measures) as transaction:
                if self.name is not None:
                    transaction.set_name(self.name, descriptor, None, context.clock())
                else:
                    transaction.add_unnamed(descriptor, context.clock())
        total = sum(content.size for content in ingest.measures)
        return descriptor.digest, Outcome("import", str(self.name) if self.name else "<none>", id_, total)


class ImportAsArchive(Record):
    """Make an image as `image` says, and bring it into a source that takes archives of images."""

    image: Import
    place: ArchivePlace

    def describe(self) -> Outcome:
        """Return the name, the path and the source."""
        return self.image.describe().replace(note=f"from {self.image.path} to {self.place.text}")

    def execute(self, context: ExecutionContext) -> Iterator[Outcome]:
        """Make the image in a temporary store, and pass it on as an archive."""
        from imq.engine.sources.layouts.transfer import open_temporary_store

        with open_temporary_store(context) as store:
            root, outcome = self.image.store_image(store, context)
            send_image(store, root, str(self.image.name), self.place, context)
        yield outcome.replace(note=f"to {self.place.text}")


def send_image(store: Store, root: Digest, name: str, place: ArchivePlace, context: ExecutionContext) -> None:
    """Bring an image of a store into a source that takes archives, under a name."""
    from imq.engine.store.save import save

    moved = make_byte_counter(context.progress, f"copy to {place.text}", 0)
    pipe = ArchivePipe(lambda target: save(store, ((root, (name,)),), target, moved))
    pipe.run(lambda reader: place.archives.load_archive(place.text, reader, [name], context))


def _make_image(ingest: Ingest, action: Import, now: int, moved: Callable[[int], None]) -> tuple[Descriptor, Digest]:
    """Store the image of the action; return the descriptor of its manifest and its id.

    `moved` is called with the number of bytes after each chunk that is read.
    """
    from imq.engine.store.image_builder import build_image

    runtime: dict[str, Any] = {}
    apply_instructions(runtime, action.changes)
    layer = store_layer(ingest, action.path, moved)
    return build_image(ingest, layer, runtime, action.platform, now, action.message)


def store_layer(ingest: Ingest, path: str, moved: Callable[[int], None]) -> ImportedLayer:
    """Store the files of a folder or a tar archive as a layer. The path "-" is standard input."""
    from imq.engine.layers.compression import decompress, detect_compression
    from imq.engine.layers.pack import pack_tree
    from imq.engine.layers.rooted_fs import MAX_DEPTH

    if os.path.isdir(path):
        pieces = _watch_pieces(pack_tree(path, max_depth=MAX_DEPTH), moved)
        return ingest.import_plain_layer(pieces, in_thread=True)
    with CountingReader(_open_input(path), moved) as source:
        head = source.read(_PIECE)
        compression = detect_compression(head)
        if compression in media_types.LAYER_TYPES and compression:
            return ingest.import_layer(_read_pieces(head, source), compression, on_entry=_check_limits)
        plain = decompress(compression, _read_pieces(head, source)) if compression else _read_pieces(head, source)
        return ingest.import_plain_layer(plain, _check_limits, in_thread=path != "-")  # a pipe can wait for long


def _check_limits(entry: TarEntry) -> None:
    """Raise for an entry that is nested deeper than export supports."""
    from imq.engine.layers.rooted_fs import MAX_DEPTH, too_deep_error

    if entry.path.count("/") >= MAX_DEPTH:
        path = entry.path.strip("/")
        if sum(name not in ("", ".") for name in path.split("/")) > MAX_DEPTH:
            raise too_deep_error(path, MAX_DEPTH)


def _watch_pieces(pieces: Iterable[bytes | memoryview], moved: Callable[[int], None]) -> Iterator[bytes | memoryview]:
    for piece in pieces:
        moved(len(piece))
        yield piece


def _open_input(path: str) -> BinaryIO:
    if path == "-":
        return os.fdopen(os.dup(0), "rb")
    from imq.engine.store.atomic_files import store_errors

    with store_errors(f"read {path}"):
        try:
            return open(path, "rb")
        except FileNotFoundError:
            raise NotFound(
                f"no such file or folder: {path}", hints=("import takes a folder or a tar archive",)
            ) from None


def _read_pieces(head: bytes, source: CountingReader) -> Iterator[bytes]:
    yield head
    while piece := source.read(_PIECE):
        yield piece


def _plan_import(act: ast.ActionStatement, context: PlanContext) -> list[Action]:
    paths = context.literals(act.references)
    names = get_option_values(act, "as", context)
    if len(paths) == 2 and not names:  # docker's order: import PATH NAME
        names = [paths.pop()]
    if len(paths) != 1:
        raise StatementError("import takes one folder or archive", code="operand", span=act.span)
    message = get_option_values(act, "message", context)
    changes = get_option_values(act, "change", context)
    apply_instructions({}, changes)  # refuses invalid instructions before any file is read
    path = paths[0] if paths[0] == "-" else resolve_path(paths[0], context)
    image = Import(
        path,
        parse_tag_name(names[0]) if names else None,
        tuple(changes),
        message[0] if message else f"Imported from {paths[0]}",
        get_platform(act, context) or host_platform(),
    )
    places = list_archive_places(act, context)
    if places:
        if image.name is None:
            raise StatementError(
                f"an image needs a name in {places[0].text}",
                code="operand",
                span=act.span,
                hints=("add: as NAME:TAG",),
            )
        return [ImportAsArchive(image, place) for place in places]
    full = act.replace(options=(*(option for option in act.options if option.name != "as"), *_name_option(names)))
    if (planned := plan_receiving(full, [path], context)) is not None:
        return planned
    return [image]


def list_archive_places(act: ast.ActionStatement, context: PlanContext) -> list[ArchivePlace]:
    """Return the destinations of an action when they take archives of images, and do not plan the verb themselves."""
    places = []
    for ref in list_destination_refs(act, context):
        source = context.sources[ref.source]
        if source.archives is None or act.verb in source.planners:
            return []
        places.append(ArchivePlace(ref.text, source.archives))
    return places


def _name_option(names: Sequence[str]) -> tuple[ast.Option, ...]:
    return (ast.Option("as", (ast.Literal(names[0], quoted=True),)),) if names else ()


VERB = Verb(
    "import",
    "Create an image with one layer from a folder or a tar archive; change takes Dockerfile instructions."
    " After to, the engine that creates it, or the namespace of containerd that gets it.",
    "import ./rootfs as team/base:1 change 'LABEL env=prod', 'CMD [\"sh\"]'",
    OperandKind.PATHS,
    options=("as", "change", "message", "platform", "to", "dry run"),
    plan=_plan_import,
)
