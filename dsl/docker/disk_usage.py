"""The command `docker system df`: queries, and docker's tables of the rows."""

from __future__ import annotations

from imq.engine.render import docker as text
from imq.engine.render.values import FORMATTERS
from imq.engine.result import RowSet
from imq.grammar import ast
from imq.grammar.record import TYPE_CHECKING

from .context import Handler
from .list_images import WHOLE_ROW_TEMPLATES, write_rows

if TYPE_CHECKING:
    from .context import CommandContext, CompileContext
    from .flags import ParsedFlags

    Statements = tuple[ast.Statement, ...]

_IMAGE_FIELDS = ("repository", "tag", "id", "created", "size", "shared_size", "unique_size", "containers")
_CONTAINER_FIELDS = (
    "id", "command", "created", "status", "started", "finished", "exit_code", "health", "name", "mounts",
    "size_rw",
)  # fmt: skip
_CACHE_FIELDS = ("id", "type", "size", "created", "last_used", "usage_count", "in_use", "shared")
_VOLUME_FIELDS = ("name", "containers", "size")
_IMAGE_KEYS = ("Repository", "Tag", "ID", "CreatedSince", "Size", "SharedSize", "UniqueSize", "Containers")
_CONTAINER_KEYS = ("ID", "Image", "Command", "LocalVolumes", "Size", "RunningFor", "Status", "Names")
_VOLUME_KEYS = ("Name", "Links", "Size")
_CACHE_KEYS = ("ID", "CacheType", "Size", "CreatedSince", "LastUsedSince", "UsageCount", "Shared")


def compile_df(parsed: ParsedFlags, compile_context: CompileContext) -> Statements:
    """Return the query of `docker system df`; with -v, those of images, containers, and volumes or the build cache.

    Images have one row each, whatever their number of names.
    """
    if not parsed.is_on("verbose"):
        return (ast.QueryStatement(ast.Query("usage")),)
    one_per_id = ast.Limit(ast.Literal("1"), (ast.Field(("id",)),))
    images = ast.Query("images", limit=one_per_id, select=_select(*_IMAGE_FIELDS))
    if parsed.get_last("format"):
        return (ast.QueryStatement(images),)
    if compile_context.in_engine:
        image = ast.Column(ast.Field(("listed_image",)), "image")
        order = (ast.Ordering(ast.Field(("position",))),)
        containers = ast.Query("containers", order=order, select=(image, *_select(*_CONTAINER_FIELDS)))
        others = ast.Query("build_cache", select=_select(*_CACHE_FIELDS))
    else:
        containers = ast.Query("containers", select=_select("image", *_CONTAINER_FIELDS))
        others = ast.Query("volumes", select=_select(*_VOLUME_FIELDS))
    return tuple(map(ast.QueryStatement, (images, containers, others)))


def _select(*names: str) -> tuple[ast.Column, ...]:
    return tuple(ast.Column(ast.Field((name,))) for name in names)


def run_df(context: CommandContext, parsed: ParsedFlags, statements: Statements) -> int:
    """Write the disk usage."""
    format_ = parsed.get_last("format")
    format_ = "" if format_ == "table" else "json" if format_ in WHOLE_ROW_TEMPLATES else format_
    if not parsed.is_on("verbose"):
        keys = ["Type", "TotalCount", "Active", "Size", "Reclaimable"]
        usage = _add_docker_types(context.run_query(statements[0]))
        return write_rows(context, usage, text.DISK_USAGE, format_, keys)
    images, *others = (context.run_query(statement) for statement in statements)  # all of them, before any output
    if format_:
        return write_rows(context, images, text.DISK_USAGE_IMAGES, format_, _IMAGE_KEYS)
    containers, last = others
    cache = RowSet((), ())
    context.write(("Images space usage:\n\n",))
    code = write_rows(context, images, text.DISK_USAGE_IMAGES, "", _IMAGE_KEYS)
    context.write(("\nContainers space usage:\n\n",))
    code = max(code, write_rows(context, containers, text.CONTAINERS, "", _CONTAINER_KEYS))
    if context.compile_context.in_engine:
        context.session.context.progress.note("volumes of an engine are not listed here: docker volume ls lists them")
        cache = last.replace(rows=list(last.rows))
    else:
        context.write(("\nLocal Volumes space usage:\n\n",))
        code = max(code, write_rows(context, last, text.VOLUMES, "", _VOLUME_KEYS))
    context.write((f"\nBuild cache usage: {_sum_own_sizes(cache, context)}\n\n",))
    return max(code, write_rows(context, cache, text.BUILD_CACHE, "", _CACHE_KEYS))


def _sum_own_sizes(cache: RowSet, context: CommandContext) -> str:
    """Return the bytes of the records that no image shares, as docker counts them."""
    names = [column.name for column in cache.columns]
    records = [dict(zip(names, row, strict=True)) for row in cache.rows]
    total = sum(int(one["size"] or 0) for one in records if not one["shared"])
    return str(FORMATTERS["size-4"](total, context.display_options))


def _add_docker_types(usage: RowSet) -> RowSet:
    """Return disk usage with the types of docker that the store does not have: volumes, and always a build cache."""
    rows = list(usage.rows)
    types = {row[0] for row in rows}
    absent = [name for name in ("Local Volumes", "Build Cache") if name not in types]
    last = "Containers" if "Local Volumes" in absent else "Local Volumes"
    at = next((number for number, row in enumerate(rows, 1) if row[0] == last), len(rows))
    empty = [(name, *[0] * (len(usage.columns) - 1)) for name in absent]
    return usage.replace(rows=[*rows[:at], *empty, *rows[at:]])


USAGE = Handler(compile_df, run_df)
