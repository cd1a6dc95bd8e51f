"""Cleans up after processes that were killed: containers half created or removed, runs without a monitor."""

from __future__ import annotations

import os
import time
from contextlib import suppress

from imq.grammar.errors import ImqError
from imq.grammar.record import TYPE_CHECKING

from .folder import (
    CREATING,
    LOCK_TIMEOUT,
    PAUSED,
    REMOVING,
    RUNTIME_STATE,
    STATE,
    State,
    is_container_id,
    lock_container,
    read_json,
    read_ticks,
)
from .removal import remove_folder

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from typing import Any, Protocol

    from imq.engine.store.store import Store

    from .runtime import Runtime

    class Containers(Protocol):
        """The containers of one store: see `containers.py`, which calls `recover`."""

        store: Store

        @property
        def path(self) -> str: ...  # noqa: D102 - see the class
        def runtime_of(self, id_: str) -> Runtime: ...  # noqa: D102
        def path_of(self, id_: str) -> str: ...  # noqa: D102
        def open_folder(self, id_: str) -> AbstractContextManager[int]: ...  # noqa: D102
        def read(self, id_: str) -> Any: ...  # noqa: D102
        def settle(self, folder: int, id_: str) -> bool: ...  # noqa: D102
        def find_unwatched(self, folder: int) -> State | None: ...  # noqa: D102
        def remove(self, container: Any) -> int: ...  # noqa: D102


_LONGEST_OWNER = 64
"""The most bytes of the process ID and the start time of a process."""


def recover(containers: Containers) -> None:
    """Clean up after processes that were killed: containers half created or removed, runs without a monitor.

    What other processes work on is left alone.
    """
    if os.geteuid() != 0:
        return
    try:
        names = os.listdir(containers.path)
    except FileNotFoundError:
        return
    for name in names:
        path = os.path.join(containers.path, name)
        with suppress(OSError, ImqError):
            if name.endswith((CREATING, REMOVING)):
                folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
                try:
                    changed = os.fstat(folder).st_mtime
                    lock = lock_container(folder)
                finally:
                    os.close(folder)
                try:
                    if name.endswith(REMOVING) or time.time() - changed > LOCK_TIMEOUT:
                        remove_folder(path, State())
                finally:
                    os.close(lock)
            elif is_container_id(name):
                with containers.open_folder(name) as folder:
                    _end_lost_pause(containers, folder, name)
                    if read_json(folder, STATE) is not None and containers.settle(folder, name):
                        _remove_if_automatic(containers, name)
                    elif os.path.exists(os.path.join(containers.path, RUNTIME_STATE, name)):
                        _end_unknown_run(containers, folder, name)
    _end_runs_of_removed_containers(containers)
    _remove_hidden_volumes(containers)


def _end_lost_pause(containers: Containers, folder: int, id_: str) -> None:
    """Let a container go on that a process has paused which was killed meanwhile."""
    try:
        with os.fdopen(os.open(PAUSED, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder), "rb") as file:
            owner = file.read(_LONGEST_OWNER).split()
    except OSError:
        return
    if len(owner) == 2 and read_ticks(int(owner[0])) != int(owner[1]):
        with suppress(ImqError):  # it was killed before it paused the container
            containers.runtime_of(id_).call("resume", id_)
        with suppress(FileNotFoundError):
            os.unlink(PAUSED, dir_fd=folder)


def _remove_hidden_volumes(containers: Containers) -> None:
    from imq.engine.layers.remove_tree import remove_tree

    from .volumes import FOLDER as VOLUMES

    with suppress(OSError):
        for entry in os.scandir(os.path.join(containers.store.root, VOLUMES)):
            if entry.name.endswith(REMOVING):
                remove_tree(entry.path)


def _end_unknown_run(containers: Containers, folder: int, id_: str) -> None:
    """End a run whose monitor was killed while the runtime started it: no state says that it runs."""
    lock = lock_container(folder)  # raises BlockingIOError while a monitor or the runtime has it
    try:
        if containers.find_unwatched(folder) is None:
            containers.runtime_of(id_).delete(id_)
    finally:
        os.close(lock)


def _end_runs_of_removed_containers(containers: Containers) -> None:
    """End runs that the runtime has, but whose containers were removed."""
    with suppress(OSError, ImqError):
        for name in os.listdir(os.path.join(containers.path, RUNTIME_STATE)):
            paths = (containers.path_of(name), containers.path_of(name) + REMOVING)
            if is_container_id(name) and not any(map(os.path.exists, paths)):
                containers.runtime_of(name).delete(name)


def _remove_if_automatic(containers: Containers, id_: str) -> None:
    container = containers.read(id_)
    if container.document["HostConfig"]["AutoRemove"]:
        containers.remove(container)
