"""Writes a typed query as SQL, clause by clause.

Comparisons follow SQL. Where a condition is negated or selected, unknown becomes false (two-valued logic).
"""

from __future__ import annotations

from imq.engine.catalog.schema import parse_equal_fields
from imq.engine.catalog.tables import DERIVED, MAP_TABLES, DataType
from imq.engine.query import ir
from imq.grammar.record import TYPE_CHECKING, Record

from .dialect import FREES, Dialect

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from imq.engine.catalog.tables import Field, Table

    Outputs = Callable[[str], list[tuple[str, str]]]

_MAX_INLINE_VALUES = 50
"""A longer list is passed as one JSON parameter."""
_DIGEST_LENGTH = len("sha256:") + 64
_JOINED = "joined"
_SQL_OPERATORS = {"=": "=", "!=": "<>", "<": "<", "<=": "<=", ">": ">", ">=": ">="}


class _JoinedRow(Record):
    """The alias of the rows of a join, and their columns in SQL by the names of their fields."""

    alias: str
    columns: dict[str, str]


class SqlGenerator:
    """Writes one statement and collects its parameters. `row` is the alias of the row of a condition alone."""

    def __init__(self, now: int, row: str = "", dialect: Dialect | None = None) -> None:
        self._dialect = dialect if dialect is not None else Dialect()
        self._group_keys: dict[ir.Expr, str] = {}
        self._shared_parameters: dict[tuple[type, str | float | None], str] = {}
        self._now = now
        self._alias = row
        self._table: Table | None = None
        self._range_field = ""
        self._derived: dict[str, str] | None = None
        self._joins: dict[str, _JoinedRow] = {}
        self._alias_counts: dict[str, int] = {}
        self._ctes: dict[str, str] = {}
        self.parameters: dict[str, str | float | None] = {}
        self.functions: set[str] = set()

    def add_parameter(self, value: str | float | None, kind: DataType | None = None) -> str:
        """Add a parameter and return its placeholder. `kind`: its type, where the value alone does not show it."""
        name = f"p{len(self.parameters) + 1}"
        if self._dialect.shares_parameters:
            name = self._shared_parameters.setdefault((type(value), value), name)
        self.parameters[name] = value
        return self._dialect.write_parameter(name, value, kind)

    def add_cte(self, text: str) -> str:
        """Add an uncorrelated query as a common table expression and return its name.

        The parser of SQLite accepts about thirty nested queries at most.
        """
        return self._ctes.setdefault(text, f"q{len(self._ctes) + 1}")

    def with_ctes(self, text: str) -> str:
        """Return a statement with its common table expressions."""
        if not self._ctes:
            return text
        return "WITH " + ", ".join(f"{name} AS ({query})" for query, name in self._ctes.items()) + f" {text}"

    # Expressions

    def write_value(self, node: ir.Expr) -> str:
        """Write an expression. A condition becomes 0 or 1."""
        text = self._write_expression(node)
        return (
            f"(({text}) IS TRUE)"
            if node.kind is DataType.BOOLEAN
            and not isinstance(node, ir.Column | ir.Literal | ir.Previous | ir.ShownCondition)
            else text
        )

    def _write_expression(self, node: ir.Expr) -> str:
        if self._group_keys and (key := self._group_keys.get(node)) is not None:
            return key
        match node:
            case ir.Column(field, join):
                return self._write_column(field, join)
            case ir.RowNumber(join=join):
                return f"{self._joins[join].alias if join else self._alias}._row"
            case ir.MapItem(field, key, join=join) if join:
                return self._dialect.write_map_item(
                    self._alias, "", self._write_column(field, join), self.add_parameter(key)
                )
            case ir.MapItem(field, key):
                column = self._write_column(field)
                return self._dialect.write_map_item(
                    self._alias, self._get_map_table(field.name), column, self.add_parameter(key)
                )
            case ir.Literal(value, kind):
                return self.add_parameter(value, kind)
            case ir.ImageField(field, image):
                column = self._write_field("images", field)
                return f"(SELECT {column} FROM images WHERE _image = {self.add_parameter(image)} LIMIT 1)"
            case ir.ScalarSubquery(select):
                return self._dialect.write_single_value(self.write_scalar(select))
            case ir.Exists(select) if pairs := self._find_uncorrelated_join(select):
                return self._write_related_to(select.replace(join=""), [(outside, inside) for inside, outside in pairs])
            case ir.Exists(select):
                return f"EXISTS ({self.write_select(select, select_one, ordered=False)})"
            case ir.InSubquery(operand, select, starts):
                return self._write_in_subquery(self.write_value(operand), select, by_prefix=starts)
            case ir.RowInSubquery(keys, select):
                return self._write_row_in_subquery(keys, select)
            case ir.RelatedTo(link, select):
                is_native = not select.table.is_staged
                return self._write_related_to(select, self._dialect.list_join_columns(link, is_native=is_native))
            case ir.ImageRelation(how, image):
                return self._dialect.write_image_relation(how, self._alias, self.add_parameter(image))
            case ir.LayerRelation():
                return self._write_layer_relation(node)
            case ir.FunctionCall(function, arguments):
                return self._write_function_call(function.name, arguments)
            case ir.Previous(value, per, keys):
                clauses = [f"PARTITION BY {self.write_expressions(per)}"] if per else []
                if keys:
                    clauses.append(
                        f"ORDER BY {self._write_order_by((self.write_value(key.value) for key in keys), keys)}"
                    )
                return f"lag({self.write_value(value)}) OVER ({' '.join(clauses)})"
            case ir.Largest(value):
                return f"max({self.write_value(value)}) OVER ()"
            case ir.AggregateCall(aggregate, argument, distinct):
                if aggregate.name in self._dialect.registered:
                    self.functions.add(aggregate.name)
                if aggregate.name == "list" and argument is not None:
                    aligned = [self.write_value(other) for other in node.aligned_with]
                    return self._dialect.write_list(
                        self.write_value(argument), argument.kind, aligned, distinct=distinct
                    )
                return self._dialect.write_aggregate(
                    aggregate.name,
                    "*" if argument is None else self.write_value(argument),
                    node.kind,
                    distinct=distinct,
                )
            case ir.Arithmetic():
                return self._write_arithmetic(node)
            case ir.Comparison():
                return self._write_comparison(node)
            case ir.HasPrefix(operand, prefix):
                low, high = self.add_parameter(prefix), self.add_parameter(prefix + "g")
                digest = self.write_value(operand)
                return f"{digest} >= {low} AND {digest} < {high}"
            case ir.InList(operand, values) if operand.kind.is_version:
                return self._write_expression(ir.Or(tuple(ir.Comparison("=", operand, value) for value in values)))
            case ir.InList(operand, values):
                return f"{self.write_value(operand)} IN ({self._write_literals(values)})"
            case ir.IsKnown(operand, known):
                return self._write_is_known(operand, known=known)
            case ir.Not(operand):
                return f"({self._write_expression(operand)}) IS NOT TRUE"
            case ir.ShownCondition(certain, possible):
                texts = self._write_expression(certain), self._write_expression(possible)
                yes, no = self._dialect.truth_values
                return f"CASE WHEN {texts[0]} THEN {yes} WHEN {texts[1]} THEN NULL ELSE {no} END"
            case ir.And(operands):
                return _join_balanced([f"({self._write_expression(operand)})" for operand in operands], " AND ")
            case ir.Or(operands):
                return _join_balanced([f"({self._write_expression(operand)})" for operand in operands], " OR ")

    def _write_column(self, field: Field, join: str = "") -> str:
        if join:
            joined = self._joins[join]
            return f"{joined.alias}.{joined.columns[field.name]}"
        if self._derived is not None:
            return f"{self._alias}.{self._derived[field.name]}"
        return self._write_field(self._alias, field)

    def _write_field(self, row: str, field: Field) -> str:
        """Write a field of a row of a table that is not derived."""
        if field.computed_from is None:
            return f"{row}.{quote_name(field.name)}"
        function, argument, part = field.computed_from
        self.functions.add(function)
        return self._dialect.write_function(
            function, [f"{row}.{quote_name(argument)}", str(part)], [DataType.TEXT, DataType.NUMBER], ""
        )

    def _get_map_table(self, field: str) -> str:
        """Return the table in which the store keeps this map of images; "" for rows of other tables."""
        return MAP_TABLES.get(field, "") if self._alias.partition("_")[0] == "images" and self._derived is None else ""

    def _write_row_in_subquery(self, keys: tuple[ir.Expr, ...], select: ir.Select) -> str:
        """Write whether a query has a row with the same keys.

        Rows of one table are compared by `_row` first: a row has its own keys, and most often there is no other row
        with them. Comparing numbers takes a fifth of the time of comparing keys.
        """

        def outputs(_: str) -> list[tuple[str, str]]:
            return [(self._write_key(column.value for column in select.columns), "k")]

        among = self.add_cte(self.write_select(select, outputs, ordered=False))
        has_keys = f"{self._write_key(keys)} IN (SELECT k FROM {among})"
        is_own = keys == tuple(column.value for column in select.columns) and select.table == self._table
        has_fields = all(isinstance(key, ir.Column) and not key.join for key in keys)
        if not is_own or not has_fields or select.table.is_staged or select.table.view == DERIVED:
            return has_keys
        rows = self.add_cte(self.write_row_ids(select.replace(is_whole_rows=True)))
        return f"({self._alias}._row IN (SELECT _row FROM {rows}) OR {has_keys})"

    def _write_key(self, keys: Iterable[ir.Expr]) -> str:
        """Write keys as one value that is never NULL, so that unknown keys are equal."""
        return self._dialect.write_key(self.write_expressions(keys))

    def _write_function_call(self, name: str, arguments: tuple[ir.Expr, ...]) -> str:
        written = [self.write_value(argument) for argument in arguments]
        if name in self._dialect.registered:
            self.functions.add(name)
        if name in ("capture", "path_match"):
            constants = [str(one.value) if isinstance(one, ir.Literal) else None for one in arguments]
            return self._dialect.write_pattern_function(name, written, constants, self.add_parameter)
        now = self.add_parameter(self._now) if name in ("now", "age") else ""
        return self._dialect.write_function(name, written, [argument.kind for argument in arguments], now)

    def _write_in_subquery(self, operand: str, select: ir.Select, *, by_prefix: bool) -> str:
        def column(_: str) -> list[tuple[str, str]]:
            return [(self.write_value(select.columns[0].value), "v")]

        among = self.add_cte(self.write_select(select, column, ordered=False))
        is_equal = f"{operand} IN (SELECT v FROM {among})"
        if not by_prefix:
            return is_equal
        is_prefix = f"length(v) < {_DIGEST_LENGTH} AND {operand} >= v AND {operand} < v || 'g'"
        return f"({is_equal} OR EXISTS (SELECT 1 FROM {among} WHERE {is_prefix}))"

    def _find_uncorrelated_join(self, select: ir.Select) -> list[tuple[str, str]]:
        """Return the join columns of a relation whose rows are better read once than for each outer row; else [].

        Rows of other sources have no index. Rows of the store do, but a base has many children, and a relation of these
        would be read for each of them again.
        """
        if not select.join or "|" in select.join or select.is_limited or select.group is not None or select.joins:
            return []
        is_native = not select.table.is_staged
        if is_native and not (parse_equal_fields(select.join) and _has_lineage(select)):
            return []
        return self._dialect.list_join_columns(select.join, is_native=is_native)

    def _write_related_to(self, select: ir.Select, columns: list[tuple[str, str]]) -> str:
        """Write whether the row has the same values as a row of a query; `columns` are those of the row, of the query.

        The query does not depend on the row.
        """
        own, theirs = zip(*columns, strict=True)
        among = self.write_select(
            select, lambda row: [(f"{row}.{name}", f"k{at}") for at, name in enumerate(theirs)], ordered=False
        )
        names = ", ".join(f"{self._alias}.{name}" for name in own)
        return f"({names}) IN (SELECT {', '.join(f'k{at}' for at in range(len(theirs)))} FROM {self.add_cte(among)})"

    def _write_layer_relation(self, node: ir.LayerRelation) -> str:
        columns = node.select.columns
        among = self.add_cte(
            self.write_select(
                node.select,
                lambda _: [(self.write_value(column.value), f"c{at}") for at, column in enumerate(columns)],
                ordered=False,
            )
        )
        is_native = self._alias.partition("_")[0] == "images" and self._derived is None
        own = [self.write_value(operand) for operand in node.operands]
        if node.relationship == "based on":
            return self._dialect.write_based_on(self._alias, own[0], own[1], among, is_native=is_native)
        owners = self.add_cte(self._dialect.write_layer_owners(among))
        return self._dialect.write_shares_layers(self._alias, own[0], own[1], owners, is_native=is_native)

    def _write_arithmetic(self, node: ir.Arithmetic) -> str:
        text = self._dialect.write_arithmetic(self.write_value(node.left), node.operator, self.write_value(node.right))
        is_exact = node.kind is DataType.NUMBER or node.operator not in ("*", "/")
        return text if is_exact else self._dialect.write_rounded(text)

    def _write_comparison(self, node: ir.Comparison) -> str:
        if isinstance(node.left, ir.Column) and node.left.field.search_column and self._derived is None:
            from imq.engine.query.searches import get_search

            if (search := get_search(node)) is not None:
                column = f"{self._alias}.{node.left.field.search_column}"
                return self._dialect.write_search_result(column, self.add_parameter(search.key))
        if node.operator in ("=", "like", "matches") and isinstance(node.right, ir.Literal):
            if (
                isinstance(node.left, ir.MapItem)
                and not node.left.join
                and (native := self._get_map_table(node.left.field.name))
            ):
                key = self.add_parameter(node.left.key)
                return self._dialect.write_map_test(
                    self._alias, native, key, self._write_string_test("value", node, node.right)
                )
            if isinstance(node.left, ir.Column) and self._is_native_command(node.left):
                return self._dialect.write_command_test(self._alias, self._write_string_test("text", node, node.right))
        if node.operator in ("like", "matches"):
            if node.left.kind in (DataType.LIST, DataType.MAP):
                pairs = node.left.kind is DataType.MAP
                return self._dialect.write_any_item(
                    self.write_value(node.left), lambda text: self._write_pattern_match(text, node), pairs=pairs
                )
            return self._write_pattern_match(self._write_displayed(node.left), node)
        if node.operator == "has":
            if node.left.kind is DataType.MAP and isinstance(node.left, ir.Column):
                native = "" if node.left.join else self._get_map_table(node.left.field.name)
                column = self._write_column(node.left.field, node.left.join)
                return self._dialect.write_has_key(self._alias, native, column, self.write_value(node.right))
            if isinstance(node.left, ir.AggregateCall) and node.left.argument is not None:  # any row of the group
                return self._dialect.write_any(
                    f"{self.write_value(node.left.argument)} = {self.write_value(node.right)}"
                )
            return self._dialect.write_has_item(self.write_value(node.left), self.write_value(node.right))
        left, right = self.write_value(node.left), self.write_value(node.right)
        if node.left.kind is DataType.PACKAGE_VERSION and (
            isinstance(node.right, ir.Literal) or node.right.kind is not DataType.PACKAGE_VERSION
        ):
            self.functions.add("compare_package_versions")
            kinds = [DataType.PACKAGE_VERSION, DataType.TEXT]
            left, right = self._dialect.write_function("compare_package_versions", [left, right], kinds, ""), "0"
        elif node.left.kind.is_version:
            left, right = self._dialect.write_version_key(left), self._dialect.write_version_key(right)
        test = f"{left} {_SQL_OPERATORS[node.operator]} {right}"
        is_above = node.operator in (">", ">=") and isinstance(node.right, ir.Literal)
        if is_above and isinstance(node.left, ir.Column) and node.left.field.name == self._range_field:
            return self._dialect.write_unlikely(test)
        return test

    def _write_pattern_match(self, text: str, node: ir.Comparison) -> str:
        """Write a match of a string with a glob or a regular expression."""
        pattern = node.right
        if node.operator == "matches":
            if isinstance(pattern, ir.Literal):
                return self.write_regex_match(text, str(pattern.value))
            self.functions.add("matches")
            return self._dialect.write_function(
                "matches", [text, self.write_value(pattern)], [DataType.TEXT, DataType.TEXT], ""
            )
        if isinstance(pattern, ir.Literal):
            return self._dialect.write_glob_match(text, str(pattern.value), self.add_parameter)
        return self._dialect.write_dynamic_glob_match(text, self.write_value(pattern))

    def write_regex_match(self, text: str, pattern: str) -> str:
        """Write whether a regular expression matches anywhere in a string."""
        self.functions.add("matches")
        return self._dialect.write_regex_match(text, pattern, self.add_parameter)

    def _write_displayed(self, node: ir.Expr) -> str:
        """Write a value as it is displayed."""
        text = self.write_value(node)
        return self._dialect.write_version_text(text) if node.kind.is_version else text

    def _is_native_command(self, column: ir.Column) -> bool:
        """Whether a column is the command of a layer or step of the store."""
        kept = self._alias.partition("_")[0] in ("layers", "history") and self._derived is None
        return kept and column.field.name == "created_by" and not column.join

    def _write_string_test(self, column: str, node: ir.Comparison, value: ir.Literal) -> str:
        """Write a test of a string column of the store."""
        if node.operator in ("like", "matches"):
            return self._write_pattern_match(column, node)
        return f"{column} = {self.add_parameter(value.value)}"

    def _write_is_known(self, operand: ir.Expr, *, known: bool) -> str:
        if isinstance(operand, ir.Column) and operand.kind in (DataType.MAP, DataType.LIST):
            empty = "'{}'" if operand.kind is DataType.MAP else "'[]'"
            return f"coalesce({self._write_expression(operand)}, {empty}) {'<>' if known else '='} {empty}"
        return f"{self.write_value(operand)} IS {'NOT ' if known else ''}NULL"

    def _write_literals(self, values: tuple[ir.Literal, ...]) -> str:
        if len(values) <= _MAX_INLINE_VALUES:
            return ", ".join(self.add_parameter(value.value) for value in values)
        import json

        items = self.add_parameter(json.dumps([value.value for value in values]))
        return self._dialect.write_items(items, values[0].kind)

    def write_expressions(self, values: Iterable[ir.Expr]) -> str:
        """Write expressions, separated by commas."""
        return ", ".join(self.write_value(value) for value in values)

    # Queries

    def write_select(self, select: ir.Select, outputs: Outputs, *, ordered: bool = True) -> str:
        """Write a query. `outputs` takes the alias of the row and returns the SQL and the name of each column.

        `ordered`: the caller needs the order of the rows. Without it, an order that limits no rows is omitted.
        """
        outer, derived, joins, table = self._alias, self._derived, self._joins, self._table
        keys, range_field = self._group_keys, self._range_field
        row = self._make_alias(select.table)
        source = self._write_from(select.base, select.table, row)
        self._alias, self._derived, self._joins = row, _name_derived_columns(select.table), {}
        self._table = select.table
        # Rows in the default order are read until a limit, and those of a relation by their outer row; all others are
        # selected faster by the index of the field.
        is_whole = select.limit is None and not select.join and not select.table.is_staged
        self._range_field = select.table.range_field if is_whole else ""
        self._group_keys = {}
        try:
            source = self._write_joins(select, row, source)
            if select.group and self._dialect.names_group_keys:
                source += self._name_group_keys(select.group)
            source += self._write_conditions(select, row, outer)
            if select.keep_newest or select.until or _has_groups(select.limit) or _has_groups(select.skip):
                return self._write_windowed(select, outputs(row), source, ordered=ordered)
            text = f"SELECT {_write_select_list(outputs(row))}{source}"
            if select.order and (ordered or select.limit or select.skip):
                text += f" ORDER BY {self._write_order(select)}"
            if select.limit or select.skip:
                count = self.add_parameter(select.limit.count) if select.limit else self._dialect.no_limit
                text += f" LIMIT {count}"
                text += f" OFFSET {self.add_parameter(select.skip.count)}" if select.skip else ""
            return text
        finally:
            self._alias, self._derived, self._joins, self._table = outer, derived, joins, table
            self._group_keys, self._range_field = keys, range_field

    def _name_group_keys(self, group: tuple[ir.Expr, ...]) -> str:
        """Write the keys of groups as columns of a lateral table, and let expressions refer to them."""
        alias = self._make_unique("keys")
        named = {
            key: (f"{alias}.k{at}", self.write_value(key))
            for at, key in enumerate(group)
            if not isinstance(key, ir.Column)
        }
        if not named:
            return ""
        self._group_keys = {key: name for key, (name, _) in named.items()}
        columns = ", ".join(f"{text} AS {name.partition('.')[2]}" for name, text in named.values())
        return f" CROSS JOIN LATERAL (SELECT {columns}) AS {alias}"

    def write_scalar(self, select: ir.Select) -> str:
        """Write a query that returns a single value."""
        if not select.count:
            return self.write_select(select, lambda _: [(self.write_value(select.columns[0].value), "")])
        rows = select.replace(count=False)
        newest = select.keep_newest
        cuts = sum(cut is not None for cut in (newest, select.skip, select.limit))
        if cuts < 2 and select.until is None and (newest is None or not newest.counts_names):
            # the number of rows after one limit does not depend on their order, unless a name has several rows
            rows = rows.replace(order=())
        if select.group is None and not select.is_limited:
            return self.write_select(rows, lambda _: [("count(*)", "")], ordered=False)
        return f"SELECT count(*) FROM ({self.write_select(rows, select_one, ordered=False)}) AS counted"

    def write_row_ids(self, base: ir.Select | ir.Union) -> str:
        """Write a query of whole rows that returns their `_row`."""
        if isinstance(base, ir.Union):
            left, right = self.add_cte(self.write_row_ids(base.left)), self.add_cte(self.write_row_ids(base.right))
            return f"SELECT _row FROM {left} UNION ALL SELECT _row FROM {right}"
        return self.write_select(base, lambda row: [(f"{row}._row", "_row")], ordered=False)

    def write_columns(self, base: ir.Select | ir.Union) -> str:
        """Write a query that returns its columns as c0, c1 …, and the position of each row as `_row`."""
        if isinstance(base, ir.Union):
            sides = (base.left, base.right)
            parts = [
                f"SELECT *, {at} AS _side FROM {self.add_cte(self.write_columns(side))}"
                for at, side in enumerate(sides)
            ]
            names = ", ".join(f"c{at}" for at in range(len(base.left.table.fields)))
            both = " UNION ALL ".join(parts)
            return f"SELECT {names}, row_number() OVER (ORDER BY _side, _row) AS _row FROM ({both}) AS sides"
        if base.count:
            return f"SELECT ({self.write_scalar(base)}) AS c0, 1 AS _row"
        if base.is_whole_rows:  # of a derived table
            fields = [(f"c{at}", f"c{at}") for at in range(len(base.table.fields))]
            return self.write_select(base, lambda row: [*fields, (f"{row}._row", "_row")], ordered=False)

        def outputs(_: str) -> list[tuple[str, str]]:
            values = [(self.write_value(column.value), f"c{at}") for at, column in enumerate(base.columns)]
            order = self._write_order(base)
            over = f"row_number() OVER (ORDER BY {order})" if order else "1"
            return [*values, (over, "_row")]

        return self.write_select(base, outputs, ordered=False)

    def _make_alias(self, table: Table) -> str:
        """Return an alias for the rows of a query: the name of the table, with a number if it is taken."""
        return self._make_unique("answer" if table.view == DERIVED else table.sql_name)

    def _make_unique(self, name: str) -> str:
        self._alias_counts[name] = count = self._alias_counts.get(name, 0) + 1
        return name if count == 1 else f"{name}_{count}"

    def _write_from(self, base: ir.Select | ir.Union | None, table: Table, row: str) -> str:
        if table.view == DERIVED:
            assert base is not None
            return f" FROM {self.add_cte(self.write_columns(base))} AS {row}"
        return f" FROM {table.sql_name}" + (f" AS {row}" if row != table.sql_name else "")

    def _write_joins(self, select: ir.Select, row: str, source: str) -> str:
        """Write the rows of a query with those that its joins add."""
        sides = [(row, source.removeprefix(" FROM"))]
        for join in select.joins:
            rows = self.add_cte(self.write_columns(join.select))
            alias = self._make_unique(_JOINED)
            self._joins[join.name] = _JoinedRow(
                alias, {column.name: f"c{at}" for at, column in enumerate(join.select.columns)}
            )
            condition = self._write_expression(join.condition)
            if join.kind == "full":
                members = [] if "full" in [one.kind for one in select.joins[: len(sides) - 1]] else [select]
                source = self._write_full_join(members, source, sides, (alias, rows), condition)
            else:
                source += f" {join.kind.upper()} JOIN {rows} AS {alias} ON {condition}"
            sides.append((alias, f" {rows} AS {alias}"))
        return source

    def _write_full_join(
        self,
        members: Sequence[ir.Select],
        source: str,
        sides: Sequence[tuple[str, str]],
        joined: tuple[str, str],
        condition: str,
    ) -> str:
        """Write a full join as the pairs of its rows, by the `_row` of every side: FULL JOIN needs SQLite 3.39.

        `members` is the query whose rows are limited to its members here; empty when an earlier full join did so.
        `sides` are the aliases so far, each with its rows; `joined` are the alias and the rows that are added.
        """
        alias, rows = joined
        membership = [part for one in members for part in self._write_membership(one, sides[0][0])]
        own = " AND ".join(membership) or self._dialect.truth_values[0]
        keys = ", ".join(f"{side}._row AS own{at}" for at, (side, _) in enumerate(sides))
        nothing = ", ".join("NULL" for _ in sides)
        pairs = self.add_cte(
            f"SELECT {keys}, {alias}._row AS other{source} LEFT JOIN {rows} AS {alias} ON {condition} WHERE {own}"
            f" UNION ALL SELECT {nothing}, {alias}._row FROM {rows} AS {alias}"
            f" WHERE NOT EXISTS (SELECT 1{source} WHERE {own} AND ({condition}))"
        )
        left = "".join(f" LEFT JOIN{text} ON {side}._row = {pairs}.own{at}" for at, (side, text) in enumerate(sides))
        return f" FROM {pairs}{left} LEFT JOIN {rows} AS {alias} ON {alias}._row = {pairs}.other"

    def _write_membership(self, select: ir.Select, row: str) -> list[str]:
        """Write the conditions by which rows belong to a query: those of its base and of `of`."""
        conditions = []
        if select.base is not None and select.table.view != DERIVED and not _is_whole_table(select.base, select.table):
            conditions.append(f"{row}._row IN (SELECT _row FROM {self.add_cte(self.write_row_ids(select.base))})")
        if select.targets is not None:
            conditions.append(f"{row}._image IN ({self._write_image_keys(select.targets)})")
        return conditions

    def _write_conditions(self, select: ir.Select, row: str, outer: str) -> str:
        """Write the clauses that select rows: `where`, `group by` and `having`."""
        conditions = []
        if select.join:
            is_native = not select.table.is_staged
            conditions.append(self._dialect.write_join(select.join, row, outer, is_native=is_native))
        if all(join.kind != "full" for join in select.joins):
            conditions += self._write_membership(select, row)
        if select.where is not None:
            where = self._write_expression(select.where)
            conditions.append(f"({where})" if conditions else where)
        text = f" WHERE {' AND '.join(conditions)}" if conditions else ""
        if select.group:
            text += f" GROUP BY {self.write_expressions(select.group)}"
        if select.having is not None:
            text += f" HAVING {self._write_expression(select.having)}"
        return text

    def _write_image_keys(self, targets: tuple[int | ir.Select, ...]) -> str:
        parameters = [self.add_parameter(part) for part in targets if isinstance(part, int)]
        queries = [part for part in targets if isinstance(part, ir.Select)]
        parts = [
            f"SELECT _image FROM {self.add_cte(self.write_select(q, _select_images, ordered=False))}" for q in queries
        ]
        if not parts:
            return ", ".join(parameters)
        return " UNION ".join([*parts, *(f"SELECT {parameter}" for parameter in parameters)])

    def write_hidden(self, select: ir.Select, row: str, name: str) -> str:
        """Write a hidden column of the rows of a query; see `write_select` in statements.py."""
        if name != FREES:
            return f"{row}.{name}"
        return f"taken.{FREES}" if _counts_freed(select) and self._can_count_keys(select) else "NULL"

    def _can_count_keys(self, select: ir.Select) -> bool:
        """Whether rows are counted by `_row`, and the columns are read afterwards."""
        if select.table.is_staged or select.table.view == DERIVED or select.joins or select.group:
            return False
        return self._dialect.counts_keys or not all(_is_short(column.value) for column in select.columns)

    def _write_windowed(self, select: ir.Select, columns: list[tuple[str, str]], source: str, *, ordered: bool) -> str:
        """Write a query that counts rows, per group or overall: `except newest`, then `skip`, `limit`, `until`.

        Each step counts the rows that the previous step left. `except newest` and `skip` are used by retention rules:
        they leave out a row whose group is unknown. `limit` counts these rows as one group, as `group by` does: a
        removal by it takes no more of them than of any group. `except newest` counts the rows of one name once: an
        index has one for each platform. Of a table of the store, only the values that are needed to count are read of
        all rows; the columns are read of those that remain.
        """
        is_keyed = self._can_count_keys(select)
        name_keys = self._write_name_keys(select)
        inner = _CountedColumns(self, [*([(f"{self._alias}._row", "_row")] if is_keyed else columns), *name_keys])
        leaves_out = is_keyed and self._can_leave_out(select)
        steps = self._write_steps(select, inner, leaves_out=leaves_out)
        order = ""
        if not is_keyed or select.until is not None:
            values = [inner.add_key(select, place) for place in range(len(select.order))]
            order = self._write_order_by(values, select.order) or "1"
        if select.until is not None:
            taken = {name for _, name in inner.columns}
            if select.table.is_staged:
                names = ("_row", "id", "source", "size")
                inner.columns += [(f"{self._alias}.{name}", f"_until_{name}") for name in names]
            elif "_entry" not in taken:
                inner.columns.append((f"{self._alias}._entry", "_entry"))
        text = f"SELECT {_write_select_list(inner.columns)}{source}"
        for at, (groups, by, condition) in enumerate(steps):
            text = _write_numbers(text, f"_n{at}", groups, by, () if at else [name for _, name in name_keys])
            text = f"SELECT * FROM ({text}) AS kept WHERE {condition}"
        if select.until is not None:
            text = self._write_until(select, select.until, text, order, "_row, _entry" if is_keyed else "*")
        if is_keyed:
            text, order = self._write_rows_of_keys(select, columns, text, leaves_out=leaves_out)
        else:
            text = f"SELECT {', '.join(name for _, name in columns)} FROM ({text}) AS taken"
        return f"{text} ORDER BY {order}" if ordered and order else text

    def _write_steps(
        self, select: ir.Select, inner: _CountedColumns, *, leaves_out: bool
    ) -> list[tuple[list[str], str, str]]:
        """Write the groups of each step, the order of their rows, and the condition of those that it leaves."""
        steps: list[tuple[list[str], str, str]] = []

        def add_step(cut: ir.Limit | ir.KeepNewest, order: str, kept: str, *, without_nulls: bool) -> None:
            groups = [inner.add(key, f"_p{len(steps)}_{place}") for place, key in enumerate(cut.per)]
            condition = f"_n{len(steps)} {kept}"
            if without_nulls:  # it leaves out the first rows of each group, and every row whose group is unknown
                condition += "".join(f" AND {name} IS NOT NULL" for name in groups)
            steps.append((groups, order, condition))

        def write_order(constant: Collection[ir.Expr], *, is_first: bool = True) -> str:
            """Write the sort keys of rows that are equal in some values, which need no sorting; 1 if none is left."""
            varying = [(place, key) for place, key in enumerate(select.order) if key.value not in constant]
            names = [inner.add_key(select, place) for place, _ in varying]
            return self._write_order_by(names, [key for _, key in varying], is_first=is_first) or "1"

        if (newest := select.keep_newest) is not None:
            newness = inner.add(newest.by, "_newness")
            within = write_order({*newest.per, newest.by}, is_first=False)
            kept = f"> {self.add_parameter(newest.count)} AND {newness} IS NOT NULL"
            order = f"{newness} DESC NULLS LAST, {within}".removesuffix(", 1")
            add_step(newest, order, kept, without_nulls=bool(newest.count))
            if newest.is_inverted != leaves_out:
                groups, order, condition = steps[0]
                steps[0] = (groups, order, f"NOT ({condition})")
        if (skip := select.skip) is not None:
            kept = f"> {self.add_parameter(skip.count)}"
            add_step(skip, write_order(skip.per), kept, without_nulls=bool(skip.count))
        if (limit := select.limit) is not None:
            add_step(limit, write_order(limit.per), f"<= {self.add_parameter(limit.count)}", without_nulls=False)
        return steps

    def _can_leave_out(self, select: ir.Select) -> bool:
        """Whether the rows that `except newest` keeps of a whole table are found, and all others are read.

        They are few, and the others are read in the order of an index then.
        """
        if select.keep_newest is None or select.keep_newest.is_inverted or select.skip or select.limit or select.until:
            return False
        is_whole = select.base is None or _is_whole_table(select.base, select.table)
        return is_whole and self._dialect.counts_keys and _has_every_row(select)

    def _write_rows_of_keys(
        self, select: ir.Select, columns: list[tuple[str, str]], keys: str, *, leaves_out: bool
    ) -> tuple[str, str]:
        """Write the columns of the rows whose `_row` a query returns, or of all others; and their sort keys."""
        row, rows = self._alias, f"{select.table.sql_name} AS {self._alias}"
        values = f"SELECT {_write_select_list(columns)} FROM"
        if _counts_freed(select):
            return f"{values} ({keys}) AS taken CROSS JOIN {rows} ON {row}._row = taken._row", "taken._step"
        order = self._write_order(select)
        return f"{values} {rows} WHERE {row}._row{' NOT' * leaves_out} IN (SELECT _row FROM ({keys}) AS taken)", order

    def _write_order(self, select: ir.Select) -> str:
        """Write the sort keys of a query."""
        return self._write_order_by((self.write_value(key.value) for key in select.order), select.order)

    def _write_order_by(self, values: Iterable[str], keys: Iterable[ir.SortKey], *, is_first: bool = True) -> str:
        """Write sort keys; unknown values come last. `is_first`: no other key precedes them.

        An index of SQLite has unknown values first, and can be read in the other order by its first column alone. So
        the indexes in the default order of a table have, before each other column, whether it is unknown.
        """
        table, indexed = self._table, frozenset[str]()
        if (
            table is not None
            and table.has_ordered_index
            and not table.is_staged
            and self._dialect.has_null_tests_in_indexes
        ):
            indexed = frozenset(table.order)
        written: list[str] = []
        for value, key in zip(values, keys, strict=True):
            is_indexed = isinstance(key.value, ir.Column) and key.value.field.name in indexed
            if is_indexed and not key.descending and (written or not is_first):
                written.append(f"{value} IS NULL, {value}")
            else:
                written.append(f"{value} {'DESC' if key.descending else 'ASC'} NULLS LAST")
        return ", ".join(written)

    def _write_until(self, select: ir.Select, until: ir.UntilSize, rows: str, order: str, columns: str) -> str:
        """Write the rows of a query until their total size, or what they free, is reached."""
        size = self.add_parameter(until.size)
        if until.layers is None:
            return self._dialect.write_until_size(
                rows, columns, order, size, is_strict=until.is_strict, frees=until.frees
            )
        layers = until.layers
        return self._dialect.write_until_freed(
            rows,
            order,
            size,
            select.table.sql_name,
            self.add_cte(self.write_select(layers, lambda _: _name_columns(self, layers), ordered=False)),
            is_strict=until.is_strict,
            frees=until.frees,
        )

    def _write_name_keys(self, select: ir.Select) -> list[tuple[str, str]]:
        """Write the columns in which rows of one name are equal; none where `except newest` counts each row."""
        if select.keep_newest is None or not select.keep_newest.counts_names:
            return []
        name = self.write_value(ir.Column(select.table.get_field("name")))
        if not select.table.is_staged:
            return [(f"coalesce({name}, {self._alias}._root)", "_name")]
        source = self.write_value(ir.Column(select.table.get_field("source")))
        return [(source, "_name_source"), (f"coalesce({name}, CAST({self._alias}._row AS TEXT))", "_name")]


