"""Queries of a store with 100,000 images in one session, from the text of a query to its last row."""

from __future__ import annotations

import hashlib
import json
import os
import statistics
import subprocess
from typing import TYPE_CHECKING, Any

from harness import remove_folder
from measure import SETUP_TIMEOUT, BenchmarkError, Figure, output_of

if TYPE_CHECKING:
    from harness import Bench

HERE = os.path.dirname(os.path.abspath(__file__))
TESTS = os.path.dirname(HERE)
IMAGES = 100_000
ONE_TABLE = 50
"""Milliseconds for a query of one table that selects a small part of it."""
AGGREGATION = 300
"""Milliseconds for a query that must read the whole table: groups, and the newest in each repository."""
LINEAGE = 500
"""Milliseconds for a query that compares the layers of all images."""
PLANNING = 2
"""Milliseconds for parsing and binding."""
TYPICAL = 'images where repository like "*/team-0*" and older than 30d limit 20'
QUERIES = {
    "images count": ONE_TABLE,
    "images limit 20": ONE_TABLE,
    "images order by size desc limit 5": ONE_TABLE,
    "images order by name limit 20": ONE_TABLE,
    "images where size > 400MB": ONE_TABLE,
    "images where unique_size > 30MB": ONE_TABLE,
    "images where shared_size < 10MB limit 20": ONE_TABLE,
    "images where download_size > 200MB": ONE_TABLE,
    "images where label.team = team-07": ONE_TABLE,
    'images where label.maintainer like "*7@*"': ONE_TABLE,
    "images where has label maintainer": ONE_TABLE,
    "images where label.env = prod and size > 300MB": ONE_TABLE,
    "images where env.STAGE = 3 limit 20": ONE_TABLE,
    'images where repository like "ghcr.io/team-*/api-0"': ONE_TABLE,
    "images where repository = ghcr.io/team-01/api-0": ONE_TABLE,
    'images where tag like "1.4?.6"': ONE_TABLE,
    "images where registry = quay.io count": ONE_TABLE,
    "images where name in (python:3.1, redis:3.2, nothing:1)": ONE_TABLE,
    "images where created < 2022-02-01": ONE_TABLE,
    "images where created before python:3.1": ONE_TABLE,
    "images where created is unknown": ONE_TABLE,
    "images where older than 35 months": ONE_TABLE,
    "images where pulled_at > 2024-12-30": ONE_TABLE,
    "images where dangling": ONE_TABLE,
    "images where dangling and created before 2022-06-01": ONE_TABLE,
    "images where id = 7b3f1c": ONE_TABLE,
    "images where layer_count < 3": ONE_TABLE,
    "images where os = windows": ONE_TABLE,
    "images where user is unknown limit 20": ONE_TABLE,
    "images where workdir is unknown": ONE_TABLE,
    "images where ports has 8003/tcp limit 20": ONE_TABLE,
    "layers of python:3.1": ONE_TABLE,
    "layers where images > 1 limit 20": ONE_TABLE,
    "layers where digest = 7b3f1": ONE_TABLE,
    "layers where size > 120MB": ONE_TABLE,
    'layers where created_by like "COPY team-03*"': ONE_TABLE,
    "history limit 20": ONE_TABLE,
    'history where created_by like "*team-03/api-0*"': ONE_TABLE,
    TYPICAL: ONE_TABLE,
    "images group by repository select repository, count, sum(size)": AGGREGATION,
    "images group by label.team select label.team, count, sum(size)": AGGREGATION,
    "images group by os select os, count": AGGREGATION,
    "images except newest 3 per repository count": AGGREGATION,
    "images except newest 3 per repository": AGGREGATION,
    "images where label.env = test except newest 3 per repository": AGGREGATION,
    "images where based on python:3.1": ONE_TABLE,
    "images where shares layers with python:3.1": ONE_TABLE,
    "images where base is known count": LINEAGE,
    "images where no children count": LINEAGE,
    "images where any base where any children where dangling count": LINEAGE,
    "images group by base.name order by count desc limit 3": LINEAGE,
    "reclaim of (images limit 1)": ONE_TABLE,
    "images": None,
    "images where size > 1MB": None,
    "images where not dangling": None,
    "images where label.env = prod": None,
    'history where created_by like "RUN install*"': None,
}
"""Queries with their targets in milliseconds.

Those without a target return so many rows that CPython alone takes longer to fetch them. They are compared with
fetching the same rows from a temporary table."""


