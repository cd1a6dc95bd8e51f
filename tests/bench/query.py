"""Queries of a store as whole processes, from the start of the interpreter to the result."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
from typing import TYPE_CHECKING

from daemons import open_podman, start_dockerd
from harness import find_program, remove_folder
from layouts import REF_NAME, write_images
from measure import RUN_TIMEOUT, BenchmarkError, Contender, Figure, interleave, milliseconds, output_of, ratio

if TYPE_CHECKING:
    from harness import Bench

IMAGES = 1000
ROUND_FACTOR = 4
"""Short processes run more rounds, since a single busy moment of the machine affects them more."""
PACKAGE_TARGET = 60
PACKAGE_EMPTY_TARGET = 45
FROZEN_TARGET = 40
FROZEN_EMPTY_TARGET = 30
"""Milliseconds, also of processor time, for a list of 1,000 images and for one of none."""
WHERE = "images where size > 1MB order by size desc limit 5"


def query(bench: Bench) -> tuple[str, list[Figure]]:
    """Query a store of a thousand images; compare with the start of a Python interpreter."""
    imq = bench.imq()
    store = _provide_store(bench, imq, IMAGES)
    where = _make_contender(bench, f"imq {WHERE}", imq, store, WHERE, at_least=5)
    every = _make_contender(bench, "imq images", imq, store, "images", at_least=IMAGES)
    none = _make_contender(bench, "imq images (none)", imq, _provide_store(bench, imq, 0), "images", at_least=0)
    bare = Contender("python -c pass", [os.path.join(os.path.dirname(imq), "python"), "-c", "pass"])
    if not os.path.exists(bare.command[0]):
        bare = Contender("python -c pass", [sys.executable, "-c", "pass"])
    contenders = [where, every, none, bare]
    for one in contenders:
        one.is_required = True
    measured = interleave(contenders, bench.rounds * ROUND_FACTOR)
    bench.note("query", contenders)
    targets = {where.name: PACKAGE_TARGET, every.name: PACKAGE_TARGET, none.name: PACKAGE_EMPTY_TARGET}
    figures = [
        milliseconds(one.name, one, targets[one.name], cpu_target=targets[one.name])
        for one in (where, every, none)
        if one in measured
    ]
    if bare in measured:
        figures += [ratio(one.name, one, bare) for one in (where, every, none) if one in measured]
        figures.append(milliseconds(bare.name, bare))
    return f"a store of {IMAGES} images, the package", figures


def frozen(bench: Bench) -> tuple[str, list[Figure]]:
    """Query with the frozen executable: an empty store, and one of a thousand images."""
    executable = bench.frozen
    if executable is None or not os.path.exists(executable):
        raise BenchmarkError(f"{executable or 'dist/imq'} not found: bash build/freeze/freeze.sh")
    none = _make_contender(
        bench, "dist/imq images (none)", executable, _provide_store(bench, executable, 0), "images", at_least=0
    )
    store = _provide_store(bench, executable, IMAGES)
    every = _make_contender(bench, "dist/imq images", executable, store, "images", at_least=IMAGES)
    where = _make_contender(bench, f"dist/imq {WHERE}", executable, store, WHERE, at_least=5)
    skopeo = Contender("skopeo --version", [find_program("skopeo"), "--version"])
    none.is_required = every.is_required = where.is_required = True
    measured = interleave([none, every, where, skopeo], bench.rounds * ROUND_FACTOR)
    bench.note("frozen", [none, every, where, skopeo])
    targets = {none.name: FROZEN_EMPTY_TARGET, every.name: FROZEN_TARGET}
    own = [one for one in (none, every, where) if one in measured]
    figures = [milliseconds(one.name, one, targets.get(one.name), cpu_target=targets.get(one.name)) for one in own]
    if skopeo in measured:
        figures += [ratio(one.name, one, skopeo) for one in own]
        figures.append(milliseconds(skopeo.name, skopeo))
    return f"the frozen executable, a store of {IMAGES} images", figures


def engines(bench: Bench) -> tuple[str, list[Figure]]:
    """List the same images with imq, podman and docker."""
    imq = bench.imq()
    first = _make_contender(bench, "imq images", imq, _provide_store(bench, imq, IMAGES), "images", at_least=IMAGES)
    first.is_required = True
    contenders = [first]
    layout = provide_layout(bench, IMAGES)
    with contextlib.ExitStack() as stack:
        podman = stack.enter_context(open_podman(os.path.join(bench.scratch, "podman")))
        count = _fill(layout, f"containers-storage:[overlay@{podman[2]}+{podman[4]}]")
        contenders.append(Contender("podman images", [*podman, "images"]))
        if os.geteuid() == 0:
            docker = stack.enter_context(start_dockerd(os.path.join(bench.scratch, "docker")))
            _fill(layout, "docker-daemon:", ("--dest-daemon-host", docker[2]))
            contenders.append(Contender("docker images", [*docker, "images"]))
        measured = interleave(contenders, bench.rounds * ROUND_FACTOR)
    bench.note("engines", contenders)
    figures = [milliseconds(one.name, one) for one in measured]
    figures += [ratio(first.name, first, one) for one in contenders[1:] if one.runs and first.runs]
    return f"the same {count} named images in each", figures


def _make_contender(bench: Bench, name: str, imq: str, store: str, statement: str, at_least: int) -> Contender:
    """Return a contender that runs a query. Its result is checked once for the expected number of rows."""
    environment = bench.environment()
    command = [imq, "--root", store, *statement.split()]
    return Contender(name, command, check=_CheckRows(name, command, environment, at_least), environment=environment)


class _CheckRows:
    """Runs the query again at the first check only, and counts the lines below the header."""

    def __init__(self, name: str, command: list[str], environment: dict[str, str], at_least: int) -> None:
        self._name, self._command, self._environment, self._at_least = name, command, environment, at_least
        self._is_checked = False

    def __call__(self) -> None:
        if self._is_checked:
            return
        lines = len(output_of(self._command, self._environment, limit=RUN_TIMEOUT).splitlines()) - 1
        if lines < self._at_least:
            raise BenchmarkError(f"{self._name} returned {lines} rows of {self._at_least}")
        self._is_checked = True


def _provide_store(bench: Bench, imq: str, count: int) -> str:
    """Return a store of `count` images: a layout that imq did not write, indexed by the imq to measure."""
    layout = provide_layout(bench, count)
    store = os.path.join(bench.scratch, f"store-{count}-{os.path.basename(os.path.dirname(imq))}")
    if os.path.exists(store):
        return store
    shutil.copytree(layout, store)
    output_of([imq, "--root", store, "reindex"], bench.environment(), limit=RUN_TIMEOUT)
    return store


def provide_layout(bench: Bench, count: int) -> str:
    """Return a layout of `count` small images; write it when it is missing."""
    layout = os.path.join(bench.cache, f"layout-{count}")
    if not os.path.exists(os.path.join(layout, "index.json")):
        print(f"writing a layout of {count} images, once", flush=True)
        remove_folder(layout)
        write_images(layout, count)
    return layout


def _fill(layout: str, destination: str, options: tuple[str, ...] = ()) -> int:
    """Copy every named image of the layout to an engine's store; return their number."""
    with open(os.path.join(layout, "index.json")) as source:
        entries = json.load(source)["manifests"]
    names = [entry["annotations"][REF_NAME] for entry in entries if REF_NAME in entry.get("annotations", {})]
    for name in names:
        output_of(["skopeo", "copy", "--quiet", *options, f"oci:{layout}:{name}", destination + name])
    return len(names)
