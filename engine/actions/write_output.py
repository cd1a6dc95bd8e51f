"""Writing the file of an action: save's archive, and export's."""

from __future__ import annotations

import os
from contextlib import contextmanager

from imq.engine.atomic_writer import made_folders, open_output
from imq.engine.store.atomic_files import ELSEWHERE, told
from imq.grammar.errors import Conflict
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from imq.engine.atomic_writer import OutputFile

    from .base import Export, Save


@contextmanager
def written(action: Export | Save, size: int | None) -> Iterator[OutputFile]:
    """Yield the file that an action writes, which is there when the block ends well; missing folders are made.

    `size` is how many bytes it may take, to be told when there is no room. A file that has come to be since the plan
    was made is a `Conflict`.
    """
    folder = os.path.dirname(os.path.realpath(action.path))
    replace = action.force or action.existing == "file"
    with told(f"write {action.path}", folder, size, ELSEWHERE):
        try:
            with made_folders(folder), open_output(action.path, replace=replace) as target:
                yield target
        except FileExistsError:
            raise came_meanwhile(action) from None


def came_meanwhile(action: Export | Save) -> Conflict:
    """Return the error for something at the path that was not there when the action was planned."""
    return Conflict(
        f"{action.path} was made by another program since this was planned",
        code="exists",
        hints=("it was left as it is; run the statement again",),
    )
