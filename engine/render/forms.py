"""The output forms: one function each, and the table that names them.

A form gets an answer and writes texts as the rows come; only a table must wait for its widest cell.
"""

from __future__ import annotations

import json

from imq.grammar.errors import StatementError, nearest
from imq.grammar.record import TYPE_CHECKING, Record

from .cell import data, text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

    from imq.engine.result import Answer, Documents, Heading

    from .cell import Manner, Raw

GAP = "   "
"""What docker puts between columns."""


class Form(Record):
    """One output form. `whole` says that it shows every field when the query chose none."""

    name: str
    doc: str
    write: Callable[[Answer, Manner], Iterator[str]]
    whole: bool = False


def width(shown: str) -> int:
    """Return how many terminal columns a text takes: wide signs take two, combining ones none."""
    if shown.isascii():
        return len(shown)
    from unicodedata import combining, east_asian_width

    return sum(0 if combining(sign) else 2 if east_asian_width(sign) in "WF" else 1 for sign in shown)


def columns(lines: Iterable[list[str]]) -> Iterator[str]:
    """Yield the lines of a table whose columns are as wide as their widest cell; no blanks at the end of a line."""
    table = list(lines)
    if not table:
        return
    widths = [max(map(width, column)) for column in zip(*table, strict=True)]
    for line in table:
        cells = [cell + " " * (wide - width(cell)) for cell, wide in zip(line, widths, strict=True)]
        yield GAP.join(cells).rstrip() + "\n"


def _texts(answer: Answer, manner: Manner) -> Iterator[list[str]]:
    kinds = [heading.kind for heading in answer.headings]
    for row in answer.rows:
        yield [text(kind, raw, manner) for kind, raw in zip(kinds, row, strict=True)]


def _objects(answer: Answer) -> Iterator[dict[str, Any]]:
    for row in answer.rows:
        yield _object(answer.headings, row)


def _object(headings: tuple[Heading, ...], row: tuple[Raw, ...]) -> dict[str, Any]:
    return {heading.name: data(heading.kind, raw) for heading, raw in zip(headings, row, strict=True)}


