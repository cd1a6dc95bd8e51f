"""The verb `cat`: writes the content of a file of an image."""

from __future__ import annotations

from imq.engine.result import Content
from imq.engine.sources.contents.entry_values import read_entries
from imq.grammar.errors import StatementError
from imq.grammar.record import TYPE_CHECKING

from .image_files import find_entry, list_operands, open_contents_of
from .verb import OperandKind, Verb

if TYPE_CHECKING:
    from typing import BinaryIO

    from imq.engine.sources.action import PlanContext
    from imq.grammar import ast


def _cat(act: ast.ActionStatement, context: PlanContext) -> Content:
    image, paths = list_operands(act) if act.references else (None, ())
    if image is None or not paths or act.query is not None:
        raise StatementError(
            "cat needs an image and the path of a file in it",
            code="operand",
            span=act.span,
            hints=("example: cat redis:7 /etc/passwd", "of a container: cat container web /etc/passwd"),
        )
    entries = [find_entry(image, path, act, context) for path in context.literals(paths)]
    for entry, path in zip(entries, paths, strict=True):
        if not entry.has_content:
            raise StatementError(
                f"{entry.path} is a {entry.type_name}, not a file",
                code="not-a-file",
                span=path.span,
                hints=(f"to list a directory: files of … where directory = {entry.path}",),
            )
    contents = open_contents_of(entries, context)

    def write(stream: BinaryIO) -> None:
        for entry in entries:
            read_entries(contents, [(entry, _StreamSink(stream))])

    return Content(write)


class _StreamSink:
    """Writes a content to a stream."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def write(self, piece: memoryview | bytes) -> None:
        """Write the next piece."""
        self._stream.write(piece)


VERB = Verb(
    "cat",
    "Write the content of files of an image: cat IMAGE PATH, or of a container: cat container NAME PATH. Symbolic links"
    " are followed as in a container. No container is made, and the image is not unpacked.",
    "cat redis:7 /etc/passwd",
    OperandKind.IMAGE_AND_PATH,
    options=("from",),
    answer=_cat,
)
