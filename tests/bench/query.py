"""Asking a store: whole processes, from the start of the interpreter to the answer."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
from typing import TYPE_CHECKING

from daemons import docker_engine, podman_store
from harness import empty, program
from layouts import REF_NAME, write_many
from measure import LONGEST, CannotRunError, Contender, Figure, interleave, milliseconds, ratio, said_by

if TYPE_CHECKING:
    from harness import Bench

IMAGES = 1000
SMALL = 20
SHORT = 4
"""Times as many rounds as of a pull: these processes are so short that one busy moment of the machine shows."""
PACKAGE_TARGET = 60
FROZEN_TARGET = 60
WHERE = "images where size > 1MB order by size desc limit 5"


def query(bench: Bench) -> tuple[str, list[Figure]]:
    """Ask a store of a thousand images; beside it, what a bare interpreter takes."""
    imq = bench.imq()
    store = _store(bench, imq, IMAGES)
    where = _ask(bench, f"imq {WHERE}", imq, store, WHERE, at_least=5)
    every = _ask(bench, "imq images", imq, store, "images", at_least=IMAGES)
    bare = Contender("python -c pass", [os.path.join(os.path.dirname(imq), "python"), "-c", "pass"])
    if not os.path.exists(bare.command[0]):
        bare = Contender("python -c pass", [sys.executable, "-c", "pass"])
    where.needed = every.needed = bare.needed = True
    contenders = [where, every, bare]
    measured = interleave(contenders, bench.rounds * SHORT)
    bench.note("query", contenders)
    figures = [milliseconds(one.name, one, PACKAGE_TARGET) for one in (where, every) if one in measured]
    if bare in measured:
        figures += [ratio(one.name, one, bare) for one in (where, every) if one in measured]
        figures.append(milliseconds(bare.name, bare))
    return f"a store of {IMAGES} images, the package", figures


def frozen(bench: Bench) -> tuple[str, list[Figure]]:
    """Ask with the frozen executable: a small store, as after the first pulls, and a thousand images."""
    executable = bench.frozen
    if executable is None or not os.path.exists(executable):
        raise CannotRunError(f"there is no {executable or 'dist/imq'}: bash build/freeze/freeze.sh")
    small = _ask(bench, "dist/imq images", executable, _store(bench, executable, SMALL), "images", at_least=SMALL)
    where = _ask(bench, f"dist/imq {WHERE}", executable, _store(bench, executable, IMAGES), WHERE, at_least=5)
    skopeo = Contender("skopeo --version", [program("skopeo"), "--version"])
    small.needed = where.needed = True
    measured = interleave([small, where, skopeo], bench.rounds * SHORT)
    bench.note("frozen", [small, where, skopeo])
    figures = [milliseconds(small.name, small, FROZEN_TARGET)] if small in measured else []
    figures += [milliseconds(f"{where.name} ({IMAGES} images)", where)] if where in measured else []
    if skopeo in measured:
        figures += [ratio(one.name, one, skopeo) for one in (small,) if one in measured]
        figures.append(milliseconds(skopeo.name, skopeo))
    return f"the frozen executable, a store of {SMALL} images", figures


def engines(bench: Bench) -> tuple[str, list[Figure]]:
    """List the images with imq, podman and docker, all of which hold the same named ones."""
    imq = bench.imq()
    first = _ask(bench, "imq images", imq, _store(bench, imq, IMAGES), "images", at_least=IMAGES)
    first.needed = True
    contenders = [first]
    layout = layout_of(bench, IMAGES)
    with contextlib.ExitStack() as stack:
        podman = stack.enter_context(podman_store(os.path.join(bench.scratch, "podman")))
        held = _fill(layout, f"containers-storage:[overlay@{podman[2]}+{podman[4]}]")
        contenders.append(Contender("podman images", [*podman, "images"]))
        if os.geteuid() == 0:
            docker = stack.enter_context(docker_engine(os.path.join(bench.scratch, "docker")))
            _fill(layout, "docker-daemon:", ("--dest-daemon-host", docker[2]))
            contenders.append(Contender("docker images", [*docker, "images"]))
        measured = interleave(contenders, bench.rounds * SHORT)
    bench.note("engines", contenders)
    figures = [milliseconds(one.name, one) for one in measured]
    figures += [ratio(first.name, first, one) for one in contenders[1:] if one.runs and first.runs]
    return f"the same {held} named images in each", figures


def _ask(bench: Bench, name: str, imq: str, store: str, statement: str, at_least: int) -> Contender:
    """Return a contender that asks, after the answer has been seen to have the lines it must have."""
    environment = bench.environment()
    command = [imq, "--root", store, *statement.split()]
    return Contender(name, command, check=_Answered(name, command, environment, at_least), environment=environment)


class _Answered:
    """Asks once more, at the first check only, and counts the lines below the title."""

    def __init__(self, name: str, command: list[str], environment: dict[str, str], at_least: int) -> None:
        self._name, self._command, self._environment, self._at_least = name, command, environment, at_least
        self._seen = False

    def __call__(self) -> None:
        if self._seen:
            return
        lines = len(said_by(self._command, self._environment, limit=LONGEST).splitlines()) - 1
        if lines < self._at_least:
            raise CannotRunError(f"{self._name} answered {lines} rows of {self._at_least}")
        self._seen = True


def _store(bench: Bench, imq: str, count: int) -> str:
    """Return a store of `count` images: a layout that imq did not write, indexed by the imq that is measured."""
    layout = layout_of(bench, count)
    store = os.path.join(bench.scratch, f"store-{count}-{os.path.basename(os.path.dirname(imq))}")
    if os.path.exists(store):
        return store
    shutil.copytree(layout, store)
    said_by([imq, "--root", store, "reindex"], bench.environment(), limit=LONGEST)
    return store


def layout_of(bench: Bench, count: int) -> str:
    """Return a layout of `count` small images, written once."""
    layout = os.path.join(bench.cache, f"layout-{count}")
    if not os.path.exists(os.path.join(layout, "index.json")):
        print(f"writing a layout of {count} images: this is done once", flush=True)
        empty(layout)
        write_many(layout, count)
    return layout


def _fill(layout: str, destination: str, options: tuple[str, ...] = ()) -> int:
    """Copy every image of the layout that has a name into an engine's store; return how many those are."""
    with open(os.path.join(layout, "index.json")) as source:
        entries = json.load(source)["manifests"]
    names = [entry["annotations"][REF_NAME] for entry in entries if REF_NAME in entry.get("annotations", {})]
    for name in names:
        said_by(["skopeo", "copy", "--quiet", *options, f"oci:{layout}:{name}", destination + name])
    return len(names)
