"""What statements say of the insides of images: files, packages and differences, and the verbs that show files."""

from __future__ import annotations

import hashlib
import io
import json
import os
import stat
import subprocess
import tarfile
from typing import TYPE_CHECKING, Any

import pytest
from imq.engine.actions import extract
from imq.grammar.errors import ImqError
from layers.stacks import Member, archive, folder, link, member, symlink
from store.support.stores import StoreSession, command, imq
from support.images import LAYER_TYPES, Image, Layer, Layout

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterator

STATUS = b"""Package: openssl
Status: install ok installed
Installed-Size: 100
Maintainer: Someone <someone@example.org>
Architecture: amd64
Version: %s

Package: removed
Status: deinstall ok config-files
Architecture: amd64
Version: 1.0

Package: bash
Status: install ok installed
Architecture: amd64
Version: 5.2-1
Installed-Size: 20
"""
OS_RELEASE = b'ID=debian\nVERSION_ID="12"\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n'


def make_layer(*members: Member) -> Layer:
    content = archive(members)
    size = sum(info.size for info, _ in members)
    return Layer(content, "sha256:" + hashlib.sha256(content).hexdigest(), LAYER_TYPES[""], size)


BASE = make_layer(
    folder("etc"), member("etc/passwd", b"root:x:0:0\n"), member("etc/motd", b"hello\n"),
    member("usr/bin/su", b"\x7fELF", mode=0o4755), folder("tmp", 0o1777), symlink("bin", "usr/bin"),
    link("usr/bin/su2", "usr/bin/su"), member("usr/lib/os-release", OS_RELEASE),
    symlink("etc/os-release", "../usr/lib/os-release"), member("var/lib/dpkg/status", STATUS % b"3.0.13-1~deb12u1"),
    member("srv/caf\udce9", b"not UTF-8"), member("var/log/open", b"", mode=0o666),
)  # fmt: skip
TOP = make_layer(
    member("etc/.wh.motd"), member("etc/passwd", b"root:x:0:0\n", mode=0o600), member("srv/new", b"new\n"),
    member("var/lib/dpkg/status", STATUS % b"3.0.15-1~deb12u1"), member("etc/zero", b"\0binary"),
)  # fmt: skip


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("contents") / "store"
    layout = Layout(path)
    layout.add(Image([BASE], env=("A=1",), labels={"team": "a"}), "app:1")
    layout.add(Image([BASE, TOP], env=("A=2",), labels={"team": "a"}, settings={"User": "app"}), "app:2")
    layout.add(Image([make_layer(member("only", b"x"))], labels={"team": "b"}), "scratch:1")
    return str(path)


@pytest.fixture
def store(root: str) -> Iterator[StoreSession]:
    with StoreSession(root) as session:
        yield session


def column(rows: list[dict[str, Any]], name: str) -> list[Any]:
    return [row[name] for row in rows]


def test_files_show_the_merged_tree(store: StoreSession) -> None:
    paths = column(store.rows('files of app:2 where path like "/etc/*" select path, permissions, size'), "path")
    assert paths == ["/etc/os-release", "/etc/passwd", "/etc/zero"]
    (passwd,) = store.rows("files of app:2 where name = passwd select path, mode, layer_index, directory, uid")
    assert passwd == {"path": "/etc/passwd", "mode": "0600", "layer_index": 1, "directory": "/etc", "uid": 0}


@pytest.mark.parametrize(
    "condition",
    [
        "status = deleted",
        "status = overwritten",
        "status = whiteout",
        "status = visible",
        "status in (deleted, overwritten)",
        "status not in (visible, whiteout)",
        "status in (visible, whiteout)",
        "not status = deleted and not status = whiteout",
        "status like '*e*' and path like '/etc/**'",
        "status = deleted or size > 3",
        "status = deleted and size > 3 or status = whiteout",
        "status = visible and status = deleted",
        "status is unknown",
    ],
)
def test_a_condition_on_the_status_selects_of_all_rows(store: StoreSession, condition: str) -> None:
    """The condition is evaluated when the entries are read; in rows of a query it is evaluated afterwards."""
    rows = "all files of app:1, app:2 select image, layer_index, path, size, status"
    read = store.rows(f"{rows.replace(' select', f' where {condition} select', 1)} order by image, layer_index, path")
    assert read == store.rows(f"({rows}) where {condition} order by image, layer_index, path")


