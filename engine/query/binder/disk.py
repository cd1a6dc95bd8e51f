"""The limits of `until` and `when`: sizes, and the space of the disk that holds the images."""

from __future__ import annotations

import math

from imq.engine.catalog.tables import DataType
from imq.engine.query import ir
from imq.engine.query.disk_space import DiskSpace
from imq.grammar import ast
from imq.grammar.errors import StatementError, TypeMismatch
from imq.grammar.lexer import is_percentage
from imq.grammar.record import TYPE_CHECKING

from .literals import convert_literal

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import tzinfo

    from imq.engine.catalog.tables import Table
    from imq.grammar.errors import Span

    from .scope import Scope

_HUNDRED_PERCENT = 100


def measure_disk(table: Table, scope: Scope, span: Span | None) -> DiskSpace:
    """Return the space of the disk of a bound table. Raises `StatementError` (`unseen`) when it is unknown."""
    sources = dict.fromkeys(scope.fetch.list_sources(table))
    refs = scope.fetch.list_refs(table)
    spaces = [scope.fetch.sources[name].measure_disk(refs) for name in sources if name]
    if len(spaces) == 1 and spaces[0] is not None:
        return spaces[0]
    raise StatementError(
        "the space of the disk is unknown: it is known for the store, and for one engine on this machine",
        code="unseen",
        span=span,
        hints=("use one statement for each engine, on its own machine",) if len(refs) > 1 else (),
    )


def check_sizes(table: Table, scope: Scope, until: ast.UntilSize) -> None:
    """Raise `StatementError` (`unseen`) when the sizes of a bound table count less than what a removal frees."""
    if until.measure == "total size":  # of what stays: counted too low, it removes too few
        return
    for name in dict.fromkeys(scope.fetch.list_sources(table)):
        source = scope.fetch.sources[name]
        if source.uncounted:
            raise StatementError(
                f'"until {until.measure}" would remove too many images in {source.title}: {source.uncounted}',
                code="unseen",
                span=until.span,
                hints=(
                    "to limit the sizes of the images that stay: … until total size <= 16GB",
                    "or limit the number of images: … order by last_used limit 10",
                    f"what a removal frees in all: reclaim of (images in {source.example} where …)",
                ),
            )


def bind_until(until: ast.UntilSize, measure: Callable[[], DiskSpace], zone: tzinfo | None) -> ir.UntilSize:
    """Return a limit as a size that remains, or as the bytes that must be freed."""
    if until.measure == "total size":
        return ir.UntilSize(_read_size(until, zone), until.operator == "<")
    space = measure()
    limit = _read_limit(until, space, zone)
    missing = space.used - limit if until.measure == "disk use" else limit - space.available
    return ir.UntilSize(math.ceil(missing), until.operator in ("<", ">"), frees=True)


def is_ready(when: ast.When, space: DiskSpace, zone: tzinfo | None) -> bool:
    """Whether the disk satisfies the comparison of `when`."""
    limit = _read_limit(when, space, zone)
    value = space.used if when.measure == "disk use" else space.available
    return {">": value > limit, ">=": value >= limit, "<": value < limit, "<=": value <= limit}[when.operator]


def _read_limit(node: ast.UntilSize | ast.When, space: DiskSpace, zone: tzinfo | None) -> float:
    """Return a limit in bytes. A percentage is of the used and the available space, as `df` computes it."""
    if isinstance(node.size, ast.Literal) and is_percentage(node.size.text):
        percent = float(node.size.text.removesuffix("%"))
        if percent > _HUNDRED_PERCENT:
            raise TypeMismatch("expected a percentage up to 100%", span=node.size.span)
        return percent / _HUNDRED_PERCENT * (space.used + space.available)
    if node.measure == "disk use":
        raise TypeMismatch("expected a percentage of the disk", span=node.size.span, hints=("example: 80%",))
    return _read_size(node, zone)


def _read_size(node: ast.UntilSize | ast.When, zone: tzinfo | None) -> int:
    if not isinstance(node.size, ast.Literal) or is_percentage(node.size.text):
        raise TypeMismatch("expected a size", span=node.size.span, hints=("example: 16GB",))
    size = convert_literal(node.size, DataType.SIZE, zone).value
    assert isinstance(size, int)
    return size
