"""Names after `of`: which of several names rows show, and whether an engine or a registry is read."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import imq
import pytest
from support.servers import Registry, require_programs

if TYPE_CHECKING:
    import pathlib

    from support.engine_images import Place


def test_rows_show_the_name_that_was_selected(place: Place) -> None:
    """Names of one image: rows of its files are listed once, with the first of the selected names."""
    place.connection(f"copy localhost/app:1, localhost/app:latest from {place.name} to store")
    for source in (place.name, "store"):
        for condition, name in (
            ("tag = latest", "localhost/app:latest"),
            ("tag = 1", "localhost/app:1"),
            ("repository = localhost/app", "localhost/app:1"),
        ):
            images = f"(images in {source} where {condition})"
            rows = place.connection(f"files of {images} select image_name, path")
            assert [(row.image_name, row.path) for row in rows] == [(name, "/one")], (source, condition)
            assert [row.image_name for row in place.connection(f"waste of {images}")] == [name]


def test_a_name_with_a_host_is_read_from_the_engine_or_else_from_the_registry(
    docker_place: Place, tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    require_programs("docker-registry")
    caplog.set_level(logging.INFO, "imq")
    with Registry(tmp_path / "registry") as registry:
        name = f"{registry.host}/team/app:1"
        session = docker_place.connection
        session(f"push localhost/app:1 from docker to {name}; use docker")
        caplog.clear()
        (row,) = session(f"layers of {name} select media_type")
        assert row.media_type is not None
        assert caplog.messages == ["docker does not have this image: its registry is read"]
        session(f"tag localhost/app:1 as {name}")
        caplog.clear()
        (row,) = session(f"layers of {name} select media_type")
        assert row.media_type is None, "as docker lists layers"
        (said,) = caplog.messages
        assert said.startswith("docker has this image and is read, not the registry: for that, layers of ")
        (row,) = session(said.partition("for that, ")[2])
        assert row.media_type is not None
        assert [row.path for row in session(f"files of {name} in {registry.host}")] == ["/one"]
        caplog.clear()
        for statement in (f"layers of {name} in docker", "layers of localhost/app:1", f"platforms of {name}"):
            assert len(list(session(statement))) == 1
        assert caplog.messages == []
    with pytest.raises(imq.StatementError, match="cannot be read from"):
        session("layers of localhost/app:1 in 127.0.0.1:1")


@pytest.mark.parametrize("statement", ["images of localhost/app:1 in {}", "usage of localhost/app:1 in {}"])
def test_a_name_that_a_table_does_not_take_is_refused(docker_place: Place, statement: str) -> None:
    with pytest.raises(imq.StatementError, match='takes no "of"'):
        docker_place.connection(statement.format("docker"))


def test_what_an_engine_cannot_do_has_a_way_by_the_store(docker_place: Place) -> None:
    with pytest.raises(imq.StatementError, match="change does not work in docker") as caught:
        docker_place.connection("change localhost/app:1 'LABEL a=b' as localhost/app:new in docker")
    (hint,) = caught.value.hints
    docker_place.connection(hint.partition("back: ")[2])
    docker_place.connection("change localhost/app:1 'LABEL a=b' as localhost/app:new in store")
    docker_place.connection("copy localhost/app:new from store to docker")
    (row,) = docker_place.connection("images in docker where name = localhost/app:new select label.a as value")
    assert row.value == "b"


@pytest.mark.parametrize("place_of_image", ["in docker as localhost/app:flat", "as localhost/app:flat from docker"])
def test_the_way_by_the_store_flattens_an_image_of_an_engine(docker_place: Place, place_of_image: str) -> None:
    with pytest.raises(imq.StatementError, match="flatten does not work in docker") as caught:
        docker_place.connection(f"flatten localhost/team/b:2 {place_of_image}")
    (hint,) = caught.value.hints
    way = hint.partition("back: ")[2]
    assert way.count("; ") == 2
    assert not docker_place.connection(way).errors
    layers = docker_place.connection("layers of localhost/team/b:2 in docker select index")
    assert len(list(layers)) > 1
    assert len(list(docker_place.connection("layers of localhost/app:flat in docker select index"))) == 1
    query = "images in docker where name = {} select label.part as part"
    (row,) = docker_place.connection(query.format("localhost/app:flat"))
    assert row.part == "two"


@pytest.mark.parametrize("verb", ["flatten {}", "change {} 'LABEL a=b'", "append {folder} to {}"])
def test_the_way_by_the_store_has_the_whole_statement(docker_place: Place, verb: str) -> None:
    folder = docker_place.folder / "added"
    folder.mkdir()
    (folder / "file").write_text("added")
    start = verb.format("localhost/app:1", folder=f"'{folder}'")
    with pytest.raises(imq.StatementError, match="does not work in docker") as caught:
        docker_place.connection(f"{start} as localhost/app:made in docker")
    (hint,) = caught.value.hints
    assert not docker_place.connection(hint.partition("back: ")[2]).errors
    assert "localhost/app:made" in docker_place.names()


def test_the_way_by_the_store_of_a_registry_pulls_and_pushes(docker_place: Place) -> None:
    name = "registry.local:5000/app"
    with pytest.raises(imq.StatementError, match="flatten does not work in registry") as caught:
        docker_place.connection(f"flatten {name}:1 as {name}:flat in registry.local:5000")
    (hint,) = caught.value.hints
    assert hint.endswith(f"back: pull {name}:1; flatten {name}:1 as {name}:flat from store; push {name}:flat")


def test_the_way_by_the_store_quotes_places(docker_place: Place) -> None:
    with pytest.raises(imq.StatementError, match="flatten does not work in oci:my layout") as caught:
        docker_place.connection("flatten app:1 as app:flat in 'oci:my layout'")
    assert caught.value.hints[0].endswith(
        'back: copy app:1 from "oci:my layout" to store; flatten app:1 as app:flat from store;'
        ' copy app:flat from store to "oci:my layout"'
    )
