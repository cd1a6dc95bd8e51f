"""Fields that a source cannot provide. Example: a registry has no information about containers.

A query treats such a field as unknown. A removal by such a field is refused: with `not` it would remove every row.
"""

from __future__ import annotations

from imq.engine.catalog.tables import CONTAINERS
from imq.grammar.errors import StatementError
from imq.grammar.record import TYPE_CHECKING

from . import ir

if TYPE_CHECKING:
    from collections.abc import Iterator

    from imq.engine.catalog.tables import Field, Table
    from imq.grammar.errors import Span

STORE_HAS_NO_CONTAINERS = (
    "no container runs from this store, so none of its images is in use; container engines are not checked"
)
_ANY_SOURCE = "this source"
_STORE = "the store"
_HINTS = (
    "omit this condition",
    'or list the images to keep: … where name not in (nonempty lines of "in-use.txt")',
)
_CONTAINER_HINTS = (
    "compare with the containers of an engine: … where digest not in (containers in docker select image_digest)",
    'or list the images to keep: … where name not in (nonempty lines of "in-use.txt")',
)


def make_unavailable_error(field: Field, table: Table, span: Span | None) -> StatementError:
    """Return the error for a field that the source of a table does not provide."""
    subject = "the use of images by containers" if field.about_containers else f'"{field.name}"'
    kind = table.source_kind or _ANY_SOURCE
    hints = _CONTAINER_HINTS if field.about_containers else _HINTS
    return StatementError(f"{subject} is unknown in {kind}", code="unseen", span=span, hints=hints)


def check_available(select: ir.Select, verb: str, span: Span | None) -> None:
    """Refuse a removal by a field that the source does not provide. Raises `StatementError` (`unseen`)."""
    for table, field in _walk_fields(select, columns=False):
        is_of_containers = field is None or field.about_containers
        if (is_of_containers and not table.has_containers) or (field is not None and field.is_unavailable):
            unavailable = field or CONTAINERS.fields[0].replace(about_containers=True)
            error = make_unavailable_error(unavailable, table if table.source_kind else select.table, span)
            error.message += f", so {verb} cannot use it"
            raise error


def check_known(select: ir.Select, verb: str, span: Span | None) -> None:
    """Refuse a removal by a field that its source, or that of a query inside it, does not provide.

    Unlike `check_available` this takes the use by containers where the source knows it, and for images of the store,
    where the session warns. Raises `StatementError` (`unseen`).
    """
    for table, field in _walk_fields(select, columns=False):
        is_of_containers = field is None or field.about_containers
        is_of_store = _knows_use(select.table) and not table.is_staged  # which knows no container of an engine
        misses_containers = is_of_containers and is_of_store and not table.has_containers
        if misses_containers or (field is not None and field.is_unavailable):
            unavailable = field or CONTAINERS.fields[0].replace(about_containers=True)
            error = make_unavailable_error(unavailable, table.replace(source_kind=table.source_kind or _STORE), span)
            error.message += f", so {verb} cannot use it"
            raise error


def _knows_use(table: Table) -> bool:
    """Whether a table of fetched rows tells which images containers use, for some of its sources at least."""
    use = table.find_field("in_use")
    return table.is_staged and (table.has_containers or (use is not None and not use.is_unavailable))


def list_unavailable_fields(select: ir.Select) -> tuple[tuple[str, str], ...]:
    """Return the fields that decide the rows of a query and that a source does not provide: the name, the source."""
    fields = [(table, field) for table, field in _walk_fields(select, columns=False) if field is not None]
    unavailable = [
        (one.name, table.source_kind or (_ANY_SOURCE if table.is_staged else _STORE))
        for table, one in fields
        if one.is_unavailable
    ]
    return tuple(dict.fromkeys(unavailable))


def depends_on_containers(select: ir.Select) -> bool:
    """Whether the rows of a query depend on containers."""
    return any(field is None or field.about_containers for _, field in _walk_fields(select, columns=False))


def _walk_fields(select: ir.Select, *, columns: bool) -> Iterator[tuple[Table, Field | None]]:
    """Yield the fields that decide the rows of a query, each with its table; None for rows that are containers.

    `columns`: the selected columns count too, as they do in a list or a scalar subquery.
    """
    if select.table.name == CONTAINERS.name:
        yield select.table, None
    for value in ir.walk(_list_deciding_expressions(select, columns=columns)):
        if isinstance(value, ir.ImageField) or (isinstance(value, ir.Column | ir.MapItem) and not value.join):
            yield select.table, value.field
        if (inner := ir.get_subquery(value)) is not None:
            yield from _walk_fields(inner, columns=not inner.is_whole_rows)
    for join in select.joins:
        yield from _walk_fields(join.select, columns=True)
    for part in (select.base, *(select.targets or ())):
        if isinstance(part, ir.Union):
            for side in (part.left, part.right):
                yield from _walk_fields(side, columns=columns and not side.table.is_staged)
        elif isinstance(part, ir.Select):
            yield from _walk_fields(part, columns=not part.is_whole_rows)


def _list_deciding_expressions(select: ir.Select, *, columns: bool) -> Iterator[ir.Expr]:
    """Yield the expressions that decide which rows a query returns."""
    decides = select if select.is_limited else select.replace(order=())
    yield from ir.list_expressions(decides if columns else decides.replace(columns=()))
