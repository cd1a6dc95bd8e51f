"""The filters of `docker ps` as conditions of the language, each with docker's own rule for several values.

| key              | matches a container when                                                                          |
|------------------|---------------------------------------------------------------------------------------------------|
| ancestor         | it was made from that image; any may match                                                        |
| before since     | it is after (before) that container in the listing, whose order is newest first; all must match   |
| exited           | it has exited with that code; any may match                                                       |
| expose publish   | that port, or one of a range, is exposed or published; any may match, of both filters             |
| health           | it has that health; `none`: it has no health check; any may match                                 |
| id               | its ID, and no other one, begins with it; any may match                                           |
| is-task          | true: a swarm made it                                                                             |
| isolation        | always: only Windows has isolations                                                               |
| label            | it has the label, or the label with that value; all must match                                    |
| name             | the regular expression is found in it; any may match                                              |
| network          | it is connected to that network; any may match                                                    |
| status           | it has that status; any may match                                                                 |
| volume           | the volume of that name, or a mount at that path, is in it; any may match                         |
"""

from __future__ import annotations

from imq.engine.sources.image_names import match_image_name
from imq.grammar import ast
from imq.grammar.errors import StatementError
from imq.grammar.record import TYPE_CHECKING

from .filters import apply_rules, join_conditions, match_label, parse_boolean, require_any, split_filters

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    Rule = Callable[[list[str]], list[ast.Expr]]

STATUSES = ("created", "running", "paused", "restarting", "removing", "exited", "dead")
_HEALTHS = ("none", "starting", "healthy", "unhealthy")
_TASK_LABEL = "com.docker.swarm.task.id"
_MAX_PORT = 65535
_NEVER: tuple[ast.Expr, ...] = (
    ast.And((ast.IsKnown(ast.Field(("id",))), ast.IsKnown(ast.Field(("id",)), known=False))),
)
"""No container has no ID."""


def container_conditions(filters: Sequence[str], *, in_engine: bool) -> tuple[frozenset[str], ast.Expr | None]:
    """Return the names of the filters of `ps --filter`, and their condition, None without filters.

    `in_engine`: the containers have a `position` in the listing of their engine. Raises `StatementError`.
    """
    order = ("position", ">", "<") if in_engine else ("created", "<", ">")
    values = split_filters(filters)
    ports = [*values.get("publish", ()), *values.get("expose", ())]
    first_of_ports = next((name for name in values if name in ("publish", "expose")), "")

    def match_ports(name: str) -> list[ast.Expr]:
        """Return one condition for both filters of ports, at the first of them."""
        if name != first_of_ports or not ports:
            return []
        published = [_match_port("published_ports", "", text, "publish") for text in values.get("publish", ())]
        exposed = [_match_port("ports", "->", text, "expose") for text in values.get("expose", ())]
        return [require_any([*published, *exposed])]

    rules: dict[str, Rule] = {
        "ancestor": lambda texts: [require_any([_match_ancestor(text) for text in texts])],
        "before": lambda texts: [_compare_place(order[0], order[1], text) for text in texts],
        "exited": lambda texts: [_equals("status", "exited"), require_any([_match_code(text) for text in texts])],
        "expose": lambda _: match_ports("expose"),
        "health": lambda texts: [require_any([_match_health(text) for text in texts])],
        "id": lambda texts: [require_any([_match_id(text) for text in texts])],
        "is-task": lambda texts: [
            ast.IsKnown(ast.Field(("label", _TASK_LABEL)), known=parse_boolean("is-task", texts))
        ],
        "isolation": lambda _: [],
        "label": lambda texts: [match_label(text) for text in texts],
        "name": lambda texts: _match_names([*texts, *(own for text in texts for own in _without_slash(text))]),
        "network": lambda texts: [
            require_any([ast.Comparison("has", ast.Field(("networks",)), _quote(text)) for text in texts])
        ],
        "publish": lambda _: match_ports("publish"),
        "since": lambda texts: [_compare_place(order[0], order[2], text) for text in texts],
        "status": lambda texts: [require_any([_match_status(text) for text in texts])],
        "volume": lambda texts: [require_any([condition for text in texts for condition in _match_volume(text)])],
    }
    return frozenset(values), join_conditions(apply_rules(filters, rules))


def find_container(text: str) -> ast.Query:
    """Return the query for the container with this name, this ID, or an ID that begins with it."""
    name = ast.Comparison("=", ast.Field(("name",)), _quote(text.removeprefix("/")))
    digits = "0123456789abcdef"
    by_id = ast.Comparison("like", ast.Field(("id",)), _quote(f"{text}*"))
    where = ast.Or((name, by_id)) if text and all(letter in digits for letter in text) else name
    return ast.Query("containers", where=where, limit=ast.Limit(ast.Literal("1")))


def _quote(text: str) -> ast.Literal:
    return ast.Literal(text, quoted=True)


