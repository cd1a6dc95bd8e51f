"""Results of statements: rows with attributes, documents, or a text."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime, timedelta

from imq.engine.catalog.json_values import to_json_value
from imq.engine.catalog.tables import DataType
from imq.engine.result import Column, Content, Documents, Failure, Message, RowSet
from imq.engine.units.size import Size
from imq.grammar.errors import ImqError, closest_hint, format_error, join_names
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any, Self

    from imq.engine.catalog.schema import Raw
    from imq.engine.render.values import DisplayOptions
    from imq.engine.result import Result as EngineResult

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = 1_000


def python_value(kind: DataType, raw: Raw) -> Any:
    """Return a value as a Python object; an unknown value is None.

    A size is an int that prints as docker prints it (`142MB`), a time an aware `datetime` in UTC, a duration a
    `timedelta` (both truncated to microseconds), a list a list of strings, a map a dict of strings.
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
        case DataType.VERSION | DataType.PACKAGE_VERSION:
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
    """One row: `row.size`, `row["size"]`, `row[0]`, `dict(row)`. Iteration yields the values, as in sqlite3.

    Names match without regard to case and punctuation: a column `sum(size)` is `row.sum_size` too.
    """

    __slots__ = ("_columns", "_raw")

    def __init__(self, columns: Sequence[Column], raw: Sequence[Raw]) -> None:
        self._columns = columns
        self._raw = raw

    def __getattr__(self, name: str) -> Any:
        index = self._find_column(name) if not name.startswith("__") else None
        if index is None:
            raise AttributeError(f"the row has no column {name!r}; columns: {join_names(self.keys())}")
        return self[index]

    def __getitem__(self, key: str | int) -> Any:
        """Return a value by the name or index of its column. Raises `KeyError` or `IndexError`."""
        index = self._find_column(key) if isinstance(key, str) else range(len(self._columns))[key]
        if index is None:
            raise KeyError(f"{key}; columns: {join_names(self.keys())}")
        return python_value(self._columns[index].type, self._raw[index])

    def keys(self) -> list[str]:
        """Return the names of the columns, so that `dict(row)` works."""
        return [column.name for column in self._columns]

    @property
    def ok(self) -> bool:
        """Whether the action of this row succeeded."""
        index = self._find_column("error")
        return index is None or self._raw[index] is None

    def __iter__(self) -> Iterator[Any]:
        return (self[index] for index in range(len(self._columns)))

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
        for index, column in enumerate(self._columns):
            if column.name == name:
                return index
        key = _normalize_name(name)
        return next((index for index, column in enumerate(self._columns) if _normalize_name(column.name) == key), None)


def _missing_library(method: str, extra: str) -> ImportError:
    return ImportError(f'{method} needs another library: pip install "imq[{extra}]"')


def _find_arrow_type(arrow: Any, kind: DataType) -> Any:
    """Return the type of Arrow for a column; None lets Arrow choose it."""
    match kind:
        case DataType.SIZE:
            return arrow.int64()
        case DataType.NUMBER:
            return None
        case DataType.TIME:
            return arrow.timestamp("us", tz="UTC")
        case DataType.DURATION:
            return arrow.duration("us")
        case DataType.BOOLEAN:
            return arrow.bool_()
        case DataType.LIST:
            return None
        case DataType.MAP:
            return arrow.map_(arrow.string(), arrow.string())
        case _:
            return arrow.string()


def _normalize_name(name: str) -> str:
    return "".join(char for char in name.lower() if char.isalnum())


class ActionFailed(ImqError, ExceptionGroup[ImqError]):
    """Some items of an action failed. `exceptions` has their errors, so that `except*` can match them by class."""

    exit_code = 1
    code = "failed"
    message = ""  # hides the read-only property of ExceptionGroup

    def __new__(cls, message: str, errors: Sequence[ImqError]) -> Self:
        """Create the group: `ExceptionGroup` takes its arguments here."""
        return ExceptionGroup.__new__(cls, message, errors)

    def __init__(self, message: str, errors: Sequence[ImqError]) -> None:
        super().__init__(message, hints=tuple(f"{error.code}: {error.message}" for error in errors))

    @property
    def errors(self) -> tuple[ImqError, ...]:
        """The errors of the items, in their order."""
        return tuple(error for error in self.exceptions if isinstance(error, ImqError))

    def derive(self, errors: Sequence[ImqError]) -> ActionFailed:  # type: ignore[override]
        """Return a group of some of the errors, for `except*`."""
        return ActionFailed(self.message, errors)


