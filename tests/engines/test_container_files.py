"""The files of containers of engines: those of their images with what they added, changed and deleted."""

from __future__ import annotations

import io
import tarfile
from typing import TYPE_CHECKING

import imq
import pytest
from support.engine_content import program_layer
from support.images import Image, docker_archive
from support.programs import remove_program

if TYPE_CHECKING:
    import pathlib

    from support.engine_images import Place

NAME = "localhost/files:1"
LIMITS = {"podman": ("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024")}
OWN = ("/etc", "/run", "/dev", "/proc", "/sys", "/var")
"""Folders in which engines put files of their own."""


def make_archive(files: dict[str, str]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for path, text in files.items():
            member = tarfile.TarInfo(path)
            if text.startswith("-> "):
                member.type, member.linkname = tarfile.SYMTYPE, text[3:]
                archive.addfile(member)
                continue
            member.size, member.uid, member.gid, member.mode = len(text), 12, 34, 0o640
            archive.addfile(member, io.BytesIO(text.encode()))
    return buffer.getvalue()


@pytest.fixture
def changed(place: Place, tmp_path: pathlib.Path) -> Place:
    """An engine with the container `web`: files of its image are changed, deleted and as they were."""
    path = tmp_path / "files.tar"
    layers = [program_layer("remove", remove_program())]
    layers += [program_layer(name, f"{name} of the image".encode()) for name in ("kept", "edited", "gone")]
    image = Image(tuple(layers), settings={"Entrypoint": ["/remove"], "Cmd": ["/gone"]})
    docker_archive(path, [(image, [NAME])])
    place.engine.run("load", stdin=path.read_bytes())
    limits = LIMITS.get(place.name, ())
    place.engine.run("run", "--name", "web", "--network", "none", *limits, NAME)
    (tmp_path / "edited").write_text("edited in the container")
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "one").write_text("1")
    (tmp_path / "new" / "link").symlink_to("one")
    place.engine.run("cp", str(tmp_path / "edited"), "web:/edited")
    place.engine.run("cp", str(tmp_path / "new"), "web:/new")
    return place


def list_rows(place: Place, query: str) -> list[tuple[object, ...]]:
    rows = [tuple(row) for row in place.connection(query)]
    return [row for row in rows if not str(row[0]).startswith(OWN)]


def test_every_path_has_a_status(changed: Place) -> None:
    place = changed
    rows = list_rows(place, f"files of container web in {place.name} select path, status, type, size")
    assert rows == [
        ("/edited", "changed", "file", len("edited in the container")),
        ("/gone", "deleted", "file", len("gone of the image")),
        ("/kept", "unchanged", "file", len("kept of the image")),
        ("/new", "added", "directory", 0),
        ("/new/link", "added", "symlink", 0),
        ("/new/one", "added", "file", 1),
        ("/remove", "unchanged", "file", len(remove_program())),
    ]
    (container,) = place.connection(f"containers in {place.name} where name = web")
    short = list_rows(place, f"files of container {container.id[:12]} in {place.name} select path")
    assert len(short) == len(rows)
    of_query = f"files of (containers in {place.name} where name = web) where status = deleted select path, image_name"
    assert list_rows(place, of_query) == [("/gone", "web")]
    for image in (NAME, f"(containers in {place.name} where name = web select image)"):
        assert list_rows(place, f"files of {image} in {place.name} where status is known select path") == []
        assert ("/gone",) in list_rows(place, f"files of {image} in {place.name} select path")


def test_the_paths_are_those_that_the_engine_lists(changed: Place) -> None:
    place = changed
    kinds = {"A": "added", "C": "changed", "D": "deleted"}
    listed = {tuple(line.split(" ", 1)) for line in place.engine.run("diff", "web").splitlines()}
    expected = {(path, kinds[kind]) for kind, path in listed if not path.startswith(OWN)}
    query = f"files of container web in {place.name} where status != unchanged select path, status"
    assert set(list_rows(place, query)) == expected


def test_contents_and_conditions(changed: Place) -> None:
    place = changed
    query = (
        f'files of container web in {place.name} where path in ("/edited", "/kept", "/new/one") select path, content'
    )
    assert list_rows(place, query) == [
        ("/edited", "edited in the container"), ("/kept", "kept of the image"), ("/new/one", "1"),
    ]  # fmt: skip
    names = f"containers in {place.name} where any files where path = {{}} select name"
    assert list_rows(place, names.format("/new/one")) == [("web",)]
    assert list_rows(place, names.format("/gone")) == []  # it is there no more
    history = f"all files of container web in {place.name} where path = /gone select path, status"
    assert list_rows(place, history) == [("/gone", "deleted")]


