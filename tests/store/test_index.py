"""The index is derived from the layout: whatever happens to either, results are those of the layout."""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import shutil
import sqlite3
import tarfile
from typing import TYPE_CHECKING, Any

import pytest
from imq.engine.result import RowSet
from imq.engine.store.index_schema import VERSION
from store.support.stores import StoreSession, blobs_in, entries_in, imq, run
from support.images import Image, Layer, Layout, layer, write_library

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

BASE = layer({"base": b"base" * 1000})
ODD = Image(
    [BASE, BASE, layer({}), layer({"a": b"", "b": b"x" * 4097}, "gzip")],
    "2024-02-29T23:59:59.123456789+05:30",
    {"os": "windows", "architecture": "amd64", "os.version": "10.0.20348.2700", "variant": "v2"},
    labels={"quote'\"": "line\nbreak", "ключ": "значение", "empty": "", "half": "\ud800"},
    env=["A=1", "B", "C=x=y", "A=2"],
    settings={
        "User": "1000:1000", "Entrypoint": ["/a b", "ü"], "Cmd": [], "WorkingDir": "/x", "StopSignal": "SIGINT",
        "ExposedPorts": {"80/tcp": {}, "53/udp": {}}, "Volumes": {"/data": {}},
        "Healthcheck": {"Test": ["CMD", "true"]},
    },
    annotations={"a.b/c": "d"},
    changes={"author": "Ann <ann@example.org>"},
)  # fmt: skip
BARE = Image([], None, {}, changes={"history": None, "config": None})


@pytest.fixture
def full(root: Path, made: dict[str, Image]) -> dict[str, Image]:
    """A store after all kinds of changes, with unusual images too."""
    with StoreSession(root) as held:
        held.do("tag plain:1 as redis:7")
        held.do("untag team/app:3")
        held.do("rm team/app:2")
    layout = Layout.__new__(Layout)
    layout.folder, layout.entries = os.fspath(root), entries_in(root)
    layout.add(ODD, "odd:1", "library.example.org/odd/one:v1.2-3_4")
    layout.add(BARE, "bare:1")
    layout.add_index([made["edge/agent:1"], made["plain:1"]], "multi:1", absent=[Image([BASE])])
    return made


@pytest.mark.usefixtures("full")
def test_reindex_gives_the_same_answers(store: StoreSession, root: Path) -> None:
    before = store.dump_tables()
    assert len(before["images"]) == 16
    assert len(before["layers"]) > 20
    assert len(before["history"]) > 30
    (outcome,) = store.do("reindex")
    assert outcome["note"] == "11 images"
    assert store.dump_tables() == before
    store.close()
    (root / "index.db").unlink()
    assert store.dump_tables() == before


@pytest.mark.usefixtures("made")
def test_a_rebuilt_index_recognizes_the_index_json_that_imq_wrote(store: StoreSession, root: Path) -> None:
    """Its text is edited as it is; that of another tool gets a line for each entry first."""
    store.do("tag redis:7 as other:1")
    store.do("reindex")
    store.close()
    with StoreSession(root) as again:
        again.names()
        layout = again.session.store.layout
        assert layout.own_signature == layout.read_signature()
        foreign = json.dumps(json.loads((root / "index.json").read_text()), indent=1)
        (root / "index.json").write_text(foreign)
        again.do("reindex")
        assert layout.own_signature != layout.read_signature()
        again.do("tag redis:7 as other:2")
        assert layout.own_signature == layout.read_signature()


def test_odd_images_are_read_as_they_are(store: StoreSession, root: Path) -> None:
    layout = Layout(root)
    layout.add(ODD, "odd:1")
    layout.add(BARE, "bare:1")
    (odd,) = store.rows("images where name = odd:1 select * as json")
    assert odd["size"] == ODD.size == 4000 * 2 + 4097
    assert odd["created"] == 1709231399123456789
    assert (odd["os_version"], odd["variant"], odd["author"]) == ("10.0.20348.2700", "v2", "Ann <ann@example.org>")
    assert json.loads(odd["label"]) == {"quote'\"": "line\nbreak", "ключ": "значение", "empty": "", "half": "\ufffd"}
    assert json.loads(odd["env"]) == {"A": "2", "B": "", "C": "x=y"}
    assert json.loads(odd["ports"]) == ["53/udp", "80/tcp"]
    assert odd["layer_count"] == 4
    assert odd["unique_size"] + odd["shared_size"] == odd["size"]
    (bare,) = store.rows("images where name = bare:1 select * as json")
    assert (bare["size"], bare["created"], bare["platform"], bare["layer_count"]) == (0, None, None, 0)
    assert [row["size"] for row in store.rows("layers of odd:1 select * as json")] == [4000, 4000, 0, 4097]


