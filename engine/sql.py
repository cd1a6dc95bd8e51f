"""The writer of SQL: bound queries to one statement and its parameters. No other module writes queries.

What a dialect does its own way (globs, maps, lists, dates) is in `Dialect`, so that another SQL engine can be added.
Comparisons follow SQL inside; where a condition is negated or shown, unknown becomes false (two-valued logic).
"""

from __future__ import annotations

from imq.grammar.record import TYPE_CHECKING, Record

from . import bound as b
from .tables.declaration import Kind

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_MOST_PLACES = 50
"""A list of more values than this travels as one JSON parameter."""
_SECOND = 1_000_000_000


class Sql(Record):
    """A statement and its parameters, by the names that stand in the text as `:name`."""

    text: str
    parameters: Mapping[str, str | float | None]


class Dialect(Record):
    """SQLite's own ways."""

    name: str = "sqlite"

    def function(self, name: str, arguments: list[str], now: str) -> str:
        """Return a call of one of the language's functions."""
        if name in ("year", "month", "day"):
            part = {"year": "%Y", "month": "%m", "day": "%d"}[name]
            return f"cast(strftime('{part}', {arguments[0]} / {_SECOND}, 'unixepoch', 'localtime') AS INTEGER)"
        if name == "age":
            return f"({now} - {arguments[0]})"
        if name == "now":
            return now
        return f"{name}({', '.join(arguments)})"

    def total(self, name: str, argument: str, kind: Kind, *, distinct: bool) -> str:
        """Return a call of one of the language's aggregates; the mean of bytes or nanoseconds is whole ones."""
        argument = f"DISTINCT {argument}" if distinct else argument
        if name == "avg" and kind is not Kind.NUMBER:
            return f"cast(round(avg({argument})) AS INTEGER)"
        if name == "list":
            return f"json_group_array({argument}) FILTER (WHERE {argument.removeprefix('DISTINCT ')} IS NOT NULL)"
        return f"{name}({argument})"

    def item(self, table: str, column: str, key: str) -> str:
        """Return the value under `key` of a map; the store keeps maps as tables, one row a key."""
        return f"(SELECT value FROM {_MAPS[column]} WHERE image = {table}._image AND key = {key})"

    def has_key(self, table: str, column: str, key: str) -> str:
        """Return whether a map has `key`."""
        return f"EXISTS (SELECT 1 FROM {_MAPS[column]} WHERE image = {table}._image AND key = {key})"

    def has_item(self, column: str, item: str) -> str:
        """Return whether a list (a JSON array) has an item."""
        return f"EXISTS (SELECT 1 FROM json_each({column}) WHERE value = {item})"

    def glob(self, pattern: str) -> str:
        """Return the pattern as SQLite's GLOB reads it: `[!…]` is `[^…]`, a backslash makes the next sign plain."""
        parts: list[str] = []
        signs = iter(pattern)
        for sign in signs:
            if sign == "\\":
                plain = next(signs, "\\")
                parts.append(f"[{plain}]" if plain in "*?[" else plain)
            else:
                parts.append("^" if sign == "!" and parts and parts[-1] == "[" else sign)
        return "".join(parts)


_MAPS = {"label": "label", "env": "variable", "annotations": "annotation"}
_COMPARED = {"=": "=", "!=": "<>", "<": "<", "<=": "<=", ">": ">", ">=": ">="}


