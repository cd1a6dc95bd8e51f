"""Bound queries to SQL, clause by clause.

Comparisons follow SQL inside; where a condition is negated or shown, unknown becomes false (two-valued logic).
"""

from __future__ import annotations

from imq.engine.catalog.tables import DERIVED, DataType
from imq.engine.query import ir as b
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from imq.engine.catalog.tables import Field, Table

    from .dialect import Dialect

    Outputs = Callable[[str], list[tuple[str, str]]]

_MOST_PLACES = 50
"""A list of more values than this travels as one JSON parameter."""
_WHOLE_DIGEST = len("sha256:") + 64
_MAPS = {"label": "label", "env": "variable", "annotations": "annotation"}
_COMPARED = {"=": "=", "!=": "<>", "<": "<", "<=": "<=", ">": ">", ">=": ">="}


class SqlGenerator:
    """Writes one statement, gathering its parameters. `row` is what the row is called that expressions are about."""

    def __init__(self, dialect: Dialect, now: int) -> None:
        self._dialect = dialect
        self._now = now
        self._row = ""
        self._derived: dict[str, str] | None = None
        self._called: dict[str, int] = {}
        self._hoisted: dict[str, str] = {}
        self.parameters: dict[str, str | float | None] = {}
        self.functions: set[str] = set()

    def add_parameter(self, value: str | float | None) -> str:
        """Add a parameter and return its place."""
        name = f"p{len(self.parameters) + 1}"
        self.parameters[name] = value
        return f":{name}"

    def add_cte(self, text: str) -> str:
        """Return a name for a query inside the statement that is about no row outside; it goes to the front.

        SQLite's parser takes no more than about thirty queries within each other.
        """
        return self._hoisted.setdefault(text, f"q{len(self._hoisted) + 1}")

    def with_ctes(self, text: str) -> str:
        """Return a statement with the queries before it that it names."""
        if not self._hoisted:
            return text
        return "WITH " + ", ".join(f"{name} AS ({query})" for query, name in self._hoisted.items()) + f" {text}"

    # Expressions

    def value(self, node: b.Expr) -> str:
        """Write an expression; conditions in it become 0 or 1."""
        text = self._raw(node)
        return (
            f"(({text}) IS TRUE)"
            if node.kind is DataType.BOOLEAN and not isinstance(node, b.Column | b.Literal)
            else text
        )

    def _raw(self, node: b.Expr) -> str:
        match node:
            case b.Column(field):
                return self._column(field)
            case b.RowNumber():
                return f"{self._row}._row"
            case b.MapItem(field, key):
                column = self._column(field)
                return self._dialect.item(self._row, self._map(field.name), column, self.add_parameter(key))
            case b.Literal(value):
                return self.add_parameter(value)
            case b.ImageField(field, image):
                column = self._field("images", field)
                return f"(SELECT {column} FROM images WHERE _image = {self.add_parameter(image)} LIMIT 1)"
            case b.ScalarSubquery(select):
                return f"({self.one(select)})"
            case b.Exists(select):
                return f"EXISTS ({self.select(select, one_column, ordered=False)})"
            case b.InSubquery(operand, select, starts):
                return self._within(self.value(operand), select, starts=starts)
            case b.RowInSubquery(keys, select):
                among = self.select(
                    select, lambda _: [(self._key(c.value for c in select.columns), "k")], ordered=False
                )
                return f"{self._key(keys)} IN (SELECT k FROM {self.add_cte(among)})"
            case b.RelatedTo(link, select):
                inside, outside = zip(*self._dialect.linked(link), strict=True)
                among = self.select(select, lambda row: [(f"{row}.{name}", name) for name in outside], ordered=False)
                names = ", ".join(f"{self._row}.{name}" for name in inside)
                return f"({names}) IN (SELECT {', '.join(outside)} FROM {self.add_cte(among)})"
            case b.ImageRelation(how, image):
                return self._dialect.image_relation(how, self._row, self.add_parameter(image))
            case b.FunctionCall(function, arguments):
                return self._apply(function.name, arguments)
            case b.AggregateCall(aggregate, argument, distinct):
                if aggregate.name in self._dialect.registered:
                    self.functions.add(aggregate.name)
                if aggregate.name == "list" and argument is not None:
                    beside = [self.value(other) for other in node.beside]
                    return self._dialect.listed(self.value(argument), argument.kind, beside, distinct=distinct)
                return self._dialect.aggregate(
                    aggregate.name, "*" if argument is None else self.value(argument), node.kind, distinct=distinct
                )
            case b.Arithmetic():
                return self._compute(node)
            case b.Comparison():
                return self._test(node)
            case b.HasPrefix(operand, prefix):
                low, high = self.add_parameter(prefix), self.add_parameter(prefix + "g")
                digest = self.value(operand)
                return f"{digest} >= {low} AND {digest} < {high}"
            case b.InList(operand, values) if operand.kind is DataType.VERSION:
                return self._raw(b.Or(tuple(b.Comparison("=", operand, value) for value in values)))
            case b.InList(operand, values):
                return f"{self.value(operand)} IN ({self._list(values)})"
            case b.IsKnown(operand, known):
                return self._known(operand, known=known)
            case b.Not(operand):
                return f"({self._raw(operand)}) IS NOT TRUE"
            case b.And(operands):
                return _balanced([f"({self._raw(operand)})" for operand in operands], " AND ")
            case b.Or(operands):
                return _balanced([f"({self._raw(operand)})" for operand in operands], " OR ")

    def _column(self, field: Field) -> str:
        if self._derived is not None:
            return f"{self._row}.{self._derived[field.name]}"
        return self._field(self._row, field)

    def _field(self, row: str, field: Field) -> str:
        """Write a field of a row of a table that is not itself a query."""
        if field.computed_from is None:
            return f"{row}.{quoted(field.name)}"
        function, given, part = field.computed_from
        self.functions.add(function)
        return self._dialect.function(
            function, [f"{row}.{quoted(given)}", str(part)], [DataType.TEXT, DataType.NUMBER], ""
        )

    def _map(self, field: str) -> str:
        """Return the table in which the store keeps this map of its images; empty when the row is not of there."""
        return _MAPS.get(field, "") if self._row.partition("_")[0] == "images" and self._derived is None else ""

    def _key(self, keys: Iterable[b.Expr]) -> str:
        """Write keys as one value that is always known, so that unknown ones can be equal."""
        return f"json_array({self.listed(keys)})"

    def _apply(self, name: str, arguments: tuple[b.Expr, ...]) -> str:
        written = [self.value(argument) for argument in arguments]
        if name in self._dialect.registered:
            self.functions.add(name)
        now = self.add_parameter(self._now) if name in ("now", "age") else ""
        return self._dialect.function(name, written, [argument.kind for argument in arguments], now)

    def _within(self, operand: str, select: b.Select, *, starts: bool) -> str:
        def column(_: str) -> list[tuple[str, str]]:
            return [(self.value(select.columns[0].value), "v")]

        among = self.add_cte(self.select(select, column, ordered=False))
        whole = f"{operand} IN (SELECT v FROM {among})"
        if not starts:
            return whole
        short = f"length(v) < {_WHOLE_DIGEST} AND {operand} >= v AND {operand} < v || 'g'"
        return f"({whole} OR EXISTS (SELECT 1 FROM {among} WHERE {short}))"

    def _compute(self, node: b.Arithmetic) -> str:
        left, right = self.value(node.left), self.value(node.right)
        if node.operator == "/":
            quotient = f"({left} * 1.0 / {right})"
            return quotient if node.kind is DataType.NUMBER else f"cast(round{quotient} AS INTEGER)"
        text = f"({left} {node.operator} {right})"
        return text if node.kind is DataType.NUMBER or node.operator != "*" else f"cast(round{text} AS INTEGER)"

    def _test(self, node: b.Comparison) -> str:
        if node.operator in ("=", "like", "matches") and isinstance(node.right, b.Literal):
            if isinstance(node.left, b.MapItem) and (native := self._map(node.left.field.name)):
                key = self.add_parameter(node.left.key)
                return self._dialect.item_found(self._row, native, key, self._text_test("value", node, node.right))
            if isinstance(node.left, b.Column) and self._commands(node.left):
                return self._dialect.command_found(self._row, self._text_test("text", node, node.right))
        if node.operator in ("like", "matches"):
            if node.left.kind in (DataType.LIST, DataType.MAP):
                pairs = node.left.kind is DataType.MAP
                return self._dialect.any_text(self.value(node.left), lambda text: self._alike(text, node), pairs=pairs)
            return self._alike(self._said(node.left), node)
        if node.operator == "has":
            if node.left.kind is DataType.MAP and isinstance(node.left, b.Column):
                name = node.left.field.name
                column = self._column(node.left.field)
                return self._dialect.has_key(self._row, self._map(name), column, self.value(node.right))
            if (
                isinstance(node.left, b.AggregateCall) and node.left.argument is not None
            ):  # whether a row of the group has it
                return f"max({self.value(node.left.argument)} = {self.value(node.right)})"
            return self._dialect.has_item(self.value(node.left), self.value(node.right))
        left, right = self.value(node.left), self.value(node.right)
        if node.left.kind is DataType.VERSION:
            left, right = self._dialect.version_key(left), self._dialect.version_key(right)
        return f"{left} {_COMPARED[node.operator]} {right}"

    def _alike(self, text: str, node: b.Comparison) -> str:
        """Write whether a text is like a pattern, or matches it."""
        pattern = node.right
        if node.operator == "matches":
            self.functions.add("matches")
            return self._dialect.function("matches", [text, self.value(pattern)], [DataType.TEXT, DataType.TEXT], "")
        if isinstance(pattern, b.Literal):
            return f"{text} GLOB {self.add_parameter(self._dialect.glob(str(pattern.value)))}"
        return f"{text} GLOB {self.value(pattern)}"

    def _said(self, node: b.Expr) -> str:
        """Write a value as the text that people see."""
        text = self.value(node)
        return self._dialect.version_text(text) if node.kind is DataType.VERSION else text

    def _commands(self, column: b.Column) -> bool:
        """Whether a column shows the commands of layers or steps as the store keeps them."""
        kept = self._row.partition("_")[0] in ("layers", "history") and self._derived is None
        return kept and column.field.name == "created_by"

    def _text_test(self, column: str, node: b.Comparison, value: b.Literal) -> str:
        """Write a test of a text of the store, by the name of its column."""
        if node.operator in ("like", "matches"):
            return self._alike(column, node)
        return f"{column} = {self.add_parameter(value.value)}"

    def _known(self, operand: b.Expr, *, known: bool) -> str:
        if isinstance(operand, b.Column) and operand.kind in (DataType.MAP, DataType.LIST):
            empty = "'{}'" if operand.kind is DataType.MAP else "'[]'"
            return f"coalesce({self._raw(operand)}, {empty}) {'<>' if known else '='} {empty}"
        return f"{self.value(operand)} IS {'NOT ' if known else ''}NULL"

    def _list(self, values: tuple[b.Literal, ...]) -> str:
        if len(values) <= _MOST_PLACES:
            return ", ".join(self.add_parameter(value.value) for value in values)
        import json

        return f"SELECT value FROM json_each({self.add_parameter(json.dumps([value.value for value in values]))})"

    def listed(self, values: Iterable[b.Expr]) -> str:
        """Write expressions one after the other."""
        return ", ".join(self.value(value) for value in values)

    # Queries

    def select(self, select: b.Select, outputs: Outputs, *, ordered: bool = True) -> str:
        """Write a query. `outputs` is given what a row is called and returns each column: its SQL, and its name.

        `ordered` says that the order of the rows matters, also when it does not decide which rows there are.
        """
        outer, derived = self._row, self._derived
        row = self._name(select.table)
        source = self._from(select.base, select.table, row)
        self._row, self._derived = row, _columns_of(select.table)
        try:
            source += self._conditions(select, row, outer)
            if select.keep_newest or select.until or _per(select.limit) or _per(select.skip):
                return self._cut(select, outputs(row), source)
            text = f"SELECT {_named(outputs(row))}{source}"
            if select.order and (ordered or select.limit or select.skip):
                text += f" ORDER BY {_directed((self.value(key.value) for key in select.order), select.order)}"
            if select.limit or select.skip:
                text += f" LIMIT {self.add_parameter(select.limit.count if select.limit else -1)}"
                text += f" OFFSET {self.add_parameter(select.skip.count)}" if select.skip else ""
            return text
        finally:
            self._row, self._derived = outer, derived

    def one(self, select: b.Select) -> str:
        """Write a query for the one value that it answers."""
        if not select.count:
            return self.select(select, lambda _: [(self.value(select.columns[0].value), "")])
        rows = select.replace(count=False)
        if sum(cut is not None for cut in (select.keep_newest, select.skip, select.limit)) < 2 and select.until is None:
            rows = rows.replace(order=())  # how many one cut leaves does not depend on which rows come first
        if select.group is None and not select.is_limited:
            return self.select(rows, lambda _: [("count(*)", "")], ordered=False)
        return f"SELECT count(*) FROM ({self.select(rows, one_column, ordered=False)})"

    def rows(self, base: b.Select | b.Union) -> str:
        """Write a query of whole rows of a table for the identities of these rows."""
        if isinstance(base, b.Union):
            left, right = self.add_cte(self.rows(base.left)), self.add_cte(self.rows(base.right))
            return f"SELECT _row FROM {left} UNION ALL SELECT _row FROM {right}"
        return self.select(base, lambda row: [(f"{row}._row", "_row")], ordered=False)

    def columns(self, base: b.Select | b.Union) -> str:
        """Write a query for its columns, called c0, c1 …, and the place of each row (`_row`)."""
        if isinstance(base, b.Union):
            sides = (base.left, base.right)
            parts = [
                f"SELECT *, {at} AS _side FROM {self.add_cte(self.columns(side))}" for at, side in enumerate(sides)
            ]
            names = ", ".join(f"c{at}" for at in range(len(base.left.table.fields)))
            both = " UNION ALL ".join(parts)
            return f"SELECT {names}, row_number() OVER (ORDER BY _side, _row) AS _row FROM ({both})"
        if base.count:
            return f"SELECT ({self.one(base)}) AS c0, 1 AS _row"
        if base.is_whole_rows:  # of what is itself a query
            fields = [(f"c{at}", f"c{at}") for at in range(len(base.table.fields))]
            return self.select(base, lambda row: [*fields, (f"{row}._row", "_row")], ordered=False)

        def outputs(_: str) -> list[tuple[str, str]]:
            values = [(self.value(column.value), f"c{at}") for at, column in enumerate(base.columns)]
            order = _directed((self.value(key.value) for key in base.order), base.order)
            over = f"row_number() OVER (ORDER BY {order})" if order else "1"
            return [*values, (over, "_row")]

        return self.select(base, outputs, ordered=False)

    def _name(self, table: Table) -> str:
        """Return what the rows of a query are called: as their table, with a number when that is taken."""
        name = "answer" if table.view == DERIVED else table.sql_name
        self._called[name] = count = self._called.get(name, 0) + 1
        return name if count == 1 else f"{name}_{count}"

    def _from(self, base: b.Select | b.Union | None, table: Table, row: str) -> str:
        if table.view == DERIVED:
            assert base is not None
            return f" FROM {self.add_cte(self.columns(base))} AS {row}"
        return f" FROM {table.sql_name}" + (f" AS {row}" if row != table.sql_name else "")

    def _conditions(self, select: b.Select, row: str, outer: str) -> str:
        """Write which rows there are: conditions and groups."""
        conditions = []
        if select.join:
            conditions.append(self._dialect.join(select.join, row, outer))
        if select.base is not None and select.table.view != DERIVED:
            conditions.append(f"{row}._row IN (SELECT _row FROM {self.add_cte(self.rows(select.base))})")
        if select.targets is not None:
            conditions.append(f"{row}._image IN ({self._images(select.targets)})")
        if select.where is not None:
            where = self._raw(select.where)
            conditions.append(f"({where})" if conditions else where)
        text = f" WHERE {' AND '.join(conditions)}" if conditions else ""
        if select.group:
            text += f" GROUP BY {self.listed(select.group)}"
        if select.having is not None:
            text += f" HAVING {self._raw(select.having)}"
        return text

    def _images(self, of: tuple[int | b.Select, ...]) -> str:
        places = [self.add_parameter(part) for part in of if isinstance(part, int)]
        queries = [part for part in of if isinstance(part, b.Select)]
        parts = [f"SELECT _image FROM {self.add_cte(self.select(q, _images_of, ordered=False))}" for q in queries]
        if not parts:
            return ", ".join(places)
        return " UNION ".join([*parts, *(f"SELECT {place}" for place in places)])

    def _cut(self, select: b.Select, columns: list[tuple[str, str]], source: str) -> str:
        """Write a query that counts rows, perhaps within groups: `except newest`, then `skip`, `limit`, `until`.

        Each of them counts the rows that the one before it left.
        """
        inner = list(columns)
        inner += [(self.value(key.value), f"_o{place}") for place, key in enumerate(select.order)]
        order = _directed((f"_o{place}" for place in range(len(select.order))), select.order) or "1"
        steps: list[tuple[tuple[b.Expr, ...], str, str]] = []
        if select.keep_newest is not None:
            inner.append((self.value(select.keep_newest.by), "_newness"))
            kept = f"> {self.add_parameter(select.keep_newest.count)} AND _newness IS NOT NULL"
            steps.append((select.keep_newest.per, f"_newness DESC NULLS LAST, {order}".removesuffix(", 1"), kept))
        if select.skip is not None:
            steps.append((select.skip.per, order, f"> {self.add_parameter(select.skip.count)}"))
        if select.limit is not None:
            steps.append((select.limit.per, order, f"<= {self.add_parameter(select.limit.count)}"))
        for at, (per, _, _) in enumerate(steps):
            inner += [(self.value(key), f"_p{at}_{place}") for place, key in enumerate(per)]
        if select.until is not None:
            taken = {name for _, name in columns}
            inner += [(f"{self._row}.{name}", name) for name in ("_root", "_entry") if name not in taken]
        text = f"SELECT {_named(inner)}{source}"
        for at, (per, by, kept) in enumerate(steps):
            partition = f"PARTITION BY {', '.join(f'_p{at}_{place}' for place in range(len(per)))} " if per else ""
            text = f"SELECT *, row_number() OVER ({partition}ORDER BY {by}) AS _n{at} FROM ({text})"
            text = f"SELECT * FROM ({text}) WHERE _n{at} {kept}"
        if select.until is not None:
            text = self._dialect.until(text, order, self.add_parameter(select.until.size), below=select.until.below)
        return f"SELECT {', '.join(name for _, name in columns)} FROM ({text}) ORDER BY {order}"


