"""The benchmark suite: python tests/bench/run.py [NAME…]. See README.md in this folder."""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
from functools import partial
from typing import TYPE_CHECKING

from catalogue import measure_catalogue
from change import change, plans, rows
from containers import measure_containers
from contents import measure_contents
from copy_images import copy_images, pull_again
from engine_tables import measure_tables
from harness import Bench
from large_store_queries import run_queries
from layer_workers import measure_workers
from load import load
from measure import ROUNDS, BenchmarkError
from pull import pull
from push import push
from query import engines, frozen, query
from rate_limited_pull import rate_limited_pull
from registry_scan import scan
from remove import remove
from repl import measure_session
from startup import measure_startup
from unpack import unpack

if TYPE_CHECKING:
    from collections.abc import Callable

    from measure import Figure

    Benchmark = Callable[[Bench], tuple[str, list[Figure]]]

PROJECT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BENCHMARKS: dict[str, Benchmark] = {
    "two-layer": partial(pull, name="two"),
    "eight-layer": partial(pull, name="eight"),
    "push": partial(push, name="eight"),
    "limited": rate_limited_pull,
    "copy": copy_images,
    "again": pull_again,
    "unpack": unpack,
    "query": query,
    "frozen": frozen,
    "starting": measure_startup,
    "interactive": measure_session,
    "language": run_queries,
    "change": change,
    "plans": plans,
    "rows": rows,
    "load": load,
    "remove": remove,
    "load-many": partial(load, images=10_000),
    "remove-many": partial(remove, images=10_000),
    "scan": scan,
    "engines": engines,
    "tables": measure_tables,
    "contents": measure_contents,
    "containers": measure_containers,
    "catalogue": measure_catalogue,
    "workers": measure_workers,
}
NOT_DEFAULT = ("load-many", "remove-many", "engines", "tables", "contents", "containers", "catalogue", "workers")
VERSIONS = {
    "skopeo": ["skopeo", "--version"],
    "docker-registry": ["docker-registry", "--version"],
    "umoci": ["umoci", "--version"],
    "curl": ["curl", "--version"],
    "podman": ["podman", "--version"],
    "dockerd": ["dockerd", "--version"],
    "crane": ["crane", "version"],
    "regctl": ["regctl", "version"],
}
WIDTH = 78


def main() -> int:
    arguments = _parse_arguments()
    signal.signal(
        signal.SIGTERM, lambda *_: sys.exit(1)
    )  # runs context managers, which stop servers and remove folders
    names = arguments.names or [name for name in BENCHMARKS if name not in NOT_DEFAULT]
    report: dict[str, object] = {
        "machine": _describe_machine(),
        "versions": _list_versions(),
        "rounds": arguments.rounds,
    }
    results: dict[str, object] = {}
    missed = 0
    with Bench(arguments.cache, arguments.rounds, arguments.imq, arguments.frozen, daemons=arguments.daemons) as bench:
        for name in names:
            print(f"\n{name}", flush=True)
            try:
                about, figures = BENCHMARKS[name](bench)
            except BenchmarkError as error:
                print(f"  cannot run: {error}", flush=True)
                bench.failures.append(f"{name}: {error}")
                continue
            _print_figures(about, figures)
            missed += sum(figure.verdict == "over" for figure in figures)
            results[name] = {"about": about, "figures": [figure.to_json() for figure in figures]}
        report |= {"benchmarks": results, "seconds": bench.raw, "cpu_seconds": bench.raw_cpu, "not run": bench.failures}
        failed = bool(bench.failures)
    if arguments.json:
        with open(arguments.json, "w") as target:
            json.dump(report, target, indent=1)
            target.write("\n")
    return 1 if failed or (arguments.check and missed) else 0


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tests/bench/run.py", description="Measure imq against its peers.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"benchmarks to run: {', '.join(BENCHMARKS)}")
    parser.add_argument("--json", metavar="FILE", help="write all figures and runs to FILE")
    parser.add_argument("--check", action="store_true", help="exit with 1 when a target is missed")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="runs of each contender (default: %(default)s)")
    parser.add_argument("--daemons", action="store_true", help="also pull with podman and with a separate dockerd")
    parser.add_argument("--imq", metavar="FILE", help="measure this imq instead of the checkout")
    parser.add_argument(
        "--frozen", metavar="FILE", default=os.path.join(PROJECT, "dist", "imq"), help="default: dist/imq"
    )
    parser.add_argument(
        "--cache",
        metavar="DIR",
        default=os.environ.get("IMQ_BENCH_CACHE") or "~/.cache/imq-bench",
        help="folder of images and the environment (default: $IMQ_BENCH_CACHE, else %(default)s)",
    )
    arguments = parser.parse_args()
    unknown = [name for name in arguments.names if name not in BENCHMARKS]
    if unknown:
        parser.error(f"unknown benchmark {unknown[0]}; expected one of: {', '.join(BENCHMARKS)}")
    if arguments.rounds < 1:
        parser.error("--rounds must be 1 or more")
    return arguments


def _print_figures(about: str, figures: list[Figure]) -> None:
    print(f"  {about}")
    print(
        f"  {'':{WIDTH}} {'target':>8} {'measured':>9}   {'min .. max':<17} {'CPU target':>10} {'CPU':>8}   unit",
        flush=True,
    )
    for figure in figures:
        spread = f"{_format_number(min(figure.values))} .. {_format_number(max(figure.values))}"
        cpu = "" if figure.cpu is None else _format_number(figure.cpu)
        unit = f"{figure.unit:<15} {figure.verdict}".rstrip()
        print(
            f"  {figure.name:{WIDTH}} {_format_target(figure.target):>8} {_format_number(figure.measured):>9}"
            f"   {spread:<17} {_format_target(figure.cpu_target):>10} {cpu:>8}   {unit}",
            flush=True,
        )


def _format_target(target: float | None) -> str:
    return "" if target is None else f"≤ {target:g}"


def _format_number(value: float) -> str:
    return f"{value:.2f}" if value < 20 else f"{value:.0f}"


def _describe_machine() -> dict[str, object]:
    return {
        "system": platform.platform(),
        "python": platform.python_version(),
        "processors": os.cpu_count(),
        "memory_mb": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 10**6,
    }


def _list_versions() -> dict[str, str]:
    versions = {}
    for name, command in VERSIONS.items():
        if shutil.which(command[0]):
            run = subprocess.run(command, capture_output=True, text=True, check=False)
            lines = run.stdout.strip().splitlines()
            versions[name] = lines[0] if lines else "no output"
    return versions


if __name__ == "__main__":
    sys.exit(main())
