"""Removes the folder of a container. What is left after a crash is removed later: its name says that it is to go."""

from __future__ import annotations

import os
from contextlib import suppress

from imq.grammar.record import TYPE_CHECKING

from .folder import DOCUMENT, REMOVING, read_json

if TYPE_CHECKING:
    from .folder import State

LAST_USES = "last-used"
"""The folder in `containers/` with an empty file for each image that removed containers used; its time is the use."""


def remove_folder(path: str, state: State) -> None:
    """Remove the folder of a container that has no process, and remember when it used its image.

    The caller holds the lock of the container. Raises `OSError`; then a later removal goes on.
    """
    from imq.engine.layers.remove_tree import remove_tree

    remove_tree(hide_folder(path, state))


def hide_folder(path: str, state: State) -> str:
    """Make a container unknown, remember when it used its image, and return the new path of its folder."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        document = read_json(descriptor, DOCUMENT)
    finally:
        os.close(descriptor)
    used = state.finished or state.started
    if isinstance(document, dict) and used:
        with suppress(OSError):
            _note_use(os.path.dirname(path), str(document.get("Image", "")), used)
    trash = path.removesuffix(REMOVING) + REMOVING
    if trash != path:
        os.rename(path, trash)
    return trash


def _note_use(containers: str, image_id: str, used: int) -> None:
    folder = os.path.join(containers, LAST_USES)
    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, image_id.replace(":", "-"))
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644))
    if os.stat(path).st_mtime_ns < used or os.stat(path).st_size == 0:
        os.utime(path, ns=(used, used))


def list_uses(containers: str) -> dict[str, int]:
    """Return when removed containers last used each image, by its ID, in nanoseconds since the epoch."""
    try:
        with os.scandir(os.path.join(containers, LAST_USES)) as entries:
            return {entry.name.replace("-", ":", 1): entry.stat().st_mtime_ns for entry in entries}
    except OSError:
        return {}


def forget_uses(containers: str, kept: set[str]) -> None:
    """Forget the uses of images that are not in the store any more."""
    for image_id in list_uses(containers):
        if image_id not in kept:
            with suppress(OSError):
                os.unlink(os.path.join(containers, LAST_USES, image_id.replace(":", "-", 1)))
