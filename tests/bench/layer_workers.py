"""Layers read by other processes: what Dask costs over local processes, what a second one gains, and many layers."""

from __future__ import annotations

import json
import os
import random
import shutil
import statistics
import subprocess
import sys
from typing import TYPE_CHECKING

from harness import remove_folder
from measure import BenchmarkError, Contender, Figure, interleave, milliseconds, ratio, tree_cpu

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness import Bench

HERE = os.path.dirname(os.path.abspath(__file__))
TESTS = os.path.dirname(HERE)
LAYERS = int(os.environ.get("IMQ_BENCH_LAYERS", "500"))
"""Layers of 5 MB. Fewer take less time, and cost more for the start of processes."""
LAYER_SIZE, FILE_SIZE = 5_000_000, 20_000
OVERHEAD_TARGET, SECOND_TARGET = 1.15, 1 / 1.7
CPU_TARGET, MEMORY_TARGET = 2.0, 300
IMAGES, SHARED_LAYERS, CACHED_TARGET = 2_000, 500, 5_000
SIZES = (1_000, 10_000, 100_000, 1_000_000)


def measure_workers(bench: Bench) -> tuple[str, list[Figure]]:
    """Scan layers on one and two processes and on Dask; return a description and the figures."""
    figures = [*_measure_scans(bench), *_measure_cached(bench), *_measure_dispatcher()]
    return f"{LAYERS} layers of {LAYER_SIZE / 1e6:.0f} MB; {IMAGES:,} images of {SHARED_LAYERS} layers", figures


def _measure_scans(bench: Bench) -> list[Figure]:
    sys.path.insert(0, TESTS)
    import pathlib

    from workers.conftest import Cluster

    layout, root = os.path.join(bench.cache, f"workers-{LAYERS}"), os.path.join(bench.scratch, "workers")
    if not os.path.exists(layout):
        _write_layout(layout)
    statement = f'files of (images in "oci:{layout}") where name = none count'
    cluster = Cluster(pathlib.Path(bench.scratch) / "cluster")
    try:
        cluster.wait()
        pids = [process.pid for process in cluster.processes.values()]

        def make(name: str, workers: str, *, on_cluster: bool = False) -> Contender:
            return Contender(
                name,
                [sys.executable, "-m", "imq", "--root", root, "--no-progress", "--workers", workers, statement],
                before=lambda: remove_folder(root),
                environment=bench.environment(),
                server_cpu=(lambda: sum(map(tree_cpu, pids))) if on_cluster else (lambda: 0.0),
                is_required=True,
            )

        one, two = make("1 process", "1"), make("2 processes", "2")
        dask = make("Dask, 2 workers", cluster.url, on_cluster=True)
        running = interleave([one, two, dask], bench.rounds)
        coordinator = _measure_coordinator(dask)
    finally:
        cluster.close()
    bench.note("workers", [one, two, dask])
    if len(running) < 3:
        raise BenchmarkError("a contender failed")
    rate = LAYERS / statistics.median(two.cpu_seconds) * 3600
    return [
        ratio(dask.name, dask, two, OVERHEAD_TARGET),
        ratio(two.name, two, one, SECOND_TARGET),
        Figure("layers in an hour of a core", "layers", (rate,), rate),
        coordinator,
    ]


def _measure_coordinator(dask: Contender) -> Figure:
    """Return the processor time of the process with the statement, its start included, divided by the layers."""
    from measure import replace, run_once

    alone = replace(dask, server_cpu=lambda: 0.0, runs=[])
    value = run_once(alone).cpu / LAYERS * 1e3
    return Figure("coordinator, with the index of each layer", "ms CPU a layer", (value,), value, CPU_TARGET)


def _write_layout(path: str) -> None:
    """Write images with one layer each: files of text and of random bytes, packed by gzip."""
    from support.images import Image, Layout, layer

    generator = random.Random(5)
    words = [bytes(generator.choices(b"abcdefghijklmnopqrstuvwxyz", k=8)) for _ in range(500)]
    layout = Layout(path)
    for number in range(LAYERS):
        files = {}
        size = 0
        while size < LAYER_SIZE:
            noise = generator.randbytes(FILE_SIZE // 2)
            files[f"usr/share/{number}/{len(files)}"] = noise + b" ".join(generator.choices(words, k=FILE_SIZE // 18))
            size += len(noise) + FILE_SIZE // 8  # about what gzip makes of it
        layout.add(Image([layer(files, "gzip")]), f"bench:{number}")
    layout.close()


def _measure_cached(bench: Bench) -> list[Figure]:
    """Measure packages of images whose layers are all in the shared cache, and not in the index of files."""
    from support.images import Image, Layout, layer

    layout, cache = os.path.join(bench.scratch, "many"), os.path.join(bench.scratch, "cache")
    root = os.path.join(bench.scratch, "cached")
    generator = random.Random(7)
    layers = []
    for number in range(SHARED_LAYERS):
        files = {f"srv/{number}/file-{at}": b"x" * 100 for at in range(200)}
        name = f"requests_{number}-1.{number}.dist-info/METADATA"
        files[f"usr/lib/python3/dist-packages/{name}"] = f"Name: requests-{number}\nVersion: 1.{number}\n".encode()
        layers.append(layer(files, "gzip"))
    written = Layout(layout)
    for number in range(IMAGES):
        written.add(Image([layers[number % SHARED_LAYERS], *generator.sample(layers, 2)]), f"many:{number}")
    written.close()
    single = Layout(f"{layout}-single")
    single.add(Image(layers[:1]), "single:1")
    single.close()
    statement = f'packages of (images in "oci:{layout}") count'
    command = [sys.executable, "-m", "imq", "--no-progress", "--set", f"index_cache={cache}", "--root"]
    for one in (root, f"{root}-known"):  # the index of files is kept in a store that has an image
        for text in (f'load "{layout}-single"', statement):
            subprocess.run([*command, one, text], env=bench.environment(), check=True, capture_output=True)

    def make(name: str, folder: str, before: Callable[[], object]) -> Contender:
        return Contender(
            name, [*command, folder, statement], before=before, environment=bench.environment(), is_required=True
        )

    cached = make(f"packages of {IMAGES:,} images, all cached", root, lambda: _drop_index(root))
    known = make("all in the index of files", f"{root}-known", lambda: None)
    interleave([cached, known], bench.rounds)
    bench.note("cached", [cached, known])
    shutil.rmtree(layout)
    own = (statistics.median(cached.cpu_seconds) - statistics.median(known.cpu_seconds)) / SHARED_LAYERS * 1e3
    return [
        milliseconds(cached.name, cached, CACHED_TARGET, cpu_target=CACHED_TARGET),
        Figure("coordinator, with the stacks of the images", "ms CPU a layer", (own,), own, CPU_TARGET),
    ]


def _drop_index(root: str) -> None:
    """Remove the index of files of a store."""
    for name in os.listdir(root):
        if name.startswith("files.db"):
            os.unlink(os.path.join(root, name))


def _measure_dispatcher() -> list[Figure]:
    """Measure the dispatcher alone, with workers that return at once: its time for a layer, and its memory."""
    figures = []
    for size in SIZES:
        command = [sys.executable, os.path.join(HERE, "layer_workers_dispatcher.py"), str(size)]
        run = subprocess.run(
            command, capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": TESTS}
        )
        found = json.loads(run.stdout)
        figures.append(Figure(f"{size:,} layers handed out", "ms CPU a layer", (found["ms"],), found["ms"], CPU_TARGET))
        figures.append(Figure(f"{size:,} layers: memory", "MB", (found["mb"],), found["mb"], MEMORY_TARGET))
    return figures
