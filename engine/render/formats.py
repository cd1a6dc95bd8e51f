"""The output formats: one function each, and the table of their names.

A format yields output as rows arrive. A format that aligns cells holds all rows first.

The names of formats are words of the language, which every statement and page of help needs. What a format writes with
is imported by its function.
"""

from __future__ import annotations

from imq.grammar.errors import StatementError, closest_hint
from imq.grammar.record import TYPE_CHECKING, Record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from imq.engine.catalog.schema import DataType
    from imq.engine.result import Column, Documents, RowSet
    from imq.grammar.ast import Output

    from .values import DisplayOptions

__all__ = [
    "FORMATS",
    "OutputFormat",
    "get_format",
    "resolve_docker_format",
    "write_documents",
    "write_rows",
]


class OutputFormat(Record):
    """One output format.

    `shows_all_fields`: without `select` a query has every field, not the default columns. `is_for_programs`: outcomes
    of actions have every column, also those that are empty in all rows. `more_fields` are fields that it needs of those
    that only requests show (see `Field.on_request`).
    """

    name: str
    doc: str
    write: Callable[[RowSet, DisplayOptions], Iterator[str]]
    shows_all_fields: bool = False
    more_fields: tuple[str, ...] = ()
    is_for_programs: bool = False


_OUTCOMES = "outcomes"
"""The table of plans and their results, whose targets are never cut: a person confirms them."""
_OMITTED = ("because", "created", "image")
"""Columns of a plan that a narrow terminal omits, the first one first; the last one when all images have names."""
_READABLE_WIDTH = 16
"""The width in columns to which a reason may be cut."""
_DIGEST_IN_NAME = r"(@sha256:[0-9a-f]{12})[0-9a-f]{52}$"


def write_table(row_set: RowSet, options: DisplayOptions) -> Iterator[str]:
    """Yield aligned columns, as docker prints them.

    On a terminal long cells are cut to its width. Where that is not enough, or when it is requested, rows are records.
    """
    from .text_table import MIN_COLUMN_WIDTH, MIN_CUT_WIDTH, align_columns, fit_columns, replace_controls
    from .values import format_rows, format_value

    if row_set.single:
        for row in row_set.rows:
            yield f"{format_value(row_set.columns[0].type, row[0], options)}\n"
        return
    titles = [replace_controls(column.title) for column in row_set.columns]
    if options.expanded == "on":
        yield from write_record(row_set, options)
        return
    if options.width is None:
        yield from align_columns([titles, *format_rows(row_set, options)], MIN_COLUMN_WIDTH)
        return
    rows = list(row_set.rows)
    row_set = row_set.replace(rows=rows)
    is_outcome = row_set.table is not None and row_set.table.name == _OUTCOMES
    table = [titles, *format_rows(row_set, options.replace(width=None) if is_outcome else options)]
    if options.no_trunc:
        yield from align_columns(table, MIN_COLUMN_WIDTH)
        return
    if is_outcome:
        lines = _fit_outcomes(table, row_set.columns, options.width)
    else:
        smallest = [MIN_CUT_WIDTH if is_cuttable(column.type) else None for column in row_set.columns]
        lines = fit_columns(table, options.width, smallest, MIN_COLUMN_WIDTH)
    if lines is not None:
        yield from lines
    elif options.expanded == "auto" and rows:
        yield from write_record(row_set, options)
    else:
        yield from align_columns(table, MIN_COLUMN_WIDTH)


def _fit_outcomes(table: Sequence[Sequence[str]], columns: Sequence[Column], width: int) -> Iterator[str] | None:
    """Return the lines of a plan or its results that fit a terminal: the names of targets are whole.

    A digest in a name is as short as an ID. Columns that do not fit are omitted.
    """
    import re

    from .text_table import MIN_COLUMN_WIDTH, MIN_CUT_WIDTH, fit_columns

    names = [column.name for column in columns]
    target = names.index("target")
    table = [[*line[:target], re.sub(_DIGEST_IN_NAME, r"\1", line[target]), *line[target + 1 :]] for line in table]
    smallest = [
        None if column.name == "target" or not is_cuttable(column.type)
        else _READABLE_WIDTH if column.name == "because"
        else MIN_CUT_WIDTH
        for column in columns
    ]  # fmt: skip
    kept = list(range(len(names)))
    for omitted in (None, *_OMITTED):
        if omitted == "image" and any(line[target] == "<none>" for line in table):
            break
        kept = [position for position in kept if names[position] != omitted]
        lines = [[line[position] for position in kept] for line in table]
        if found := fit_columns(lines, width, [smallest[position] for position in kept], MIN_COLUMN_WIDTH):
            return found
    return None


