"""The output forms: one function each, and the table that names them.

A form gets an answer and writes texts as the rows come; only where cells are aligned must it wait for the widest.
"""

from __future__ import annotations

from imq.grammar.errors import StatementError, nearest
from imq.grammar.record import TYPE_CHECKING, Record

from .format_tree import as_tree
from .formats_data import as_csv, as_json, as_jsonl, as_tsv, as_yaml, json_text
from .formats_markup import as_html, as_markdown
from .text_table import LEAST, clean, columns
from .values import text, texts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from imq.engine.result import Documents, RowSet
    from imq.grammar.ast import Output

    from .values import Manner

__all__ = ["FORMS", "Form", "called", "columns", "form_named", "write_answer", "write_documents"]


class Form(Record):
    """One output form. `whole` says that it shows every field when the query chose none."""

    name: str
    doc: str
    write: Callable[[RowSet, Manner], Iterator[str]]
    whole: bool = False


def as_table(answer: RowSet, manner: Manner) -> Iterator[str]:
    """Columns as docker prints them."""
    if answer.single:
        for row in answer.rows:
            yield f"{text(answer.columns[0].kind, row[0], manner)}\n"
        return
    yield from columns([[clean(heading.title) for heading in answer.columns], *texts(answer, manner)], LEAST)


def as_ids(answer: RowSet, manner: Manner) -> Iterator[str]:
    """Write the id of each row, one a line, each once; a row without one is left out."""
    names = [heading.name for heading in answer.columns]
    place = next((names.index(name) for name in ("id", "image", "digest") if name in names), 0)
    seen: set[str] = set()
    for row in answer.rows:
        shown = text(answer.columns[place].kind, row[place], manner)
        if row[place] is not None and shown not in seen:
            seen.add(shown)
            yield shown + "\n"


FORMS: dict[str, Form] = {
    form.name: form
    for form in (
        Form("table", "columns as docker prints them; the default", as_table),
        Form("json", "one array of objects", as_json, whole=True),
        Form("jsonl", "one object a line", as_jsonl, whole=True),
        Form("yaml", "one sequence of mappings", as_yaml, whole=True),
        Form("csv", "comma-separated values; --spreadsheet keeps formulas out", as_csv),
        Form("tsv", "tab-separated values; --spreadsheet keeps formulas out", as_tsv),
        Form("markdown", "a Markdown table", as_markdown),
        Form("html", "an HTML table", as_html),
        Form("tree", "rows under what they begin with", as_tree),
        Form("ids", "the ids alone, one a line", as_ids),
    )
}


def as_template(answer: RowSet, manner: Manner, source: str) -> Iterator[str]:
    """Write each row through a Go template; `table …` aligns its columns under a heading, as docker does."""
    from imq.engine.render.template.template import (  # a language of its own, loaded when one is written
        Template,
        expand_escapes,
        split_table,
    )

    from .template_row import Row

    tabular, body = split_table(source)
    template = Template.parse(expand_escapes(body))
    rows = (template.render(Row(answer.columns, row, answer.table, manner)) for row in answer.rows)
    if not tabular:
        for row in rows:
            yield row + "\n"
        return

    def title(path: tuple[str, ...]) -> str:
        named = next((h for h in answer.columns if h.name.lower() == path[0].lower()), None)
        return named.title if named and len(path) == 1 else _title(path[-1])

    lines = [line.split("\t") for text_ in (template.headers(title), *rows) for line in text_.split("\n")]
    most = max(map(len, lines))
    yield from columns([[*map(clean, line), *[""] * (most - len(line))] for line in lines], LEAST)


def _title(name: str) -> str:
    """Return docker's heading for a placeholder: `CreatedSince` is CREATED, `ID` is IMAGE ID."""
    known = {"id": "IMAGE ID", "createdsince": "CREATED", "createdat": "CREATED AT", "virtualsize": "SIZE"}
    return known.get(name.lower(), name.upper().replace("_", " "))


_CALLED = {"json": "jsonl", "table": "table"}
"""Forms that docker calls as if they were templates, and what they are here: of `json` an object a line."""


def called(output: Output) -> Output:
    """Return what is asked for, with the form itself where docker's name of one stands like a template."""
    name = _CALLED.get((output.template or "").strip())
    return output if name is None else output.replace(form=name, template=None)


def write_answer(answer: RowSet, manner: Manner, default: str = "table") -> Iterator[str]:
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
    """Yield documents as one JSON array (`docker inspect` does so), a line each, as YAML, or through a template."""
    if answer.output.template is not None:
        from imq.engine.render.template.template import Template

        from .docker_inspect import DocumentTemplate

        template = DocumentTemplate(Template.parse(answer.output.template))
        for document in answer.documents:
            yield template.render(document) + "\n"
        return
    form = form_named(answer.output.form or default).name
    if form == "jsonl":
        for document in answer.documents:
            yield json_text(document) + "\n"
    elif form in ("json", "table"):
        yield json_text(list(answer.documents), indent=4) + "\n"
    elif form == "yaml":
        from .yaml_writer import yaml_sequence

        yield from yaml_sequence(answer.documents)
    else:
        raise StatementError(
            f"a document cannot be shown as {form}", code="unknown-form", hints=("forms: json, jsonl, yaml, format",)
        )
