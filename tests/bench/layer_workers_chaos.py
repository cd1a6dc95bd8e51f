"""Kills workers, the scheduler and the statement at random: python layer_workers_chaos.py [RUNS] [SEED].

Each run asks a cluster for the packages of images in a real docker-registry, with a cache of indexes in a folder. One
of the processes is ended by SIGKILL at a random moment, and started again. When the statement was lost with it, it is
run again. Each answer must be that of one process. Each layer may be scanned once, and once more for each task that a
kill ended: up to two for each worker, which has one at work and the result of another.
"""

from __future__ import annotations

import json
import pathlib
import random
import subprocess
import sys
import tempfile
import time

TESTS = pathlib.Path(__file__).parent.parent
sys.path.insert(0, str(TESTS))

from support.images import Image, Layout, layer  # noqa: E402
from support.servers import Registry  # noqa: E402
from workers.conftest import Cluster  # noqa: E402
from workers.faults import Faults  # noqa: E402

IMAGES, LAYERS = 60, 30
SECONDS = 0.05
"""Each scan takes this long, so that a kill finds some at work."""
LOST_BY_A_KILL = 2 * 2
"""The scans that one kill can end: two workers have a layer at work and one whose result is on the way."""


def make_layers() -> list[object]:
    made = []
    for number in range(LAYERS):
        path = f"usr/lib/python3/dist-packages/demo_{number}-1.dist-info/METADATA"
        made.append(layer({path: f"Name: demo-{number}\nVersion: 1.{number}\n".encode()}, "gzip"))
    return made


def provide(registry: Registry, folder: pathlib.Path) -> str:
    """Push the images, and return the statement."""
    layers = make_layers()
    layout = Layout(folder / "layout")
    for number in range(IMAGES):
        layout.add(
            Image([layers[number % LAYERS], layers[(number * 7 + 1) % LAYERS]], env=[f"N={number}"]), f"app:{number}"
        )
    layout.close()
    copied = f'copy all images in "oci:{folder}/layout" to "{registry.host}/team/{{{{.Name}}}}"'
    command = [sys.executable, "-m", "imq", "--no-progress", "--root", str(folder / "source"), copied]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    if run.returncode:
        raise SystemExit(run.stderr)
    return f"packages of (tags in {registry.host}/team/*) order by image_name, name select image_name, name, version"


def start(root: pathlib.Path, statement: str, *options: str) -> subprocess.Popen[str]:
    command = [
        sys.executable,
        "-m",
        "imq",
        "--root",
        str(root),
        "--output",
        "json",
        "--no-progress",
        *options,
        statement,
    ]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def run_once(
    cluster: Cluster, faults: Faults, folder: pathlib.Path, statement: str, chosen: random.Random
) -> tuple[str, list[object], int]:
    """Return what was killed, the answer, and the number of scans."""
    faults.clear()
    faults.set("sleep", content=str(SECONDS))
    options = ["--workers", cluster.url, "--set", f"index_cache={folder}/cache"]
    victim = chosen.choice(["worker-0", "worker-1", "scheduler", "statement"])
    process = start(folder / "store", statement, *options)
    least = chosen.randrange(1, LAYERS)
    end = time.monotonic() + 120
    while len(faults.list_scans()) < least and process.poll() is None and time.monotonic() < end:
        time.sleep(0.01)
    if victim == "statement":
        process.kill()
    else:
        cluster.kill(victim)
        if victim == "scheduler":
            process.wait(120)
            for name in ("worker-0", "worker-1"):  # they look for the old one for a while
                cluster.kill(name)
            cluster.start_scheduler()
            cluster.start_worker("worker-0")
            cluster.start_worker("worker-1")
        else:
            cluster.start_worker(victim)
    output, errors = process.communicate(timeout=300)
    if process.returncode:
        if victim not in ("scheduler", "statement"):
            raise SystemExit(f"{victim} was killed, and the statement failed: {errors}")
        cluster.wait()
        process = start(folder / "store", statement, *options)
        output, errors = process.communicate(timeout=300)
        if process.returncode:
            raise SystemExit(f"the second run failed after {victim} was killed: {errors}")
    else:
        cluster.wait()
    return victim, json.loads(output), len(faults.list_scans())


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 50
    chosen = random.Random(int(sys.argv[2]) if len(sys.argv) > 2 else 1)
    with tempfile.TemporaryDirectory(prefix="imq-chaos-") as name:
        folder = pathlib.Path(name)
        faults = Faults(folder / "faults")
        with Registry(folder / "registry") as registry:
            statement = provide(registry, folder)
            output, errors = start(folder / "plain", statement).communicate()
            expected = json.loads(output)
            assert len(expected) == 2 * IMAGES, errors
            cluster = Cluster(folder / "cluster", **faults.environment)
            try:
                cluster.wait()
                for number in range(runs):
                    own = folder / f"run-{number}"
                    own.mkdir()
                    victim, answer, scans = run_once(cluster, faults, own, statement, chosen)
                    print(f"{number + 1:3} {victim:10} {scans} scans of {LAYERS} layers", flush=True)
                    assert answer == expected, "another answer"
                    assert LAYERS <= scans <= LAYERS + LOST_BY_A_KILL, f"{scans} scans"
            finally:
                cluster.close()
    print(f"{runs} runs: every answer is that of one process")


if __name__ == "__main__":
    main()
