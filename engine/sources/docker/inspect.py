"""Inspected images and containers of engines, as JSON documents: `inspect`."""

from __future__ import annotations

from imq.engine.query.binder import require_where
from imq.engine.result import Documents, get_exit_code
from imq.engine.sources.action_options import bind_whole_rows, list_source_refs
from imq.grammar import ast
from imq.grammar.errors import ImqError, NotFound, StatementError
from imq.grammar.record import TYPE_CHECKING

from .image_documents import to_full_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    from imq.engine.sources.action import PlanContext

    from .reader import EngineReader

_PATHS = {"images": "images", "containers": "containers"}
"""The part of the API's path by table."""


def inspect(reader: EngineReader, act: ast.ActionStatement, context: PlanContext) -> Documents:
    """Return the engines' documents of the images that references name, or of the rows of a query.

    One that is not found does not stop the others. The error of the only reference is raised.
    """
    documents: list[dict[str, Any]] = []
    errors: list[ImqError] = []
    for sources, path in _list_paths(act, context):
        try:
            documents += _read(reader, sources, path)
        except ImqError as error:
            if len(act.references) == 1:
                raise
            errors.append(error)
    return Documents(tuple(documents), act.output, errors=tuple(errors), exit_code=get_exit_code(errors))


def _list_paths(act: ast.ActionStatement, context: PlanContext) -> Iterator[tuple[Sequence[str], str]]:
    """Yield the engines and the path of each document."""
    if act.query is None:
        sources = [ref.text for ref in list_source_refs(act, context)]
        yield from ((sources, f"images/{to_full_name(text)}/json") for text in context.literals(act.references))
        return
    select = bind_whole_rows(act, context)
    if select.table.name not in _PATHS:
        raise StatementError(
            f"inspect takes images and containers, not {select.table.name}", code="operand", span=act.query.span
        )
    require_where(act.query, act.verb)
    columns = tuple(ast.Column(ast.Field((name,))) for name in ("source", "id"))
    query = ast.Query("", base=act.query, select=columns, span=act.query.span)
    for source, id_ in dict.fromkeys(context.rows(query, ())[1]):
        yield (str(source),), f"{_PATHS[select.table.name]}/{id_}/json"


def _read(reader: EngineReader, sources: Sequence[str], path: str) -> list[dict[str, Any]]:
    """Return the document of each engine that has it. Raises `NotFound` when none does."""
    documents: list[dict[str, Any]] = []
    missing: NotFound | None = None
    for source in sources:
        try:
            documents.append(reader.client(source).get_json(path))
        except NotFound as error:
            missing = error
    if missing is not None and not documents:
        missing.hints = (f"searched in {', '.join(sources)}",)
        raise missing
    return documents
