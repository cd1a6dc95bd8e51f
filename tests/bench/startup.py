"""How long a small answer takes as a whole process: the frozen executable beside others, and beside a plain freeze."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from typing import TYPE_CHECKING

from daemons import docker_engine, podman_store
from harness import program
from install import PROJECT
from measure import CannotRunError, Contender, interleave, milliseconds, ratio, said_by
from query import layout_of

if TYPE_CHECKING:
    from harness import Bench
    from measure import Figure

IMAGES = 20
TIMES = 6  # as many rounds as for longer runs
FROZEN_TARGET = 60.0
VERSION_TARGET = 50.0
PACKAGE_TARGET = 45.0
SIZE_TARGET = 20.0


def starting(bench: Bench) -> tuple[str, list[Figure]]:
    """Start each of them in turn, in the state that it is in after its first start."""
    executable = bench.frozen
    if executable is None or not os.path.exists(executable):
        raise CannotRunError(f"there is no {executable or 'dist/imq'}: bash build/freeze/freeze.sh")
    store = os.path.join(bench.scratch, "starting")
    shutil.copytree(layout_of(bench, IMAGES), store)
    environment = bench.environment()
    said_by([bench.imq(), "--root", store, "reindex"], environment)

    def imq(name: str, command: str, *arguments: str, **changes: str) -> Contender:
        full = [command, "--root", store, *arguments]
        return Contender(name, full, environment={**environment, **changes}, needed=True)

    frozen = imq("dist/imq images", executable, "images")
    version = imq("dist/imq --version", executable, "--version")
    package = imq("imq images, the package", bench.imq(), "images")
    unkept = imq("dist/imq images, IMQ_CACHE=off", executable, "images", IMQ_CACHE="off")
    others = [unkept, Contender("skopeo --version", [program("skopeo"), "--version"])]
    with contextlib.ExitStack() as stack:
        others.append(imq("pyinstaller --onefile, images", _plain_freeze(bench), "images"))
        if shutil.which("podman"):
            podman = stack.enter_context(podman_store(os.path.join(bench.scratch, "podman")))
            others.append(Contender("podman images", [*podman, "images"]))
        if shutil.which("dockerd") and os.geteuid() == 0:
            docker = stack.enter_context(docker_engine(os.path.join(bench.scratch, "docker")))
            others.append(Contender("docker images", [*docker, "images"]))
        everyone = [frozen, version, package, *others]
        interleave(everyone, bench.rounds * TIMES)
    bench.note("starting", everyone)
    targets = {frozen.name: FROZEN_TARGET, version.name: VERSION_TARGET, package.name: PACKAGE_TARGET}
    figures = [milliseconds(one.name, one, targets.get(one.name)) for one in everyone if one.runs]
    figures += [ratio(frozen.name, frozen, other) for other in others if other.runs and frozen.runs]
    megabytes = os.path.getsize(executable) / 1e6
    return f"a store of {IMAGES} images, docker's and podman's hold none; dist/imq is {megabytes:.1f} MB", figures


def _plain_freeze(bench: Bench) -> str:
    """Return an executable of the same package as PyInstaller makes it by default; made again when imq has changed."""
    folder = os.path.join(bench.cache, "plain")
    made = os.path.join(folder, "imq")
    imq = bench.imq()
    if os.path.exists(made) and os.path.getmtime(made) > os.path.getmtime(imq):
        return made
    environment = os.path.join(folder, "environment")
    python = os.path.join(environment, "bin", "python")
    if not os.path.exists(python):
        said_by([sys.executable, "-m", "venv", environment])
    said_by([python, "-m", "pip", "install", "--disable-pip-version-check", "--quiet", f"{PROJECT}[build]"])
    script = os.path.join(PROJECT, "dsl", "__main__.py")
    places = ["--distpath", folder, "--workpath", os.path.join(folder, "work"), "--specpath", folder]
    collected = ["--collect-submodules", "imq", "--name", "imq", "--log-level", "ERROR"]
    said_by([python, "-m", "PyInstaller", "--noconfirm", "--onefile", *collected, *places, script])
    return made
