"""Asking 100,000 images in one session: from the text of a statement to the last row read; and taking in a thousand."""

from __future__ import annotations

import os
import shutil
import statistics
import sys
import tarfile
import time
from typing import TYPE_CHECKING

from bench import empty
from layouts import write_many
from measure import CannotRunError, Contender, Figure, interleave

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bench import Bench
    from imq.engine.session import Session

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))  # many.py makes stores for tests too

IMAGES = 100_000
ONE_TABLE = 50
GROUPED = 300
UNDERSTOOD = 2
LOADED = 1000
LOAD_TARGET = 2.0
QUESTIONS = (
    "images count",
    "images limit 20",
    "images order by size desc limit 10",
    "images where dangling count",
    "images where size > 1GB count",
    "images where unique_size > 1MB count",
    "images where label.env = prod count",
    "images where has label env count",
    "images where repository like team-1* count",
    "images where name like *api* count",
    "images where tag in (latest, stable) count",
    "images where id = 3f5a",
    "images where older than 30d and not in use count",
    "images where created before {reference} count",
    "images where created between 2024-01-01 and 2024-02-01 count",
    "images where based on {reference} count",
    "images where repository matches 'api$' count",
    "images where path_match(name, '*api:*') count",
    "layers where images > 100 count",
    "layers where size > 100MB count",
    "history where created_by like *pip* count",
)
"""One table each, answered in a row or a few."""
TOGETHER = (
    "images group by repository select repository, count, sum(size)",
    "images where older than 30d except newest 3 per repository count",
    "images where any layers where size > 500MB count",
    "images where name in (images where dangling) count",
)
EVERY = ("images select name", "images")
"""Answers of 100,000 rows: beside them, what SQLite and Python take to hand over the same rows."""
UNDERSTAND = (
    'images where repository like "team/*" and older than 30d and not in use except newest 3 per repository',
    "images where any layers where size > 1MB and created_by like *x*",
)


def language(bench: Bench) -> tuple[str, list[Figure]]:
    """Ask each question in one session, the answers counted before they are timed."""
    try:
        from many import NOW, make_many
    except ImportError as missing:
        raise CannotRunError(f"{missing}: the checkout is not installed in this environment") from None
    from imq.engine.session import Session, World

    store = os.path.join(bench.cache, f"store-{IMAGES}")
    if not os.path.exists(os.path.join(store, "index.json")):
        print(f"making a store of {IMAGES} images: this is done once", flush=True)
        empty(store)
        make_many(store, IMAGES)
    session = Session(World(store, {}, clock=lambda: NOW))
    try:
        (row,) = _rows(session, "images where tag is known skip 5000 limit 1 select name")
        figures = []
        for statements, target in ((QUESTIONS, ONE_TABLE), (TOGETHER, GROUPED)):
            for statement in statements:
                text = statement.format(reference=row[0])
                if not list(_rows(session, text)):
                    raise CannotRunError(f"{text} answered nothing")
                figures.append(_figure(statement, bench, target, lambda text=text: list(_rows(session, text))))
        for text in EVERY:
            asked = _figure(f"{text} (every row)", bench, None, lambda text=text: sum(1 for _ in _rows(session, text)))
            figures += [asked, _bare(session, text, bench)]
        figures += [
            _figure(f"understand: {text[:40]}…", bench, UNDERSTOOD, _understood(session, text)) for text in UNDERSTAND
        ]
    finally:
        session.close()
    return f"a session on a store of {IMAGES} images", figures


def _rows(session: Session, text: str) -> Iterator[tuple[object, ...]]:
    for result in session.run(text):
        yield from getattr(result, "rows", ())


def _figure(name: str, bench: Bench, target: float | None, work: Callable[[], object]) -> Figure:
    """Time the work after one warm-up; milliseconds."""
    work()
    taken = []
    for _ in range(bench.rounds):
        began = time.perf_counter()
        work()
        taken.append((time.perf_counter() - began) * 1000)
    return Figure(name, "ms", tuple(taken), statistics.median(taken), target)


def _bare(session: Session, text: str, bench: Bench) -> Figure:
    """Time the same SQL alone: `fetchall` on the same connection."""
    from imq.engine.bind import bind
    from imq.engine.plan import plan
    from imq.grammar import ast

    (statement,) = session.parse(text)
    assert isinstance(statement, ast.Ask)
    scope = session.scope()
    sql = plan(bind(statement.query, scope), scope.now).sql
    connection = session.runner.connection
    return _figure(
        f"{text}: fetchall alone", bench, None, lambda: connection.execute(sql.text, sql.parameters).fetchall()
    )


def _understood(session: Session, text: str) -> Callable[[], object]:
    from imq.engine.bind import bind
    from imq.grammar import ast

    def work() -> object:
        (statement,) = session.parse(text)
        assert isinstance(statement, ast.Ask)
        return bind(statement.query, session.scope())

    return work


def load(bench: Bench) -> tuple[str, list[Figure]]:
    """Load an archive of a thousand small images into a store that is not there yet."""
    layout = os.path.join(bench.scratch, "small")
    write_many(layout, LOADED)
    archive = os.path.join(bench.scratch, "small.tar")
    with tarfile.open(archive, "w") as tar:
        tar.add(layout, arcname=".")
    shutil.rmtree(layout)
    imq, store = bench.imq(), os.path.join(bench.scratch, "loaded")
    contender = Contender(
        f"imq load, {LOADED} images",
        [imq, "--root", store, "load", archive],
        before=lambda: empty(store),
        environment=bench.environment(),
        needed=True,
    )
    measured = interleave([contender], bench.rounds)
    bench.note("load", [contender])
    if contender not in measured:
        return "an archive of small images", []
    seconds = tuple(contender.seconds)
    return "an archive of small images", [Figure(contender.name, "s", seconds, statistics.median(seconds), LOAD_TARGET)]
