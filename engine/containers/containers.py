"""The containers of one store: found by name, created, started, stopped and removed."""

from __future__ import annotations

import json
import os
import select
import signal
import time
from contextlib import closing, contextmanager, suppress

from imq.engine.layers.user_namespace import has_single_id, is_user_namespace, read_id_map
from imq.engine.oci.platform import host_platform
from imq.grammar.errors import Conflict, ImqError, NotFound, StatementError, StoreError
from imq.grammar.record import TYPE_CHECKING, Record

from . import unpacked
from .bundle import (
    BundleOptions,
    Mount,
    default_environment,
    make_arguments,
    make_bundle,
    make_environment,
    make_process,
    read_kernel_version,
)
from .client_streams import ClientStreams, read_report
from .document import (
    CreateOptions,
    ImageFacts,
    check_limits,
    damaged_container,
    make_document,
    name_taken,
    no_such_container,
)
from .drivers import choose_driver
from .folder import (
    BUNDLE,
    COPY,
    CREATING,
    DOCUMENT,
    FOLDER,
    FUSE,
    LISTING,
    LOCK_TIMEOUT,
    LOG,
    OVERLAY,
    PAUSED,
    RUNTIME,
    RUNTIME_STATE,
    STATE,
    STOPPING,
    State,
    driver_of,
    has_layers,
    is_container_id,
    lock_container,
    read_boot_id,
    read_json,
    read_state,
    read_ticks,
    writable_folder,
    write_file,
    write_json,
)
from .image_checks import (
    check_platform,
    check_source,
    check_user,
    find_user_in,
    fits_mount,
    stack_layers,
)
from .network_files import make_network_files
from .removal import forget_uses, remove_folder
from .runtime import (
    INIT_TARGET,
    TIMEOUT,
    Runtime,
    RuntimeFailed,
    cgroup_of,
    find_by_state,
    find_hints,
    find_init,
    find_runtimes,
    is_crun,
    may_make_cgroups,
    spawn,
)
from .seccomp_filters import ANNOTATION, find_filter
from .users import User
from .volumes import create_volume

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
    from typing import Any

    from imq.engine.store.directory import Directory
    from imq.engine.store.store import Store

    from .attachment import Attachment
    from .changes import Change

_KILL_TIMEOUT = 20.0
"""The maximum seconds that a container exists after SIGKILL."""
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


