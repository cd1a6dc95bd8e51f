"""The insides of images: scanning layers against gzip and tar, and queries on files of many images."""

from __future__ import annotations

import gzip
import json
import os
import random
import shutil
import subprocess
import sys
import time
from functools import partial
from typing import TYPE_CHECKING

from contents_sharing import make_archive, measure_sharing, remove_index
from daemons import start_dockerd
from harness import remove_folder
from measure import BenchmarkError, Contender, Figure, interleave, output_of, peak, ratio, tree_cpu
from pull_images import provide

if TYPE_CHECKING:
    from harness import Bench
    from pull_images import Image

HERE = os.path.dirname(os.path.abspath(__file__))
SCAN_TARGET = 1.3
MEMORY_TARGET = 150
PREFIX_TARGET, CONTAINS_TARGET = 50, 200
BYTES_TARGET = 100
PULL_TARGET, PACKAGES_TARGET = 1.15, 0.3
IMAGES, LAYERS, PATHS = 1_000, 300, 10_000
PREFIX = 'files of bench:1 where path like "/etc/*"'
CONTAINS = 'images where contains file "*log4j*" count'


def measure_contents(bench: Bench) -> tuple[str, list[Figure]]:
    """Scan the two-layer image, and query it and a store of 1,000 images; return a description and the figures."""
    image = provide("two", bench.registry(), bench.cache)
    store = os.path.join(bench.scratch, "store")
    output_of(
        ["skopeo", "copy", "--quiet", "--src-tls-verify=false", f"docker://{image.reference}", f"oci:{store}:bench:1"]
    )
    blobs = os.path.join(store, "blobs", "sha256")
    layers = [path for name in os.listdir(blobs) if os.path.getsize(path := os.path.join(blobs, name)) > 1 << 20]
    listing = " && ".join(f"gzip -dc {path} | tar -t > /dev/null" for path in layers)
    imq = Contender(
        "imq files (first time)",
        [bench.imq(), "--root", store, "--no-progress", "files of bench:1 count"],
        before=lambda: remove_index(store),
        environment=bench.environment(),
        is_required=True,
    )
    peer = Contender("gzip -dc | tar -t", ["sh", "-c", listing], is_required=True)
    measured = interleave([imq, peer], bench.rounds)
    bench.note("contents", [imq, peer])
    if len(measured) < 2:
        raise BenchmarkError("nothing to compare")
    figures = [ratio(imq.name, imq, peer, SCAN_TARGET), peak(f"{imq.name}: memory", imq, MEMORY_TARGET)]
    figures.append(_query(bench, store, PREFIX, PREFIX_TARGET))
    figures += [*_measure_pull(bench, image), *_measure_packages(bench, store), *measure_sharing(bench)]
    many = _provide_many(bench.cache)
    figures.append(_query(bench, many, CONTAINS, CONTAINS_TARGET))
    databases = [path for name in ("files.db", "files.db-wal") if os.path.exists(path := os.path.join(many, name))]
    size = sum(os.path.getsize(path) for path in databases)
    figures.append(Figure("index", "bytes a path", (size / (LAYERS * PATHS),), size / (LAYERS * PATHS), BYTES_TARGET))
    about = f"{image.size / 1e6:.1f} MB in {image.layers} layers; {IMAGES:,} images with {LAYERS * PATHS:,} paths"
    return about, figures


def _measure_pull(bench: Bench, image: Image) -> list[Figure]:
    """Pull the image with and without an index of its files."""
    folder = os.path.join(bench.scratch, "pull")
    contenders = [
        Contender(
            name,
            [bench.imq(), "--root", folder, "--no-progress", f"{setting}pull {image.reference}"],
            before=lambda: remove_folder(folder),
            after=lambda: remove_folder(folder),
            environment=bench.environment(),
            is_required=True,
        )
        for name, setting in (("imq pull with an index", "set index_files = pull; "), ("imq pull", ""))
    ]
    measured = interleave(contenders, bench.rounds * 2)
    bench.note("pull", contenders)
    if len(measured) < 2:
        raise BenchmarkError("nothing to compare")
    indexed, plain = contenders
    return [ratio(indexed.name, indexed, plain, cpu_target=PULL_TARGET)]


