"""Docker's commands for volumes: `volume ls`, `volume rm` and `volume prune`."""

from __future__ import annotations

from imq.engine.render import docker as text
from imq.grammar import ast
from imq.grammar.errors import StatementError
from imq.grammar.record import TYPE_CHECKING

from .context import Handler
from .filters import join_conditions, parse_boolean, require_any, split_filters
from .list_images import WHOLE_ROW_TEMPLATES, write_rows
from .options import literals

if TYPE_CHECKING:
    from .context import CommandContext, CompileContext
    from .flags import ParsedFlags

    Statements = tuple[ast.Statement, ...]

_VOLUME = "volume"
_FIELDS = ("name", "path")
_NAMELESS = "^[0-9a-f]{64}$"
"""The names that engines give to volumes without one."""


def compile_ls(parsed: ParsedFlags, _compile_context: CompileContext) -> Statements:
    """Return the query of `docker volume ls`. Raises `StatementError` for an unknown filter."""
    conditions: list[ast.Expr] = []
    for name, values in split_filters(parsed.get_all("filter")).items():
        if name == "dangling":
            in_use = ast.Field(("in_use",))
            conditions.append(ast.Not(in_use) if parse_boolean(name, values) else in_use)
        elif name == "name":
            conditions.append(require_any([_match_name(value) for value in values]))
        else:
            raise StatementError(
                f"invalid filter '{name}'", code="filter", hints=("filters of volumes: dangling, name",)
            )
    columns = tuple(ast.Column(ast.Field((name,))) for name in _FIELDS)
    return (ast.QueryStatement(ast.Query("volumes", where=join_conditions(conditions), select=columns)),)


def _match_name(part: str) -> ast.Expr:
    return ast.Comparison("like", ast.Field(("name",)), ast.Literal(f"*{part}*", quoted=True))


def run_ls(context: CommandContext, parsed: ParsedFlags, statements: Statements) -> int:
    """Write the volumes as docker lists them."""
    format_ = parsed.get_last("format")
    if format_ in ("", "table"):
        format_ = "{{.Name}}" if parsed.is_on("quiet") else ""
    format_ = "json" if format_ in WHOLE_ROW_TEMPLATES else format_
    return write_rows(context, context.run_query(statements[0]), text.VOLUMES, format_, ["Driver", "Name"])


def compile_rm(parsed: ParsedFlags, _compile_context: CompileContext) -> Statements:
    """Return the statement that removes these volumes."""
    return (ast.ActionStatement("rm", (ast.Literal(_VOLUME), *literals(parsed.arguments))),)


def run_rm(context: CommandContext, parsed: ParsedFlags, statements: Statements) -> int:
    """Remove the volumes without a prompt, and write their names. With -f, missing ones are no errors."""
    (act,) = statements
    assert isinstance(act, ast.ActionStatement)
    context.session.context = context.session.context.replace(confirm=None)  # docker does not prompt
    outcomes, errors = context.run_action(act)
    context.write(f"{outcome.target}\n" for outcome in outcomes if not outcome.error)
    if parsed.is_on("force"):
        errors = tuple(error for error in errors if error.code != "no-such-volume")
    return context.report_errors(errors)


def compile_prune(parsed: ParsedFlags, compile_context: CompileContext) -> Statements:
    """Return the statement of `docker volume prune`.

    In an engine it spares volumes that were given a name, unless -a is set. The store has no others.
    """
    where = None
    if compile_context.in_engine and not parsed.is_on("all"):
        where = ast.Comparison("matches", ast.Field(("name",)), ast.Literal(_NAMELESS, quoted=True))
    return (ast.ActionStatement("prune", query=ast.Query("volumes", where=where)),)


def run_prune(context: CommandContext, _parsed: ParsedFlags, statements: Statements) -> int:
    """Prompt unless -f is set, remove the unused volumes, and write their names and the reclaimed space."""
    (act,) = statements
    assert isinstance(act, ast.ActionStatement)
    if not context.confirm_removal("This will remove all volumes not used by at least one container."):
        return 0
    outcomes, errors = context.run_action(act)
    done = [outcome for outcome in outcomes if not outcome.error]
    if done:
        context.write(("Deleted Volumes:\n", *(f"{outcome.target}\n" for outcome in done), "\n"))
    context.write((text.format_reclaimed_space(sum(outcome.size or 0 for outcome in done)),))
    return context.report_errors(errors)


LIST = Handler(compile_ls, run_ls)
REMOVE = Handler(compile_rm, run_rm)
PRUNE = Handler(compile_prune, run_prune)
