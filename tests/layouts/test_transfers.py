"""Images between the store and places on disk, and between two places, checked by the tools of others."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest
from imq.grammar.errors import ImqError, StatementError
from store.support.stores import StoreSession, entries_in, run
from support.images import Image, Layout, docker_archive, layer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support import servers

PLACES = ("oci", "oci-archive", "docker-archive", "dir")


def ids_in(session: StoreSession, place: str) -> list[str]:
    return sorted(row["id"] for row in session.rows(f'images in "{place}" select * as json'))


@pytest.mark.parametrize("target", PLACES)
@pytest.mark.parametrize("source", PLACES)
def test_an_image_goes_from_every_place_to_every_other(
    session: StoreSession, tmp_path: Path, made: dict[str, Image], source: str, target: str
) -> None:
    first, second = f"{source}:{tmp_path / 'first'}", f"{target}:{tmp_path / 'second'}"
    session.do(f'copy redis:7 from "oci:{tmp_path / "layout"}" to "{first}"')
    session.do(f'copy all images in "{first}" to "{second}"')
    assert ids_in(session, second) == [made["redis:7"].id]
    session.do(f'load "{second}"')
    (row,) = session.rows("images select * as json")
    assert row["id"] == made["redis:7"].id
    assert row["size"] == made["redis:7"].size
    assert row["name"] == (None if "dir" in (source, target) else "redis:7")


@pytest.mark.parametrize("target", PLACES)
def test_skopeo_reads_what_is_saved(session: StoreSession, tmp_path: Path, made: dict[str, Image], target: str) -> None:
    session.do(f'copy redis:7 from "oci:{tmp_path / "layout"}" to store')
    place = f"{target}:{tmp_path / 'saved'}"
    session.do(f'save redis:7 to "{place}"')
    name = {"oci": ":redis:7", "docker-archive": ":docker.io/library/redis:7"}.get(target, "")
    inspected = json.loads(run("skopeo", "inspect", f"{place}{name}"))
    config = json.loads(run("skopeo", "inspect", "--config", f"{place}{name}"))
    assert config["rootfs"]["diff_ids"] == [one.diff_id for one in made["redis:7"].layers]
    if target != "docker-archive":
        assert inspected["Digest"] == made["redis:7"].digest


def test_nothing_but_the_layout_is_left_in_its_folder(
    session: StoreSession, tmp_path: Path, made: dict[str, Image]
) -> None:
    session.do(f'copy redis:7 from "oci:{tmp_path / "layout"}" to "oci:{tmp_path / "new"}"')
    session.do(f'copy plain:1 from "oci:{tmp_path / "layout"}" to "oci:{tmp_path / "new"}"')
    assert sorted(os.listdir(tmp_path / "new")) == ["blobs", "index.json", "oci-layout"]
    wanted = {digest.removeprefix("sha256:") for name in ("redis:7", "plain:1") for digest in made[name].blobs}
    assert set(os.listdir(tmp_path / "new" / "blobs" / "sha256")) == wanted
    names = [row["name"] for row in session.rows(f'images in "oci:{tmp_path / "new"}" select * as json')]
    assert sorted(names) == ["plain:1", "redis:7"]


def test_a_name_in_a_layout_moves_to_the_new_image(session: StoreSession, tmp_path: Path) -> None:
    old, new = (Image([layer({"file": content})]) for content in (b"old", b"new"))
    for folder, image in (("old", old), ("new", new)):
        Layout(tmp_path / folder).add(image, "app:1")
        session.do(f'copy app:1 from "oci:{tmp_path / folder}" to "oci:{tmp_path / "target"}"')
    assert ids_in(session, f"oci:{tmp_path / 'target'}") == [new.id]


@pytest.mark.usefixtures("made")
def test_the_source_stays_as_it_is_and_nothing_else_is_left(
    session: StoreSession, tmp_path: Path, describe_tree: Callable[[Any], object]
) -> None:
    before = describe_tree(tmp_path / "layout")
    session.do(f'copy all images in "oci:{tmp_path / "layout"}" to "{tmp_path / "all.tar"}"')
    assert describe_tree(tmp_path / "layout") == before
    assert sorted(os.listdir(tmp_path)) == ["all.tar", "layout"]
    assert ids_in(session, str(tmp_path / "all.tar")) == ids_in(session, f"oci:{tmp_path / 'layout'}")


def test_compressed_layers_are_decompressed_for_docker(session: StoreSession, tmp_path: Path) -> None:
    packed = Image([layer({"a": b"a" * 5000}, "gzip"), layer({"b": b"b" * 5000}, "zstd")])
    Layout(tmp_path / "packed").add(packed, "packed:1")
    session.do(f'copy packed:1 from "oci:{tmp_path / "packed"}" to "docker-archive:{tmp_path / "docker.tar"}"')
    rows = session.rows(f'layers in "docker-archive:{tmp_path / "docker.tar"}" select * as json')
    assert [row["digest"] for row in rows] == [one.diff_id for one in packed.layers]
    assert [row["size"] for row in rows] == [one.size for one in packed.layers]


def test_an_index_goes_whole(session: StoreSession, tmp_path: Path, made: dict[str, Image]) -> None:
    images = [made["edge/agent:1"], made["plain:1"]]
    layout = Layout(tmp_path / "several")
    digest = layout.add_index(images, "several:1")
    for target in ("oci:a", "oci-archive:b", "dir:c"):
        kind, _, name = target.partition(":")
        session.do(f'copy several:1 from "oci:{tmp_path / "several"}" to "{kind}:{tmp_path / name}"')
        assert ids_in(session, f"{kind}:{tmp_path / name}") == sorted(image.id for image in images)
    assert json.loads((tmp_path / "c" / "manifest.json").read_text())["manifests"]
    session.do(f'load "dir:{tmp_path / "c"}"')
    assert {entry["digest"] for entry in entries_in(tmp_path / "store")} == {digest}


def test_names_of_a_query_are_selected(session: StoreSession, tmp_path: Path, made: dict[str, Image]) -> None:
    docker_archive(tmp_path / "docker.tar", [(made["plain:1"], ["plain:1", "plain:2"]), (made["redis:7"], ["redis:7"])])
    session.do(f'copy images in "docker-archive:{tmp_path / "docker.tar"}" where tag = 2 to store')
    assert session.names() == ["plain:2"]


def test_each_image_gets_an_archive_of_its_own(session: StoreSession, tmp_path: Path, made: dict[str, Image]) -> None:
    target = f"oci-archive:{tmp_path}/{{{{.Tag}}}}.tar"
    session.do(f'save images in "oci:{tmp_path / "layout"}" where repository = "team/app" to "{target}"')
    for tag in ("1", "2", "3"):
        assert ids_in(session, f"oci-archive:{tmp_path / tag}.tar") == [made[f"team/app:{tag}"].id]


@pytest.mark.usefixtures("made")
@pytest.mark.parametrize(
    ("statement", "code"),
    [
        ('save all images in "oci:layout" to "dir:new"', "operand"),
        ('save redis:7 from "oci:layout" to "containers-storage:new"', "place"),
        ('save redis:7 from "oci:layout" to "oci:file"', "path"),
        ('save redis:7 from "oci:layout" to "oci:folder"', "store"),
        ('copy redis:7 from ghcr.io to "oci:new"', "place"),
        ('copy nope:1 from "oci:layout" to store', "no-such-image"),
        ('copy redis:7 from "oci:layout" to "oci:new" platform linux/arm64', "option"),
        ('copy redis:7 from "oci:layout" to "oci:new" with referrers', "option"),
        ('copy redis:7 from "oci:layout" to store force', "option"),
        ('copy redis:7 from "oci:layout" to registry.local:5000 force', "option"),
        ('copy all images in "unix:///nonexistent/engine.sock" to "oci:new"', "engine-unreachable"),
        ("copy images where tag = 7 to store", "operand"),
        ('save images in "oci:layout", store where tag = 7 to "x.tar"', "operand"),
        ('rm images in "oci:layout" where not in_use', "unseen"),
        ('rm images in "oci:layout" where tag = 7', "operand"),
        ('untag images in "oci:layout" where in use', "unseen"),
        ('prune images in "oci:layout" where containers = 0', "unseen"),
        ('rm images where name in (images in "oci:layout" where not in_use select name)', "unseen"),
        ('push images in "oci:layout" where tag = 7', "operand"),
        ('export images in "oci:layout" where tag is known to "x"', "operand"),
    ],
)
@pytest.mark.usefixtures("made")
def test_what_cannot_be_done_is_refused(
    session: StoreSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, statement: str, code: str
) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "other").write_text("")
    monkeypatch.chdir(tmp_path)
    assert session.failure_code(statement) == code
    assert not (tmp_path / "new").exists()


@pytest.mark.usefixtures("made")
def test_a_folder_of_another_kind_is_not_replaced(session: StoreSession, tmp_path: Path) -> None:
    target = tmp_path / "there"
    copy = f'copy redis:7 from "oci:{tmp_path / "layout"}" to "dir:{target}"'
    session.do(copy)
    assert session.failure_code(copy) == "exists"
    session.do(f"{copy} force")
    (target / "version").unlink()
    assert session.failure_code(f"{copy} force") == "exists"
    assert not [name for name in os.listdir(tmp_path) if name not in ("layout", "there")]


@pytest.mark.usefixtures("made")
def test_the_kind_of_the_source_is_in_the_message(session: StoreSession, tmp_path: Path) -> None:
    with pytest.raises(ImqError, match="unknown in an image layout or archive"):
        session.rows(f'rm images in "oci:{tmp_path / "layout"}" where not in_use')
    with pytest.raises(ImqError, match="unknown in a registry"):
        session.rows("rm images in localhost:1 where not in_use")


def test_images_go_between_registries_and_places(
    session: StoreSession, tmp_path: Path, made: dict[str, Image], registry: servers.Registry
) -> None:
    host = registry.host
    place = f"oci:{tmp_path / 'layout'}"
    session.do(f'copy redis:7 from "{place}" to {host}/team/redis:7')
    session.do(f'copy images in "{place}" where repository = "team/app" and registry = docker.io to {host}/copied')
    assert session.rows(f"tags of {host}/team/redis select digest") == [{"digest": made["redis:7"].digest}]
    tags = session.rows(f"tags of {host}/copied/team/app order by tag select tag, id")
    assert [(row["tag"], row["id"]) for row in tags] == [(tag, made[f"team/app:{tag}"].id) for tag in "123"]
    for target in PLACES:
        session.do(f'copy {host}/team/redis:7 to "{target}:{tmp_path / target}.out"')
        assert ids_in(session, f"{target}:{tmp_path / target}.out") == [made["redis:7"].id]
    session.do(f'copy tags of {host}/copied/team/app where tag >= "2" to "oci:{tmp_path / "tags"}"')
    assert len(ids_in(session, f"oci:{tmp_path / 'tags'}")) == 2
    session.do(f"copy {host}/team/redis:7 to store")
    assert session.names() == [f"{host}/team/redis:7"]
    session.do(f'copy images in "dir:{tmp_path / "dir"}.out" where id is known to {host}/single:1')
    assert session.rows(f"tags of {host}/single select id") == [{"id": made["redis:7"].id}]


def test_the_default_source_is_where_names_are(session: StoreSession, tmp_path: Path, made: dict[str, Image]) -> None:
    session.read_message(f'use "oci:{tmp_path / "layout"}"')
    assert len(session.rows("images")) == 11
    session.do(f'copy plain:1 to "oci-archive:{tmp_path / "plain.tar"}"')
    session.do(f'save redis:7 to "{tmp_path / "redis.tar"}"')
    assert ids_in(session, f"oci-archive:{tmp_path / 'plain.tar'}") == [made["plain:1"].id]
    assert ids_in(session, str(tmp_path / "redis.tar")) == [made["redis:7"].id]


@pytest.mark.parametrize("place", PLACES)
def test_a_chosen_place_takes_no_pull_and_no_load(
    session: StoreSession, tmp_path: Path, made: dict[str, Image], place: str
) -> None:
    """They would go to the store without a word."""
    chosen = f"{place}:{tmp_path / 'first'}"
    session.do(f'copy redis:7 from "oci:{tmp_path / "layout"}" to "{chosen}"')
    session.read_message(f'use "{chosen}"')
    for statement in ("pull 127.0.0.1:1/app:1", f'load "{tmp_path / "layout"}"', f'import "{tmp_path}" as app:1'):
        verb = statement.split()[0]
        with pytest.raises(StatementError, match=f"{verb} does not work in {place}:") as error:
            session.do(statement)
        assert error.value.hints[0] == f"to bring them into the store: {verb} … to store"
    with pytest.raises(StatementError, match=f"rename does not work in {place}:"):
        session.do("rename redis:7 as app:1")
    session.do(f'load "{tmp_path / "layout"}" to store')
    assert {row["id"] for row in session.rows("images in store select * as json")} == {one.id for one in made.values()}
