"""The folder of a container, `containers/ID` in the store: the source of truth about it. The index is derived from it.

    container.json      what the container is, in the form of `docker inspect`; written once
    state.json          how its last run began or ended; replaced by the monitor, missing before the first run
    lock                locked by the monitor from before the start until `state.json` says how the run ended
    config.json         the bundle of the OCI runtime; written at each start
    runtime             a symbolic link to the OCI runtime that started it last
    upper, work         the writable layer of the overlay file system, with the drivers overlay2 and fuse-overlayfs
    attach              the socket on which the monitor takes further clients, while the container runs
    paused              the processes are frozen; it names the process that does so for a moment, to commit
    stopping            an empty file: a user has stopped the container
    rootfs              where the monitor mounts the overlay, in a mount namespace of its own; with the driver vfs, the
                        files of the container
    listing             with the driver vfs: the metadata of each file at its creation, by which changed ones are known
    health.json         the last results of the health check
    volumes/N           the volumes that the image declares
    hosts, hostname, resolv.conf
    log                 standard output and error, in docker's format `json-file`

A folder whose name has a suffix is being created or removed; without its lock it is a leftover.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
from contextlib import suppress

from imq.grammar.record import TYPE_CHECKING, Record

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

FOLDER = "containers"
CREATING, REMOVING = ".creating", ".removing"
DOCUMENT, STATE, LOCK, BUNDLE, LOG, PAUSED = "container.json", "state.json", "lock", "config.json", "log", "paused"
LISTING = "listing"
"""The metadata of the files of a container with the driver vfs, as they were copied."""
LOCK_TIMEOUT = 15.0
"""The maximum seconds that a monitor needs to end after its container, or another process to start it."""
RUNTIME_STATE = "runtime"
"""The folder in `containers/` where the runtime keeps the state of running containers."""
RUNTIME = "runtime"
"""A symbolic link to the program of the OCI runtime that started the container: no other one knows its state."""
HEALTH = "health.json"
"""The last results of the health check, in the form of `docker inspect`."""
STARTING = "starting"
"""The health of a container that was not checked yet."""
STOPPING = "stopping"
"""An empty file: a user has stopped the container, so it is not restarted."""
OVERLAY, FUSE, COPY = "overlay2", "fuse-overlayfs", "vfs"
"""The drivers of root file systems, by docker's names: layers that are mounted, and a copy of their files."""
ALWAYS_RESTARTED = ("always", "unless-stopped")
"""Restart policies by which a container is started again whatever its exit code; without a daemon they are the same."""
ATTACH = "attach"
"""The socket on which a monitor takes further clients."""
ID_LENGTH = 64
_HEX = frozenset("0123456789abcdef")
_FLAGS = os.O_CLOEXEC | os.O_NOFOLLOW
_MAX_DOCUMENT = 8 << 20
"""The maximum size in bytes of a document in the folder."""


class State(Record):
    """How the last run of a container began or ended. Times are nanoseconds since the epoch.

    - `status`: created (never started), running, paused, restarting (after a failure) or exited.
    - `pid` and `ticks` identify its first process: the process ID and its start time in clock ticks since the boot.
    - `restart_count` is how often the monitor has started it again.
    - `exit_code` is None while it runs, and when no monitor saw the end.
    - `health` is the result of the health check while the container runs: starting, healthy or unhealthy.
    - `is_watched`: a monitor watches the run.
    """

    status: str = "created"
    pid: int = 0
    ticks: int = 0
    boot: str = ""
    started: int | None = None
    finished: int | None = None
    exit_code: int | None = None
    oom_killed: bool = False
    error: str = ""
    restart_count: int = 0
    health: str = ""
    is_watched: bool = False

    @property
    def is_running(self) -> bool:
        """Whether the container has processes, paused or not, or will have them again soon."""
        return self.status in ("running", "paused", "restarting")


def is_container_id(name: str) -> bool:
    """Whether a name in `containers/` is that of a complete container."""
    return len(name) == ID_LENGTH and _HEX.issuperset(name)


