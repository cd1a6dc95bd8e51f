"""Asks one store many questions in one session, and tells how long each took, as JSON.

Run by the Python that has the imq to be measured. Questions come as a JSON list on standard input.

usage: python asking.py STORE NOW ROUNDS < QUESTIONS
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

MANY = 10_000
"""Answers of more rows are measured beside a bare fetch of the same rows."""


def main(root: str, now: int, rounds: int) -> dict[str, dict[str, Any]]:
    session = Session(SessionContext(root, environment={}, clock=lambda: now))
    try:
        return {question: _measured(session, question, rounds) for question in json.load(sys.stdin)}
    finally:
        session.close()


def _measured(session: Session, question: str, rounds: int) -> dict[str, Any]:
    """Return how many rows there are, and the seconds of each round, after one that is not counted.

    `asked`: from the text to the last row; `understood`: parsing, binding and writing SQL alone; `fetched`: fetching
    the same rows from a table that holds nothing else.
    """
    rows = 0

    def ask() -> None:
        nonlocal rows
        (answer,) = session.run(question)
        rows = sum(1 for _ in answer.rows)  # type: ignore[union-attr]

    found: dict[str, Any] = {"asked": _timed(ask, rounds), "understood": _timed(lambda: _sql(session, question), 20)}
    if rows > MANY:
        connection = session.store.index.connection
        sql = _sql(session, question)
        connection.execute(f"CREATE TEMP TABLE same AS {sql.text}", sql.parameters)
        found["fetched"] = _timed(lambda: connection.execute("SELECT * FROM temp.same").fetchall(), rounds)
        connection.execute("DROP TABLE temp.same")
    return {"rows": rows, **found}


def _sql(session: Session, question: str) -> Any:
    (statement,) = session.parse(question)
    scope = session.make_scope()
    return plan(bind(statement.query, scope), scope.now).sql  # type: ignore[union-attr]


def _timed(work: Callable[[], object], rounds: int) -> list[float]:
    work()
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return seconds


if __name__ == "__main__":
    json.dump(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])), sys.stdout)
