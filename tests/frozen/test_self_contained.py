"""The frozen executable needs no files of its host, and writes only the files that it unpacks."""

from __future__ import annotations

import ctypes
import json
import os
import pathlib
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import Frozen

INTERPRETER_SEGMENT = 3  # PT_INTERP: the dynamic loader of an ELF file


def program_headers(path: str) -> list[int]:
    """Return the types of the segments of a 64-bit ELF file."""
    with open(path, "rb") as file:
        header = file.read(64)
        assert header[:5] == b"\x7fELF\x02", "not a 64-bit ELF file"
        (offset,) = struct.unpack_from("<Q", header, 32)
        size, count = struct.unpack_from("<HH", header, 54)
        file.seek(offset)
        table = file.read(size * count)
    return [struct.unpack_from("<I", table, size * index)[0] for index in range(count)]


def test_it_is_static(executable: str) -> None:
    assert INTERPRETER_SEGMENT not in program_headers(executable)
    listed = subprocess.run(["ldd", executable], capture_output=True, text=True, check=False)
    assert "not a dynamic executable" in listed.stdout + listed.stderr


@pytest.fixture
def empty_root(executable: str, tree: pathlib.Path, tmp_path: pathlib.Path) -> Iterator[pathlib.Path]:
    """A root folder with the executable, a tree to import, and empty folders for /proc and /tmp."""
    root = tmp_path / "root"
    for name in ("proc", "tmp"):
        (root / name).mkdir(parents=True)
    shutil.copy(executable, root / "imq")
    shutil.copytree(tree, root / "tree")
    yield root
    shutil.rmtree(root)


