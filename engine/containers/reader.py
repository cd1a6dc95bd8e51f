"""Finds the containers of a store, and reads their folders."""

from __future__ import annotations

import os
import time
from contextlib import contextmanager, suppress

from imq.grammar.errors import Conflict, NotFound, StoreError
from imq.grammar.record import TYPE_CHECKING, Record

from . import unpacked
from .document import ImageFacts, damaged_container, no_such_container
from .folder import (
    COPY,
    DOCUMENT,
    FOLDER,
    FUSE,
    LOCK_TIMEOUT,
    LOG,
    OVERLAY,
    RUNTIME,
    RUNTIME_STATE,
    STATE,
    State,
    driver_of,
    has_layers,
    lock_container,
    read_boot_id,
    read_json,
    read_state,
    read_ticks,
    writable_folder,
)
from .runtime import Runtime, find_by_state, find_runtimes, may_make_cgroups

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from imq.engine.store.store import Store

DEFAULT_STOP_TIMEOUT = 10
_POLL = 0.01
_WRITABLE_KEYS = {OVERLAY: "UpperDir", FUSE: "UpperDir", COPY: "MergedDir"}
"""The names that `docker inspect` has for the folder in which a container writes."""


class Container(Record):
    """A container: its ID, its name, and its document in the form of `docker inspect`."""

    id: str
    name: str
    document: Mapping[str, Any]

    def __hash__(self) -> int:
        """Hash by the ID: the document is a mapping."""
        return hash(self.id)

    @property
    def stop_signal(self) -> str:
        """The signal that asks the container to stop."""
        return str(self.document["Config"].get("StopSignal") or "SIGTERM")

    @property
    def stop_timeout(self) -> int:
        """The seconds that the container has to stop before it is killed."""
        return int(self.document["Config"].get("StopTimeout", DEFAULT_STOP_TIMEOUT))


class Program(Record):
    """A program to run in a container. "" means what the container has."""

    arguments: tuple[str, ...]
    environment: tuple[str, ...] = ()
    user: str = ""
    workdir: str = ""
    detach: bool = False
    terminal: bool = False
    privileged: bool = False