def test_all_files_say_what_hides_them(store: StoreSession) -> None:
    rows = store.rows('all files of app:2 where path like "/etc/*" select layer_index, status, path')
    assert [tuple(row.values()) for row in rows] == [
        (1, "whiteout", "/etc/.wh.motd"), (0, "deleted", "/etc/motd"), (0, "visible", "/etc/os-release"),
        (0, "overwritten", "/etc/passwd"), (1, "visible", "/etc/passwd"), (1, "visible", "/etc/zero"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("condition", "paths"),
    [
        ("setuid", ["/usr/bin/su", "/usr/bin/su2"]),
        ("sticky and type = directory", ["/tmp"]),
        ("world_writable and type = file", ["/var/log/open"]),
        ("mode = 4755", ["/usr/bin/su", "/usr/bin/su2"]),
        ("type = hardlink", ["/usr/bin/su2"]),
        ("type = symlink and link_target like '*os-release'", ["/etc/os-release"]),
        ("directory = /srv", ["/srv/caf\udce9", "/srv/new"]),
        ("content matches '^new'", ["/srv/new"]),
        ("permissions = '-rwsr-xr-x' and link_target is unknown", ["/usr/bin/su"]),
        (f"sha256 = sha256:{hashlib.sha256(b'new').hexdigest()}", []),
        (f"sha256 = sha256:{hashlib.sha256(b'new' + bytes([10])).hexdigest()}", ["/srv/new"]),
    ],
)
def test_conditions_on_files(store: StoreSession, condition: str, paths: list[str]) -> None:
    from imq.engine.layer_index.path_text import to_path

    assert [to_path(path) for path in column(store.rows(f"files of app:2 where {condition}"), "path")] == paths


def test_content_is_text_or_unknown(store: StoreSession) -> None:
    rows = store.rows("files of app:2 where path in (/srv/new, /etc/zero, /etc) select path, content")
    assert {row["path"]: row["content"] for row in rows} == {"/srv/new": "new\n", "/etc/zero": None, "/etc": None}


def test_images_by_what_they_contain(store: StoreSession) -> None:
    assert column(store.rows("images where contains file '/srv/new' select name"), "name") == ["app:2"]
    assert sorted(column(store.rows("images where not contains file '*passwd' select name"), "name")) == ["scratch:1"]
    assert column(store.rows("images where any all files where path = /only select name"), "name") == ["scratch:1"]
    assert sorted(column(store.rows("images where contains package openssl select name"), "name")) == ["app:1", "app:2"]
    vulnerable = "images where any packages where name = openssl and version < 3.0.14 select name"
    assert column(store.rows(vulnerable), "name") == ["app:1"]


def test_files_of_a_query_name_their_images(store: StoreSession) -> None:
    rows = store.rows("files of (images where label.team = a) where name = passwd select image_name, mode")
    assert sorted(tuple(row.values()) for row in rows) == [("app:1", "0644"), ("app:2", "0600")]


def test_packages_are_those_of_the_visible_database(store: StoreSession) -> None:
    rows = store.rows("packages of app:2 select name, version, architecture, layer_index, last_layer, source, purl")
    assert [(row["name"], row["layer_index"], row["last_layer"]) for row in rows] == [("bash", 0, 1), ("openssl", 1, 1)]
    assert rows[1]["purl"] == "pkg:deb/debian/openssl@3.0.15-1~deb12u1?arch=amd64&distro=debian-12"
    assert rows[1]["source"] == "openssl"
    assert rows[1]["version"].endswith("\x1f3.0.15-1~deb12u1")


@pytest.mark.parametrize(
    ("bound", "names"),
    [
        ("< 3.0.15", ["openssl"]),
        ("<= 3.0.15-1~deb12u1", ["openssl"]),
        ("= 5.2-1", ["bash"]),
        ("> 1:0", []),
        ("in (5.2-1, 9)", ["bash"]),
        ("like '3.*'", ["openssl"]),
    ],
)
def test_versions_compare_by_the_rules_of_their_system(store: StoreSession, bound: str, names: list[str]) -> None:
    rows = store.rows(f"packages of app:2 where version {bound} and (name = openssl or not version < 4)")
    if bound == "< 3.0.15":  # the revision counts: 3.0.15-1~deb12u1 is newer than 3.0.15
        rows = store.rows("packages of app:2 where version < 3.0.15-1 and name = openssl")
    assert column(rows, "name") == names


def test_the_operating_system_of_images(store: StoreSession) -> None:
    rows = store.rows("images order by name select name, os_release.pretty_name as system, os_release.version_id as v")
    assert [tuple(row.values()) for row in rows] == [
        ("app:1", "Debian GNU/Linux 12 (bookworm)", "12"), ("app:2", "Debian GNU/Linux 12 (bookworm)", "12"),
        ("scratch:1", None, None),
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["cyclonedx", "spdx"])
def test_bills_of_materials_name_each_package(root: str, name: str) -> None:
    document = json.loads(imq(root, f"packages of app:2 as {name}").stdout)
    listed = document["components"] if name == "cyclonedx" else document["packages"]
    assert {"bash", "openssl"} <= {one["name"] for one in listed}


def test_a_bill_of_materials_takes_whole_rows(root: str) -> None:
    assert "leave out select" in imq(root, "packages of app:2 select name as spdx", code=2).stderr


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("hello", ["app:1"]),
        ("new", ["app:2"]),
        ("A=2", ["app:2"]),
        ("COPY layer 1", ["app:2"]),
        ("team=b", ["scratch:1"]),
        ("binary", ["app:2"]),
        ("h*o", []),
    ],
)
def test_images_that_contain_text(store: StoreSession, text: str, names: list[str]) -> None:
    assert column(store.rows(f'images where contains text "{text}" select name'), "name") == names


