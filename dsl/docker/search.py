"""The command `docker search`: the table `search`, with docker's filters, columns and formats."""

from __future__ import annotations

from imq.engine.render import docker as text
from imq.grammar import ast
from imq.grammar.errors import StatementError
from imq.grammar.record import TYPE_CHECKING

from .context import Handler
from .filters import search_conditions
from .list_images import WHOLE_ROW_TEMPLATES, write_rows

if TYPE_CHECKING:
    from .context import CommandContext, CompileContext
    from .flags import ParsedFlags

    Statements = tuple[ast.Statement, ...]

_DEFAULT_LIMIT = 25
_MAX_LIMIT = 100
_FIELDS = ("name", "description", "stars", "official", "automated")


def compile_search(parsed: ParsedFlags, _compile_context: CompileContext) -> Statements:
    """Return the query of `docker search`. `HOST/TERM` searches that registry."""
    term, registry = _split_registry(parsed.arguments[0])
    number = int(parsed.get_last("limit") or 0)
    if not 0 <= number <= _MAX_LIMIT:
        raise StatementError(f"Limit {number} is outside the range of [1, {_MAX_LIMIT}]", code="limit")
    query = ast.Query(
        "search",
        (ast.Literal(term),),
        (ast.Literal(registry),) if registry else (),
        where=search_conditions(parsed.get_all("filter")),
        limit=ast.Limit(ast.Literal(str(number or _DEFAULT_LIMIT))),
        select=tuple(ast.Column(ast.Field((name,))) for name in _FIELDS),
    )
    return (ast.QueryStatement(query),)


def _split_registry(term: str) -> tuple[str, str]:
    """Return the search term and the registry before it, "" for Docker Hub."""
    if "://" in term:
        raise StatementError(
            f"invalid repository name: repository name ({term}) should not have a scheme", code="operand"
        )
    head, slash, rest = term.partition("/")
    if slash and rest and (head == "localhost" or "." in head or ":" in head):
        return rest, "" if head in ("docker.io", "index.docker.io") else head
    return term, ""


def run_search(context: CommandContext, parsed: ParsedFlags, statements: Statements) -> int:
    """Write the results as docker lists them, by stars."""
    result = context.run_query(statements[0])
    format_ = parsed.get_last("format")
    format_ = "" if format_ == "table" else "json" if format_ in ("json", *WHOLE_ROW_TEMPLATES) else format_
    placeholders = text.SEARCH_JSON if format_ == "json" else text.SEARCH
    return write_rows(context, result, placeholders, format_, ["Name", "Description", "StarCount", "IsOfficial"])


SEARCH = Handler(compile_search, run_search)
