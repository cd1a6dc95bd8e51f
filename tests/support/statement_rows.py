"""The rows of statements as plain values, and what a task expects of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from imq.engine.catalog.json_values import to_json_value
from imq.engine.result import Message, RowSet

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from imq.engine.session.session import Session

REGISTRY = "registry.local:5000"


def read_last_rows(session: Session, text: str) -> list[list[Any]]:
    """Run a script, its actions as dry runs, without errors; return the rows of its last statement."""
    rows: list[list[Any]] = []
    for result in session.run(text, dry_run=True):
        if not isinstance(result, RowSet):
            assert result == Message("")
            rows = []
            continue
        rows = [
            [to_json_value(column.type, value) for column, value in zip(result.columns, row, strict=True)]
            for row in result.rows
        ]
        assert not result.errors
        assert result.exit_code == 0
    return rows


def begins(row: Sequence[Any], values: Sequence[Any], host: str = REGISTRY) -> bool:
    """Whether the first values of a row are these; of a name with a digest, the part before it."""
    named = [value.replace(REGISTRY, host) if isinstance(value, str) else value for value in values]
    own = [value.partition("@")[0] if isinstance(value, str) else value for value in row]
    return own[: len(named)] == named


def check_rows(task: Mapping[str, Any], rows: Sequence[Sequence[Any]], host: str = REGISTRY) -> None:
    """Compare rows with the `expected`, `includes` and `excludes` of a task."""
    assert task.keys() & {"expected", "includes"}
    if "expected" in task:
        assert len(rows) == len(task["expected"]), rows
    for expected in (*task.get("expected", ()), *task.get("includes", ())):
        assert any(begins(row, expected, host) for row in rows), rows
    for excluded in task.get("excludes", ()):
        assert not any(begins(row, excluded, host) for row in rows), rows