def is_cuttable(data_type: DataType) -> bool:
    """Whether a cell of this type may be cut on a terminal: a number, a size or a time is never cut."""
    from imq.engine.catalog.schema import DataType

    kinds = (DataType.TEXT, DataType.REFERENCE, DataType.REPOSITORY, DataType.TAG, DataType.LIST, DataType.MAP)
    return data_type in kinds


def write_ids(row_set: RowSet, options: DisplayOptions) -> Iterator[str]:
    """Yield each id once, one a line. A row without an id is left out."""
    from .values import format_value

    names = [column.name for column in row_set.columns]
    index = next((names.index(name) for name in ("id", "image", "digest") if name in names), 0)
    seen: set[str] = set()
    for row in row_set.rows:
        cell = format_value(row_set.columns[index].type, row[index], options)
        if row[index] is not None and cell not in seen:
            seen.add(cell)
            yield cell + "\n"


def _from_module(module: str, function: str) -> Callable[[RowSet, DisplayOptions], Iterator[str]]:
    """Return a writer whose module is imported when it is first called: a statement uses one format."""

    def write(row_set: RowSet, options: DisplayOptions) -> Iterator[str]:
        """Yield a result in this format."""
        writer = getattr(__import__(f"imq.engine.render.{module}", fromlist=[function]), function)
        rows: Iterator[str] = writer(row_set, options)
        return rows

    return write


_SBOM_FIELDS = ("image_digest", "image_created", "image_platform")
write_record = _from_module("format_record", "write_record")

FORMATS: dict[str, OutputFormat] = {
    output_format.name: output_format
    for output_format in (
        OutputFormat("table", "aligned columns, as docker prints them; the default", write_table),
        OutputFormat(
            "json", "one JSON array of objects", _from_module("formats_data", "write_json"), is_for_programs=True
        ),
        OutputFormat(
            "jsonl", "one JSON object a line", _from_module("formats_data", "write_jsonl"), is_for_programs=True
        ),
        OutputFormat(
            "ansible",
            "one JSON object for Ansible: changed, failed, msg and results",
            _from_module("formats_data", "write_ansible"),
            is_for_programs=True,
        ),
        OutputFormat(
            "yaml", "one YAML sequence of mappings", _from_module("formats_data", "write_yaml"), is_for_programs=True
        ),
        OutputFormat(
            "csv", "comma-separated values; --spreadsheet escapes formulas", _from_module("formats_data", "write_csv")
        ),
        OutputFormat(
            "tsv", "tab-separated values; --spreadsheet escapes formulas", _from_module("formats_data", "write_tsv")
        ),
        OutputFormat("markdown", "a Markdown table", _from_module("formats_markup", "write_markdown")),
        OutputFormat("html", "a web page with a table that sorts", _from_module("formats_markup", "write_html")),
        OutputFormat(
            "cyclonedx",
            "a bill of materials in CycloneDX 1.6 (JSON), of packages",
            _from_module("formats_sbom", "write_cyclonedx"),
            shows_all_fields=True,
            more_fields=_SBOM_FIELDS,
            is_for_programs=True,
        ),
        OutputFormat(
            "spdx",
            "a bill of materials in SPDX 2.3 (JSON), of packages",
            _from_module("formats_sbom", "write_spdx"),
            shows_all_fields=True,
            more_fields=_SBOM_FIELDS,
            is_for_programs=True,
        ),
        OutputFormat(
            "tree",
            "a tree: images by their bases, other rows by the leading columns",
            _from_module("format_tree", "write_tree"),
        ),
        OutputFormat(
            "dot",
            "a graph for Graphviz: images and their bases, other rows by the leading columns",
            _from_module("format_dot", "write_dot"),
        ),
        OutputFormat(
            "svg",
            "a picture of images and of the layers that they share, with bars of their bytes",
            _from_module("format_svg", "write_svg"),
        ),
        OutputFormat("record", "one line a field, with all of each value; also as vertical", write_record),
        OutputFormat("vertical", "the same as record", write_record),
        OutputFormat("ids", "only the ids, one a line", write_ids),
    )
}


