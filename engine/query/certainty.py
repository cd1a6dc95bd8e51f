"""Conditions of removals, by what is certain: what a source did not report is neither true nor false.

A query has two truth values: `not last_used within 30d` holds for an image whose last use is unknown. A removal takes
only the rows for which the condition holds whatever the unknown values are; the others stay, and are reported. A
property that an object may lack, such as a label, is not unknown: `not label.env = prod` takes images without it.

Every expression has two forms. The certain form holds when the condition holds for every value of what is unknown. The
possible form holds when it holds for some value. A negation turns one into the other.
"""

from __future__ import annotations

from imq.engine.catalog.functions import FUNCTIONS
from imq.engine.catalog.schema import DERIVED, DataType
from imq.grammar.record import TYPE_CHECKING, Record

from . import ir

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from imq.engine.catalog.schema import Field, Table

    FindTests = Callable[[ir.Expr], dict[str, ir.Expr]]
    """Returns the conditions under which the value of a leaf is uncertain, by the names of the unknown values."""

_KINDS_THAT_EXIST = (DataType.SIZE, DataType.TIME, DataType.DURATION, DataType.DIGEST)
"""Every object has sizes, times and digests: a missing one was not reported, or cannot be."""


def require_certain(select: ir.Select) -> ir.Select:
    """Return the query with its condition in the certain form; the query itself when these do not differ."""
    return _change_select(select, _list_tests, certain=True)


def require_read(select: ir.Select, unread: Mapping[str, str]) -> tuple[ir.Select, frozenset[str]]:
    """Return the query of the rows that belong to it whatever could not be read: rows of these views, by outer row.

    A value of a column that depends on it is unknown. The set has the views that the query takes into account so: the
    rest of them decides otherwise which rows it returns, as the operands of `of` do.
    """
    covered: set[str] = set()
    find_tests = _make_unread_tests(unread, covered)
    changed = _change_select(select, find_tests, certain=True)
    columns = tuple(
        column.replace(value=_hide_unread(column.value, find_tests(column.value).values()))
        for column in changed.columns
    )
    return changed if _are_same(columns, changed.columns) else changed.replace(columns=columns), frozenset(covered)


def remove_limits(select: ir.Select) -> ir.Select:
    """Return the query of all rows from which the limits of a query choose."""
    base = select.base
    if isinstance(base, ir.Select):
        base = remove_limits(base)
    return select.replace(base=base, limit=None, skip=None, keep_newest=None, until=None)


def has_order_limit(select: ir.Select) -> bool:
    """Whether missing rows would let others in: the query has `limit`, `skip` or `until`."""
    own = bool(select.limit or select.skip or select.until)
    return own or (isinstance(select.base, ir.Select) and has_order_limit(select.base))


class UncertainRows(Record):
    """A query for rows of which it is uncertain whether a condition holds for them.

    Its first columns are those of `list_subject_fields`, and then one for each of `values`: whether it is unknown.
    """

    select: ir.Select
    values: tuple[str, ...]


def list_uncertain_rows(select: ir.Select, unread: Mapping[str, str]) -> Iterator[UncertainRows]:
    """Yield queries for the rows of a query, without its limits, that its certain form omits.

    `unread`: see `require_read`.
    """
    find_unread = _make_unread_tests(unread)

    def find_tests(leaf: ir.Expr) -> dict[str, ir.Expr]:
        return _list_tests(leaf) | find_unread(leaf)

    for one in _list_uncertain(remove_limits(select), find_tests):
        operands = {
            name: test for where in _list_conditions(one) for name, test in _list_unknown(where, find_tests).items()
        }
        columns = [ir.Projection(field.name, ir.Column(field), "") for field in list_subject_fields(one)]
        columns += [ir.Projection(f"unknown_{at}", test, "") for at, test in enumerate(operands.values())]
        yield UncertainRows(one.replace(columns=tuple(columns), order=(), is_whole_rows=False), tuple(operands))


