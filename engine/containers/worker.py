"""The worker of an ordinary user: it is root of a user namespace, and works on containers there for another process.

The other process stays as it is, so what else it does is done with its own IDs. It sends one call after the other over
a socket; each is a message with a file in memory. The worker ends when the socket is closed, and so does a call that
reports its progress or writes to a pipe. What it starts are monitors, which stay.
"""

from __future__ import annotations

import os
import pickle
from contextlib import suppress

from imq.grammar.errors import ImqError
from imq.grammar.record import TYPE_CHECKING, Record

from .sockets import make_pair, receive_descriptors, send_descriptors

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any, NoReturn

    from .changes import Change
    from .containers import Containers
    from .document import CreateOptions, ImageFacts
    from .reader import Container

PROGRESS, RESULT = b"p", b"r"
"""What a message of a worker begins with."""
_MESSAGE_SIZE = 64


class Channels(Record):
    """The descriptors of a worker: its job, its socket, and the standard streams of its client."""

    job: int
    socket: int
    stdin: int
    stdout: int
    stderr: int


def write_document(value: object) -> int:
    """Return a file in memory with a pickled value, which this program reads again."""
    descriptor = os.memfd_create("imq-call", os.MFD_CLOEXEC)
    with os.fdopen(os.dup(descriptor), "wb") as file:
        pickle.dump(value, file, pickle.HIGHEST_PROTOCOL)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


def read_document(descriptor: int) -> Any:
    """Return the value of a file of `write_document`, and close it."""
    with os.fdopen(descriptor, "rb") as file:
        return pickle.load(file)  # noqa: S301 - it comes from a process of this program and this user


class Failure(Record):
    """An error as data: its class, its arguments and its attributes."""

    kind: type[BaseException]
    arguments: tuple[object, ...]
    attributes: Mapping[str, object]

    def __hash__(self) -> int:
        """Hash by identity: it holds a mapping."""
        return id(self)

    @classmethod
    def of(cls, error: BaseException) -> Failure:
        """Return the failure of an error."""
        return cls(type(error), error.args, dict(vars(error)))

    def make_error(self) -> BaseException:
        """Return an equal error."""
        error = self.kind.__new__(self.kind, *self.arguments)
        error.args = self.arguments
        vars(error).update(self.attributes)
        return error


def run(descriptors: Sequence[int]) -> NoReturn:
    """Run as a worker until the socket is closed, and exit."""
    channels = Channels(*descriptors)
    for descriptor in descriptors:
        os.set_inheritable(descriptor, False)
    for number, descriptor in enumerate((channels.stdin, channels.stdout, channels.stderr)):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.umask(0o022)
    job = read_document(channels.job)
    try:
        _prepare(channels)
        from imq.engine.store.store import Store

        from .containers import Containers

        containers = Containers(Store(job["root"]), job["runtime"], job["environment"])
    except ImqError as problem:
        receive_descriptors(channels.socket, _MESSAGE_SIZE)  # to close a socket with a message discards the answer
        _reply(channels.socket, Failure.of(problem))
        os._exit(1)
    with suppress(OSError):
        _serve(channels.socket, containers)
    os._exit(0)


def _prepare(channels: Channels) -> None:
    from .launcher import start_launcher
    from .user_namespace import enter_user_namespace

    enter_user_namespace()
    start_launcher(private=(channels.socket,))  # of monitors, which are in the user namespace too


def _serve(socket: int, containers: Containers) -> None:
    worker = _Worker(socket, containers)
    while True:
        _, descriptors = receive_descriptors(socket, _MESSAGE_SIZE)
        if not descriptors:
            return
        name, arguments = read_document(descriptors[0])
        result: object
        sent: tuple[int, ...] = ()
        try:
            if name in _PLAIN_CALLS:
                result = getattr(containers, name)(*arguments)
            else:
                result, sent = getattr(worker, name)(descriptors[1:], *arguments)
        except Exception as problem:  # noqa: BLE001 - the client raises it
            result = Failure.of(problem)
        for descriptor in descriptors[1:]:
            os.close(descriptor)
        _reply(socket, result, sent)


