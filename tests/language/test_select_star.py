"""`select *` returns all fields of the table, as in SQL."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from imq.engine.catalog.tables import TABLES
from imq.engine.result import RowSet
from imq.grammar.errors import StatementError

if TYPE_CHECKING:
    from imq.engine.session.session import Session


def answer(session: Session, text: str) -> RowSet:
    (result,) = session.run(text)
    assert isinstance(result, RowSet)
    return result


@pytest.mark.parametrize("table", ["images", "layers", "containers"])
def test_star_is_all_fields(session: Session, table: str) -> None:
    names = [field.name for field in TABLES[table].fields if not field.on_request]
    every, named = answer(session, f"{table} select *"), answer(session, f"{table} select {', '.join(names)}")
    assert [column.name for column in every.columns] == names
    assert list(every.rows) == list(named.rows)


def test_star_can_be_combined_with_other_columns(session: Session) -> None:
    result = answer(session, "history of redis:7 select size * 2 as double, *")
    assert [column.name for column in result.columns] == ["double", *(field.name for field in TABLES["history"].fields)]


def test_a_field_beside_the_star_is_selected_once(session: Session) -> None:
    names = [field.name for field in TABLES["history"].fields]
    result = answer(session, f"history of redis:7 select *, {names[0]}")
    assert [column.name for column in result.columns] == [*names[1:], names[0]]


def test_star_of_a_subquery_is_its_columns(session: Session) -> None:
    assert [column.name for column in answer(session, "(images select name, size) select *").columns] == [
        "name",
        "size",
    ]


def test_a_quoted_star_is_a_string(session: Session) -> None:
    assert set(answer(session, 'images select "*" as star').rows) == {("*",)}


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("images select * as all", "column"),
        ("images select *, name, name", "repeated"),
        ("images select *, *", "repeated"),
        ("images select * group by tag", "not-grouped"),
        ("images group by *", "column"),
        ("images order by *", "column"),
        ("images where * = tag", "column"),
    ],
)
def test_star_elsewhere_is_refused(session: Session, text: str, code: str) -> None:
    with pytest.raises(StatementError) as refused:
        list(session.run(text))
    assert refused.value.code == code
