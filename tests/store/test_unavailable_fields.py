"""Removals that go by containers: the store runs none, and says so; nothing is hidden from one that does not."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from imq.engine.query.unavailable_fields import STORE_HAS_NO_CONTAINERS
from imq.engine.result import RowSet
from imq.engine.session.context import SessionContext
from imq.engine.session.session import Session
from imq.grammar.errors import StatementError
from support.warned import Warned

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterator

    from imq.engine.result import Result

NOW = 1_722_513_600_000_000_000


@pytest.fixture
def warned() -> Warned:
    return Warned()


@pytest.fixture
def session(tmp_path: pathlib.Path, warned: Warned) -> Iterator[Session]:
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "file").write_text("x")
    world = SessionContext(os.fspath(tmp_path / "store"), {}, clock=lambda: NOW, progress=warned)
    opened = Session(world)
    for number in range(3):
        list(opened.run(f'import "{tree}" as app:{number} change "LABEL number={number}"'))
    list(opened.run(f'import "{tree}" change "LABEL number=none"'))
    yield opened
    opened.close()


def last(session: Session, text: str, *, dry_run: bool = False) -> Result:
    return list(session.run(text, dry_run=dry_run))[-1]


BY_CONTAINERS = """
rm images where not in use
rm images where not in_use
rm images where no containers
rm images where containers = 0
rm images where not any containers
rm images where count(containers) = 0
rm images where last_used is unknown
rm images where tag = 1 and not in use
rm images where tag = 1 or not in use
rm images where name not in (containers select image)
rm images where id not in (images where in use)
rm images where not (tag = 9 or in use)
rm images where any layers where images = 4 and no names where in use
rm images except (images where in use) by id
rm (images where tag = 1 union images where not in use) where tag is known
rm images where dangling union images where not in use
rm images intersect (images where not in use)
rm images where not in use except newest 1
rm images order by last_used limit 2
rm images where tag is known order by last_used until total size <= 0B
rm images where (containers count) = 0
rm images where if(in_use, tag = 9, tag = 1)
view unused as images where not in use; rm unused where tag = 1
view unused as images where not in use; rm unused
let used = containers select image; rm images where name not in $used
prune images where not in use
untag images where not in use
rm images where not in use force
"""


@pytest.mark.parametrize("text", BY_CONTAINERS.strip().splitlines())
@pytest.mark.parametrize("dry_run", [True, False])
def test_the_store_warns_that_it_has_no_containers(session: Session, warned: Warned, text: str, dry_run: bool) -> None:
    answer = last(session, text, dry_run=dry_run)
    assert isinstance(answer, RowSet)
    rows = [row for row in answer.rows if row[0] in ("remove", "untag", "removed", "untagged")]
    assert rows, "nothing to warn of"
    assert warned.texts == [STORE_HAS_NO_CONTAINERS]


@pytest.mark.parametrize("dry_run", [True, False])
@pytest.mark.parametrize(("condition", "count"), [("not in use", 1), ("dangling", 0)])
def test_a_removal_that_depends_on_containers_is_warned_of(
    session: Session, warned: Warned, condition: str, count: int, *, dry_run: bool
) -> None:
    answer = last(session, f"exec images where {condition} run true", dry_run=dry_run)
    assert isinstance(answer, RowSet)
    assert answer.rows
    assert warned.texts == [STORE_HAS_NO_CONTAINERS] * count


NOT_BY_CONTAINERS = """
rm app:1
rm images where tag = 1
rm images where dangling
rm images where tag is known order by last_used
rm images where id in (images where tag = 1)
rm images where name in (images where tag = 1 select name)
rm images where tag = nothing or size < 0B
rm images where not in use and tag = nothing
prune
prune images where tag is unknown
images where not in use
assert any images where not in use
"""


@pytest.mark.parametrize("text", NOT_BY_CONTAINERS.strip().splitlines())
def test_other_removals_and_empty_ones_do_not_warn(session: Session, warned: Warned, text: str) -> None:
    last(session, text)
    assert warned.texts == []


def test_the_warning_precedes_the_confirmation(session: Session, warned: Warned) -> None:
    asked: list[list[str]] = []

    def confirm(_planned: RowSet) -> bool:
        asked.append(list(warned.texts))
        return False

    session.context = session.context.replace(confirm=confirm)
    last(session, "rm images where not in use")
    assert asked == [[STORE_HAS_NO_CONTAINERS]]


UNSEEN = """
rm images in localhost:1 where not in use
rm images in localhost:1 where in use
rm images in localhost:1 where not last_used > 30d ago
rm images in localhost:1 where containers = 0
rm images in localhost:1 where not pulled_at > 30d ago
rm images in localhost:1 where not unique_size > 1MB
rm images in localhost:1 where no containers
rm images in localhost:1 order by last_used limit 3
rm images in localhost:1 except (images in localhost:1 where in use) by name
rm (images in localhost:1 where not in use) where tag = 1
rm images in localhost:1 where tag = 1 except newest 3 by last_used
rm tags of localhost:1/app where not in use
rm tags of localhost:1/app where no containers
rm tags of localhost:1/app where name not in (containers select image)
rm tags of localhost:1/app where name not in (images where in use select name)
rm tags of localhost:1/app except (images where in use) by name
rm manifests of localhost:1/app where no containers
rm manifests of localhost:1/app where digest not in (images where in use select digest)
untag tags of localhost:1/app where not in use
view unused as images in localhost:1 where not in use; rm unused where tag = 1
let used = containers select image; rm tags of localhost:1/app where name not in $used
use localhost:1; rm images where not in use
"""


@pytest.mark.parametrize("text", UNSEEN.strip().splitlines())
def test_a_registry_cannot_see_containers_and_is_not_queried(session: Session, text: str) -> None:
    def before_network() -> None:
        raise AssertionError("a registry was asked")

    session.context = session.context.replace(on_network=before_network)
    with pytest.raises(StatementError) as refused:
        last(session, text)
    assert refused.value.code == "unseen"
    assert any("nonempty lines of" in hint for hint in refused.value.hints)


def test_prune_refers_to_the_store(session: Session) -> None:
    with pytest.raises(StatementError, match="unknown in a registry, so prune cannot use it"):
        last(session, "prune images in localhost:1 where not in use")
