"""Containers of the store and of a separate dockerd: the same image is run, and the same changes are committed."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from functools import partial
from typing import TYPE_CHECKING

from daemons import start_dockerd
from harness import find_program
from measure import BenchmarkError, Contender, Figure, interleave, list_tree, milliseconds, output_of, ratio, tree_cpu

if TYPE_CHECKING:
    from harness import Bench

RUN_TARGET, COMMIT_TARGET = 0.5, 0.5
"""Of the time of docker."""
CONTENT = 300 << 20
"""Bytes of the files of the image."""
FILE_SIZE = 1 << 20
SETTLING = 3.0
"""The maximum seconds that a shim exists after its container."""
CHANGES = 10
"""Files that the container has changed."""
PROGRAMS = ("true", "sh", "cp", "sleep")
IMAGE = "bench/box:1"
CONTAINER = "changed"
SCRIPT = f"for n in $(seq {CHANGES}); do cp /data/$n /changed-$n; done"


def measure_containers(bench: Bench) -> tuple[str, list[Figure]]:
    """Run `true` with --rm and the network of the host, and commit ten changed files, as whole processes."""
    if os.geteuid() != 0:
        raise BenchmarkError("containers need root")
    for program in ("runc", "dockerd", "busybox"):
        find_program(program)
    frozen = bench.frozen if bench.frozen is not None and os.path.exists(bench.frozen) else None
    imq = frozen or bench.imq()
    store, environment = os.path.join(bench.scratch, "containers"), bench.environment()
    archive = _write_archive(bench)
    folder = os.path.join(bench.scratch, "docker")
    with start_dockerd(folder) as docker:
        words = {"imq": [imq, "--root", store], "docker": docker}
        output_of([*words["imq"], "load", "--input", _load_into_docker(docker, archive)], environment)
        contenders = {}
        for name, command in words.items():
            output_of([*command, "run", "--name", CONTAINER, IMAGE, "sh", "-c", SCRIPT], environment)
            run = [*command, "run", "--rm", "--network=host", IMAGE, "true"]
            commit = [*command, "commit", CONTAINER, "bench/made:1"]
            remove = partial(
                subprocess.run, [*command, "rmi", "--force", "bench/made:1"], capture_output=True, check=False
            )
            contenders[name] = (
                Contender(f"{name} run", run, environment=environment, is_required=True, counts_all=True),
                Contender(f"{name} commit", commit, after=remove, environment=environment, is_required=True),
            )
        with open(os.path.join(folder, "wrapper")) as file:
            server = int(file.read())
        for contender in contenders["docker"]:
            contender.server_cpu = partial(_settled_cpu, server)
        kinds = list(zip(*contenders.values(), strict=True))
        every = [one for kind in kinds for one in kind]
        measured = []
        for kind in kinds:  # a commit changes the images, which a run would have to look up again each time
            measured += interleave(kind, bench.rounds * 2)
        output_of([*words["imq"], "rm", "--force", CONTAINER], environment)
    bench.note("containers", every)
    figures = [milliseconds(one.name, one) for one in every if one in measured]
    for (own, peer), target in zip(kinds, (RUN_TARGET, COMMIT_TARGET), strict=True):
        if own in measured and peer in measured:
            figures.append(ratio(own.name, own, peer, target, cpu_target=target))
    kind = "the frozen executable" if frozen else "the package"
    return f"containers of an image of {CONTENT >> 20} MB, by {kind}", figures


def _settled_cpu(server: int) -> float:
    """Return the processor time of dockerd and of all that it has started, after the last shim has ended."""
    deadline = time.monotonic() + SETTLING
    while time.monotonic() < deadline and b"containerd-shim" in _list_names(server):
        time.sleep(SETTLING / 100)
    return tree_cpu(server)


def _list_names(server: int) -> bytes:
    names = []
    for pid in list_tree(server):
        with contextlib.suppress(OSError), open(f"/proc/{pid}/cmdline", "rb") as file:
            names.append(file.read())
    return b" ".join(names)


def _write_archive(bench: Bench) -> str:
    """Write a root file system with busybox and files of random bytes; return the path of its tar."""
    tree = os.path.join(bench.scratch, "tree")
    os.makedirs(os.path.join(tree, "bin"))
    os.makedirs(os.path.join(tree, "data"))
    shutil.copy(find_program("busybox"), os.path.join(tree, "bin", "busybox"))
    for program in (*PROGRAMS, "seq"):
        os.symlink("busybox", os.path.join(tree, "bin", program))
    for number in range(1, CONTENT // FILE_SIZE + 1):
        with open(os.path.join(tree, "data", str(number)), "wb") as file:
            file.write(os.urandom(FILE_SIZE))
    archive = f"{tree}.tar"
    subprocess.run(["tar", "-C", tree, "-cf", archive, "."], check=True)
    shutil.rmtree(tree)
    return archive


def _load_into_docker(docker: list[str], archive: str) -> str:
    """Import the root file system into docker, and save the image; return the path of the archive."""
    subprocess.run([*docker, "import", archive, IMAGE], check=True, capture_output=True)
    saved = f"{archive}.docker"
    subprocess.run([*docker, "save", "--output", saved, IMAGE], check=True)
    return saved
