"""Names of images and containers of engines: `tag` and `rm containers`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import imq
import pytest

if TYPE_CHECKING:
    from support.engine_images import Place


def test_a_reference_gets_another_name(place: Place) -> None:
    result = place.connection(f"tag localhost/app:1 as localhost/x:2 from {place.name}")
    assert [(row.action, row.target, row.image, row.note) for row in result] == [
        ("tag", "localhost/x:2", place.one, f"in {place.name}")
    ]
    assert place.names()["localhost/x:2"] == place.one


def test_rows_get_names_by_a_template(place: Place) -> None:
    place.connection(f'tag images in {place.name} where label.part = two as "localhost/copy:{{{{.Label.part}}}}"')
    assert place.names()["localhost/copy:two"] == place.two


def test_a_name_of_another_image_moves_and_the_plan_says_so(place: Place) -> None:
    place.connection(f"use {place.name}")
    (planned,) = place.connection("tag localhost/app:1 as localhost/team/b:2", dry_run=True)
    assert planned.note == f"in {place.name}, moves from {place.two[7:19]}"
    assert place.names()["localhost/team/b:2"] == place.two
    place.connection("tag localhost/app:1 as localhost/team/b:2")
    assert place.names()["localhost/team/b:2"] == place.one
    (again,) = place.connection("tag localhost/app:1 as localhost/team/b:2")
    assert again.note == "it had the name already"


def test_one_name_is_not_for_two_images(place: Place) -> None:
    with pytest.raises(imq.StatementError, match="for two images"):
        place.connection(f"tag all images in {place.name} as localhost/all:1")
    with pytest.raises(imq.NotFound, match="No such image: nope"):
        place.connection(f"tag nope as localhost/x:1 from {place.name}")
    assert len(place.names()) == 3


def test_containers_are_removed_by_a_condition(place: Place) -> None:
    for name, image in (("web", "localhost/app:1"), ("job", "localhost/team/b:2")):
        place.engine.run("create", "--name", name, "--network", "none", image, "/x")
    statement = f"rm containers in {place.name} where label.part = one"
    assert [row.target for row in place.connection(statement, dry_run=True)] == ["web"]
    with pytest.raises(imq.Refused, match="would apply to all containers"):
        place.connection(f"rm containers in {place.name}")
    (row,) = place.connection(statement)
    assert (row.action, row.target, row.image) == ("remove", "web", place.one)
    assert place.engine.run("ps", "-a", "--format", "{{.Names}}") == "job"


def test_a_container_that_went_away_is_reported_and_the_others_are_removed(place: Place) -> None:
    for name in ("one", "two"):
        place.engine.run("create", "--name", name, "--network", "none", "localhost/app:1", "/x")

    def remove_one(planned: imq.Result) -> bool:
        assert {row.target for row in planned} == {"one", "two"}
        place.engine.run("rm", "one")
        return True

    with place.connect(confirm=remove_one) as connection:
        result = connection(f"rm containers in {place.name} where status = created")
    assert {row.target: row.error for row in result} == {"one": "not-found", "two": None}
    assert place.engine.run("ps", "-aq") == ""


def test_an_image_that_stays_without_its_names_is_not_called_removed(docker_place: Place) -> None:
    docker_place.engine.run("tag", "localhost/team/b:2", "localhost/team/b:3")
    listed = docker_place.engine.run("images", "-aq", "--filter", "label=part=two")
    docker_place.engine.run("create", "--name", "web", "--network", "none", "localhost/app:1", "/x")
    docker_place.engine.run("commit", "web", "localhost/child:1")  # docker keeps its parent
    docker_place.engine.run("rm", "web")
    (row,) = docker_place.connection("rm images in docker where label.part = one and repository = localhost/app")
    assert (row.action, row.target, row.error) == ("untag", "localhost/app:1, localhost/app:latest", None)
    assert "the image stays" in row.note
    docker_place.engine.run("inspect", docker_place.one)
    (row,) = docker_place.connection("rm images in docker where label.part = two")
    assert (row.action, row.note) == ("remove", "in docker")
    assert listed not in docker_place.engine.run("images", "-aq")


def test_a_renamed_image_keeps_nothing_of_the_old_name(place: Place) -> None:
    before = place.names()
    place.connection(f"use {place.name}")
    planned = place.connection("rename localhost/team/b:2 as localhost/other/c:3", dry_run=True)
    expected = [("tag", "localhost/other/c:3"), ("untag", "localhost/team/b:2")]
    assert [(row.action, row.target) for row in planned] == expected
    assert place.names() == before
    done = place.connection("rename localhost/team/b:2 as localhost/other/c:3")
    assert [(row.action, row.target, row.error) for row in done] == [(*one, None) for one in expected]
    assert place.names() == {**{name: before[name] for name in before if "team" not in name}, expected[0][1]: place.two}
    assert place.connection("images in store count").scalar() == 0


def test_rows_are_renamed_by_a_template(place: Place) -> None:
    statement = f'rename images in {place.name} where repository = localhost/app as "localhost/new:{{{{.Tag}}}}"'
    assert {row.error for row in place.connection(statement)} == {None}
    assert place.names() == {
        "localhost/new:1": place.one,
        "localhost/new:latest": place.one,
        "localhost/team/b:2": place.two,
    }
    assert not list(place.connection(f"rename localhost/new:1 as localhost/new:1 from {place.name}"))


def test_two_names_cannot_become_one(place: Place) -> None:
    before = place.names()
    with pytest.raises(imq.StatementError, match="would be renamed to localhost/x:1"):
        place.connection(f"rename images in {place.name} where label.part = one as localhost/x:1")
    with pytest.raises(imq.NotFound, match="No such image: nope"):
        place.connection(f"rename nope as localhost/x:1 from {place.name}")
    assert place.names() == before


def test_a_renamed_image_may_take_the_name_of_another(place: Place) -> None:
    rows = place.connection(f"rename localhost/app:latest as localhost/team/b:2 from {place.name}")
    assert rows[0].note == f"in {place.name}, moves from {place.two[7:19]}"
    named = {name: id_ for name, id_ in place.names().items() if "<none>" not in name}
    assert named == {"localhost/app:1": place.one, "localhost/team/b:2": place.one}