class _Writer:
    """Writes one statement, gathering its parameters."""

    def __init__(self, dialect: Dialect, now: int, table: str) -> None:
        self._dialect = dialect
        self._now = now
        self._table = table
        self.parameters: dict[str, str | float | None] = {}

    def place(self, value: str | float | None) -> str:
        """Add a parameter and return its place."""
        name = f"p{len(self.parameters) + 1}"
        self.parameters[name] = value
        return f":{name}"

    def value(self, node: b.Bound) -> str:
        """Write an expression; conditions in it become 0 or 1."""
        text = self._raw(node)
        return f"(({text}) IS TRUE)" if node.kind is Kind.BOOLEAN and not isinstance(node, b.Column | b.Value) else text

    def condition(self, node: b.Bound) -> str:
        """Write an expression for WHERE, where unknown does not pass anyway (and an index can serve)."""
        return self._raw(node)

    def _raw(self, node: b.Bound) -> str:
        match node:
            case b.Column(field):
                return f'{self._table}."{field.name}"'
            case b.Item(field, key):
                return self._dialect.item(self._table, field.name, self.place(key))
            case b.Value(value):
                return self.place(value)
            case b.Lookup(field, image):
                return f'(SELECT "{field.name}" FROM images WHERE _image = {self.place(image)} LIMIT 1)'
            case b.Apply(function, arguments):
                written = [self.value(argument) for argument in arguments]
                return self._dialect.function(
                    function.name, written, self.place(self._now) if not written or function.name == "age" else ""
                )
            case b.Total(aggregate, argument, distinct):
                return self._dialect.total(
                    aggregate.name, "*" if argument is None else self.value(argument), node.kind, distinct=distinct
                )
            case b.Compute():
                return self._compute(node)
            case b.Test():
                return self._test(node)
            case b.Starts(operand, prefix):
                low, high = self.place(prefix), self.place(prefix + "g")
                digest = self.value(operand)
                return f"{digest} >= {low} AND {digest} < {high}"
            case b.Among(operand, values):
                return f"{self.value(operand)} IN ({self._list(values)})"
            case b.IsKnown(operand, known):
                return self._known(operand, known=known)
            case b.Negation(operand):
                return f"({self._raw(operand)}) IS NOT TRUE"
            case b.Every(operands):
                return _balanced([f"({self._raw(operand)})" for operand in operands], " AND ")
            case b.Any(operands):
                return _balanced([f"({self._raw(operand)})" for operand in operands], " OR ")

    def _compute(self, node: b.Compute) -> str:
        left, right = self.value(node.left), self.value(node.right)
        if node.operator == "/":
            quotient = f"({left} * 1.0 / {right})"
            return quotient if node.kind is Kind.NUMBER else f"cast(round{quotient} AS INTEGER)"
        text = f"({left} {node.operator} {right})"
        return text if node.kind is Kind.NUMBER or node.operator != "*" else f"cast(round{text} AS INTEGER)"

    def _test(self, node: b.Test) -> str:
        if node.operator == "like":
            pattern = node.right
            glob = (
                self.place(self._dialect.glob(str(pattern.value)))
                if isinstance(pattern, b.Value)
                else self.value(pattern)
            )
            return f"{self.value(node.left)} GLOB {glob}"
        if node.operator == "has":
            if node.left.kind is Kind.MAP and isinstance(node.left, b.Column):
                return self._dialect.has_key(self._table, node.left.field.name, self.value(node.right))
            if isinstance(node.left, b.Total) and node.left.argument is not None:  # whether a row of the group has it
                return f"max({self.value(node.left.argument)} = {self.value(node.right)})"
            return self._dialect.has_item(self.value(node.left), self.value(node.right))
        return f"{self.value(node.left)} {_COMPARED[node.operator]} {self.value(node.right)}"

    def _known(self, operand: b.Bound, *, known: bool) -> str:
        if isinstance(operand, b.Column) and operand.kind in (Kind.MAP, Kind.LIST):
            empty = "'{}'" if operand.kind is Kind.MAP else "'[]'"
            return f"coalesce({self._raw(operand)}, {empty}) {'<>' if known else '='} {empty}"
        return f"{self.value(operand)} IS {'NOT ' if known else ''}NULL"

    def _list(self, values: tuple[b.Value, ...]) -> str:
        if len(values) <= _MOST_PLACES:
            return ", ".join(self.place(value.value) for value in values)
        import json

        return f"SELECT value FROM json_each({self.place(json.dumps([value.value for value in values]))})"

    def listed(self, values: Iterable[b.Bound]) -> str:
        """Write expressions one after the other."""
        return ", ".join(self.value(value) for value in values)


def _balanced(parts: list[str], joint: str) -> str:
    """Join many conditions as a balanced tree: SQLite limits how deep an expression may be."""
    while len(parts) > 16:
        parts = [f"({joint.join(parts[at : at + 16])})" for at in range(0, len(parts), 16)]
    return joint.join(parts)


