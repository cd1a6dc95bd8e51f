"""What comes back from a session: rows with attributes, documents, or a text."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

from imq.engine.catalog.json_values import to_json_value
from imq.engine.catalog.tables import DataType
from imq.engine.result import Column, Documents, Failure, Message, RowSet
from imq.engine.units.size import Size
from imq.grammar.errors import ImqError, closest_hint, format_error, join_names
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any, Self

    from imq.engine.catalog.schema import Raw
    from imq.engine.render.values import DisplayOptions
    from imq.engine.result import Result as Found

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = 1_000


def python_value(kind: DataType, raw: Raw) -> Any:
    """Return a value as Python has it; what is unknown is None.

    A size is an int whose text is docker's (`142MB`), a time an aware `datetime` in UTC, a duration a `timedelta`
    (both to the microsecond, finer parts cut), a list a list of texts, a map a dict of texts.
    """
    if raw is None:
        return None
    match kind:
        case DataType.SIZE:
            return Size(int(raw))
        case DataType.TIME:
            return _EPOCH + timedelta(microseconds=int(raw) // _MICROSECOND)
        case DataType.DURATION:
            return timedelta(microseconds=int(raw) // _MICROSECOND)
        case DataType.BOOLEAN:
            return bool(raw)
        case DataType.LIST | DataType.MAP:
            return json.loads(str(raw))
        case DataType.VERSION:
            return to_json_value(kind, raw)
        case (
            DataType.TEXT
            | DataType.NUMBER
            | DataType.REFERENCE
            | DataType.REPOSITORY
            | DataType.TAG
            | DataType.DIGEST
            | DataType.PLATFORM
        ):
            return raw


class Row:
    """One row: `row.size`, `row["size"]`, `row[0]`, `dict(row)`; walking it yields the values, as in sqlite3.

    Names compare without regard to case and signs: a column `sum(size)` is `row.sum_size` too.
    """

    __slots__ = ("_columns", "_raw")

    def __init__(self, headings: Sequence[Column], raw: Sequence[Raw]) -> None:
        self._columns = headings
        self._raw = raw

    def __getattr__(self, name: str) -> Any:
        place = self._find_column(name) if not name.startswith("__") else None
        if place is None:
            raise AttributeError(f"the row has no {name!r}; it has: {join_names(self.keys())}")
        return self[place]

    def __getitem__(self, key: str | int) -> Any:
        """Return a value by the name of its column or by its place. Raises `KeyError` or `IndexError`."""
        place = self._find_column(key) if isinstance(key, str) else range(len(self._columns))[key]
        if place is None:
            raise KeyError(f"{key}; the row has: {join_names(self.keys())}")
        return python_value(self._columns[place].type, self._raw[place])

    def keys(self) -> list[str]:
        """Return the names of the columns, so that `dict(row)` works."""
        return [heading.name for heading in self._columns]

    @property
    def ok(self) -> bool:
        """Whether nothing went wrong: of the rows that an action answers."""
        place = self._find_column("error")
        return place is None or self._raw[place] is None

    def __iter__(self) -> Iterator[Any]:
        return (self[place] for place in range(len(self._columns)))

    def __len__(self) -> int:
        return len(self._columns)

    def __dir__(self) -> list[str]:
        return [*object.__dir__(self), *(name for name in self.keys() if name.isidentifier())]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Row) and self.keys() == other.keys() and tuple(self._raw) == tuple(other._raw)

    def __hash__(self) -> int:
        return hash(tuple(self._raw))

    def __repr__(self) -> str:
        return f"Row({', '.join(f'{name}={value!r}' for name, value in zip(self.keys(), self, strict=True))})"

    def _find_column(self, name: str) -> int | None:
        for place, heading in enumerate(self._columns):
            if heading.name == name:
                return place
        wanted = _normalize_name(name)
        return next((at for at, heading in enumerate(self._columns) if _normalize_name(heading.name) == wanted), None)


def _normalize_name(name: str) -> str:
    return "".join(sign for sign in name.lower() if sign.isalnum())


class ActionFailed(ImqError, ExceptionGroup[ImqError]):
    """Some items of an action failed; `exceptions` are their errors, so that `except*` tells them apart."""

    exit_code = 1
    code = "failed"
    message = ""  # of a group it could not be set otherwise

    def __new__(cls, message: str, errors: Sequence[ImqError]) -> Self:
        """Make the group, which Python wants before it is told more."""
        return ExceptionGroup.__new__(cls, message, errors)

    def __init__(self, message: str, errors: Sequence[ImqError]) -> None:
        super().__init__(message, hints=tuple(f"{error.code}: {error.message}" for error in errors))

    @property
    def errors(self) -> tuple[ImqError, ...]:
        """The errors of the items, in their order."""
        return tuple(error for error in self.exceptions if isinstance(error, ImqError))

    def derive(self, errors: Sequence[ImqError]) -> ActionFailed:  # type: ignore[override]
        """Return a group of some of the errors, as `except*` asks for."""
        return ActionFailed(self.message, errors)


class Result:
    """What a statement answered: a sequence of rows (of `inspect`: of documents), that can be walked more than once.

    A text, such as help or an explanation, has no rows and is `str(result)`; of rows, that is the table.
    """

    def __init__(self, found: Found, manner: Callable[[], DisplayOptions]) -> None:
        self._display_options = manner
        self._columns: tuple[Column, ...] = ()
        self._rows: list[Any] = []
        self._result = found
        match found:
            case RowSet(headings, rows):
                raw = list(rows)
                self._result = found.replace(rows=raw)
                self._columns = headings
                self._rows = [Row(headings, row) for row in raw]
            case Documents(documents):
                self._rows = list(documents)
            case Message() | Failure():
                pass

    @property
    def columns(self) -> list[str]:
        """The names of the columns."""
        return [heading.name for heading in self._columns]

    @property
    def errors(self) -> tuple[ImqError, ...]:
        """What went wrong with single items; the rest was done."""
        match self._result:
            case RowSet() | Documents():
                return self._result.errors
            case Failure(error):
                return (error,)
            case Message():
                return ()

    @property
    def ok(self) -> bool:
        """Whether nothing went wrong."""
        return not self.errors

    def raise_for_errors(self) -> Result:
        """Return the result itself, or raise `ActionFailed` with the errors of all items that failed."""
        if errors := self.errors:
            count = f"{len(errors)} of {len(self)} items" if self._rows else "the statement"
            raise ActionFailed(f"{count} failed", errors)
        return self

    def dicts(self) -> list[dict[str, Any]]:
        """Return the rows as dicts of Python's values; see `python_value`."""
        return [dict(row) for row in self._rows]

    def scalar(self) -> Any:
        """Return the one value of a result of one row and one column, such as a count.

        Raises `LookupError` for any other.
        """
        if len(self._rows) != 1 or len(self._columns) != 1:
            raise LookupError(
                f"one value is wanted, and this has {len(self._rows)} rows of {len(self._columns)} columns"
            )
        return self._rows[0][0]

    def column(self, name: str) -> list[Any]:
        """Return the values of one column. Raises `KeyError`, which names the nearest, when there is none such."""
        if self._columns and name not in self.columns:
            raise KeyError(f"{name}; {closest_hint(name, self.columns) or 'columns: ' + join_names(self.columns)}")
        return [row[name] for row in self._rows]

    def render(self, form: str = "", *, spreadsheet: bool = False) -> str:
        """Return the answer as the command line writes it: in this form, else as the statement asked, else a table.

        `spreadsheet`: in csv and tsv `'` stands before texts that a spreadsheet takes for formulas.
        """
        match self._result:
            case Message(text):
                return text
            case Failure(error):
                return format_error(error) + "\n"
            case Documents():
                from imq.engine.render.formats import write_documents

                return "".join(write_documents(self._with_format(self._result, form), "json"))
            case RowSet():
                from imq.engine.render.formats import write_rows

                manner = self._display_options().replace(spreadsheet_safe=spreadsheet)
                return "".join(write_rows(self._with_format(self._default_columns(form), form), manner, "table"))

    def _default_columns(self, form: str) -> RowSet:
        """Return the answer with the columns that people are shown, when all were read and none was asked for."""
        from imq.engine.render.formats import get_format
        from imq.engine.sources.action import OUTCOMES

        found = self._result
        assert isinstance(found, RowSet)
        names = [heading.name for heading in found.columns]
        if found.table is None or tuple(heading.field for heading in found.columns) != found.table.fields:
            return found
        if (found.output.template is not None and not form) or get_format(
            form or found.output.format or "table"
        ).shows_all_fields:
            return found
        kept = [names.index(name) for name in found.table.default_columns]
        if found.table is OUTCOMES:
            said = {name for at, name in enumerate(names) if any(row[at] is not None for row in found.rows)}
            kept = [at for at, name in enumerate(names) if name in {"action", "target", *said} - {"message"}]
        rows = [tuple(row[at] for at in kept) for row in found.rows]
        return found.replace(columns=tuple(found.columns[at] for at in kept), rows=rows)

    @staticmethod
    def _with_format(found: Any, form: str) -> Any:
        from imq.grammar.ast import Output

        return found.replace(output=Output(format=form)) if form else found

    def to_json(self) -> str:
        """Return the rows as JSON: sizes in bytes, times in RFC 3339."""
        return self.render("json")

    def __str__(self) -> str:
        return self.render()

    def __repr__(self) -> str:
        if isinstance(self._result, Message):
            return f"<imq result: {len(self._result.text)} characters of text>"
        return f"<imq result: {len(self)} row{'' if len(self) == 1 else 's'}>"

    def _repr_html_(self) -> str:
        """Return what a notebook shows."""
        from html import escape

        return self.render("html") if self._columns else f"<pre>{escape(self.render())}</pre>"

    def __iter__(self) -> Iterator[Any]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def __bool__(self) -> bool:
        """Whether there are rows, as of any sequence."""
        return bool(self._rows)

    def __getitem__(self, place: int) -> Any:
        """Return the row at this place; the last is -1."""
        return self._rows[place]