class _CountedColumns:
    """The columns of rows that are counted. Each value has one column, since the rows are sorted as a whole."""

    def __init__(self, writer: SqlGenerator, columns: list[tuple[str, str]]) -> None:
        self.columns = columns
        self._writer = writer
        self._names = {text: name for text, name in reversed(columns) if name}

    def add(self, value: ir.Expr, name: str) -> str:
        """Return the name of the column with a value, which is added under this name if there is none."""
        text = self._writer.write_value(value)
        if text not in self._names:
            self._names[text] = name
            self.columns.append((text, name))
        return self._names[text]

    def add_key(self, select: ir.Select, place: int) -> str:
        """Return the name of the column with a sort key of a query."""
        return self.add(select.order[place].value, f"_o{place}")


def _write_numbers(text: str, number: str, groups: Sequence[str], by: str, names: Sequence[str]) -> str:
    """Write the rows of a query with their numbers in their group; rows that are equal in `names` have one number."""
    partition = f"PARTITION BY {', '.join(groups)} " if groups else ""
    if not names:
        return f"SELECT *, row_number() OVER ({partition}ORDER BY {by}) AS {number} FROM ({text}) AS numbered"
    text = f"SELECT *, row_number() OVER ({partition}ORDER BY {by}) AS _place FROM ({text}) AS placed"
    text = f"SELECT *, min(_place) OVER (PARTITION BY {', '.join([*groups, *names])}) AS _first FROM ({text}) AS named"
    return f"SELECT *, dense_rank() OVER ({partition}ORDER BY _first) AS {number} FROM ({text}) AS numbered"


