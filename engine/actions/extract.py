"""The verb `extract`: writes files of an image to a folder or an archive."""

from __future__ import annotations

import hashlib
import os

from imq.engine.oci.digest import Digest
from imq.engine.sources.action import Outcome
from imq.engine.sources.action_options import get_option, get_option_values
from imq.engine.sources.contents.entry_values import EntryValues, read_entries
from imq.grammar.errors import Conflict, StatementError
from imq.grammar.record import TYPE_CHECKING

from .export import find_compression, write_folder
from .image_files import open_contents_of, read_entry_rows
from .output_file import FileAction, open_output_file
from .verb import OperandKind, Verb

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any, Self

    from imq.engine.sources.action import Action, ExecutionContext, PlanContext
    from imq.engine.sources.contents.protocol import LayerContents
    from imq.grammar import ast

_END = bytes(1024)
"""The end marker of a tar archive."""
_BLOCK = 512
_READ_SIZE = 1 << 20


class Extract(FileAction):
    """Write entries of an image to the folder or the archive `path`, with their whole paths.

    `compression` is that of an archive; None: a folder. `contents` reads the layers of the source.
    """

    entries: tuple[EntryValues, ...]
    contents: Any
    compression: str | None

    def describe(self) -> Outcome:
        """Return the path, with the number of files."""
        size = sum(entry.size for entry in self.entries if entry.has_content)
        image = Digest(self.entries[0].image)
        existing = self.describe_existing() if self.existing != "folder" or self.force else ""
        return Outcome("extract", self.path, image, size, note=f"{_count(len(self.entries))}{existing}")

    def execute(self, _context: ExecutionContext) -> Iterator[Outcome]:
        """Write the files to a temporary path, then rename it. An error leaves the path unchanged."""
        described = self.describe()
        if self.compression is not None:
            from imq.engine.layers.compression import make_compressor

            with open_output_file(self, described.size) as target:
                compressor = make_compressor(self.compression)
                write_archive(self.contents, self.entries, lambda piece: target.write(compressor.feed(piece)))
                target.write(compressor.finish())
            yield described.replace(size=target.size, note=_count(len(self.entries)))
            return
        yield self._extract_to_folder(described)

    def _extract_to_folder(self, described: Outcome) -> Outcome:
        """Unpack an archive of the files, as an image of one layer. Long runs of zeros are holes in both."""
        import tempfile

        from imq.engine.atomic_writer import OutputFile
        from imq.engine.layers.layer_stack import StackedLayer

        with tempfile.TemporaryFile(dir=_find_folder(self.path), buffering=0) as archive:
            hasher = hashlib.sha256()
            target = OutputFile(archive.fileno(), make_holes=True)

            def write(piece: bytes | memoryview) -> None:
                hasher.update(piece)
                target.write(piece)

            write_archive(self.contents, self.entries, write)
            target.finish()
            archive.seek(0)
            digest = Digest(f"sha256:{hasher.hexdigest()}")
            layer = StackedLayer(digest, digest, "", lambda: _Reader(archive))
            outcome = write_folder([layer], self, described.image)
        return outcome.replace(action="extract")


