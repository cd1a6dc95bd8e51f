"""`FIELD of IMAGE` in an assertion is about the images of the default source, as a query without `in` is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from imq.engine.result import RowSet
from imq.grammar.errors import AssertionFailed, NotFound
from support.scripted_session import A, B, Script, answer, image, inspected

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def script(tmp_path: Path) -> Iterator[Script]:
    """A docker engine, the default source, with `app:1`, of user 1000, and the larger `app:2`, of root."""
    documents = {A: inspected(A, "app:1", Config={"User": "1000"}), B: inspected(B, "app:2", Size=20)}
    started = Script(
        tmp_path / "engine",
        {
            "images/json": answer([image(A, "app:1"), image(B, "app:2", Size=20)]),
            "containers/json": answer([]),
            **{f"images/{id_}/json": answer(document) for id_, document in documents.items()},
        },
    )
    list(started.session.run("use docker"))
    yield started
    started.close()


@pytest.mark.parametrize(
    "condition",
    ["user of app:1 = 1000", "size of app:1 < 15", "size of app:1 < size of app:2", "user of app:2 is unknown"],
)
def test_an_assertion_that_holds(script: Script, condition: str) -> None:
    assert [result.exit_code for result in script.session.run(f"assert {condition}")] == [0]


def test_an_assertion_that_fails(script: Script) -> None:
    (result,) = script.session.run("assert user of app:1 = 0")
    assert isinstance(result, RowSet)
    assert result.rows == [("1000", "0")]
    assert isinstance(result.errors[0], AssertionFailed)


def test_an_image_that_the_engine_does_not_have(script: Script) -> None:
    with pytest.raises(NotFound, match="app:9"):
        list(script.session.run("assert user of app:9 = 0"))


def test_the_store_is_asked_where_it_is_the_default(script: Script) -> None:
    with pytest.raises(NotFound, match="app:1"):
        list(script.session.run("use store; assert user of app:1 = 1000"))
