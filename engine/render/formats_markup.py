"""The forms that go into pages: Markdown and HTML."""

from __future__ import annotations

import re

from imq.grammar.record import TYPE_CHECKING

from .text_table import replace_controls
from .values import format_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from imq.engine.result import RowSet

    from .values import DisplayOptions

_MARKDOWN_SPECIAL = r"[\\|`*\[\]<~]|(?<![^\W_])_|_(?![^\W_])|&(?=[#\w])"
"""What a page would take for markup in the middle of a line; an underscore within a word is none."""


def _tabulate(
    row_set: RowSet, options: DisplayOptions, table_format: str, escape: Callable[[str], str]
) -> Iterator[str]:
    from tabulate import tabulate  # 70 ms

    titles = [escape(replace_controls(column.title)) for column in row_set.columns]
    rows = [list(map(escape, line)) for line in format_rows(row_set, options)]
    yield tabulate(rows, headers=titles, tablefmt=table_format, disable_numparse=True, preserve_whitespace=True) + "\n"


def write_markdown(row_set: RowSet, options: DisplayOptions) -> Iterator[str]:
    """Write a table for Markdown pages, as GitHub reads them; a cell shows its text and nothing else."""
    return _tabulate(row_set, options, "github", lambda cell: re.sub(_MARKDOWN_SPECIAL, r"\\\g<0>", cell))


def write_html(row_set: RowSet, options: DisplayOptions) -> Iterator[str]:
    """Write an HTML table."""
    return _tabulate(row_set, options, "html", str)