def _json_text(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def as_table(answer: Answer, manner: Manner) -> Iterator[str]:
    """Columns as docker prints them."""
    if answer.single:
        for row in answer.rows:
            yield f"{text(answer.headings[0].kind, row[0], manner)}\n"
        return
    yield from columns([[heading.title for heading in answer.headings], *_texts(answer, manner)])


def as_json(answer: Answer, _manner: Manner) -> Iterator[str]:
    """One JSON array of objects."""
    opened = False
    for row in _objects(answer):
        yield ("," if opened else "[") + "\n  " + _json_text(row)
        opened = True
    yield "\n]\n" if opened else "[]\n"


def as_jsonl(answer: Answer, _manner: Manner) -> Iterator[str]:
    """One JSON object a line."""
    for row in _objects(answer):
        yield _json_text(row) + "\n"


def _plain(value: object) -> str:
    """Return a data value as one cell of CSV and its like."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return _json_text(value) if isinstance(value, list | dict) else str(value)


def _separated(answer: Answer, delimiter: str) -> Iterator[str]:
    import csv
    from io import StringIO

    out = StringIO()
    writer = csv.writer(out, delimiter=delimiter, lineterminator="\n")
    writer.writerow([heading.name for heading in answer.headings])
    for row in _objects(answer):
        writer.writerow([_plain(value) for value in row.values()])
        yield out.getvalue()
        out.seek(0)
        out.truncate()
    yield out.getvalue()


def as_csv(answer: Answer, _manner: Manner) -> Iterator[str]:
    """Comma-separated values, with a heading line."""
    return _separated(answer, ",")


def as_tsv(answer: Answer, _manner: Manner) -> Iterator[str]:
    """Tab-separated values, with a heading line."""
    return _separated(answer, "\t")


def _tabulated(answer: Answer, manner: Manner, form: str, bar: str = "|") -> Iterator[str]:
    from tabulate import tabulate  # 70 ms

    lines = [[heading.title for heading in answer.headings], *_texts(answer, manner)]
    titles, *rows = [[cell.replace("|", bar) for cell in line] for line in lines]
    yield tabulate(rows, headers=titles, tablefmt=form, disable_numparse=True, preserve_whitespace=True) + "\n"


def as_markdown(answer: Answer, manner: Manner) -> Iterator[str]:
    """Write a table for Markdown pages."""
    return _tabulated(answer, manner, "github", bar="\\|")


def as_html(answer: Answer, manner: Manner) -> Iterator[str]:
    """Write an HTML table."""
    return _tabulated(answer, manner, "html")


def as_ids(answer: Answer, manner: Manner) -> Iterator[str]:
    """Write the id of each row, one a line, each once."""
    names = [heading.name for heading in answer.headings]
    place = next((names.index(name) for name in ("id", "image", "digest") if name in names), 0)
    seen: set[str] = set()
    for row in answer.rows:
        shown = text(answer.headings[place].kind, row[place], manner)
        if shown not in seen:
            seen.add(shown)
            yield shown + "\n"


FORMS: dict[str, Form] = {
    form.name: form
    for form in (
        Form("table", "columns as docker prints them; the default", as_table),
        Form("json", "one array of objects", as_json, whole=True),
        Form("jsonl", "one object a line", as_jsonl, whole=True),
        Form("csv", "comma-separated values", as_csv),
        Form("tsv", "tab-separated values", as_tsv),
        Form("markdown", "a Markdown table", as_markdown),
        Form("html", "an HTML table", as_html),
        Form("ids", "the ids alone, one a line", as_ids),
    )
}


def as_template(answer: Answer, manner: Manner, source: str) -> Iterator[str]:
    """Write each row through a Go template; `table …` aligns its columns under a heading, as docker does."""
    from .row import Row
    from .template import Template, expand_escapes, split_table  # a language of its own, loaded when one is written

    tabular, body = split_table(source)
    template = Template.parse(expand_escapes(body))
    rows = (template.render(Row(answer.headings, row, answer.table, manner)) for row in answer.rows)
    if not tabular:
        for row in rows:
            yield row + "\n"
        return

    def title(path: tuple[str, ...]) -> str:
        named = next((h for h in answer.headings if h.name.lower() == path[0].lower()), None)
        return named.title if named and len(path) == 1 else _title(path[-1])

    lines = [line.split("\t") for text_ in (template.headers(title), *rows) for line in text_.split("\n")]
    most = max(map(len, lines))
    yield from columns([line + [""] * (most - len(line)) for line in lines])


def _title(name: str) -> str:
    """Return docker's heading for a placeholder: `CreatedSince` is CREATED, `ID` is IMAGE ID."""
    known = {"id": "IMAGE ID", "createdsince": "CREATED", "createdat": "CREATED AT", "virtualsize": "SIZE"}
    return known.get(name.lower(), name.upper().replace("_", " "))


def write_answer(answer: Answer, manner: Manner, default: str = "table") -> Iterator[str]:
    """Yield the texts of an answer in the form that it asks for, else in the default form."""
    if answer.output.template is not None:
        return as_template(answer, manner, answer.output.template)
    return form_named(answer.output.form or default).write(answer, manner)


def form_named(name: str) -> Form:
    """Return the form of this name, or raise naming the nearest."""
    form = FORMS.get(name.lower())
    if form is None:
        raise StatementError(
            f'there is no output form "{name}"',
            code="unknown-form",
            hints=(nearest(name, FORMS), "forms: " + ", ".join(FORMS)),
        )
    return form


def write_documents(answer: Documents, default: str = "json") -> Iterator[str]:
    """Yield documents as one JSON array (as `docker inspect` does), a line each, or each through a template."""
    if answer.output.template is not None:
        from .template import Template

        template = Template.parse(answer.output.template)
        for document in answer.documents:
            yield template.render(document) + "\n"
    elif (answer.output.form or default) == "jsonl":
        for document in answer.documents:
            yield _json_text(document) + "\n"
    elif (answer.output.form or default) in ("json", "table"):
        yield json.dumps(list(answer.documents), indent=4, ensure_ascii=False) + "\n"
    else:
        raise StatementError(
            f"a document cannot be shown as {answer.output.form or default}",
            code="unknown-form",
            hints=("forms: json, jsonl, format",),
        )
