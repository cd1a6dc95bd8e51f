"""SQL and the reference interpreter return the same rows, for generated queries over generated rows."""

from __future__ import annotations

import json
import sqlite3
from datetime import UTC
from typing import TYPE_CHECKING, Any, ClassVar

from hypothesis import given
from hypothesis import settings as tried
from hypothesis import strategies as st
from imq.engine.catalog.tables import TABLES
from imq.engine.query.binder import Scope, bind
from imq.engine.query.fetch_executor import FetchExecutor
from imq.engine.query.source import NativeTable, SourceRef, Sources
from imq.engine.query.sql.statements import quote_name, write_select
from imq.engine.query.sqlite_executor import SqliteExecutor
from imq.engine.store.index_schema import SCHEMA
from imq.grammar import ast
from imq.grammar.errors import NotFound
from imq.grammar.parser import parse
from imq.grammar.unparser import unparse
from language.reference_interpreter import DAY, ReferenceInterpreter, Row, get_count
from language.strategies import VOCABULARY

if TYPE_CHECKING:
    from collections.abc import Sequence

NOW = 1_722_513_600 * 1_000_000_000
TEXTS = ["", "a", "ab", "b", "a?", "A", "[a]", "é"]
LAYER = ("digest", "index", "size")
COLUMNS = ("id", "name", "repository", "tag", "created", "size", "download_size", "layer_count", "dangling")
COLUMNS += ("label", "cmd", "_root")


def find(text: str) -> int:
    raise NotFound(text)


class Native:
    """A source whose tables are in SQLite, with nothing to prepare."""

    name = "store"
    tables: ClassVar = {
        name: NativeTable(table.replace(source="store"), lambda _: (), lambda _: "") for name, table in TABLES.items()
    }

    @staticmethod
    def has_indexes() -> bool:
        """Several rows have one name."""
        return True


FETCH = FetchExecutor(Sources({"store": Native}), lambda _: iter(()))
SCOPE = Scope(NOW, UTC, find, FETCH, lambda _table="images": (SourceRef("store", "store"),))


