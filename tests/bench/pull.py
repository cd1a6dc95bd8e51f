"""Pulls of one image from a loopback registry: imq, skopeo, and other installed tools."""

from __future__ import annotations

import json
import os
import shutil
import statistics
from typing import TYPE_CHECKING

from daemons import open_daemon_pulls
from harness import remove_folder
from measure import BenchmarkError, Contender, Figure, interleave, milliseconds, output_of, peak, ratio
from pull_images import provide

if TYPE_CHECKING:
    from harness import Bench
    from pull_images import Image

FULL_TARGET = 1.0
FULL_CPU_TARGET = 1.7
LAZY_TARGET = 0.4
LAZY_CPU_TARGET = 0.45
CURL_CPU_TARGET = 1.1
"""A lazy pull compared with curl, which neither hashes nor syncs."""
PODMAN_CPU_TARGET, DOCKER_CPU_TARGET = 0.2, 0.15
"""A full pull compared with the engines, which unpack into a graph driver."""
MEMORY_TARGET = 120
CURL = "curl, no hashing"
FLOOR = "isal, hashes and walk alone"
STEPS_ROUNDS = 3
HERE = os.path.dirname(os.path.abspath(__file__))


def pull(bench: Bench, name: str) -> tuple[str, list[Figure]]:
    """Pull the image into new stores; return a description and the figures."""
    image = provide(name, bench.registry(), bench.cache)
    folder = os.path.join(bench.scratch, "pull")
    full = _imq(bench, image, folder, "imq pull", "pull")
    lazy = _imq(bench, image, folder, "imq pull, lazy", "set verify = lazy; pull")
    skopeo = set_target(folder, image, Contender("skopeo copy", [
        "skopeo", "copy", "--quiet", "--src-tls-verify=false", f"docker://{image.reference}", f"oci:{folder}:1",
    ]))  # fmt: skip
    skopeo.is_required = full.is_required = lazy.is_required = True
    others = _other_contenders(folder, image)
    floor = _floor_command(bench, image)
    others += [Contender(FLOOR, floor)] if floor else []
    with open_daemon_pulls(bench, image) as daemons:
        others += daemons
        measured = interleave([full, skopeo, lazy, *others], bench.rounds)
    bench.note(f"pull {name}", [full, skopeo, lazy, *others])
    figures = []
    if skopeo in measured:
        targets = {full.name: FULL_TARGET, lazy.name: LAZY_TARGET}
        cpu_targets = {full.name: FULL_CPU_TARGET, lazy.name: LAZY_CPU_TARGET}
        figures += [
            ratio(one.name, one, skopeo, targets.get(one.name), cpu_target=cpu_targets.get(one.name))
            for one in measured
            if one is not skopeo
        ]
    for one in measured:
        if one in others and lazy in measured and one.name == CURL:
            figures.append(ratio(lazy.name, lazy, one, cpu_target=CURL_CPU_TARGET))
        if one.name == FLOOR and full in measured:
            figures.append(ratio(full.name, full, one))
        if one in daemons and full in measured:
            target = PODMAN_CPU_TARGET if one.name.startswith("podman") else DOCKER_CPU_TARGET
            figures.append(ratio(full.name, full, one, cpu_target=target))
    figures += [peak(f"{one.name}: memory", one, MEMORY_TARGET) for one in (full, lazy) if one in measured]
    if skopeo in measured:
        figures.append(peak("skopeo copy: memory", skopeo))
    figures += [milliseconds(one.name, one) for one in measured]
    figures += _measure_steps(floor) if floor else []
    about = f"{image.size / 1e6:.1f} MB in {image.layers} layers, loopback docker-registry"
    return about, figures


def _floor_command(bench: Bench, image: Image) -> list[str]:
    """Return the command of `pull_floor.py` for the layers in the folder of the registry; empty without a package."""
    python = os.path.join(os.path.dirname(bench.imq()), "python")
    folder = os.path.join(bench.cache, "registry", "data", "docker", "registry", "v2", "blobs")
    layers = [digest.split(":") for digest, _ in image.blobs[1:]]
    paths = [os.path.join(folder, algorithm, encoded[:2], encoded, "data") for algorithm, encoded in layers]
    return [python, os.path.join(HERE, "pull_floor.py"), *paths] if os.path.exists(python) else []


def _measure_steps(command: list[str]) -> list[Figure]:
    """Return the processor time of each step of the floor."""
    runs = [json.loads(output_of(command)) for _ in range(STEPS_ROUNDS)]
    columns = {step: tuple(run[step] * 1e3 for run in runs) for step in runs[0]}
    return [
        Figure(f"  {FLOOR}: {step}", "ms", values, statistics.median(values), None, statistics.median(values))
        for step, values in columns.items()
    ]


def _imq(bench: Bench, image: Image, folder: str, name: str, statement: str) -> Contender:
    contender = Contender(name, [bench.imq(), "--root", folder, f"{statement} {image.reference}"])
    contender.environment = bench.environment()
    return set_target(folder, image, contender)


def set_target(folder: str, image: Image, contender: Contender) -> Contender:
    """Make a contender write an image layout in `folder`, which is checked and removed after each run."""
    contender.before = contender.after = lambda: remove_folder(folder)
    contender.check = lambda: _check_blobs(contender.name, folder, image)
    return contender


def _check_blobs(name: str, folder: str, image: Image) -> None:
    """Check that every blob is complete."""
    for digest, size in image.blobs:
        path = os.path.join(folder, "blobs", *digest.split(":"))
        if not os.path.exists(path) or os.path.getsize(path) != size:
            raise BenchmarkError(f"{name} did not write the complete blob {digest}")


def _other_contenders(folder: str, image: Image) -> list[Contender]:
    """Return contenders without a target: curl without hashing, a lower bound, and other clients."""
    urls = [word for index, url in enumerate(image.urls()) for word in ("-o", f"{folder}/{index}", url)]
    curl = ["curl", "--silent", "--fail", "--parallel", "--parallel-max", "6", *urls]
    contenders = [Contender(CURL, curl, lambda: _recreate(folder), after=lambda: remove_folder(folder))]
    if shutil.which("crane"):
        command = ["crane", "pull", "--insecure", "--format=oci", image.reference, folder]
        contenders.append(set_target(folder, image, Contender("crane pull", command)))
    if shutil.which("regctl"):
        host = image.reference.partition("/")[0]
        command = ["regctl", "image", "copy", "--host", f"reg={host},tls=disabled", image.reference]
        contender = Contender("regctl image copy", [*command, f"ocidir://{folder}:1"])
        contenders.append(set_target(folder, image, contender))
    return contenders


def _recreate(folder: str) -> None:
    remove_folder(folder)
    os.makedirs(folder)