def test_waste_is_what_upper_layers_hide(store: StoreSession) -> None:
    (row,) = store.rows("waste of app:2 select wasted_size, paths, efficiency, size")
    hidden = {"etc/motd": 6, "etc/passwd": 11, "var/lib/dpkg/status": len(STATUS % b"3.0.13-1~deb12u1")}
    assert (row["wasted_size"], row["paths"]) == (sum(hidden.values()), 3)
    with (
        tarfile.open(fileobj=io.BytesIO(BASE.blob)) as base,
        tarfile.open(fileobj=io.BytesIO(TOP.blob)) as top,
    ):
        copies = [(info.name, info.size) for opened in (base, top) for info in opened if info.isreg()]
    assert row["size"] == sum(size for _, size in copies)
    copies = [one for one in copies if ".wh." not in one[0]] + [("etc/motd", 6)]  # a deletion counts as a copy
    smallest: dict[str, int] = {}
    for path, size in copies:
        smallest[path] = min(size, smallest.get(path, size))
    assert row["efficiency"] == pytest.approx(sum(smallest.values()) / sum(size for _, size in copies))
    assert column(store.rows("images where waste.efficiency < 1 select name"), "name") == ["app:2"]


def test_differences(store: StoreSession) -> None:
    rows = store.rows("differences of app:1, app:2 select kind, change, key, aspects, growth")
    found = {(row["kind"], row["key"]): (row["change"], row["aspects"]) for row in rows}
    assert found["file", "/etc/motd"] == ("removed", None)
    assert found["file", "/srv/new"] == ("added", None)
    assert found["file", "/etc/passwd"] == ("changed", '["mode"]')
    assert found["package", "openssl (deb, amd64)"] == ("changed", None)
    assert found["env", "A"] == ("changed", None)
    assert found["config", "User"] == ("added", None)
    assert ("label", "team") not in found
    assert ("file", "/usr/bin/su") not in found
    growths = {row["key"]: row["growth"] for row in rows if row["kind"] == "file"}
    assert (growths["/etc/motd"], growths["/srv/new"]) == (-6, 4)


def test_an_image_does_not_differ_from_itself(store: StoreSession) -> None:
    assert store.rows("differences of app:2, app:2") == []


def test_differences_take_two_images(store: StoreSession) -> None:
    with pytest.raises(ImqError) as caught:
        store.rows("differences of app:1")
    assert "these are 1" in caught.value.message


def test_diff_can_ignore_times(tmp_path: pathlib.Path) -> None:
    layout = Layout(tmp_path / "store")
    for name, moment in (("a:1", 1_000_000_000), ("a:2", 1_100_000_000)):
        layout.add(Image([make_layer(member("x", b"same", mtime=moment))]), name)
    with StoreSession(tmp_path / "store") as session:
        everything = session.rows("diff a:1 a:2")
        assert {(row["kind"], row["aspects"]) for row in everything} == {("file", '["time"]'), ("layer", None)}
        assert {row["kind"] for row in session.rows("diff a:1 a:2 ignoring times")} == {"layer"}


