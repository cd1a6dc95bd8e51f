"""Startup time: the frozen executable compared with other tools and with PyInstaller's default executable."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from typing import TYPE_CHECKING

from daemons import open_podman, start_dockerd
from harness import find_program
from install import PROJECT
from measure import BenchmarkError, Contender, interleave, milliseconds, output_of, ratio
from query import provide_layout

if TYPE_CHECKING:
    from harness import Bench
    from measure import Figure

IMAGES = 20
ROUND_FACTOR = 6  # more rounds than for longer runs
FROZEN_TARGET = 60.0
VERSION_TARGET = 50.0
PACKAGE_TARGET = 45.0
SIZE_TARGET = 20.0


def measure_startup(bench: Bench) -> tuple[str, list[Figure]]:
    """Run every program in turn, after its first start."""
    executable = bench.frozen
    if executable is None or not os.path.exists(executable):
        raise BenchmarkError(f"{executable or 'dist/imq'} not found: bash build/freeze/freeze.sh")
    store = os.path.join(bench.scratch, "starting")
    shutil.copytree(provide_layout(bench, IMAGES), store)
    environment = bench.environment()
    output_of([bench.imq(), "--root", store, "reindex"], environment)

    def imq(name: str, command: str, *arguments: str, **changes: str) -> Contender:
        full = [command, "--root", store, *arguments]
        return Contender(name, full, environment={**environment, **changes}, is_required=True)

    frozen = imq("dist/imq images", executable, "images")
    version = imq("dist/imq --version", executable, "--version")
    package = imq("imq images, the package", bench.imq(), "images")
    uncached = imq("dist/imq images, IMQ_CACHE=off", executable, "images", IMQ_CACHE="off")
    others = [uncached, Contender("skopeo --version", [find_program("skopeo"), "--version"])]
    with contextlib.ExitStack() as stack:
        others.append(imq("pyinstaller --onefile, images", _build_default_executable(bench), "images"))
        if shutil.which("podman"):
            podman = stack.enter_context(open_podman(os.path.join(bench.scratch, "podman")))
            others.append(Contender("podman images", [*podman, "images"]))
        if shutil.which("dockerd") and os.geteuid() == 0:
            docker = stack.enter_context(start_dockerd(os.path.join(bench.scratch, "docker")))
            others.append(Contender("docker images", [*docker, "images"]))
        contenders = [frozen, version, package, *others]
        interleave(contenders, bench.rounds * ROUND_FACTOR)
    bench.note("starting", contenders)
    targets = {frozen.name: FROZEN_TARGET, version.name: VERSION_TARGET, package.name: PACKAGE_TARGET}
    figures = [milliseconds(one.name, one, targets.get(one.name)) for one in contenders if one.runs]
    figures += [ratio(frozen.name, frozen, other) for other in others if other.runs and frozen.runs]
    megabytes = os.path.getsize(executable) / 1e6
    return f"a store of {IMAGES} images, those of docker and podman are empty; dist/imq is {megabytes:.1f} MB", figures


def _build_default_executable(bench: Bench) -> str:
    """Return PyInstaller's default executable of imq; build it again when imq has changed."""
    folder = os.path.join(bench.cache, "plain")
    target = os.path.join(folder, "imq")
    imq = bench.imq()
    if os.path.exists(target) and os.path.getmtime(target) > os.path.getmtime(imq):
        return target
    environment = os.path.join(folder, "environment")
    python = os.path.join(environment, "bin", "python")
    if not os.path.exists(python):
        output_of([sys.executable, "-m", "venv", environment])
    output_of([python, "-m", "pip", "install", "--disable-pip-version-check", "--quiet", f"{PROJECT}[build]"])
    script = os.path.join(PROJECT, "dsl", "__main__.py")
    folders = ["--distpath", folder, "--workpath", os.path.join(folder, "work"), "--specpath", folder]
    options = ["--collect-submodules", "imq", "--name", "imq", "--log-level", "ERROR"]
    output_of([python, "-m", "PyInstaller", "--noconfirm", "--onefile", *options, *folders, script])
    return target
