"""Targets of images: a name is for one image, a host or namespace keeps names, a template makes a name for each."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from imq.grammar.errors import StatementError

if TYPE_CHECKING:
    from store.support.stores import StoreSession
    from support.images import Image

HOST = "registry.local:5000"


def pushed(store: StoreSession, text: str) -> dict[str, str]:
    """Return the id of the image that goes to each name."""
    return {row["target"]: row["image"] for row in store.rows(text, dry_run=True)}


@pytest.fixture
def team(store: StoreSession, made: dict[str, Image]) -> StoreSession:  # noqa: ARG001 - the images that are named
    """A store with `group/svc:1` and `group/svc:2`, of two images, and one more name of the second."""
    store.do("tag redis:7 as group/svc:1")
    store.do("tag plain:1 as group/svc:2")
    store.do("tag plain:1 as ghcr.io/group/svc:2")
    return store


@pytest.mark.parametrize("tag", ["", ":1"])
def test_several_images_are_not_pushed_to_one_name(team: StoreSession, tag: str) -> None:
    text = "push images where repository = group/svc to registry.local:5000/x/y" + (tag and ":1")
    if tag:
        assert team.failure_code(text) == "operand"
        assert team.failure_code("push group/svc:1, group/svc:2 to registry.local:5000/x/y:1") == "operand"
    else:
        assert set(pushed(team, text)) == {f"{HOST}/x/y/group/svc:1", f"{HOST}/x/y/group/svc:2"}


def test_a_template_that_makes_one_name_of_several_images_is_refused(team: StoreSession) -> None:
    for template in ("registry.local:5000/{{.Repository}}:1", "registry.local:5000/all:{{.Os}}"):
        assert team.failure_code(f'push images where repository = group/svc to "{template}"') == "operand"


@pytest.mark.parametrize("place", [HOST, f"{HOST}/", "localhost", "[::1]:5000"])
def test_a_push_to_a_host_keeps_the_names(team: StoreSession, made: dict[str, Image], place: str) -> None:
    host = place.rstrip("/")
    expected = {f"{host}/group/svc:1": made["redis:7"].id, f"{host}/group/svc:2": made["plain:1"].id}
    assert pushed(team, f'push images where repository = group/svc to "{place}"') == expected
    assert pushed(team, f'push group/svc:1, ghcr.io/group/svc:2 to "{place}"') == expected


def test_the_same_name_from_two_registries_goes_once_or_is_refused(team: StoreSession) -> None:
    assert set(pushed(team, f"push group/svc:2, ghcr.io/group/svc:2 to {HOST}")) == {f"{HOST}/group/svc:2"}
    team.do("tag redis:7 as quay.io/group/svc:2")
    assert team.failure_code(f"push group/svc:2, quay.io/group/svc:2 to {HOST}") == "operand"


def test_several_names_of_one_image_go_to_one_name(team: StoreSession, made: dict[str, Image]) -> None:
    text = f"push images where id = {made['plain:1'].id} to {HOST}/x:1"
    assert pushed(team, text) == {f"{HOST}/x:1": made["plain:1"].id}


def test_a_template_without_a_tag_keeps_the_tag(team: StoreSession) -> None:
    found = pushed(team, f'push images where repository = group/svc to "{HOST}/{{{{.Repository}}}}"')
    assert set(found) == {f"{HOST}/group/svc:1", f"{HOST}/group/svc:2"}


def test_a_template_for_images_by_name(team: StoreSession) -> None:
    found = pushed(team, f'push group/svc:1, group/svc:2 to "{HOST}/old:{{{{.Tag}}}}"')
    assert set(found) == {f"{HOST}/old:1", f"{HOST}/old:2"}


def test_an_image_without_a_name_needs_a_target_with_a_tag(team: StoreSession, made: dict[str, Image]) -> None:
    id_ = made["dangling"].id
    assert pushed(team, f"push {id_} to {HOST}/x:1") == {f"{HOST}/x:1": id_}
    for place in (HOST, f"{HOST}/x"):
        assert team.failure_code(f"push {id_} to {place}") == "operand"


def test_copies_to_one_name_are_refused(store: StoreSession) -> None:
    assert store.failure_code(f"copy a.example/x:1, b.example/x:1 to {HOST}") == "operand"
    assert store.failure_code(f"copy a.example/x:1, a.example/y:1 to {HOST}/z:1") == "operand"
    assert store.failure_code(f'copy a.example/x:1, a.example/y:1 to "{HOST}/z:{{{{.Tag}}}}"') == "operand"


def test_a_rename_keeps_as_many_names_as_there_were(team: StoreSession, made: dict[str, Image]) -> None:
    names = team.names()
    assert team.failure_code(f"rename images where id = {made['plain:1'].id} as other:2") == "ambiguous-name"
    assert team.names() == names
    team.do('rename images where repository = group/svc as "other:{{.Tag}}"')
    assert {row["name"] for row in team.rows("images where repository = other select name")} == {"other:1", "other:2"}


@pytest.mark.parametrize("verb", ["save", "export"])
def test_two_paths_of_one_file_are_refused(team: StoreSession, verb: str) -> None:
    """Two spellings of a path would make two archives, and the second would replace the first."""
    text = f'{verb} images where repository = group/svc to "{{{{if eq .Tag `1`}}}}./{{{{end}}}}a.tar"'
    with pytest.raises(StatementError, match="are the same file") as caught:
        team.rows(text, dry_run=True)
    assert caught.value.code == "operand"
    assert team.failure_code(text) == "operand"