def read_json(directory: int, name: str) -> Any:
    """Read a JSON file of an open folder; None when it is missing or not JSON."""
    try:
        with os.fdopen(os.open(name, os.O_RDONLY | os.O_NONBLOCK | _FLAGS, dir_fd=directory), "rb") as file:
            return json.loads(file.read(_MAX_DOCUMENT))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None


def read_path(path: str) -> Any:
    """Read a JSON file at a path as `read_json` does."""
    folder, name = os.path.split(path)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | _FLAGS)
    try:
        return read_json(descriptor, name)
    finally:
        os.close(descriptor)


def write_file(directory: int, name: str, content: bytes, mode: int = 0o644, *, durable: bool = True) -> None:
    """Replace a file of an open folder atomically and, unless it can be made again, durably."""
    temporary = f".{name}.{os.getpid()}"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | _FLAGS, mode, dir_fd=directory)
    try:
        view = memoryview(content)
        while view:
            view = view[os.write(descriptor, view) :]
        if durable:
            os.fsync(descriptor)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary, dir_fd=directory)
        raise
    finally:
        os.close(descriptor)
    os.rename(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
    if durable:
        os.fsync(directory)


def write_json(
    directory: int, name: str, document: Mapping[str, Any], mode: int = 0o644, *, durable: bool = True
) -> None:
    """Replace a JSON file of an open folder atomically and, unless it can be made again, durably."""
    content = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
    write_file(directory, name, content, mode, durable=durable)


def overwrite_json(directory: int, name: str, document: Mapping[str, Any]) -> None:
    """Write a JSON file of an open folder where it is: this works on a full disk, as its block is there already."""
    content = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
    descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | _FLAGS, 0o644, dir_fd=directory)
    try:
        os.pwrite(descriptor, content, 0)
        os.ftruncate(descriptor, len(content))
    finally:
        os.close(descriptor)


def lock_container(directory: int, *, wait: bool = False) -> int:
    """Lock a container and return the descriptor that holds the lock. Raises `BlockingIOError` when it is held."""
    descriptor = os.open(LOCK, os.O_RDWR | os.O_CREAT | _FLAGS, 0o600, dir_fd=directory)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def is_locked(directory: int) -> bool:
    """Whether a monitor, or a process that starts or removes the container, holds its lock."""
    try:
        descriptor = os.open(LOCK, os.O_RDONLY | _FLAGS, dir_fd=directory)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as problem:
        if problem.errno not in (errno.EWOULDBLOCK, errno.EAGAIN):
            raise
        return True
    finally:
        os.close(descriptor)
    return False


def read_boot_id() -> str:
    """Return the identifier of this boot of the machine."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""


def read_ticks(pid: int) -> int:
    """Return the start time of a process in clock ticks since the boot; 0 when there is no such process."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return int(file.read().rpartition(b")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        return 0


def read_state(directory: int) -> State:
    """Return the state of a container. A run that no monitor saw the end of has ended with an unknown exit code."""
    document = read_json(directory, STATE)
    if not isinstance(document, dict):
        return State()
    known = {name: document[name] for name in State._fields if name in document}
    state = State(**known)
    if not state.is_running:
        return state
    is_watched = is_locked(directory)
    if not is_watched:
        ended = read_json(directory, STATE)  # it may have ended between the two steps
        if isinstance(ended, dict) and ended.get("status") == "exited":
            return State(**{name: ended[name] for name in State._fields if name in ended})
        if state.boot != read_boot_id() or not state.pid or read_ticks(state.pid) != state.ticks:
            return state.replace(status="exited", pid=0, error=state.error or "its monitor was killed")
    status = "paused" if _exists(directory, PAUSED) and state.pid else state.status
    return state.replace(status=status, is_watched=is_watched)


def _exists(directory: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def driver_of(document: Mapping[str, Any]) -> str:
    """Return the driver of a container, which it has for good."""
    return str(document.get("Driver", OVERLAY))


def has_layers(document: Mapping[str, Any]) -> bool:
    """Whether the root file system of a container is layers that are mounted, and not a copy of their files."""
    return driver_of(document) != COPY


def writable_folder(document: Mapping[str, Any]) -> str:
    """Return the name of the folder of a container in which the container writes."""
    return "upper" if has_layers(document) else "rootfs"
