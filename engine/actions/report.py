"""The verb `report`: writes rows to files in an output format."""

from __future__ import annotations

import os

from imq.engine.catalog.schema import DataType
from imq.engine.result import Column, RowSet
from imq.engine.sources.action import Outcome, Skip
from imq.engine.sources.action_options import get_option, get_option_values
from imq.engine.sources.row_templates import is_template
from imq.grammar import ast
from imq.grammar.errors import StatementError
from imq.grammar.record import TYPE_CHECKING

from .output_file import FileAction, open_output_file
from .output_paths import check_paths, join_path, skips_existing
from .verb import OperandKind, Verb

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from imq.engine.catalog.schema import Raw, Table
    from imq.engine.sources.action import Action, ExecutionContext, PlanContext

    Row = tuple[Raw, ...]

_EXTENSIONS = {
    ".json": "json", ".jsonl": "jsonl", ".yaml": "yaml", ".yml": "yaml", ".csv": "csv", ".tsv": "tsv",
    ".md": "markdown", ".html": "html", ".dot": "dot", ".gv": "dot", ".svg": "svg",
}  # fmt: skip
"""The formats of files without `as`, by the end of their path. All others have the table."""


class Report(FileAction):
    """Write rows to `path`. `table` is the table of whole rows; None for selected columns."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[Raw, ...], ...]
    table: Table | None
    output: ast.Output

    def describe(self) -> Outcome:
        """Return the path, with the number of rows."""
        count = f"{len(self.rows):,} row{'' if len(self.rows) == 1 else 's'}"
        return Outcome("report", self.path, note=f"{count}{self.describe_existing()}")

    def execute(self, context: ExecutionContext) -> Iterator[Outcome]:
        """Write the rows. The file appears when it is complete."""
        from imq.engine.render.formats import write_rows
        from imq.engine.render.values import DisplayOptions

        options = DisplayOptions(context.clock(), context.zone, no_trunc=True, version=context.version)
        rows = RowSet(self.columns, self.rows, self.output, self.table)
        with open_output_file(self, None) as target:
            for text in write_rows(rows, options):
                target.write(text.encode("utf-8", "surrogateescape"))
        yield self.describe().replace(size=target.size)


def _plan_report(act: ast.ActionStatement, context: PlanContext) -> list[Action]:
    from .image_report import is_image_report, plan_image_report

    to = get_option_values(act, "to", context)
    query = act.query
    if is_image_report(act, context):
        return plan_image_report(act, context)
    if (waste := get_option(act, "with waste") or get_option(act, "with no waste")) is not None:
        raise StatementError(
            f"{waste.name} is for reports of images to HTML files", code="option", span=waste.span, hints=(_PICTURES,)
        )
    if query is None or not to:
        raise StatementError(
            f"report needs {'a query' if query is None else 'a file to write'}",
            code="operand",
            span=act.span,
            hints=(f"example: {VERB.example}",),
        )
    _refuse_format(act, to[0])
    keeps = skips_existing(act)
    columns, width, table, rows = _select_rows(act, query, to[0], context)
    by_path = _group_rows(act, to[0], columns, rows, table, context)
    outputs = check_paths(act, to[0], by_path, context)
    force = get_option(act, "force") is not None
    actions: list[Action] = []
    for output, own in zip(outputs, by_path.values(), strict=True):
        if output.kind == "folder":
            raise StatementError(f"{output.path} is a folder, and report writes a file", code="path", span=act.span)
        if keeps and output.kind == "file":
            actions.append(Skip(output.path, None, "it exists already"))
            continue
        form = _choose_output(act.output, output.path)
        shown = tuple(row[:width] for row in own)
        actions.append(Report(output.path, output.kind, force, columns[:width], shown, table, form))
    return actions


def _refuse_format(act: ast.ActionStatement, path: str) -> None:
    """Raise `StatementError` for the name of an output format in place of a path: `images to csv`."""
    from imq.engine.render.formats import FORMATS

    if path in FORMATS and act.output.format is None and act.output.template is None:
        raise StatementError(
            f'"{path}" is an output format, and to takes a file',
            code="operand",
            span=act.span,
            hints=(f'for standard output: … as {path}; for a file of this name: to "./{path}"',),
        )


def _choose_output(output: ast.Output, path: str) -> ast.Output:
    """Return the output format of a file: that of the statement, or the one that its name tells."""
    if output.format is not None or output.template is not None:
        return output
    return ast.Output(_EXTENSIONS.get(os.path.splitext(path)[1].lower(), "table"))


def _select_rows(
    act: ast.ActionStatement, query: ast.RowSource, path: str, context: PlanContext
) -> tuple[tuple[Column, ...], int, Table | None, list[Row]]:
    """Return the columns, the number of those that are written, the table of whole rows, and the rows.

    The columns after those that are written are read by the template of the path.
    """
    from imq.engine.query.plan import list_columns
    from imq.engine.render.output_fields import list_output_fields
    from imq.engine.render.template.template import Template
    from imq.engine.render.template_row import resolve_template_fields

    select = context.bind(query)
    if not select.is_whole_rows:
        select, rows = context.rows(query, ())
        columns = (Column("count", "COUNT", DataType.NUMBER),) if select.count else list_columns(select)
        return columns, len(columns), None, rows
    table = select.table
    joins = frozenset(join.name for join in select.joins)
    shown = list_output_fields(_choose_output(act.output, path), table, joins, "table")
    if shown is None:
        shown = [table.get_field(name) for name in table.default_columns]
    read = resolve_template_fields(table, Template.parse(path).find_fields(), joins) if is_template(path) else []
    fields = [*shown, *(field for field in read if field not in shown)]
    if isinstance(query, ast.Combination):
        query = ast.Query("", base=query, span=query.span)
    narrowed = query.replace(select=tuple(ast.Column(ast.Field((field.name,))) for field in fields))
    select, rows = context.rows(narrowed, ())
    return list_columns(select), len(shown), table, rows


def _group_rows(
    act: ast.ActionStatement,
    path: str,
    columns: tuple[Column, ...],
    rows: Sequence[Row],
    table: Table | None,
    context: PlanContext,
) -> dict[str, list[Row]]:
    """Return the rows by the path of their file. Raises `StatementError` for bills of materials with one path."""
    if not is_template(path):
        return {path: list(rows)}
    from imq.engine.render.template.template import Template
    from imq.engine.render.template_row import Row as TemplateRow
    from imq.engine.render.values import DisplayOptions

    template, options = Template.parse(path), DisplayOptions(context.scope.now, context.scope.zone)
    by_path: dict[str, list[Row]] = {}
    for row in rows:
        pieces = template.render_pieces(TemplateRow(columns, row, table, options))
        by_path.setdefault(join_path(pieces, act), []).append(row)
    if act.output.format in _OF_IMAGES:
        _check_images(act, [column.name for column in columns], by_path)
    return by_path


_PICTURES = 'example: report of images where label.env = prod to "report.html"'
_OF_IMAGES = ("cyclonedx", "spdx")
"""The formats whose documents describe images: a template writes one for each image."""


def _check_images(act: ast.ActionStatement, names: Sequence[str], by_path: dict[str, list[Row]]) -> None:
    if "image" not in names:
        return
    at = names.index("image")
    for path, rows in by_path.items():
        images = dict.fromkeys(row[at] for row in rows)
        first, *others = images
        if others:
            option = get_option(act, "to")
            raise StatementError(
                f"{path} is the path of {len(others) + 1} images: {first}, {others[0]}{' …' if others[1:] else ''}",
                code="path",
                span=option.span if option is not None else act.span,
                hints=("a path of each image has its ID: {{.Image}}",),
            )


VERB = Verb(
    "report",
    'Write rows to a file: packages of app:1 as spdx to "app.json" is short for it. With a template as the path, the'
    " rows with the same path are written to one file; as cyclonedx and as spdx, each image has its own. Without as,"
    " the extension of the path is the format: .json, .jsonl, .yaml, .csv, .tsv, .md, .html, .dot or .svg. Images in an"
    " .html file are a page with pictures, which loads nothing: layers by bytes and by what is shared, lineage, sizes"
    " of repositories, ages, duplicates and waste, each with its statement, and a table that sorts and filters;"
    " without a query it has all images of the source. Waste is found by reading layers: those of the store, and of"
    " other sources with waste; with no waste skips it. A file appears when it is complete. An existing file is"
    " replaced with force or after confirmation; skip existing leaves it unchanged.",
    'report of images where label.env = prod to "report.html"',
    OperandKind.ROWS,
    options=("to", "force", "skip existing", "with waste", "with no waste", "dry run"),
    operand_optional=True,
    path_options=("to",),
    formats_files=True,
    plan=_plan_report,
)
