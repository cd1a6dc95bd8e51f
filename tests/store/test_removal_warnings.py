"""Removals warn where they select more than a reader may think: names for images, and empty lists of what to keep."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from imq.engine.session.context import SessionContext
from imq.engine.session.session import Session
from imq.grammar.errors import StatementError
from support.warned import Warned

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterator

SECOND = 1_000_000_000
NOW = 1_722_513_600 * SECOND


@pytest.fixture
def warned() -> Warned:
    return Warned()


@pytest.fixture
def session(tmp_path: pathlib.Path, warned: Warned) -> Iterator[Session]:
    """Three images of `app`, a second apart; the newest one has three tags and a name in another repository."""
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "file").write_text("x")
    (tmp_path / "empty.txt").write_text("\n")
    (tmp_path / "keep.txt").write_text("app:1\n")
    times = iter(range(NOW, NOW + 10_000 * SECOND, SECOND))
    world = SessionContext(os.fspath(tmp_path / "store"), {}, clock=lambda: next(times), progress=warned)
    opened = Session(world)
    for number in range(3):
        list(opened.run(f'import "{tree}" as app:{number} change "LABEL number={number}"'))
    list(opened.run("tag app:2 as app:latest; tag app:2 as app:stable; tag app:2 as copy:2"))
    warned.texts.clear()
    yield opened
    opened.close()


def warnings_of(session: Session, warned: Warned, text: str) -> list[str]:
    warned.texts.clear()
    list(session.run(text, dry_run=True))
    return [one for one in warned.texts if "newest" in one or "not in" in one]


def test_except_newest_warns_when_it_keeps_several_names_of_an_image(session: Session, warned: Warned) -> None:
    expected = ["except newest counts names: the 3 that stay are of 1 image"]
    assert warnings_of(session, warned, "rm images where repository = app except newest 3") == expected
    assert warnings_of(session, warned, "rm (images where repository = app except newest 3) where tag != 1") == expected
    assert warnings_of(session, warned, "rm images except newest 3 per repository") == [
        "except newest counts names: the 4 that stay are of 2 images"
    ]


@pytest.mark.parametrize(
    "text",
    [
        "rm images where repository = app except newest 1",
        "rm images where tag in (0, 1, 2) except newest 2 per repository",
        "rm images except newest 1 per repository",
        "images where repository = app except newest 3",
    ],
)
def test_no_warning_when_each_name_that_stays_is_of_another_image(session: Session, warned: Warned, text: str) -> None:
    assert warnings_of(session, warned, text) == []


def test_a_removal_warns_of_an_empty_file_of_what_to_keep(
    session: Session, warned: Warned, tmp_path: pathlib.Path
) -> None:
    empty, keep = tmp_path / "empty.txt", tmp_path / "keep.txt"
    expected = ["not in (lines of …) keeps nothing: the list is empty; nonempty refuses an empty one"]
    assert warnings_of(session, warned, f'rm images where name not in (lines of "{empty}")') == expected
    assert warnings_of(session, warned, f'rm images where tag = 1 and not (name in (lines of "{empty}"))') == expected
    assert warnings_of(session, warned, f'rm images where name not in (lines of "{keep}")') == []
    assert warnings_of(session, warned, f'rm images where name in (lines of "{empty}")') == []
    assert warnings_of(session, warned, f'images where name not in (lines of "{empty}")') == []


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("rm images except newest 1 per 'repository'", "for the field: repository"),
        ("rm images order by -size limit 1", "for descending order: size desc"),
        ("images order by 1", "columns have no numbers"),
        ("images group by 'repository' select count", "for the field: repository"),
        ("rm images limit 1 per 'x y'", "a field has no quotes"),
    ],
)
def test_a_constant_is_no_key_of_an_order_or_a_group(session: Session, text: str, hint: str) -> None:
    with pytest.raises(StatementError) as refused:
        list(session.run(text, dry_run=True))
    assert refused.value.code == "constant"
    assert hint in "".join(refused.value.hints)
