"""The insides of images: scanning layers against gzip and tar, and queries on files of many images."""

from __future__ import annotations

import gzip
import io
import json
import os
import random
import subprocess
import sys
import tarfile
from typing import TYPE_CHECKING

from harness import remove_folder
from measure import BenchmarkError, Contender, Figure, interleave, output_of, peak, ratio
from pull_images import provide

if TYPE_CHECKING:
    from harness import Bench

HERE = os.path.dirname(os.path.abspath(__file__))
SCAN_TARGET = 1.3
MEMORY_TARGET = 150
PREFIX_TARGET, CONTAINS_TARGET = 50, 200
BYTES_TARGET = 100
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
        before=lambda: _remove_index(store),
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
    many = _provide_many(bench.cache)
    figures.append(_query(bench, many, CONTAINS, CONTAINS_TARGET))
    size = sum(os.path.getsize(os.path.join(many, name)) for name in ("files.db", "files.db-wal"))
    figures.append(Figure("index", "bytes a path", (size / (LAYERS * PATHS),), size / (LAYERS * PATHS), BYTES_TARGET))
    about = f"{image.size / 1e6:.1f} MB in {image.layers} layers; {IMAGES:,} images with {LAYERS * PATHS:,} paths"
    return about, figures


def _remove_index(store: str) -> None:
    for suffix in ("", "-wal", "-shm"):
        path = os.path.join(store, f"files.db{suffix}")
        if os.path.exists(path):
            os.unlink(path)


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
    return Figure(query, "ms", values, sorted(values)[len(values) // 2], target)


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
        content = _make_archive(number)
        layers.append(Layer(gzip.compress(content, 1, mtime=0), digest_of(content), LAYER_TYPES["gzip"], 0))
    layout = Layout(store)
    choice = random.Random(1)
    for number in range(IMAGES):
        own = [layers[10 + number % (LAYERS - 10)], *choice.sample(layers[10:], 2)]
        layout.add(Image([layers[number % 10], *own]), f"app{number}:1")
    from imq.engine.session.context import SessionContext
    from imq.engine.session.session import Session

    session = Session(SessionContext(store, environment={}))
    list(session.run("files where name = nothing count"))
    session.close()
    with open(done, "w"):
        return store


def _make_archive(number: int) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for index in range(PATHS):
            name = f"usr/share/package{number}/folder{index // 25}/file-{number}-{index}.conf"
            if number % 100 == 7 and index == 5:
                name = f"opt/app{number}/log4j-core-2.14.1.jar"
            member = tarfile.TarInfo(name)
            member.mtime = 1_700_000_000
            archive.addfile(member)
    return stream.getvalue()
