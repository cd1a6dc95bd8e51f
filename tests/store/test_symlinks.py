"""Links, FIFOs and foreign files in a store: no file outside of it is changed or removed, and nothing blocks."""

from __future__ import annotations

import os
import shutil
import socket
import sqlite3
from typing import TYPE_CHECKING

import pytest
from imq.engine.oci import media_types
from imq.engine.oci.digest import Digest
from imq.engine.oci.manifest import Descriptor
from imq.engine.store.registry_cache import RegistryCache
from imq.grammar.errors import StoreError
from store.support.stores import StoreSession, blobs_in, check_store, entries_in, imq
from support.images import Image, Layout, layer, write_library

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

STATEMENTS = (("images", "count"), ("explain", "images"), ("tag", "redis:7", "as", "other:1"), ("prune",), ("reindex",))
FILES = ("oci-layout", "index.json", "lock", "index.db", "index.db-wal", "index.db-shm", "ingest/sweep")
FOLDERS = ("ingest", "blobs", "blobs/sha256")
PRECIOUS = b"what nobody may touch\n" * 100


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The path of a test's store; it is not checked at the end."""
    return tmp_path / "store"


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder of the user outside of the store, with files whose names imq also uses."""
    folder = tmp_path / "docs"
    folder.mkdir()
    for name in ("a.txt", "1234.1", "index.1.json", "1-0123456789ab.lease", "1-0123456789ab.1", "index.db"):
        (folder / name).write_bytes(PRECIOUS)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def plant(root: Path, name: str, target: Path) -> None:
    """Replace a file of the store by a link to `target`."""
    place = root / name
    place.parent.mkdir(exist_ok=True)
    if place.is_dir():
        shutil.rmtree(place)
    place.unlink(missing_ok=True)
    place.symlink_to(target)


@pytest.mark.parametrize("statement", STATEMENTS, ids=" ".join)
@pytest.mark.parametrize("name", FOLDERS)
def test_a_folder_that_is_a_link_is_refused(root: Path, outside: Path, name: str, statement: tuple[str, ...]) -> None:
    write_library(root)
    imq(root, "images")
    before = contents(outside)
    plant(root, name, outside)
    done = imq(root, *statement, code=None, timeout=30)
    assert contents(outside) == before
    if name == "ingest":
        assert done.returncode == 3
        assert f"error[unsafe-file]: {root}/ingest is a symbolic link, expected a directory" in done.stderr


@pytest.mark.parametrize("statement", STATEMENTS, ids=" ".join)
@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_a_link_is_refused(root: Path, outside: Path, name: str, statement: tuple[str, ...]) -> None:
    write_library(root)
    imq(root, "images")
    target = outside / ("index.db" if statement[0] == "images" else "missing")
    before = contents(outside)
    plant(root, name, target)
    done = imq(root, *statement, code=None, timeout=30)
    assert contents(outside) == before
    assert (done.returncode, "error[unsafe-file]" in done.stderr) in ((3, True), (0, False))
    if name in ("oci-layout", "index.json", "index.db", "index.db-wal"):
        assert f"{root}/{name} is a symbolic link, expected a regular file" in done.stderr


def test_every_statement_rejects_a_link(root: Path, outside: Path, tmp_path: Path) -> None:
    write_library(root)
    Layout(tmp_path / "source").add(Image([layer({"new": b"new"})]), "new:1")
    plant(root, "ingest", outside)
    before = contents(outside)
    for words in (("load", str(tmp_path / "source")), ("import", str(tmp_path / "source"), "as", "tree:1")):
        done = imq(root, *words, code=3)
        assert "error[unsafe-file]" in done.stderr
    assert contents(outside) == before


def test_a_hard_linked_database_is_not_written(root: Path, tmp_path: Path) -> None:
    """A file with a second hard link: the store uses a new file instead."""
    write_library(root)
    before = imq(root, "images", "as", "json").stdout
    for name in ("index.db", "remote.db"):
        theirs = tmp_path / f"their {name}"
        with sqlite3.connect(theirs) as connection:
            connection.execute("CREATE TABLE mine (a)")
        connection.close()
        content = theirs.read_bytes()
        (root / name).unlink(missing_ok=True)
        os.link(theirs, root / name)
        assert imq(root, "images", "as", "json").stdout == before
        assert theirs.read_bytes() == content
    check_store(root)


def test_a_hard_linked_partial_blob_is_not_resumed(root: Path, opened: Callable[..., StoreSession]) -> None:
    write_library(root)
    content = os.urandom(700_000)
    described = Descriptor(media_types.OCI_CONFIG, Digest.of(content), len(content))
    theirs = root.with_name("theirs")
    theirs.write_bytes(content[:1000])
    store = opened(root)
    with store.session.store.start_ingest() as ingest:
        os.link(theirs, root / "ingest" / f"sha256-{described.digest.encoded}.1-0123456789ab.1.part")
        assert ingest.partial_size(described) == 0
    assert theirs.read_bytes() == content[:1000]


def test_a_rollback_journal_is_never_played_back(root: Path, tmp_path: Path) -> None:
    """A journal may name any file as its super-journal; SQLite removes that file."""
    precious = tmp_path / "precious"
    precious.write_bytes(b"\0")
    write_library(root)
    before = imq(root, "images", "as", "json").stdout
    name = os.fsencode(precious)
    page = 4096
    content = bytes.fromhex("d9d505f920a163d7") + (0).to_bytes(4, "big") + bytes(4) + (1).to_bytes(4, "big")
    content += (512).to_bytes(4, "big") + page.to_bytes(4, "big")
    content = content.ljust(512, b"\0")
    content += ((1 << 30) // page + 1).to_bytes(4, "big") + name + len(name).to_bytes(4, "big")
    content += (sum(name) & 0xFFFFFFFF).to_bytes(4, "big") + bytes.fromhex("d9d505f920a163d7")
    for database in ("index.db", "remote.db"):
        (root / f"{database}-journal").write_bytes(content)
    assert imq(root, "images", "as", "json").stdout == before
    assert not (root / "index.db-journal").exists()
    assert precious.exists()


@pytest.mark.parametrize("name", ["index.db", "remote.db"])
def test_a_link_planted_after_the_check_is_noticed_before_reading(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Another user of the folder can create a link between the check by imq and the open by SQLite."""
    write_library(root)
    imq(root, "images")
    theirs = tmp_path / "theirs.db"
    with sqlite3.connect(theirs) as connection:
        connection.execute("CREATE TABLE mine (a)")
    connection.close()
    content = theirs.read_bytes()
    plant(root, name, theirs)
    for module in ("index", "attached_database"):
        monkeypatch.setattr(f"imq.engine.store.{module}.has_database", lambda *_, **_options: True)
    with StoreSession(root) as held, pytest.raises(StoreError) as raised:
        RegistryCache(held.session.store.index.connection, held.session.store.layout)
    assert raised.value.code == "unsafe-file"
    assert theirs.read_bytes() == content
    assert [path.name for path in tmp_path.glob("theirs*")] == ["theirs.db"]


