"""The commands `docker images` and `docker history`: queries, and docker's tables of the rows."""

from __future__ import annotations

from imq.engine.render import docker as text
from imq.grammar import ast
from imq.grammar.record import TYPE_CHECKING

from .context import Handler
from .filters import image_conditions

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from imq.engine.catalog.schema import Raw
    from imq.engine.render.docker import DockerRow, Placeholder
    from imq.engine.result import RowSet

    from .context import CommandContext, CompileContext
    from .flags import ParsedFlags

    Statements = tuple[ast.Statement, ...]

_TABLE = "table"
WHOLE_ROW_TEMPLATES = ("{{json .}}", "{{ json . }}")


def _columns(*names: str) -> tuple[ast.Column, ...]:
    return tuple(ast.Column(ast.Field((name,))) for name in names)


# images


def _image_format(parsed: ParsedFlags) -> str:
    """Return docker's format: "" for the default table, `ids`, `json`, or a template."""
    source, quiet, digests = parsed.get_last("format"), parsed.is_on("quiet"), parsed.is_on("digests")
    if source in ("", _TABLE):
        return "ids" if quiet else ""
    if source == "raw":
        return text.RAW_QUIET_TEMPLATE if quiet else text.RAW_DIGEST_TEMPLATE if digests else text.RAW_TEMPLATE
    if source in WHOLE_ROW_TEMPLATES:
        return "json"
    if source.startswith(_TABLE) and digests and ".Digest" not in source:
        return source + "\\t{{.Digest}}"
    return source


def compile_images(parsed: ParsedFlags, compile_context: CompileContext) -> Statements:
    """Return the query of `docker images`. The argument is one more pattern of the filter `reference`.

    With -a, an engine shows its intermediate images too.
    """
    filters = [*parsed.get_all("filter"), *(f"reference={name}" for name in parsed.arguments)]
    where = image_conditions(filters, compile_context.now, compile_context.zone)
    format_, output = _image_format(parsed), ast.Output()
    select: tuple[ast.Column, ...] = ()
    if format_ == "ids":
        select, output = _columns("id"), ast.Output(format="ids")
    elif format_ == "json":
        select = _columns("repository", "tag", "digest", "id", "created", "size")
        output = ast.Output(format="jsonl")
    elif format_:
        output = ast.Output(template=format_)
    elif parsed.is_on("digests"):
        select = _columns("repository", "tag", "digest", "id", "created", "size")
    query = ast.QueryStatement(ast.Query("images", where=where, select=select), output)
    if parsed.is_on("all") and compile_context.in_engine:
        return ast.Set("intermediate", ast.Literal("show")), query
    return (query,)


def run_images(context: CommandContext, parsed: ParsedFlags, statements: Statements) -> int:
    """Write the images as docker lists them."""
    *settings, query = statements
    for setting in settings:
        context.session.execute(setting)
    result = context.run_query(query)
    keys = ["Repository", "Tag", *(["Digest"] if parsed.is_on("digests") else []), "ID", "CreatedSince", "Size"]
    return write_rows(context, result, text.IMAGES, _image_format(parsed), keys)


def write_rows(
    context: CommandContext, result: RowSet, placeholders: Sequence[Placeholder], format_: str, keys: Sequence[str]
) -> int:
    """Write rows in a format, or as a table with these keys when the format is ""; return the exit code."""
    rows = text.make_docker_rows(result, placeholders, context.display_options)
    context.write(_render(rows, placeholders, format_, keys))
    return context.report_errors(result.errors)


def _render(
    rows: Iterable[DockerRow], placeholders: Sequence[Placeholder], format_: str, keys: Sequence[str]
) -> Iterator[str]:
    if not format_:
        return text.write_docker_table(rows, placeholders, keys)
    if format_ == "ids":
        return text.write_docker_template(rows, placeholders, "{{.ID}}")
    if format_ == "json":
        return text.write_docker_json(rows)
    return text.write_docker_template(rows, placeholders, format_)


# history


def compile_history(parsed: ParsedFlags, compile_context: CompileContext) -> Statements:
    """Return the query of `docker history`: the steps of one image, the last first.

    An engine knows the images of steps that it built itself.
    """
    quiet = parsed.is_on("quiet") and parsed.get_last("format") in ("", _TABLE)
    step = ast.Column(ast.Field(("step",)), "image") if compile_context.in_engine else ast.Column(ast.Field(("image",)))
    query = ast.Query(
        "history",
        (ast.Literal(parsed.arguments[0]),),
        order=(ast.Ordering(ast.Field(("index",)), descending=True),),
        select=(step,) if quiet else (step, *_columns("created", "created_by", "size", "comment")),
    )
    return (ast.QueryStatement(query),)


def run_history(context: CommandContext, parsed: ParsedFlags, statements: Statements) -> int:
    """Write the steps as docker lists them: the last has the image's ID, those without an image have `<missing>`."""
    result = context.run_query(statements[0])
    rows: Iterable[tuple[Raw, ...]] = result.rows
    if not context.session.is_of_engine:
        rows = (row if not index else (None, *row[1:]) for index, row in enumerate(rows))
    is_exact = not parsed.is_on("human", default=True)
    format_ = parsed.get_last("format")
    if format_ in ("", _TABLE):
        format_ = "ids" if parsed.is_on("quiet") else ""
    elif format_ in WHOLE_ROW_TEMPLATES:
        format_ = "json"
    placeholders = text.HISTORY_EXACT if is_exact else text.HISTORY
    keys = ["ID", "CreatedSince", "CreatedBy", "Size", "Comment"]
    return write_rows(context, result.replace(rows=rows), placeholders, format_, keys)


IMAGES = Handler(compile_images, run_images)
HISTORY = Handler(compile_history, run_history)
