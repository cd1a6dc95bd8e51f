"""Sessions that query registries, and their results as plain rows."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

from imq.engine.catalog.json_values import to_json_value
from imq.engine.configuration.configuration import Configuration
from imq.engine.result import RowSet
from imq.engine.session.context import SessionContext
from imq.engine.session.session import Session

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from imq.engine.oci.platform import Platform

NO_CONFIGURATION = Configuration()


def open_session(
    root: str | os.PathLike[str],
    *,
    environment: dict[str, str] | None = None,
    platform: Platform | None = None,
    confirm: Callable[[RowSet], bool] | None = None,
    configuration: Configuration = NO_CONFIGURATION,
) -> Session:
    """Return a session with a store that may not exist yet."""
    context = SessionContext(os.fspath(root), environment or {}, clock=time.time_ns, platform=platform, confirm=confirm)
    return Session(context.replace(configuration=configuration))


class QueryResult:
    """The last result of a script: its rows as dicts, its errors and its exit code."""

    def __init__(self, session: Session, text: str) -> None:
        answer = [result for result in session.run(text) if isinstance(result, RowSet)][-1]
        names = [heading.name for heading in answer.columns]
        kinds = [heading.type for heading in answer.columns]
        self.rows: list[dict[str, Any]] = [
            dict(zip(names, map(to_json_value, kinds, row), strict=True)) for row in answer.rows
        ]
        self.errors = answer.errors
        self.exit_code = answer.exit_code

    def column(self, name: str) -> list[Any]:
        """Return the values of one column."""
        return [row[name] for row in self.rows]


def execute(root: Path | Session, text: str) -> QueryResult:
    """Execute a script and return its last result. A path opens a new session on the store there."""
    if isinstance(root, Session):
        return QueryResult(root, text)
    session = open_session(root)
    try:
        return QueryResult(session, text)
    finally:
        session.close()
