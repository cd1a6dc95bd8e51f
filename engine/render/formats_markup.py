"""The forms that go into pages: Markdown and HTML."""

from __future__ import annotations

import re

from imq.grammar.record import TYPE_CHECKING

from .text_table import clean
from .values import texts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from imq.engine.result import RowSet

    from .values import Manner

_MARKDOWN = r"[\\|`*\[\]<~]|(?<![^\W_])_|_(?![^\W_])|&(?=[#\w])"
"""What a page would take for markup in the middle of a line; an underscore within a word is none."""


def _tabulated(answer: RowSet, manner: Manner, form: str, escape: Callable[[str], str]) -> Iterator[str]:
    from tabulate import tabulate  # 70 ms

    titles = [escape(clean(heading.title)) for heading in answer.columns]
    rows = [list(map(escape, line)) for line in texts(answer, manner)]
    yield tabulate(rows, headers=titles, tablefmt=form, disable_numparse=True, preserve_whitespace=True) + "\n"


def as_markdown(answer: RowSet, manner: Manner) -> Iterator[str]:
    """Write a table for Markdown pages, as GitHub reads them; a cell shows its text and nothing else."""
    return _tabulated(answer, manner, "github", lambda cell: re.sub(_MARKDOWN, r"\\\g<0>", cell))


def as_html(answer: RowSet, manner: Manner) -> Iterator[str]:
    """Write an HTML table."""
    return _tabulated(answer, manner, "html", str)