class Result:
    """The result of a statement: a sequence of rows (of documents for `inspect`), which can be iterated repeatedly.

    `cat` has one item: the bytes of the files.

    `str(result)` is the table of the rows, or the text of a result without rows, such as help or a plan.
    """

    def __init__(self, result: EngineResult, display_options: Callable[[], DisplayOptions]) -> None:
        self._display_options = display_options
        self._columns: tuple[Column, ...] = ()
        self._rows: list[Any] = []
        self._result = result
        match result:
            case RowSet(columns, rows):
                raw = list(rows)
                self._result = result.replace(rows=raw)
                self._columns = columns
                self._rows = [Row(columns, row) for row in raw]
            case Documents(documents):
                self._rows = list(documents)
            case Content(write):
                buffer = io.BytesIO()
                write(buffer)
                self._rows = [buffer.getvalue()]
            case Message() | Failure():
                pass

    @property
    def columns(self) -> list[str]:
        """The names of the columns."""
        return [column.name for column in self._columns]

    @property
    def errors(self) -> tuple[ImqError, ...]:
        """The errors of items that failed. The other items were executed."""
        match self._result:
            case RowSet() | Documents() | Content():
                return self._result.errors
            case Failure(error):
                return (error,)
            case Message():
                return ()

    @property
    def notes(self) -> tuple[str, ...]:
        """Remarks on the rows: how many a query left out because values are unknown, and what to write."""
        return self._result.notes if isinstance(self._result, RowSet) else ()

    @property
    def ok(self) -> bool:
        """Whether there are no errors."""
        return not self.errors

    def raise_for_errors(self) -> Result:
        """Return the result itself, or raise `ActionFailed` with the errors of all items that failed."""
        if errors := self.errors:
            count = f"{len(errors)} of {len(self)} items" if self._rows else "the statement"
            raise ActionFailed(f"{count} failed", errors)
        return self

    def dicts(self) -> list[dict[str, Any]]:
        """Return the rows as dicts of Python values; see `python_value`."""
        return [dict(row) for row in self._rows]

    def scalar(self) -> Any:
        """Return the value of a result with one row and one column, such as a count.

        Raises `LookupError` for other results.
        """
        if len(self._rows) != 1 or len(self._columns) != 1:
            raise LookupError(
                f"expected a single value, but the result has {len(self._rows)} rows and {len(self._columns)} columns"
            )
        return self._rows[0][0]

    def column(self, name: str) -> list[Any]:
        """Return the values of one column. Raises `KeyError` with the closest name for an unknown column."""
        if self._columns and name not in self.columns:
            raise KeyError(f"{name}; {closest_hint(name, self.columns) or 'columns: ' + join_names(self.columns)}")
        return [row[name] for row in self._rows]

    def render(self, form: str = "", *, spreadsheet: bool = False) -> str:
        """Return the result as the command line prints it: in this format, else that of the statement, else a table.

        With `spreadsheet`, csv and tsv have `'` before strings that a spreadsheet would compute as formulas.
        """
        match self._result:
            case Message(text):
                return text
            case Content():
                text = self._rows[0].decode("utf-8", "backslashreplace")
                return str(text)
            case Failure(error):
                return format_error(error) + "\n"
            case Documents():
                from imq.engine.render.formats import write_documents

                return "".join(write_documents(self._with_format(self._result, form), "json"))
            case RowSet():
                from imq.engine.render.formats import write_rows

                options = self._display_options().replace(spreadsheet_safe=spreadsheet)
                return "".join(write_rows(self._with_format(self._default_columns(form), form), options, "table"))

    def _default_columns(self, form: str) -> RowSet:
        """Return the result with the default columns only, when all fields were read and none was selected."""
        from imq.engine.render.formats import get_format
        from imq.engine.sources.action import OUTCOMES

        result = self._result
        assert isinstance(result, RowSet)
        names = [column.name for column in result.columns]
        if result.table is None or tuple(column.field for column in result.columns) != result.table.output_fields:
            return result
        if (result.output.template is not None and not form) or get_format(
            form or result.output.format or "table"
        ).is_for_programs:
            return result
        indexes = [names.index(name) for name in result.table.default_columns]
        if result.table is OUTCOMES:
            filled = {name for index, name in enumerate(names) if any(row[index] is not None for row in result.rows)}
            indexes = [index for index, name in enumerate(names) if name in {"action", "target", *filled} - {"message"}]
        rows = [tuple(row[index] for index in indexes) for row in result.rows]
        return result.replace(columns=tuple(result.columns[index] for index in indexes), rows=rows)

    @staticmethod
    def _with_format(result: Any, form: str) -> Any:
        from imq.grammar.ast import Output

        return result.replace(output=Output(format=form)) if form else result

    def to_pandas(self) -> Any:
        """Return the rows as a `pandas.DataFrame` with Python's values; see `python_value`.

        Times are datetimes in UTC, sizes numbers of bytes. It needs pandas: `pip install "imq[pandas]"`.
        """
        try:
            from pandas import DataFrame  # heavy, and optional
        except ImportError:
            raise _missing_library("to_pandas", "pandas") from None
        return DataFrame(self._plain_rows(), columns=self.columns)

    def to_arrow(self) -> Any:
        """Return the rows as a `pyarrow.Table`, as `to_pandas` does. It needs pyarrow: `pip install "imq[arrow]"`."""
        try:
            import pyarrow as pa  # heavy, and optional
        except ImportError:
            raise _missing_library("to_arrow", "arrow") from None
        rows = self._plain_rows()
        columns = {name: [row[place] for row in rows] for place, name in enumerate(self.columns)}
        return pa.table({
            name: pa.array([sorted(value.items()) if isinstance(value, dict) else value for value in values],
                                _find_arrow_type(pa, column.type))
            for (name, values), column in zip(columns.items(), self._columns, strict=True)
        })  # fmt: skip

    def _plain_rows(self) -> list[list[Any]]:
        """Return the rows as lists; sizes are plain integers."""
        if not self._columns:
            raise TypeError("the result has no columns")
        return [[int(value) if isinstance(value, Size) else value for value in row] for row in self._rows]

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
        """Return the HTML that a notebook displays."""
        from html import escape

        if not self._columns:
            return f"<pre>{escape(self.render())}</pre>"
        from imq.engine.render.html_page import write_table

        return "".join(write_table(self._default_columns("html"), self._display_options()))

    def __iter__(self) -> Iterator[Any]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def __bool__(self) -> bool:
        """Whether there are rows, as for any sequence."""
        return bool(self._rows)

    def __getitem__(self, index: int) -> Any:
        """Return the row with this index; -1 is the last."""
        return self._rows[index]
