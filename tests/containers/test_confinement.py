"""What processes of a container may do, compared with a container of docker with the same flags."""

from __future__ import annotations

import errno
import pathlib
import subprocess
from typing import TYPE_CHECKING

import pytest
from support.programs import call_program

if TYPE_CHECKING:
    from support.engines import Dockerd

    from .conftest import Machine

FLAGS = (
    "", "-u app", "--cap-add SYS_ADMIN", "--cap-add SYS_PTRACE --cap-drop CHOWN", "--cap-drop ALL",
    "--security-opt no-new-privileges", "--security-opt seccomp=unconfined",
)  # fmt: skip
STATUS = "grep -E '^(Cap...|NoNewPrivs|Seccomp|Uid|Gid|Groups):' /proc/self/status"
CALLS = {
    "chroot": 161, "mount": 165, "umount2": 166, "swapon": 167, "swapoff": 168, "reboot": 169, "iopl": 172,
    "ioperm": 173, "init_module": 175, "delete_module": 176,
    "quotactl": 179, "add_key": 248, "request_key": 249, "keyctl": 250,
    "unshare": 272, "perf_event_open": 298, "open_by_handle_at": 304, "setns": 308,
    "kcmp": 312, "bpf": 321, "userfaultfd": 323, "move_mount": 429, "fsopen": 430,
    "pidfd_open": 434, "clone3": 435,
}  # fmt: skip
"""System calls and their numbers on x86-64. With arguments of 0 none does anything.

Those that newer versions of docker's profile allow are left out: name_to_handle_at, process_vm_readv.
"""
DENIED = (errno.EPERM, errno.ENOSYS)


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A folder with the program `calls`."""
    folder = tmp_path_factory.mktemp("calls")
    folder.chmod(0o755)
    (folder / "calls").write_bytes(call_program([*CALLS.values()]))
    (folder / "calls").chmod(0o755)
    return folder


def run(command: list[str]) -> bytes:
    done = subprocess.run(command, capture_output=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


@pytest.mark.usefixtures("each_runtime")
@pytest.mark.parametrize("flags", FLAGS)
def test_processes_may_do_what_they_may_in_docker(
    shared_machine: Machine, dockerd: Dockerd, calls: pathlib.Path, flags: str
) -> None:
    words = ["run", "--rm", "--network=none", "-v", f"{calls}:/calls:ro", *flags.split(), "box:1"]
    program = ["sh", "-c", f"{STATUS}; exec /calls/calls"]
    theirs = run([*dockerd.client, *words, *program])
    ours = run([*shared_machine.prefix, *words, *program])
    status, errors = ours[: -len(CALLS)].decode(), dict(zip(CALLS, ours[-len(CALLS) :], strict=True))
    assert status == theirs[: -len(CALLS)].decode()
    assert errors == dict(zip(CALLS, theirs[-len(CALLS) :], strict=True))
    if not flags:
        denied = {name for name, number in errors.items() if number in DENIED}
        assert {"mount", "unshare", "bpf", "keyctl", "add_key", "reboot", "setns"} <= denied
        assert "chroot" not in denied


def test_variables_without_values_are_those_of_docker(
    shared_machine: Machine, dockerd: Dockerd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("A", "of-process")
    monkeypatch.delenv("B", raising=False)
    words = ["run", "--rm", "--network=none", "-e", "A", "-e", "B", "-e", "NOT_SET_ANYWHERE", "-e", "C=", "box:1"]
    program = ["sh", "-c", "env | grep -v ^HOSTNAME= | sort"]
    theirs = run([*dockerd.client, *words, *program])
    assert b"A=of-process\nC=\n" in theirs
    assert b"B=" not in theirs, "the image has it"
    assert run([*shared_machine.prefix, *words, *program]) == theirs