def write_template(row_set: RowSet, options: DisplayOptions, source: str) -> Iterator[str]:
    """Yield each row, formatted with a Go template; `table …` aligns the columns under titles, as docker does."""
    from imq.engine.render.template.template import (  # loaded only for a template
        Template,
        expand_escapes,
        split_table_directive,
    )

    from .template_row import Row
    from .text_table import MIN_COLUMN_WIDTH, align_columns, replace_controls

    is_table, body = split_table_directive(source)
    template = Template.parse(expand_escapes(body))
    rows = (template.render(Row(row_set.columns, row, row_set.table, options)) for row in row_set.rows)
    if not is_table:
        for row in rows:
            yield row + "\n"
        return

    def title(path: tuple[str, ...]) -> str:
        matched = next((h for h in row_set.columns if h.name.lower() == path[0].lower()), None)
        return matched.title if matched and len(path) == 1 else _placeholder_title(path[-1])

    lines = [line.split("\t") for rendered in (template.render_heading(title), *rows) for line in rendered.split("\n")]
    column_count = max(map(len, lines))
    yield from align_columns(
        [[*map(replace_controls, line), *[""] * (column_count - len(line))] for line in lines], MIN_COLUMN_WIDTH
    )


def _placeholder_title(name: str) -> str:
    """Return docker's column title of a placeholder: `CreatedSince` is CREATED, `ID` is IMAGE ID."""
    titles = {"id": "IMAGE ID", "createdsince": "CREATED", "createdat": "CREATED AT", "virtualsize": "SIZE"}
    return titles.get(name.lower(), name.upper().replace("_", " "))


_DOCKER_FORMATS = {"json": "jsonl", "table": "table"}
"""Formats that docker writes in place of a template. Docker's `json` is one object a line."""


def resolve_docker_format(output: Output) -> Output:
    """Return an output in which docker's `format json` and `format table` are formats, not templates."""
    name = _DOCKER_FORMATS.get((output.template or "").strip())
    return output if name is None else output.replace(format=name, template=None)


def write_rows(row_set: RowSet, options: DisplayOptions, default: str = "table") -> Iterator[str]:
    """Yield a result in its output format, or in the default format."""
    if row_set.output.template is not None:
        return write_template(row_set, options, row_set.output.template)
    return get_format(row_set.output.format or default).write(row_set, options)


def get_format(name: str) -> OutputFormat:
    """Return the format of a name. Raises for an unknown name, with a suggestion."""
    output_format = FORMATS.get(name.lower())
    if output_format is None:
        raise StatementError(
            f'unknown output format "{name}"',
            code="unknown-form",
            hints=(closest_hint(name, FORMATS), "formats: " + ", ".join(FORMATS)),
        )
    return output_format


def write_documents(row_set: Documents, default: str = "json") -> Iterator[str]:
    """Yield documents as a JSON array (as `docker inspect`), as JSON lines, as YAML, or with a template."""
    if row_set.output.template is not None:
        from imq.engine.render.template.template import Template

        from .docker_inspect import DocumentTemplate

        template = DocumentTemplate(Template.parse(row_set.output.template))
        for document in row_set.documents:
            yield template.render(document) + "\n"
        return
    from .formats_data import to_json

    output_format = get_format(row_set.output.format or default).name
    if output_format == "jsonl":
        for document in row_set.documents:
            yield to_json(document) + "\n"
    elif output_format in ("json", "table"):
        yield to_json(list(row_set.documents), indent=4) + "\n"
    elif output_format == "yaml":
        from .yaml_writer import write_yaml_sequence

        yield from write_yaml_sequence(row_set.documents)
    else:
        raise StatementError(
            f"documents cannot be written as {output_format}",
            code="unknown-form",
            hints=("formats: json, jsonl, yaml, format",),
        )