def write_select(select: b.Select, now: int, dialect: Dialect | None = None, hidden: tuple[str, ...] = ()) -> Sql:
    """Return the SQL of a query. Its columns are the selected ones in order, then the `hidden` keys of the source."""
    table = select.table.name
    writer = _Writer(dialect or Dialect(), now, table)
    columns = [f"{writer.value(column.value)} AS c{place}" for place, column in enumerate(select.columns)]
    columns += [f"{table}.{name} AS {name}" for name in hidden]
    if select.spared or (select.limit and select.limit.per) or (select.skip and select.skip.per):
        text = _counted(writer, select, columns, hidden)
    else:
        text = f"SELECT {', '.join(columns)}{_rows(writer, select)}"
        if select.order:
            text += f" ORDER BY {_directed((writer.value(key.value) for key in select.order), select.order)}"
        if select.limit or select.skip:
            text += f" LIMIT {writer.place(select.limit.count if select.limit else -1)}"
            text += f" OFFSET {writer.place(select.skip.count)}" if select.skip else ""
    if select.count:
        text = f"SELECT count(*) FROM ({text})"
    return Sql(text, writer.parameters)


def _rows(writer: _Writer, select: b.Select) -> str:
    """Write which rows there are: the table, its conditions, its groups."""
    table = select.table.name
    conditions = []
    if select.images is not None:
        conditions.append(f"{table}._image IN ({', '.join(writer.place(key) for key in select.images)})")
    if select.where is not None:
        where = writer.condition(select.where)
        conditions.append(f"({where})" if conditions else where)
    text = f" FROM {table}"
    if conditions:
        text += f" WHERE {' AND '.join(conditions)}"
    if select.group:
        text += f" GROUP BY {writer.listed(select.group)}"
    if select.having is not None:
        text += f" HAVING {writer.condition(select.having)}"
    return text


def _directed(values: Iterable[str], keys: Iterable[b.Key]) -> str:
    """Write the keys of an order; unknown ones come last."""
    return ", ".join(
        f"{value} {'DESC' if key.descending else 'ASC'} NULLS LAST" for value, key in zip(values, keys, strict=True)
    )


def _counted(writer: _Writer, select: b.Select, columns: list[str], hidden: tuple[str, ...]) -> str:
    """Write a query that counts rows, perhaps within groups: `except newest`, then `skip`, then `limit`.

    Each of them counts the rows that the one before it left.
    """
    inner = list(columns)
    inner += [f"{writer.value(key.value)} AS o{place}" for place, key in enumerate(select.order)]
    order = _directed((f"o{place}" for place in range(len(select.order))), select.order)
    steps: list[tuple[tuple[b.Bound, ...], str, str]] = []
    if select.spared is not None:
        inner.append(f"{writer.value(select.spared.by)} AS newness")
        kept = f"> {writer.place(select.spared.count)} AND newness IS NOT NULL"
        steps.append((select.spared.per, f"newness DESC NULLS LAST, {order}", kept))
    if select.skip is not None:
        steps.append((select.skip.per, order, f"> {writer.place(select.skip.count)}"))
    if select.limit is not None:
        steps.append((select.limit.per, order, f"<= {writer.place(select.limit.count)}"))
    for at, (per, _, _) in enumerate(steps):
        inner += [f"{writer.value(key)} AS p{at}_{place}" for place, key in enumerate(per)]
    text = f"SELECT {', '.join(inner)}{_rows(writer, select)}"
    for at, (per, by, kept) in enumerate(steps):
        partition = f"PARTITION BY {', '.join(f'p{at}_{place}' for place in range(len(per)))} " if per else ""
        text = f"SELECT *, row_number() OVER ({partition}ORDER BY {by}) AS n{at} FROM ({text})"
        text = f"SELECT * FROM ({text}) WHERE n{at} {kept}"
    shown = [*(f"c{place}" for place in range(len(select.columns))), *hidden]
    return f"SELECT {', '.join(shown)} FROM ({text}) ORDER BY {order}"
