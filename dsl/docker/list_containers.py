"""The command `docker ps`: a query of containers, and docker's table of the rows."""

from __future__ import annotations

from imq.engine.render import docker as text
from imq.grammar import ast
from imq.grammar.errors import NotFound, StatementError
from imq.grammar.record import TYPE_CHECKING

from .container_filters import container_conditions, find_container
from .context import Handler
from .filters import join_conditions, split_filters
from .list_images import WHOLE_ROW_TEMPLATES, write_rows

if TYPE_CHECKING:
    from .context import CommandContext, CompileContext
    from .flags import ParsedFlags

    Statements = tuple[ast.Statement, ...]

_ACTIVE = ("running", "paused", "restarting")
_FIELDS = (
    "id", "image", "command", "created", "status", "started", "finished", "exit_code", "health", "ports", "name",
    "label", "mounts", "networks",
)  # fmt: skip
_KEYS = ("ID", "Image", "Command", "RunningFor", "Status", "Ports", "Names")


def _format_of(parsed: ParsedFlags) -> str:
    """Return docker's format: "" for the default table, `ids`, `json`, or a template."""
    source = parsed.get_last("format")
    if source in ("", "table"):
        return "ids" if parsed.is_on("quiet") else ""
    if source == "raw":
        whole = text.RAW_CONTAINER_SIZE_TEMPLATE if parsed.is_on("size") else text.RAW_CONTAINER_TEMPLATE
        return text.RAW_CONTAINER_QUIET_TEMPLATE if parsed.is_on("quiet") else whole
    return "json" if source in WHOLE_ROW_TEMPLATES else source


def _select(name: str, *, in_engine: bool) -> ast.Column:
    """Return the column of a field. Docker shows an image by its ID when its name has another image by now."""
    if name == "image" and in_engine:
        return ast.Column(ast.Field(("listed_image",)), "image")
    return ast.Column(ast.Field((name,)))


def compile_ps(parsed: ParsedFlags, compile_context: CompileContext) -> Statements:
    """Return the query of `docker ps`: the containers that run, the last created first."""
    in_engine = compile_context.in_engine
    filters, condition = container_conditions(parsed.get_all("filter"), in_engine=in_engine)
    count = "1" if parsed.is_on("latest") else parsed.get_last("last")
    if count and not count.lstrip("-").isdecimal():
        raise StatementError(f'invalid argument "{count}" for "-n, --last" flag', code="option")
    limit = ast.Limit(ast.Literal(count)) if count and int(count) > 0 else None
    shows_all = parsed.is_on("all") or limit is not None or "status" in filters
    active = None if shows_all else ast.In(ast.Field(("status",)), tuple(map(ast.Literal, _ACTIVE)))
    format_ = _format_of(parsed)
    shows_all_fields = format_ == "json" and parsed.get_last("format") != "json"  # `json` alone needs -s, as in docker
    has_size = parsed.is_on("size") or ".Size" in format_ or shows_all_fields
    fields: tuple[str, ...] = ("id",) if format_ == "ids" else _FIELDS
    if has_size and format_ != "ids":
        fields += ("size_rw", "size_rootfs") if in_engine else ("size_rw",)
    order = (
        ast.Ordering(ast.Field(("position",))) if in_engine else ast.Ordering(ast.Field(("created",)), descending=True)
    )
    query = ast.Query(
        "containers",
        where=join_conditions([active, condition]),
        order=(order,),
        limit=limit,
        select=tuple(_select(name, in_engine=in_engine) for name in fields),
    )
    return (ast.QueryStatement(query),)


def run_ps(context: CommandContext, parsed: ParsedFlags, statements: Statements) -> int:
    """Write the containers as docker lists them. A container that is missing in before or since is an error."""
    filters = split_filters(parsed.get_all("filter"))
    for name in (*filters.get("before", ()), *filters.get("since", ())):
        if not context.query_rows(find_container(name)):
            return context.report_error(NotFound(f"no such container {name}", code="no-such-container"))
    keys = [*_KEYS, *(["Size"] if parsed.is_on("size") else [])]
    return write_rows(context, context.run_query(statements[0]), text.CONTAINERS, _format_of(parsed), keys)


CONTAINERS = Handler(compile_ps, run_ps)