@pytest.mark.parametrize(
    "spoil", ["delete", "delete with log", "garbage", "cut", "empty", "pages", "version", "tables"]
)
@pytest.mark.usefixtures("full")
def test_a_corrupt_index_is_rebuilt(store: StoreSession, root: Path, spoil: str) -> None:
    before = store.dump_tables()
    store.close()
    path = root / "index.db"
    if spoil == "delete":
        path.unlink()
    elif spoil == "delete with log":  # the log of a process that was killed
        with sqlite3.connect(path) as killed:
            killed.execute("DELETE FROM entry")
            killed.execute("DELETE FROM stack")
            killed.commit()
            shutil.copy(f"{path}-wal", root / "kept")
        killed.close()
        path.unlink()
        (root / "kept").rename(f"{path}-wal")
    elif spoil in ("garbage", "empty"):
        path.write_bytes(b"no database at all\n" * 1000 if spoil == "garbage" else b"")
    elif spoil == "cut":
        path.write_bytes(path.read_bytes()[: 3 * 4096 + 100])
    elif spoil == "pages":
        whole = path.read_bytes()
        path.write_bytes(whole[:4096] + b"\xff" * (len(whole) - 4096))
    else:
        with sqlite3.connect(path) as other:
            other.execute("PRAGMA user_version = 999" if spoil == "version" else "DROP TABLE stack")
        other.close()
        if spoil == "tables":
            store.do("reindex")
    assert store.dump_tables() == before
    assert store.do("reindex")
    assert store.dump_tables() == before


