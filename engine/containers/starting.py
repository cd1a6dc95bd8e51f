"""Starts containers and programs in them: writes bundles, starts monitors, and attaches to their streams."""

from __future__ import annotations

import json
import os
from contextlib import suppress

from imq.engine.layers.user_namespace import has_single_id, is_user_namespace, read_id_map
from imq.engine.oci.platform import host_platform
from imq.grammar.errors import Conflict, StatementError
from imq.grammar.record import TYPE_CHECKING

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
from .folder import BUNDLE, PAUSED, RUNTIME_STATE, STATE, STOPPING, driver_of, has_layers, write_file, write_json
from .image_checks import check_source, find_user_in
from .network_files import make_network_files
from .runtime import (
    INIT_TARGET,
    TIMEOUT,
    RuntimeFailed,
    cgroup_of,
    exit_code_of,
    find_exit_code,
    find_hints,
    find_init,
    is_crun,
    may_make_cgroups,
    read_message,
    spawn,
)
from .seccomp_filters import ANNOTATION, find_filter

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from .attachment import Attachment
    from .folder import State
    from .reader import Container, ContainerReader, Program
    from .users import User

_NOT_EXECUTED = 255
"""The exit code of a runtime that could not execute a program in a container."""
_NO_PROGRAM = 126
"""Docker's exit code when a program cannot be run in a container, for a reason other than its file."""
_OF_PROGRAM = (126, 127)
"""Docker's exit codes of `run` when the program is missing, or cannot be executed."""


