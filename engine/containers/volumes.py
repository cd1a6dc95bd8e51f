"""The named volumes of the store: folders that containers mount, and that stay when their containers are removed.

    volumes/NAME/_data         the files, with the name that docker has for the folder
    volumes/NAME/volume.json   when it was created

A container that mounts a volume that does not exist creates it. A folder whose name has a suffix is being removed.
"""

from __future__ import annotations

import os
import re

from imq.engine.oci.timestamp import format_time, parse_time
from imq.grammar.errors import Conflict, NotFound
from imq.grammar.record import TYPE_CHECKING, Record

from .folder import REMOVING, read_json, write_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from imq.engine.store.index import StoreIndex
    from imq.engine.store.layout import Layout

FOLDER = "volumes"
_DATA, _DOCUMENT = "_data", "volume.json"
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*\Z")


_USERS = """
SELECT name FROM container
WHERE EXISTS (SELECT 1 FROM json_each(container.mounts) AS mount WHERE substr(mount.value, 1, length(?1)) = ?1)
ORDER BY name
"""


class Volume(Record):
    """A named volume. `created` is in nanoseconds since the epoch, None when it is unknown."""

    name: str
    path: str
    created: int | None = None


def is_volume_name(text: str) -> bool:
    """Whether a text is the name that a volume can have."""
    return bool(_NAME.match(text)) and not text.endswith(REMOVING)


def path_of(root: str, name: str) -> str:
    """Return the path of the files of a volume of a store."""
    return os.path.join(root, FOLDER, name, _DATA)


def create_volume(layout: Layout, name: str, now: int) -> None:
    """Create a volume unless it exists. The caller holds the lock of the store. Raises `OSError`."""
    folder = layout.make_directory(FOLDER).make_directory(name)
    os.chmod(folder.descriptor, 0o701)  # as docker: containers reach what is in it, others cannot list it
    if folder.status(_DATA) is None:
        write_json(folder.descriptor, _DOCUMENT, {"CreatedAt": format_time(now)})
        os.mkdir(_DATA, 0o755, dir_fd=folder.descriptor)
        os.chmod(folder.path_of(_DATA), 0o755)  # noqa: S103 - whatever the umask is; containers use it
        folder.sync()


def list_volumes(layout: Layout) -> Iterator[Volume]:
    """Yield the volumes of a store by their names."""
    try:
        folder = layout.root_directory.open_directory(FOLDER)
    except (FileNotFoundError, NotADirectoryError):
        return
    for name in sorted(folder.list_names()):
        if not is_volume_name(name):
            continue
        try:
            own = folder.open_directory(name)
            document = read_json(own.descriptor, _DOCUMENT)
        except FileNotFoundError:
            continue  # it was removed meanwhile
        created = document.get("CreatedAt") if isinstance(document, dict) else None
        yield Volume(name, path_of(layout.root, name), parse_time(created) if isinstance(created, str) else None)


def list_users(index: StoreIndex, name: str) -> list[str]:
    """Return the names of the containers that mount a volume, by the rows of the index."""
    return [container for (container,) in index.connection.execute(_USERS, (f"{name}:",))]


def hide_volume(layout: Layout, name: str) -> str:
    """Make a volume unknown, and return the new path of its folder. The caller holds the lock of the store."""
    path = os.path.join(layout.root, FOLDER, name)
    if not is_volume_name(name) or not os.path.isdir(path):
        raise no_such_volume(name)
    trash = path + REMOVING
    os.rename(path, trash)
    return trash


def no_such_volume(name: str) -> NotFound:
    """Return the error for a volume that does not exist."""
    return NotFound(f"No such volume: {name}", code="no-such-volume", hints=("volumes lists them",))


def refuse_volume(name: str, containers: Sequence[str]) -> Conflict:
    """Return the error for the removal of a volume that containers mount."""
    return Conflict(
        f"remove {name}: volume is in use - [{', '.join(containers)}]",
        code="in-use",
        hints=(f"to remove the containers: rm container {' '.join(containers)}",),
    )
