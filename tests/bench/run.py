"""The benchmark suite: python tests/bench/run.py [names…]. See README.md beside this file."""

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

from copy_images import again, copying
from harness import Bench
from large_store_queries import language
from load import load
from measure import ROUNDS, CannotRunError
from pull import pull
from push import push
from query import engines, frozen, query
from rate_limited_pull import limited
from registry_scan import scan
from remove import remove
from repl import interactive
from startup import starting
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
    "limited": limited,
    "copy": copying,
    "again": again,
    "unpack": unpack,
    "query": query,
    "frozen": frozen,
    "starting": starting,
    "interactive": interactive,
    "language": language,
    "load": load,
    "remove": remove,
    "scan": scan,
    "engines": engines,
}
WHEN_NAMED = ("engines",)
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
    arguments = _arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # by way of every `with`: servers stop, folders go
    names = arguments.names or [name for name in BENCHMARKS if name not in WHEN_NAMED]
    report: dict[str, object] = {"machine": _machine(), "versions": _versions(), "rounds": arguments.rounds}
    measured: dict[str, object] = {}
    missed = 0
    with Bench(arguments.cache, arguments.rounds, arguments.imq, arguments.frozen, daemons=arguments.daemons) as bench:
        for name in names:
            print(f"\n{name}", flush=True)
            try:
                about, figures = BENCHMARKS[name](bench)
            except CannotRunError as error:
                print(f"  cannot run: {error}", flush=True)
                bench.failures.append(f"{name}: {error}")
                continue
            _show(about, figures)
            missed += sum(figure.verdict == "over" for figure in figures)
            measured[name] = {"about": about, "figures": [figure.document() for figure in figures]}
        report |= {"benchmarks": measured, "seconds": bench.raw, "not run": bench.failures}
        failed = bool(bench.failures)
    if arguments.json:
        with open(arguments.json, "w") as target:
            json.dump(report, target, indent=1)
            target.write("\n")
    return 1 if failed or (arguments.check and missed) else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tests/bench/run.py", description="Measure imq against its peers.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which ones, of {', '.join(BENCHMARKS)}")
    parser.add_argument("--json", metavar="FILE", help="write every figure, and every run, to FILE")
    parser.add_argument("--check", action="store_true", help="end with 1 when a target is missed")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="runs of each contender (default: %(default)s)")
    parser.add_argument("--daemons", action="store_true", help="also pull with podman and with a dockerd of its own")
    parser.add_argument("--imq", metavar="FILE", help="measure this imq, not the checkout's")
    parser.add_argument(
        "--frozen", metavar="FILE", default=os.path.join(PROJECT, "dist", "imq"), help="default: dist/imq"
    )
    parser.add_argument(
        "--cache",
        metavar="DIR",
        default=os.environ.get("IMQ_BENCH_CACHE") or "~/.cache/imq-bench",
        help="where images and the environment are kept (default: $IMQ_BENCH_CACHE, else %(default)s)",
    )
    arguments = parser.parse_args()
    unknown = [name for name in arguments.names if name not in BENCHMARKS]
    if unknown:
        parser.error(f"there is no benchmark {unknown[0]}: {', '.join(BENCHMARKS)}")
    if arguments.rounds < 1:
        parser.error("--rounds must be 1 or more")
    return arguments


def _show(about: str, figures: list[Figure]) -> None:
    print(f"  {about}")
    print(f"  {'':{WIDTH}} {'target':>8} {'measured':>9}   {'min .. max':<17} unit")
    for figure in figures:
        target = "" if figure.target is None else f"≤ {figure.target:g}"
        spread = f"{_number(min(figure.values))} .. {_number(max(figure.values))}"
        unit = f"{figure.unit:<15} {figure.verdict}".rstrip()
        print(f"  {figure.name:{WIDTH}} {target:>8} {_number(figure.measured):>9}   {spread:<17} {unit}", flush=True)


def _number(value: float) -> str:
    return f"{value:.2f}" if value < 20 else f"{value:.0f}"


def _machine() -> dict[str, object]:
    return {
        "system": platform.platform(),
        "python": platform.python_version(),
        "processors": os.cpu_count(),
        "memory_mb": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 10**6,
    }


def _versions() -> dict[str, str]:
    found = {}
    for name, command in VERSIONS.items():
        if shutil.which(command[0]):
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            said = done.stdout.strip().splitlines()
            found[name] = said[0] if said else "it said nothing"
    return found


if __name__ == "__main__":
    sys.exit(main())
