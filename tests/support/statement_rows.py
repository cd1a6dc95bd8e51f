"""The rows of statements as plain values, and what a task expects of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from imq.engine.catalog.json_values import to_json_value
from imq.engine.result import Documents, Message, RowSet

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from imq.engine.session.session import Session

REGISTRY = "registry.local:5000"


def read_rows(session: Session, text: str, fails: Collection[str] = ()) -> list[list[list[Any]]]:
    """Run a script, its actions as dry runs; return the rows of each statement. `fails` are the codes of its errors."""
    found: list[list[list[Any]]] = []
    codes: set[str] = set()
    for result in session.run(text, dry_run=True):
        if not isinstance(result, RowSet):
            assert isinstance(result, Documents) or result == Message("")
            found.append([])
            continue
        rows = [
            [to_json_value(column.type, value) for column, value in zip(result.columns, row, strict=True)]
            for row in result.rows
        ]
        found.append(rows)
        codes.update(error.code for error in result.errors)
        assert result.exit_code == bool(result.errors)
    assert codes == set(fails)
    return found


def read_last_rows(session: Session, text: str) -> list[list[Any]]:
    """Return the rows of the last statement of a script that runs without errors, its actions as dry runs."""
    return (read_rows(session, text) or [[]])[-1]


def read_all_rows(session: Session, text: str, fails: Collection[str] = ()) -> list[list[Any]]:
    """Return the rows of all statements of a script as `read_rows` does, one after the other."""
    return [row for rows in read_rows(session, text, fails) for row in rows]


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