def run_in_root(root: pathlib.Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the executable with `root` as its root file system, with /proc mounted and an empty environment."""
    mapped = [] if os.geteuid() == 0 else ["--map-root-user"]
    enter = 'mount -t proc proc "$0/proc" && exec env -i /usr/sbin/chroot "$0" /imq "$@"'
    return subprocess.run(
        ["unshare", *mapped, "--mount", "--pid", "--fork", "sh", "-c", enter, str(root), *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def test_it_runs_in_an_empty_root(empty_root: pathlib.Path) -> None:
    store = ("--root", "/tmp/store")
    imported = run_in_root(empty_root, *store, "import", "/tree", "as", "test:1", "change", "LABEL a=b")
    assert imported.returncode == 0, imported.stderr
    listed = run_in_root(empty_root, *store, "images where label.a = b select name, size as json")
    assert listed.returncode == 0, listed.stderr
    assert [row["name"] for row in json.loads(listed.stdout)] == ["test:1"]
    assert {path.name for path in (empty_root / "tmp").iterdir()} == {"store", "imq-0"}


# The first system call number that Linux 4.19 of Debian 10 does not have. Later calls have the same numbers on all
# machines; no call was added between these numbers and the later ones.
FIRST_LATER_CALL = {"x86_64": 335, "aarch64": 294}


def refuse_later_calls(first: int) -> None:
    """Make system calls from a number on fail with ENOSYS in this process and its children."""
    libc = ctypes.CDLL(None, use_errno=True)
    no_new_privileges, set_seccomp, filtering = 38, 22, 2
    load, jump_if_greater_or_equal, return_ = 0x20, 0x35, 0x06
    rows = [
        (load, 0, 0, 0),
        (jump_if_greater_or_equal, 0, 1, first),
        (return_, 0, 0, 0x50000 | 38),
        (return_, 0, 0, 0x7FFF0000),
    ]
    program = b"".join(struct.pack("HBBI", *row) for row in rows)  # 38 is ENOSYS
    buffer = ctypes.create_string_buffer(program)
    description = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(rows), ctypes.addressof(buffer)))
    if libc.prctl(no_new_privileges, 1, 0, 0, 0) or libc.prctl(set_seccomp, filtering, description, 0, 0):
        raise OSError(ctypes.get_errno(), "seccomp")


@pytest.mark.skipif(os.uname().machine not in FIRST_LATER_CALL, reason="the numbers of its system calls are unknown")
def test_it_uses_only_system_calls_of_linux_4_19(imq: Frozen, tree: pathlib.Path) -> None:
    first = FIRST_LATER_CALL[os.uname().machine]

    def run(command: list[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            env=imq.environment,
            capture_output=True,
            text=True,
            check=False,
            preexec_fn=lambda: refuse_later_calls(first),
        )

    later = "import os; os.pidfd_open(os.getpid())"  # since 5.3
    assert "Function not implemented" in run([sys.executable, "-c", later]).stderr
    out = imq.root.parent / "out"
    for words in (
        ["import", str(tree), "as", "a:1"],
        ["images where tag = 1 and name like 'a*' select name as json"],
        [f"export a:1 to '{out}'"],
        ["exec all images run env"],
        ["untag a:1"],
        ["rm all images"],
        ["verify all"],
        ["pull", "127.0.0.1:1/none:1"],
    ):
        result = run([imq.executable, "--yes", *words])
        assert result.returncode == (3 if words[0] == "pull" else 0), (words, result.stderr)
        assert "unreachable" in result.stderr if words[0] == "pull" else "Traceback" not in result.stderr
    assert (out / "etc" / "motd").read_text() == "welcome\n"


@pytest.mark.parametrize("home", [None, "", "/nonexistent"], ids=["unset", "empty", "missing"])
def test_it_needs_no_home_folder(imq: Frozen, tree: pathlib.Path, home: str | None) -> None:
    environment = {"TMPDIR": str(imq.temporary), **({} if home is None else {"HOME": home})}
    imported = imq.run("--root", str(imq.root), "import", str(tree), "as", "a:1", environment=environment)
    assert imported.returncode == 0, imported.stderr
    listed = imq.run("--root", str(imq.root), "images", environment=environment)
    assert (listed.returncode, listed.stderr) == (0, "")
    assert [path.name for path in imq.temporary.iterdir()] == [f"imq-{os.geteuid()}"]


def test_it_runs_in_any_folder_and_any_locale(imq: Frozen, tree: pathlib.Path) -> None:
    imq.output_of("import", str(tree), "as", "a:1", "change", "LABEL word=größe")
    for locale in ("C", "POSIX", "en_US.UTF-8", "xx_XX"):
        run = subprocess.run(
            [imq.executable, "images format '{{.Label.word}}'"],
            cwd="/",
            env={**imq.environment, "LC_ALL": locale},
            capture_output=True,
            check=False,
        )
        assert run.stdout.decode() == "größe\n", (locale, run.stderr)


def test_it_leaves_no_temporary_files(imq: Frozen, tree: pathlib.Path) -> None:
    imq.output_of("import", str(tree), "as", "a:1")
    imq.output_of("images as markdown")
    assert imq.run("images where nonsense = 1").returncode == 2
    assert imq.run("pull 127.0.0.1:1/none:1").returncode != 0
    assert list(imq.temporary.iterdir()) == []


@pytest.fixture
def silent_server() -> Iterator[str]:
    """The address of a server that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


def wait_until_connected(imq: Frozen, address: str) -> subprocess.Popen[str]:
    """Start a pull that hangs, and return when it is connected."""
    process = imq.start("pull", f"{address}/hangs:1")
    port = f":{int(address.rpartition(':')[2]):04X} "
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        remote = [line.split()[2:4] for line in pathlib.Path("/proc/net/tcp").read_text().splitlines()[1:]]
        if any(f"{peer} ".endswith(port) and state == "01" for peer, state in remote):
            return process
        time.sleep(0.02)
    process.kill()
    pytest.fail(f"the pull did not reach the server: {process.communicate()}")


def test_ctrl_c_is_reported_once(imq: Frozen, silent_server: str) -> None:
    process = wait_until_connected(imq, silent_server)
    os.killpg(process.pid, signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert output == ""
    assert errors == "error[interrupted]: interrupted\n"
    assert "Traceback" not in errors
    assert list(imq.temporary.iterdir()) == []


def test_a_termination_signal_ends_it(imq: Frozen, silent_server: str) -> None:
    process = wait_until_connected(imq, silent_server)
    process.terminate()
    process.communicate(timeout=60)
    assert process.returncode != 0
    assert list(imq.temporary.iterdir()) == []


def test_replacing_the_executable_does_not_affect_a_run(
    imq: Frozen, silent_server: str, tmp_path: pathlib.Path
) -> None:
    own = tmp_path / "imq"
    shutil.copy(imq.executable, own)
    imq.executable = str(own)
    process = wait_until_connected(imq, silent_server)
    (tmp_path / "next").write_text("another program\n")
    os.replace(tmp_path / "next", own)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
