"""Warnings about sums and counts over rows of registries: content that is counted twice or missing."""

from __future__ import annotations

from imq.grammar.record import TYPE_CHECKING

from . import ir

if TYPE_CHECKING:
    from collections.abc import Iterator

_COUNTED_TWICE = {
    "repositories": "sum(size) of repositories counts a blob once for each repository that has it",
    "tags": "sum(size) of tags counts a layer once for each tag whose image has it",
}
"""The warnings about a sum of sizes, by table."""
_UNTAGGED_MISSING = "registries list no manifests without a tag: the answer counts only those that imq has seen before"


def find_warnings(select: ir.Select) -> tuple[str, ...]:
    """Return the warnings for the sums and counts of a query and of its subqueries."""
    return tuple(dict.fromkeys(text for one in ir.walk_subqueries(select) for text in _list_warnings(one)))


def _list_warnings(select: ir.Select) -> Iterator[str]:
    if select.table.name in _COUNTED_TWICE and any(map(_sums_sizes, ir.walk(ir.list_expressions(select)))):
        yield _COUNTED_TWICE[select.table.name]
    if select.table.name == "manifests" and not select.join and (select.group is not None or select.count):
        yield _UNTAGGED_MISSING


def _sums_sizes(value: ir.Expr) -> bool:
    if not isinstance(value, ir.AggregateCall) or value.aggregate.name != "sum" or value.argument is None:
        return False
    return any(
        isinstance(part, ir.Column) and part.field.name == "size" and not part.join
        for part in ir.walk((value.argument,))
    )