def quoted(name: str) -> str:
    """Return the name of a column as SQL writes it."""
    return '"' + name.replace('"', '""') + '"'


def _columns_of(table: Table) -> dict[str, str] | None:
    """Return what the columns of a query of a query are called, by the names of their fields."""
    return {field.name: f"c{at}" for at, field in enumerate(table.fields)} if table.view == DERIVED else None


def one_column(_row: str) -> list[tuple[str, str]]:
    """Return the outputs of a query whose rows matter and whose columns do not."""
    return [("1", "one")]


def _images_of(row: str) -> list[tuple[str, str]]:
    return [(f"{row}._image", "_image")]


def _named(columns: list[tuple[str, str]]) -> str:
    return ", ".join(f"{text} AS {name}" if name else text for text, name in columns)


def _per(cut: b.Limit | None) -> bool:
    return cut is not None and bool(cut.per)


def _balanced(parts: list[str], joint: str) -> str:
    """Join many conditions as a balanced tree: SQLite limits how deep an expression may be."""
    while len(parts) > 16:
        parts = [f"({joint.join(parts[at : at + 16])})" for at in range(0, len(parts), 16)]
    return joint.join(parts)


def _directed(values: Iterable[str], keys: Iterable[b.SortKey]) -> str:
    """Write the keys of an order; unknown ones come last."""
    return ", ".join(
        f"{value} {'DESC' if key.descending else 'ASC'} NULLS LAST" for value, key in zip(values, keys, strict=True)
    )
