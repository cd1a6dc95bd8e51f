"""Docker's filters as conditions of the language, each key with docker's own rule for several values.

| key          | holds for an image when                                                                      |
|--------------|----------------------------------------------------------------------------------------------|
| dangling     | true: it has no tag; false: it has a name, be it a digest alone; both: refused               |
| before since | it was created before (after) that image: all must hold, so the oldest (newest) one counts   |
| reference    | a pattern fits its name with the tag, or without; it crosses no slash; one of several will do |
| label        | it has the label, or has it with that value; all must hold                                   |
| label!       | it has none of these; in a prune it is spared only when it has them all                      |
| until        | it was created before that moment: all must hold; in a prune at that moment too, and but one |
| stars        | of a search: it has at least so many; of several the most counts                             |
| is-official is-automated | of a search: true or false; both: refused                                        |
"""

from __future__ import annotations

from imq.grammar import ast
from imq.grammar.errors import StatementError, closest_hint
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import tzinfo

    Rule = Callable[[list[str]], list[ast.Expr]]

_TRUE = frozenset({"1", "true"})
_FALSE = frozenset({"0", "false"})


def parted(filters: Sequence[str]) -> dict[str, list[str]]:
    """Part `name=value` texts by name, which is trimmed and in lower case; an empty text says nothing.

    The same value again is one value, as it is in docker's sets.
    """
    values: dict[str, list[str]] = {}
    for text in filters:
        name, equals, value = text.partition("=")
        if equals:
            given = values.setdefault(name.strip().lower(), [])
            if value.strip() not in given:
                given.append(value.strip())
    return values


def image_conditions(filters: Sequence[str], now: int, zone: tzinfo | None) -> ast.Expr | None:
    """Return what `images --filter` asks of an image, None for nothing.

    `now` (nanoseconds since the epoch) and `zone` are what `until` counts from. Raises `StatementError`.
    """
    rules: dict[str, Rule] = {
        "dangling": lambda given: [
            ast.Field(("dangling",)) if _agreed("dangling", given) else ast.IsKnown(ast.Field(("name",)))
        ],
        "before": lambda given: [_created("<", image) for image in given],
        "since": lambda given: [_created(">", image) for image in given],
        "reference": lambda given: [_either([matches(pattern) for pattern in given])],
        "label": lambda given: [_label(text) for text in given],
        "label!": lambda given: [ast.Not(_label(text)) for text in given],
        "until": lambda given: [_until("<", moment, now, zone) for moment in given],
    }
    return both(_ruled(filters, rules))


def prune_conditions(filters: Sequence[str], now: int, zone: tzinfo | None) -> tuple[ast.Expr | None, bool | None]:
    """Return what `image prune --filter` asks of an image, None for nothing, and what it says of `dangling`."""
    rules: dict[str, Rule] = {
        "dangling": lambda _: [],
        "until": lambda given: [_until("<=", _only("until", given), now, zone)],
        "label": lambda given: [_label(text) for text in given],
        "label!": lambda given: [ast.Not(_all([_label(text) for text in given]))],
    }
    condition = both(_ruled(filters, rules))
    dangling = parted(filters).get("dangling")
    return condition, None if dangling is None else _agreed("dangling", dangling)


def search_conditions(filters: Sequence[str]) -> ast.Expr | None:
    """Return what `search --filter` asks of a repository, None for nothing: of several numbers of stars the most."""

    def stars(given: list[str]) -> list[ast.Expr]:
        numbers = [int(value) for value in given if value.lstrip("+-").isdecimal()]
        if len(numbers) < len(given):
            raise StatementError(f"Invalid filter 'stars=[{' '.join(given)}]'", code="filter", hints=("a number",))
        least = max(numbers)
        return [ast.Comparison(">=", ast.Field(("stars",)), ast.Literal(str(least)))] if least > 0 else []

    def flag(name: str, field: str) -> Rule:
        told = ast.Field((field,))
        return lambda given: [told if _agreed(name, given) else ast.Not(told)]

    rules: dict[str, Rule] = {
        "stars": stars,
        "is-official": flag("is-official", "official"),
        "is-automated": flag("is-automated", "automated"),
    }
    return both(_ruled(filters, rules))


def both(conditions: Sequence[ast.Expr | None]) -> ast.Expr | None:
    """Return the condition that all of these hold; None stands for nothing asked."""
    asked = [condition for condition in conditions if condition is not None]
    parts = [part for each in asked for part in (each.operands if isinstance(each, ast.And) else (each,))]
    return _all(parts) if parts else None


def matches(pattern: str) -> ast.Expr:
    """Return docker's test of a name: the pattern fits it with its tag (or digest), or without."""
    wanted = ast.Literal(pattern, quoted=True)
    return ast.Or(tuple(ast.Call("path_match", (ast.Field((name,)), wanted)) for name in ("name", "repository")))


def _ruled(filters: Sequence[str], rules: dict[str, Rule]) -> list[ast.Expr | None]:
    conditions: list[ast.Expr | None] = []
    for name, values in parted(filters).items():
        rule = rules.get(name)
        if rule is None:
            raise StatementError(
                f"Invalid filter '{name}'",
                code="filter",
                hints=(closest_hint(name, rules), "filters: " + ", ".join(rules)),
            )
        conditions += rule(values)
    return conditions


def _all(conditions: Sequence[ast.Expr]) -> ast.Expr:
    return conditions[0] if len(conditions) == 1 else ast.And(tuple(conditions))


def _either(conditions: Sequence[ast.Expr]) -> ast.Expr:
    """Return the condition that one of these holds; those that are lists of alternatives become one list."""
    parts = [part for each in conditions for part in (each.operands if isinstance(each, ast.Or) else (each,))]
    return ast.Or(tuple(parts))


def _agreed(name: str, values: Sequence[str]) -> bool:
    true, false = not _TRUE.isdisjoint(values), not _FALSE.isdisjoint(values)
    if true is not false:  # docker's rule: what is neither says nothing beside one that is
        return true
    raise StatementError(f"Invalid filter '{name}=[{' '.join(values)}]'", code="filter", hints=("true or false",))


def _created(operator: str, image: str) -> ast.Expr:
    created = ("created",)
    return ast.Comparison(operator, ast.Field(created), ast.ImageField(created, ast.Literal(image)))


def _label(text: str) -> ast.Expr:
    """Return the condition of `label=KEY`, or of `label=KEY=VALUE`: cut at the first `=`, so a value may have more."""
    key, equals, value = text.partition("=")
    field = ast.Field(("label", key))
    return ast.Comparison("=", field, ast.Literal(value, quoted=True)) if equals else ast.IsKnown(field)


def _only(name: str, values: Sequence[str]) -> str:
    if len(values) > 1:
        raise StatementError(f"more than one {name} filter specified", code="filter")
    return values[0]


def _until(operator: str, value: str, now: int, zone: tzinfo | None) -> ast.Expr:
    from imq.engine.oci.timestamp import write_time
    from imq.engine.units.time import parse_until

    moment = parse_until(value, now, zone)
    if moment is None:
        raise StatementError(
            f'failed to parse value as time or duration: "{value}"',
            code="filter",
            hints=("such as until=24h, or until=2024-01-31",),
        )
    return ast.Comparison(operator, ast.Field(("created",)), ast.Literal(write_time(moment), quoted=True))
