"""The results of statements: rows, JSON documents, a message or a failure. `render/` formats them."""

from __future__ import annotations

from imq.engine.catalog.tables import DataType, Field, Table
from imq.grammar.ast import Output
from imq.grammar.record import TYPE_CHECKING, Record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, BinaryIO

    from imq.engine.catalog.schema import Raw
    from imq.grammar.errors import ImqError


class Column(Record):
    """One column: its name (the JSON key), its title (in tables), its type and its field."""

    name: str
    title: str
    type: DataType
    field: Field | None = None


class RowSet(Record):
    """Rows with their columns. The rows may be read lazily, so they can be iterated once.

    `table` is the table of the query. `single`: the result is one value, such as a count, which is printed without a
    heading. `errors` are the errors of failed rows, and `exit_code` is the exit code that results from them.
    `is_plan`: the rows are actions that a dry run lists. `notes` are remarks on the rows: those that a query left out.
    """

    columns: tuple[Column, ...]
    rows: Iterable[tuple[Raw, ...]]
    output: Output = Output()
    table: Table | None = None
    single: bool = False
    errors: tuple[ImqError, ...] = ()
    exit_code: int = 0
    is_plan: bool = False
    notes: tuple[str, ...] = ()


class Documents(Record):
    """JSON documents, as `inspect` returns them. `errors` and `exit_code` are those of `RowSet`."""

    documents: tuple[dict[str, Any], ...]
    output: Output = Output()
    errors: tuple[ImqError, ...] = ()
    exit_code: int = 0


class Content(Record):
    """The bytes of a file. `write` writes them to a binary stream, piece by piece."""

    write: Callable[[BinaryIO], None]
    exit_code: int = 0
    errors: tuple[ImqError, ...] = ()


class Message(Record):
    """A message. `exit_code` is not 0 for a removal that was not confirmed.

    `is_prose`: a terminal may wrap its lines.
    """

    text: str
    exit_code: int = 0
    is_prose: bool = False


class Failure(Record):
    """A failed statement of a script that continues (`on error continue`)."""

    error: ImqError

    def __hash__(self) -> int:
        """Hash by identity, as errors do."""
        return id(self)


Result = RowSet | Documents | Content | Message | Failure


def get_exit_code(errors: Iterable[ImqError]) -> int:
    """Return the highest exit code of the errors, 0 without errors."""
    return max((error.exit_code for error in errors), default=0)