class Containers:
    """The containers of a store. `runtime` is the setting of this name; the runtime is found when it is needed."""

    def __init__(self, store: Store, runtime: str, environment: Mapping[str, str]) -> None:
        self.store = store
        self.setting = runtime
        self.environment = environment

    def _require_privileges(self) -> None:
        """Raise `StoreError` for a process that is not root."""
        if os.geteuid() != 0:
            raise _needs_owner()

    # Finding

    @property
    def path(self) -> str:
        """The folder of all containers."""
        return os.path.join(self.store.root, FOLDER)

    @property
    def _unpacked_path(self) -> str:
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
                raise _needs_owner()
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
                "Data": {_WRITABLE_KEYS[driver_of(container.document)]: self._writable_path(container)},
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
            raise _needs_owner() from None
        try:
            yield folder
        finally:
            os.close(folder)

    # Creating

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
            os.path.isdir(os.path.join(self._unpacked_path, unpacked.name_of(diff_id))) for diff_id in image.diff_ids
        )

    def create(
        self, options: CreateOptions, image: ImageFacts, now: int, on_read: Callable[[int], None] = lambda _: None
    ) -> Container:
        """Create a container. Its layers are unpacked if they are not yet. After an error nothing is left of it."""
        from imq.engine.store.atomic_files import store_errors

        self._require_privileges()
        check_platform(image)
        if not may_make_cgroups():
            check_limits(options)
        store = self.store
        store.check_exists()
        id_ = os.urandom(32).hex()
        name = options.name or self._choose_name(id_)
        document = make_document(id_, options.replace(name=name), image, now, self.path_of(id_))
        for mount in options.mounts:
            if mount.source:
                check_source(mount)
        with (
            store_errors("create the container", store.root),
            unpacked.hold_layers(folder := unpacked.open_folder(store)),
        ):
            layers = unpacked.list_layers(image)
            document["Driver"] = choose_driver(folder) if fits_mount(document) else COPY
            if has_layers(document):
                unpacked.unpack_missing(store, folder, layers, on_read)
                check_user([folder.path_of(one) for one in stack_layers(document)], document["Config"]["User"])
            lock = -1
            try:
                lock = self._make_folder(id_, document)
                if not has_layers(document):
                    root = os.path.join(self.path_of(id_) + CREATING, "rootfs")
                    unpacked.unpack_root(store, folder, layers, root, on_read)
                    check_user([root], document["Config"]["User"])
                    self._list_files(id_, durable=not options.auto_remove)
                volumes = [mount.volume for mount in options.mounts if mount.volume]
                self._publish(id_, name, image, volumes, now, durable=not options.auto_remove)
            except BaseException:
                with suppress(FileNotFoundError):
                    remove_folder(self.path_of(id_) + CREATING, State())
                raise
            finally:
                if lock >= 0:
                    os.close(lock)
        return Container(id_, name, document)

    def _choose_name(self, id_: str) -> str:
        """Return a name for a container without one."""
        from .names import choose_name, read_names

        containers = self._containers_directory()
        return choose_name(id_, read_names(containers.path))

    def _make_folder(self, id_: str, document: Mapping[str, Any]) -> int:
        """Make the folder of a new container, without its files, and return the descriptor that holds its lock."""
        containers = self.store.layout.make_directory(FOLDER)
        os.chmod(containers.descriptor, 0o700)
        path = self.path_of(id_) + CREATING
        os.mkdir(path, 0o700)
        folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        lock = -1
        try:
            lock = lock_container(folder)
            overlay = ("upper", "work", "rootfs") if has_layers(document) else ()
            for name in (*overlay, "volumes"):
                os.mkdir(name, 0o755, dir_fd=folder)
                os.chmod(name, 0o755, dir_fd=folder)  # noqa: S103 - whatever the umask is; the root of a container
            for mount in document["Mounts"]:
                if mount["Type"] == "volume" and not mount.get("Name"):
                    os.mkdir(os.path.join("volumes", os.path.basename(mount["Source"])), 0o755, dir_fd=folder)
            write_json(folder, DOCUMENT, document, 0o600, durable=not document["HostConfig"]["AutoRemove"])
        except BaseException:
            if lock >= 0:
                os.close(lock)
            raise
        finally:
            os.close(folder)
        return lock

    def _list_files(self, id_: str, *, durable: bool) -> None:
        """Write the listing of the files of a new container, by which its changes are known."""
        from imq.engine.layers.pack_changes import list_files
        from imq.engine.store.atomic_files import sync_file_system

        path = self.path_of(id_) + CREATING
        with open(os.path.join(path, LISTING), "xb") as file:
            file.writelines(list_files(os.path.join(path, "rootfs")))
        if durable:
            sync_file_system(self._containers_directory())

    def _publish(
        self, id_: str, name: str, image: ImageFacts, volumes: Sequence[str], now: int, *, durable: bool
    ) -> None:
        """Give the folder its name, unless another container has the same name, or the image was removed.

        The volumes that it mounts are created if they do not exist.
        """
        from .names import read_names

        with self.store.layout.lock():
            if (other := read_names(self.path).get(name)) is not None:
                raise name_taken(name, other)
            if not self._has_image(image):
                raise NotFound(f"another process removed the image {image.name}", code="changed")
            for volume in volumes:
                create_volume(self.store.layout, volume, now)
            os.rename(self.path_of(id_) + CREATING, self.path_of(id_))
            if durable:
                self._containers_directory().sync()

    def _has_image(self, image: ImageFacts) -> bool:
        """Whether the store has an image. The index is read only if index.json has changed meanwhile."""
        if image.signature and image.signature == self.store.layout.read_signature():
            return True
        self.store.index.sync_with_layout()
        found = self.store.index.connection.execute("SELECT 1 FROM image WHERE manifest = ?", (image.manifest,))
        return found.fetchone() is not None

    def rename(self, container: Container, name: str) -> Container:
        """Give a container another name, and return it. Raises `Conflict` (`name-taken`), and `StatementError`."""
        from .names import read_names

        self._require_privileges()
        CreateOptions(name=name).check()
        with self.store.layout.lock():
            if (other := read_names(self.path).get(name)) is not None:
                raise name_taken(name, other)
            document = {**container.document, "Name": name}
            with self.open_folder(container.id) as folder:
                write_json(folder, DOCUMENT, document, 0o600)
        return Container(container.id, name, document)

    def _containers_directory(self) -> Directory:
        return self.store.layout.make_directory(FOLDER)

    # Starting

    def find_runtimes(self) -> tuple[str, ...]:
        """Return the paths of the OCI runtimes for a new run. Raises `RuntimeFailed` when there is none."""
        return find_runtimes(self.setting, self.environment)

    def start(self, container: Container, *, attach: bool = False, stdin: bool = False) -> Attachment | None:
        """Start a container, and return its streams with `attach`. With `stdin` it reads that of this process.

        Raises `Conflict` when it runs already, and `RuntimeFailed` when the runtime refuses it.
        """
        self._require_privileges()
        runtimes = self.find_runtimes()
        with self.open_folder(container.id) as folder:
            lock = self._lock_stopped(folder, container)
            try:
                profile = self._prepare(folder, container, runtimes[0])
                return self._start_monitor(container, runtimes, profile, lock, attach=attach, stdin=stdin)
            finally:
                os.close(lock)

    def start_attached(self, container: Container, *, stdin: bool = False) -> Attachment:
        """Start a container and return its streams, as `start` does."""
        attachment = self.start(container, attach=True, stdin=stdin)
        assert attachment is not None
        return attachment

    def _lock_stopped(self, folder: int, container: Container) -> int:
        """Lock a container that has no process. Raises `Conflict` when it runs."""
        deadline = time.monotonic() + LOCK_TIMEOUT
        while True:
            try:
                lock = lock_container(folder)
            except BlockingIOError:
                if read_state(folder).is_running:
                    raise _is_running(container) from None
                if time.monotonic() > deadline:
                    raise Conflict(
                        f"the container {container.name} is being started or removed by another process", code="busy"
                    ) from None
                time.sleep(_POLL)
                continue
            try:
                if not os.path.exists(self.path_of(container.id)):  # removed while this process waited
                    raise no_such_container(container.name)
                if self.find_unwatched(folder) is not None:
                    raise _is_running(container)
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

    def _prepare(self, folder: int, container: Container, runtime: str) -> Mapping[str, Any] | None:
        """Write the bundle of a container for a runtime, which others take too.

        Returns the seccomp profile that crun will compile, None if it has nothing to compile. Raises `StatementError`
        for a user that the files of the container do not have.
        """
        document = container.document
        config, host = document["Config"], document["HostConfig"]
        unpacked.check_owner(self.store)
        self._unpack_lost_layers(document)
        user = self._find_user(container, config["User"])
        for mount in document["Mounts"]:
            check_source(Mount(mount["Source"], mount["Destination"]))
        shares_name = "host" in (host["NetworkMode"], host.get("UTSMode"))
        hostname = os.uname().nodename if shares_name else config["Hostname"]
        for name, content in make_network_files(host, hostname).items():
            write_file(folder, name, content, durable=False)
        path = self.path_of(container.id)
        files = [Mount(f"{path}/{name}", f"/etc/{name}") for name in ("hosts", "hostname", "resolv.conf")]
        binds = [
            Mount(one["Source"], one["Destination"], not one["RW"], one.get("Propagation", "rprivate"))
            for one in document["Mounts"]
        ]
        targets = {mount.target for mount in binds}
        arguments = make_arguments(config)
        if host.get("Init"):
            files.append(Mount(find_init(), INIT_TARGET, read_only=True))
            arguments = (INIT_TARGET, "--", *arguments)
        bundle = make_bundle(
            BundleOptions(
                arguments=arguments,
                environment=make_environment(
                    default_environment(hostname, terminal=bool(config.get("Tty"))), config["Env"]
                ),
                workdir=config["WorkingDir"],
                user=user,
                host_config=host,
                hostname=hostname,
                mounts=(*(one for one in files if one.target not in targets), *binds),
                architecture=host_platform().architecture,
                kernel=read_kernel_version(),
                cgroup=cgroup_of(container.id),
                terminal=bool(config.get("Tty")),
                limits_swap=os.path.exists("/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes"),
                has_cgroups=may_make_cgroups(),
                in_user_namespace=is_user_namespace(),
                has_single_id=has_single_id(),
            )
        )
        profile: Mapping[str, Any] | None = bundle["linux"].get("seccomp") if is_crun(runtime) else None
        if profile and (compiled := find_filter(self._unpacked_path, profile, runtime)):
            bundle["annotations"] = {ANNOTATION: compiled}
            profile = None
        write_json(folder, BUNDLE, bundle, 0o600, durable=False)
        for name in (PAUSED, STOPPING):
            with suppress(FileNotFoundError):
                os.unlink(name, dir_fd=folder)
        return profile

    def _unpack_lost_layers(self, document: Mapping[str, Any]) -> None:
        """Unpack layers that somebody has removed. Raises `NotFound` when the image is gone too."""
        paths = [os.path.join(self._unpacked_path, name) for name in stack_layers(document)]
        if has_layers(document) and not all(map(os.path.isdir, paths)):
            folder = unpacked.open_folder(self.store)
            with unpacked.hold_layers(folder):
                found = unpacked.list_image_layers(self.store, document["ImageManifest"])
                unpacked.unpack_missing(self.store, folder, found)

    def _find_user(self, container: Container, text: str) -> User:
        """Return a user by the files of a container, with the groups that it is given too."""
        added = container.document["HostConfig"].get("GroupAdd") or ()
        user = find_user_in(self._list_layers(container), text, added)
        for number, path in ((user.uid, "/proc/self/uid_map"), (user.gid, "/proc/self/gid_map")):
            if not any(first <= number < first + count for first, _, count in read_id_map(path)):
                raise StatementError(
                    f"the ID {number} of the container's user is not in the user namespace",
                    code="user-namespace",
                    hints=("/etc/subuid and /etc/subgid have the IDs of each user: give this one more",),
                )
        return user

    def _list_layers(self, container: Container) -> list[str]:
        """Return the folders of the layers of a container, the highest first."""
        lower = [os.path.join(self._unpacked_path, name) for name in stack_layers(container.document)]
        return [self._writable_path(container), *(lower if has_layers(container.document) else ())]

    def _writable_path(self, container: Container) -> str:
        return os.path.join(self.path_of(container.id), writable_folder(container.document))

    def _start_monitor(
        self,
        container: Container,
        runtimes: Sequence[str],
        profile: Mapping[str, Any] | None,
        lock: int,
        *,
        attach: bool,
        stdin: bool,
    ) -> Attachment | None:
        from .attachment import read_terminal_size

        path, document = self.path_of(container.id), container.document
        has_run = os.path.exists(os.path.join(path, STATE))
        volumes = [
            {"target": mount["Destination"], "source": mount["Source"]}
            for mount in document["Mounts"]
            if mount["Type"] == "volume" and not has_run and not mount.get("NoCopy")
        ]
        job = {
            "id": container.id,
            "folder": path,
            "unpacked": self._unpacked_path,
            "layers": stack_layers(document) if has_layers(document) else (),
            "driver": driver_of(document),
            "has_cgroups": may_make_cgroups(),
            "runtimes": runtimes,
            "compiled": profile,
            "runtime_root": os.path.join(self.path, RUNTIME_STATE),
            "timeout": TIMEOUT,
            "new_volumes": volumes,
            "auto_remove": document["HostConfig"]["AutoRemove"],
            "run_timeout": document["Timeout"],
            "terminal": bool(document["Config"].get("Tty")),
            "keeps_stdin": document["Config"]["OpenStdin"],
            "attached": attach and stdin,
            "restart": document["HostConfig"]["RestartPolicy"],
            "size": read_terminal_size() if attach else None,
            "health": _read_health_check(document["Config"]),
        }
        return self._launch(container, job, lock, attach=attach, stdin=stdin)

    def _launch(
        self, container: Container, job: Mapping[str, Any], lock: int, *, attach: bool, stdin: bool
    ) -> Attachment | None:
        """Start the monitor of a job, and wait until it has started the container."""
        from .launcher import MONITOR, launch
        from .sockets import make_control

        streams = ClientStreams(job["terminal"], attach=attach, stdin=stdin and attach)
        control, other = make_control()
        job_file = os.memfd_create("imq-job", os.MFD_CLOEXEC)
        try:
            os.write(job_file, json.dumps(job).encode())
            os.lseek(job_file, 0, os.SEEK_SET)
            launch(MONITOR, (job_file, other, lock, *streams.theirs), TIMEOUT)
        except BaseException:
            streams.close()
            os.close(control)
            raise
        finally:
            os.close(job_file)
            os.close(other)
            streams.close_theirs()
        try:
            report = read_report(control, TIMEOUT * 2)
            if report is None:
                raise RuntimeFailed("the monitor of the container ended before it was started")
            if "error" in report:
                raise _start_error(container, report)
        except BaseException:
            streams.close()
            os.close(control)
            raise
        if not attach:
            os.close(control)
            return None
        return streams.attachment(control)

    def attach(self, container: Container, *, stdin: bool = False) -> Attachment:
        """Return the streams of a running container. Raises `Conflict` when it does not run, or has no monitor."""
        from .attachment import read_terminal_size, send_control
        from .folder import ATTACH
        from .sockets import connect, send_descriptors

        state = self.read_state(container.id)
        if state.status != "running":
            raise Conflict(f"the container {container.name} is {state.status}, not running", code="not-running")
        config = container.document["Config"]
        terminal = bool(config.get("Tty"))
        with self.open_folder(container.id) as folder:
            try:
                control = connect(folder, ATTACH)
            except OSError:
                raise Conflict(
                    f"the container {container.name} has no monitor, so nothing can attach to it",
                    code="no-monitor",
                    hints=("its monitor was killed: restart the container",),
                ) from None
        streams = ClientStreams(terminal, attach=True, stdin=stdin and bool(config.get("OpenStdin")), piped=True)
        try:
            send_descriptors(control, b"\n", streams.theirs)
        finally:
            streams.close_theirs()
        if terminal and (size := read_terminal_size()) is not None:
            send_control(control, {"size": size})
        return streams.attachment(control)

    # Signals and stopping

    def send_signal(self, container: Container, name: str) -> None:
        """Send a signal to the first process of a container. Raises `Conflict` when it does not run."""
        number = parse_signal(name)
        state = self.read_state(container.id)
        if not state.is_running:
            raise Conflict(f"the container {container.name} is not running", code="not-running")
        if number in (signal.SIGKILL, parse_signal(container.stop_signal)):
            self._mark_stopping(container)
        if state.status == "restarting":
            return
        if state.status == "paused" and number == signal.SIGKILL:
            self.unpause(container)
        try:
            process = os.pidfd_open(state.pid)
        except ProcessLookupError:
            return
        except PermissionError:
            raise _needs_owner() from None
        try:
            if read_ticks(state.pid) == state.ticks:
                signal.pidfd_send_signal(process, number)
        except ProcessLookupError:
            pass
        except PermissionError:
            raise _needs_owner() from None
        finally:
            os.close(process)

    def _mark_stopping(self, container: Container) -> None:
        """Say that a user stops a container, so that its monitor does not start it again."""
        with suppress(NotFound), self.open_folder(container.id) as folder:
            write_file(folder, STOPPING, b"", durable=False)

    def wait_until_stopped(self, container: Container, timeout: float | None = None) -> State | None:
        """Wait until a container has ended and return its state; None when it still runs after `timeout` seconds."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            try:
                state = self.read_state(container.id)
            except NotFound:
                return State("exited")  # it was removed when it ended
            if not state.is_running:
                return state
            remaining = None if deadline is None else deadline - time.monotonic()
            if remaining is not None and remaining <= 0:
                return None
            if not _wait_for_end(state, remaining):
                time.sleep(_POLL)

    def stop(self, container: Container, timeout: int | None = None, signal_name: str = "") -> State:
        """Stop a container: its stop signal, and SIGKILL after `timeout` seconds; a negative timeout waits for ever."""
        state = self.read_state(container.id)
        if not state.is_running:
            return state
        if state.status == "paused":
            self.unpause(container)
        seconds = container.stop_timeout if timeout is None else timeout
        self._mark_stopping(container)
        with suppress(Conflict):  # it ended by itself
            self.send_signal(container, signal_name or container.stop_signal)
        ended = self.wait_until_stopped(container, None if seconds < 0 else seconds)
        return ended if ended is not None else self.kill(container)

    def kill(self, container: Container) -> State:
        """Kill a container and wait for its end. Raises `RuntimeFailed` when it does not end."""
        with suppress(Conflict):
            self.send_signal(container, "SIGKILL")
        ended = self.wait_until_stopped(container, _KILL_TIMEOUT)
        if ended is None:
            raise RuntimeFailed(f"the container {container.name} still runs after SIGKILL", code="runtime-timeout")
        self.clean_up(container)
        return ended

    def pause(self, container: Container, *, only_now: bool = False) -> None:
        """Freeze the processes of a container. Raises `Conflict` when it does not run, or is paused.

        With `only_now`, they go on when this process is killed: the next one sees to it.
        """
        state = self.read_state(container.id)
        if state.status != "running":
            raise Conflict(f"the container {container.name} is {state.status}, not running", code="not-running")
        owner = f"{os.getpid()} {read_ticks(os.getpid())}".encode() if only_now else b""
        with self.open_folder(container.id) as folder:
            if only_now:
                write_file(folder, PAUSED, owner, durable=False)
            try:
                self._call_runtime("pause", container.id)
            except BaseException:
                with suppress(FileNotFoundError):
                    os.unlink(PAUSED, dir_fd=folder)
                raise
            if not only_now:
                write_file(folder, PAUSED, owner, durable=False)

    def unpause(self, container: Container) -> None:
        """Let the processes of a paused container go on. Raises `Conflict` when it is not paused."""
        state = self.read_state(container.id)
        if state.status != "paused":
            raise Conflict(f"the container {container.name} is not paused", code="not-paused")
        self._call_runtime("resume", container.id)
        with suppress(FileNotFoundError), self.open_folder(container.id) as folder:
            os.unlink(PAUSED, dir_fd=folder)

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

    def _call_runtime(self, word: str, id_: str) -> None:
        self._require_privileges()
        log = os.path.join(self.path, f".{os.getpid()}.log")
        try:
            self.runtime_of(id_).call(word, id_, log=log)
        finally:
            with suppress(FileNotFoundError):
                os.unlink(log)

    # Programs in a container

    def execute(self, container: Container, program: Program, stdio: Sequence[int]) -> int:
        """Run a program in a running container and return its exit code. `stdio`: its standard streams.

        Raises `Conflict` when the container does not run.
        """
        self._require_privileges()
        state = self.read_state(container.id)
        if state.status != "running":
            raise Conflict(f"the container {container.name} is {state.status}, not running", code="not-running")
        config = container.document["Config"]
        default = default_environment(config["Hostname"], terminal=program.terminal)
        options = BundleOptions(
            program.arguments,
            make_environment(default, config["Env"], program.environment),
            program.workdir or config["WorkingDir"],
            self._find_user(container, program.user or config["User"]),
            container.document["HostConfig"],
            terminal=program.terminal,
            has_single_id=has_single_id(f"/proc/{state.pid}/uid_map"),
        )
        runtime = self.runtime_of(container.id)
        process = os.memfd_create("imq-process", 0)
        try:
            os.write(process, json.dumps(make_process(options, privileged=program.privileged)).encode())
            words = [
                "exec",
                "--process",
                f"/proc/self/fd/{process}",
                *(["--detach"] if program.detach else []),
            ]
            pid = spawn([*self._join(state), *runtime.argv, *words, container.id], stdio)
            _, status = os.waitpid(pid, 0)
        finally:
            os.close(process)
        return 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)

    def _join(self, _state: State) -> tuple[str, ...]:
        """Return the words of a command line by which a program enters the user namespace of a running container."""
        return ()

    # Changes

    @contextmanager
    def open_changes(self, container: Container, *, pause: bool = True) -> Iterator[Iterator[bytes]]:
        """Return what a container has changed, as a layer in pieces, of which there are none without changes.

        With `pause` the container is frozen during the block, unless it has no cgroups. A stopped one is not started
        meanwhile.
        """
        self._require_privileges()
        with self.open_folder(container.id) as folder:
            state = read_state(folder)
            paused = pause and state.status == "running" and may_make_cgroups()  # by which processes are frozen
            lock = -1 if state.is_running else self._lock_stopped(folder, container)
            try:
                if paused:
                    self.pause(container, only_now=True)
                with closing(self._pack_changes(container)) as pieces:
                    yield pieces
            finally:
                if paused:
                    with suppress(Conflict):
                        self.unpause(container)
                if lock >= 0:
                    os.close(lock)

    def _pack_changes(self, container: Container) -> Generator[bytes]:
        if has_layers(container.document):
            from imq.engine.layers.pack import pack_overlay_layer

            yield from pack_overlay_layer(self._writable_path(container))
            return
        from imq.engine.layers.pack_changes import pack_changes

        with open(os.path.join(self.path_of(container.id), LISTING), "rb") as listing:
            yield from pack_changes(self._writable_path(container), listing)

    def list_changes(self, container: Container) -> Iterator[Change]:
        """Yield the paths that a container changed. Raises `ImqError` for files that cannot be read."""
        from .changes import list_copy_changes, list_overlay_changes

        writable, *lower = self._list_layers(container)
        if has_layers(container.document):
            yield from list_overlay_changes(writable, lower)
            return
        with open(os.path.join(self.path_of(container.id), LISTING), "rb") as listing:
            yield from list_copy_changes(writable, listing)

    # Volumes

    def remove_volume(self, name: str) -> int:
        """Remove a named volume and return the bytes freed. Raises `Conflict` when a container mounts it."""
        from imq.engine.layers.remove_tree import remove_tree
        from imq.engine.store.atomic_files import store_errors

        from .index_rows import measure_tree
        from .volumes import hide_volume, list_users, path_of, refuse_volume

        self._require_privileges()
        freed = measure_tree(path_of(self.store.root, name)) or 0
        with store_errors("remove the volume", self.store.root):
            with self.store.layout.lock():
                self.refresh()
                if users := list_users(self.store.index, name):
                    raise refuse_volume(name, users)
                trash = hide_volume(self.store.layout, name)
            remove_tree(trash)
        return freed

    def measure_folders(self, paths: Sequence[str]) -> list[int | None]:
        """Return the bytes of the files below folders; None for those that cannot be read."""
        from .index_rows import measure_tree

        return [measure_tree(path) for path in paths]

    def measure_volumes(self) -> tuple[int, int, int, int] | None:
        """Return the number of volumes, how many of them containers mount, their bytes, and those of the others.

        None without volumes.
        """
        from .volumes import list_users, list_volumes

        volumes = list(list_volumes(self.store.layout))
        sizes = self.measure_folders([volume.path for volume in volumes])
        used = [bool(list_users(self.store.index, volume.name)) for volume in volumes]
        free = sum(size or 0 for size, in_use in zip(sizes, used, strict=True) if not in_use)
        return (len(volumes), sum(used), sum(size or 0 for size in sizes), free) if volumes else None

    def measure_all(self) -> None:
        """Set the sizes of what all containers wrote in the index."""
        from .index_rows import write_sizes

        ids = [id_ for (id_,) in self.store.index.connection.execute("SELECT id FROM container")]
        write_sizes(self.store.index, self.store.layout, dict(zip(ids, self.measure(ids), strict=True)))

    def measure(self, ids: Sequence[str]) -> list[int | None]:
        """Return the bytes that containers wrote to their own layers; None for those that cannot be read."""
        from .index_rows import measure_changes

        return [measure_changes(self.path_of(id_)) for id_ in ids]

    # Removing

    def remove(self, container: Container, *, force: bool = False) -> int:
        """Remove a container and return the bytes freed; a running one only with `force`, which kills it."""
        self._require_privileges()
        deadline = time.monotonic() + LOCK_TIMEOUT
        while True:
            state = self.read_state(container.id)
            if state.is_running:
                if not force:
                    raise Conflict(
                        f"cannot remove container {container.name}: it is {state.status}",
                        code="container-running",
                        hints=(f"stop it first: stop {container.name}", "or add force, which kills it"),
                    )
                with suppress(NotFound):
                    self.kill(container)
            try:
                return self._remove_stopped(container)
            except NotFound:
                if not container.document["HostConfig"]["AutoRemove"]:
                    raise
                return 0  # it removed itself when it ended
            except Conflict as problem:  # it has been started meanwhile
                if not force or problem.code != "container-running" or time.monotonic() > deadline:
                    raise

    def _remove_stopped(self, container: Container) -> int:
        from .index_rows import measure_tree

        with self.open_folder(container.id) as folder:
            lock = self._lock_stopped(folder, container)
            try:
                freed = measure_tree(self._writable_path(container)) or 0
                self._delete_runtime_state(container.id, read_state(folder))
                self._remove_folder(container.id, read_state(folder))
            finally:
                os.close(lock)
        return freed

    def _remove_folder(self, id_: str, state: State) -> None:
        from imq.engine.store.atomic_files import store_errors

        with store_errors("remove the container", self.store.root):
            remove_folder(self.path_of(id_), state)

    def _delete_runtime_state(self, id_: str, state: State) -> None:
        """Remove what the runtime still has of a run that no monitor saw the end of."""
        is_unknown = state.exit_code is None and state.started is not None
        if is_unknown or os.path.exists(os.path.join(self.path, RUNTIME_STATE, id_)):
            with suppress(ImqError):
                self.runtime_of(id_).delete(id_)

    def clean_up(self, container: Container) -> None:
        """Write the end of a run without a monitor, and remove what the runtime has of it."""
        try:
            with self.open_folder(container.id) as folder:
                self.settle(folder, container.id)
        except NotFound:
            return

    def settle(self, folder: int, id_: str) -> bool:
        """Make the state of a container without a monitor final; return whether there was anything to do."""
        try:
            lock = lock_container(folder)
        except BlockingIOError:
            return False
        try:
            document = read_json(folder, STATE)
            if not isinstance(document, dict) or document.get("status") not in ("running", "restarting"):
                return False
            if self.find_unwatched(folder) is not None:
                return False
            self._delete_runtime_state(id_, State(started=document.get("started")))
            ended = {
                **document,
                "status": "exited",
                "pid": 0,
                "error": "its monitor was killed, or the machine stopped",
            }
            write_json(folder, STATE, ended)
            with suppress(FileNotFoundError):
                os.unlink(PAUSED, dir_fd=folder)
            return True
        finally:
            os.close(lock)

    def recover(self) -> None:
        """Clean up after processes that were killed. What other processes work on is left alone."""
        from .recovery import recover

        recover(self)

    def remove_unneeded_layers(self) -> int:
        """Remove the unpacked layers that no container or image needs; return the bytes freed.

        The uses of images that are gone are forgotten too.
        """
        if os.geteuid() != 0:
            return 0

        def list_needed() -> set[str]:
            of_containers: set[str] = set()
            with suppress(FileNotFoundError):
                for name in os.listdir(self.path):
                    if is_container_id(name.partition(".")[0]):
                        folder = os.open(os.path.join(self.path, name), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                        try:
                            document = read_json(folder, DOCUMENT)
                        finally:
                            os.close(folder)
                        of_containers.update(document["Layers"] if isinstance(document, dict) else ())
            return unpacked.list_needed_diff_ids(self.store, of_containers)

        images = {id_ for (id_,) in self.store.index.connection.execute("SELECT id FROM image")}
        if images:
            forget_uses(self.path, images)
        return unpacked.remove_unneeded(self.store, list_needed)

    def log_path(self, container: Container) -> str:
        """Return the path of the log of a container."""
        return os.path.join(self.path_of(container.id), LOG)


# Helpers


def _read_health_check(config: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the health check of a container as a job has it."""
    if not config.get("Healthcheck"):
        return None
    from .health import read_check

    check = read_check(config)
    return None if check is None else {name: getattr(check, name) for name in check.compared_fields()}


