"""What a statement answers: rows under headings, documents, or a text. Nothing is drawn yet."""

from __future__ import annotations

from imq.engine.catalog.tables import DataType, Field, Table
from imq.grammar.ast import Output
from imq.grammar.record import TYPE_CHECKING, Record

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from imq.engine.catalog.schema import Raw
    from imq.grammar.errors import ImqError


class Column(Record):
    """One column of an answer: its name (the JSON key), its title (the table's), its kind, the field it shows."""

    name: str
    title: str
    type: DataType
    field: Field | None = None


class RowSet(Record):
    """Rows, perhaps still being read: they can be walked once.

    `table` is the table asked; `single` says that the answer is one value (a count), which a plain answer shows bare;
    `errors` are those of the rows that tell of a failure, and `exit_code` is what they make of the whole.
    """

    columns: tuple[Column, ...]
    rows: Iterable[tuple[Raw, ...]]
    output: Output = Output()
    table: Table | None = None
    single: bool = False
    errors: tuple[ImqError, ...] = ()
    exit_code: int = 0


class Documents(Record):
    """JSON documents, such as `inspect` gives; `errors` and `exit_code` as those of an `Answer`."""

    documents: tuple[dict[str, Any], ...]
    output: Output = Output()
    errors: tuple[ImqError, ...] = ()
    exit_code: int = 0


class Message(Record):
    """A text for people. `exit_code` is that of a removal which was not confirmed."""

    text: str
    exit_code: int = 0


class Failure(Record):
    """A statement that failed where the script goes on (`on error continue`)."""

    error: ImqError

    def __hash__(self) -> int:
        """Hash by identity, as errors do."""
        return id(self)


Result = RowSet | Documents | Message | Failure


def exit_code_of(errors: Iterable[ImqError]) -> int:
    """Return the exit code that these errors make of an answer: the highest of theirs, 0 when there is none."""
    return max((error.exit_code for error in errors), default=0)