def run_queries(bench: Bench) -> tuple[str, list[Figure]]:
    """Run all queries in one session of a separate process."""
    python = os.path.join(os.path.dirname(bench.imq()), "python")
    if not os.path.exists(python):
        raise BenchmarkError("the imq to measure is not a Python package, so it has no session")
    store = provide_store(bench, python)
    results = _run_worker(bench, python, store)
    figures = []
    for query, target in QUERIES.items():
        result = results[query]
        figures.append(_milliseconds(f"{query} ({result['rows']:,})", result["total"], target))
        if "fetch" in result:
            pairs = tuple(a / b for a, b in zip(result["total"], result["fetch"], strict=True))
            ratio = statistics.median(result["total"]) / statistics.median(result["fetch"])
            figures.append(Figure("  the same", "x fetching the same rows", pairs, ratio))
        bench.raw[f"language: {query}"] = [round(seconds, 5) for seconds in result["total"]]
    figures.append(_milliseconds("parsing and binding of a typical query", results[TYPICAL]["planning"], PLANNING))
    return f"a store of {IMAGES:,} images, one session; rows in parentheses", figures


def _milliseconds(name: str, seconds: list[float], target: float | None) -> Figure:
    values = tuple(one * 1e3 for one in seconds)
    return Figure(name, "ms", values, statistics.median(values), target)


def _run_worker(bench: Bench, python: str, store: str) -> dict[str, dict[str, Any]]:
    command = [
        python,
        os.path.join(HERE, "query_worker.py"),
        store,
        _evaluate(python, "from support import large_store; print(large_store.NOW)"),
    ]
    run = subprocess.run(
        [*command, str(max(bench.rounds, 3))],
        input=json.dumps(list(QUERIES)),
        capture_output=True,
        text=True,
        check=False,
        env={**bench.environment(), "PYTHONPATH": TESTS},
        timeout=SETUP_TIMEOUT,
    )
    if run.returncode:
        raise BenchmarkError(f"the session exited with {run.returncode}: {run.stderr.strip().splitlines()[-1:]}")
    results: dict[str, dict[str, Any]] = json.loads(run.stdout)
    return results


def provide_store(bench: Bench, python: str, count: int = IMAGES, *, documents: bool = False) -> str:
    """Return a store of `count` images, with `documents` for changes; write it again when its code has changed.

    A benchmark that changes it leaves the changes: later runs have some names more and some images less.
    """
    fingerprint = hashlib.sha256()
    package = _evaluate(python, "import imq.engine.store as store; print(store.__path__[0])")
    for path in (
        os.path.join(TESTS, "support", "large_store.py"),
        *(os.path.join(package, name) for name in sorted(os.listdir(package))),
    ):
        if path.endswith(".py"):
            with open(path, "rb") as source:
                fingerprint.update(source.read())
    kind = f"many-{count}{'-documents' if documents else ''}-"
    store = os.path.join(bench.cache, f"{kind}{fingerprint.hexdigest()[:12]}")
    if not os.path.exists(os.path.join(store, "index.json")):
        print(f"writing a store of {count:,} images: this is done once", flush=True)
        for name in os.listdir(bench.cache):
            if name.startswith(kind):
                remove_folder(os.path.join(bench.cache, name))
        _evaluate(
            python,
            "from support import large_store;"
            f" large_store.make_large_store({store + '.part'!r}, {count}, documents={documents})",
        )
        os.rename(f"{store}.part", store)
    return store


def _evaluate(python: str, program: str) -> str:
    return output_of([python, "-c", f"import sys; sys.path.insert(0, {TESTS!r}); {program}"])
