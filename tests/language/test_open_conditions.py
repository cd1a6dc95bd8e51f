"""The condition of a relation extends to the end; a removal is refused where part of it could be meant for the row."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from imq.grammar.errors import StatementError
from imq.grammar.parser import parse
from imq.grammar.unparser import unparse
from language.strategies import VOCABULARY

if TYPE_CHECKING:
    from imq.engine.session.session import Session

AMBIGUOUS = """
rm images where any layers where size > 1MB and older than 30d
rm images where no layers where size > 1MB and created before 2024-01-01
rm images where not any layers where size > 1MB or size < 1kB
rm images where tag = 1 and no history where empty and size > 1MB
rm images where no layers where size > 1MB and not size > 2MB
rm images where (tag = 1 or any layers where size > 1MB and newer than 1d)
prune images where no layers where size > 1MB and older than 30d
untag images where no layers where size > 1MB and older than 30d
view old as images where no layers where size > 1MB and older than 30d; rm old
"""

NESTED = """
images where any layers where size > 1MB and no history where empty
images where no containers where status = running and not (any containers where status = exited)
images where any layers where (size > 1MB or any files where setuid)
"""

CLEAR = """
rm images where (any layers where size > 1MB) and older than 30d
rm images where any layers where (size > 1MB and older than 30d)
rm images where (no layers where size > 1MB and older than 30d)
rm images where older than 30d and any layers where size > 1MB
rm images where any layers where size > 1MB and created_by like "*apt*"
rm images where any layers where size > 1MB and images = 1 and index > 0
images where any layers where size > 1MB and older than 30d
rm images where name in (images where any layers where (size > 1MB and older than 30d) select name)
"""


def run(session: Session, text: str) -> None:
    for _ in session.run(text, dry_run=True):
        pass


@pytest.mark.parametrize("text", AMBIGUOUS.strip().splitlines())
def test_a_removal_with_a_condition_that_fits_both_rows_is_refused(session: Session, text: str) -> None:
    with pytest.raises(StatementError) as refused:
        run(session, text)
    assert refused.value.code == "ambiguous-condition"
    assert "to end the condition before it: (" in "".join(refused.value.hints)


@pytest.mark.parametrize("text", NESTED.strip().splitlines())
def test_a_relation_of_the_row_inside_another_relation_is_refused(session: Session, text: str) -> None:
    with pytest.raises(StatementError) as refused:
        run(session, text)
    assert refused.value.code == "ambiguous-condition"


@pytest.mark.parametrize("text", CLEAR.strip().splitlines())
def test_parentheses_and_fields_of_one_row_are_clear(session: Session, text: str) -> None:
    try:
        run(session, text)
    except StatementError as error:
        pytest.fail(f"{error.code}: {error}")


def test_parentheses_around_a_relation_do_not_change_the_tree() -> None:
    (plain,) = parse("images where no layers where size > 1MB", VOCABULARY)
    (closed,) = parse("images where (no layers where size > 1MB)", VOCABULARY)
    assert plain == closed
    assert unparse(closed) == "images where no layers where size > 1MB"
