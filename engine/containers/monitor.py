"""The monitor: a small process beside each running container, like conmon. It outlives the imq that started it.

It mounts the file system of the container in a mount namespace of its own, so that nothing stays mounted when it ends,
lets the OCI runtime create and start the container, writes what the container prints to the log, waits for its end, and
writes the exit code to `state.json`. All that time it holds the lock of the container.

Its descriptors: 3 the job, 4 the reports, 5 the lock, 6 to 8 the standard streams of the attached imq. A report is one
line of JSON: that the container has started, or why it has not, and then how it ended.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import time
from contextlib import suppress

from imq.grammar.errors import ImqError
from imq.grammar.record import TYPE_CHECKING

from . import system_calls
from .folder import LOG, PAUSED, STATE, State, read_boot_id, read_ticks, write_json
from .log_file import STREAMS, LogWriter
from .runtime import Runtime, RuntimeFailed, exit_code_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

JOB, REPORT, LOCK, STDIN, STDOUT, STDERR = 3, 4, 5, 6, 7, 8
COMMAND = "__container_monitor"
"""The hidden command by which the frozen executable runs as a monitor: see cli/main.py."""
_READ_SIZE = 64 << 10
_LONGEST_WAIT = 3600.0
_POLL = 0.05
"""Seconds between two looks at the process, on kernels that cannot wait for one."""
_DRAIN = 2.0
"""The maximum seconds to read what is left in the pipes after the container has ended."""
_NOT_FOUND, _NOT_EXECUTABLE, _NOT_STARTED = 127, 126, 128


def main() -> None:
    """Run as a monitor; the process that was started exits at once, so that nobody has to wait for the monitor."""
    if os.fork():
        os._exit(0)
    os.setsid()
    os.chdir("/")
    os.umask(0o022)
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    with os.fdopen(JOB, "rb") as file:
        job = json.loads(file.read())
    for descriptor in (REPORT, LOCK, STDIN, STDOUT, STDERR):
        os.set_inheritable(descriptor, False)
    with suppress(OSError):
        system_calls.set_process_name(f"imq {job['id'][:10]}")
    code = 1
    try:
        code = _Monitor(job).run()
    except BaseException as problem:  # noqa: BLE001 - nobody else can report it
        report({"error": f"the monitor of the container failed: {problem!r}", "code": "runtime"})
    os._exit(code)


def report(document: Mapping[str, Any]) -> None:
    """Send a report to the imq that started the monitor, if it still exists."""
    with suppress(OSError):
        os.write(REPORT, json.dumps(document).encode() + b"\n")


class _Monitor:
    """One run of one container."""

    def __init__(self, job: Mapping[str, Any]) -> None:
        self._job = job
        self._id: str = job["id"]
        self._path: str = job["folder"]
        self._folder = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._runtime = Runtime(job["runtime"], job["runtime_root"], job["timeout"])
        self._rootfs = os.path.join(self._path, "rootfs")
        self._state = State()
        self._is_mounted = False

    def run(self) -> int:
        pipes = {stream: os.pipe() for stream in STREAMS}
        try:
            self._mount()
            self._start({stream: pair[1] for stream, pair in pipes.items()})
        except (ImqError, OSError) as problem:
            self._fail(problem)
            return 1
        finally:
            for _, writer in pipes.values():
                os.close(writer)
            os.close(STDIN)
        report({"pid": self._state.pid})
        status = self._watch({pair[0]: stream for stream, pair in pipes.items()})
        self._finish(exit_code_of(status))
        return 0

    # Starting

    def _mount(self) -> None:
        """Mount the file system, and copy what the image has in its volumes at the first start."""
        system_calls.enter_mount_namespace()
        os.makedirs(self._rootfs, mode=0o700, exist_ok=True)
        os.chdir(self._job["unpacked"])
        inside = os.path.relpath(self._path, self._job["unpacked"])
        options = (
            f"lowerdir={':'.join(self._job['layers'])},upperdir={inside}/upper,workdir={inside}/work"
            ",index=off,metacopy=off,redirect_dir=off"
        )
        try:
            system_calls.mount_overlay(self._rootfs, options)
        except OSError as problem:
            raise RuntimeFailed(
                f"the file system of the container cannot be mounted: overlay: {problem.strerror}", code="overlay"
            ) from None
        finally:
            os.chdir("/")
        self._is_mounted = True
        for volume in self._job["new_volumes"]:
            _fill_volume(self._rootfs, volume["target"], volume["source"])

    def _start(self, streams: Mapping[str, int]) -> None:
        """Let the runtime create and start the container."""
        system_calls.adopt_descendants()
        log = os.path.join(self._path, "runtime.log")
        pid_file = os.path.join(self._path, "pid")
        for name in (log, pid_file):
            with suppress(FileNotFoundError):
                os.unlink(name)
        os.makedirs(self._runtime.root, mode=0o700, exist_ok=True)
        if os.path.exists(os.path.join(self._runtime.root, self._id)):  # of a run that no monitor saw the end of
            self._runtime.delete(self._id)
        words = ("run", "--detach", "--bundle", self._path, "--pid-file", pid_file, self._id)
        started = time.time_ns()
        try:
            self._runtime.call(*words, log=log, stdio=(STDIN, streams["stdout"], streams["stderr"]))
            with open(pid_file, encoding="ascii") as file:
                pid = int(file.read())
            self._state = State("running", pid, read_ticks(pid), read_boot_id(), started=started)
            self._write_state(durable=False)  # after a reboot it does not run
        except (ImqError, OSError, ValueError):
            with suppress(ImqError, OSError):
                self._runtime.delete(self._id)
            raise

    def _fail(self, problem: Exception) -> None:
        """Report that the container was not started. Nothing stays: no mount, no process, no cgroup."""
        message = problem.message if isinstance(problem, ImqError) else f"{type(problem).__name__}: {problem}"
        code = problem.code if isinstance(problem, ImqError) else "runtime"
        exit_code = _NOT_STARTED
        if "no such file or directory" in message or "executable file not found" in message:
            exit_code = _NOT_FOUND
        elif "permission denied" in message or "is a directory" in message:
            exit_code = _NOT_EXECUTABLE
        self._unmount()
        self._state = State("exited", exit_code=exit_code, error=message, finished=time.time_ns())
        with suppress(OSError):
            self._write_state()
        report({"error": message, "code": code, "exit_code": exit_code})

    # Watching

    def _watch(self, streams: dict[int, str]) -> int:
        """Write the output to the log and to the attached imq until the container ends; return its wait status."""
        log = os.open(os.path.join(self._path, LOG), os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        writer = LogWriter(log)
        attached = {"stdout": STDOUT, "stderr": STDERR}
        poller = select.poll()
        for descriptor in streams:
            poller.register(descriptor, select.POLLIN)
        try:
            process = os.pidfd_open(self._state.pid)
            poller.register(process, select.POLLIN)
        except OSError:
            process = -1
        status: int | None = None
        deadline = 0.0
        limit = time.monotonic() + self._job["run_timeout"] if self._job["run_timeout"] else None
        while streams or status is None:
            wait = _LONGEST_WAIT if status is None else max(0.0, deadline - time.monotonic())
            if process < 0 and status is None:
                wait = _POLL
            if limit is not None and status is None:
                wait = min(wait, max(0.0, limit - time.monotonic()))
            events = poller.poll(wait * 1000)
            if limit is not None and status is None and time.monotonic() >= limit:
                limit = None
                self._state = self._state.replace(error="it was killed after its time limit")
                with suppress(OSError):
                    os.kill(self._state.pid, signal.SIGKILL)
            for descriptor, _ in events:
                if descriptor in streams and not self._pass_on(descriptor, streams[descriptor], writer, attached):
                    poller.unregister(descriptor)
                    os.close(descriptor)
                    del streams[descriptor]
            if status is None:
                done, result = os.waitpid(self._state.pid, os.WNOHANG)
                if done:
                    status, deadline = result, time.monotonic() + _DRAIN
                    if process >= 0:
                        poller.unregister(process)
                        os.close(process)
            elif not events and time.monotonic() >= deadline:
                break  # a process outside of the container has the pipe
        writer.finish()
        os.close(log)
        assert status is not None
        return status

    @staticmethod
    def _pass_on(descriptor: int, stream: str, writer: LogWriter, attached: dict[str, int]) -> bool:
        """Pass on what a stream has; return False at its end."""
        content = os.read(descriptor, _READ_SIZE)
        if not content:
            return False
        writer.write(stream, content)
        target = attached.get(stream)
        view = memoryview(content)
        try:
            while view and target is not None:
                view = view[os.write(target, view) :]
        except OSError:
            del attached[stream]  # the attached imq has ended
        return True

    # Ending

    def _finish(self, exit_code: int) -> None:
        """Write how the container ended, and clean up after it."""
        was_killed = _was_oom_killed(self._job["cgroup"])
        with suppress(FileNotFoundError):
            os.unlink(PAUSED, dir_fd=self._folder)
        self._state = self._state.replace(
            status="exited", pid=0, finished=time.time_ns(), exit_code=exit_code, oom_killed=was_killed
        )
        removes = self._job["auto_remove"]
        self._write_state(durable=not removes)
        if removes:
            from .removal import hide_folder

            with suppress(OSError):
                self._path = hide_folder(self._path, self._state)
        report({"exit_code": exit_code})
        with suppress(ImqError, OSError):
            self._runtime.delete(self._id)
        self._unmount()
        if removes:
            from imq.engine.layers.unpack import remove_tree

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
        write_json(self._folder, STATE, document, durable=durable)


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


if __name__ == "__main__":
    main()
    sys.exit(0)
