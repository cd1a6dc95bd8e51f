"""The topics of help: operators and values, and the groups of the overview's list; their examples are correct."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from imq.engine.actions import VERBS
from imq.engine.catalog.functions import AGGREGATES
from imq.engine.catalog.operators import OPERATORS, OTHER_NAMES
from imq.engine.catalog.predicates import PREDICATES
from imq.engine.catalog.tables import TABLES
from imq.engine.help.help import format_help
from imq.engine.result import RowSet

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterable

    from imq.engine.catalog.clauses import Clause
    from imq.engine.session.session import Session


@pytest.mark.parametrize("operator", OPERATORS.values(), ids=list(OPERATORS))
def test_the_example_of_an_operator_is_correct(
    session: Session, operator: Clause, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "keep.txt").write_text("redis:7\n")
    assert operator.example in " ".join(format_help((operator.name,)).split())
    assert [result.exit_code for result in session.run(operator.example)] == [0]


@pytest.mark.parametrize("name", OTHER_NAMES)
def test_other_names_lead_to_their_operator(name: str) -> None:
    assert OPERATORS[OTHER_NAMES[name]].syntax in " ".join(format_help(tuple(name.split())).split())


@pytest.mark.parametrize(
    ("group", "names"),
    [
        ("tables", TABLES),
        ("verbs", VERBS),
        ("operators", OPERATORS),
        ("predicates", PREDICATES),
        ("functions", AGGREGATES),
        ("formats", ("json", "csv")),
        ("settings", ("jobs",)),
        ("clauses", ("where", "except")),
    ],
)
def test_a_group_lists_its_names_with_their_descriptions(group: str, names: Iterable[str]) -> None:
    lines = format_help((group,)).splitlines()
    for name in names:
        assert any(line.startswith(f"  {name}") for line in lines), name


def test_what_help_says_of_unknown_values(session: Session) -> None:
    def count(condition: str) -> object:
        (result,) = session.run(f"images where dangling and {condition} count")
        assert isinstance(result, RowSet)
        ((number,),) = result.rows
        return number

    assert count("tag is unknown") == count("not tag = x") == count("tag not in (x, y)") != 0
    assert count("tag != x") == count("tag = x") == count("tag in (x)") == 0
