"""Docker's filters as conditions of the language, each key with docker's own rule for several values.

| key          | matches an image when                                                                          |
|--------------|------------------------------------------------------------------------------------------------|
| dangling     | true: it has no tag; false: it has a name, even if only a digest; both values: error           |
| before since | it was created before (after) that image; of several values, all must match                    |
| reference    | a pattern matches its name, with or without the tag; `*` does not match a slash; any may match  |
| label        | it has the label, or the label with that value; all must match                                 |
| label!       | it has none of the labels; a prune by docker's older image store spares those with all of them |
| until        | it was created before that time; all must match; in a prune also at that time, and only one value |
| stars        | in a search: it has at least this many; the largest value counts                               |
| is-official is-automated | in a search: true or false; both values: error                                     |
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


def split_filters(filters: Sequence[str]) -> dict[str, list[str]]:
    """Return the values of `name=value` strings by name. Names are trimmed and lower case; empty strings are skipped.

    A repeated value counts once, as in docker's sets.
    """
    values: dict[str, list[str]] = {}
    for text in filters:
        name, equals, value = text.partition("=")
        if equals:
            items = values.setdefault(name.strip().lower(), [])
            if value.strip() not in items:
                items.append(value.strip())
    return values


def image_conditions(filters: Sequence[str], now: int, zone: tzinfo | None) -> ast.Expr | None:
    """Return the condition of `images --filter`, None without filters.

    `until` counts from `now` (nanoseconds since the epoch) in the time zone `zone`. Raises `StatementError`.
    """
    rules: dict[str, Rule] = {
        "dangling": lambda values: [
            ast.Field(("dangling",)) if parse_boolean("dangling", values) else ast.IsKnown(ast.Field(("name",)))
        ],
        "before": lambda values: [_compare_created("<", image) for image in values],
        "since": lambda values: [_compare_created(">", image) for image in values],
        "reference": lambda values: [require_any([match_reference(pattern) for pattern in values])],
        "label": lambda values: [match_label(text) for text in values],
        "label!": lambda values: [ast.Not(match_label(text)) for text in values],
        "until": lambda values: [_compare_until("<", moment, now, zone) for moment in values],
    }
    return join_conditions(apply_rules(filters, rules))


def prune_conditions(
    filters: Sequence[str], now: int, zone: tzinfo | None, spares_any_label: Callable[[], bool] = bool
) -> tuple[ast.Expr | None, bool | None]:
    """Return the condition of `image prune --filter`, None without one, and the value of `dangling`.

    `spares_any_label`: whether several values of `label!` spare what has any of the labels, not only what has all.
    """

    def lacks_labels(values: list[str]) -> list[ast.Expr]:
        labels = [match_label(text) for text in values]
        if len(labels) > 1 and spares_any_label():
            return [ast.Not(label) for label in labels]
        return [ast.Not(_require_all(labels))]

    rules: dict[str, Rule] = {
        "dangling": lambda _: [],
        "until": lambda values: [_compare_until("<=", _single_value("until", values), now, zone)],
        "label": lambda values: [match_label(text) for text in values],
        "label!": lacks_labels,
    }
    condition = join_conditions(apply_rules(filters, rules))
    dangling = split_filters(filters).get("dangling")
    return condition, None if dangling is None else parse_boolean("dangling", dangling)


def search_conditions(filters: Sequence[str]) -> ast.Expr | None:
    """Return the condition of `search --filter`, None without filters. The largest number of stars counts."""

    def stars(values: list[str]) -> list[ast.Expr]:
        numbers = [int(value) for value in values if value.lstrip("+-").isdecimal()]
        if len(numbers) < len(values):
            raise StatementError(
                f"Invalid filter 'stars=[{' '.join(values)}]'", code="filter", hints=("expected a number",)
            )
        least = max(numbers)
        return [ast.Comparison(">=", ast.Field(("stars",)), ast.Literal(str(least)))] if least > 0 else []

    def flag(name: str, field: str) -> Rule:
        condition = ast.Field((field,))
        return lambda values: [condition if parse_boolean(name, values) else ast.Not(condition)]

    rules: dict[str, Rule] = {
        "stars": stars,
        "is-official": flag("is-official", "official"),
        "is-automated": flag("is-automated", "automated"),
    }
    return join_conditions(apply_rules(filters, rules))


def join_conditions(conditions: Sequence[ast.Expr | None]) -> ast.Expr | None:
    """Return the conjunction of the conditions that are not None; None when there are none."""
    present = [condition for condition in conditions if condition is not None]
    parts = [part for each in present for part in (each.operands if isinstance(each, ast.And) else (each,))]
    return _require_all(parts) if parts else None


def match_reference(pattern: str) -> ast.Expr:
    """Return docker's test of a name: the pattern matches it with its tag (or digest), or without."""
    literal = ast.Literal(pattern, quoted=True)
    return ast.Or(tuple(ast.Call("path_match", (ast.Field((name,)), literal)) for name in ("name", "repository")))


