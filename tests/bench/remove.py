"""Removal of a thousand images and their blobs, compared with removing a folder with the same files."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

from daemons import start_dockerd
from harness import remove_folder
from load import IMAGES, provide_archive
from measure import BenchmarkError, Contender, Figure, interleave, milliseconds, output_of, ratio

if TYPE_CHECKING:
    from harness import Bench

TARGET = 1
"""Milliseconds an image for the whole process. `docker rmi` of 333 images took 2.8 s."""
DOCKER_IMAGES = 50
"""Images for docker, which takes a tenth of a second to load each."""


def remove(bench: Bench, images: int = IMAGES) -> tuple[str, list[Figure]]:
    """Remove all images of a store with one statement. Each run has a new copy of the store."""
    imq, environment = bench.imq(), bench.environment()
    original = os.path.join(bench.scratch, "original")
    output_of([imq, "--root", original, "load", provide_archive(bench, "layout", images)], environment)
    store, folder = os.path.join(bench.scratch, "removed"), os.path.join(bench.scratch, "removed-folder")

    def copy_store(to: str) -> None:
        remove_folder(to)
        shutil.copytree(original, to)
        output_of([imq, "--root", to, "images", "count"], environment)

    def check() -> None:
        if count := sum(len(names) for _, _, names in os.walk(os.path.join(store, "blobs"))):
            raise BenchmarkError(f"imq rm left {count} blobs")

    imq_rm = Contender(
        f"imq rm, {images:,} images",
        [imq, "--root", store, "--yes", "rm images where size > 0"],
        before=lambda: copy_store(store),
        check=check,
        environment=environment,
        is_required=True,
    )
    bare = Contender("rm -rf of the store", ["rm", "-rf", folder], before=lambda: copy_store(folder), is_required=True)
    contenders = [imq_rm, bare]
    measured = interleave(contenders, bench.rounds)
    if bench.daemons and shutil.which("dockerd") and os.geteuid() == 0:
        with start_dockerd(os.path.join(bench.scratch, "docker")) as docker:
            docker_rmi = _make_docker_contender(bench, docker)
            measured += interleave([docker_rmi], bench.rounds)
            contenders.append(docker_rmi)
    bench.note("remove", contenders)
    figures = []
    for one in measured:
        target = TARGET * images if one is imq_rm else None
        figures.append(milliseconds(one.name, one, target, cpu_target=target))
    if imq_rm in measured and bare in measured:
        figures.append(ratio(imq_rm.name, imq_rm, bare))
    return f"a store of {images:,} small images", figures


def _make_docker_contender(bench: Bench, docker: list[str]) -> Contender:
    archive = provide_archive(bench, "docker", DOCKER_IMAGES)
    command = [*docker, "rmi", "--force"]

    def before() -> None:
        output_of([*docker, "load", "--quiet", "--input", archive])
        command[len(docker) + 2 :] = sorted(set(output_of([*docker, "images", "--all", "--quiet"]).split()))

    return Contender(f"docker rmi, {DOCKER_IMAGES} images", command, before=before)
