"""Executables for another architecture: programs of it run by qemu, and build/release.sh makes their files."""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
import sys
import tarfile
from typing import TYPE_CHECKING

import pytest
from support.servers import require_programs
from test_architecture import CHECKOUT

if TYPE_CHECKING:
    import pathlib

EMULATE = str(CHECKOUT / "build" / "emulate.sh")
RELEASE = str(CHECKOUT / "build" / "release.sh")
MACHINE = os.uname().machine
FOREIGN = os.environ.get("IMQ_EXECUTABLE_AARCH64", "")
EXIT_42 = (0xD2800540, 0xD2800BA8, 0xD4000001)
"""Instructions of arm64: mov x0, 42; mov x8, 93 (exit); svc 0."""
BASE, HEADERS = 0x400000, 120


def run(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    full = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", **environment}
    return subprocess.run(words, env=full, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)


@pytest.fixture
def program(tmp_path: pathlib.Path) -> str:
    """A static executable for arm64 that exits with 42."""
    size = HEADERS + 4 * len(EXIT_42)
    header = b"\x7fELF\x02\x01\x01" + bytes(9)
    header += struct.pack("<HHIQQQIHHHHHH", 2, 0xB7, 1, BASE + HEADERS, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, BASE, BASE, size, size, 0x1000)
    path = tmp_path / "exit42"
    path.write_bytes(header + segment + struct.pack("<3I", *EXIT_42))
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def emulation() -> None:
    """What programs of arm64 need here: root, and on another machine qemu and Linux 6.7."""
    if os.getuid() != 0:
        pytest.skip("namespaces need root")
    if MACHINE != "aarch64":
        require_programs("qemu-aarch64-static")
        release = tuple(int(part) for part in os.uname().release.split(".")[:2])
        if release < (6, 7) and not os.path.exists("/proc/sys/fs/binfmt_misc/qemu-aarch64"):
            pytest.skip("a user namespace registers emulators from Linux 6.7 on")


@pytest.mark.usefixtures("emulation")
def test_programs_of_arm64_run_and_the_machine_stays_as_it_is(program: str, tmp_path: pathlib.Path) -> None:
    before = sorted(os.listdir("/proc/sys/fs/binfmt_misc"))
    mounts = (tmp_path / "mounts", "/proc/mounts")
    shutil.copy(mounts[1], mounts[0])
    assert run("bash", EMULATE, "aarch64", program).returncode == 42
    done = run("bash", EMULATE, "aarch64", "sh", "-c", f"{program}; echo $?; id -u; mount -t tmpfs x /mnt; exit 3")
    assert (done.returncode, done.stdout, done.stderr) == (3, "42\n0\n", "")
    assert sorted(os.listdir("/proc/sys/fs/binfmt_misc")) == before
    with open(mounts[1]) as now:
        assert now.read() == mounts[0].read_text()


@pytest.mark.usefixtures("emulation")
def test_standard_input_reaches_the_command() -> None:
    done = subprocess.run(["bash", EMULATE, "aarch64", "cat"], input=b"text", capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (0, b"text")


def test_what_is_missing_is_named(tmp_path: pathlib.Path) -> None:
    assert run("bash", EMULATE).returncode == 2
    done = run("bash", EMULATE, "riscv64", "true")
    assert (done.returncode, done.stderr) == (3, "emulate: unknown architecture riscv64\n")
    if os.getuid() != 0 or MACHINE == "aarch64" or os.path.exists("/proc/sys/fs/binfmt_misc/qemu-aarch64"):
        return
    for name in ("bash", "id", "uname", "grep"):
        (tmp_path / name).symlink_to(shutil.which(name) or "")
    done = run("bash", EMULATE, "aarch64", "true", PATH=str(tmp_path))
    assert done.returncode == 3
    assert "qemu-aarch64-static was not found" in done.stderr


def test_an_executable_of_another_architecture_is_refused(tmp_path: pathlib.Path, program: str) -> None:
    done = run("bash", RELEASE, "--arch", "amd64", "--snapshot", "--executable", program, str(tmp_path / "files"))
    assert (done.returncode, done.stderr) == (2, f"release: {program} is no executable for amd64\n")
    done = run("bash", RELEASE, "--arch", "s390x", "--snapshot", str(tmp_path / "files"))
    assert (done.returncode, done.stderr) == (
        2,
        "release: no executable is made for s390x; expected amd64 or arm64\n",
    )
    assert not (tmp_path / "files").exists()


@pytest.mark.usefixtures("emulation")
@pytest.mark.skipif(not FOREIGN, reason="needs an executable for arm64 in IMQ_EXECUTABLE_AARCH64")
def test_the_files_for_arm64_are_for_arm64(tmp_path: pathlib.Path) -> None:
    folder = tmp_path / "files"
    done = run(
        "bash", RELEASE, "--arch", "arm64", "--snapshot", "--executable", FOREIGN, str(folder), HOME=str(tmp_path)
    )
    assert done.returncode == 0, done.stderr
    names = {path.name for path in folder.iterdir()}
    (executable,) = folder.glob("imq-*-linux-aarch64")
    version = executable.name.split("-")[1]
    assert {f"imq_{version}_arm64.deb", f"imq-{version}-oci-aarch64.tar", f"imq-{version}.cdx.json"} <= names
    said = run("dpkg-deb", "--field", str(folder / f"imq_{version}_arm64.deb"), "Architecture")
    assert said.stdout == "arm64\n"
    with tarfile.open(folder / f"imq-{version}-oci-aarch64.tar") as archive:
        listing = json.load(archive.extractfile("index.json") or sys.stdin)
        digest = listing["manifests"][0]["digest"].partition(":")[2]
        manifest = json.load(archive.extractfile(f"blobs/sha256/{digest}") or sys.stdin)
        config = manifest["config"]["digest"].partition(":")[2]
        assert json.load(archive.extractfile(f"blobs/sha256/{config}") or sys.stdin)["architecture"] == "arm64"
    bill = json.loads((folder / f"imq-{version}.cdx.json").read_text())
    assert bill["bomFormat"] == "CycloneDX"
    script = f'"{executable}" --version && "{executable}" images select name as json'
    store = {"IMQ_CACHE": str(tmp_path / "cache"), "IMQ_ROOT": str(tmp_path / "store"), "HOME": str(tmp_path)}
    done = run("bash", EMULATE, "aarch64", "bash", "-c", script, **store)
    assert (done.returncode, done.stdout) == (0, f"imq {version}\n[]\n"), done.stderr
