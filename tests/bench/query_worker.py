"""Runs many queries in one session, and prints their durations as JSON.

It runs in the Python environment of the imq to measure. Standard input is a JSON list of queries.

usage: python query_worker.py STORE NOW ROUNDS < QUERIES
"""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING, Any

from imq.engine.query.binder import bind
from imq.engine.query.plan import plan
from imq.engine.session.context import SessionContext
from imq.engine.session.session import Session

if TYPE_CHECKING:
    from collections.abc import Callable

LARGE_RESULT = 10_000
"""Results with more rows are compared with fetching the same rows from a temporary table."""


def main(root: str, now: int, rounds: int) -> dict[str, dict[str, Any]]:
    session = Session(SessionContext(root, environment={}, clock=lambda: now))
    try:
        return {query: _measure(session, query, rounds) for query in json.load(sys.stdin)}
    finally:
        session.close()


def _measure(session: Session, query: str, rounds: int) -> dict[str, Any]:
    """Return the number of rows, and the seconds of each round, after a warm-up.

    `total`: from the text to the last row; `planning`: parsing, binding and writing SQL; `fetch`: fetching the same
    rows from a temporary table.
    """
    rows = 0

    def run() -> None:
        nonlocal rows
        (result,) = session.run(query)
        rows = sum(1 for _ in result.rows)  # type: ignore[union-attr]

    seconds: dict[str, Any] = {"total": _time(run, rounds), "planning": _time(lambda: _plan(session, query), 20)}
    if rows > LARGE_RESULT:
        connection = session.store.index.connection
        sql = _plan(session, query)
        connection.execute(f"CREATE TEMP TABLE same AS {sql.text}", sql.parameters)
        seconds["fetch"] = _time(lambda: connection.execute("SELECT * FROM temp.same").fetchall(), rounds)
        connection.execute("DROP TABLE temp.same")
    return {"rows": rows, **seconds}


def _plan(session: Session, query: str) -> Any:
    (statement,) = session.parse(query)
    scope = session.make_scope()
    return plan(bind(statement.query, scope), scope.now).sql  # type: ignore[union-attr]


def _time(work: Callable[[], object], rounds: int) -> list[float]:
    work()
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return seconds


if __name__ == "__main__":
    json.dump(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])), sys.stdout)
