"""The output format `html`: a page with one table. Cells have their values for programs in attributes."""

from __future__ import annotations

from html import escape

from imq.engine.catalog.json_values import to_json_value
from imq.grammar.record import TYPE_CHECKING

from .text_table import replace_controls
from .values import format_value

if TYPE_CHECKING:
    from collections.abc import Iterator

    from imq.engine.catalog.json_values import JsonValue
    from imq.engine.result import RowSet

    from .values import DisplayOptions

_STYLE = """\
:root { color-scheme: light dark; font: 14px/1.5 system-ui, sans-serif; }
body { margin: 1.5rem; }
table { border-collapse: collapse; }
th, td { padding: .25rem .75rem; text-align: left; vertical-align: top; border-bottom: 1px solid #8884; }
thead th { position: sticky; top: 0; background: Canvas; }
td.number { text-align: right; font-variant-numeric: tabular-nums; }
th button { all: unset; cursor: pointer; white-space: nowrap; font-weight: 600; }
th button:focus-visible { outline: 2px solid; }
th[aria-sort=ascending] button::after { content: " \\25B2"; }
th[aria-sort=descending] button::after { content: " \\25BC"; }
"""
_SCRIPT = """\
addEventListener("DOMContentLoaded", () => {
  for (const button of document.querySelectorAll("th button")) button.addEventListener("click", () => {
    const th = button.parentElement, column = th.cellIndex, body = document.querySelector("tbody");
    const order = th.getAttribute("aria-sort") === "ascending" ? -1 : 1;
    const compare = (a, b) => {
      const [x, y] = [a, b].map(row => row.cells[column].dataset.value);
      if (x === undefined || y === undefined) return (x === undefined) - (y === undefined);
      const isNumber = a.cells[column].className === "number";
      return order * (isNumber ? x - y : x.localeCompare(y, "en", { numeric: true }));
    };
    body.append(...Array.from(body.rows).sort(compare));
    for (const other of th.parentElement.cells) other.setAttribute("aria-sort", "none");
    th.setAttribute("aria-sort", order > 0 ? "ascending" : "descending");
  });
});
"""


def write_page(row_set: RowSet, options: DisplayOptions) -> Iterator[str]:
    """Yield a page, each row as it arrives. A click on a title sorts; unknown values are last in both directions."""
    title = row_set.table.name if row_set.table is not None else "imq"
    yield (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{escape(title)}</title>\n'
        f"<style>\n{_STYLE}</style>\n<script>\n{_SCRIPT}</script>\n</head>\n<body>\n"
    )
    yield from write_table(row_set, options)
    yield "</body>\n</html>\n"


def write_table(row_set: RowSet, options: DisplayOptions) -> Iterator[str]:
    """Yield the table alone, for a page of another program.

    `data-value` is the value in JSON, a string without quotes: bytes, a time in RFC 3339, a whole digest. A cell with
    an unknown value has no such attribute.
    """
    columns = row_set.columns
    titles = "".join(
        f'<th scope="col" aria-sort="none" data-name="{escape(replace_controls(column.name))}">'
        f"<button>{escape(replace_controls(column.title))}</button></th>"
        for column in columns
    )
    yield f"<table>\n<thead><tr>{titles}</tr></thead>\n<tbody>\n"
    for row in row_set.rows:
        cells = (
            _format_cell(format_value(column.type, raw, options), to_json_value(column.type, raw))
            for column, raw in zip(columns, row, strict=True)
        )
        yield f"<tr>{''.join(cells)}</tr>\n"
    yield "</tbody>\n</table>\n"


def _format_cell(text: str, value: JsonValue) -> str:
    if value is None:
        return f"<td>{escape(text)}</td>"
    from .formats_data import to_json

    kind = ' class="number"' if isinstance(value, int | float) and not isinstance(value, bool) else ""
    raw = replace_controls(value) if isinstance(value, str) else to_json(value)
    return f'<td{kind} data-value="{escape(raw)}">{escape(text)}</td>'