class ContainerReader:
    """The containers of a store. `runtime` is the setting of this name; the runtime is found when it is needed."""

    def __init__(self, store: Store, runtime: str, environment: Mapping[str, str]) -> None:
        self.store = store
        self.setting = runtime
        self.environment = environment

    @property
    def path(self) -> str:
        """The folder of all containers."""
        return os.path.join(self.store.root, FOLDER)

    @property
    def unpacked_path(self) -> str:
        """The folder of the unpacked layers."""
        return os.path.join(self.store.root, unpacked.FOLDER)

    def path_of(self, id_: str) -> str:
        """Return the path of the folder of a container."""
        return os.path.join(self.path, id_)

    def find(self, text: str) -> Container:
        """Return the container of a name, an ID, or the beginning of one; as in docker, names come first.

        Raises `NotFound`, and `Conflict` for the beginning of several IDs.
        """
        self.refresh()
        connection = self.store.index.connection
        name = text.removeprefix("/")
        rows = connection.execute("SELECT id FROM container WHERE name = ? OR id = ?", (name, text)).fetchall()
        if not rows and text and all(character in "0123456789abcdef" for character in text):
            rows = connection.execute(
                "SELECT id FROM container WHERE id >= ? AND id < ?", (text, f"{text}g")
            ).fetchall()
        if not rows:
            if os.path.exists(self.path) and not os.access(self.path, os.R_OK):
                raise needs_owner()
            raise no_such_container(text)
        if len(rows) > 1:
            raise Conflict(f"{text} is the beginning of several IDs of containers", code="ambiguous-id")
        return self.read(rows[0][0])

    def refresh(self) -> None:
        """Bring the index up to date with the folders."""
        from .index_rows import synchronize

        synchronize(self.store.index, self.store.layout)

    def read(self, id_: str) -> Container:
        """Return the container of an ID. Raises `NotFound` when it was removed meanwhile."""
        with self.open_folder(id_) as folder:
            document = read_json(folder, DOCUMENT)
        if not isinstance(document, dict):
            raise damaged_container(self.path_of(id_))
        return Container(id_, document["Name"], document)

    def read_state(self, id_: str) -> State:
        """Return the state of a container. Raises `NotFound` when it was removed meanwhile."""
        with self.open_folder(id_) as folder:
            return read_state(folder)

    def inspect(self, id_: str) -> dict[str, Any]:
        """Return the document of a container with its state, as `docker container inspect` has it."""
        container, state = self.read(id_), self.read_state(id_)
        path, health = self.path_of(id_), None
        if state.health:
            from .health import describe

            with self.open_folder(id_) as folder:
                health = describe(folder, state.health)
        return {
            **container.document,
            "Name": f"/{container.name}",
            "State": {
                "Status": state.status,
                "Running": state.is_running,
                "Paused": state.status == "paused",
                "Restarting": state.status == "restarting",
                "OOMKilled": state.oom_killed,
                "Dead": False,
                "Pid": state.pid if state.is_running else 0,
                "ExitCode": state.exit_code or 0,
                "Error": state.error,
                "StartedAt": _format_moment(state.started),
                "FinishedAt": _format_moment(None if state.pid else state.finished),
                **({} if health is None else {"Health": health}),
            },
            "LogPath": os.path.join(path, LOG) if state.started is not None else "",
            "ResolvConfPath": os.path.join(path, "resolv.conf"),
            "HostnamePath": os.path.join(path, "hostname"),
            "HostsPath": os.path.join(path, "hosts"),
            "RestartCount": state.restart_count,
            "Driver": driver_of(container.document),
            "GraphDriver": {
                "Name": driver_of(container.document),
                "Data": {_WRITABLE_KEYS[driver_of(container.document)]: self.writable_path(container)},
            },
        }

    @contextmanager
    def open_folder(self, id_: str) -> Iterator[int]:
        """Open the folder of a container. Raises `NotFound`, and `StoreError` when it belongs to another user."""
        try:
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
            folder = os.open(self.path_of(id_), flags)
        except FileNotFoundError:
            raise no_such_container(id_[:12]) from None
        except PermissionError:
            raise needs_owner() from None
        try:
            yield folder
        finally:
            os.close(folder)

    def read_image(self, name: str, manifest: str) -> ImageFacts:
        """Return what a container is made from: the image of this manifest. Raises `NotFound` when it is gone."""
        from imq.engine.oci.config import Config
        from imq.engine.oci.digest import Digest

        connection = self.store.index.connection
        row = connection.execute(
            "SELECT image.id, (SELECT digest FROM entry WHERE entry.image = image.key AND name IS ?), platform,"
            " (SELECT value FROM meta WHERE key = 'signature')"
            " FROM image WHERE manifest = ?",
            (name, manifest),
        ).fetchone()
        if row is None:
            raise NotFound(f"No such image: {name}", code="no-such-image")
        id_, digest, platform, signature = row
        config = Config.parse(self.store.read_document(Digest(id_)))
        layers = unpacked.list_image_layers(self.store, manifest)
        return ImageFacts(
            name,
            id_,
            manifest,
            digest,
            tuple(str(layer.diff_id) for layer in layers),
            config.runtime,
            platform or "",
            tuple((str(layer.digest), layer.media_type) for layer in layers),
            signature or "",
        )

    def has_unpacked(self, image: ImageFacts) -> bool:
        """Whether all layers of an image are unpacked."""
        return all(
            os.path.isdir(os.path.join(self.unpacked_path, unpacked.name_of(diff_id))) for diff_id in image.diff_ids
        )

    def find_runtimes(self) -> tuple[str, ...]:
        """Return the paths of the OCI runtimes for a new run. Raises `RuntimeFailed` when there is none."""
        return find_runtimes(self.setting, self.environment)

    def runtime_of(self, id_: str) -> Runtime:
        """Return the OCI runtime that started a container. Raises `RuntimeFailed` when it is not installed any more."""
        root = os.path.join(self.path, RUNTIME_STATE)
        path = ""
        with suppress(OSError):
            path = os.readlink(os.path.join(self.path_of(id_), RUNTIME))
        if not os.access(path, os.X_OK):
            name = find_by_state(os.path.join(root, id_)) or self.setting
            path = find_runtimes(name, self.environment)[0]
        return Runtime(path, root, has_cgroups=may_make_cgroups())

    def lock_stopped(self, folder: int, container: Container) -> int:
        """Lock a container that has no process. Raises `Conflict` when it runs, and `NotFound` when it was removed."""
        deadline = time.monotonic() + LOCK_TIMEOUT
        while True:
            try:
                lock = lock_container(folder)
            except BlockingIOError:
                if read_state(folder).is_running:
                    raise is_running_error(container) from None
                if time.monotonic() > deadline:
                    raise Conflict(
                        f"the container {container.name} is being started or removed by another process", code="busy"
                    ) from None
                time.sleep(_POLL)
                continue
            except FileNotFoundError:  # no file can be made in a folder that was removed
                raise no_such_container(container.name) from None
            try:
                if not os.path.exists(self.path_of(container.id)):  # removed while this process waited
                    raise no_such_container(container.name)
                if self.find_unwatched(folder) is not None:
                    raise is_running_error(container)
            except BaseException:
                os.close(lock)
                raise
            return lock

    @staticmethod
    def find_unwatched(folder: int) -> State | None:
        """Return the state of a container that runs although its monitor was killed. The caller holds the lock."""
        document = read_json(folder, STATE)
        if not isinstance(document, dict) or document.get("status") != "running":
            return None
        state = State(**{name: document[name] for name in State._fields if name in document})
        is_alive = state.boot == read_boot_id() and state.pid and read_ticks(state.pid) == state.ticks
        return state if is_alive else None

    def list_layers(self, container: Container) -> list[str]:
        """Return the folders of the layers of a container, the highest first."""
        lower = [os.path.join(self.unpacked_path, name) for name in unpacked.stack_layers(container.document)]
        return [self.writable_path(container), *(lower if has_layers(container.document) else ())]

    def writable_path(self, container: Container) -> str:
        """Return the folder in which a container writes."""
        return os.path.join(self.path_of(container.id), writable_folder(container.document))


def is_running_error(container: Container) -> Conflict:
    """Return the error for a container that runs already."""
    return Conflict(f"the container {container.name} is running already", code="container-running")


def _format_moment(moment: int | None) -> str:
    from imq.engine.oci.timestamp import format_time

    return format_time(moment) if moment is not None else "0001-01-01T00:00:00Z"


def needs_owner() -> StoreError:
    """Return the error for containers whose folders this user cannot read."""
    return StoreError(
        "these containers belong to another user",
        code="permission",
        hints=("run imq as the owner of the store",),
    )