def unknown_or(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(st.none(), values, values)


rows = st.lists(
    st.fixed_dictionaries(
        {
            "name": unknown_or(st.sampled_from(["a:1", "a:2", "b:1"])),
            "_root": st.sampled_from(["sha256:" + sign * 64 for sign in "cd"]),
            "repository": unknown_or(st.sampled_from(["a", "b", "team/app"])),
            "tag": unknown_or(st.sampled_from(TEXTS)),
            "created": unknown_or(st.integers(0, 6).map(lambda days: NOW - days * DAY)),
            "size": unknown_or(st.integers(0, 5)),
            "download_size": unknown_or(st.integers(0, 5)),
            "layer_count": st.integers(0, 3),
            "dangling": st.booleans(),
            "label": st.dictionaries(st.sampled_from(["env", "x y"]), st.sampled_from(TEXTS), max_size=2),
            "cmd": unknown_or(st.lists(st.sampled_from(TEXTS), max_size=2)),
            "layers": st.lists(
                st.fixed_dictionaries(
                    {
                        "digest": st.sampled_from(["sha256:" + sign * 64 for sign in "ab"]),
                        "index": st.integers(0, 2),
                        "size": unknown_or(st.integers(0, 5)),
                    }
                ),
                max_size=2,
            ),
        }
    ),
    max_size=8,
)


def name(*path: str) -> ast.Field:
    return ast.Field(path)


def number(value: int) -> ast.Literal:
    return ast.Literal(str(value))


numbers = st.one_of(
    st.sampled_from([name("size"), name("download_size"), name("layer_count")]),
    st.builds(
        ast.Arithmetic,
        st.sampled_from("+-"),
        st.sampled_from([name("size"), name("layer_count")]),
        st.sampled_from([name("download_size"), name("size"), number(2)]),
    ),
    st.just(ast.Arithmetic("*", name("size"), number(2))),
    st.just(ast.Call("length", (name("tag"),))),
    st.just(ast.Call("coalesce", (name("size"), name("download_size")))),
)
texts = st.sampled_from([
    name("tag"),
    name("label", "env"),
    name("label", "x y"),
    ast.Call("coalesce", (name("tag"), name("label", "env"))),
])  # fmt: skip
lists = st.sampled_from([name("cmd"), name("label")])
sizes = st.sampled_from([name("size"), name("download_size")])
constants = st.integers(0, 6).map(number)
days = st.integers(0, 6).map(lambda count: (ast.Literal(f"{count}d"),))
ages = st.sampled_from(["older than", "newer than"])
operators = st.sampled_from(["=", "!=", "<", "<=", ">", ">="])
equal = st.sampled_from(["=", "!="])
DANGLING = name("dangling")


def said(*choices: str) -> st.SearchStrategy[ast.Literal]:
    return st.sampled_from(choices).map(lambda text: ast.Literal(text, quoted=True))


def some(items: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[ast.Expr, ...]]:
    return st.lists(items, min_size=1, max_size=3).map(tuple)


words = said(*TEXTS)
globs = said("*", "?", "a*", "*b", "[a-b]*", "[!a]*", "\\[a\\]", "a\\*", "")
of_layers = st.one_of(
    st.none(),
    st.builds(ast.Comparison, operators, st.sampled_from([name("size"), name("index")]), constants),
    st.builds(ast.Comparison, equal, st.just(name("digest")), said("sha256:" + "a" * 64)),
)
layers_where = st.builds(lambda where: ast.Query("layers", where=where), of_layers)
totals_of_layers = st.one_of(
    st.builds(lambda rows: ast.Call("count", (ast.Subquery(rows),)), layers_where),
    st.just(ast.Call("sum", (name("layers", "size"),))),
    st.just(ast.Call("max", (name("layers", "index"),))),
)
OF_TAG = st.sampled_from([
    ast.Comparison("=", name("repository"), ast.Literal("a")),
    ast.Comparison(">", name("size"), ast.Literal("2")),
    None,
])  # fmt: skip
choices = st.builds(
    lambda field, where, limit: ast.Query("images", where=where, limit=limit, select=(ast.Column(field),)),
    st.sampled_from([name("tag"), name("label", "env")]),
    OF_TAG,
    st.none() | st.builds(ast.Limit, st.integers(0, 3).map(number)),
)
images_where = st.builds(lambda where: ast.Query("images", where=where), OF_TAG)
of_queries = st.one_of(
    st.builds(ast.Exists, layers_where, st.booleans()),
    st.builds(ast.Comparison, operators, totals_of_layers, constants),
    st.builds(ast.Comparison, operators, numbers, st.builds(ast.Subquery, images_where.map(
        lambda query: query.replace(count=True)))),
    st.builds(lambda operand, rows: ast.In(operand, rows=rows), texts, choices),
    st.builds(lambda operand, rows: ast.In(operand, rows=rows), texts.filter(
        lambda node: node == name("tag")), images_where),
)  # fmt: skip
tests = st.one_of(
    of_queries,
    st.builds(ast.Comparison, operators, numbers, constants | sizes),
    st.builds(ast.Comparison, operators, texts, words | texts),
    st.builds(ast.Comparison, equal, st.just(name("repository")), st.just(ast.Literal("team/app"))),
    st.builds(ast.Comparison, st.just("like"), texts, globs),
    st.builds(ast.Comparison, st.just("has"), lists, said("env", "x y", "a")),
    st.builds(ast.Comparison, st.just("like"), lists, said("env=*", "*=prod", "*a*", "x*")),
    st.builds(ast.Comparison, equal, st.just(DANGLING), st.just(ast.Literal("false"))),
    st.builds(ast.In, texts, some(words)),
    st.builds(ast.In, numbers, some(constants)),
    st.builds(ast.Between, numbers, constants, constants),
    st.builds(ast.IsKnown, st.one_of(numbers, texts, lists, st.just(name("created"))), st.booleans()),
    st.builds(ast.Predicate, ages, days),
    st.just(DANGLING),
)
conditions = st.recursive(
    tests,
    lambda inner: st.one_of(
        inner.map(lambda operand: operand.operand if isinstance(operand, ast.Not) else ast.Not(operand)),
        st.lists(inner, min_size=2, max_size=3).map(lambda parts: ast.And(tuple(parts))),
        st.lists(inner, min_size=2, max_size=3).map(lambda parts: ast.Or(tuple(parts))),
        inner.map(ast.IsKnown),
    ),
    max_leaves=6,
)
pers = st.sampled_from([(), (name("repository"),), (name("tag"), DANGLING)])
keys = st.lists(st.builds(ast.Ordering, st.one_of(numbers, texts, st.just(DANGLING)), st.booleans()), max_size=2)
small = st.integers(0, 3).map(number)


def make_database(drawn: list[Row]) -> sqlite3.Connection:
    """Return a database with tables of these rows in place of the views of the store."""
    connection = sqlite3.connect(":memory:")
    for statement in SCHEMA.split(";"):
        if "TABLE image_label" in statement:
            connection.execute(statement)
    connection.execute(f"CREATE TABLE images (_row INTEGER, _image INTEGER, {', '.join(COLUMNS)})")
    connection.execute(f"CREATE TABLE layers (_image INTEGER, image, {', '.join(map(quote_name, LAYER))})")
    for key, row in enumerate(drawn):
        row["id"] = f"sha256:{key:064x}"
        shown = {**row, "label": json.dumps(row["label"])}
        shown["cmd"] = None if row["cmd"] is None else json.dumps(row["cmd"])
        connection.execute(
            f"INSERT INTO images VALUES (?, ?{', ?' * len(COLUMNS)})",
            (key + 10, key, *(shown[column] for column in COLUMNS)),
        )
        layers = [(key, row["id"], *(layer[column] for column in LAYER)) for layer in row["layers"]]
        connection.executemany(f"INSERT INTO layers VALUES (?, ?{', ?' * len(LAYER)})", layers)
        connection.executemany(
            "INSERT INTO image_label VALUES (?, ?, ?)", [(key, *pair) for pair in row["label"].items()]
        )
    return connection


def run_query(query: ast.Query, drawn: list[Row]) -> list[Sequence[Any]]:
    """Return the rows of the query, by way of its text and SQL."""
    (ask,) = parse(unparse(query), VOCABULARY)
    assert isinstance(ask, ast.QueryStatement)
    sql = write_select(bind(ask.query, SCOPE), NOW)
    connection = make_database(drawn)
    try:
        return list(SqliteExecutor(connection).run(sql))
    finally:
        connection.close()


ID = (ast.Column(name("id")),)


def test_count_applies_except_newest_and_limit() -> None:
    """The rows that the first limit leaves decide how many rows the second one leaves."""
    sizes = [("a", 1), ("b", 2), ("b", 3), ("a", 4)]
    given = {"tag": "t", "label": {}, "layers": [], "dangling": False, "layer_count": 1}
    drawn: list[Row] = [dict.fromkeys(COLUMNS) | given | {"repository": one, "size": size} for one, size in sizes]
    cuts = {"skip": ast.Limit(number(1)), "limit": ast.Limit(number(1), (name("repository"),))}
    for skipped, descending in ((1, False), (2, False), (3, False), (2, True), (3, True)):
        order = (ast.Ordering(name("size"), descending),)
        query = ast.Query("images", order=order, select=ID, **{**cuts, "skip": ast.Limit(number(skipped))})
        assert run_query(query.replace(count=True), drawn) == [(len(run_query(query, drawn)),)]


def total(words: str, *arguments: ast.Expr, distinct: bool = False) -> ast.Expr:
    return ast.Call(words, arguments, distinct)


@given(rows, conditions)
@tried(max_examples=250)
def test_conditions_select_the_same_rows(drawn: list[Row], condition: ast.Expr) -> None:
    found = run_query(ast.Query("images", where=condition, select=ID), drawn)
    expected = ReferenceInterpreter(drawn, NOW).select(ast.Query("images", where=condition))
    assert [row[0] for row in found] == [row["id"] for row in expected]


sides = st.builds(
    lambda where, order, limit: ast.Query("images", where=where, order=order, limit=limit),
    st.none() | tests,
    st.just(()) | st.just((ast.Ordering(name("size")),)),
    st.none() | st.builds(ast.Limit, st.integers(0, 4).map(number), pers),
)
bys = st.sampled_from([(name("id"),), (name("tag"),), (name("repository"), name("dangling"))])
combinations = st.recursive(
    sides,
    lambda inner: st.builds(ast.Combination, st.sampled_from(["union", "except", "intersect"]), inner, inner, bys),
    max_leaves=3,
)


@given(rows, combinations, st.none() | tests, st.none() | st.builds(ast.Limit, small, pers))
@tried(max_examples=200)
def test_queries_of_queries_return_the_same_rows(
    drawn: list[Row], base: ast.RowSource, where: ast.Expr | None, limit: ast.Limit | None
) -> None:
    make_database(drawn).close()  # gives the rows their ids
    query = ast.Query("", base=base, where=where, order=(ast.Ordering(name("id")),), limit=limit)
    expected = [row["id"] for row in ReferenceInterpreter(drawn, NOW).select(query)]
    assert [row[0] for row in run_query(query.replace(select=ID), drawn)] == expected
    assert run_query(query.replace(count=True), drawn) == [(len(expected),)]


@given(rows, st.none() | tests, keys, pers, st.none() | st.builds(ast.Limit, small))
@tried(max_examples=150)
def test_previous_is_the_row_before_in_the_order_of_the_query(
    drawn: list[Row],
    where: ast.Expr | None,
    order: list[ast.Ordering],
    per: tuple[ast.Expr, ...],
    skip: ast.Limit | None,
) -> None:
    make_database(drawn).close()  # gives the rows their ids
    query = ast.Query("images", where=where, order=tuple(order))
    before: dict[tuple[Any, ...], Any] = {}
    expected = []
    interpreter = ReferenceInterpreter(drawn, NOW)
    for row in interpreter.select(query):
        group = tuple(interpreter.evaluate(key, row) for key in per)
        expected.append((row["id"], before.get(group)))
        before[group] = row["size"]
    columns = (*ID, ast.Column(ast.Call("previous", (name("size"),), per=per)))
    skipped = 0 if skip is None else get_count(skip)
    assert run_query(query.replace(select=columns, skip=skip), drawn) == expected[skipped:]


partners = st.sampled_from([
    ast.Comparison("=", name("o", "tag"), name("tag")),
    ast.Comparison("<", name("o", "size"), name("size")),
    ast.Comparison("=", name("o", "label", "env"), name("tag")),
    ast.And((
        ast.Comparison("=", name("o", "repository"), name("repository")),
        ast.Comparison("!=", name("o", "id"), name("id")),
    )),
    ast.Not(ast.Comparison("=", name("o", "layer_count"), name("size"))),
])  # fmt: skip
of_partners = st.sampled_from([
    None,
    ast.IsKnown(name("o", "id"), known=False),
    ast.IsKnown(name("id"), known=False),
    ast.Comparison(">", name("o", "size"), number(1)),
    ast.Comparison("<", name("size"), name("o", "size")),
])  # fmt: skip


@given(rows, sides, st.none() | tests, st.sampled_from(["left", "inner", "full"]), partners, of_partners)
@tried(max_examples=250)
def test_joins_pair_the_same_rows(
    drawn: list[Row],
    left: ast.Query,
    right: ast.Expr | None,
    kind: str,
    condition: ast.Expr,
    where: ast.Expr | None,
) -> None:
    """Each row is joined to each of its partners; what the kind of the join keeps has none."""
    make_database(drawn).close()  # gives the rows their ids
    join = ast.Join(kind, ast.Query("images", where=right), "o", condition)
    order = (ast.Ordering(name("id")), ast.Ordering(name("o", "id")))
    query = ast.Query("", base=left, joins=(join,), where=where, order=order)
    found = run_query(query.replace(select=(*ID, ast.Column(name("o", "id")), ast.Column(name("o", "tag")))), drawn)
    expected = [
        (row["id"], row["o"].get("id"), row["o"].get("tag")) for row in ReferenceInterpreter(drawn, NOW).select(query)
    ]
    assert found == expected
    assert run_query(query.replace(count=True), drawn) == [(len(expected),)]


@given(rows, st.none() | tests, st.sampled_from([None, 1]))
@tried(max_examples=80)
def test_queries_of_groups_return_the_same_rows(drawn: list[Row], where: ast.Expr | None, least: int | None) -> None:
    """The columns of a query are the fields of the query around it."""
    select = (ast.Column(name("repository")), ast.Column(total("sum", name("size")), "bytes"))
    inner = ast.Query("images", where=where, group=(name("repository"),), select=select)
    chosen = None if least is None else ast.Comparison(">", name("bytes"), number(least))
    outer = ast.Query("", base=inner, where=chosen, order=(ast.Ordering(name("bytes"), descending=True),))
    found = run_query(outer, drawn)
    sums: dict[Any, Any] = {}
    for row in drawn:
        if where is None or ReferenceInterpreter(drawn, NOW).holds(where, row):
            known = [value for value in (sums.get(row["repository"]), row["size"]) if value is not None]
            sums[row["repository"]] = sum(known) if known else None
    expected = {(key, value) for key, value in sums.items() if least is None or (value is not None and value > least)}
    assert set(found) == expected
    values = [value for _, value in found]
    known = [value for value in values if value is not None]
    assert values == sorted(known, reverse=True) + [None] * (len(values) - len(known))


@given(rows, conditions)
@tried(max_examples=80)
def test_a_condition_or_its_negation_holds(drawn: list[Row], condition: ast.Expr) -> None:
    """Two-valued logic: each row meets a condition or its negation, and a selected condition is 0 or 1."""
    negated = condition.operand if isinstance(condition, ast.Not) else ast.Not(condition)
    held = {row[0] for row in run_query(ast.Query("images", where=condition, select=ID), drawn)}
    failed = {row[0] for row in run_query(ast.Query("images", where=negated, select=ID), drawn)}
    assert not held & failed
    assert held | failed == {row["id"] for row in drawn}
    columns = (*ID, ast.Column(condition, "holds"))
    assert dict(run_query(ast.Query("images", select=columns), drawn)) == {
        row["id"]: row["id"] in held for row in drawn
    }  # type: ignore[arg-type]


@given(
    rows,
    st.none() | tests,
    keys,
    st.none() | st.builds(ast.Limit, small, pers),
    st.none() | st.builds(ast.Limit, small, pers),
    st.none() | st.builds(ast.KeepNewest, small, pers, st.none() | st.sampled_from([name("size"), name("tag")])),
)
@tried(max_examples=250)
def test_order_limit_skip_and_except_newest_return_the_same_rows(
    drawn: list[Row],
    where: ast.Expr | None,
    order: list[ast.Ordering],
    limit: ast.Limit | None,
    skip: ast.Limit | None,
    newest: ast.KeepNewest | None,
) -> None:
    query = ast.Query("images", where=where, order=tuple(order), limit=limit, skip=skip, keep_newest=newest, select=ID)
    make_database(drawn).close()  # gives the rows their ids
    expected = [row["id"] for row in ReferenceInterpreter(drawn, NOW).select(query)]
    assert [row[0] for row in run_query(query, drawn)] == expected
    assert run_query(query.replace(count=True), drawn) == [(len(expected),)]


TOTALS = {
    "count": (total("count"), len),
    "known": (total("count", name("size")), lambda values: len(_known(values, "size"))),
    "kinds": (total("count", name("tag"), distinct=True), lambda values: len(set(_known(values, "tag")))),
    "sum": (total("sum", name("size")), lambda values: sum(_known(values, "size")) if _known(values, "size") else None),
    "min": (total("min", name("tag")), lambda values: min(_known(values, "tag"), default=None)),
    "max": (total("max", name("created")), lambda values: max(_known(values, "created"), default=None)),
    "avg": (total("avg", name("layer_count")), lambda values: sum(_known(values, "layer_count")) / len(values)),
    "all": (total("list", name("tag")), lambda values: sorted(_known(values, "tag"))),
}  # fmt: skip


def _known(values: list[Row], field: str) -> list[Any]:
    return [row[field] for row in values if row[field] is not None]


@given(
    rows,
    st.none() | tests,
    st.sampled_from([name("repository"), name("label", "env"), total("length", name("tag")), name("dangling")]),
    st.sampled_from([None, 1, 2]),
)
@tried(max_examples=150)
def test_groups_return_the_same_rows(
    drawn: list[Row], where: ast.Expr | None, key: ast.Expr, least: int | None
) -> None:
    having = None if least is None else ast.Comparison(">", total("count"), number(least))
    select = (ast.Column(key, "key"), *(ast.Column(value, called) for called, (value, _) in TOTALS.items()))
    found = run_query(ast.Query("images", where=where, group=(key,), having=having, select=select), drawn)
    naive = ReferenceInterpreter(drawn, NOW)
    groups: dict[Any, list[Row]] = {}
    for row in drawn:
        if where is None or naive.holds(where, row):
            groups.setdefault(naive.evaluate(key, row), []).append(row)
    known = sorted(value for value in groups if value is not None)
    ordered = [*known, *(value for value in groups if value is None)]
    expected = [
        (value, *(work(groups[value]) for _, work in TOTALS.values()))
        for value in ordered
        if least is None or len(groups[value]) > least
    ]
    assert [(*row[:-1], sorted(json.loads(row[-1]))) for row in found] == expected


@given(rows, st.none() | tests)
def test_aggregates_without_groups_return_the_same_values(drawn: list[Row], where: ast.Expr | None) -> None:
    select = tuple(ast.Column(value, called) for called, (value, _) in TOTALS.items() if called != "avg")
    found = run_query(ast.Query("images", where=where, select=select), drawn)
    kept = [row for row in drawn if where is None or ReferenceInterpreter(drawn, NOW).holds(where, row)]
    expected = [tuple(work(kept) for called, (_, work) in TOTALS.items() if called != "avg")]
    assert [(*row[:-1], sorted(json.loads(row[-1]))) for row in found] == expected


def test_many_conditions_and_long_lists_stay_within_the_limits_of_sqlite() -> None:
    drawn: list[Row] = [
        dict.fromkeys(COLUMNS) | {"tag": "a", "label": {}, "layers": [], "dangling": False, "layer_count": 1}
    ]
    either = ast.Or(tuple(ast.Comparison("=", name("tag"), ast.Literal(f"t{at}")) for at in range(3000)))
    assert run_query(ast.Query("images", where=either, select=ID), drawn) == []
    among = ast.In(name("tag"), (*(ast.Literal(f"t{at}") for at in range(3000)), ast.Literal("a")))
    assert len(run_query(ast.Query("images", where=among, select=ID), drawn)) == 1
    each = ast.And(tuple(ast.Comparison("!=", name("tag"), ast.Literal(f"t{at}")) for at in range(3000)))
    assert len(run_query(ast.Query("images", where=each, select=ID), drawn)) == 1
