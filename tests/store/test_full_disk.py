"""On a disk without free bytes or inodes, queries work and images can be removed."""

from __future__ import annotations

import hashlib
import os
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from store.support.small_filesystem import fill, fill_names, small_disk
from store.support.stores import blobs_in, check_store, entries_in, imq, list_ingest
from support.images import Image, Layout, layer, write_library

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

KINDS = ("bytes", "names", "both")
OWN = Image([layer({"own": os.urandom(200_000)})])


@contextmanager
def full(folder: Path, kind: str, prepare: Callable[[Path], None] | None = None) -> Iterator[Path]:
    """Yield a store on a disk without free bytes, without free inodes, or both; `prepare` runs before."""
    with small_disk(folder, "size=4m,nr_inodes=400"):
        root = folder / "store"
        write_library(root)
        imq(root, "import", str(_tree(folder)), "as", "tree:1")
        imq(root, "images")
        if prepare is not None:
            prepare(root)
        if kind != "names":
            fill(folder / "filler")
        if kind != "bytes":
            fill_names(folder / "many")
        yield root


def _tree(folder: Path) -> Path:
    tree = folder / "tree"
    tree.mkdir()
    (tree / "file").write_bytes(os.urandom(100_000))
    return tree


def names(root: Path) -> set[str]:
    return set(imq(root, "images where not dangling select name as ids").stdout.split())


def named(root: Path) -> set[str]:
    """Return the names in index.json."""
    key = "org.opencontainers.image.ref.name"
    return {entry["annotations"][key] for entry in entries_in(root) if key in entry.get("annotations", {})}


@pytest.mark.parametrize("kind", KINDS)
def test_removing_an_image_frees_space_on_a_full_disk(tmp_path: Path, kind: str) -> None:
    with full(tmp_path / "small", kind) as root:
        before, blobs = named(root), blobs_in(root)
        imq(root, "rm", "tree:1")
        assert named(root) == before - {"tree:1"}
        assert len(blobs_in(root)) < len(blobs)
        imq(root, "verify", "all", code=None)
        assert (root / "ingest" / "reserve").stat().st_size >= 65536
        check_store(root)


@pytest.mark.parametrize("kind", KINDS)
def test_names_can_be_removed_one_by_one_on_a_full_disk(tmp_path: Path, kind: str) -> None:
    """This frees no space, so the reserve must not be used up."""
    with full(tmp_path / "small", kind) as root:
        for name in sorted(named(root)):
            imq(root, "untag", name)
            assert name not in named(root)
        assert named(root) == set()
        imq(root, "prune")
        imq(root, "images")
        check_store(root)


@pytest.mark.parametrize("kind", KINDS)
def test_prune_removes_what_a_killed_ingest_left(tmp_path: Path, kind: str) -> None:
    content = b"nothing reaches this"
    blob = hashlib.sha256(content).hexdigest()

    def leave(root: Path) -> None:
        (root / "ingest" / "17-0123456789ab.lease").touch()
        (root / "ingest" / "17-0123456789ab.1").write_bytes(b"x" * 1000)
        (root / "blobs" / "sha256" / blob).write_bytes(content)

    with full(tmp_path / "small", kind, leave) as root:
        imq(root, "prune")
        assert list_ingest(root) == set()
        assert f"sha256:{blob}" not in blobs_in(root)
        check_store(root)


@pytest.mark.parametrize("kind", KINDS)
def test_queries_work_when_leftovers_cannot_be_removed(tmp_path: Path, kind: str) -> None:
    def leave(root: Path) -> None:
        (root / "ingest" / "17-0123456789ab.lease").touch()
        for name in ("index.db", "index.db-wal", "index.db-shm"):
            (root / name).unlink(missing_ok=True)

    with full(tmp_path / "small", kind, leave) as root:
        assert "tree:1" in names(root)
        imq(root, "rm", "tree:1")
        assert "tree:1" not in names(root)


def test_writes_do_not_use_the_reserve(tmp_path: Path) -> None:
    with full(tmp_path / "small", "both") as root:
        before = (root / "ingest" / "reserve").read_bytes()
        done = imq(root, "tag", "redis:7", "as", "other:1", code=3)
        assert "error[no-space]" in done.stderr
        assert "imq prune" in done.stderr
        assert (root / "ingest" / "reserve").read_bytes() == before
        assert "other:1" not in named(root)


def test_the_reserve_grows_with_the_index(root: Path) -> None:
    layout = Layout(root)
    for number in range(300):
        layout.add(OWN, f"a-name-that-is-rather-long/of-an-image-that-has-many/{number}:1")
    imq(root, "tag", "a-name-that-is-rather-long/of-an-image-that-has-many/1:1", "as", "own:1")
    assert (root / "index.json").stat().st_size > 65536
    assert (root / "ingest" / "reserve").stat().st_size > (root / "index.json").stat().st_size
    about = (root / "ingest" / "reserve").stat()
    assert about.st_blocks * 512 >= about.st_size


