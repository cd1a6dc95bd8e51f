"""`docker search`: the table `search`, with docker's filters, columns and texts."""

from __future__ import annotations

from imq.engine.render import docker as text
from imq.grammar import ast
from imq.grammar.errors import StatementError
from imq.grammar.record import TYPE_CHECKING

from .context import Work
from .filters import search_conditions
from .list_images import WHOLE_ROW, write_rows

if TYPE_CHECKING:
    from .context import Around, Desk
    from .flags import Given

    Statements = tuple[ast.Statement, ...]

_USUAL = 25
_MOST = 100
_FIELDS = ("name", "description", "stars", "official", "automated")


def compile_search(given: Given, _around: Around) -> Statements:
    """Return the question that `docker search` asks: `HOST/TERM` is searched in that registry."""
    term, registry = _parted(given.arguments[0])
    number = int(given.last("limit") or 0)
    if not 0 <= number <= _MOST:
        raise StatementError(f"Limit {number} is outside the range of [1, {_MOST}]", code="option")
    query = ast.Query(
        "search",
        (ast.Literal(term),),
        (ast.Literal(registry),) if registry else (),
        where=search_conditions(given.all("filter")),
        limit=ast.Limit(ast.Literal(str(number or _USUAL))),
        select=tuple(ast.Column(ast.Field((name,))) for name in _FIELDS),
    )
    return (ast.QueryStatement(query),)


def _parted(term: str) -> tuple[str, str]:
    """Return the words to search for and the registry before them, an empty text for Docker Hub."""
    if "://" in term:
        raise StatementError(
            f"invalid repository name: repository name ({term}) should not have a scheme", code="operand"
        )
    head, slash, rest = term.partition("/")
    if slash and rest and (head == "localhost" or "." in head or ":" in head):
        return rest, "" if head in ("docker.io", "index.docker.io") else head
    return term, ""


def answer_search(desk: Desk, given: Given, statements: Statements) -> int:
    """Write what was found as docker lists it, by stars."""
    answer = desk.answer(statements[0])
    shown = given.last("format")
    shown = "" if shown == "table" else "json" if shown in ("json", *WHOLE_ROW) else shown
    places = text.SEARCH_JSON if shown == "json" else text.SEARCH
    return write_rows(desk, answer, places, shown, ["Name", "Description", "StarCount", "IsOfficial"])


WORK = {"search": Work(compile_search, answer_search)}