class Starter:
    """Starts containers of one store."""

    def __init__(self, containers: ContainerReader) -> None:
        self._containers = containers

    def start(self, container: Container, *, attach: bool = False, stdin: bool = False) -> Attachment | None:
        """Start a container, and return its streams with `attach`. With `stdin` it reads that of this process.

        Raises `Conflict` when it runs already, and `RuntimeFailed` when the runtime refuses it.
        """
        runtimes = self._containers.find_runtimes()
        with self._containers.open_folder(container.id) as folder:
            lock = self._containers.lock_stopped(folder, container)
            try:
                profile = self._prepare(folder, container, runtimes[0])
                return self._start_monitor(container, runtimes, profile, lock, attach=attach, stdin=stdin)
            finally:
                os.close(lock)

    def _prepare(self, folder: int, container: Container, runtime: str) -> Mapping[str, Any] | None:
        """Write the bundle of a container for a runtime, which others take too.

        Returns the seccomp profile that crun will compile, None if it has nothing to compile. Raises `StatementError`
        for a user that the files of the container do not have.
        """
        document = container.document
        config, host = document["Config"], document["HostConfig"]
        unpacked.check_owner(self._containers.store)
        self._unpack_lost_layers(document)
        user = self._find_user(container, config["User"])
        for mount in document["Mounts"]:
            check_source(Mount(mount["Source"], mount["Destination"]))
        shares_name = "host" in (host["NetworkMode"], host.get("UTSMode"))
        hostname = os.uname().nodename if shares_name else config["Hostname"]
        for name, content in make_network_files(host, hostname).items():
            write_file(folder, name, content, durable=False)
        path = self._containers.path_of(container.id)
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
        if profile and (compiled := find_filter(self._containers.unpacked_path, profile, runtime)):
            bundle["annotations"] = {ANNOTATION: compiled}
            profile = None
        write_json(folder, BUNDLE, bundle, 0o600, durable=False)
        for name in (PAUSED, STOPPING):
            with suppress(FileNotFoundError):
                os.unlink(name, dir_fd=folder)
        return profile

    def _unpack_lost_layers(self, document: Mapping[str, Any]) -> None:
        """Unpack layers that somebody has removed. Raises `NotFound` when the image is gone too."""
        paths = [os.path.join(self._containers.unpacked_path, name) for name in unpacked.stack_layers(document)]
        if has_layers(document) and not all(map(os.path.isdir, paths)):
            folder = unpacked.open_folder(self._containers.store)
            with unpacked.hold_layers(folder):
                found = unpacked.list_image_layers(self._containers.store, document["ImageManifest"])
                unpacked.unpack_missing(self._containers.store, folder, found)

    def _find_user(self, container: Container, text: str) -> User:
        """Return a user by the files of a container, with the groups that it is given too."""
        added = container.document["HostConfig"].get("GroupAdd") or ()
        user = find_user_in(self._containers.list_layers(container), text, added)
        for number, path in ((user.uid, "/proc/self/uid_map"), (user.gid, "/proc/self/gid_map")):
            if not any(first <= number < first + count for first, _, count in read_id_map(path)):
                raise StatementError(
                    f"the ID {number} of the container's user is not in the user namespace",
                    code="user-namespace",
                    hints=("/etc/subuid and /etc/subgid have the IDs of each user: give this one more",),
                )
        return user

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

        path, document = self._containers.path_of(container.id), container.document
        has_run = os.path.exists(os.path.join(path, STATE))
        volumes = [
            {"target": mount["Destination"], "source": mount["Source"]}
            for mount in document["Mounts"]
            if mount["Type"] == "volume" and not has_run and not mount.get("NoCopy")
        ]
        job = {
            "id": container.id,
            "folder": path,
            "unpacked": self._containers.unpacked_path,
            "layers": unpacked.stack_layers(document) if has_layers(document) else (),
            "driver": driver_of(document),
            "has_cgroups": may_make_cgroups(),
            "runtimes": runtimes,
            "compiled": profile,
            "runtime_root": os.path.join(self._containers.path, RUNTIME_STATE),
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

        state = self._containers.read_state(container.id)
        if state.status != "running":
            raise Conflict(f"the container {container.name} is {state.status}, not running", code="not-running")
        config = container.document["Config"]
        terminal = bool(config.get("Tty"))
        with self._containers.open_folder(container.id) as folder:
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

    def execute(
        self, container: Container, program: Program, stdio: Sequence[int], join: Callable[[State], Sequence[str]]
    ) -> int:
        """Run a program in a running container and return its exit code. `stdio`: its standard streams.

        `join` returns the words of a command line by which it enters the user namespace of the container. Raises
        `Conflict` when the container does not run.
        """
        state = self._containers.read_state(container.id)
        if state.status != "running":
            raise Conflict(f"the container {container.name} is {state.status}, not running", code="not-running")
        config = container.document["Config"]
        default = default_environment(config["Hostname"], terminal=program.terminal)
        on_terminal = program.terminal and not program.detach  # a terminal that nobody has would hang up
        options = BundleOptions(
            program.arguments,
            make_environment(default, config["Env"], program.environment),
            program.workdir or config["WorkingDir"],
            self._find_user(container, program.user or config["User"]),
            container.document["HostConfig"],
            terminal=on_terminal,
            has_single_id=has_single_id(f"/proc/{state.pid}/uid_map"),
        )
        runtime = self._containers.runtime_of(container.id)
        process, log = os.memfd_create("imq-process", 0), os.memfd_create("imq-log", 0)
        process_path, log_path = f"/proc/self/fd/{process}", f"/proc/self/fd/{log}"

        document = make_process(options, privileged=program.privileged)

        def call(stdio: Sequence[int], *flags: str) -> int:
            os.write(process, json.dumps(document).encode())
            argv = [*join(state), *runtime.argv, *runtime.log_options(log_path)]
            pid = spawn([*argv, "exec", "--process", process_path, *flags, container.id], stdio)
            return exit_code_of(os.waitpid(pid, 0)[1])

        def call_for_terminal(*flags: str) -> None:
            if code := call((), *flags):
                message = read_message(log_path)
                error = RuntimeFailed(message or f"{runtime.path} exec exited with code {code}")
                error.exit_status = find_exit_code(message, _NO_PROGRAM)
                error.hints = find_hints(message)
                raise error

        try:
            if on_terminal:
                from .attachment import read_terminal_size
                from .program_terminal import run_on_terminal

                if (size := read_terminal_size()) is not None:
                    document["consoleSize"] = {"height": size[0], "width": size[1]}
                with self._containers.open_folder(container.id) as folder:
                    reads = os.isatty(stdio[0])
                    return exit_code_of(run_on_terminal(folder, call_for_terminal, TIMEOUT, reads=reads))
            code = call(stdio, *(["--detach"] if program.detach else []))
            if code == _NOT_EXECUTED:  # or that of the program, and then there is no message
                code = find_exit_code(read_message(log_path), code)
        finally:
            os.close(process)
            os.close(log)
        return code


def _read_health_check(config: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the health check of a container as a job has it."""
    if not config.get("Healthcheck"):
        return None
    from .health import read_check

    check = read_check(config)
    return None if check is None else {name: getattr(check, name) for name in check.compared_fields()}


def _start_error(container: Container, report: Mapping[str, Any]) -> RuntimeFailed:
    error = RuntimeFailed(
        f"the container {container.name} cannot be started: {report['error']}",
        code=report["code"],
        hints=find_hints(report["error"]),
    )
    if report.get("exit_code") in _OF_PROGRAM:  # other codes are only those of the container, as in docker
        error.exit_status = report["exit_code"]
    return error
