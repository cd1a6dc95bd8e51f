"""The commands `docker images`, `docker history` and `docker system df`: queries, and docker's tables of the rows."""

from __future__ import annotations

from imq.engine.render import docker as text
from imq.grammar import ast
from imq.grammar.record import TYPE_CHECKING

from .context import Handler
from .filters import image_conditions

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

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
    """Return the query of `docker images`; the argument is one more pattern of `reference`."""
    filters = [*parsed.get_all("filter"), *(f"reference={name}" for name in parsed.arguments)]
    where = image_conditions(filters, compile_context.now, compile_context.zone)
    shown, output = _image_format(parsed), ast.Output()
    select: tuple[ast.Column, ...] = ()
    if shown == "ids":
        select, output = _columns("id"), ast.Output(format="ids")
    elif shown == "json":
        select = _columns("repository", "tag", "digest", "id", "created", "size")
        output = ast.Output(format="jsonl")
    elif shown:
        output = ast.Output(template=shown)
    elif parsed.is_on("digests"):
        select = _columns("repository", "tag", "digest", "id", "created", "size")
    return (ast.QueryStatement(ast.Query("images", where=where, select=select), output),)


def run_images(context: CommandContext, parsed: ParsedFlags, statements: Statements) -> int:
    """Write the images as docker lists them."""
    answer = context.run_query(statements[0])
    keys = ["Repository", "Tag", *(["Digest"] if parsed.is_on("digests") else []), "ID", "CreatedSince", "Size"]
    return write_rows(context, answer, text.IMAGES, _image_format(parsed), keys)


def write_rows(
    context: CommandContext, answer: RowSet, places: Sequence[Placeholder], shown: str, keys: Sequence[str]
) -> int:
    """Write rows in the format `shown`, "" for the table of these keys; return the exit code."""
    rows = text.make_docker_rows(answer, places, context.display_options)
    context.write(_render(rows, places, shown, keys))
    return context.report_errors(answer.errors)


def _render(rows: Iterable[DockerRow], places: Sequence[Placeholder], shown: str, keys: Sequence[str]) -> Iterator[str]:
    if not shown:
        return text.write_docker_table(rows, places, keys)
    if shown == "ids":
        return text.write_docker_template(rows, places, "{{.ID}}")
    return text.write_docker_json(rows) if shown == "json" else text.write_docker_template(rows, places, shown)


# history


def compile_history(parsed: ParsedFlags, _compile_context: CompileContext) -> Statements:
    """Return the query of `docker history`: the steps of one image, the last first."""
    quiet = parsed.is_on("quiet") and parsed.get_last("format") in ("", _TABLE)
    query = ast.Query(
        "history",
        (ast.Literal(parsed.arguments[0]),),
        order=(ast.Ordering(ast.Field(("index",)), descending=True),),
        select=_columns("image") if quiet else _columns("image", "created", "created_by", "size", "comment"),
    )
    return (ast.QueryStatement(query),)


def run_history(context: CommandContext, parsed: ParsedFlags, statements: Statements) -> int:
    """Write the steps as docker lists them: the image's id beside the last, `<missing>` beside the others."""
    answer = context.run_query(statements[0])
    rows = (row if not place else (None, *row[1:]) for place, row in enumerate(answer.rows))
    exact = not parsed.is_on("human", default=True)
    shown = parsed.get_last("format")
    if shown in ("", _TABLE):
        shown = "ids" if parsed.is_on("quiet") else ""
    elif shown in WHOLE_ROW_TEMPLATES:
        shown = "json"
    places = text.HISTORY_EXACT if exact else text.HISTORY
    return write_rows(
        context, answer.replace(rows=rows), places, shown, ["ID", "CreatedSince", "CreatedBy", "Size", "Comment"]
    )


# system df


def compile_df(parsed: ParsedFlags, _compile_context: CompileContext) -> Statements:
    """Return the query of `docker system df`; with -v that of the images, with one name each."""
    if not parsed.is_on("verbose"):
        return (ast.QueryStatement(ast.Query("usage")),)
    names = ("repository", "tag", "id", "created", "size", "shared_size", "unique_size", "containers")
    one = ast.Limit(ast.Literal("1"), (ast.Field(("id",)),))
    return (ast.QueryStatement(ast.Query("images", limit=one, select=_columns(*names))),)


def run_df(context: CommandContext, parsed: ParsedFlags, statements: Statements) -> int:
    """Write the disk usage."""
    answer = context.run_query(statements[0])
    shown = parsed.get_last("format")
    shown = "" if shown == _TABLE else "json" if shown in WHOLE_ROW_TEMPLATES else shown
    if not parsed.is_on("verbose"):
        return write_rows(
            context, answer, text.DISK_USAGE, shown, ["Type", "TotalCount", "Active", "Size", "Reclaimable"]
        )
    keys = ["Repository", "Tag", "ID", "CreatedSince", "Size", "SharedSize", "UniqueSize", "Containers"]
    if shown:
        return write_rows(context, answer, text.DISK_USAGE_IMAGES, shown, keys)
    context.write(("Images space usage:\n\n",))
    code = write_rows(context, answer, text.DISK_USAGE_IMAGES, shown, keys)
    context.write(_OTHER_USAGE)
    return code


_OTHER_USAGE = (
    """
Containers space usage:

CONTAINER ID   IMAGE     COMMAND   LOCAL VOLUMES   SIZE      CREATED   STATUS    NAMES

Local Volumes space usage:

VOLUME NAME   LINKS     SIZE

Build cache usage: 0B

CACHE ID   CACHE TYPE   SIZE      CREATED   LAST USED   USAGE     SHARED
""",
)
"""The rest of `docker system df -v`, for a store that has images only."""


IMAGES = Handler(compile_images, run_images)
HISTORY = Handler(compile_history, run_history)
USAGE = Handler(compile_df, run_df)
