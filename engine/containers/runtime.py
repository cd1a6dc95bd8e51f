"""The OCI runtime: runc or crun, found on the path or configured."""

from __future__ import annotations

import json
import os
import select
import signal
import time
from contextlib import suppress

from imq.engine.layers.user_namespace import is_user_namespace
from imq.grammar.errors import ImqError
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

AUTO = "auto"
"""The setting by which the first of `_NAMES` on the path is used."""
_NAMES = ("runc", "crun")
_FURTHER_FOLDERS = ("/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/local/bin", "/usr/bin")
"""Where runtimes are installed: the path of a user seldom has the folders for administrators."""
TIMEOUT = 60.0
"""The maximum seconds that a runtime may take for one step."""
_LONGEST_MESSAGE = 2000
_CGROUPS = "/sys/fs/cgroup"


class RuntimeFailed(ImqError):
    """The OCI runtime is missing, failed, or did not respond.

    `exit_status` is the exit code that docker has for it: 127 for a missing program, 126 for one that is no program.
    """

    code = "runtime"
    exit_status = 125


def find_runtime(setting: str, environment: Mapping[str, str]) -> str:
    """Return the path of the runtime. Raises `RuntimeFailed` (`no-runtime`) when it is not found."""
    folders = [*environment.get("PATH", "").split(":"), *_FURTHER_FOLDERS]
    for name in _NAMES if setting == AUTO else (setting,):
        for path in [name] if "/" in name else [os.path.join(folder, name) for folder in folders if folder]:
            if os.path.isfile(path) and os.access(path, os.X_OK):
                return os.path.abspath(path)
    reason = "neither runc nor crun is installed" if setting == AUTO else f"the runtime {setting} was not found"
    raise RuntimeFailed(
        f"{reason}, so no container can be started",
        code="no-runtime",
        hints=(
            "install one: apt-get install runc, or dnf install runc",
            "or name its path: set runtime = /usr/local/bin/crun",
        ),
    )


INIT_TARGET = "/sbin/docker-init"
"""Where a container finds the init that it is given."""
_INITS = ("docker-init", "tini-static", "tini", "catatonit")


def find_init() -> str:
    """Return the path of an init for containers, which reaps processes. Raises `RuntimeFailed` (`no-init`)."""
    for name in _INITS:
        for folder in (*_FURTHER_FOLDERS, "/usr/libexec/docker", "/usr/libexec/podman"):
            path = os.path.join(folder, name)
            if os.path.isfile(path) and os.access(path, os.X_OK):
                return path
    raise RuntimeFailed(
        "no init for containers is installed",
        code="no-init",
        hints=("install one: apt-get install tini", "or create the container without init"),
    )


def may_make_cgroups() -> bool:
    """Whether this process may make cgroups: root may, also that of a user namespace with its own, as in LXC."""
    if os.geteuid() != 0 or not is_user_namespace():
        return os.geteuid() == 0
    folder = _CGROUPS if os.path.exists(f"{_CGROUPS}/cgroup.controllers") else f"{_CGROUPS}/pids"
    return os.access(folder, os.W_OK)


class Runtime:
    """Calls of one runtime. `root` is the folder where it keeps the state of running containers.

    Without `has_cgroups` it makes none for its containers, which an ordinary user may not.
    """

    def __init__(self, path: str, root: str, timeout: float = TIMEOUT, *, has_cgroups: bool = True) -> None:
        self.path = path
        self.root = root
        self.timeout = timeout
        is_crun = os.path.basename(path).startswith("crun")
        rootless = ("--cgroup-manager=disabled",) if is_crun else ("--rootless=true",)
        self.argv = [path, "--root", root, *(() if has_cgroups else rootless)]
        """The beginning of each command line."""

    def call(
        self,
        *words: str,
        log: str = "",
        stdio: Sequence[int] = (),
        check: bool = True,
        meanwhile: Callable[[], object] = lambda: None,
    ) -> int:
        """Run a command of the runtime and return its exit code. `meanwhile` is called while it runs.

        `log` is the path of the file for its messages. `stdio` are the descriptors of its standard streams, /dev/null
        without them. Raises `RuntimeFailed` when it fails, with its message, or does not exit in time.
        """
        argv = self.argv
        if log:
            argv = [*argv, "--log", log, "--log-format", "json"]
        try:
            pid = spawn([*argv, *words], stdio)
        except OSError as problem:
            raise RuntimeFailed(f"the runtime {self.path} cannot be executed: {problem.strerror}") from None
        meanwhile()
        code = wait_for(pid, self.timeout)
        if code is None:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            raise RuntimeFailed(
                f"{self.path} {words[0]} did not end in {self.timeout:g} seconds and was killed", code="runtime-timeout"
            )
        if code and check:
            message = read_message(log) if log else ""
            raise RuntimeFailed(message or f"{self.path} {words[0]} exited with code {code}")
        return code

    def delete(self, id_: str) -> None:
        """Remove what the runtime keeps of a container, and its cgroups; processes of it are killed."""
        self.call("delete", "--force", id_, check=False)

    def delete_ended(self, id_: str, cgroup: str) -> None:
        """Remove what the runtime keeps of a container whose first process has ended, and its cgroups.

        This takes a millisecond, and the runtime itself twenty: it is only called when there are processes left.
        """
        from imq.engine.layers.remove_tree import remove_tree

        try:
            for path in _list_cgroups(cgroup):
                os.rmdir(path)
            remove_tree(os.path.join(self.root, id_))
        except OSError:
            self.delete(id_)


