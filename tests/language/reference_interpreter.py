"""Evaluates queries row by row in Python, from the specification alone.

A scalar is a Python value, or None if it is unknown. A condition is True or False.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from imq.grammar import ast

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

Row = dict[str, Any]

DAY = 86_400 * 1_000_000_000
COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "=": lambda left, right: bool(left == right),
    "!=": lambda left, right: bool(left != right),
    "<": lambda left, right: bool(left < right),
    "<=": lambda left, right: bool(left <= right),
    ">": lambda left, right: bool(left > right),
    ">=": lambda left, right: bool(left >= right),
}
SUMS: dict[str, Callable[[Any, Any], Any]] = {
    "+": lambda left, right: left + right,
    "-": lambda left, right: left - right,
    "*": lambda left, right: left * right,
}


def glob(pattern: str, text: str) -> bool:
    """Whether a string matches a glob of `*`, `?` and `[…]`."""
    inner = re.sub(r"\\(.)|(\*)|(\?)|\[(!?)([^\]]+)\]|(.)", _as_regex, pattern, flags=re.DOTALL)
    return re.fullmatch(inner, text, re.DOTALL) is not None


def _as_regex(match: re.Match[str]) -> str:
    plain, star, one, negated, among, other = match.groups()
    if star:
        return ".*"
    if one:
        return "."
    if among:
        return f"[{'^' if negated else ''}{among}]"
    return re.escape(plain or other)


class ReferenceInterpreter:
    """Evaluates queries over rows at a given time."""

    def __init__(self, rows: list[Row], now: int) -> None:
        self.rows = rows
        self.now = now

    def evaluate(self, node: ast.Expr, row: Row) -> Any:
        """Return the value of a scalar expression."""
        match node:
            case ast.Literal("true" | "false" as text, False):
                return text == "true"
            case ast.Literal(text, quoted):
                return text if quoted or not re.fullmatch(r"-?\d+", text) else int(text)
            case ast.Field((name,)):
                return row[name]
            case ast.Field((name, key)):
                return (row[name] or {}).get(key)
            case ast.Field((name, key, inner)):
                return (row[name].get(key) or {}).get(inner)
            case ast.Arithmetic(operator, left, right):
                one, other = self.evaluate(left, row), self.evaluate(right, row)
                return None if one is None or other is None else SUMS[operator](one, other)
            case ast.Call("coalesce", arguments):
                return next((v for v in (self.evaluate(a, row) for a in arguments) if v is not None), None)
            case ast.Call("length", (argument,)):
                value = self.evaluate(argument, row)
                return None if value is None else len(value)
            case ast.Call("count", (ast.Subquery(ast.Query("layers", where=where)),)):
                return len([layer for layer in row["layers"] if where is None or self.holds(where, layer)])
            case ast.Call("sum" | "max" as name, (ast.Field(("layers", field)),)):
                known = [layer[field] for layer in row["layers"] if layer[field] is not None]
                return (sum(known) if name == "sum" else max(known)) if known else None
            case ast.Subquery(ast.Query(count=True) as query):
                return len(self.select(query))
            case _:
                return self.holds(node, row)

    def holds(self, node: ast.Expr, row: Row) -> bool:
        """Return whether a condition holds. A comparison with an unknown value is false."""
        match node:
            case ast.And(operands):
                return all(self.holds(operand, row) for operand in operands)
            case ast.Or(operands):
                return any(self.holds(operand, row) for operand in operands)
            case ast.Not(operand):
                return not self.holds(operand, row)
            case ast.Exists(ast.Query("layers", where=where), negated):
                return any(where is None or self.holds(where, layer) for layer in row["layers"]) != negated
            case ast.In(operand, rows=ast.Query(select=select) as query):
                value = self.evaluate(operand, row)
                column = select[0].value if select else operand
                return value is not None and value in [self.evaluate(column, one) for one in self.select(query)]
            case ast.IsKnown(ast.Field((name,)), known) if name in ("label", "cmd"):
                return bool(row[name]) == known
            case ast.IsKnown(operand, known):
                return (self.evaluate(operand, row) is not None) == known
            case ast.Between(operand, low, high):
                value, least, most = (self.evaluate(part, row) for part in (operand, low, high))
                return None not in (value, least, most) and least <= value <= most
            case ast.In(operand, items):
                value = self.evaluate(operand, row)
                return value is not None and value in [self.evaluate(item, row) for item in items]
            case ast.Predicate("older than" | "newer than" as words, (ast.Literal(age),)):
                limit = self.now - int(age.removesuffix("d")) * DAY
                created = row["created"]
                return created is not None and (created < limit if words == "older than" else created > limit)
            case ast.Comparison("like", ast.Field((("label" | "cmd") as name,)), ast.Literal(pattern)):
                held = row[name] or ()
                said = [f"{key}={value}" for key, value in held.items()] if isinstance(held, dict) else held
                return any(glob(pattern, text) for text in said)
            case ast.Comparison("like", left, ast.Literal(pattern)):
                value = self.evaluate(left, row)
                return value is not None and glob(pattern, value)
            case ast.Comparison("has", ast.Field((name,)), ast.Literal(item)):
                return row[name] is not None and item in row[name]
            case ast.Comparison(operator, left, right):
                one, other = self.evaluate(left, row), self.evaluate(right, row)
                return one is not None and other is not None and COMPARISONS[operator](one, other)
            case _:
                return bool(self.evaluate(node, row))

    def order(self, rows: Iterable[Row], keys: Iterable[tuple[ast.Expr, bool]]) -> list[Row]:
        """Sort rows by keys; unknown values come last in both directions."""
        ordered = list(rows)
        for key, descending in reversed(list(keys)):
            known = [row for row in ordered if self.evaluate(key, row) is not None]
            unknown = [row for row in ordered if self.evaluate(key, row) is None]
            known.sort(key=lambda row: self.evaluate(key, row), reverse=descending)
            ordered = known + unknown
        return ordered

    def count_rows(
        self,
        rows: list[Row],
        per: tuple[ast.Expr, ...],
        keep: Callable[[int], bool],
        *,
        is_cut: bool = False,
        counts_names: bool = False,
    ) -> list[Row]:
        """Return the rows for whose position among the rows with equal `per` `keep` returns True.

        `is_cut`: a row with an unknown group is the only row of its group. `counts_names`: the rows of one name, and
        those of one index without a name, have the position of the first of them.
        """
        seen: dict[tuple[Any, ...], list[Any]] = {}
        kept = []
        for position, row in enumerate(rows):
            group = tuple(self.evaluate(key, row) for key in per)
            member = (row.get("name") or row["_root"]) if counts_names else position
            if is_cut and None in group:
                seen[group] = []
            members = seen.setdefault(group, [])
            members += [] if member in members else [member]
            if keep(members.index(member) + 1):
                kept.append(row)
        return kept

    def combine(self, rows: ast.Combination) -> list[Row]:
        """Return the rows of a set operation; for a union, those of the left, then the new ones of the right."""
        left, right = self.select(rows.left), self.select(rows.right)

        def key(row: Row) -> tuple[Any, ...]:
            return tuple(self.evaluate(by, row) for by in rows.by)

        lefts, rights = [key(row) for row in left], [key(row) for row in right]
        if rows.operator == "union":
            return left + [row for row, its in zip(right, rights, strict=True) if its not in lefts]
        return [row for row, its in zip(left, lefts, strict=True) if (its in rights) == (rows.operator == "intersect")]

    def join_rows(self, rows: list[Row], join: ast.Join) -> list[Row]:
        """Return each row with each of its partners, and rows without one as the kind of the join has it."""
        others = self.select(join.rows)
        pairs = [{**row, join.name: other} for row in rows for other in others]
        pairs = [pair for pair in pairs if self.holds(join.condition, pair)]
        if join.kind != "inner":
            partnered = [pair["id"] for pair in pairs]
            pairs += [{**row, join.name: {}} for row in rows if row["id"] not in partnered]
        if join.kind == "full":
            met = [pair[join.name].get("id") for pair in pairs]
            nothing = dict.fromkeys((*self.rows[0], "id")) if self.rows else {}
            pairs += [{**nothing, join.name: other} for other in others if other["id"] not in met]
        return pairs

    def select(self, query: ast.RowSource) -> list[Row]:
        """Return the rows of a query without groups, in order."""
        if isinstance(query, ast.Combination):
            return self.combine(query)
        usual = [
            (ast.Field(("created",)), True),
            *((ast.Field((name,)), False) for name in ("repository", "tag", "id")),
        ]
        asked = [*((key.key, key.descending) for key in query.order), *usual]
        rows = self.select(query.base) if query.base is not None else self.rows
        for join in query.joins:
            rows = self.join_rows(rows, join)
        rows = [row for row in rows if query.where is None or self.holds(query.where, row)]
        rows = self.order(rows, asked)
        if query.keep_newest is not None:
            by = query.keep_newest.by or ast.Field(("created",))
            newest = self.order(rows, [(by, True), *asked])
            spared = self.count_rows(
                newest,
                query.keep_newest.per,
                lambda place: place <= get_count(query.keep_newest),
                is_cut=True,
                counts_names=True,
            )
            rows = [row for row in rows if row not in spared and self.evaluate(by, row) is not None]
        if query.skip is not None:
            rows = self.count_rows(rows, query.skip.per, lambda place: place > get_count(query.skip), is_cut=True)
        if query.limit is not None:
            rows = self.count_rows(rows, query.limit.per, lambda place: place <= get_count(query.limit))
        return rows


def get_count(window: ast.Limit | ast.KeepNewest | None) -> int:
    assert window is not None
    assert isinstance(window.count, ast.Literal)
    return int(window.count.text)
