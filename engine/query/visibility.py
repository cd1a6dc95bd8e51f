"""Fields that a source cannot see: containers in a registry, and what only a store keeps.

A query treats such a field as unknown. A removal must not: with `not` it would remove every row.
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

STORE_HAS_NO_CONTAINERS = "nothing runs from this store, so no image in it is in use; container engines were not asked"
_WAYS_OUT = (
    "leave that condition out",
    'or list what must stay: … where name not in (nonempty lines of "in-use.txt")',
)


def refuse_unseen(field: Field, span: Span | None) -> StatementError:
    """Return the error for a field that cannot be seen of images in a registry."""
    what = "whether containers use an image" if field.about_containers else f'"{field.name}"'
    return StatementError(f"{what} cannot be seen in a registry", code="unseen", span=span, hints=_WAYS_OUT)


def check_seen(select: ir.Select, verb: str, span: Span | None) -> None:
    """Refuse a removal in a registry by something that cannot be seen there. Raises `StatementError` (`unseen`)."""
    for _, field in _fields(select, columns=False):
        if field is None or field.about_containers or field.is_unavailable:
            error = refuse_unseen(field or CONTAINERS.fields[0].replace(about_containers=True), span)
            error.message += f", so {verb} cannot go by it"
            raise error


def unseen_fields(select: ir.Select) -> tuple[str, ...]:
    """Return the fields by which a question goes and that its registry cannot see, by their names, each once."""
    fields = (field for _, field in _fields(select, columns=False) if field is not None)
    return tuple(dict.fromkeys(field.name for field in fields if field.is_unavailable))


def depends_on_containers(select: ir.Select) -> bool:
    """Whether which rows a query answers depends on what containers there are."""
    return any(field is None or field.about_containers for _, field in _fields(select, columns=False))


def _fields(select: ir.Select, *, columns: bool) -> Iterator[tuple[Table, Field | None]]:
    """Yield the fields on which the rows of a query depend, each with its table; None for rows that are containers.

    `columns`: what is selected matters too, as in a list or a value.
    """
    if select.table.name == CONTAINERS.name:
        yield select.table, None
    for value in ir.walk(_deciding(select, columns=columns)):
        if isinstance(value, ir.Column | ir.MapItem | ir.ImageField):
            yield select.table, value.field
        if (inner := ir.subquery_of(value)) is not None:
            yield from _fields(inner, columns=not inner.is_whole_rows)
    for part in (select.base, *(select.targets or ())):
        if isinstance(part, ir.Union):
            for side in (part.left, part.right):
                yield from _fields(side, columns=columns and not side.table.is_staged)
        elif isinstance(part, ir.Select):
            yield from _fields(part, columns=not part.is_whole_rows)


def _deciding(select: ir.Select, *, columns: bool) -> Iterator[ir.Expr]:
    """Yield the expressions of a query that decide which rows it answers."""
    decides = select if select.is_limited else select.replace(order=())
    yield from ir.expressions_of(decides if columns else decides.replace(columns=()))