def _list_cgroups(cgroup: str) -> Iterator[str]:
    """Yield the folders of a cgroup, one for each hierarchy that has it."""
    parents = [_CGROUPS]
    with suppress(OSError):
        parents += [entry.path for entry in os.scandir(_CGROUPS) if entry.is_dir(follow_symlinks=False)]
    for parent in parents:
        if os.path.isdir(parent + cgroup):
            yield parent + cgroup


def spawn(argv: Sequence[str], stdio: Sequence[int] = (), environment: Mapping[str, str] | None = None) -> int:
    """Start a program and return its process ID. `stdio`: its standard streams, /dev/null without them."""
    actions: list[tuple[object, ...]] = []
    for number in range(3):
        if number < len(stdio):
            actions.append((os.POSIX_SPAWN_DUP2, stdio[number], number))
        else:
            actions.append((os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_RDWR, 0))
    signals = (signal.SIGPIPE, signal.SIGINT, signal.SIGHUP, signal.SIGTERM, signal.SIGQUIT)
    env = dict(os.environ if environment is None else environment)
    return os.posix_spawn(argv[0], list(argv), env, file_actions=actions, setsigdef=signals, setsigmask=())


def wait_for(pid: int, timeout: float) -> int | None:
    """Wait for a child process and return its exit code, 128 and the signal when one killed it; None after `timeout`.

    The process is reaped unless the time is over.
    """
    deadline = time.monotonic() + timeout
    try:
        descriptor = os.pidfd_open(pid)
    except OSError:
        descriptor = -1
    try:
        while True:
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                return exit_code_of(status)
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                return None
            if descriptor >= 0:
                poller = select.poll()
                poller.register(descriptor, select.POLLIN)
                poller.poll(remaining * 1000)
            else:
                time.sleep(0.01)
    finally:
        if descriptor >= 0:
            os.close(descriptor)


def exit_code_of(status: int) -> int:
    """Return the exit code of a process that was waited for, 128 and the signal when one killed it."""
    return 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


_HINTS = {
    "hybrid mode not supported": (
        "crun needs cgroups of version 2, or of version 1 without those of version 2 below /sys/fs/cgroup/unified",
        "runc runs here as it is: set runtime = runc",
    ),
    "cannot be executed": ("name another runtime: set runtime = runc",),
    "may not make mount namespaces": (
        "it needs the capability CAP_SYS_ADMIN; in a container of docker: --privileged, or --cap-add SYS_ADMIN",
    ),
    "exec format error": ("the program is for another machine, or a script without a first line #!INTERPRETER",),
    "setrlimit": ("this user may not raise the limit: leave out ulimit, or lower it",),
    "no such file or directory": (
        "the program, or the interpreter in the first line of a script, is not in the image",
    ),
    "executable file not found": ("the program is in no folder of the container's PATH",),
}
"""Parts of messages of runtimes, in lower case, and what helps."""


def find_hints(message: str) -> tuple[str, ...]:
    """Return what helps against a failure of a runtime, by its message."""
    return next((hints for part, hints in _HINTS.items() if part in message.lower()), ())


def read_message(path: str) -> str:
    """Return the last error in a log of the runtime; "" when there is none."""
    message = ""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            for line in file:
                try:
                    entry = json.loads(line)
                except ValueError:
                    continue
                if isinstance(entry, dict) and entry.get("level") in ("error", "fatal"):
                    message = str(entry.get("msg", ""))
    except OSError:
        return ""
    return message[-_LONGEST_MESSAGE:]