def _equals(field: str, value: str) -> ast.Expr:
    return ast.Comparison("=", ast.Field((field,)), _quote(value))


def _match_ancestor(text: str) -> ast.Expr:
    images = ast.Query("images", where=match_image_name(text), select=(ast.Column(ast.Field(("id",))),))
    return ast.In(ast.Field(("image_id",)), rows=images)


def _compare_place(field: str, operator: str, text: str) -> ast.Expr:
    place = find_container(text).replace(select=(ast.Column(ast.Field((field,))),))
    return ast.Comparison(operator, ast.Field((field,)), ast.Subquery(place))


def _match_code(text: str) -> ast.Expr:
    digits = text[1:] if text[:1] in ("+", "-") else text
    if not (digits.isascii() and digits.isdecimal()):
        raise StatementError(f'strconv.Atoi: parsing "{text}": invalid syntax', code="filter")
    return ast.Comparison("=", ast.Field(("exit_code",)), ast.Literal(str(int(text)), quoted=True))


def _match_id(text: str) -> ast.Expr:
    begins = ast.Comparison("like", ast.Field(("id",)), _quote(f"{text}*"))
    matches = ast.Subquery(ast.Query("containers", where=begins, count=True))
    return ast.And((begins, ast.Comparison("=", matches, ast.Literal("1"))))


def _match_health(text: str) -> ast.Expr:
    if text not in _HEALTHS:
        raise StatementError(
            f"Unrecognised filter value for health: {text}", code="filter", hints=(f"values: {', '.join(_HEALTHS)}",)
        )
    return ast.IsKnown(ast.Field(("health",)), known=False) if text == "none" else _equals("health", text)


def _match_status(text: str) -> ast.Expr:
    if text not in STATUSES:
        raise StatementError(
            f"Invalid filter 'status={text}'", code="filter", hints=(f"values: {', '.join(STATUSES)}",)
        )
    return _equals("status", text)


def _without_slash(text: str) -> Iterator[str]:
    """Yield an expression for names without the slash that docker's own names begin with."""
    anchor = "^" if text.startswith("^") else ""
    if text.removeprefix("^").startswith("/"):
        yield "^" + text.removeprefix(anchor)[1:]


def _match_names(texts: Sequence[str]) -> list[ast.Expr]:
    """Return the condition that an expression is found in the name. As in docker, an invalid one is found nowhere."""
    from imq.engine.query.matching import regex_searcher

    valid: list[ast.Expr] = []
    for text in texts:
        try:
            regex_searcher(text)
        except StatementError:
            continue
        valid.append(ast.Comparison("matches", ast.Field(("name",)), _quote(text)))
    return [require_any(valid)] if valid else list(_NEVER)


def _match_volume(text: str) -> Iterator[ast.Expr]:
    """Yield the conditions by which a mount is that volume, or is at that path of the container."""
    from re import escape

    pattern = f"^{escape(text)}:|:{escape(text)}(:ro)?$"
    yield ast.Comparison("matches", ast.Field(("mounts",)), _quote(pattern))


def _match_port(field: str, before: str, text: str, name: str) -> ast.Expr:
    """Return the condition that a port is among those of a field, in which it may follow the string `before`."""
    ports, _, protocol = text.partition("/")
    first, dash, last = ports.partition("-")
    for number in (first, last) if dash else (first,):
        if not (number.isascii() and number.isdecimal()):
            reason = f'strconv.ParseUint: parsing "{number}": invalid syntax'
            raise StatementError(f"error while looking up for {name} {text}: {reason}", code="filter")
        if int(number) > _MAX_PORT:
            reason = f'strconv.ParseUint: parsing "{number}": value out of range'
            raise StatementError(f"error while looking up for {name} {text}: {reason}", code="filter")
    low, high = int(first), int(last) if dash else int(first)
    if high < low:
        raise StatementError(
            f"error while looking up for {name} {text}: Invalid range specified for the Port: {ports}", code="filter"
        )
    numbers = "|".join(write_range(low, high))
    start = f"(^|{before})" if before else "^"
    pattern = f"{start}({numbers})/{protocol.lower() or 'tcp'}$"
    return ast.Comparison("matches", ast.Field((field,)), _quote(pattern))


def write_range(low: int, high: int) -> list[str]:
    """Return regular expressions that match the decimal numbers from `low` to `high`, and no others."""
    patterns: list[str] = []
    while low <= high:
        step = 1  # the largest block of numbers with equal first digits that begins at `low`
        while low and low % (step * 10) == 0 and low + step * 10 - 1 <= high:
            step *= 10
        last = low
        while last + step <= high - step + 1 and (last + step) // (step * 10) == low // (step * 10):
            last += step
        head, digit, final = str(low // (step * 10) or ""), low // step % 10, last // step % 10
        tail = "[0-9]" * (len(str(step)) - 1)
        patterns.append(f"{head}{f'[{digit}-{final}]' if final > digit else digit}{tail}")
        low = last + step
    return patterns
