"""The formats for documents: Markdown and HTML."""

from __future__ import annotations

import re

from imq.grammar.record import TYPE_CHECKING

from .text_table import replace_controls
from .values import format_rows

if TYPE_CHECKING:
    from collections.abc import Iterator

    from imq.engine.result import RowSet

    from .values import DisplayOptions

_MARKDOWN_SPECIAL = r"[\\|`*\[\]<~]|(?<![^\W_])_|_(?![^\W_])|&(?=[#\w])"
"""Characters that are markup within a line. An underscore within a word is not markup."""


def write_markdown(row_set: RowSet, options: DisplayOptions) -> Iterator[str]:
    """Yield a Markdown table in GitHub's syntax, with aligned columns and all markup in cells escaped."""
    from tabulate import tabulate  # 70 ms

    titles = [_escape(replace_controls(column.title)) for column in row_set.columns]
    rows = [list(map(_escape, line)) for line in format_rows(row_set, options)]
    yield tabulate(rows, headers=titles, tablefmt="github", disable_numparse=True, preserve_whitespace=True) + "\n"


def _escape(cell: str) -> str:
    return re.sub(_MARKDOWN_SPECIAL, r"\\\g<0>", cell)


def write_html(row_set: RowSet, options: DisplayOptions) -> Iterator[str]:
    """Yield a web page with a table that its reader can sort. It needs no other file and no network."""
    from .html_page import write_page

    return write_page(row_set, options)
