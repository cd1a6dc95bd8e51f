"""Comparisons: which kinds go together, and what the operators mean."""

from __future__ import annotations

from imq.engine import bound as b
from imq.engine.oci.digest import hex_prefix, is_digest
from imq.engine.tables import Kind
from imq.grammar.errors import ImqError, TypeMismatch
from imq.grammar.record import TYPE_CHECKING

from .literals import is_text

if TYPE_CHECKING:
    from imq.grammar import ast
    from imq.grammar.errors import Span

OF_TEXTS = ("like", "matches", "has")
"""Operators with a text on their right."""
_SIZED = (Kind.NUMBER, Kind.SIZE, Kind.DURATION)
_NAMES = (Kind.REFERENCE, Kind.REPOSITORY, Kind.TAG)
_ORDERED_ONLY = ("<", "<=", ">", ">=")


def test(node: ast.Expr, operator: str, left: b.Bound, right: b.Bound) -> b.Bound:
    """Return the comparison of two values, or refuse it because of their kinds."""
    if operator in OF_TEXTS and not is_text(right.kind):
        raise TypeMismatch(
            f'"{operator}" wants a text on its right, but {called(right)} is {right.kind.value}', span=node.span
        )
    if operator == "has":
        if left.kind is not Kind.LIST and not (left.kind is Kind.MAP and isinstance(left, b.Column)):
            raise TypeMismatch(
                f'"has" wants a list or a map on its left, but {called(left)} is {left.kind.value}', span=node.span
            )
        return b.Test("has", left, _ended(left, right))
    if operator in ("like", "matches") and left.kind in (Kind.LIST, Kind.MAP) and isinstance(left, b.Column):
        if operator == "matches":
            check_pattern("matches", right, node)
        return b.Test(operator, left, right)  # any of its texts: of a map KEY=VALUE
    if left.kind in (Kind.LIST, Kind.MAP):
        advice = f"{called(left)} has X" if left.kind is Kind.LIST else f"{called(left)}.KEY {operator} X"
        raise TypeMismatch(
            f'{called(left)} is {left.kind.value} and cannot be compared with "{operator}"',
            span=node.span,
            hints=(advice,),
        )
    if operator in ("like", "matches"):
        if not is_text(left.kind) and left.kind is not Kind.VERSION:
            raise TypeMismatch(f'"{operator}" wants a text, but {called(left)} is {left.kind.value}', span=node.span)
        if operator == "matches":
            check_pattern("matches", right, node)
        return b.Test(operator, left, right)
    if Kind.DIGEST in (left.kind, right.kind) and (short := _short_id(operator, left, right)) is not None:
        return short
    comparable(left, right, node.span)
    if operator in ("=", "!="):
        _no_glob(operator, left, right, node)
    if operator in _ORDERED_ONLY and left.kind is Kind.BOOLEAN:
        raise TypeMismatch(f"{called(left)} is {left.kind.value} and has no order", span=node.span)
    if operator in ("=", "!=") and left.kind is Kind.REFERENCE and isinstance(right, b.Value):
        return _as_name_or_written(operator, left, right)
    return b.Test(operator, left, right)


def _as_name_or_written(operator: str, left: b.Bound, name: b.Value) -> b.Bound:
    """Return the comparison with a name: `v1` means `v1:latest`, and what another tool called `v1`."""
    if name.said in ("", name.value):
        return b.Test(operator, left, name)
    written = name.replace(value=name.said)
    if operator == "=":
        return b.Among(left, (name, written))
    return b.Every((b.Test(operator, left, name), b.Test(operator, left, written)))


def _no_glob(operator: str, left: b.Bound, right: b.Bound, node: ast.Expr) -> None:
    """Refuse a glob where a name is compared: no name has such a sign, so that it would hold for none, or for all."""
    if not isinstance(left, b.Column) or not isinstance(right, b.Value) or left.kind not in _NAMES:
        return
    if "*" in str(right.value):
        said = right.said or str(right.value)
        negated = "not " if operator == "!=" else ""
        raise TypeMismatch(
            f'"{operator}" compares whole names, and no {called(left)} has a "*" in it',
            code="glob",
            span=node.span,
            hints=(f"say it: {negated}{called(left)} like {said}",),
        )