def test_cat_writes_bytes_and_follows_links(root: str) -> None:
    assert imq(root, "cat app:2 /etc/os-release").stdout == OS_RELEASE.decode()
    assert imq(root, "cat app:2 /bin/../etc/passwd").stdout == "root:x:0:0\n"
    shown = subprocess.run(command(root, "cat app:2 /etc/zero"), capture_output=True, check=True).stdout
    assert shown == b"\0binary"


@pytest.mark.parametrize(
    ("path", "code"), [("/etc/motd", "no-such-file"), ("/etc", "not-a-file"), ("/nowhere/x", "no-such-file")]
)
def test_cat_of_what_is_no_file(store: StoreSession, path: str, code: str) -> None:
    with pytest.raises(ImqError) as caught:
        store.rows(f"cat app:2 {path}")
    assert caught.value.code == code


def test_a_loop_of_links_ends(tmp_path: pathlib.Path) -> None:
    layout = Layout(tmp_path / "store")
    layout.add(Image([make_layer(symlink("a", "b"), symlink("b", "/a"))]), "loop:1")
    with StoreSession(tmp_path / "store") as session, pytest.raises(ImqError) as caught:
        session.rows("cat loop:1 /a")
    assert "too many levels" in caught.value.message


def test_tree_shows_directories_with_what_is_below(root: str) -> None:
    shown = imq(root, "tree app:2 /etc").stdout.splitlines()
    assert shown == [
        "/etc  18B", "├── os-release -> ../usr/lib/os-release", "├── passwd  11B", "└── zero  7B",
    ]  # fmt: skip


def test_extract_to_a_folder(store: StoreSession, tmp_path: pathlib.Path) -> None:
    target = tmp_path / "out"
    store.do(f'extract files of app:2 where path like "/etc/*" or setuid to "{target}"')
    assert (target / "etc/passwd").read_bytes() == b"root:x:0:0\n"
    assert os.readlink(target / "etc/os-release") == "../usr/lib/os-release"
    assert stat.S_IMODE((target / "etc/passwd").stat().st_mode) == 0o600
    assert not (target / "etc/motd").exists()
    with pytest.raises(ImqError) as caught:
        store.rows(f'extract files of app:2 where setuid to "{target}"')
    assert caught.value.code == "exists"


def test_extract_to_an_archive(store: StoreSession, tmp_path: pathlib.Path) -> None:
    target = tmp_path / "out.tar.gz"
    (outcome,) = store.do(f'extract files of app:1 to "{target}"')
    assert outcome["note"] == "20 files"
    with tarfile.open(target) as opened:
        names = {os.fsencode(name) for name in opened.getnames()}
        assert {b"etc/passwd", b"srv/caf\xe9", b"usr/bin/su2", b"tmp"} <= names
        motd = opened.extractfile("etc/motd")
        assert motd is not None
        assert motd.read() == b"hello\n"


def test_a_deleted_file_is_recovered(store: StoreSession, tmp_path: pathlib.Path) -> None:
    store.do(f'extract all files of app:2 where path = /etc/motd and status = deleted to "{tmp_path / "out"}"')
    assert (tmp_path / "out/etc/motd").read_bytes() == b"hello\n"


def test_extract_of_the_same_path_in_two_layers(store: StoreSession, tmp_path: pathlib.Path) -> None:
    with pytest.raises(ImqError) as caught:
        store.rows(f'extract all files of app:2 where name = passwd to "{tmp_path / "out"}"')
    assert "several layers have /etc/passwd" in caught.value.message


def test_a_dry_run_writes_nothing(store: StoreSession, tmp_path: pathlib.Path) -> None:
    (planned,) = store.rows(f'extract files of app:2 where setuid to "{tmp_path / "out"}"', dry_run=True)
    assert (planned["action"], planned["note"]) == ("extract", "2 files")
    assert not (tmp_path / "out").exists()


def test_a_layer_is_scanned_once(root: str, tmp_path: pathlib.Path) -> None:
    import shutil

    copy = tmp_path / "store"
    shutil.copytree(root, copy)
    with StoreSession(copy) as session:
        session.rows("files of app:1 count")
    for blob in (copy / "blobs" / "sha256").iterdir():
        if blob.stat().st_size == len(BASE.blob):
            blob.unlink()
    with StoreSession(copy) as session:  # what the index has is not read again
        assert session.rows("files of app:1 where setuid count") == [{"count": 2}]


