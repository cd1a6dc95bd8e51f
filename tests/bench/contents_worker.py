"""Runs queries on the insides of images in one session, and prints wall and processor seconds of each round as JSON.

It runs in the Python environment of the imq to measure. Standard input is a JSON list of queries.

usage: python contents_worker.py STORE ROUNDS < QUERIES
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from imq.engine.result import RowSet
from imq.engine.session.context import SessionContext
from imq.engine.session.session import Session


def main(root: str, rounds: int) -> dict[str, dict[str, Any]]:
    session = Session(SessionContext(root, environment={}, clock=time.time_ns))
    try:
        return {query: _measure(session, query, rounds) for query in json.load(sys.stdin)}
    finally:
        session.close()


def _measure(session: Session, query: str, rounds: int) -> dict[str, Any]:
    """Return the number of rows, or the count, and wall and processor seconds of each round, after a warm-up."""
    seconds, cpu = [], []
    answer: Any = None
    for _ in range(rounds + 1):
        start, cpu_start = time.perf_counter(), time.process_time()
        (result,) = session.run(query)
        assert isinstance(result, RowSet)
        rows = list(result.rows)
        seconds.append(time.perf_counter() - start)
        cpu.append(time.process_time() - cpu_start)
        answer = rows[0][0] if result.single else len(rows)
    return {"answer": answer, "seconds": seconds[1:], "cpu": cpu[1:]}


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], int(sys.argv[2]))))
