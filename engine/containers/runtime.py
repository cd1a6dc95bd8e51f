"""The OCI runtime: runc or crun, found on the path or configured."""

from __future__ import annotations

import json
import os
import select
import signal
import time
from contextlib import suppress
from functools import cache

from imq.engine.layers.user_namespace import is_user_namespace
from imq.grammar.errors import ImqError
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

AUTO = "auto"
"""The setting by which the first of `_NAMES` that starts a container is used."""
_CRUN, _RUNC = "crun", "runc"
_NAMES = (_CRUN, _RUNC)
"""crun takes a quarter of the time. What it refuses, runc may do, and its messages are those of docker."""
_FURTHER_FOLDERS = ("/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/local/bin", "/usr/bin")
"""Where runtimes are installed: the path of a user seldom has the folders for administrators."""
TIMEOUT = 60.0
"""The maximum seconds that a runtime may take for one step."""
TIMED_OUT = "runtime-timeout"
"""The code of the error of a runtime that takes longer."""
KILLED = "runtime-killed"
"""The code of the error of a runtime that a signal ended: it may have started the container or not."""
_VERSION_TIMEOUT = 5.0
_FREEZE_TIMEOUT, _FREEZE_POLL = 10.0, 0.001
"""The maximum seconds that processes take to freeze, and those between two looks at them."""
_LONGEST_MESSAGE = 2000
_SIGNALLED = 128
"""The exit code of a process that a signal has ended is this one and the number of the signal."""
_CGROUPS = "/sys/fs/cgroup"
_HYBRID_CONTROLLERS = f"{_CGROUPS}/unified/cgroup.controllers"
"""The controllers of version 2 on a machine with cgroups of both versions."""


class RuntimeFailed(ImqError):
    """The OCI runtime is missing, failed, or did not respond.

    `exit_status` is the exit code that docker has for it: 127 for a missing program, 126 for one that is no program.
    """

    code = "runtime"
    exit_status = 125


def find_runtimes(setting: str, environment: Mapping[str, str]) -> tuple[str, ...]:
    """Return the paths of the runtimes for a new run: each is tried if the one before it cannot start the container.

    Only `AUTO` has several. Raises `RuntimeFailed` (`no-runtime`) when none is found.
    """
    names = _NAMES if setting == AUTO else (setting,)
    if found := tuple(path for name in names if (path := _find_program(name, environment))):
        return found
    reason = "neither crun nor runc is installed" if setting == AUTO else f"the runtime {setting} was not found"
    raise RuntimeFailed(
        f"{reason}, so no container can be started",
        code="no-runtime",
        hints=(
            "install one: apt-get install crun, or dnf install crun",
            "or name its path: set runtime = /usr/local/bin/runc",
        ),
    )


def _find_program(name: str, environment: Mapping[str, str]) -> str:
    """Return the path of a program, given as a path or found by its name; "" when there is none."""
    folders = [*environment.get("PATH", "").split(":"), *_FURTHER_FOLDERS]
    for path in [name] if "/" in name else [os.path.join(folder, name) for folder in folders if folder]:
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return os.path.abspath(path)
    return ""


@cache
def is_crun(path: str) -> bool:
    """Whether a runtime is crun: by the name of its program, or by its version when it has a name of its own.

    Any other runtime is called as runc is, whose options those of most runtimes are.
    """
    name = os.path.basename(path)
    if name.startswith(_NAMES):
        return name.startswith(_CRUN)
    return _read_version(path).startswith(f"{_CRUN} ")


def _read_version(path: str) -> str:
    """Return the beginning of what `--version` of a program prints; "" when it does not end in time."""
    source, target = os.pipe()
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    try:
        pid = spawn([path, "--version"], (null, target))
        if wait_for(pid, _VERSION_TIMEOUT) is None:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return ""
        os.close(target)
        target = -1
        return os.read(source, 100).decode(errors="replace")
    except OSError:
        return ""  # the call that starts the container says why it cannot be executed
    finally:
        for descriptor in (source, null, target):
            if descriptor >= 0:
                os.close(descriptor)


def find_by_state(folder: str) -> str:
    """Return the name of the runtime whose files are in the folder with the state of a container; "" without any."""
    files = {"status": _CRUN, "state.json": _RUNC}
    return next((name for file, name in files.items() if os.path.exists(os.path.join(folder, file))), "")


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
        self.is_crun = is_crun(path)
        rootless = ("--cgroup-manager=disabled",) if self.is_crun else ("--rootless=true",)
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
        try:
            pid = spawn([*self.argv, *(self.log_options(log) if log else ()), *words], stdio)
        except OSError as problem:
            raise RuntimeFailed(f"the runtime {self.path} cannot be executed: {problem.strerror}") from None
        meanwhile()
        code = wait_for(pid, self.timeout)
        if code is None:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            raise RuntimeFailed(
                f"{self.path} {words[0]} did not end in {self.timeout:g} seconds and was killed", code=TIMED_OUT
            )
        if code and check:
            message = read_message(log) if log else ""
            raise RuntimeFailed(
                message or f"{self.path} {words[0]} exited with code {code}",
                code=KILLED if code > _SIGNALLED else RuntimeFailed.code,
            )
        return code

    def log_options(self, path: str) -> tuple[str, ...]:
        """Return the options by which messages go to a file, from which `read_message` reads them."""
        # what crun writes to the log, it writes to the standard error of a program that cannot be executed too
        return ("--log", path, "--log-format", "text" if self.is_crun else "json")

    def accept_cgroups(self) -> None:
        """Let this runtime accept the cgroups of the machine. The mount namespace is that of this process alone.

        crun supports cgroups of both versions only as long as those of version 2 have no controllers. Limits are set by
        controllers of version 1, so it is enough that it finds none of version 2.
        """
        from .system_calls import bind

        with suppress(OSError):  # then it refuses to start the container, and says why
            if self.is_crun and _has_content(_HYBRID_CONTROLLERS):
                bind(os.devnull, _HYBRID_CONTROLLERS)

    def delete(self, id_: str) -> None:
        """Remove what the runtime keeps of a container, and its cgroups; processes of it are killed."""
        self.call("delete", "--force", id_, check=False)
        with suppress(OSError):  # a runtime that was killed does not know the cgroups that it has made
            _remove_cgroups(id_)

    def delete_ended(self, id_: str) -> None:
        """Remove what the runtime keeps of a container whose first process has ended, and its cgroups.

        This takes a millisecond, and the runtime itself twenty: it is only called when there are processes left.
        """
        from imq.engine.layers.remove_tree import remove_tree

        try:
            _remove_cgroups(id_)
            remove_tree(os.path.join(self.root, id_))
        except OSError:
            self.delete(id_)


