"""The containers of one store: found by name, created, started, stopped and removed."""

from __future__ import annotations

import os
import select
import signal
import time
from contextlib import closing, contextmanager, nullcontext, suppress

from imq.grammar.errors import Conflict, ImqError, NotFound, StatementError
from imq.grammar.record import TYPE_CHECKING

from . import unpacked
from .document import CreateOptions, ImageFacts, name_taken
from .folder import (
    DOCUMENT,
    LISTING,
    LOCK_TIMEOUT,
    LOG,
    PAUSED,
    RUNTIME_STATE,
    STATE,
    STOPPING,
    State,
    has_layers,
    is_container_id,
    lock_container,
    read_json,
    read_state,
    read_ticks,
    write_file,
    write_json,
)
from .reader import Container, ContainerReader, Program, needs_owner
from .removal import forget_uses, remove_folder
from .runtime import TIMED_OUT, RuntimeFailed, may_make_cgroups, spawn, wait_until_frozen

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence

    from .attachment import Attachment
    from .changes import Change

_KILL_TIMEOUT = 20.0
"""The maximum seconds that a container exists after SIGKILL."""
_POLL = 0.01
_GUARD = 'read -r _ && exit; marker=$1; shift; "$@"; rm -f "$marker"'
"""What a shell does at the end of its input: it runs a command, and removes a file."""


class Containers(ContainerReader):
    """The containers of a store: what can be done with them."""

    def _require_privileges(self) -> None:
        """Raise `StoreError` for a process that is not root."""
        if os.geteuid() != 0:
            raise needs_owner()

    # Creating

    def create(
        self, options: CreateOptions, image: ImageFacts, now: int, on_read: Callable[[int], None] = lambda _: None
    ) -> Container:
        """Create a container. Its layers are unpacked if they are not yet. After an error nothing is left of it."""
        from .creation import Creator

        self._require_privileges()
        return Creator(self).create(options, image, now, on_read)

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

    # Starting

    def start(self, container: Container, *, attach: bool = False, stdin: bool = False) -> Attachment | None:
        """Start a container, and return its streams with `attach`. With `stdin` it reads that of this process.

        Raises `Conflict` when it runs already, and `RuntimeFailed` when the runtime refuses it.
        """
        from .starting import Starter

        self._require_privileges()
        return Starter(self).start(container, attach=attach, stdin=stdin)

    def start_attached(self, container: Container, *, stdin: bool = False) -> Attachment:
        """Start a container and return its streams, as `start` does."""
        attachment = self.start(container, attach=True, stdin=stdin)
        assert attachment is not None
        return attachment

    def attach(self, container: Container, *, stdin: bool = False) -> Attachment:
        """Return the streams of a running container. Raises `Conflict` when it does not run, or has no monitor."""
        from .starting import Starter

        return Starter(self).attach(container, stdin=stdin)

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
            raise needs_owner() from None
        try:
            if read_ticks(state.pid) == state.ticks:
                signal.pidfd_send_signal(process, number)
        except ProcessLookupError:
            pass
        except PermissionError:
            raise needs_owner() from None
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
            raise RuntimeFailed(f"the container {container.name} still runs after SIGKILL", code=TIMED_OUT)
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
                if not wait_until_frozen(container.id):
                    self._call_runtime("resume", container.id)
                    raise RuntimeFailed(
                        f"the processes of the container {container.name} do not freeze", code=TIMED_OUT
                    )
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

    def _call_runtime(self, word: str, id_: str) -> None:
        self._require_privileges()
        log = os.memfd_create("imq-log", 0)  # a file would be left by a process that is killed
        try:
            self.runtime_of(id_).call(word, id_, log=f"/proc/self/fd/{log}")
        finally:
            os.close(log)

    # Programs in a container

    def execute(self, container: Container, program: Program, stdio: Sequence[int]) -> int:
        """Run a program in a running container and return its exit code. `stdio`: its standard streams.

        Raises `Conflict` when the container does not run.
        """
        from .starting import Starter

        self._require_privileges()
        return Starter(self).execute(container, program, stdio, self._join)

    def _join(self, _state: State) -> tuple[str, ...]:
        """Return the words of a command line by which a program enters the user namespace of a running container."""
        return ()

    # Changes

    @contextmanager
    def open_changes(self, container: Container, *, pause: bool = True) -> Iterator[Iterator[bytes | memoryview]]:
        """Return what a container has changed, as a layer in pieces, of which there are none without changes.

        The pieces share one buffer: each is valid until the next.

        With `pause` the container is frozen during the block, unless it has no cgroups. A stopped one is not started
        meanwhile.
        """
        self._require_privileges()
        with self.open_folder(container.id) as folder:
            state = read_state(folder)
            paused = pause and state.status == "running" and may_make_cgroups()  # by which processes are frozen
            lock = -1 if state.is_running else self.lock_stopped(folder, container)
            try:
                with self._guard(container) if paused else nullcontext():
                    try:
                        if paused:
                            self.pause(container, only_now=True)
                        with closing(self._pack_changes(container)) as pieces:
                            yield pieces
                    finally:
                        if paused:
                            with suppress(Conflict):
                                self.unpause(container)
            finally:
                if lock >= 0:
                    os.close(lock)

    @contextmanager
    def _guard(self, container: Container) -> Iterator[None]:
        """Let a container go on at once when this process is killed during the block; `recover` is later."""
        runtime, marker = self.runtime_of(container.id), os.path.join(self.path_of(container.id), PAUSED)
        reader, writer = os.pipe()
        try:
            pid = spawn(["/bin/sh", "-c", _GUARD, "sh", marker, *runtime.argv, "resume", container.id], (reader,))
        except BaseException:
            os.close(writer)
            raise
        finally:
            os.close(reader)
        try:
            yield
        finally:
            with suppress(BrokenPipeError):
                os.write(writer, b"\n")
            os.close(writer)
            os.waitpid(pid, 0)

    def _pack_changes(self, container: Container) -> Generator[memoryview]:
        if has_layers(container.document):
            from imq.engine.layers.pack import pack_overlay_layer

            yield from pack_overlay_layer(self.writable_path(container))
            return
        from imq.engine.layers.pack_changes import pack_changes

        with open(os.path.join(self.path_of(container.id), LISTING), "rb") as listing:
            yield from pack_changes(self.writable_path(container), listing)

    def list_changes(self, container: Container) -> Iterator[Change]:
        """Yield the paths that a container changed. Raises `ImqError` for files that cannot be read."""
        from .changes import list_copy_changes, list_overlay_changes

        writable, *lower = self.list_layers(container)
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
            lock = self.lock_stopped(folder, container)
            try:
                freed = measure_tree(self.writable_path(container)) or 0
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