def _counts_freed(select: ir.Select) -> bool:
    """Whether `until` of a query counts the bytes that each row frees, by the blobs of the store."""
    return select.until is not None and select.until.layers is None


def _name_columns(writer: SqlGenerator, select: ir.Select) -> list[tuple[str, str]]:
    """Return the columns of a query under their own names."""
    return [(writer.write_value(column.value), column.name) for column in select.columns]


def quote_name(name: str) -> str:
    """Return the name of a column as a quoted identifier."""
    return '"' + name.replace('"', '""') + '"'


def _name_derived_columns(table: Table) -> dict[str, str] | None:
    """Return the column names of a derived table, by field; None for other tables."""
    return {field.name: f"c{at}" for at, field in enumerate(table.fields)} if table.view == DERIVED else None


def select_one(_row: str) -> list[tuple[str, str]]:
    """Return the outputs of a query of which only the rows are needed."""
    return [("1", "one")]


def _is_whole_table(base: ir.Select | ir.Union, table: Table) -> bool:
    """Whether a query has every row of a table of the store, so that membership in it needs no test."""
    if isinstance(base, ir.Union) or base.table != table or table.is_staged or not base.is_whole_rows:
        return False
    if base.is_limited or base.count or not _has_every_row(base):
        return False
    return base.base is None or _is_whole_table(base.base, table)


