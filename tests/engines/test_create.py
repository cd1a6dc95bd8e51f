"""Images that engines make: `load`, `import` and `commit`; and what they say of them: `inspect`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import imq
import pytest
from support.engine_images import clear
from support.images import layer

if TYPE_CHECKING:
    import pathlib

    from support.engine_images import Place


def test_an_archive_is_loaded(place: Place, archive: bytes) -> None:
    clear(place.engine)
    path = place.folder / "images.tar"
    path.write_bytes(archive)
    rows = place.connection(f"load '{path}' to {place.name}")
    assert {row.target: row.image for row in rows} == {
        "localhost/app:1": place.one,
        "localhost/app:latest": place.one,
        "localhost/team/b:2": place.two,
    }
    assert place.names() == {row.target: row.image for row in rows}


def test_an_archive_that_is_cut_short_is_an_error_of_the_engine(place: Place, archive: bytes) -> None:
    clear(place.engine)
    path = place.folder / "images.tar"
    path.write_bytes(archive[:3000])
    (row,) = place.connection(f"load '{path}' to {place.name}")
    assert row.error == "engine"
    assert place.names() == {}


def test_load_goes_to_the_store_unless_an_engine_is_chosen(docker_place: Place, archive: bytes) -> None:
    clear(docker_place.engine)
    path = docker_place.folder / "images.tar"
    path.write_bytes(archive)
    docker_place.connection("images in docker")
    docker_place.connection(f"load '{path}'")
    assert docker_place.names() == {}
    docker_place.connection("use docker")
    docker_place.connection(f"load '{path}'")
    assert len(docker_place.names()) == 3
    with pytest.raises(imq.StatementError, match="is a folder, and an engine reads archives"):
        docker_place.connection(f"load '{docker_place.folder}'")


def test_a_root_file_system_is_imported(place: Place) -> None:
    path = place.folder / "root.tar"
    path.write_bytes(layer({"etc/os-release": b"ID=test\n"}).blob)
    (row,) = place.connection(
        f"""import '{path}' as localhost/base:7 change 'LABEL made=here', 'CMD ["sh"]' to {place.name}"""
    )
    assert place.names()["localhost/base:7"] == row.image
    (image,) = place.connection(f"images in {place.name} where name = localhost/base:7")
    assert (image.label["made"], image.cmd) == ("here", ["sh"])


def test_a_container_becomes_an_image(place: Place) -> None:
    place.engine.run("create", "--name", "web", "--network", "none", "localhost/app:1", "/x")
    statement = f"commit web as localhost/web:3 from {place.name} change 'LABEL of=web' message 'with the fix'"
    (planned,) = place.connection(statement, dry_run=True)
    assert (planned.target, planned.note) == ("localhost/web:3", f"of the container web in {place.name}")
    assert "localhost/web:3" not in place.names()
    (row,) = place.connection(statement)
    assert place.names()["localhost/web:3"] == row.image
    (image,) = place.connection(f"images in {place.name} where name = localhost/web:3")
    assert (image.label["of"], image.label["part"]) == ("web", "one")


def test_containers_of_a_query_become_images(place: Place) -> None:
    for name in ("web", "job"):
        place.engine.run("create", "--name", name, "--network", "none", "localhost/app:1", "/x")
    place.connection(f'commit containers in {place.name} where label.part = one as "localhost/of-{{{{.Name}}}}:1"')
    assert {"localhost/of-web:1", "localhost/of-job:1"} <= set(place.names())
    with pytest.raises(imq.StatementError, match="several containers would be committed as localhost/all:1"):
        place.connection(f"commit all containers in {place.name} as localhost/all:1")
    with pytest.raises(imq.NotFound, match="No such container: nope"):
        place.connection(f"commit nope as localhost/x:1 from {place.name}")


def test_commit_without_an_engine_is_of_the_store(tmp_path: pathlib.Path) -> None:
    with (
        imq.connect(root=tmp_path / "store", environment={}) as connection,
        pytest.raises(imq.ImqError, match="No such container: web"),
    ):
        connection("commit web as team/web:1")


def test_an_engine_describes_its_images_itself(place: Place) -> None:
    (theirs,) = json.loads(place.engine.run("image", "inspect", "localhost/app:1"))
    (document,) = place.connection(f"inspect localhost/app:1 from {place.name}")
    assert document["Id"] == place.one
    assert set(document["RepoTags"]) == set(theirs["RepoTags"])
    assert document["RootFS"]["Layers"] == theirs["RootFS"]["Layers"]
    if place.name == "docker":
        assert document == theirs
    result = place.connection(f"inspect localhost/app:1, nope from {place.name}")
    assert [one["Id"] for one in result] == [place.one]
    with pytest.raises(imq.NotFound, match=r"(?i)no such image"):
        place.connection(f"inspect nope from {place.name}")


def test_an_engine_describes_its_containers(place: Place) -> None:
    place.engine.run("create", "--name", "web", "--network", "none", "localhost/app:1", "/x")
    result = place.connection(f"inspect containers in {place.name} where status != running")
    assert [one["Name"].removeprefix("/") for one in result] == ["web"]


def test_a_commit_has_its_author_and_may_leave_the_container_running(place: Place) -> None:
    place.engine.run("create", "--name", "web", "--network", "none", "localhost/app:1", "/x")
    statement = f'commit web as localhost/made:1 from {place.name} change "ENV A=b"'
    with pytest.raises(imq.StatementError, match="pause = perhaps"):
        place.connection(f"{statement} with pause = perhaps")
    place.connection(f'{statement} with author = "Ann B", pause = false')
    (made,) = json.loads(place.engine.run("image", "inspect", "localhost/made:1"))
    assert made["Author"] == "Ann B"
    assert "A=b" in made["Config"]["Env"]