def test_a_large_sparse_file_has_its_digest_and_its_holes(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = 5_000_000
    (tmp_path / "sparse").write_bytes(b"")
    with open(tmp_path / "sparse", "r+b") as file:
        file.truncate(size)
        file.seek(size - 3)
        file.write(b"end")
    packed = subprocess.run(
        ["tar", "-S", "-C", tmp_path, "-cf", "-", "sparse"], capture_output=True, check=True
    ).stdout  # fmt: skip
    assert len(packed) < size
    layer = Layer(packed, "sha256:" + hashlib.sha256(packed).hexdigest(), LAYER_TYPES[""], size)
    Layout(tmp_path / "store").add(Image([layer]), "sparse:1")
    expected = hashlib.sha256(bytes(size - 3) + b"end").hexdigest()
    with StoreSession(tmp_path / "store") as session:
        (row,) = session.rows("files of sparse:1 select size, sha256")
        assert row == {"size": size, "sha256": f"sha256:{expected}"}
        blocks: list[int] = []
        write_folder = extract.write_folder

        def watch(layers: list[Any], *others: Any) -> Any:
            with layers[0].open() as archive:
                blocks.append(os.fstat(archive._file.fileno()).st_blocks)
            return write_folder(layers, *others)

        monkeypatch.setattr(extract, "write_folder", watch)
        session.do(f'extract files of sparse:1 to "{tmp_path / "out"}"')
    assert hashlib.sha256((tmp_path / "out/sparse").read_bytes()).hexdigest() == expected
    (archive_blocks,) = blocks
    assert archive_blocks * 512 < size // 2
    assert (tmp_path / "out/sparse").stat().st_blocks * 512 < size // 2


def test_stdout_takes_an_archive(root: str) -> None:
    arguments = command(root, 'extract files of app:2 where name = new to "/dev/stdout"')
    content = subprocess.run(arguments, capture_output=True, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:", ignore_zeros=True) as opened:
        assert opened.getnames() == ["srv/new"]


def test_layers_are_dropped_with_their_images(tmp_path: pathlib.Path) -> None:
    layout = Layout(tmp_path / "store")
    layout.add(Image([BASE]), "app:1")
    layout.add(Image([BASE, TOP]), "app:2")
    with StoreSession(tmp_path / "store") as session:
        session.rows("files count")
        (usage,) = session.rows('usage where type = "Index of Files"')
        assert (usage["total"], usage["active"], usage["reclaimable"]) == (2, 2, 0)
        session.do("rm app:2")
        (usage,) = session.rows('usage where type = "Index of Files"')
        assert (usage["total"], usage["active"]) == (1, 1)
        assert session.rows("files of app:1 where name = motd count") == [{"count": 1}]


def test_prune_trims_the_index_to_its_limit(tmp_path: pathlib.Path) -> None:
    from imq.engine.layer_index.scan import scan_layer

    layout = Layout(tmp_path / "store")
    layout.add(Image([BASE]), "app:1")
    with StoreSession(tmp_path / "store") as session:
        session.rows("files count")
        other = archive([member(f"elsewhere/{number}", b"x") for number in range(3_000)])
        scan_layer([other], str(tmp_path / "scan"))
        from imq.engine.store.file_index import open_file_index

        open_file_index(session.session._resources.store).add(str(tmp_path / "scan"), 1)
        (before,) = session.rows('usage where type = "Index of Files"')
        assert before["total"] == 2
        session.do("prune")
        assert session.rows('usage where type = "Index of Files"') == [before]
        list(session.session.run("set file_index = 100kB"))
        outcomes = session.outcomes("prune")
        assert outcomes[-1]["note"] == "including layers of the index of files"
        (after,) = session.rows('usage where type = "Index of Files"')
        assert (after["total"], after["active"]) == (1, 1)
        assert after["size"] < before["size"]


def test_a_path_through_a_loop_of_links_makes_its_image_unreadable(tmp_path: pathlib.Path) -> None:
    """The image cannot be unpacked. The others are read."""
    layout = Layout(tmp_path / "store")
    layout.add(Image([make_layer(symlink("a", "b"), symlink("b", "a"), member("a/x", b"1"))]), "loop:1")
    layout.add(Image([make_layer(member("y/x", b"1"))]), "sound:1")
    one = imq(tmp_path / "store", "files of loop:1 select path", code=3)
    assert one.stdout == ""
    assert "is damaged: /a leads through more than 40 symbolic links, in the entry at byte" in one.stderr
    every = imq(tmp_path / "store", 'images where contains file "*/x" select name as csv', code=3)
    assert every.stdout.splitlines()[1:] == ["sound:1"]
    assert "loop:1: the layer sha256:" in every.stderr