def parse_signal(text: str) -> int:
    """Return the number of a signal, given as a number or a name with or without SIG."""
    if text.isdecimal() and 0 < int(text[:4]) <= signal.NSIG:
        return int(text)
    name = text.upper() if text.upper().startswith("SIG") else f"SIG{text.upper()}"
    base, _, offset = name.partition("+")
    try:
        return int(getattr(signal.Signals, base)) + int(offset or 0)
    except (AttributeError, ValueError):
        raise StatementError(f"Invalid signal: {text}", code="signal") from None


def _wait_for_end(state: State, timeout: float | None) -> bool:
    """Wait until the first process of a container ends; return False when that cannot be waited for."""
    try:
        process = os.pidfd_open(state.pid)
    except OSError:
        return False
    try:
        poller = select.poll()
        poller.register(process, select.POLLIN)
        if read_ticks(state.pid) != state.ticks:
            return False
        is_over = bool(poller.poll(None if timeout is None else timeout * 1000))
    finally:
        os.close(process)
    if is_over:
        time.sleep(_POLL / 10)  # the monitor writes the exit code now
    return is_over


def _start_error(container: Container, report: Mapping[str, Any]) -> RuntimeFailed:
    error = RuntimeFailed(
        f"the container {container.name} cannot be started: {report['error']}",
        code=report["code"],
        hints=find_hints(report["error"]),
    )
    error.exit_status = int(report.get("exit_code") or error.exit_status)
    return error


def _is_running(container: Container) -> Conflict:
    return Conflict(f"the container {container.name} is running already", code="container-running")


def _format_moment(moment: int | None) -> str:
    from imq.engine.oci.timestamp import format_time

    return format_time(moment) if moment is not None else "0001-01-01T00:00:00Z"


def _needs_owner() -> StoreError:
    return StoreError(
        "these containers belong to another user",
        code="permission",
        hints=("run imq as the owner of the store",),
    )