def test_a_reserve_with_a_second_hard_link_is_not_written(tmp_path: Path) -> None:
    theirs = tmp_path / "small" / "tree" / "file"
    content = os.urandom(80_000)

    def plant(root: Path) -> None:
        theirs.write_bytes(content)
        os.unlink(root / "ingest" / "reserve")
        os.link(theirs, root / "ingest" / "reserve")

    with full(tmp_path / "small", "names", plant) as root:
        imq(root, "rm", "tree:1", code=None)
        assert theirs.read_bytes() == content


@pytest.mark.parametrize("statement", [["rm", "own:1"], ["rm", "images where name = own:1"], ["prune"]])
@pytest.mark.parametrize("has_ingest", [True, False])
def test_a_store_of_another_tool_without_a_reserve_can_be_emptied(
    tmp_path: Path, statement: list[str], *, has_ingest: bool
) -> None:
    with small_disk(tmp_path / "small", "size=4m,nr_inodes=400"):
        root = tmp_path / "small" / "store"
        layout = Layout(root)
        other = layout.add(Image([layer({"other": os.urandom(20_000)}), *OWN.layers[:1]]), "other:1")
        layout.add(OWN, *([] if statement == ["prune"] else ["own:1"]))
        own = layout.add(Image([layer({"more": os.urandom(50_000)})]), *([] if statement == ["prune"] else ["more:1"]))
        if has_ingest:
            (root / "ingest").mkdir()
        fill(tmp_path / "small" / "filler")
        imq(root, *statement)
        gone = own if statement == ["prune"] else OWN
        assert gone.digest not in blobs_in(root)
        assert set(other.blobs) <= set(blobs_in(root))
        assert "other:1" in named(root)
        assert "own:1" not in named(root)
        imq(root, "verify", "all")


@pytest.mark.parametrize(("kind", "has_index"), [("bytes", False), ("names", False), ("both", True)])
def test_a_name_can_be_removed_without_a_reserve(tmp_path: Path, kind: str, *, has_index: bool) -> None:
    """Nothing but the index can be removed to free space, and without it index.json is overwritten."""
    with small_disk(tmp_path / "small", "size=4m,nr_inodes=400"):
        root = tmp_path / "small" / "store"
        layout = Layout(root)
        blobs = {**layout.add(OWN, "own:1").blobs, **layout.add(Image([layer({"other": b"x"})]), "other:1").blobs}
        if has_index:
            imq(root, "images")
            (root / "ingest" / "reserve").unlink()
            (root / "ingest").rmdir()
        if kind != "names":
            fill(tmp_path / "small" / "filler")
        if kind != "bytes":
            fill_names(tmp_path / "small" / "many")
        imq(root, "untag", "own:1")
        assert named(root) == {"other:1"}
        assert names(root) == {"other:1"}
        assert set(blobs) <= set(blobs_in(root))
        imq(root, "prune")
        assert set(OWN.blobs).isdisjoint(blobs_in(root))
        imq(root, "rm", "other:1")
        assert blobs_in(root) == {}
        check_store(root)


def test_a_long_list_of_images_is_not_overwritten_in_place(tmp_path: Path) -> None:
    """A crash in between would leave neither the old list nor the new one."""
    with small_disk(tmp_path / "small", "size=4m,nr_inodes=400"):
        root = tmp_path / "small" / "store"
        layout = Layout(root)
        for number in range(40):
            layout.add(OWN, f"own:{number}")
        fill(tmp_path / "small" / "filler")
        before = (root / "index.json").read_bytes()
        done = imq(root, "untag", "own:0", code=3)
        assert "error[no-space]" in done.stderr
        assert (root / "index.json").read_bytes() == before
        imq(root, "untag", "own:39")
        assert named(root) == {f"own:{number}" for number in range(39)}


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: os.symlink("elsewhere", path), os.mkdir])
def test_a_reserve_that_is_not_a_file_does_not_block_removal(tmp_path: Path, make: Callable[[Path], None]) -> None:
    root = tmp_path / "store"
    write_library(root)
    imq(root, "images")
    (root / "ingest" / "reserve").unlink()
    make(root / "ingest" / "reserve")
    imq(root, "rm", "plain:1")
    assert "plain:1" not in named(root)
    imq(root, "tag", "redis:7", "as", "other:1")
    assert "other:1" in named(root)


def test_on_ext4(tmp_path: Path) -> None:
    """A file system where overwriting a file needs no new blocks."""
    image, folder = tmp_path / "disk", tmp_path / "small"
    folder.mkdir()
    image.write_bytes(b"")
    os.truncate(image, 8 << 20)
    made = subprocess.run(["mkfs.ext4", "-q", "-N", "200", "-m", "0", image], capture_output=True, check=False)
    if made.returncode or subprocess.run(["mount", "-o", "loop", image, folder], check=False).returncode:
        pytest.skip("no ext4 can be mounted here")
    try:
        root = folder / "store"
        write_library(root)
        for tag in ("one:1", "two:1"):
            imq(root, "tag", "redis:7", "as", tag)
        fill(folder / "filler")
        fill_names(folder / "many")
        imq(root, "untag", "one:1")
        imq(root, "rm", "redis:7")
        imq(root, "rm", "two:1")
        imq(root, "prune")
        check_store(root)
    finally:
        subprocess.run(["umount", "-l", folder], check=True)
