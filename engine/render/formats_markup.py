"""The formats for documents: Markdown and HTML."""

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
"""Characters that are markup within a line. An underscore within a word is not markup."""


def _tabulate(
    row_set: RowSet, options: DisplayOptions, table_format: str, escape: Callable[[str], str]
) -> Iterator[str]:
    from tabulate import tabulate  # 70 ms

    titles = [escape(replace_controls(column.title)) for column in row_set.columns]
    rows = [list(map(escape, line)) for line in format_rows(row_set, options)]
    yield tabulate(rows, headers=titles, tablefmt=table_format, disable_numparse=True, preserve_whitespace=True) + "\n"


def write_markdown(row_set: RowSet, options: DisplayOptions) -> Iterator[str]:
    """Yield a Markdown table in GitHub's syntax, with all markup in cells escaped."""
    return _tabulate(row_set, options, "github", lambda cell: re.sub(_MARKDOWN_SPECIAL, r"\\\g<0>", cell))


def write_html(row_set: RowSet, options: DisplayOptions) -> Iterator[str]:
    """Yield an HTML table."""
    return _tabulate(row_set, options, "html", str)