def _has_every_row(select: ir.Select) -> bool:
    """Whether a query has every row that it is about, before it is limited."""
    conditions = (select.where, select.targets, select.group, select.having)
    return not select.join and not select.joins and all(condition is None for condition in conditions)


def _has_lineage(select: ir.Select) -> bool:
    """Whether a query, or one inside it, has a relation between images by their layers in its expressions."""
    return any(one is not select and parse_equal_fields(one.join) for one in ir.walk_subqueries(select))


def _select_images(row: str) -> list[tuple[str, str]]:
    return [(f"{row}._image", "_image")]


def _write_select_list(columns: list[tuple[str, str]]) -> str:
    return ", ".join(f"{text} AS {name}" if name else text for text, name in columns)


def _has_groups(cut: ir.Limit | None) -> bool:
    return cut is not None and bool(cut.per)


def _join_balanced(parts: list[str], separator: str) -> str:
    """Join many conditions as a balanced tree: SQLite limits how deep an expression may be."""
    while len(parts) > 16:
        parts = [f"({separator.join(parts[at : at + 16])})" for at in range(0, len(parts), 16)]
    return separator.join(parts)


def _is_short(value: ir.Expr) -> bool:
    """Whether a value is in the row itself. Lists, maps and what containers decide are looked up elsewhere."""
    is_elsewhere = value.kind in (DataType.LIST, DataType.MAP, DataType.BOOLEAN)
    return isinstance(value, ir.Column) and not is_elsewhere and not value.field.about_containers