def _reply(socket: int, result: object, sent: Sequence[int] = ()) -> None:
    document = write_document(result)
    send_descriptors(socket, RESULT, (document, *sent))
    for descriptor in (document, *sent):
        os.close(descriptor)


_PLAIN_CALLS = frozenset(
    ("clean_up", "measure", "measure_folders", "recover", "remove_unneeded_layers", "remove_volume")
)
"""The methods of `Containers` whose result is sent as it is."""


class _Worker:
    """The other calls. Each gets the descriptors of its message, and returns its result with those to send."""

    def __init__(self, socket: int, containers: Containers) -> None:
        self._socket = socket
        self._containers = containers

    def create(
        self, _received: Sequence[int], options: CreateOptions, image: ImageFacts, now: int
    ) -> tuple[Container, tuple[int, ...]]:
        """Create a container, and report the bytes that were read for it."""

        def report(count: int) -> None:
            send_descriptors(self._socket, PROGRESS + str(count).encode(), ())

        return self._containers.create(options, image, now, report), ()

    def start(
        self, _received: Sequence[int], container: Container, attach: bool, stdin: bool
    ) -> tuple[tuple[bool, tuple[bool, ...]] | None, tuple[int, ...]]:
        """Start a container; send whether it has a terminal, which streams there are, and these streams."""
        attachment = self._containers.start(container, attach=attach, stdin=stdin)
        if attachment is None:
            return None, ()
        streams = (attachment.control, attachment.stdin, attachment.stdout, attachment.stderr)
        return (attachment.terminal, tuple(one >= 0 for one in streams)), tuple(one for one in streams if one >= 0)

    def write_changes(self, received: Sequence[int], container: Container, pause: bool) -> tuple[None, tuple[int, ...]]:
        """Write the changes of a container to a pipe."""
        from imq.engine.store.atomic_files import write_all

        (pipe,) = received
        with self._containers.open_changes(container, pause=pause) as pieces:
            for piece in pieces:
                write_all(pipe, piece)
        return None, ()

    def list_changes(self, _received: Sequence[int], container: Container) -> tuple[list[Change], tuple[int, ...]]:
        """List the changes of a container."""
        return list(self._containers.list_changes(container)), ()

    def remove(self, _received: Sequence[int], container: Container, force: bool) -> tuple[int, tuple[int, ...]]:
        """Remove a container."""
        return self._containers.remove(container, force=force), ()


class WorkerClient:
    """A worker, as the process sees it that sends it calls."""

    def __init__(self, root: str, runtime: str, environment: Mapping[str, str], timeout: float) -> None:
        from .launcher import WORKER, launch

        self._socket, other = make_pair()
        job = write_document({"root": root, "runtime": runtime, "environment": dict(environment)})
        try:
            launch(WORKER, (job, other, 0, 1, 2), timeout)
        except BaseException:
            self.close()
            raise
        finally:
            os.close(job)
            os.close(other)

    def __del__(self) -> None:
        """End the worker."""
        self.close()

    def close(self) -> None:
        """End the worker; a call that goes on is stopped."""
        if self._socket >= 0:
            os.close(self._socket)
            self._socket = -1

    def send(self, name: str, arguments: tuple[object, ...], descriptors: Sequence[int] = ()) -> None:
        """Send a call. Raises `OSError` when the worker has ended."""
        document = write_document((name, arguments))
        try:
            send_descriptors(self._socket, b"c", (document, *descriptors))
        finally:
            os.close(document)

    def receive(self, on_progress: Any = None) -> tuple[Any, list[int]]:
        """Return the result of the last call, and the descriptors that came with it. Raises its error."""
        from .runtime import RuntimeFailed

        while True:
            content, descriptors = receive_descriptors(self._socket, _MESSAGE_SIZE)
            if not content:
                raise RuntimeFailed("the worker in the user namespace has ended unexpectedly")
            if content.startswith(PROGRESS):
                on_progress(int(content[len(PROGRESS) :]))
                continue
            result = read_document(descriptors[0])
            if isinstance(result, Failure):
                raise result.make_error()
            return result, descriptors[1:]
