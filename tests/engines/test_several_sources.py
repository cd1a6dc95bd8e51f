"""One statement over the store and engines: one plan, one confirmation, and every row knows its source."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import imq
import pytest
from support.engine_images import NAMES

if TYPE_CHECKING:
    from support.engine_images import Place


@pytest.fixture
def both(place: Place, archive: bytes) -> Place:
    """An engine and a store with the same three names of two images."""
    path = place.folder / "images.tar"
    path.write_bytes(archive)
    place.connection(f"load '{path}' to store")
    return place


def in_store(place: Place) -> set[str]:
    return set(place.connection("images in store select name").column("name"))


def planned(place: Place, statement: str) -> set[tuple[str, str, bool]]:
    """Return the action, the target and whether it is in the engine, for each row of a plan."""
    rows = place.connection(statement, dry_run=True)
    assert {row.error for row in rows} <= {None}
    return {(row.action, row.target, f"in {place.name}" in (row.note or "")) for row in rows}


def test_a_query_removes_from_the_store_and_from_the_engine(both: Place) -> None:
    statement = f"rm images in {both.name}, store where label.part = two"
    removals = {("remove", "localhost/team/b:2", True), ("remove", "localhost/team/b:2", False)}
    assert planned(both, statement) == removals
    result = both.connection(statement)
    assert {row.error for row in result} == {None}
    assert len(result) == 2
    assert in_store(both) == set(both.names()) == set(NAMES) - {"localhost/team/b:2"}


def test_names_are_removed_where_they_are(both: Place) -> None:
    both.engine.run("tag", "localhost/app:1", "localhost/only-here:1")
    statement = f"untag localhost/app:latest, localhost/only-here:1 in {both.name}, store"
    assert planned(both, statement) == {
        ("untag", "localhost/app:latest", True),
        ("untag", "localhost/app:latest", False),
        ("untag", "localhost/only-here:1", True),
    }
    assert {row.error for row in both.connection(statement)} == {None}
    assert "localhost/app:latest" not in {*in_store(both), *both.names()}
    with pytest.raises(imq.NotFound, match="nope"):
        both.connection(f"rm nope in {both.name}, store")
    rows = both.connection(f"rm nope, localhost/team/b:2 in {both.name}, store")
    assert [(row.target, row.error) for row in rows if row.error] == [("nope", "no-such-image")]
    assert "localhost/team/b:2" not in {*in_store(both), *both.names()}


def test_prune_takes_what_is_unused_in_both(both: Place) -> None:
    both.connection("untag localhost/team/b:2 from store")
    both.engine.run("tag", "localhost/app:1", "localhost/team/b:2")
    rows = both.connection(f"prune in {both.name}, store", dry_run=True)
    assert [(row.action, row.target) for row in rows] == [
        ("remove", "<none>"),
        ("remove", "<none>"),
        ("collect", "blobs that no image reaches"),
    ]
    both.connection(f"prune in {both.name}, store")
    assert both.connection(f"images in {both.name}, store where dangling count").scalar() == 0
    query = f"prune images in store, {both.name} where older than 1h"
    assert list(both.connection(query)) == []


def test_a_limit_counts_the_rows_of_both(both: Place) -> None:
    statement = f"rm images in {both.name}, store where label.part = one order by source, name limit 3"
    assert len(both.connection(statement, dry_run=True)) == 3 - 1  # both names of one of the images go with it
    kept = f"rm images in {both.name}, store where repository = localhost/team/b except newest 1"
    assert len(both.connection(kept, dry_run=True)) == 1


def test_a_whole_table_needs_a_condition(both: Place) -> None:
    with pytest.raises(imq.Refused, match="would apply to all images"):
        both.connection(f"rm images in {both.name}, store")
    assert len(planned(both, f"rm all images in {both.name}, store")) == 4


def test_images_in_use_stay_in_the_engine(both: Place) -> None:
    both.engine.run("create", "--name", "web", "--network", "none", "localhost/app:1", "/x")
    rows = both.connection(f"rm images in {both.name}, store where not in use", dry_run=True)
    assert {(row.target, f"in {both.name}" in (row.note or "")) for row in rows} == {
        ("localhost/app:1, localhost/app:latest", False),
        ("localhost/team/b:2", False),
        ("localhost/team/b:2", True),
    }


def test_the_store_does_not_know_what_engines_use(both: Place) -> None:
    with pytest.raises(imq.StatementError, match="unknown in the store") as error:
        both.connection(f"rm images in {both.name}, store where id not in (images in store where in use select id)")
    assert error.value.code == "unseen"


@pytest.mark.parametrize("where", ["in nowhere.example:1", "in 'oci:D'"])
def test_other_places_are_not_part_of_one_plan(both: Place, where: str) -> None:
    place = where.removeprefix("in ").replace("oci:D", f"oci:{both.folder}/layout")
    if "oci" in place:
        both.connection(f"copy all images in store to {place}")
    with pytest.raises(imq.StatementError):
        both.connection(f"rm images in {both.name}, {place} where label.part = two", dry_run=True)
    assert len(both.names()) == 3


def test_the_source_of_a_query_is_in_the_query(both: Place) -> None:
    """It was ignored: the images of the store were removed."""
    for verb in ("rm", "untag", "prune", "verify"):
        with pytest.raises(imq.StatementError) as error:
            both.connection(f"{verb} images where label.part = two from {both.name}")
        assert error.value.code == "option"
    assert len(in_store(both)) == 3


def test_tag_takes_in_behind_the_new_name(both: Place) -> None:
    both.connection(f"tag localhost/app:1 as localhost/new:1 in {both.name}")
    both.connection(f"rename localhost/team/b:2 as localhost/c:2 in {both.name}")
    assert {"localhost/new:1", "localhost/c:2"} <= set(both.names())
    assert in_store(both) == set(NAMES)


def test_rows_of_usage_know_their_source(both: Place) -> None:
    def sources(statement: str) -> set[Any]:
        return set(both.connection(statement).column("source"))

    assert sources(f"usage in {both.name} select source") == {both.name}
    assert sources("use store; usage select source") == {"store"}


def test_a_union_of_conditions_on_one_source_is_a_removal(place: Place) -> None:
    statement = f"rm (images in {place.name} where tag = latest) union (images in {place.name} where label.part = two)"
    assert planned(place, statement) == {
        ("untag", "localhost/app:latest", True),
        ("remove", "localhost/team/b:2", True),
    }


def test_a_union_over_sources_has_the_fields_that_all_of_them_know(both: Place) -> None:
    """An engine does not know the media type: a field that was not selected is no reason for a refusal or a warning."""
    text = f"(images in {both.name} where tag = latest) union (images in 'docker-archive:{both.folder}/images.tar')"
    result = both.connection(f"{text} by name")
    assert {"repository", "tag", "id", "created", "size", "source"} <= set(result.columns)
    assert "media_type" not in result.columns
    assert sorted(f"{row.repository}:{row.tag}" for row in result) == sorted(NAMES)
    with pytest.raises(imq.ImqError, match="rm takes images") as refused:
        both.connection(f"rm {text} by name", dry_run=True)
    assert refused.value.hints == ("images of several sources are one query: images in A, B where …",)


def test_a_removal_warns_when_the_newest_of_several_sources_are_counted_together(
    both: Place, caplog: pytest.LogCaptureFixture
) -> None:
    statement = f"rm images in {both.name}, store except newest 1 per repository"
    text = "except newest counts the names of 2 sources together; to keep the newest of each: per source"
    both.connection(statement, dry_run=True)
    assert text in caplog.messages
    caplog.clear()
    both.connection(f"{statement}, source", dry_run=True)
    both.connection(f"rm images in {both.name} except newest 1 per repository", dry_run=True)
    assert text not in caplog.messages