@pytest.mark.usefixtures("full")
def test_reindex_repairs_an_index_that_was_corrupted_while_open(store: StoreSession, root: Path) -> None:
    before = store.dump_tables()
    size = (root / "index.db").stat().st_size
    with open(root / "index.db", "r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (size - 4096))
    store.close()
    assert store.do("reindex")
    assert store.dump_tables() == before


def test_the_folder_can_be_moved_and_copied(store: StoreSession, made: dict[str, Image], root: Path) -> None:
    before = store.dump_tables()
    store.close()
    os.rename(root, root.with_name("moved"))
    with StoreSession(root.with_name("moved")) as moved:
        assert moved.dump_tables() == before
        moved.do("rm redis:7")
    shutil.copytree(root.with_name("moved"), root)
    with StoreSession(root) as copied:
        assert "redis:7" not in copied.names()
        copied.do("rm redis:latest")
    with StoreSession(root.with_name("moved")) as moved:
        assert "redis:latest" in moved.names()
    assert made


def test_an_index_json_of_the_same_size_and_another_content_is_noticed(store: StoreSession, root: Path) -> None:
    layout = Layout(root)
    layout.add(Image([BASE]), "app:1")
    assert store.names() == ["app:1"]
    layout.entries[0]["annotations"] = {"org.opencontainers.image.ref.name": "app:2"}
    layout.close()
    assert store.names() == ["app:2"]


def test_two_open_stores_see_each_others_changes(store: StoreSession, made: dict[str, Image], root: Path) -> None:
    with StoreSession(root) as other:
        before = other.names()
        store.do("tag redis:7 as mine:1")
        assert other.names() == sorted([*before, "mine:1"], key=lambda name: name or "")
        other.do("rm mine:1")
        assert store.names() == before
    assert made


@pytest.mark.usefixtures("made")
def test_a_process_that_waited_does_not_restore_old_rows(root: Path, opened: Callable[..., StoreSession]) -> None:
    """A process that read index.json before it waited for another writer must not restore old rows in the index."""
    slow, quick = opened(root), opened(root)
    slow.names()
    layout = slow.session.store.layout
    read, asked = layout.read_entries, 0

    def reading() -> object:
        nonlocal asked
        asked += 1
        with (
            contextlib.closing(sqlite3.connect(root / "index.db", timeout=0)) as other,
            pytest.raises(sqlite3.OperationalError, match="locked"),
        ):
            other.execute("BEGIN IMMEDIATE")
        return read()

    layout.read_entries = reading  # type: ignore[method-assign,assignment]
    quick.do("rm redis:7")
    os.utime(root / "index.json")  # whoever looks now must read it again
    assert "redis:7" not in slow.names()
    assert asked == 1


def test_restored_blobs_are_noticed(store: StoreSession, made: dict[str, Image], root: Path) -> None:
    image = made["redis:7"]
    path = root / "blobs" / "sha256" / image.id[7:]
    path.unlink()
    assert store.failure_code("reindex") == "unreadable"
    assert store.rows("images where name = redis:7 select id, created, layer_count") == [
        {"id": None, "created": None, "layer_count": None}
    ]
    source = root.with_name("source")
    Layout(source).add(image, "redis:7")
    store.do(f'load "{source}"')
    assert store.rows("images where name = redis:7 select id") == [{"id": image.id}]


# Other people's tools


def test_images_added_by_skopeo_are_noticed(store: StoreSession, made: dict[str, Image], root: Path) -> None:
    write_library(root.with_name("source"))
    before = store.names()
    run("skopeo", "copy", f"oci:{root.with_name('source')}:redis:7", f"oci:{root}:added:1")
    run("skopeo", "copy", f"oci:{root.with_name('source')}:plain:1", f"oci:{root}:redis:latest")
    assert set(store.names()) == {*before, "added:1"}
    (moved,) = store.rows("images where name = redis:latest select layer_count, size")
    assert moved == {"layer_count": 1, "size": made["plain:1"].size}
    store.do("rm added:1")
    store.do("prune")


def test_a_layout_made_by_skopeo_opens(store: StoreSession, root: Path) -> None:
    source = root.with_name("source")
    made = write_library(source)
    run("skopeo", "copy", f"oci:{source}:redis:7", f"oci:{root}:redis:7")
    (row,) = store.rows("images select name, size, label.maintainer")
    assert list(row.values()) == ["redis:7", made["redis:7"].size, "redis"]
    store.do("tag redis:7 as kept:1")
    store.do("rm redis:7")
    store.do("rm kept:1")
    assert blobs_in(root) == {}


def test_the_first_statement_on_a_skopeo_layout_may_be_prune_or_import(root: Path) -> None:
    source = root.with_name("source")
    write_library(source)
    run("skopeo", "copy", f"oci:{source}:redis:7", f"oci:{root}:redis:7")
    imq(root, "import", str(source), "as", "tree:1")
    imq(root, "prune")
    with StoreSession(root) as held:
        assert held.names() == ["redis:7", "tree:1"]


def test_a_layout_made_by_umoci_opens(store: StoreSession, root: Path) -> None:
    (root.parent / "file").write_bytes(b"inserted" * 100)
    run("umoci", "init", "--layout", str(root))
    run("umoci", "new", "--image", f"{root}:made")
    run("umoci", "insert", "--rootless", "--image", f"{root}:made", str(root.parent / "file"), "/etc/file")
    run("umoci", "config", "--image", f"{root}:made", "--config.label", "env=prod", "--config.cmd", "sh")
    (row,) = store.rows("images select name, size, layer_count, label.env")
    assert list(row.values()) == ["made", 800, 1, "prod"]
    store.do("tag made as team/made:1")
    assert sorted(run("umoci", "ls", "--layout", str(root)).split()) == ["made", "team/made:1"]
    store.do("prune")  # umoci leaves the manifests and configs of its earlier steps


# Damage


def spoil(path: Path, how: str) -> None:
    """Corrupt an index that is not open."""
    content = path.read_bytes()
    if how == "an empty file":
        path.write_bytes(b"")
    elif how == "foreign tables":
        path.unlink()
        with sqlite3.connect(path) as other:
            other.executescript(
                f"CREATE TABLE image (x); CREATE TABLE meta (key, value); PRAGMA user_version = {VERSION}"
            )
        other.close()
    elif how == "no tables":
        path.unlink()
        with sqlite3.connect(path) as other:
            other.execute(f"PRAGMA user_version = {VERSION}")
        other.close()
    elif how.startswith("cut at"):
        path.write_bytes(content[: len(content) * int(how[7:]) // 100])
    elif how.startswith("flipped"):
        flips = random.Random(int(how[8:]))
        changed = bytearray(content)
        for _ in range(200):
            changed[flips.randrange(4096, len(changed))] ^= 1 << flips.randrange(8)
        path.write_bytes(changed)
    else:
        with sqlite3.connect(path) as other:
            other.execute(f"DROP {how}")
        other.close()


SPOILT = [
    "an empty file", "foreign tables", "no tables", "TABLE entry", "TABLE meta", "TABLE image", "TABLE unreadable",
    "VIEW images", "VIEW reach", "INDEX entry_name", "TRIGGER image_summed", "cut at 10", "cut at 50", "cut at 99",
]  # fmt: skip


@pytest.mark.parametrize("how", SPOILT)
@pytest.mark.usefixtures("full")
def test_a_query_repairs_the_index(store: StoreSession, root: Path, how: str) -> None:
    before = store.dump_tables()
    store.close()
    spoil(root / "index.db", how)
    assert store.dump_tables() == before
    store.do("verify all")
    store.close()
    spoil(root / "index.db", how)
    store.do("tag plain:1 as again:1")
    store.do("rm again:1")
    assert store.dump_tables() == before


@pytest.mark.parametrize("how", [*SPOILT, *(f"flipped {seed}" for seed in range(8))])
@pytest.mark.usefixtures("full")
def test_reindex_repairs_the_index(store: StoreSession, root: Path, how: str) -> None:
    before = store.dump_tables()
    store.close()
    spoil(root / "index.db", how)
    store.do("reindex")
    assert store.dump_tables() == before


@pytest.mark.parametrize("name", ["entry", "image", "stack", "meta", "unreadable"])
@pytest.mark.usefixtures("full")
def test_a_query_repairs_an_index_that_another_process_corrupted(store: StoreSession, root: Path, name: str) -> None:
    before = store.dump_tables()
    with sqlite3.connect(root / "index.db") as other:
        other.execute(f"DROP TABLE {name}")
    other.close()
    assert store.dump_tables() == before
    with sqlite3.connect(root / "index.db") as other:
        other.execute(f"DROP TABLE {name}")
    other.close()
    store.do("tag plain:1 as again:1")
    store.do("rm again:1")
    assert store.dump_tables() == before


def test_a_wrong_index_does_not_cause_needed_blobs_to_be_collected(
    store: StoreSession, root: Path, made: dict[str, Image]
) -> None:
    store.rows("images")
    layout = Layout.__new__(Layout)
    layout.folder = os.fspath(root)
    lost = layout.blob(b"a blob that nothing reaches")
    with sqlite3.connect(root / "index.db") as other:
        other.execute("DELETE FROM reaching")
    other.close()
    store.do("prune")
    assert lost not in blobs_in(root)
    assert set(made["redis:7"].blobs) <= set(blobs_in(root))
    assert set(store.names()) >= made.keys() - {"dangling", "tool"}
    store.do("verify all")


@pytest.mark.parametrize("statement", ["rm first:1", 'rm images where name = "first:1"', "rm third:1"])
def test_blobs_missing_from_the_index_are_not_removed_with_another_image(
    store: StoreSession, root: Path, statement: str
) -> None:
    images = {name: Image([BASE, layer({name: name.encode()})]) for name in ("first:1", "second:1")}
    layout = Layout(root)
    for name, image in images.items():
        layout.add(image, name)
    layout.add_index([images["second:1"]], "third:1")
    store.rows("images")
    with sqlite3.connect(root / "index.db") as other:
        second = "SELECT key FROM descriptor WHERE digest = ?"
        other.execute(f"DELETE FROM reaching WHERE root = ({second})", (images["second:1"].digest,))
    other.close()
    store.do(statement)
    assert set(images["second:1"].blobs) <= set(blobs_in(root))
    store.do("verify all")


# An index that came with the store


ENDLESS = (
    "WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers)"
    " SELECT 'signature' AS key, max(n) AS value FROM numbers"
)
CRAFTED = {
    "a view in place of a table": f"DROP TABLE meta; CREATE VIEW meta AS {ENDLESS}",
    "a view in place of our view": f"DROP VIEW images; CREATE VIEW images AS {ENDLESS}",
    "a trigger": "CREATE TRIGGER more AFTER INSERT ON entry BEGIN UPDATE entry SET root = 'x'; END",
    "a table more": "CREATE TABLE more (x)",
    "another version": f"DROP TABLE meta; CREATE VIEW meta AS {ENDLESS}; PRAGMA user_version = 1",
}


@pytest.mark.parametrize("crafted", CRAFTED)
@pytest.mark.usefixtures("made")
def test_an_index_with_another_schema_is_rebuilt(store: StoreSession, root: Path, crafted: str) -> None:
    before = store.dump_tables()
    store.close()
    with sqlite3.connect(root / "index.db") as other:
        other.executescript(CRAFTED[crafted])
    other.close()
    assert json.loads(imq(root, "images", "count", "as", "json", timeout=60).stdout)
    assert store.dump_tables() == before
    with sqlite3.connect(root / "index.db") as other:
        (count,) = other.execute("SELECT count(*) FROM sqlite_master WHERE name = 'more'").fetchone()
        assert count == 0
    other.close()


@pytest.mark.parametrize("is_writable", [True, False])
def test_an_index_from_a_copied_store_is_not_trusted(
    store: StoreSession,
    root: Path,
    made: dict[str, Image],
    tmp_path: Path,
    unprivileged: dict[str, Any],
    *,
    is_writable: bool,
) -> None:
    store.rows("images")
    store.close()
    copy = tmp_path / "copy"
    shutil.copytree(root, copy)
    with sqlite3.connect(copy / "index.db") as other:
        columns = "image, id, manifest, root, created, chain"
        other.execute(
            f"UPDATE entry SET ({columns}) = (SELECT {columns} FROM entry WHERE name = 'plain:1')"
            " WHERE name = 'redis:7'"
        )
        about = (copy / "index.json").stat()
        signature = f"{about.st_ino}:{about.st_size}:{about.st_mtime_ns}"
        other.execute("UPDATE meta SET value = ? WHERE key = 'signature'", (signature,))
    other.close()
    options = {}
    if not is_writable:
        options = unprivileged
        for folder, _, _ in os.walk(copy):
            os.chmod(folder, 0o555)
    shown = json.loads(imq(copy, "inspect", "redis:7", **options).stdout)
    assert shown[0]["Id"] == made["redis:7"].id
    for folder, _, _ in os.walk(copy):
        os.chmod(folder, 0o755)
    with StoreSession(copy) as held:
        assert held.rows("images where name = redis:7 select id") == [{"id": made["redis:7"].id}]


COLUMNS = "image, id, manifest, root, created, chain"
PLAIN = "(SELECT image FROM entry WHERE name = 'plain:1')"
EDITS = {
    "another image": f"UPDATE entry SET ({COLUMNS}) = (SELECT {COLUMNS} FROM entry WHERE name = 'plain:1')"
    " WHERE name = 'redis:7'",
    "another ID": "UPDATE entry SET id = (SELECT id FROM entry WHERE name = 'plain:1') WHERE name = 'redis:7'",
    "another name": "UPDATE entry SET name = 'other:1' WHERE name = 'redis:7'; "
    "UPDATE entry SET name = 'redis:7' WHERE name = 'plain:1'",
    "no name": "DELETE FROM entry WHERE name = 'redis:7'",
    "other layers": f"DELETE FROM stack WHERE image <> {PLAIN};"
    " INSERT INTO stack SELECT image.key, position, descriptor, stack.chain, command, step"
    f" FROM stack JOIN image WHERE stack.image = {PLAIN} AND image.key <> {PLAIN}",
    "other annotations": 'UPDATE config SET annotations = \'{"a":"b"}\'',
    "no blobs": "DELETE FROM reaching",
}


@pytest.mark.parametrize("edit", EDITS)
def test_an_edited_index_is_not_believed_where_documents_are_shown_or_copied(
    store: StoreSession, root: Path, made: dict[str, Image], tmp_path: Path, edit: str
) -> None:
    layout = Layout.__new__(Layout)
    layout.folder, layout.entries = os.fspath(root), entries_in(root)
    layout.add_index([made["edge/agent:1"], made["plain:1"]], "several:1")
    assert len(store.rows("images where name = several:1")) == 2
    store.close()
    with sqlite3.connect(root / "index.db") as other:
        other.executescript(EDITS[edit])
    other.close()
    image = made["redis:7"]
    with StoreSession(root) as held:
        held.do(f'export redis:7 to "{tmp_path}/files"')
        held.do(f'save redis:7 to "{tmp_path}/saved.tar"')
        held.do(f'save redis:7 to "oci:{tmp_path}/layout"')
        held.do(f'save several:1 to "{tmp_path}/several.tar"')
    assert {path.name for path in (tmp_path / "files").iterdir()} == {
        name.partition("/")[0] for one in image.layers for name in names_in(one)
    }
    (shown,) = json.loads(imq(root, "inspect", "redis:7").stdout)
    assert (shown["Id"], shown["Descriptor"]["digest"]) == (image.id, image.digest)
    assert shown["Annotations"] == image.annotations
    assert shown["RootFS"]["Layers"] == [one.diff_id for one in image.layers]
    with tarfile.open(tmp_path / "saved.tar") as archive:
        assert {f"blobs/sha256/{digest[7:]}" for digest in image.blobs} <= set(archive.getnames())
    assert set(image.blobs) <= set(blobs_in(tmp_path / "layout"))
    with tarfile.open(tmp_path / "several.tar") as archive:
        content = archive.extractfile("manifest.json")
        assert content is not None
        assert len(json.loads(content.read())) == 2
    imq(root, "reindex")


def names_in(one: Layer) -> list[str]:
    """Return the names in a plain layer."""
    with tarfile.open(fileobj=io.BytesIO(one.blob)) as archive:
        return archive.getnames()


def test_an_index_outlives_the_process_and_a_move(store: StoreSession, root: Path, made: dict[str, Image]) -> None:
    store.do("verify all")
    assert made
    inode = (root / "index.db").stat().st_ino
    store.close()
    moved = root.with_name("moved")
    root.rename(moved)
    imq(moved, "images")
    assert (moved / "index.db").stat().st_ino == inode
    moved.rename(root)


# Readers during a removal


def test_an_image_removed_while_it_is_read_is_not_reported_as_damaged(
    store: StoreSession,
    made: dict[str, Image],
    root: Path,
    opened: Callable[..., StoreSession],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    other = opened(root)
    image = made["plain:1"]
    inner = store.session.store
    opening = inner.open_blob
    store.read_message("set jobs = 1")  # so that blobs are opened after the removal
    for statement, code in (("inspect plain:1", "no-such-image"), ("verify plain:1", "changed")):
        removals = ["rm plain:1"]

        def open_late(digest: Any, removals: list[str] = removals) -> Any:
            while removals:
                other.do(removals.pop())
            return opening(digest)

        monkeypatch.setattr(inner, "open_blob", open_late)
        assert store.failure_code(statement) == code
        monkeypatch.setattr(inner, "open_blob", opening)
        source = root.with_name("again")
        Layout(source).add(image, "plain:1")
        store.do(f'load "{source}"')
    assert store.rows("inspect plain:1")[0]["Id"] == image.id


def test_sizes_are_returned_while_an_image_is_removed(
    store: StoreSession,
    made: dict[str, Image],
    root: Path,
    opened: Callable[..., StoreSession],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    other = opened(root)
    assert made
    inner = store.session.store
    opening, removals = inner.open_blob, ["rm edge/agent:1"]

    def open_late(digest: Any) -> Any:
        while removals:
            other.do(removals.pop())
        return opening(digest)

    monkeypatch.setattr(inner, "open_blob", open_late)
    (result,) = store.session.run("images select name, size")
    assert isinstance(result, RowSet)
    assert result.errors == ()
    assert all(size is not None for name, size in result.rows if name != "edge/agent:1")