def _has_content(path: str) -> bool:
    with open(path, "rb") as file:
        return bool(file.read(1))


def cgroup_of(id_: str) -> str:
    """Return the path of the cgroup of a container in each hierarchy."""
    return f"/imq/{id_}"


def _remove_cgroups(id_: str) -> None:
    """Remove the cgroups of a container without processes, one in each hierarchy that has it."""
    parents = [_CGROUPS]
    with suppress(OSError):
        parents += [entry.path for entry in os.scandir(_CGROUPS) if entry.is_dir(follow_symlinks=False)]
    for parent in parents:
        path = parent + cgroup_of(id_)
        if os.path.isdir(path):
            os.rmdir(path)


def wait_until_frozen(id_: str, timeout: float = _FREEZE_TIMEOUT) -> bool:
    """Wait until the kernel has frozen the processes of a container; return whether it has. crun does not wait for it.

    True too when the cgroup is in another place.
    """
    group = cgroup_of(id_)
    places = (f"{_CGROUPS}/freezer{group}/freezer.state", "FROZEN"), (f"{_CGROUPS}{group}/cgroup.events", "frozen 1")
    found = next(((path, line) for path, line in places if os.path.exists(path)), None)
    if found is None:
        return True
    path, line = found
    deadline = time.monotonic() + timeout
    with suppress(OSError):  # the container has ended
        while line not in _read_lines(path):
            if time.monotonic() > deadline:
                return False
            time.sleep(_FREEZE_POLL)
    return True


def _read_lines(path: str) -> list[str]:
    with open(path, encoding="ascii") as file:
        return file.read().splitlines()


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
    return _SIGNALLED + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


_EXIT_CODES = {
    "chdir to cwd (": 126,
    "chdir `": 126,  # crun's words for a missing working directory
    "no such file or directory": 127,
    "executable file not found": 127,
    "permission denied": 126,
    "is a directory": 126,
    "open executable": 126,  # crun's words for a directory
}
"""The exit codes of programs that cannot be executed, by parts of the messages of runtimes in lower case."""
_NOT_IN_IMAGE = ("the program, or the interpreter in the first line of a script, is not in the image",)
_HINTS = {
    "hybrid mode not supported": ("this user may not change that for crun; with runc it works: set runtime = runc",),
    "cannot be executed": ("name another runtime: set runtime = runc",),
    "may not make mount namespaces": (
        "it needs the capability CAP_SYS_ADMIN; in a container of docker: --privileged, or --cap-add SYS_ADMIN",
    ),
    "exec format error": ("the program is for another machine, or a script without a first line #!INTERPRETER",),
    "rlim_memlock": ("crun may not raise its own limit here; with runc it works: set runtime = runc",),
    "setrlimit": ("this user may not raise the limit: leave out ulimit, or lower it",),
    "setting cgroup config": (
        "the cgroups here may lack a controller that a limit needs: leave it out, or set cgroup.subtree_control",
    ),
    "executable file `/": _NOT_IN_IMAGE,
    "not found in $path": ("the program is in no folder of the container's PATH",),
    "no such file or directory": _NOT_IN_IMAGE,
}
"""Parts of messages of runtimes, in lower case, and what helps."""


def find_exit_code(message: str, default: int) -> int:
    """Return docker's exit code for a program that a runtime could not execute, by its message."""
    text = message.lower()
    if "cgroup" in text:  # a file of a controller may be missing too
        return default
    return next((code for part, code in _EXIT_CODES.items() if part in text), default)


def find_hints(message: str) -> tuple[str, ...]:
    """Return what helps against a failure of a runtime, by its message."""
    return next((hints for part, hints in _HINTS.items() if part in message.lower()), ())


def read_message(path: str) -> str:
    """Return the last error in a log of the runtime; "" when there is none.

    A log of runc has objects with levels, one of crun has plain lines.
    """
    message = ""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            for line in file:
                try:
                    entry = json.loads(line)
                except ValueError:
                    message = line.strip() or message
                    continue
                if isinstance(entry, dict) and entry.get("level") in ("error", "fatal"):
                    message = str(entry.get("msg", ""))
    except OSError:
        return ""
    return message[-_LONGEST_MESSAGE:]