class LeftOutRows(Record):
    """Queries that count rows: those that a query leaves out because a value is unknown, and how many for which value.

    `rows` counts them all, and `values` those of which the value of a name is unknown.
    """

    table: Table
    rows: ir.Select
    values: Mapping[str, ir.Select]


def list_left_out_rows(select: ir.Select) -> Iterator[LeftOutRows]:
    """Yield the counts of the rows that a query leaves out although its condition may hold for them.

    A value that an object may lack is not unknown, nor is one that no row of the source has: the latter is reported
    by itself. Rows beyond a limit are not fetched, so a query with one has none, as one with joins.
    """
    if has_order_limit(select) and select.table.is_staged:
        return
    for one in _list_levels(select):
        where = one.where
        if where is None or one.joins or one.table.view == DERIVED:
            continue
        possible = _change(where, _list_reported_tests, certain=False)
        if possible is where:
            continue
        left_out: tuple[ir.Expr, ...] = (possible, ir.Not(where))
        problem = one.table.find_field("problem")
        if problem is not None:  # the error of such a row is reported
            left_out = (*left_out, ir.IsKnown(ir.Column(problem), known=False))
        counted = one.replace(
            columns=(), where=ir.And(left_out), group=None, having=None, order=(), limit=None, skip=None,
            keep_newest=None, until=None, count=True, is_whole_rows=False, nonempty="",
        )  # fmt: skip
        values = {
            name: counted.replace(where=ir.And((*left_out, test)))
            for name, test in _list_unknown(where, _list_reported_tests).items()
        }
        yield LeftOutRows(one.table, counted, values)


def _list_levels(select: ir.Select) -> Iterator[ir.Select]:
    """Yield a query and those that its rows are of."""
    yield select
    sides = (select.base.left, select.base.right) if isinstance(select.base, ir.Union) else (select.base,)
    for side in sides:
        if side is not None:
            yield from _list_levels(side)


def _list_reported_tests(leaf: ir.Expr) -> dict[str, ir.Expr]:
    """Return the tests of a leaf as `_list_tests`, of the values whose absence a query reports.

    To look for one digest leaves out rows without any digest: nobody expects them.
    """
    match leaf:
        case ir.Comparison("=", left, _) if left.kind is DataType.DIGEST:
            return {}
        case ir.InList(operand) | ir.HasPrefix(operand) | ir.InSubquery(operand) if operand.kind is DataType.DIGEST:
            return {}
        case ir.RowInSubquery():
            return {}
        case _:
            return {name: test for name, test in _list_tests(leaf).items() if not _is_lacking(test)}


def _is_lacking(test: ir.Expr) -> bool:
    """Whether what a test finds unknown is a value that the object may lack, or that its source never has."""
    value = test.operand if isinstance(test, ir.IsKnown) else test
    for part in ir.walk((value,)):
        if isinstance(part, ir.Column | ir.ImageField) and (part.field.is_optional or part.field.is_unavailable):
            return True
        if isinstance(part, ir.Column) and part.join:  # the row may have no partner
            return True
    return False


def list_subject_fields(select: ir.Select) -> tuple[Field, ...]:
    """Return the fields by which messages name a row: its name and its ID."""
    found = (select.table.find_field(name) for name in ("name", "id"))
    return tuple(field for field in found if field is not None) or select.table.fields[:1]


def show_unknown(value: ir.Expr) -> ir.Expr:
    """Return a condition whose value is unknown when rows of another source that it reads are; others unchanged."""
    if value.kind is not DataType.BOOLEAN or isinstance(value, ir.Column) or not _reads_remote_value(value):
        return value
    return ir.ShownCondition(_change(value, _list_tests, certain=True), _change(value, _list_tests, certain=False))


def _reads_remote_value(value: ir.Expr) -> bool:
    return any(
        isinstance(part, ir.ScalarSubquery) and part.select.table.is_staged and part.select.join
        for part in ir.walk((value,))
    )


# The two forms


