"""The monitor: a small process for each running container, like conmon. It outlives the imq that started it.

It mounts the file system of the container in its own mount namespace, so that nothing stays mounted when it ends. The
driver vfs needs no mount. The monitor lets the OCI runtime create and start the container, and writes what the
container prints to the log. It waits for the end and writes the exit code to `state.json`. It holds the lock of the
container until then.

Its clients are the imq that started it and those that attach later, over the socket `attach` in the folder of the
container. Each client has a control socket. On it, the monitor writes one line of JSON when the container has started
or could not start, and one when it has ended. A client sends the size of its terminal, and that it detaches.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import time
from contextlib import contextmanager, suppress

from imq.grammar.errors import ImqError
from imq.grammar.record import TYPE_CHECKING, Record

from . import system_calls
from .drivers import mount_overlay
from .exchange import Client, Exchange, set_terminal_size
from .folder import (
    ALWAYS_RESTARTED,
    ATTACH,
    LOG,
    PAUSED,
    RUNTIME,
    STARTING,
    STATE,
    STOPPING,
    State,
    overwrite_json,
    read_boot_id,
    read_ticks,
    write_json,
)
from .log_file import STREAMS, LogWriter
from .runtime import KILLED, TIMED_OUT, Runtime, RuntimeFailed, cgroup_of, exit_code_of, find_exit_code
from .sockets import accept, open_listener, receive_descriptors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from typing import Any, NoReturn

    from .health import HealthMonitor

_POLL = 0.02
_FIRST_DELAY, _LAST_DELAY = 0.1, 60.0
"""The shortest and the longest delay before a restart, in seconds."""
_LONG_RUN = 10.0
"""A run of more seconds has not failed at once: the next delay is the shortest."""
_NOT_STARTED = 128
_PIPE_SIZE = 64 << 10
_NO_TEXT = "%!w(<nil>)"
"""What runc 1.1 writes in place of some errors, as that of a full disk."""


class Channels(Record):
    """The descriptors of a monitor: the job, the control socket, the lock, and the streams of the client."""

    job: int
    control: int
    lock: int
    stdin: int
    stdout: int
    stderr: int


def run(descriptors: Sequence[int]) -> NoReturn:
    """Run as the monitor of one container until it has ended, and exit."""
    channels = Channels(*descriptors)
    if os.getsid(0) != os.getpid():
        os.setsid()
    os.chdir("/")
    os.umask(0o022)
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    for descriptor in descriptors:
        os.set_inheritable(descriptor, False)
    with os.fdopen(channels.job, "rb") as file:
        job = json.loads(file.read())
    with suppress(OSError):
        system_calls.set_process_name(f"imq {job['id'][:10]}")
    code = 1
    try:
        code = _Monitor(job, channels).run()
    except BaseException as problem:  # noqa: BLE001 - nobody else can report it
        failure = {"error": f"the monitor of the container failed: {problem!r}", "code": "runtime"}
        Client(channels.control, -1, {}).report(failure)
    os._exit(code)


class _Monitor:
    """One run of one container."""

    def __init__(self, job: Mapping[str, Any], channels: Channels) -> None:
        self._job = job
        self._client = Client(channels.control, channels.stdin, {"stdout": channels.stdout, "stderr": channels.stderr})
        self._clients = [self._client]
        self._lock = channels.lock
        self._id: str = job["id"]
        self._path: str = job["folder"]
        self._folder = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._runtimes: list[str] = job["runtimes"]
        self._runtime = self._make_runtime(self._runtimes[0])
        self._rootfs = os.path.join(self._path, "rootfs")
        self._state = State()
        self._is_mounted = False
        self._was_created = False
        self._is_over_time = False
        self._restart_count = 0
        self._delay = _FIRST_DELAY / 2

    def run(self) -> int:
        try:
            self._mount()
            streams = self._start()
        except (ImqError, OSError) as problem:
            self._fail(problem)
            return 1
        self._client.report({"pid": self._state.pid})
        while True:
            began = time.monotonic()
            exit_code = exit_code_of(self._watch(*streams))
            if not self._restarts(exit_code):
                self._finish(exit_code)
                return 0
            try:
                again = self._start_again(exit_code, time.monotonic() - began)
            except (ImqError, OSError) as problem:
                self._fail(problem)
                return 1
            if again is None:
                self._finish(exit_code)
                return 0
            streams = again

    # Starting

    def _mount(self) -> None:
        """Mount the file system, and copy what the image has in its volumes at the first start."""
        try:
            system_calls.enter_mount_namespace()
        except PermissionError:
            raise RuntimeFailed("this process may not make mount namespaces", code="permission") from None
        if self._job["layers"]:
            self._mount_overlay()
        for volume in self._job["new_volumes"]:
            with _hold_folder(volume["source"]):  # two containers may have the same new volume
                if not os.listdir(volume["source"]):
                    _fill_volume(self._rootfs, volume["target"], volume["source"])

    def _mount_overlay(self) -> None:
        os.makedirs(self._rootfs, mode=0o700, exist_ok=True)
        os.chdir(self._job["unpacked"])
        inside = os.path.relpath(self._path, self._job["unpacked"])
        options = f"lowerdir={':'.join(self._job['layers'])},upperdir={inside}/upper,workdir={inside}/work"
        try:
            if self._job["auto_remove"]:
                self._forget_start()
            mount_overlay(self._job["driver"], self._rootfs, options, temporary=self._job["auto_remove"])
        except OSError as problem:
            raise RuntimeFailed(
                f"the file system of the container cannot be mounted: {self._job['driver']}: {problem.strerror}",
                code="overlay",
            ) from None
        finally:
            os.chdir("/")
        self._is_mounted = True

    def _forget_start(self) -> None:
        """Remove the kernel's mark of a start that failed: that the files may not be on the disk after a crash."""
        mark = os.path.join(self._path, "work", "work", "incompat")
        if os.path.exists(mark):
            from imq.engine.layers.remove_tree import remove_tree

            remove_tree(mark)

    def _make_runtime(self, path: str) -> Runtime:
        job = self._job
        return Runtime(path, job["runtime_root"], job["timeout"], has_cgroups=job["has_cgroups"])

    def _start(self) -> tuple[dict[int, str], int, int]:
        """Start the container; return where its output is read and its input is written, and its terminal."""
        return self._start_with_terminal() if self._job["terminal"] else self._start_with_pipes()

    def _try_runtimes(self, start: Callable[[], None], output: Iterable[int] = ()) -> None:
        """Start the container by the first runtime that can; it is the one for restarts too.

        A runtime that may have started the program is the last: it does not run twice. What another one writes to the
        pipes of the program, whose readable ends are `output`, is discarded. Raises the error of the last one, whose
        messages are those of docker; the one before when that has no text.
        """
        *others, last = self._runtimes
        refusal: RuntimeFailed | None = None
        for path in others:
            self._use_runtime(path)
            try:
                start()
            except RuntimeFailed as problem:
                if self._was_created or problem.code in (TIMED_OUT, KILLED):
                    raise
                refusal = problem
                for pipe in output:
                    _discard_available(pipe)
            else:
                self._runtimes = [path]
                return
        self._use_runtime(last)
        try:
            start()
        except RuntimeFailed as problem:
            if refusal is not None and _NO_TEXT in problem.message:
                raise refusal from None
            raise

    def _use_runtime(self, path: str) -> None:
        self._runtime = self._make_runtime(path)
        self._runtime.accept_cgroups()
        with suppress(FileNotFoundError):
            os.unlink(RUNTIME, dir_fd=self._folder)
        os.symlink(path, RUNTIME, dir_fd=self._folder)

    def _start_with_pipes(self) -> tuple[dict[int, str], int, int]:
        """Start the container with pipes; return where its output is read and its input written, and no terminal."""
        pipes = {stream: os.pipe() for stream in STREAMS}
        stdin, entry = self._client.stdin, -1
        self._client.stdin = -1  # it is that of the container
        if self._job["keeps_stdin"] and not (self._job["attached"] and stdin >= 0):
            if stdin >= 0:
                os.close(stdin)
            stdin, entry = os.pipe()
        elif stdin < 0:
            stdin = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        try:
            self._try_runtimes(
                lambda: self._call_runtime((stdin, *(pair[1] for pair in pipes.values()))),
                [pair[0] for pair in pipes.values()],
            )
        finally:
            for descriptor in (stdin, *(pair[1] for pair in pipes.values())):
                os.close(descriptor)
        return {pair[0]: stream for stream, pair in pipes.items()}, entry, -1

    def _start_with_terminal(self) -> tuple[dict[int, str], int, int]:
        """Start the container with a terminal, whose controlling end the runtime sends; return it thrice."""
        terminal = -1

        def start() -> None:
            nonlocal terminal
            terminal = self._receive_terminal()

        self._try_runtimes(start)
        if self._job["size"]:
            set_terminal_size(terminal, *self._job["size"])
        return {terminal: "stdout"}, terminal if self._job["keeps_stdin"] else -1, terminal

    def _receive_terminal(self) -> int:
        """Let the runtime create and start the container, and return the terminal that it sends."""
        name = "console"
        listener = open_listener(self._folder, name)
        try:
            self._call_runtime((), "--console-socket", f"/proc/{os.getpid()}/fd/{self._folder}/{name}")
            try:
                control = accept(listener, self._job["timeout"])
                _, (terminal, *_) = receive_descriptors(control)
                os.close(control)
            except (OSError, ValueError):
                with suppress(ImqError, OSError):
                    self._runtime.delete(self._id)
                raise RuntimeFailed("the runtime has sent no terminal") from None
        finally:
            os.close(listener)
            os.unlink(name, dir_fd=self._folder)
        return terminal

    def _call_runtime(self, stdio: Sequence[int], *options: str) -> None:
        """Let the runtime create and start the container."""
        system_calls.adopt_descendants()
        log = os.path.join(self._path, "runtime.log")
        pid_file = os.path.join(self._path, "pid")
        for name in (log, pid_file):
            with suppress(FileNotFoundError):
                os.unlink(name)
        os.makedirs(self._runtime.root, mode=0o700, exist_ok=True)
        if os.path.exists(self._state_folder):  # of a run that no monitor saw the end of
            self._runtime.delete(self._id)
        os.set_inheritable(self._lock, True)  # a runtime that outlives this process keeps the container locked
        words = ("run", "--detach", *options, "--bundle", self._path, "--pid-file", pid_file, self._id)
        started = time.time_ns()
        try:
            self._runtime.call(*words, log=log, stdio=stdio, meanwhile=_import_removal)
            self._was_created = True
            pid = self._read_pid(pid_file)
            self._state = State(
                "running",
                pid,
                read_ticks(pid),
                read_boot_id(),
                started=started,
                restart_count=self._restart_count,
                health=STARTING if self._job["health"] else "",
            )
            self._write_state(durable=False)  # after a reboot it does not run
            if self._runtime.is_crun and self._job["compiled"]:
                from .seccomp_filters import keep_filter

                keep_filter(self._job["unpacked"], self._job["compiled"], self._runtime.path, self._state_folder)
        except (ImqError, OSError, ValueError):
            with suppress(ImqError, OSError):
                self._runtime.delete(self._id)
            raise
        finally:
            os.set_inheritable(self._lock, False)

    @property
    def _state_folder(self) -> str:
        """The folder where the runtime keeps the state of the container."""
        return os.path.join(self._runtime.root, self._id)

    def _read_pid(self, path: str) -> int:
        """Return the process that the runtime has started. Raises `RuntimeFailed` when it does not say which."""
        try:
            with open(path, encoding="ascii") as file:
                return int(file.read())
        except (FileNotFoundError, ValueError):
            raise RuntimeFailed(f"{self._runtime.path} has started no process") from None

    def _fail(self, problem: Exception) -> None:
        """Report that the container was not started. Nothing stays: no mount, no process, no cgroup."""
        message = problem.message if isinstance(problem, ImqError) else f"{type(problem).__name__}: {problem}"
        code = problem.code if isinstance(problem, ImqError) else "runtime"
        exit_code = find_exit_code(message, _NOT_STARTED)
        self._unmount()
        self._state = State("exited", exit_code=exit_code, error=message, finished=time.time_ns())
        with suppress(OSError):
            self._write_state()
        self._client.report({"error": message, "code": code, "exit_code": exit_code})

    # Watching

    def _watch(self, outputs: Mapping[int, str], entry: int, terminal: int) -> int:
        """Write the output to the log and to the clients until the container ends; return its wait status."""
        log = os.open(os.path.join(self._path, LOG), os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        exchange = Exchange(LogWriter(log), outputs, entry, terminal)
        for client in self._clients:
            exchange.add_client(client)
        listener = self._listen()
        if listener >= 0:
            exchange.listen(listener)

        def kill() -> None:
            self._state = self._state.replace(error="it was killed after its time limit")
            self._is_over_time = True
            with suppress(OSError):
                os.kill(self._state.pid, signal.SIGKILL)

        health = self._make_health_monitor(exchange)
        step = None if health is None else health.step
        try:
            return exchange.watch(self._state.pid, self._job["run_timeout"], kill, step)
        finally:
            if health is not None:
                health.close()
            self._clients = exchange.clients
            os.close(log)
            if listener >= 0:
                os.close(listener)
                with suppress(FileNotFoundError):
                    os.unlink(ATTACH, dir_fd=self._folder)

    def _make_health_monitor(self, exchange: Exchange) -> HealthMonitor | None:
        """Return what runs the health check, None when the container has none."""
        if not self._job["health"]:
            return None
        from .health import HealthCheck, HealthMonitor

        def report(status: str) -> None:
            self._state = self._state.replace(health=status)
            with suppress(OSError):
                self._write_state(durable=False)

        check = HealthCheck(**self._job["health"])
        return HealthMonitor(check, self._id, self._state.pid, self._folder, self._runtime, exchange, report)

    def _listen(self) -> int:
        """Return a socket on which clients attach, -1 when there can be none."""
        try:
            return open_listener(self._folder, ATTACH)
        except OSError:
            return -1

    def _dismiss_clients(self, exit_code: int) -> None:
        for client in self._clients:
            client.report({"exit_code": exit_code})
            os.close(client.control)
        self._clients = []

    # Restarting

    def _restarts(self, exit_code: int) -> bool:
        """Whether the container is started again: by its policy, unless it was stopped, or has no tries left."""
        policy = self._job["restart"]
        limit = policy["MaximumRetryCount"]
        is_covered = policy["Name"] in ALWAYS_RESTARTED or (policy["Name"] == "on-failure" and exit_code != 0)
        return (
            is_covered
            and not self._is_over_time
            and not (limit and self._restart_count >= limit)
            and not self._is_stopping()
        )

    def _is_stopping(self) -> bool:
        """Whether a user has stopped the container."""
        return os.access(STOPPING, os.F_OK, dir_fd=self._folder, follow_symlinks=False)

    def _start_again(self, exit_code: int, ran: float) -> tuple[dict[int, str], int, int] | None:
        """Start the container again after a delay; return None when it is stopped meanwhile.

        The delay doubles each time, as in docker, unless the container ran for long.
        """
        was_killed = _was_oom_killed(cgroup_of(self._id))
        self._delay = _FIRST_DELAY if ran > _LONG_RUN else min(self._delay * 2, _LAST_DELAY)
        self._restart_count += 1
        self._state = self._state.replace(
            status="restarting",
            pid=0,
            finished=time.time_ns(),
            exit_code=exit_code,
            oom_killed=was_killed,
            restart_count=self._restart_count,
            health="",
        )
        self._write_state(durable=False)
        self._dismiss_clients(exit_code)
        self._runtime.delete_ended(self._id)
        end = time.monotonic() + self._delay
        while time.monotonic() < end:
            if self._is_stopping():
                return None
            time.sleep(_POLL)
        return self._start()

    # Ending

    def _finish(self, exit_code: int) -> None:
        """Write how the container ended, and clean up after it."""
        was_killed = _was_oom_killed(cgroup_of(self._id))
        with suppress(FileNotFoundError):
            os.unlink(PAUSED, dir_fd=self._folder)
        self._state = self._state.replace(
            status="exited", pid=0, finished=time.time_ns(), exit_code=exit_code, oom_killed=was_killed, health=""
        )
        removes = self._job["auto_remove"]
        self._write_state(durable=not removes)
        if removes:
            from .removal import hide_folder

            with suppress(OSError):
                self._path = hide_folder(self._path, self._state)
        with suppress(ImqError, OSError):
            self._runtime.delete_ended(self._id)
        self._dismiss_clients(exit_code)  # they need not wait for the disk: nobody else sees the rest
        self._unmount()
        if removes:
            from imq.engine.layers.remove_tree import remove_tree

            with suppress(OSError):
                remove_tree(self._path)

    def _unmount(self) -> None:
        if self._is_mounted:
            with suppress(OSError):
                system_calls.unmount(os.path.join(self._path, "rootfs"))
            self._is_mounted = False

    def _write_state(self, *, durable: bool = True) -> None:
        state = self._state
        document = {name: getattr(state, name) for name in State._fields if name != "is_watched"}
        try:
            write_json(self._folder, STATE, document, durable=durable)
        except OSError:  # of a full disk: the exit code must not be lost
            overwrite_json(self._folder, STATE, document)


def _import_removal() -> None:
    """Import what the end of a container needs, while the runtime starts it."""
    from imq.engine.layers import remove_tree  # noqa: F401

    from . import removal  # noqa: F401


def _was_oom_killed(cgroup: str) -> bool:
    """Whether the kernel killed a process of the container for lack of memory."""
    for path, key in (
        (f"/sys/fs/cgroup/memory{cgroup}/memory.oom_control", "oom_kill"),
        (f"/sys/fs/cgroup{cgroup}/memory.events", "oom_kill"),
    ):
        try:
            with open(path, encoding="ascii") as file:
                counts = dict(line.split() for line in file)
        except (OSError, ValueError):
            continue
        return counts.get(key, "0") != "0"
    return False


@contextmanager
def _hold_folder(path: str) -> Iterator[None]:
    """Hold the lock of a folder during the block."""
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _fill_volume(rootfs: str, target: str, volume: str) -> None:
    """Copy what the image has in the folder of a volume, with owners and modes, as docker does for a new volume."""
    from imq.engine.layers.rooted_fs import MAX_DEPTH, RootedDirectory, clean_path

    from .runtime import spawn, wait_for

    with RootedDirectory(rootfs, MAX_DEPTH) as root:
        path = root.resolve(clean_path(target, MAX_DEPTH, clamp=True))
        if path is None:
            return
        source = os.dup(root.open_directory(path))
    try:
        os.set_inheritable(source, True)
        copy = next((one for one in ("/bin/cp", "/usr/bin/cp") if os.access(one, os.X_OK)), None)
        if copy is None:
            raise RuntimeFailed("cp was not found, which fills the volumes of the container")
        pid = spawn([copy, "-a", f"/proc/self/fd/{source}/.", volume])
        if wait_for(pid, 3600.0) != 0:
            raise RuntimeFailed(f"the volume {target} cannot be filled with the files of the image")
    finally:
        os.close(source)


def _discard_available(pipe: int) -> None:
    """Read what is in a pipe already."""
    os.set_blocking(pipe, False)
    with suppress(BlockingIOError):
        while os.read(pipe, _PIPE_SIZE):
            pass
    os.set_blocking(pipe, True)