def test_the_registry_cache_is_not_written_through_a_link(root: Path, outside: Path) -> None:
    write_library(root)
    imq(root, "images")
    before = contents(outside)
    for target in (outside / "index.db", outside / "missing"):
        plant(root, "remote.db", target)
        done = imq(root, "tags of 127.0.0.1:1/x", code=3, timeout=60)
        assert f"error[unsafe-file]: {root}/remote.db is a symbolic link" in done.stderr
        assert contents(outside) == before


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("kind", ["fifo", "socket", "folder"])
def test_a_file_of_another_type_is_rejected_at_once(
    root: Path, name: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_library(root)
    imq(root, "images")
    place = root / name
    place.parent.mkdir(exist_ok=True)
    place.unlink(missing_ok=True)
    if kind == "fifo":
        os.mkfifo(place)
    elif kind == "folder":
        place.mkdir()
    else:
        monkeypatch.chdir(place.parent)  # names of sockets are short
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(place.name)
    done = imq(root, "rm", "redis:7", code=3, timeout=30)
    assert f"error[unsafe-file]: {root}/{name} is a" in done.stderr
    done = imq(root, "images", code=None, timeout=30)
    assert (done.returncode, "error[unsafe-file]" in done.stderr) in ((3, True), (0, False)), done


@pytest.mark.parametrize("kind", ["link", "fifo"])
def test_a_blob_that_is_not_a_regular_file_is_not_read(root: Path, tmp_path: Path, kind: str) -> None:
    made = Image([layer({"own": b"own"})])
    Layout(root).add(made, "own:1")
    digest = made.layers[0].digest
    blob = root / "blobs" / "sha256" / digest.removeprefix("sha256:")
    blob.rename(tmp_path / "blob")
    if kind == "link":
        blob.symlink_to(tmp_path / "blob")
    else:
        os.mkfifo(blob)
    for words in (("verify", "own:1"), ("save", "own:1", "to", str(tmp_path / "out.tar"))):
        done = imq(root, *words, code=None, timeout=30)
        assert done.returncode in (1, 3)
        assert "unsafe-file" in done.stderr + done.stdout or "expected a regular file" in done.stderr + done.stdout
    imq(root, "rm", "own:1")
    assert (tmp_path / "blob").exists()
    assert not os.path.lexists(blob)


def test_only_files_of_imq_are_removed_from_ingest(root: Path) -> None:
    write_library(root)
    imq(root, "images")
    ingest = root / "ingest"
    ingest.mkdir(exist_ok=True)
    mine = ("notes.txt", "1234.1", "index.1.json", "a.lease", "1-2.room", "report.part", "x.damaged", ".hidden", "2024")
    left = ("17-0123456789ab.lease", "17-0123456789ab.room", "17-0123456789ab.3", "17-0123456789ab.new")
    for name in (*mine, *left):
        (ingest / name).write_bytes(b"x")
    (ingest / "folder").mkdir()
    for statement in STATEMENTS:
        imq(root, *statement)
    kept = {*mine, "folder"}
    assert kept <= set(os.listdir(ingest))
    assert not set(left) & set(os.listdir(ingest))
    assert blobs_in(root)


def test_invalid_leases_and_claims_are_ignored(root: Path, tmp_path: Path) -> None:
    """Leases and claims without digests, which only other programs write, are not an error."""
    write_library(root)
    ingest = root / "ingest"
    ingest.mkdir(exist_ok=True)
    (ingest / "1-0123456789ab.room").write_bytes(b"\xff\xfe ../../x 12\nsha256:1 -5\n\n \n")
    (ingest / "1-0123456789ab.lease").write_bytes(b"\xff ../../../etc\n")
    (ingest / "sha256-zz.1.1.part").write_bytes(b"x")
    Layout(tmp_path / "source").add(Image([layer({"new": b"new"})]), "new:1")
    imq(root, "--set", "quota=1GB", "load", str(tmp_path / "source"))
    imq(root, "images")
    imq(root, "prune")


def test_the_path_to_the_root_may_be_a_link(root: Path, tmp_path: Path) -> None:
    write_library(root)
    (tmp_path / "link").symlink_to(root)
    imq(tmp_path / "link", "tag", "redis:7", "as", "other:1")
    check_store(root)
    assert imq(tmp_path / "link", "images", "as", "json").stdout == imq(root, "images", "as", "json").stdout


@pytest.mark.parametrize("name", ["a b", "50%41", "what?", "c#sharp", "ünï", "x'y"])
def test_a_root_may_have_any_name(tmp_path: Path, name: str) -> None:
    root = tmp_path / name
    write_library(root)
    imq(root, "images")
    assert (root / "index.db").stat().st_size > 0
    check_store(root)


def test_a_store_replaced_between_two_statements_is_reopened(
    root: Path, tmp_path: Path, opened: Callable[..., StoreSession]
) -> None:
    write_library(root)
    store = opened(root)
    before = store.names()
    root.rename(tmp_path / "old")
    Layout(root).add(Image([layer({"new": b"new"})]), "new:1")
    store.do("tag new:1 as new:2")
    assert {entry["annotations"]["org.opencontainers.image.ref.name"] for entry in entries_in(root)} == {
        "new:1",
        "new:2",
    }
    assert before
