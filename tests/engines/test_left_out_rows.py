"""A query says how many rows it leaves out because values are unknown, and which statement has them."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import imq
import pytest
from support.images import Image, docker_archive, layer

if TYPE_CHECKING:
    import pathlib

    from support.engine_images import Place

UNUSED = (
    "{} of the images {} left out, because last_used is unknown\n"
    "  to have {} too: … or last_used is unknown\n"
    "  to leave {} out without this note: … and last_used is known"
)
OLD = "last_used < 1h ago"


@pytest.fixture
def used(place: Place) -> Place:
    """An engine with a container of the image `localhost/team/b:2`, so that two of three names were never used."""
    place.engine.run("create", "--network", "none", "localhost/team/b:2", "/none")
    return place


def test_rows_are_counted_once_and_nothing_else_changes(used: Place, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "imq")
    note = UNUSED.format(2, "are", "them", "them")
    result = used.connection(f"images in {used.name} where {OLD} select name")
    assert (list(result), result.notes, result.errors, result.ok) == ([], (note,), (), True)
    assert caplog.messages == [note]
    for text in (
        f"images in {used.name} where {OLD} count",
        f"images in {used.name} where {OLD} group by repository select repository, count",
        f"(images in {used.name} where {OLD}) where tag like '*' select name",
        f"images in {used.name} where repository like '*' and ({OLD} or size > 1TB) select name",
    ):
        assert used.connection(text).notes == (note,), text
    one = used.connection(f"images in {used.name} where {OLD} and tag = 1 select name")
    assert one.notes == (UNUSED.format(1, "is", "it", "it"),)


def test_what_the_note_says_to_write(used: Place) -> None:
    names = {row.name for row in used.connection(f"images in {used.name} where {OLD} or last_used is unknown")}
    assert names == {"localhost/app:1", "localhost/app:latest"}
    for condition in (
        f"{OLD} or last_used is unknown",
        f"{OLD} and last_used is known",
        "not last_used within 1h",  # its negation is true
        "label.team = a",  # an image may lack a label
        "digest = sha256:4f4d9f1ed3a8",  # nobody expects images without a digest
    ):
        assert used.connection(f"images in {used.name} where {condition}").notes == (), condition
    made = used.connection(f"containers in {used.name} where finished < 1h ago select name")
    assert made.notes == (), "a container that never ran has no end"


def test_assertions_and_actions_report_too_and_removals_as_rows(used: Place, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "imq")
    note = UNUSED.format(2, "are", "them", "them")
    used.connection(f"assert no images in {used.name} where {OLD}")
    assert caplog.messages == [note]
    caplog.clear()
    with pytest.raises(imq.AssertionFailed):
        used.connection(f"assert no images in {used.name} where {OLD} or tag = 1").raise_for_errors()
    assert [text.partition(" ")[0] for text in caplog.messages] == ["1"]
    caplog.clear()
    used.connection(f"copy images in {used.name} where {OLD} to store", dry_run=True)
    assert caplog.messages == [note]
    caplog.clear()
    rows = used.connection(f"rm images in {used.name} where not last_used within 1h", dry_run=True)
    assert {(row.action, row.note) for row in rows} == {("stay", "unknown: last_used")}
    assert caplog.messages == []


def test_images_of_the_store_without_a_time(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "images.tar"
    dated, undated = Image([layer({"a": b"1"})]), Image([layer({"b": b"2"})], created=None)
    docker_archive(path, [(dated, ["dated:1"]), (undated, ["undated:1"])])
    with imq.connect(root=tmp_path / "store") as session:
        session(f'load "{path}"')
        result = session("images where older than 1s select name")
        assert result.column("name") == ["dated:1"]
        (note,) = result.notes
        assert note.startswith("1 of the images is left out, because created is unknown\n")
        assert session("images where older than 1s or created is unknown select name").column("name") == [
            "dated:1",
            "undated:1",
        ]


def test_a_condition_that_may_be_meant_for_another_row(used: Place, caplog: pytest.LogCaptureFixture) -> None:
    """A removal refuses it: see `ambiguous-condition`."""
    caplog.set_level(logging.INFO, "imq")
    text = f"images in {used.name} where no containers where status = running and older than 1s"
    used.connection(text)
    (note,) = caplog.messages
    assert note.splitlines() == [
        "older than 1s applies to containers here, but could be meant for images",
        "  to end the condition before it: (no containers where …) and …",
        "  to keep it in the condition: no containers where (… and …)",
    ]
    caplog.clear()
    for closed in (
        f"images in {used.name} where (no containers where status = running) and older than 1s",
        f"images in {used.name} where no containers where (status = running and older than 1s)",
    ):
        used.connection(closed)
    assert caplog.messages == []
