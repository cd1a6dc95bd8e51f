"""Changes of one name or image, plans of removals, and rows of large results, on stores of up to 100,000 images."""

from __future__ import annotations

import os
import shutil
import statistics
from typing import TYPE_CHECKING

from copy_images import push_images
from large_store_queries import provide_store
from measure import BenchmarkError, Contender, Figure, interleave, milliseconds, output_of, peak, ratio

if TYPE_CHECKING:
    from harness import Bench

FEW, THOUSAND, MANY = 100, 1000, 100_000
CHANGE_CPU = 500
"""Milliseconds of processor time for a change of one image among 100,000."""
CHANGE_PEAK = 120
"""MB of 10⁶ bytes for the same."""
PLAN_CPU = 2000
GROWTH = 1.2
"""How much more a change may take among 1,000 images than among 100."""
ROWS = 20_000
ROW_CPU = {"json": 40, "yaml": 120, "table": None}
"""Microseconds of processor time for a row of images, by output format; SQLite's part is included."""
TAG = "tag debian:9 as bench/tagged:{number}"
UNTAG = "untag images where repository = bench/tagged"
REMOVAL = "rm images where dangling limit 1"
PLANS = (
    "usage",
    "prune",
    "rm images except newest 3 per repository",
    "rm images order by created until total size < 100GB",
)


def change(bench: Bench) -> tuple[str, list[Figure]]:
    """Tag an image, remove one, and pull one that is there.

    Each run changes the store: another tag, another image without a tag. A pull changes nothing.
    """
    stores = {size: _provide_store(bench, size) for size in (FEW, THOUSAND, MANY)}
    (name, *_) = push_images(os.path.join(bench.scratch, "change-images"), bench.registry())
    for store in stores.values():
        output_of(_command(bench, store, f"pull {name}"), bench.environment())
    contenders = {
        (kind, size): _make_contender(bench, f"imq {kind}, {size:,} images", store, statement)
        for kind, statement in (("tag", TAG), ("rm", REMOVAL), ("pull again", f"pull {name}"))
        for size, store in stores.items()
    }
    measured = interleave(list(contenders.values()), bench.rounds)
    for store in stores.values():  # the plans of a store with an image of several names take longer
        output_of(_command(bench, store, "--yes", UNTAG), bench.environment())
    bench.note("change", list(contenders.values()))
    if len(measured) < len(contenders):
        raise BenchmarkError(next(one.failure for one in contenders.values() if one.failure))
    figures: list[Figure] = []
    for (kind, size), one in contenders.items():
        figures.append(milliseconds(one.name, one, cpu_target=CHANGE_CPU if size == MANY else None))
        if size == MANY:
            figures.append(peak(f"  {one.name}, memory", one, CHANGE_PEAK))
        elif size == THOUSAND:
            figures.append(ratio(f"  {one.name}", one, contenders[kind, FEW], cpu_target=GROWTH))
    return "whole processes", figures


def _provide_store(bench: Bench, size: int) -> str:
    """Return a store with an image to remove in each run: earlier benchmarks may have removed them."""
    store = provide_store(bench, _python(bench), size, documents=True)
    if int(output_of(_command(bench, store, "images where dangling count"), bench.environment())) > bench.rounds + 1:
        return store
    shutil.rmtree(store)
    return provide_store(bench, _python(bench), size, documents=True)


def plans(bench: Bench) -> tuple[str, list[Figure]]:
    """Plan removals of most images of a large store, without doing them."""
    store = provide_store(bench, _python(bench), MANY, documents=True)
    contenders = [
        Contender(f"imq --dry-run {text}", _command(bench, store, "--dry-run", text), environment=bench.environment())
        for text in PLANS
    ]
    measured = interleave(contenders, bench.rounds)
    bench.note("plans", contenders)
    figures = [milliseconds(one.name, one, cpu_target=PLAN_CPU) for one in measured]
    return f"a store of {MANY:,} images, whole processes", figures


def rows(bench: Bench) -> tuple[str, list[Figure]]:
    """Write rows of images with all their fields: the difference of many rows and one."""
    store = provide_store(bench, _python(bench), MANY, documents=True)
    pairs = {
        form: [
            Contender(f"{count} rows as {form}", _command(bench, store, f"images select * limit {count} as {form}"))
            for count in (1, 1 + ROWS)
        ]
        for form in ROW_CPU
    }
    contenders = [one for pair in pairs.values() for one in pair]
    for one in contenders:
        one.environment, one.is_required = bench.environment(), True
    interleave(contenders, bench.rounds)
    bench.note("rows", contenders)
    figures = []
    for form, (single, many) in pairs.items():
        if not (single.runs and many.runs):
            raise BenchmarkError(single.failure or many.failure)
        values = tuple((b - a) / ROWS * 1e6 for a, b in zip(single.seconds, many.seconds, strict=True))
        cpu = (statistics.median(many.cpu_seconds) - statistics.median(single.cpu_seconds)) / ROWS * 1e6
        figures.append(Figure(f"a row as {form}", "µs", values, statistics.median(values), None, cpu, ROW_CPU[form]))
    return f"{ROWS:,} rows of images with {MANY:,} in the store", figures


def _make_contender(bench: Bench, name: str, store: str, statement: str) -> Contender:
    contender = Contender(name, _command(bench, store, "--yes", statement), environment=bench.environment())
    contender.is_required = True
    command = list(contender.command)
    contender.command = command

    def before() -> None:
        command[-1] = statement.format(number=f"{os.getpid()}-{os.urandom(4).hex()}")

    contender.before = before
    return contender


def _command(bench: Bench, store: str, *arguments: str) -> list[str]:
    return [bench.imq(), "--root", store, *arguments]


def _python(bench: Bench) -> str:
    python = os.path.join(os.path.dirname(bench.imq()), "python")
    if not os.path.exists(python):
        raise BenchmarkError("the imq to measure is not a Python package, so it writes no large store")
    return python
