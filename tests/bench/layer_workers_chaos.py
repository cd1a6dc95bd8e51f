"""Scans images of a registry on a cluster, and ends processes of it: python layer_workers_chaos.py [RUNS] [SEED].

Each run asks for the packages of images in a real docker-registry, with a cache of indexes in a folder, or in a bucket
of a server of S3 (`--bucket`). With `--namespaces`, the registry, the bucket, the scheduler, each worker and the
statement run in network namespaces, as on hosts of their own; that needs root.

First everything is left alone: each layer is scanned once. Then, in each of RUNS, one of the processes is ended by
SIGKILL at a random moment, and started again. When the statement was lost with it, it is run again. Each answer must be
that of one process. Each layer may be scanned once, and once more for each task that a kill ended: up to two for each
worker, which has one at work and the result of another. At last a statement finds everything in the cache.

To push thousands of images takes longer than many runs. With `--keep FOLDER` the content of the registry stays there,
and the next call with as many images and layers pushes nothing.

Exit code 77: the namespaces cannot be made.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, closing

TESTS = pathlib.Path(__file__).parent.parent
sys.path.insert(0, str(TESTS))

from support.images import Image, Layout, layer  # noqa: E402
from support.servers import Registry  # noqa: E402
from workers.conftest import Bucket, Cluster  # noqa: E402
from workers.faults import Faults  # noqa: E402
from workers.hosts import Hosts, Loopback, Namespaces, find_obstacle  # noqa: E402

SECONDS = 0.05
"""Each scan takes this long when something is ended, so that a kill finds some at work."""
LOST_BY_A_KILL = 2 * 2
"""The scans that one kill can end: two workers have a layer at work and one whose result is on the way."""
NO_NAMESPACES = 77
_LIMIT = 900
"""Seconds after which a statement is stuck."""


class Proof:
    """The processes of all runs, and the statement that each of them executes."""

    def __init__(self, folder: pathlib.Path, hosts: Hosts, options: argparse.Namespace, stack: ExitStack) -> None:
        self.folder = folder
        self.hosts = hosts
        self.images, self.layers = options.images, options.layers
        self.faults = Faults(folder / "faults")
        self.kept = folder if options.keep is None else options.keep.absolute() / f"{self.images}-{self.layers}"
        self.kept.mkdir(parents=True, exist_ok=True)
        self.registry = Registry(self.kept / "registry")
        self.registry.host = f"{hosts.address('registry')}:{self.registry.port}"
        self.registry.command = hosts.command("registry", self.registry.command)
        stack.enter_context(self.registry)
        self.bucket = (
            stack.enter_context(closing(Bucket(make_folder(folder / "s3"), hosts))) if options.bucket else None
        )
        self.environment = {**os.environ, **(self.bucket.environment if self.bucket is not None else {})}
        self._configure()
        if not (self.kept / "pushed").exists():
            self._push()
        self.statement = (
            f"packages of (tags in {self.registry.host}/team/*) order by image_name, name"
            " select image_name, name, version"
        )
        self.cluster = stack.enter_context(
            closing(Cluster(folder / "cluster", hosts=hosts, **self.faults.environment, **self._get_bucket()))
        )
        self.cluster.wait()
        self.expected: object = None

    def _get_bucket(self) -> dict[str, str]:
        return self.bucket.environment if self.bucket is not None else {}

    def _configure(self) -> None:
        """Allow plain HTTP to the registry: addresses of namespaces are not those of the loopback interface."""
        if self.hosts.insecure:
            path = self.folder / "imq.toml"
            path.write_text(f'insecure = ["{self.hosts.insecure}"]\n')
            self.environment["IMQ_CONFIG"] = str(path)

    def _push(self) -> None:
        """Push the images."""
        made = []
        for number in range(self.layers):
            path = f"usr/lib/python3/dist-packages/demo_{number}-1.dist-info/METADATA"
            made.append(layer({path: f"Name: demo-{number}\nVersion: 1.{number}\n".encode()}, "gzip"))
        layout = Layout(self.folder / "layout")
        for number in range(self.images):
            two = [made[number % self.layers], made[(number * 7 + 1) % self.layers]]
            layout.add(Image(two, env=[f"N={number}"]), f"app:{number}")
        layout.close()
        copied = f'copy all images in "oci:{self.folder}/layout" to "{self.registry.host}/team/{{{{.Name}}}}"'
        output, errors, code = self.finish(self.start("source", copied))
        if code:
            raise SystemExit(errors or output)
        (self.kept / "pushed").touch()

    def start(self, root: str, statement: str, *options: str) -> subprocess.Popen[str]:
        """Start a statement with a store of its own. Its output goes to files: nothing reads a pipe meanwhile."""
        command = [sys.executable, "-m", "imq", "--root", str(self.folder / root), "--output", "json", "--no-progress"]
        with open(self.folder / "output", "w") as output, open(self.folder / "errors", "w") as errors:
            return subprocess.Popen(
                self.hosts.command("coordinator", [*command, *options, statement]),
                stdout=output,
                stderr=errors,
                text=True,
                env=self.environment,
            )

    def finish(self, process: subprocess.Popen[str]) -> tuple[str, str, int]:
        """Return the output, the messages and the exit code of the statement that was started last."""
        code = process.wait(_LIMIT)
        return (self.folder / "output").read_text(), (self.folder / "errors").read_text(), code

    def list_options(self, run: str) -> list[str]:
        """Return the options of a statement on the cluster, with a cache of its own for a run."""
        cache = f"{self.bucket.url}/{run}" if self.bucket is not None else str(self.folder / f"cache-{run}")
        return ["--workers", self.cluster.url, "--set", f"index_cache={cache}"]

    def ask(self, root: str, *options: str) -> tuple[object, float, float]:
        """Return the answer, its seconds, and the processor time of the process with the statement."""
        before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
        output, errors, code = self.finish(self.start(root, self.statement, *options))
        if code:
            raise SystemExit(f"the statement failed: {errors}")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return json.loads(output), time.monotonic() - begun, used

    def check(self, answer: object) -> None:
        """Compare an answer with that of one process."""
        if answer != self.expected:
            raise SystemExit("another answer")

    def run_undisturbed(self) -> None:
        """Compare the cluster with one process: the answer, and each layer is scanned once."""
        self.expected, seconds, used = self.ask("plain")
        if not isinstance(self.expected, list) or len(self.expected) < self.images:
            raise SystemExit(f"{self.expected!r} is no answer")
        print(f"one process: {len(self.expected):,} rows, {seconds:.1f} s, {used:.1f} s CPU", flush=True)
        self.faults.clear()
        answer, seconds, used = self.ask("calm", *self.list_options("calm"))
        self.check(answer)
        scans = self.faults.list_scans()
        if len(scans) != self.layers or len(set(scans)) != self.layers:
            raise SystemExit(f"{len(scans)} scans of {self.layers} layers")
        print(f"the cluster: {len(scans):,} scans, {seconds:.1f} s, {used:.1f} s CPU of the coordinator", flush=True)
        self.faults.clear()
        answer, seconds, used = self.ask("cached", *self.list_options("calm"))
        self.check(answer)
        if self.faults.list_scans():
            raise SystemExit("a layer in the cache was scanned again")
        print(f"all cached: no scan, {seconds:.1f} s, {used:.1f} s CPU of the coordinator", flush=True)

    def run_disturbed(self, run: str, chosen: random.Random) -> None:
        """End a process while the statement runs."""
        self.faults.clear()
        self.faults.set("sleep", content=str(SECONDS))
        options = self.list_options(run)
        victim = chosen.choice(["worker-0", "worker-1", "scheduler", "statement"])
        begun = time.monotonic()
        process = self.start(run, self.statement, *options)
        least = chosen.randrange(1, self.layers)
        end = time.monotonic() + _LIMIT
        while len(self.faults.list_scans()) < least and process.poll() is None and time.monotonic() < end:
            time.sleep(0.01)
        if victim == "statement":
            process.kill()
        else:
            self._end(victim, process)
        output, errors, code = self.finish(process)
        self.cluster.wait()
        if code:
            if victim not in ("scheduler", "statement"):
                raise SystemExit(f"{victim} was killed, and the statement failed: {errors}")
            output, errors, code = self.finish(self.start(run, self.statement, *options))
            if code:
                raise SystemExit(f"the second run failed after {victim} was killed: {errors}")
        self.check(json.loads(output))
        scans = len(self.faults.list_scans())
        seconds = time.monotonic() - begun
        print(f"{run:>8} {victim:10} {scans} scans of {self.layers} layers, {seconds:.0f} s", flush=True)
        if not self.layers <= scans <= self.layers + LOST_BY_A_KILL:
            raise SystemExit(f"{scans} scans")
        shutil.rmtree(self.folder / run, ignore_errors=True)

    def _end(self, victim: str, process: subprocess.Popen[str]) -> None:
        """End the scheduler or a worker, and start it again."""
        self.cluster.kill(victim)
        if victim != "scheduler":
            self.cluster.start_worker(victim)
            return
        process.wait(_LIMIT)
        for name in ("worker-0", "worker-1"):  # they look for the old one for a while
            self.cluster.kill(name)
        self.cluster.start_scheduler()
        self.cluster.start_worker("worker-0")
        self.cluster.start_worker("worker-1")


def make_folder(path: pathlib.Path) -> pathlib.Path:
    path.mkdir()
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="?", type=int, default=50, help="the number of runs in which a process is ended")
    parser.add_argument("seed", nargs="?", type=int, default=1)
    parser.add_argument("--images", type=int, default=60)
    parser.add_argument("--layers", type=int, default=30)
    parser.add_argument("--bucket", action="store_true", help="keep the cache of indexes in a bucket")
    parser.add_argument("--namespaces", action="store_true", help="run each process in a network namespace")
    parser.add_argument("--keep", type=pathlib.Path, help="keep the content of the registry in this folder")
    parser.add_argument("--inside", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.namespaces and options.inside is None:
        if obstacle := find_obstacle():
            print(f"skipped: {obstacle}", file=sys.stderr)
            sys.exit(NO_NAMESPACES)
        prefix = f"imq-{os.getpid()}"
        with Namespaces(prefix) as made:
            command = [sys.executable, *sys.argv, "--inside", prefix]
            sys.exit(subprocess.run(made.command("coordinator", command), check=False).returncode)
    hosts: Hosts = Namespaces(options.inside) if options.inside is not None else Loopback()
    chosen = random.Random(options.seed)
    with tempfile.TemporaryDirectory(prefix="imq-chaos-") as name, ExitStack() as stack:
        proof = Proof(pathlib.Path(name), hosts, options, stack)
        proof.run_undisturbed()
        for number in range(options.runs):
            proof.run_disturbed(f"run-{number + 1}", chosen)
    print(f"{options.runs} runs: every answer is that of one process")


if __name__ == "__main__":
    main()