def _change(value: ir.Expr, find_tests: FindTests, *, certain: bool) -> ir.Expr:
    """Return a condition in its certain or its possible form."""
    match value:
        case ir.And(operands) | ir.Or(operands):
            changed = tuple(_change(operand, find_tests, certain=certain) for operand in operands)
            return value if _are_same(changed, operands) else value.replace(operands=changed)
        case ir.Not(operand):
            inner = _change(operand, find_tests, certain=not certain)
            return value if inner is operand else ir.Not(inner)
        case ir.Exists() | ir.RelatedTo() | ir.InSubquery() | ir.RowInSubquery() | ir.LayerRelation():
            inner_select = _change_select(value.select, find_tests, certain=certain)
            changed_value = value if inner_select is value.select else value.replace(select=inner_select)
            return _add_tests(changed_value, find_tests(value), certain=certain)
        case ir.IsKnown():
            return _add_tests(value, find_tests(value), certain=certain)
        case _:
            return _add_tests(value, find_tests(value), certain=certain)


def _add_tests(value: ir.Expr, found: Mapping[str, ir.Expr], *, certain: bool) -> ir.Expr:
    """Return a leaf of a condition together with the tests of its unknown operands."""
    tests = tuple(found.values())
    if not tests:
        return value
    if not certain:
        return ir.Or((value, *tests))
    if not isinstance(value, ir.RowInSubquery) and not any(isinstance(test, ir.Exists) for test in tests):
        return value  # as in SQL, a comparison with an unknown value does not hold
    return ir.And((value, *(ir.Not(test) for test in tests)))


def _change_select(select: ir.Select, find_tests: FindTests, *, certain: bool) -> ir.Select:
    """Return a query for the rows that certainly, or possibly, belong to it."""
    where = _change(select.where, find_tests, certain=certain) if select.where is not None else None
    having = _change(select.having, find_tests, certain=certain) if select.having is not None else None
    base = select.base
    if isinstance(base, ir.Select):
        base = _change_select(base, find_tests, certain=certain)
    elif isinstance(base, ir.Union):
        left, right = (_change_select(side, find_tests, certain=certain) for side in (base.left, base.right))
        base = base if left is base.left and right is base.right else ir.Union(left, right)
    targets = select.targets
    if targets is not None:
        changed = tuple(
            _change_select(one, find_tests, certain=certain) if isinstance(one, ir.Select) else one for one in targets
        )
        targets = targets if _are_same(changed, targets) else changed
    if where is select.where and having is select.having and base is select.base and targets is select.targets:
        return select
    changed_select = select.replace(where=where, having=having, base=base, targets=targets)
    if not certain:  # any of its rows may be among the first ones
        changed_select = changed_select.replace(limit=None, skip=None, keep_newest=None, until=None)
    return changed_select


def _are_same(left: Sequence[object], right: Sequence[object]) -> bool:
    return all(one is other for one, other in zip(left, right, strict=True))


# What is unknown


def _list_tests(leaf: ir.Expr) -> dict[str, ir.Expr]:
    """Return the conditions under which the value of a leaf is uncertain, by the names of the unknown values."""
    match leaf:
        case ir.Exists() | ir.RelatedTo() | ir.IsKnown():
            return {}
        case ir.Comparison(_, left, right):
            operands: tuple[ir.Expr, ...] = (left, right)
        case ir.InList(operand) | ir.HasPrefix(operand) | ir.InSubquery(operand):
            operands = (operand,)
        case ir.RowInSubquery(keys):
            operands = keys
        case ir.LayerRelation(_, (layers, _)):  # no layers are known layers
            count = ir.FunctionCall(FUNCTIONS["length"], (layers,), DataType.NUMBER)
            return {_name(layers): ir.IsKnown(count, known=False)}
        case _:
            operands = (leaf,)
    tests: dict[str, ir.Expr] = {}
    for operand in operands:
        if isinstance(operand, ir.ScalarSubquery) and (partial := _test_aggregate(operand)) is not None:
            tests[_name(operand)] = partial
        elif _may_be_unknown(operand):
            tests[_name(operand)] = ir.IsKnown(operand, known=False)
    return tests


