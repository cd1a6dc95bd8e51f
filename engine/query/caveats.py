"""Caveats of an answer over many rows of a registry: what it leaves out or counts twice."""

from __future__ import annotations

from imq.grammar.record import TYPE_CHECKING

from . import ir

if TYPE_CHECKING:
    from collections.abc import Iterator

_SHARED = "sum(size) of repositories counts a blob once for each repository that has it"
_UNTAGGED = "registries list no manifests without a tag: the answer counts only those that imq has seen before"


def find_caveats(select: ir.Select) -> tuple[str, ...]:
    """Return the caveats of the sums and counts of a query and of its subqueries."""
    return tuple(dict.fromkeys(text for one in ir.subqueries(select) for text in _caveats_of(one)))


def _caveats_of(select: ir.Select) -> Iterator[str]:
    if select.table.name == "repositories" and any(map(_sums_sizes, ir.walk(ir.expressions_of(select)))):
        yield _SHARED
    if select.table.name == "manifests" and not select.join and (select.group is not None or select.count):
        yield _UNTAGGED


def _sums_sizes(value: ir.Expr) -> bool:
    if not isinstance(value, ir.AggregateCall) or value.aggregate.name != "sum" or value.argument is None:
        return False
    return any(isinstance(part, ir.Column) and part.field.name == "size" for part in ir.walk((value.argument,)))
