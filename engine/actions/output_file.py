"""Writes the output files of `save` and `export`."""

from __future__ import annotations

import os
from contextlib import contextmanager

from imq.engine.sources.action import Outcome
from imq.grammar.errors import Conflict
from imq.grammar.record import TYPE_CHECKING, Record

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from imq.engine.atomic_writer import OutputFile
    from imq.engine.layers.codec import Compressor
    from imq.engine.sources.action import Action, ExecutionContext

_REPLACED = {
    "": "",
    "file": ", replaces a file",
    "folder": ", replaces a folder",
    "stream": ", to a stream",
}


class FileAction(Record):
    """An action that writes `path`. `existing` is the kind of file found there by the plan: see `classify_output`.

    With `force` the file is replaced without confirmation.
    """

    path: str
    existing: str
    force: bool

    def describe(self) -> Outcome:
        """Return how the action is listed before it is executed."""
        raise NotImplementedError

    def execute(self, context: ExecutionContext) -> Iterator[Outcome]:
        """Execute the action and yield its outcomes."""
        raise NotImplementedError

    def describe_existing(self) -> str:
        """Return the end of the note in a plan: what the action does with an existing file."""
        return _REPLACED[self.existing]


def list_unconfirmed_overwrites(actions: Iterable[Action]) -> list[str]:
    """Return the paths of files that actions would replace without `force`; the user confirms these."""
    writes = (action for action in actions if isinstance(action, FileAction))
    return [action.path for action in writes if action.existing == "file" and not action.force]


@contextmanager
def open_output_file(action: FileAction, size: int | None) -> Iterator[OutputFile]:
    """Yield the file that an action writes. It appears at its path when the block ends without an error.

    Missing folders are created. `size` is the expected number of bytes, for the error about a full disk. Raises
    `Conflict` for a file that was created after the action was planned.
    """
    from imq.engine.atomic_writer import make_directories, open_output
    from imq.engine.store.atomic_files import FREE_OUTPUT_SPACE, store_errors

    folder = os.path.dirname(os.path.realpath(action.path))
    replace = action.force or action.existing == "file"
    with store_errors(f"write {action.path}", folder, size, FREE_OUTPUT_SPACE):
        try:
            with make_directories(folder), open_output(action.path, replace=replace) as target:
                yield target
        except FileExistsError:
            raise created_meanwhile_error(action) from None


class _CompressedFile:
    """Compresses what is written to a file; `size` is the length of the file so far."""

    def __init__(self, target: OutputFile, compressor: Compressor) -> None:
        self._target = target
        self._compressor = compressor

    @property
    def size(self) -> int:
        """The number of compressed bytes so far."""
        return self._target.size

    def write(self, content: bytes | memoryview) -> int:
        """Write all of the content."""
        self._target.write(self._compressor.feed(content))
        return len(content)

    def finish(self) -> None:
        """Write the end of the compressed stream."""
        self._target.write(self._compressor.finish())


@contextmanager
def open_archive_file(action: FileAction, size: int | None, compression: str) -> Iterator[OutputFile | _CompressedFile]:
    """Open the file of an archive as `open_output_file` does; "gzip" or "zstd" compresses what is written."""
    with open_output_file(action, size) as target:
        if not compression:
            yield target
            return
        from imq.engine.layers.compression import make_compressor

        compressed = _CompressedFile(target, make_compressor(compression))
        yield compressed
        compressed.finish()


def created_meanwhile_error(action: FileAction) -> Conflict:
    """Return the error for a file or folder that was created at the path after the action was planned."""
    return Conflict(
        f"{action.path} was created by another program after the plan was made",
        code="exists",
        hints=("it was not changed; run the statement again",),
    )