def _measure_packages(bench: Bench, store: str) -> list[Figure]:
    """List the packages of the image, indexed, and by dpkg-query in a container of a separate dockerd."""
    if os.geteuid() != 0 or shutil.which("dockerd") is None:
        print("  skipped: packages, which need root and dockerd", flush=True)
        return []
    imq = Contender(
        "imq packages",
        [bench.imq(), "--root", store, "packages of bench:1"],
        environment=bench.environment(),
        is_required=True,
    )
    folder = os.path.join(bench.scratch, "docker")
    with start_dockerd(folder) as docker:
        archive = os.path.join(bench.scratch, "packages.tar")
        output_of([bench.imq(), "--root", store, f'save bench:1 to "{archive}"'], bench.environment())
        output_of([*docker, "load", "--input", archive])
        command = [*docker, "run", "--rm", "--network=none", "bench:1", "dpkg-query", "-W"]
        with open(os.path.join(folder, "pid")) as file:
            daemon = int(file.read())
        peer = Contender("docker run dpkg-query -W", command, is_required=True, server_cpu=partial(tree_cpu, daemon))
        measured = interleave([imq, peer], bench.rounds * 2)
    bench.note("packages", [imq, peer])
    if len(measured) < 2:
        raise BenchmarkError("nothing to compare")
    return [ratio(imq.name, imq, peer, PACKAGES_TARGET)]


def _query(bench: Bench, store: str, query: str, target: float) -> Figure:
    python = os.path.join(os.path.dirname(os.path.realpath(bench.imq())), "python")
    done = subprocess.run(
        [python, os.path.join(HERE, "contents_worker.py"), store, str(bench.rounds)],
        input=json.dumps([query]),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise BenchmarkError(f"{query}: {done.stderr.strip()[-200:]}")
    measured = json.loads(done.stdout)[query]
    if not measured["answer"]:
        raise BenchmarkError(f"{query} found nothing")
    values = tuple(1e3 * seconds for seconds in measured["seconds"])
    cpu = 1e3 * sorted(measured["cpu"])[len(values) // 2]
    return Figure(query, "ms", values, sorted(values)[len(values) // 2], cpu=cpu, cpu_target=target)


def _provide_many(cache: str) -> str:
    """Return a store of images whose layers have 10,000 empty files each, with its index. Made once, in minutes."""
    sys.path.insert(0, os.path.dirname(HERE))
    from support.images import LAYER_TYPES, Image, Layer, Layout, digest_of

    folder = os.path.join(cache, f"contents-{IMAGES}-{LAYERS}-{PATHS}")
    store, done = os.path.join(folder, "store"), os.path.join(folder, "done")
    if os.path.exists(done):
        return store
    remove_folder(folder)
    layers = []
    for number in range(LAYERS):
        special = {5: f"opt/app{number}/log4j-core-2.14.1.jar"} if number % 100 == 7 else {}
        content = make_archive(f"package{number}", PATHS, special)
        layers.append(Layer(gzip.compress(content, 1, mtime=0), digest_of(content), LAYER_TYPES["gzip"], 0))
    layout = Layout(store)
    choice = random.Random(1)
    for number in range(IMAGES):
        own = [layers[10 + number % (LAYERS - 10)], *choice.sample(layers[10:], 2)]
        layout.add(Image([layers[number % 10], *own]), f"app{number}:1")
    from imq.engine.session.context import SessionContext
    from imq.engine.session.session import Session

    session = Session(SessionContext(store, environment={}, clock=time.time_ns))
    list(session.run("files where name = nothing count"))
    session.close()
    with open(done, "w"):
        return store