def apply_rules(filters: Sequence[str], rules: dict[str, Rule]) -> list[ast.Expr | None]:
    """Return the conditions of filters. Raises `StatementError` for a filter without a rule."""
    conditions: list[ast.Expr | None] = []
    for name, values in split_filters(filters).items():
        rule = rules.get(name)
        if rule is None:
            raise StatementError(
                f"Invalid filter '{name}'",
                code="filter",
                hints=(closest_hint(name, rules), "filters: " + ", ".join(rules)),
            )
        conditions += rule(values)
    return conditions


def _require_all(conditions: Sequence[ast.Expr]) -> ast.Expr:
    return conditions[0] if len(conditions) == 1 else ast.And(tuple(conditions))


def require_any(conditions: Sequence[ast.Expr]) -> ast.Expr:
    """Return the disjunction of the conditions, flattened."""
    parts = [part for each in conditions for part in (each.operands if isinstance(each, ast.Or) else (each,))]
    return ast.Or(tuple(parts))


def parse_boolean(name: str, values: Sequence[str]) -> bool:
    """Return the value of a filter. Raises `StatementError` when it is neither true nor false, or both."""
    true, false = not _TRUE.isdisjoint(values), not _FALSE.isdisjoint(values)
    if true is not false:  # as docker: other values are ignored when one is valid
        return true
    raise StatementError(
        f"Invalid filter '{name}=[{' '.join(values)}]'", code="filter", hints=("expected true or false",)
    )


def _compare_created(operator: str, image: str) -> ast.Expr:
    created = ("created",)
    return ast.Comparison(operator, ast.Field(created), ast.ImageField(created, ast.Literal(image)))


def match_label(text: str) -> ast.Expr:
    """Return the condition of `label=KEY` or `label=KEY=VALUE`. The first `=` ends the key; a value may have more."""
    key, equals, value = text.partition("=")
    field = ast.Field(("label", key))
    return ast.Comparison("=", field, ast.Literal(value, quoted=True)) if equals else ast.IsKnown(field)


def _single_value(name: str, values: Sequence[str]) -> str:
    if len(values) > 1:
        raise StatementError(f"more than one {name} filter specified", code="filter")
    return values[0]


def compare_moment(field: str, operator: str, value: str, now: int, zone: tzinfo | None) -> ast.Expr:
    """Return the comparison of a time with a moment of docker's flags: a time, or a duration ago."""
    comparison = _compare_until(operator, value, now, zone)
    assert isinstance(comparison, ast.Comparison)
    return comparison.replace(left=ast.Field((field,)))


def _compare_until(operator: str, value: str, now: int, zone: tzinfo | None) -> ast.Expr:
    from imq.engine.oci.timestamp import format_time
    from imq.engine.units.time import parse_until

    moment = parse_until(value, now, zone)
    if moment is None:
        raise StatementError(
            f'failed to parse value as time or duration: "{value}"',
            code="filter",
            hints=("examples: until=24h, until=2024-01-31",),
        )
    return ast.Comparison(operator, ast.Field(("created",)), ast.Literal(format_time(moment), quoted=True))
