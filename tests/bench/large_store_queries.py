"""Asking a store of 100,000 images within one session: from the text of a question to its last row."""

from __future__ import annotations

import hashlib
import json
import os
import statistics
import subprocess
from typing import TYPE_CHECKING, Any

from harness import empty
from measure import LONGEST_MAKING, CannotRunError, Figure, said_by

if TYPE_CHECKING:
    from harness import Bench

HERE = os.path.dirname(os.path.abspath(__file__))
TESTS = os.path.dirname(HERE)
IMAGES = 100_000
ONE_TABLE = 50
"""Milliseconds for a question about one table whose answer is not most of the table."""
WHOLE = 300
"""Milliseconds for a question that must look at all of it: groups, and what is newest in each repository."""
UNDERSTANDING = 2
"""Milliseconds for parsing and binding alone."""
TYPICAL = 'images where repository like "*/team-0*" and older than 30d limit 20'
QUESTIONS = {
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
    "images group by repository select repository, count, sum(size)": WHOLE,
    "images group by label.team select label.team, count, sum(size)": WHOLE,
    "images group by os select os, count": WHOLE,
    "images except newest 3 per repository count": WHOLE,
    "images except newest 3 per repository": WHOLE,
    "images where label.env = test except newest 3 per repository": WHOLE,
    "images": None,
    "images where size > 1MB": None,
    "images where not dangling": None,
    "images where label.env = prod": None,
    'history where created_by like "RUN install*"': None,
}
"""Each with what it is held to, in milliseconds. Those without return so many rows that fetching these alone, from a
table that holds nothing else, takes CPython longer: they are shown beside that."""


def language(bench: Bench) -> tuple[str, list[Figure]]:
    """Ask everything above in one session of a process of its own."""
    python = os.path.join(os.path.dirname(bench.imq()), "python")
    if not os.path.exists(python):
        raise CannotRunError("the imq to be measured is no package, so no session can be held with it")
    store = _store(bench, python)
    answers = _asked(bench, python, store)
    figures = []
    for question, target in QUESTIONS.items():
        answer = answers[question]
        figures.append(_milliseconds(f"{question} ({answer['rows']:,})", answer["asked"], target))
        if "fetched" in answer:
            pairs = tuple(a / b for a, b in zip(answer["asked"], answer["fetched"], strict=True))
            ratio = statistics.median(answer["asked"]) / statistics.median(answer["fetched"])
            figures.append(Figure("  the same", "x a bare fetch of these rows", pairs, ratio))
        bench.raw[f"language: {question}"] = [round(seconds, 5) for seconds in answer["asked"]]
    figures.append(
        _milliseconds("parsing and binding the typical one above", answers[TYPICAL]["understood"], UNDERSTANDING)
    )
    return f"a store of {IMAGES:,} images, one session; rows in parentheses", figures


def _milliseconds(name: str, seconds: list[float], target: float | None) -> Figure:
    values = tuple(one * 1e3 for one in seconds)
    return Figure(name, "ms", values, statistics.median(values), target)


def _asked(bench: Bench, python: str, store: str) -> dict[str, dict[str, Any]]:
    command = [python, os.path.join(HERE, "asking.py"), store, _said(python, "import many; print(many.NOW)")]
    done = subprocess.run(
        [*command, str(max(bench.rounds, 3))],
        input=json.dumps(list(QUESTIONS)),
        capture_output=True,
        text=True,
        check=False,
        env={**bench.environment(), "PYTHONPATH": TESTS},
        timeout=LONGEST_MAKING,
    )
    if done.returncode:
        raise CannotRunError(f"the session ended with {done.returncode}: {done.stderr.strip().splitlines()[-1:]}")
    answers: dict[str, dict[str, Any]] = json.loads(done.stdout)
    return answers


def _store(bench: Bench, python: str) -> str:
    """Return the store, made anew when what makes it has changed: its index cannot be derived from its documents."""
    told = hashlib.sha256()
    package = _said(python, "import imq.engine.store as store; print(store.__path__[0])")
    for path in (
        os.path.join(TESTS, "many.py"),
        *(os.path.join(package, name) for name in sorted(os.listdir(package))),
    ):
        if path.endswith(".py"):
            with open(path, "rb") as source:
                told.update(source.read())
    store = os.path.join(bench.cache, f"many-{told.hexdigest()[:12]}")
    if not os.path.exists(os.path.join(store, "index.json")):
        print(f"making a store of {IMAGES:,} images: this is done once", flush=True)
        for name in os.listdir(bench.cache):
            if name.startswith("many-"):
                empty(os.path.join(bench.cache, name))
        _said(python, f"import many; many.make_many({store + '.part'!r}, {IMAGES})")
        os.rename(f"{store}.part", store)
    return store


def _said(python: str, program: str) -> str:
    return said_by([python, "-c", f"import sys; sys.path.insert(0, {TESTS!r}); {program}"])