class _Reader:
    """A file that stays open when its reader closes it."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def read(self, size: int) -> bytes:
        """Return the next bytes."""
        content: bytes = self._file.read(min(size, _READ_SIZE))
        return content

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_raised: object) -> None:
        """Leave the file open."""


def _find_folder(path: str) -> str:
    """Return the nearest folder above a path that exists."""
    folder = os.path.dirname(os.path.abspath(path))
    while not os.path.isdir(folder):
        folder = os.path.dirname(folder)
    return folder


def write_archive(
    contents: LayerContents, entries: tuple[EntryValues, ...], write: Callable[[bytes | memoryview], object]
) -> None:
    """Write a tar archive of entries: those without content first, folders before what they contain."""
    from imq.engine.layers.flatten import encode_header

    for entry in sorted((one for one in entries if not one.has_content), key=lambda one: one.path):
        tar_entry = entry.make_tar_entry()
        write(encode_header(tar_entry, tar_entry.path))
    files = [entry for entry in entries if entry.has_content]
    for entry in files:
        if not entry.size:
            _EntrySink(entry, write).write(b"")
    read_entries(contents, [(entry, _EntrySink(entry, write)) for entry in files if entry.size])
    write(_END)


class _EntrySink:
    """Writes the header of a file, its content and the padding."""

    def __init__(self, entry: EntryValues, write: Callable[[bytes | memoryview], object]) -> None:
        self._entry = entry
        self._write = write
        self._remaining = entry.size
        self._started = False

    def write(self, piece: memoryview | bytes) -> None:
        """Write the next piece of the content."""
        from imq.engine.layers.flatten import encode_header

        if not self._started:
            self._started = True
            tar_entry = self._entry.make_tar_entry()
            self._write(encode_header(tar_entry, tar_entry.path))
        self._remaining -= len(piece)
        self._write(piece)
        if not self._remaining:
            self._write(bytes(-self._entry.size % _BLOCK))


def _count(count: int) -> str:
    return "1 file" if count == 1 else f"{count:,} files"


# Planning


def _plan_extract(act: ast.ActionStatement, context: PlanContext) -> list[Action]:
    to = get_option_values(act, "to", context)
    if len(to) != 1 or act.query is None:
        raise StatementError(
            "extract needs a query of files, and a folder or an archive to write",
            code="operand",
            span=act.span,
            hints=('example: extract files of app:1 where path like "/etc/*" to "out"',),
        )
    query = act.query
    if getattr(query, "explicit_all", False) and getattr(query, "where", None) is not None:
        query = query.replace(table="all_files", explicit_all=False)
    table = context.bind(query).table
    if table.name not in ("files", "all_files"):
        raise StatementError(
            f"extract takes files of images, not {table.name}",
            code="operand",
            span=act.query.span,
            hints=('example: extract files of app:1 where path like "/etc/*" to "out"',),
        )
    entries = [entry for entry in read_entry_rows(query, context) if entry.type_name not in ("whiteout", "opaque")]
    if not entries:
        raise StatementError("no file matches, so nothing is extracted", code="nothing", span=act.span)
    images = {entry.image for entry in entries}
    if len(images) > 1:
        raise StatementError(
            f"extract takes files of one image, and these are of {len(images)}", code="operand", span=act.span
        )
    paths = [entry.path for entry in entries]
    if len({*paths}) < len(paths):
        twice = next(path for path in paths if paths.count(path) > 1)
        raise StatementError(
            f"several layers have {twice}: choose one of them",
            code="operand",
            span=act.span,
            hints=("add a condition on layer_index or status",),
        )
    return [_plan_output(act, to[0], tuple(entries), context)]


def _plan_output(
    act: ast.ActionStatement, text: str, entries: tuple[EntryValues, ...], context: PlanContext
) -> Extract:
    from .output_paths import resolve_output

    output = resolve_output(act, text, context)
    compression = find_compression(output)
    force = get_option(act, "force") is not None
    path = output.path if output.kind == "stream" else os.path.realpath(output.path)
    if compression is None and output.kind and not force and not (output.kind == "folder" and not os.listdir(path)):
        raise Conflict(
            f"{path} already exists and is {'not empty' if output.kind == 'folder' else 'not a folder'}",
            code="exists",
            hints=("choose another folder, or add force to replace it with all its contents",),
        )
    return Extract(path, output.kind, force, entries, open_contents_of(entries, context), compression)


VERB = Verb(
    "extract",
    "Write files of an image to a folder or an archive (.tar, .tar.gz, .tar.zst), with their whole paths. No container"
    " is made. all files of IMAGE has the files that upper layers hide too.",
    'extract files of redis:7 where path like "/etc/*" to "out"',
    OperandKind.ROWS,
    options=("to", "force", "dry run"),
    path_options=("to",),
    plan=_plan_extract,
)