def _may_be_unknown(value: ir.Expr) -> bool:
    for part in ir.walk((value,)):
        if isinstance(part, ir.Column | ir.ImageField):
            if part.field.type in _KINDS_THAT_EXIST or part.field.about_containers:
                return True
        elif isinstance(part, ir.ScalarSubquery) and not part.select.count:
            select = part.select
            if select.table.is_staged and select.join and not select.group:  # the row itself may be missing
                return True
            if any(_may_be_unknown(column.value) for column in select.columns):
                return True
    return False


def _make_unread_tests(unread: Mapping[str, str], covered: set[str] | None = None) -> FindTests:
    """Return a function for the tests whether rows that a leaf reads could not be read; `covered` collects views."""

    def find_tests(leaf: ir.Expr) -> dict[str, ir.Expr]:
        tests: dict[str, ir.Expr] = {}
        for part in ir.walk((leaf,)):
            select = ir.get_subquery(part)
            if select is not None and select.join and (view := unread.get(select.table.sql_name)) is not None:
                if covered is not None:
                    covered.add(select.table.sql_name)
                table = select.table.replace(view=view)
                tests[select.table.name] = ir.Exists(ir.Select(table, (), join=select.join, is_whole_rows=True))
        return tests

    return find_tests


def _hide_unread(value: ir.Expr, tests: Iterable[ir.Expr]) -> ir.Expr:
    """Return a value that is unknown where one of these tests holds."""
    for test in tests:
        value = ir.FunctionCall(FUNCTIONS["if"], (ir.Not(test), value, ir.Literal(None, value.kind)), value.kind)
    return value


def _test_aggregate(value: ir.ScalarSubquery) -> ir.Expr | None:
    """Return the condition that a value among those of an aggregate is unknown, None for another subquery.

    An aggregate leaves unknown values out: a sum of sizes is too small without one of them.
    """
    select = value.select
    if select.count or select.group != () or not select.columns:
        return None
    call = select.columns[0].value
    if not isinstance(call, ir.AggregateCall) or call.argument is None or not _may_be_unknown(call.argument):
        return None
    is_unknown: ir.Expr = ir.IsKnown(call.argument, known=False)
    where = is_unknown if select.where is None else ir.And((select.where, is_unknown))
    return ir.Exists(select.replace(where=where, group=None, columns=(), is_whole_rows=True))


def _name(value: ir.Expr) -> str:
    """Return the name of a value in messages."""
    for part in ir.walk((value,)):
        if isinstance(part, ir.Column | ir.ImageField):
            return part.field.name
        if isinstance(part, ir.ScalarSubquery) and part.select.columns:
            select = part.select
            own = _name(select.columns[0].value)
            return f"remote.{own}" if select.table.name == "tags" else f"{select.table.name}.{own}"
    return "a value"


def _list_conditions(select: ir.Select | ir.Union | None) -> Iterator[ir.Expr]:
    """Yield the conditions on the rows of a query, and of those that it selects from."""
    while isinstance(select, ir.Select) and select.table.view != DERIVED:
        if select.where is not None:
            yield select.where
        select = select.base


def _list_unknown(where: ir.Expr, find_tests: FindTests) -> dict[str, ir.Expr]:
    """Return the tests of all leaves of a condition."""
    tests: dict[str, ir.Expr] = {}
    pending = [where]
    while pending:
        value = pending.pop(0)
        if isinstance(value, ir.And | ir.Or):
            pending += value.operands
        elif isinstance(value, ir.Not):
            pending.append(value.operand)
        else:
            tests |= find_tests(value)
    return tests


def _list_uncertain(select: ir.Select, find_tests: FindTests) -> Iterator[ir.Select]:
    where, base = select.where, select.base
    if where is not None and (certain := _change(where, find_tests, certain=True)) is not where:
        yield select.replace(where=ir.And((where, ir.Not(certain))))
    if isinstance(base, ir.Select):
        yield from (select.replace(base=one) for one in _list_uncertain(base, find_tests))
    elif isinstance(base, ir.Union):
        for side in (base.left, base.right):
            yield from (select.replace(base=one) for one in _list_uncertain(side, find_tests))
