"""The containers of an ordinary user: what needs root is done by a worker, which is root of a user namespace.

Reading the folders of containers and sending signals work as for root: the files belong to the user, and the owner of
a user namespace may send signals to all processes in it.
"""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress

from imq.grammar.errors import Conflict, ImqError, NotFound, StoreError
from imq.grammar.record import TYPE_CHECKING

from .containers import Containers
from .folder import CREATING, LISTING, REMOVING, RUNTIME_STATE, STATE, is_container_id, is_locked, read_json
from .runtime import TIMEOUT
from .volumes import FOLDER as VOLUMES
from .worker import WorkerClient

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import Any

    from imq.engine.store.store import Store

    from .attachment import Attachment
    from .changes import Change
    from .document import CreateOptions, ImageFacts
    from .folder import State
    from .reader import Container, Program

_PIECE_SIZE = 256 << 10
_NSENTER = ("/usr/bin/nsenter", "/bin/nsenter")


class RootlessContainers(Containers):
    """The containers of a store of an ordinary user."""

    def __init__(self, store: Store, runtime: str, environment: Mapping[str, str]) -> None:
        super().__init__(store, runtime, environment)
        self._worker: WorkerClient | None = None

    def close(self) -> None:
        """End the worker."""
        if self._worker is not None:
            self._worker.close()
            self._worker = None

    def _send(self, name: str, *arguments: object, descriptors: Sequence[int] = ()) -> WorkerClient:
        if self._worker is not None:
            try:
                self._worker.send(name, arguments, descriptors)
            except OSError:  # it has ended after an error
                self.close()
            else:
                return self._worker
        self._worker = WorkerClient(self.store.root, self.setting, self.environment, TIMEOUT)
        self._worker.send(name, arguments, descriptors)
        return self._worker

    def _call(self, name: str, *arguments: object) -> Any:
        """Let the worker do a call; return its result, or raise its error."""
        return self._receive(self._send(name, *arguments))[0]

    def _receive(
        self, worker: WorkerClient, on_progress: Callable[[int], None] = lambda _: None
    ) -> tuple[Any, list[int]]:
        try:
            return worker.receive(on_progress)
        except ImqError:
            raise
        except BaseException:
            self.close()  # an interrupt: the answer to this call must not be that of the next
            raise

    # What the worker does

    def create(
        self, options: CreateOptions, image: ImageFacts, now: int, on_read: Callable[[int], None] = lambda _: None
    ) -> Container:
        """Create a container."""
        container: Container = self._receive(self._send("create", options, image, now), on_read)[0]
        return container

    def start(self, container: Container, *, attach: bool = False, stdin: bool = False) -> Attachment | None:
        """Start a container, and return its streams with `attach`."""
        result, descriptors = self._receive(self._send("start", container, attach, stdin))
        if result is None:
            return None
        from .attachment import Attachment

        terminal, present = result
        received = iter(descriptors)
        control, stdin_end, stdout_end, stderr_end = (next(received) if one else -1 for one in present)
        return Attachment(control, stdin_end, stdout_end, stderr_end, terminal)

    @contextmanager
    def open_changes(self, container: Container, *, pause: bool = True) -> Iterator[Iterator[bytes | memoryview]]:
        """Return what a container has changed, as a layer in pieces. It is not paused: it has no cgroup."""
        reader, writer = os.pipe()
        try:
            try:
                worker = self._send("write_changes", container, pause, descriptors=(writer,))
            finally:
                os.close(writer)
            is_read = False

            def read() -> Iterator[bytes]:
                nonlocal is_read
                while piece := os.read(reader, _PIECE_SIZE):
                    yield piece
                is_read = True
                self._receive(worker)

            try:
                yield read()
            finally:
                if not is_read:
                    self.close()
        finally:
            os.close(reader)

    def list_changes(self, container: Container) -> Iterator[Change]:
        """Yield the paths that a container changed."""
        yield from self._call("list_changes", container)

    def remove(self, container: Container, *, force: bool = False) -> int:
        """Remove a container and return the bytes freed.

        The worker is in another user namespace than the container, so this process kills what runs in it.
        """
        if force and self.read_state(container.id).is_running:
            with suppress(NotFound):
                self.kill(container)
        freed: int = self._call("remove", container, force)
        return freed

    def clean_up(self, container: Container) -> None:
        """Write the end of a run without a monitor, and remove what the runtime has of it."""
        if self._is_unsettled(container.id):
            self._call("clean_up", container)

    def recover(self) -> None:
        """Clean up after processes that were killed, if there is anything to do."""
        try:
            names = os.listdir(self.path)
        except OSError:
            return
        with suppress(OSError):
            names += (name for name in os.listdir(os.path.join(self.store.root, VOLUMES)) if name.endswith(REMOVING))
        if any(name.endswith((CREATING, REMOVING)) or self._is_unsettled(name) for name in names):
            self._call("recover")

    def _is_unsettled(self, name: str) -> bool:
        """Whether a container has a run that no monitor watches."""
        if not is_container_id(name):
            return False
        with suppress(OSError, ImqError), self.open_folder(name) as folder:
            if is_locked(folder):
                return False
            document = read_json(folder, STATE)
            is_running = isinstance(document, dict) and document.get("status") in ("running", "restarting")
            return is_running or os.path.exists(os.path.join(self.path, RUNTIME_STATE, name))
        return False

    def remove_unneeded_layers(self) -> int:
        """Remove the unpacked layers that no container or image needs; return the bytes freed."""
        if not self.store.layout.has_unpacked():
            return 0
        freed: int = self._call("remove_unneeded_layers")
        return freed

    def measure(self, ids: Sequence[str]) -> list[int | None]:
        """Return the bytes that containers wrote to their own layers; None for those that cannot be read."""
        copies = any(os.path.exists(os.path.join(self.path_of(id_), LISTING)) for id_ in ids)  # with owners there
        sizes: list[int | None] = [None] if copies else super().measure(ids)
        if None in sizes:
            sizes = self._call("measure", ids)
        return sizes

    def remove_volume(self, name: str) -> int:
        """Remove a named volume and return the bytes freed."""
        freed: int = self._call("remove_volume", name)
        return freed

    def measure_folders(self, paths: Sequence[str]) -> list[int | None]:
        """Return the bytes of the files below folders; None for those that cannot be read."""
        sizes = super().measure_folders(paths)
        if None in sizes:
            sizes = self._call("measure_folders", paths)
        return sizes

    # What is different

    def pause(self, container: Container, *, only_now: bool = False) -> None:  # noqa: ARG002 - it is refused
        """Refuse: processes are frozen by their cgroup."""
        raise Conflict(
            f"the container {container.name} cannot be paused: containers of ordinary users have no cgroups",
            code="rootless",
        )

    def unpause(self, container: Container) -> None:
        """Refuse as `pause` does."""
        raise Conflict(f"the container {container.name} is not paused", code="not-paused")

    def execute(self, container: Container, program: Program, stdio: Sequence[int]) -> int:
        """Run a program in a running container and return its exit code."""
        try:
            return super().execute(container, program, stdio)
        except PermissionError as problem:
            raise StoreError(
                f"the files of the container {container.name} cannot be read: {problem.filename}", code="permission"
            ) from None

    def _join(self, state: State) -> tuple[str, ...]:
        program = next((path for path in _NSENTER if os.access(path, os.X_OK)), None)
        if program is None:
            raise StoreError(
                "nsenter was not found, by which programs enter containers of ordinary users",
                code="no-nsenter",
                hints=("install it: apt-get install util-linux",),
            )
        return (program, f"--user=/proc/{state.pid}/ns/user", "--preserve-credentials", "--")

    def _require_privileges(self) -> None:
        """Accept: what needs root is done by the worker."""