def _ended(left: b.Bound, right: b.Bound) -> b.Bound:
    """Return what is looked for in a list, with the ending that its texts have and this one goes without."""
    ending = left.field.ending if isinstance(left, b.Column) else ""
    if not ending or not isinstance(right, b.Value) or ending[0] in str(right.value):
        return right
    return right.replace(value=f"{right.value}{ending}")


def check_pattern(name: str, pattern: b.Bound, node: ast.Expr) -> None:
    """Refuse a constant pattern that is none, before anything runs."""
    if not isinstance(pattern, b.Value):
        return
    from imq.engine.patterns import path_match, regex_search

    try:
        (path_match if name == "path_match" else regex_search)(str(pattern.value), "")
    except ImqError as error:
        error.span = error.span or node.span
        raise


def check_group(pattern: b.Bound, group: b.Bound, node: ast.Expr) -> None:
    """Refuse a group that a constant pattern does not have."""
    if isinstance(pattern, b.Value) and isinstance(group, b.Value):
        from imq.engine.patterns import regex_capture

        try:
            regex_capture(str(pattern.value), "", int(group.value or 0))
        except ImqError as error:
            error.span = error.span or node.span
            raise


def comparable(left: b.Bound, right: b.Bound, span: Span | None) -> None:
    """Refuse two values that cannot be equal because of their kinds."""
    fits = (
        left.kind is right.kind
        or (is_text(left.kind) and is_text(right.kind))
        or {left.kind, right.kind} == {Kind.NUMBER, Kind.SIZE}
    )
    if not fits:
        raise TypeMismatch(
            f"{called(left)} is {left.kind.value}, {called(right)} {right.kind.value}: they cannot be compared",
            span=span,
        )


def result(operator: str, left: Kind, right: Kind) -> Kind | None:
    """Return the kind of an arithmetic result; None when the two do not go together."""
    if left is Kind.TIME or right is Kind.TIME:
        return {("-", Kind.TIME, Kind.TIME): Kind.DURATION}.get((operator, left, right)) or (
            Kind.TIME if operator in "+-" and (left, right) == (Kind.TIME, Kind.DURATION) else None
        )
    if left not in _SIZED or right not in _SIZED:
        return None
    if Kind.DURATION in (left, right) and left is not right and operator in "+-%":
        return None
    if left is right:
        return Kind.NUMBER if operator == "/" else left if operator != "*" or left is Kind.NUMBER else None
    if right is Kind.NUMBER:
        return left
    return right if left is Kind.NUMBER and operator != "/" else None


def _short_id(operator: str, left: b.Bound, right: b.Bound) -> b.Bound | None:
    """Return the test of a digest against the start of one, when that is what is compared."""
    operand, value = (left, right) if isinstance(right, b.Value) else (right, left)
    if operator not in ("=", "!=") or not isinstance(value, b.Value) or is_digest(str(value.value)):
        return None
    digits = hex_prefix(str(value.value))
    if digits is None:
        return None
    starts = b.Starts(operand, f"sha256:{digits}")
    return starts if operator == "=" else b.Every((b.IsKnown(operand, known=True), b.Negation(starts)))


def called(value: b.Bound) -> str:
    """Return how an error calls a value."""
    match value:
        case b.Column(field):
            return field.name
        case b.Item(field, key):
            return f"{field.name}.{key}"
        case b.Value(said=said):
            return f'"{said}"'
        case b.Lookup(field, _, said):
            return f"{field.name} of {said}"
        case b.Apply(function):
            return f"{function.name}(…)"
        case b.Total(aggregate):
            return f"{aggregate.name}(…)"
        case _:
            return "this"