def test_verbs_take_a_container(changed: Place, tmp_path: pathlib.Path) -> None:
    place = changed
    run = place.connection
    assert list(run(f"cat container web /new/link /edited in {place.name}")) == [b"1edited in the container"]
    with pytest.raises(imq.NotFound, match="container web has no file /gone"):
        run(f"cat container web /gone in {place.name}")
    with pytest.raises(imq.NotFound, match="No such container"):
        run(f"cat container nope /edited in {place.name}")
    statement = f'extract files of container web in {place.name} where path like "/*e*" to "{tmp_path}/out"'
    (row,) = run(statement)
    assert row.error is None
    assert (tmp_path / "out" / "edited").read_text() == "edited in the container"
    assert (tmp_path / "out" / "new" / "one").read_text() == "1"
    assert not (tmp_path / "out" / "gone").exists()
    changes = [(row.kind, row.change, row.key) for row in run(f"diff container web in {place.name}")]
    own = {change for change in changes if not str(change[2]).startswith(OWN)}
    assert own == {
        ("file", "added", "/new"), ("file", "added", "/new/link"), ("file", "added", "/new/one"),
        ("file", "changed", "/edited"), ("file", "removed", "/gone"),
    }  # fmt: skip
    with pytest.raises(imq.NotFound, match="No such container: nope"):
        run(f"diff container nope in {place.name}")


def test_a_container_without_its_image(changed: Place) -> None:
    """Docker removes the image of a stopped container by force."""
    place = changed
    if place.name == "podman" or place.engine.root is not None:
        pytest.skip("this engine keeps the image, or removes the container with it")
    place.engine.run("rmi", "-f", NAME)
    with pytest.raises(
        imq.NotFound, match="the files of the container web are unknown: its image was removed"
    ) as caught:
        place.connection("files of container web in docker")
    assert (caught.value.code, caught.value.hints) == (
        "no-such-image",
        ("to see its changes: changes of web in docker",),
    )


def test_what_is_mounted_is_not_part_of_a_container(place: Place, tmp_path: pathlib.Path) -> None:
    """A mount point is an empty folder or file, also in a folder that the container added."""
    path = tmp_path / "files.tar"
    image = Image((program_layer("remove", remove_program()),), settings={"Entrypoint": ["/remove"], "Cmd": ["/gone"]})
    docker_archive(path, [(image, [NAME])])
    place.engine.run("load", stdin=path.read_bytes())
    host = tmp_path / "host"
    host.mkdir()
    (host / "big").write_text("of the host")
    (host / "one").write_text("of the host")
    limits = LIMITS.get(place.name, ())
    folder, file = ("--volume", f"{host}:/added/folder:ro"), ("--volume", f"{host}/one:/added/file")
    mounts = (*folder, *file, "--volume", "data:/data")
    place.engine.run("run", "--name", "web", "--network", "none", *limits, *mounts, NAME)
    query = f"files of container web in {place.name} where status = added select path, type, size"
    assert list_rows(place, query) == [
        ("/added", "directory", 0),
        ("/added/file", "file", 0),
        ("/added/folder", "directory", 0),
        ("/data", "directory", 0),
    ]
    rows = [tuple(row) for row in place.connection(f"mounts of web in {place.name} select type, target, read_only")]
    assert rows == [("bind", "/added/file", 0), ("bind", "/added/folder", 1), ("volume", "/data", 0)]
    of_host = f'containers in {place.name} where any mounts where type = bind and source_path = "{host}" select name'
    assert [row.name for row in place.connection(of_host)] == ["web"]
    assert [row.volume for row in place.connection(f"mounts in {place.name} where type = volume")] == ["data"]
    (mounted,) = place.connection(f"containers in {place.name} where name = web select mounts")
    assert mounted.mounts == [f"{host}/one:/added/file", f"{host}:/added/folder:ro", "data:/data"]


def test_text_is_found_in_images_and_containers(changed: Place) -> None:
    place = changed
    query = f'texts of container web in {place.name} where text like "*edited in*" select location, layer_index'
    assert [row[0] for row in place.connection(query)] == ["file /edited:1"]
    found = place.connection(f'images in {place.name} where contains text "edited of" select name, found')
    assert [tuple(row) for row in found] == [(NAME, ["file /edited:1"])]
    found = place.connection(f'images in {place.name} where contains text "/gone" select name, found')
    assert "cmd" in dict(map(tuple, found))[NAME]
    names = place.connection(f'containers in {place.name} where contains text "edited in" select name, found')
    assert [tuple(row) for row in names] == [("web", ["file /edited:1"])]
    assert not list(place.connection(f'containers in {place.name} where contains text "nowhere" select name'))
