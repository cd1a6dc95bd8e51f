"""Removals by the names that containers were made with: every way to write a name keeps its image."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from imq.grammar.errors import Refused
from support.engine_images import TWO

if TYPE_CHECKING:
    import pathlib

    from support.engine_images import Place

BY_NAME = "rm images in docker where name not in (containers in docker select image)"


def planned(place: Place, text: str) -> list[str]:
    """Return the targets of the plan of a removal."""
    return [str(row.target) for row in place.connection(text, dry_run=True)]


def test_a_name_without_a_tag_is_that_of_the_latest(docker_place: Place) -> None:
    docker_place.engine.run("create", "--network", "none", "localhost/app", "/one")
    rows = docker_place.connection("containers in docker select image")
    assert [row.image for row in rows] == ["localhost/app:latest"]
    rows = docker_place.connection("containers in docker where image = localhost/app:latest select image")
    assert [row.image for row in rows] == ["localhost/app:latest"]
    assert planned(docker_place, BY_NAME) == ["localhost/team/b:2", "localhost/app:1"]


def test_a_name_that_moved_is_read_in_the_same_form(docker_place: Place) -> None:
    docker_place.engine.run("create", "--network", "none", "localhost/app", "/one")
    docker_place.engine.run("tag", "localhost/team/b:2", "localhost/app:latest")
    rows = docker_place.connection("containers in docker select image")
    assert [row.image for row in rows] == ["localhost/app:latest"]


def test_a_container_that_was_made_by_an_id_names_no_image(docker_place: Place) -> None:
    short = docker_place.two.removeprefix("sha256:")[:12]
    docker_place.engine.run("create", "--network", "none", short, "/one")
    with pytest.raises(Refused) as refused:
        planned(docker_place, BY_NAME)
    assert refused.value.code == "unlike-names"
    assert refused.value.message == f'"{short}" after not in is an ID, which no name equals'
    assert refused.value.hints == ("compare IDs: … where id not in (… select image_id)",)
    by_id = "rm images in docker where id not in (containers in docker select image_id)"
    assert planned(docker_place, by_id) == ["localhost/app:1, localhost/app:latest"]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (f"localhost/team/b:2@{TWO.digest}", "has a tag and a digest, and a name has one of them"),
        (TWO.id, "is an ID, which no name equals"),
        (TWO.id.removeprefix("sha256:")[:12], "is an ID, which no name equals"),
    ],
)
def test_a_file_of_what_to_keep_has_names(docker_place: Place, tmp_path: pathlib.Path, line: str, reason: str) -> None:
    path = tmp_path / "keep.txt"
    path.write_text(f"localhost/app:1\n{line}\n")
    with pytest.raises(Refused) as refused:
        planned(docker_place, f'rm images in docker where name not in (lines of "{path}")')
    assert refused.value.message == f'"{line}" after not in {reason}'
    rows = docker_place.connection(f'images in docker where name in (lines of "{path}") select name')
    assert [row.name for row in rows] == ["localhost/app:1"]
    path.write_text(f"localhost/app\nlocalhost:5000/team/b@{TWO.digest}\n")
    assert planned(docker_place, f'rm images in docker where name not in (lines of "{path}")') == [
        "localhost/team/b:2",
        "localhost/app:1",
    ]
