"""Queries of stores with up to a million images, answered by SQLite and by PostgreSQL."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from harness import remove_folder
from measure import SETUP_TIMEOUT, BenchmarkError, Figure

if TYPE_CHECKING:
    from harness import Bench

HERE = os.path.dirname(os.path.abspath(__file__))
TESTS = os.path.dirname(HERE)
COUNTS = (1_000, 10_000, 100_000, 1_000_000)
LIMIT = 3.0
"""Seconds of processor time for a query that reads all of a million images."""
GROWTH = 1.3
"""The most that the time for an image may grow from the third count to the last one."""
WHOLE = ("images group by repository", "images except newest 3 per repository count")
"""Queries that read all images."""
QUERIES = (
    *WHOLE,
    "images except newest 3 per repository",
    "images where repository = registry.example.com/team-3/app-3",
    "images where label.team = team-7 count",
    "layers group by digest limit 5",
    "images limit 20",
)


def measure_catalogue(bench: Bench) -> tuple[str, list[Figure]]:
    """Measure the same queries in both databases, for each count of images."""
    sys.path.insert(0, TESTS)
    from support.postgresql import PostgresqlServer
    from support.simulated_rows import make_simulated_store

    figures: list[Figure] = []
    totals: dict[tuple[str, str, int], float] = {}
    server = PostgresqlServer()
    try:
        for count in COUNTS:
            store = os.path.join(bench.scratch, f"simulated-{count}")
            make_simulated_store(store, count)
            for name, url in (("SQLite", "none"), ("PostgreSQL", server.url(server.create_database()))):
                for query, result in _run_worker(store, url, max(bench.rounds, 3)).items():
                    if query == "fill" and url == "none":
                        continue
                    seconds = tuple(result["cpu"])
                    totals[name, query, count] = statistics.median(seconds)
                    target = LIMIT if count == COUNTS[-1] and query in WHOLE else None
                    title = f"{count:,} images, {name}: {query} ({result['rows']:,})"
                    figures.append(Figure(title, "s CPU", seconds, statistics.median(seconds), target))
            remove_folder(store)
    finally:
        server.stop()
    for name in ("SQLite", "PostgreSQL"):
        for query in WHOLE:
            small, large = (totals[name, query, count] / count for count in COUNTS[-2:])
            if small > 0:
                figures.append(Figure(f"{name}: {query}: growth", "x", (large / small,), large / small, GROWTH))
    return "processor time of the session and of its server process; ten layers an image", figures


def _run_worker(store: str, url: str, rounds: int) -> dict[str, dict[str, Any]]:
    run = subprocess.run(
        [sys.executable, os.path.join(HERE, "catalogue_worker.py"), store, url, str(rounds)],
        input=json.dumps(QUERIES),
        capture_output=True,
        text=True,
        check=False,
        timeout=SETUP_TIMEOUT,
    )
    if run.returncode:
        raise BenchmarkError(f"the session exited with {run.returncode}: {run.stderr.strip().splitlines()[-1:]}")
    results: dict[str, dict[str, Any]] = json.loads(run.stdout)
    return results
