"""Measures queries of one store in a session: python catalogue_worker.py STORE CATALOGUE ROUNDS, queries on stdin.

Writes the processor time of each run in seconds, that of the server of PostgreSQL included, as JSON. CATALOGUE is a URL
or `none`. The first entry, `fill`, is the first query, which copies the rows of the store.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections import deque
from typing import TYPE_CHECKING, Any

import imq

if TYPE_CHECKING:
    from collections.abc import Callable

_TICKS = os.sysconf("SC_CLK_TCK")


def main() -> None:
    store, url, rounds = sys.argv[1], sys.argv[2], int(sys.argv[3])
    with imq.connect(root=store, catalogue=url, environment={"HOME": store}) as connection:
        started = time.process_time()
        deque(connection.stream("images count"), maxlen=0)
        results: dict[str, Any] = {"fill": {"cpu": [time.process_time() - started], "rows": 1}}
        read_server = _make_reader(connection)
        for query in json.load(sys.stdin):
            times = []
            rows = 0
            for _ in range(rounds + 1):
                before = time.process_time() + read_server()
                rows = sum(1 for _ in _execute(connection, query))
                times.append(time.process_time() + read_server() - before)
            results[query] = {"cpu": times[1:], "rows": rows}
    json.dump(results, sys.stdout)


def _execute(connection: Any, query: str) -> Any:
    """Return the rows as the engine yields them, with the columns of the command line.

    Records of the Python interface take longer than the query.
    """
    session = connection._require_session()
    session.context = session.context.replace(reads_all_fields=False)
    (result,) = session.run(query)
    return result.rows


def _make_reader(connection: Any) -> Callable[[], float]:
    """Return a function for the processor time of the server so far, which uses one process for the session."""
    catalogue = connection._require_session()._resources.catalogue
    if catalogue is None:
        return lambda: 0.0
    driver = catalogue.connect()
    driver.execute("SET max_parallel_workers_per_gather = 0")
    path = f"/proc/{driver.info.backend_pid}/stat"

    def read() -> float:
        with open(path) as status:
            fields = status.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    return read


main()
