"""The output format `record`: each row as a list of fields and values, one a line, as psql's expanded display."""

from __future__ import annotations

from imq.engine.catalog.schema import DataType
from imq.engine.oci.timestamp import format_time
from imq.grammar.display_width import display_width
from imq.grammar.record import TYPE_CHECKING

from .text_table import replace_controls
from .values import format_value

if TYPE_CHECKING:
    from collections.abc import Iterator

    from imq.engine.catalog.schema import Raw
    from imq.engine.result import RowSet

    from .values import DisplayOptions

_MIN_LINE_WIDTH = 24
"""Minimum length of the line above a record, in columns."""
RULE = "-[ RECORD "
"""How the line above a record begins."""


def write_record(row_set: RowSet, options: DisplayOptions) -> Iterator[str]:
    """Yield each row under a line with its number. Values are whole: IDs too, and times with their dates."""
    names = [replace_controls(column.name) for column in row_set.columns]
    width = max(map(display_width, names), default=0)
    whole = options.replace(no_trunc=True)
    for number, row in enumerate(row_set.rows, 1):
        yield f"{RULE}{number} ]".ljust(max(width + 1, _MIN_LINE_WIDTH), "-") + "\n"
        for name, column, raw in zip(names, row_set.columns, row, strict=True):
            yield f"{name}{' ' * (width - display_width(name))} | {_format(column.type, raw, whole)}".rstrip() + "\n"


def _format(data_type: DataType, raw: Raw, options: DisplayOptions) -> str:
    """Return a value on one line; a time has its age and its date."""
    text = format_value(data_type, raw, options)
    return f"{text} ({format_time(int(raw))})" if data_type is DataType.TIME and raw is not None else text
