"""PostgreSQL and SQLite return the same rows, for generated queries over many rows."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, example, given
from hypothesis import settings as tried
from hypothesis import strategies as st
from imq.engine.catalog.tables import TABLES
from imq.engine.postgresql.catalogue import Catalogue, convert_parameters
from imq.engine.query.binder import bind
from imq.engine.query.sql.postgresql import PostgresqlDialect, get_column_type
from imq.engine.query.sql.statements import quote_name, write_select
from imq.engine.query.sqlite_executor import SqliteExecutor
from imq.grammar import ast
from imq.grammar.parser import parse
from imq.grammar.unparser import unparse
from language.strategies import VOCABULARY
from language.test_against_reference import (
    COLUMNS,
    DAY,
    ID,
    LAYER,
    NOW,
    SCOPE,
    TEXTS,
    combinations,
    conditions,
    keys,
    make_database,
    name,
    number,
    of_partners,
    partners,
    pers,
    sides,
    small,
    tests,
    total,
)

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator

    from psycopg import Connection
    from support.postgresql import PostgresqlServer

ROWS = 60
FEW = tried(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def _make_rows() -> list[dict[str, Any]]:
    """Return rows with every value of the generated ones, the same at each call."""
    chance = random.Random(7)

    def choose(*values: Any) -> Any:
        return chance.choice(values)

    def choose_texts() -> list[str]:
        return [choose(*TEXTS) for _ in range(chance.randrange(3))]

    return [
        {
            "name": choose(None, "a:1", "a:2", "b:1"),
            "_root": "sha256:" + choose("c", "d") * 64,
            "repository": choose(None, "a", "b", "team/app"),
            "tag": choose(None, *TEXTS, "1.2", "v1.10-alpine", "2.0rc1", "a\nb", "%", "_", "\\"),
            "created": choose(None, *(NOW - days * DAY for days in range(7))),
            "size": choose(None, *range(6), 1 << 40),
            "download_size": choose(None, *range(6)),
            "layer_count": chance.randrange(4),
            "dangling": choose(True, False),
            "label": dict.fromkeys(choose_texts(), "prod") | {choose("env", "x y"): choose(*TEXTS)},
            "cmd": choose(None, choose_texts()),
            "layers": [
                {"digest": "sha256:" + choose("a", "b") * 64, "index": at, "size": choose(None, *range(6))}
                for at in range(chance.randrange(3))
            ],
        }
        for _ in range(ROWS)
    ]


class Databases:
    """The same rows in SQLite and in PostgreSQL."""

    def __init__(self, url: str) -> None:
        self.sqlite: sqlite3.Connection = make_database(_make_rows())
        self.catalogue = Catalogue(url, {"TZ": "UTC"})
        self.target: Connection[Any] = self.catalogue.connect()
        self.target.execute("SET search_path = imq, pg_temp")
        types = {
            field.name: get_column_type(field.type) for table in ("images", "layers") for field in TABLES[table].fields
        }
        hidden = {"_row": "bigint", "_image": "bigint", "image": get_column_type(TABLES["images"].get_field("id").type)}
        self._copy("images", {"_row": "", "_image": "", **dict.fromkeys(COLUMNS, "")}, types | hidden)
        self._copy("layers", {"_image": "", "image": "", **dict.fromkeys(LAYER, "")}, types | hidden)
        self._copy("image_label", {"image": "", "key": "", "value": ""}, {"image": "bigint"})

    def _copy(self, table: str, names: dict[str, str], types: dict[str, str]) -> None:
        text = 'text COLLATE "C"'
        definitions = ", ".join(f"{quote_name(one)} {types.get(one, text)}" for one in names)
        self.target.execute(f"CREATE TEMP TABLE {table} ({definitions})")
        columns = ", ".join(map(quote_name, names))
        with self.target.cursor() as cursor, cursor.copy(f"COPY {table} FROM STDIN") as copy:
            for row in self.sqlite.execute(f"SELECT {columns} FROM {table}"):
                copy.write_row(row)

    def compare(self, query: ast.RowSource) -> None:
        """Run a query in both, by way of its text."""
        text = unparse(query)
        (statement,) = parse(text, VOCABULARY)
        assert isinstance(statement, ast.QueryStatement)
        select = bind(statement.query, SCOPE)
        expected = list(SqliteExecutor(self.sqlite).run(write_select(select, NOW)))
        sql = write_select(select, NOW, dialect=PostgresqlDialect())
        found = self.target.execute(convert_parameters(sql.text), dict(sql.parameters)).fetchall()
        assert _normalize(found) == _normalize(expected), text


def _normalize(rows: list[Any]) -> list[tuple[Any, ...]]:
    """Return rows in which floating-point numbers are rounded, and JSON has one spelling."""

    def change(value: Any) -> Any:
        if isinstance(value, float):
            return round(value, 9)
        return json.loads(value) if isinstance(value, str) and value[:1] in ("[", "{") and value[1:2] == '"' else value

    return [tuple(map(change, row)) for row in rows]


@pytest.fixture(scope="module")
def databases(server: PostgresqlServer) -> Iterator[Databases]:
    opened = Databases(server.url(server.create_database()))
    yield opened
    opened.catalogue.close()


values = st.sampled_from([
    "size / download_size", "size / 0", "size % 2", "size * 1.5", "layer_count / 2", "layer_count % 0", "-size",
    "age(created)", "year(created)", "date(created)", "created + 1d", "lower(tag)", "upper(tag)", "length(tag)",
    "length(cmd)", 'split(tag, "b")', 'split(tag, "")', 'join(cmd, "-")', "basename(repository)", "dirname(repository)",
    'replace(tag, "a", "é")', 'coalesce(tag, label.env, "none")', "if(dangling, size, 0)", "version(tag)",
    'capture(tag, "([a-z]+)([?])")', 'capture(tag, "^v?([0-9]+)[.]", 0)', "number(tag)", "size(tag)", "duration(tag)",
    "date(tag)", 'label."x y"', "cmd", "label", "dangling", "not dangling", "size > 2", 'tag matches "^[a-b]"',
    "size is known", "cmd is unknown", 'path_match(repository, "*/a?p")', "previous(size per repository)", "bar(size)",
])  # fmt: skip
"""Values that are selected."""
group_keys = st.sampled_from([
    name("repository"), name("label", "env"), total("length", name("tag")), name("dangling"),
    ast.Call("lower", (name("tag"),)), ast.Call("count", (ast.Subquery(ast.Query("layers")),)),
])  # fmt: skip
TOTALS = (
    "count", "count(size)", "count(distinct tag)", "sum(size)", "avg(size)", "avg(layer_count)", "sum(layer_count)",
    "min(tag)", "max(created)", "list(tag)", "list(distinct size)", "list(created)", "max(size) - min(size)",
    "sum(size) / count", "count(distinct size) * 2",
)  # fmt: skip


def _parse_column(text: str, at: int) -> ast.Column:
    (statement,) = parse(f"images select {text}", VOCABULARY)
    assert isinstance(statement, ast.QueryStatement)
    assert isinstance(statement.query, ast.Query)
    return ast.Column(statement.query.select[0].value, f"c{at}")


@given(condition=conditions)
@tried(FEW, max_examples=100)
def test_conditions(databases: Databases, condition: ast.Expr) -> None:
    databases.compare(ast.Query("images", where=condition, select=(*ID, ast.Column(condition, "holds"))))


@given(texts=st.lists(values, min_size=1, max_size=4), where=st.none() | tests)
@FEW
def test_values(databases: Databases, texts: list[str], where: ast.Expr | None) -> None:
    columns = tuple(_parse_column(text, at) for at, text in enumerate(texts))
    databases.compare(ast.Query("images", where=where, select=(*ID, *columns)))


@given(
    key=group_keys,
    texts=st.lists(st.sampled_from(TOTALS), min_size=1, max_size=4),
    where=st.none() | tests,
    having=st.sampled_from([None, 1, 2]),
)
@FEW
def test_groups(
    databases: Databases, key: ast.Expr, texts: list[str], where: ast.Expr | None, having: int | None
) -> None:
    columns = (ast.Column(key, "key"), *(_parse_column(text, at) for at, text in enumerate(texts)))
    chosen = None if having is None else ast.Comparison(">", total("count"), number(having))
    databases.compare(ast.Query("images", where=where, group=(key,), having=chosen, select=columns))
    databases.compare(ast.Query("images", where=where, select=columns[1:]))


@given(
    where=st.none() | tests,
    order=keys,
    limit=st.none() | st.builds(ast.Limit, small, pers),
    skip=st.none() | st.builds(ast.Limit, small, pers),
    newest=st.none() | st.builds(ast.KeepNewest, small, pers, st.none() | st.sampled_from([name("size"), name("tag")])),
)
@example(  # of several images that are equally new, which one is kept decides how many rows of its name are
    where=ast.Comparison("=", name("dangling"), ast.Literal("false")),
    order=[], limit=None, skip=None, newest=ast.KeepNewest(ast.Literal("1")),
)  # fmt: skip
@FEW
def test_limits(
    databases: Databases,
    where: ast.Expr | None,
    order: list[ast.Ordering],
    limit: ast.Limit | None,
    skip: ast.Limit | None,
    newest: ast.KeepNewest | None,
) -> None:
    query = ast.Query("images", where=where, order=tuple(order), limit=limit, skip=skip, keep_newest=newest)
    databases.compare(query.replace(select=ID))
    databases.compare(query.replace(count=True))


@given(base=combinations, where=st.none() | tests, limit=st.none() | st.builds(ast.Limit, small, pers))
@FEW
def test_queries_of_queries(
    databases: Databases, base: ast.RowSource, where: ast.Expr | None, limit: ast.Limit | None
) -> None:
    query = ast.Query("", base=base, where=where, order=(ast.Ordering(name("id")),), limit=limit)
    databases.compare(query.replace(select=ID))


@given(
    left=sides,
    right=st.none() | tests,
    kind=st.sampled_from(["left", "inner", "full"]),
    condition=partners,
    where=of_partners,
)
@FEW
def test_joins(
    databases: Databases,
    left: ast.Query,
    right: ast.Expr | None,
    kind: str,
    condition: ast.Expr,
    where: ast.Expr | None,
) -> None:
    join = ast.Join(kind, ast.Query("images", where=right), "o", condition)
    order = (ast.Ordering(name("id")), ast.Ordering(name("o", "id")))
    query = ast.Query("", base=left, joins=(join,), where=where, order=order)
    databases.compare(query.replace(select=(*ID, ast.Column(name("o", "id")), ast.Column(name("o", "tag")))))
