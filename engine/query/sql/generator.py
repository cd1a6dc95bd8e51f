"""Bound queries to SQL, clause by clause.

Comparisons follow SQL inside; where a condition is negated or shown, unknown becomes false (two-valued logic).
"""

from __future__ import annotations

from imq.engine.catalog.tables import DERIVED, DataType
from imq.engine.query import ir
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from imq.engine.catalog.tables import Field, Table

    from .dialect import Dialect

    Outputs = Callable[[str], list[tuple[str, str]]]

_MAX_INLINE_VALUES = 50
"""A list of more values than this travels as one JSON parameter."""
_WHOLE_DIGEST = len("sha256:") + 64
_MAPS = {"label": "label", "env": "variable", "annotations": "annotation"}
_COMPARED = {"=": "=", "!=": "<>", "<": "<", "<=": "<=", ">": ">", ">=": ">="}


class SqlGenerator:
    """Writes one statement, gathering its parameters. `row` is what the row is called that expressions are about."""

    def __init__(self, dialect: Dialect, now: int) -> None:
        self._dialect = dialect
        self._now = now
        self._alias = ""
        self._derived: dict[str, str] | None = None
        self._alias_counts: dict[str, int] = {}
        self._ctes: dict[str, str] = {}
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
        return self._ctes.setdefault(text, f"q{len(self._ctes) + 1}")

    def with_ctes(self, text: str) -> str:
        """Return a statement with the queries before it that it names."""
        if not self._ctes:
            return text
        return "WITH " + ", ".join(f"{name} AS ({query})" for query, name in self._ctes.items()) + f" {text}"

    # Expressions

    def value(self, node: ir.Expr) -> str:
        """Write an expression; conditions in it become 0 or 1."""
        text = self._expression(node)
        return (
            f"(({text}) IS TRUE)"
            if node.kind is DataType.BOOLEAN and not isinstance(node, ir.Column | ir.Literal)
            else text
        )

    def _expression(self, node: ir.Expr) -> str:
        match node:
            case ir.Column(field):
                return self._column(field)
            case ir.RowNumber():
                return f"{self._alias}._row"
            case ir.MapItem(field, key):
                column = self._column(field)
                return self._dialect.item(self._alias, self._native_map(field.name), column, self.add_parameter(key))
            case ir.Literal(value):
                return self.add_parameter(value)
            case ir.ImageField(field, image):
                column = self._field("images", field)
                return f"(SELECT {column} FROM images WHERE _image = {self.add_parameter(image)} LIMIT 1)"
            case ir.ScalarSubquery(select):
                return f"({self.select_scalar(select)})"
            case ir.Exists(select):
                return f"EXISTS ({self.select(select, one_column, ordered=False)})"
            case ir.InSubquery(operand, select, starts):
                return self._in_subquery(self.value(operand), select, starts=starts)
            case ir.RowInSubquery(keys, select):
                among = self.select(
                    select, lambda _: [(self._key(c.value for c in select.columns), "k")], ordered=False
                )
                return f"{self._key(keys)} IN (SELECT k FROM {self.add_cte(among)})"
            case ir.RelatedTo(link, select):
                inside, outside = zip(*self._dialect.linked(link), strict=True)
                among = self.select(select, lambda row: [(f"{row}.{name}", name) for name in outside], ordered=False)
                names = ", ".join(f"{self._alias}.{name}" for name in inside)
                return f"({names}) IN (SELECT {', '.join(outside)} FROM {self.add_cte(among)})"
            case ir.ImageRelation(how, image):
                return self._dialect.image_relation(how, self._alias, self.add_parameter(image))
            case ir.FunctionCall(function, arguments):
                return self._function_call(function.name, arguments)
            case ir.AggregateCall(aggregate, argument, distinct):
                if aggregate.name in self._dialect.registered:
                    self.functions.add(aggregate.name)
                if aggregate.name == "list" and argument is not None:
                    beside = [self.value(other) for other in node.beside]
                    return self._dialect.listed(self.value(argument), argument.kind, beside, distinct=distinct)
                return self._dialect.aggregate(
                    aggregate.name, "*" if argument is None else self.value(argument), node.kind, distinct=distinct
                )
            case ir.Arithmetic():
                return self._arithmetic(node)
            case ir.Comparison():
                return self._comparison(node)
            case ir.HasPrefix(operand, prefix):
                low, high = self.add_parameter(prefix), self.add_parameter(prefix + "g")
                digest = self.value(operand)
                return f"{digest} >= {low} AND {digest} < {high}"
            case ir.InList(operand, values) if operand.kind is DataType.VERSION:
                return self._expression(ir.Or(tuple(ir.Comparison("=", operand, value) for value in values)))
            case ir.InList(operand, values):
                return f"{self.value(operand)} IN ({self._list(values)})"
            case ir.IsKnown(operand, known):
                return self._is_known(operand, known=known)
            case ir.Not(operand):
                return f"({self._expression(operand)}) IS NOT TRUE"
            case ir.And(operands):
                return _join_balanced([f"({self._expression(operand)})" for operand in operands], " AND ")
            case ir.Or(operands):
                return _join_balanced([f"({self._expression(operand)})" for operand in operands], " OR ")

    def _column(self, field: Field) -> str:
        if self._derived is not None:
            return f"{self._alias}.{self._derived[field.name]}"
        return self._field(self._alias, field)

    def _field(self, row: str, field: Field) -> str:
        """Write a field of a row of a table that is not itself a query."""
        if field.computed_from is None:
            return f"{row}.{quoted(field.name)}"
        function, given, part = field.computed_from
        self.functions.add(function)
        return self._dialect.function(
            function, [f"{row}.{quoted(given)}", str(part)], [DataType.TEXT, DataType.NUMBER], ""
        )

    def _native_map(self, field: str) -> str:
        """Return the table in which the store keeps this map of its images; empty when the row is not of there."""
        return _MAPS.get(field, "") if self._alias.partition("_")[0] == "images" and self._derived is None else ""

    def _key(self, keys: Iterable[ir.Expr]) -> str:
        """Write keys as one value that is always known, so that unknown ones can be equal."""
        return f"json_array({self.expression_list(keys)})"

    def _function_call(self, name: str, arguments: tuple[ir.Expr, ...]) -> str:
        written = [self.value(argument) for argument in arguments]
        if name in self._dialect.registered:
            self.functions.add(name)
        now = self.add_parameter(self._now) if name in ("now", "age") else ""
        return self._dialect.function(name, written, [argument.kind for argument in arguments], now)

    def _in_subquery(self, operand: str, select: ir.Select, *, starts: bool) -> str:
        def column(_: str) -> list[tuple[str, str]]:
            return [(self.value(select.columns[0].value), "v")]

        among = self.add_cte(self.select(select, column, ordered=False))
        whole = f"{operand} IN (SELECT v FROM {among})"
        if not starts:
            return whole
        short = f"length(v) < {_WHOLE_DIGEST} AND {operand} >= v AND {operand} < v || 'g'"
        return f"({whole} OR EXISTS (SELECT 1 FROM {among} WHERE {short}))"

    def _arithmetic(self, node: ir.Arithmetic) -> str:
        left, right = self.value(node.left), self.value(node.right)
        if node.operator == "/":
            quotient = f"({left} * 1.0 / {right})"
            return quotient if node.kind is DataType.NUMBER else f"cast(round{quotient} AS INTEGER)"
        text = f"({left} {node.operator} {right})"
        return text if node.kind is DataType.NUMBER or node.operator != "*" else f"cast(round{text} AS INTEGER)"

    def _comparison(self, node: ir.Comparison) -> str:
        if node.operator in ("=", "like", "matches") and isinstance(node.right, ir.Literal):
            if isinstance(node.left, ir.MapItem) and (native := self._native_map(node.left.field.name)):
                key = self.add_parameter(node.left.key)
                return self._dialect.item_found(self._alias, native, key, self._text_test("value", node, node.right))
            if isinstance(node.left, ir.Column) and self._is_native_command(node.left):
                return self._dialect.command_found(self._alias, self._text_test("text", node, node.right))
        if node.operator in ("like", "matches"):
            if node.left.kind in (DataType.LIST, DataType.MAP):
                pairs = node.left.kind is DataType.MAP
                return self._dialect.any_text(
                    self.value(node.left), lambda text: self._pattern_match(text, node), pairs=pairs
                )
            return self._pattern_match(self._as_shown(node.left), node)
        if node.operator == "has":
            if node.left.kind is DataType.MAP and isinstance(node.left, ir.Column):
                name = node.left.field.name
                column = self._column(node.left.field)
                return self._dialect.has_key(self._alias, self._native_map(name), column, self.value(node.right))
            if (
                isinstance(node.left, ir.AggregateCall) and node.left.argument is not None
            ):  # whether a row of the group has it
                return f"max({self.value(node.left.argument)} = {self.value(node.right)})"
            return self._dialect.has_item(self.value(node.left), self.value(node.right))
        left, right = self.value(node.left), self.value(node.right)
        if node.left.kind is DataType.VERSION:
            left, right = self._dialect.version_key(left), self._dialect.version_key(right)
        return f"{left} {_COMPARED[node.operator]} {right}"

    def _pattern_match(self, text: str, node: ir.Comparison) -> str:
        """Write whether a text is like a pattern, or matches it."""
        pattern = node.right
        if node.operator == "matches":
            self.functions.add("matches")
            return self._dialect.function("matches", [text, self.value(pattern)], [DataType.TEXT, DataType.TEXT], "")
        if isinstance(pattern, ir.Literal):
            return f"{text} GLOB {self.add_parameter(self._dialect.glob(str(pattern.value)))}"
        return f"{text} GLOB {self.value(pattern)}"

    def _as_shown(self, node: ir.Expr) -> str:
        """Write a value as the text that people see."""
        text = self.value(node)
        return self._dialect.version_text(text) if node.kind is DataType.VERSION else text

    def _is_native_command(self, column: ir.Column) -> bool:
        """Whether a column shows the commands of layers or steps as the store keeps them."""
        kept = self._alias.partition("_")[0] in ("layers", "history") and self._derived is None
        return kept and column.field.name == "created_by"

    def _text_test(self, column: str, node: ir.Comparison, value: ir.Literal) -> str:
        """Write a test of a text of the store, by the name of its column."""
        if node.operator in ("like", "matches"):
            return self._pattern_match(column, node)
        return f"{column} = {self.add_parameter(value.value)}"

    def _is_known(self, operand: ir.Expr, *, known: bool) -> str:
        if isinstance(operand, ir.Column) and operand.kind in (DataType.MAP, DataType.LIST):
            empty = "'{}'" if operand.kind is DataType.MAP else "'[]'"
            return f"coalesce({self._expression(operand)}, {empty}) {'<>' if known else '='} {empty}"
        return f"{self.value(operand)} IS {'NOT ' if known else ''}NULL"

    def _list(self, values: tuple[ir.Literal, ...]) -> str:
        if len(values) <= _MAX_INLINE_VALUES:
            return ", ".join(self.add_parameter(value.value) for value in values)
        import json

        return f"SELECT value FROM json_each({self.add_parameter(json.dumps([value.value for value in values]))})"

    def expression_list(self, values: Iterable[ir.Expr]) -> str:
        """Write expressions one after the other."""
        return ", ".join(self.value(value) for value in values)

    # Queries

    def select(self, select: ir.Select, outputs: Outputs, *, ordered: bool = True) -> str:
        """Write a query. `outputs` is given what a row is called and returns each column: its SQL, and its name.

        `ordered` says that the order of the rows matters, also when it does not decide which rows there are.
        """
        outer, derived = self._alias, self._derived
        row = self._row_alias(select.table)
        source = self._from(select.base, select.table, row)
        self._alias, self._derived = row, _columns_of(select.table)
        try:
            source += self._conditions(select, row, outer)
            if select.keep_newest or select.until or _per(select.limit) or _per(select.skip):
                return self._windowed(select, outputs(row), source)
            text = f"SELECT {_select_list(outputs(row))}{source}"
            if select.order and (ordered or select.limit or select.skip):
                text += f" ORDER BY {_order_by((self.value(key.value) for key in select.order), select.order)}"
            if select.limit or select.skip:
                text += f" LIMIT {self.add_parameter(select.limit.count if select.limit else -1)}"
                text += f" OFFSET {self.add_parameter(select.skip.count)}" if select.skip else ""
            return text
        finally:
            self._alias, self._derived = outer, derived

    def select_scalar(self, select: ir.Select) -> str:
        """Write a query for the one value that it answers."""
        if not select.count:
            return self.select(select, lambda _: [(self.value(select.columns[0].value), "")])
        rows = select.replace(count=False)
        if sum(cut is not None for cut in (select.keep_newest, select.skip, select.limit)) < 2 and select.until is None:
            rows = rows.replace(order=())  # how many one cut leaves does not depend on which rows come first
        if select.group is None and not select.is_limited:
            return self.select(rows, lambda _: [("count(*)", "")], ordered=False)
        return f"SELECT count(*) FROM ({self.select(rows, one_column, ordered=False)})"

    def select_row_ids(self, base: ir.Select | ir.Union) -> str:
        """Write a query of whole rows of a table for the identities of these rows."""
        if isinstance(base, ir.Union):
            left, right = self.add_cte(self.select_row_ids(base.left)), self.add_cte(self.select_row_ids(base.right))
            return f"SELECT _row FROM {left} UNION ALL SELECT _row FROM {right}"
        return self.select(base, lambda row: [(f"{row}._row", "_row")], ordered=False)

    def select_columns(self, base: ir.Select | ir.Union) -> str:
        """Write a query for its columns, called c0, c1 …, and the place of each row (`_row`)."""
        if isinstance(base, ir.Union):
            sides = (base.left, base.right)
            parts = [
                f"SELECT *, {at} AS _side FROM {self.add_cte(self.select_columns(side))}"
                for at, side in enumerate(sides)
            ]
            names = ", ".join(f"c{at}" for at in range(len(base.left.table.fields)))
            both = " UNION ALL ".join(parts)
            return f"SELECT {names}, row_number() OVER (ORDER BY _side, _row) AS _row FROM ({both})"
        if base.count:
            return f"SELECT ({self.select_scalar(base)}) AS c0, 1 AS _row"
        if base.is_whole_rows:  # of what is itself a query
            fields = [(f"c{at}", f"c{at}") for at in range(len(base.table.fields))]
            return self.select(base, lambda row: [*fields, (f"{row}._row", "_row")], ordered=False)

        def outputs(_: str) -> list[tuple[str, str]]:
            values = [(self.value(column.value), f"c{at}") for at, column in enumerate(base.columns)]
            order = _order_by((self.value(key.value) for key in base.order), base.order)
            over = f"row_number() OVER (ORDER BY {order})" if order else "1"
            return [*values, (over, "_row")]

        return self.select(base, outputs, ordered=False)

    def _row_alias(self, table: Table) -> str:
        """Return what the rows of a query are called: as their table, with a number when that is taken."""
        name = "answer" if table.view == DERIVED else table.sql_name
        self._alias_counts[name] = count = self._alias_counts.get(name, 0) + 1
        return name if count == 1 else f"{name}_{count}"

    def _from(self, base: ir.Select | ir.Union | None, table: Table, row: str) -> str:
        if table.view == DERIVED:
            assert base is not None
            return f" FROM {self.add_cte(self.select_columns(base))} AS {row}"
        return f" FROM {table.sql_name}" + (f" AS {row}" if row != table.sql_name else "")

    def _conditions(self, select: ir.Select, row: str, outer: str) -> str:
        """Write which rows there are: conditions and groups."""
        conditions = []
        if select.join:
            conditions.append(self._dialect.join(select.join, row, outer))
        if select.base is not None and select.table.view != DERIVED:
            conditions.append(f"{row}._row IN (SELECT _row FROM {self.add_cte(self.select_row_ids(select.base))})")
        if select.targets is not None:
            conditions.append(f"{row}._image IN ({self._image_keys(select.targets)})")
        if select.where is not None:
            where = self._expression(select.where)
            conditions.append(f"({where})" if conditions else where)
        text = f" WHERE {' AND '.join(conditions)}" if conditions else ""
        if select.group:
            text += f" GROUP BY {self.expression_list(select.group)}"
        if select.having is not None:
            text += f" HAVING {self._expression(select.having)}"
        return text

    def _image_keys(self, of: tuple[int | ir.Select, ...]) -> str:
        places = [self.add_parameter(part) for part in of if isinstance(part, int)]
        queries = [part for part in of if isinstance(part, ir.Select)]
        parts = [f"SELECT _image FROM {self.add_cte(self.select(q, _images_of, ordered=False))}" for q in queries]
        if not parts:
            return ", ".join(places)
        return " UNION ".join([*parts, *(f"SELECT {place}" for place in places)])

    def _windowed(self, select: ir.Select, columns: list[tuple[str, str]], source: str) -> str:
        """Write a query that counts rows, perhaps within groups: `except newest`, then `skip`, `limit`, `until`.

        Each of them counts the rows that the one before it left. A row whose group is unknown is alone in it: `except`
        and `skip`, which retention rules are made of, leave it out.
        """
        inner = list(columns)
        inner += [(self.value(key.value), f"_o{place}") for place, key in enumerate(select.order)]
        order = _order_by((f"_o{place}" for place in range(len(select.order))), select.order) or "1"
        steps: list[tuple[tuple[ir.Expr, ...], str, str]] = []
        lone: set[int] = set()
        """The steps that leave out the first row of each group, and so every row whose group is unknown."""
        if select.keep_newest is not None:
            lone |= {len(steps)} if select.keep_newest.count else set()
            inner.append((self.value(select.keep_newest.by), "_newness"))
            kept = f"> {self.add_parameter(select.keep_newest.count)} AND _newness IS NOT NULL"
            steps.append((select.keep_newest.per, f"_newness DESC NULLS LAST, {order}".removesuffix(", 1"), kept))
        if select.skip is not None:
            lone |= {len(steps)} if select.skip.count else set()
            steps.append((select.skip.per, order, f"> {self.add_parameter(select.skip.count)}"))
        if select.limit is not None:
            steps.append((select.limit.per, order, f"<= {self.add_parameter(select.limit.count)}"))
        for at, (per, _, _) in enumerate(steps):
            inner += [(self.value(key), f"_p{at}_{place}") for place, key in enumerate(per)]
        if select.until is not None:
            taken = {name for _, name in columns}
            inner += [(f"{self._alias}.{name}", name) for name in ("_root", "_entry") if name not in taken]
        text = f"SELECT {_select_list(inner)}{source}"
        for at, (per, by, kept) in enumerate(steps):
            partition = f"PARTITION BY {', '.join(f'_p{at}_{place}' for place in range(len(per)))} " if per else ""
            text = f"SELECT *, row_number() OVER ({partition}ORDER BY {by}) AS _n{at} FROM ({text})"
            text = f"SELECT * FROM ({text}) WHERE _n{at} {kept}"
            if at in lone:
                text += "".join(f" AND _p{at}_{place} IS NOT NULL" for place in range(len(per)))
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


def _select_list(columns: list[tuple[str, str]]) -> str:
    return ", ".join(f"{text} AS {name}" if name else text for text, name in columns)


def _per(cut: ir.Limit | None) -> bool:
    return cut is not None and bool(cut.per)


def _join_balanced(parts: list[str], joint: str) -> str:
    """Join many conditions as a balanced tree: SQLite limits how deep an expression may be."""
    while len(parts) > 16:
        parts = [f"({joint.join(parts[at : at + 16])})" for at in range(0, len(parts), 16)]
    return joint.join(parts)


def _order_by(values: Iterable[str], keys: Iterable[ir.SortKey]) -> str:
    """Write the keys of an order; unknown ones come last."""
    return ", ".join(
        f"{value} {'DESC' if key.descending else 'ASC'} NULLS LAST" for value, key in zip(values, keys, strict=True)
    )
