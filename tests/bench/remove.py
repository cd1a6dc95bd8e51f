"""Removing a thousand images and their blobs, beside removing a folder with the same files."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

from daemons import docker_engine
from harness import empty
from load import IMAGES, archive_of
from measure import CannotRunError, Contender, Figure, interleave, milliseconds, ratio, said_by

if TYPE_CHECKING:
    from harness import Bench

TARGET = 1000
"""Milliseconds for the whole process. `docker rmi` of 333 images took 2.8 s."""
SOME = 50
"""Images that docker is given: loading them takes it a tenth of a second each."""


def remove(bench: Bench) -> tuple[str, list[Figure]]:
    """Remove all images of a store by one statement; each run has a copy of the store, which was opened once."""
    imq, environment = bench.imq(), bench.environment()
    kept = os.path.join(bench.scratch, "kept")
    said_by([imq, "--root", kept, "load", archive_of(bench, "layout", IMAGES)], environment)
    store, folder = os.path.join(bench.scratch, "removed"), os.path.join(bench.scratch, "removed-folder")

    def copied(to: str) -> None:
        empty(to)
        shutil.copytree(kept, to)
        said_by([imq, "--root", to, "images", "count"], environment)

    def check() -> None:
        if left := sum(len(names) for _, _, names in os.walk(os.path.join(store, "blobs"))):
            raise CannotRunError(f"imq rm has left {left} blobs")

    ours = Contender(
        f"imq rm, {IMAGES} images",
        [imq, "--root", store, "--yes", "rm images where size > 0"],
        before=lambda: copied(store),
        check=check,
        environment=environment,
        needed=True,
    )
    bare = Contender("rm -rf of the store", ["rm", "-rf", folder], before=lambda: copied(folder), needed=True)
    contenders = [ours, bare]
    measured = interleave(contenders, bench.rounds)
    if bench.daemons and shutil.which("dockerd") and os.geteuid() == 0:
        with docker_engine(os.path.join(bench.scratch, "docker")) as docker:
            theirs = _by_docker(bench, docker)
            measured += interleave([theirs], bench.rounds)
            contenders.append(theirs)
    bench.note("remove", contenders)
    figures = [milliseconds(one.name, one, TARGET if one is ours else None) for one in contenders if one in measured]
    if ours in measured and bare in measured:
        figures.append(ratio(ours.name, ours, bare))
    return f"a store of {IMAGES} small images", figures


def _by_docker(bench: Bench, docker: list[str]) -> Contender:
    archive = archive_of(bench, "docker", SOME)
    command = [*docker, "rmi", "--force"]

    def before() -> None:
        said_by([*docker, "load", "--quiet", "--input", archive])
        command[len(docker) + 2 :] = sorted(set(said_by([*docker, "images", "--all", "--quiet"]).split()))

    return Contender(f"docker rmi, {SOME} images", command, before=before)
