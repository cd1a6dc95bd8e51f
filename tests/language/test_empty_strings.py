"""An empty string in an image config is no value: `user = ""` holds for an image without a user, which runs as root."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from imq.engine.result import RowSet

if TYPE_CHECKING:
    from imq.engine.session.session import Session


def select_ids(session: Session, condition: str) -> list[object]:
    (result,) = session.run(f"images where {condition} order by id, name select id, name")
    assert isinstance(result, RowSet)
    return list(result.rows)


@pytest.mark.parametrize("field", ["user", "workdir", "stop_signal", "author"])
def test_an_empty_string_is_no_value(session: Session, field: str) -> None:
    unset = select_ids(session, f"{field} is unknown")
    assert unset
    assert select_ids(session, f'{field} = ""') == unset
    assert select_ids(session, f'not {field} != ""') == unset
    assert select_ids(session, f'{field} != ""') == select_ids(session, f"{field} is known")
    assert select_ids(session, f'{field} in ("")') == unset
    assert select_ids(session, f'{field} not in ("")') == select_ids(session, f"{field} is known")


def test_images_that_run_as_root(session: Session) -> None:
    """The model of a policy: an image without a user is among those that run as root."""
    roots = select_ids(session, 'user in (root, 0, "")')
    assert roots == select_ids(session, "user = root or user = 0 or user is unknown")
    assert len(roots) > len(select_ids(session, "user in (root, 0)"))
    failed = next(iter(session.run('assert no images where user in (root, 0, "")')))
    assert failed.exit_code == 1


def test_a_label_may_be_empty(session: Session) -> None:
    """Labels and variables can have an empty value, which is not the same as none."""
    assert select_ids(session, 'label.nosuch = ""') == []
