"""Scans are added to the index alike, however they come: from a file or packed, in memory or attached."""

from __future__ import annotations

import io
import sqlite3
import tarfile
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from imq.engine.layer_index import scan_adder
from imq.engine.layer_index.index import FileIndex
from imq.engine.layer_index.packed_index import pack_index, read_index
from imq.engine.layer_index.scan import scan_layer
from imq.engine.layer_index.schema import INDEX_TABLES, SCHEMA
from imq.engine.oci.digest import Digest
from imq.grammar.errors import Malformed

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Callable

    from imq.engine.layer_index.scan_adder import ScanAdder

    Add = Callable[[ScanAdder, str, Digest, pathlib.Path], None]

OTHER = Digest(f"sha256:{0:064x}")


def scan(path: pathlib.Path, number: int) -> Digest:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name in (f"srv/{number}/a", f"srv/{number}/b", "etc/os"):
            archive.addfile(tarfile.TarInfo(name))
    return scan_layer([packed.getvalue()], str(path))


def open_index() -> FileIndex:
    connection = sqlite3.connect(":memory:", isolation_level=None, uri=True)
    connection.execute(f"ATTACH ':memory:' AS {SCHEMA}")
    for statement in INDEX_TABLES.split(";\n"):
        connection.execute(statement)
    return FileIndex(connection)


def list_rows(index: FileIndex) -> list[tuple[object, ...]]:
    return index.connection.execute(
        f"""SELECT layer.diff_id, directory.path, entry.name FROM {SCHEMA}.entry
        JOIN {SCHEMA}.layer ON layer.key = entry.layer JOIN {SCHEMA}.directory ON directory.key = entry.directory
        ORDER BY 1, 2, 3"""
    ).fetchall()


def list_databases(index: FileIndex) -> set[str]:
    return {name for _, name, _ in index.connection.execute("PRAGMA database_list")}


def add_file(adder: ScanAdder, path: str, _diff_id: Digest, _scratch: pathlib.Path) -> None:
    adder.add(path, 1)


def add_packed(adder: ScanAdder, path: str, diff_id: Digest, scratch: pathlib.Path) -> None:
    adder.add_packed(pack_index(path), diff_id, str(scratch / "large"), 1)


@pytest.mark.parametrize("add", [add_file, add_packed])
@pytest.mark.parametrize("limit", [0, scan_adder._IN_MEMORY], ids=["attached", "in memory"])
def test_scans_are_added(tmp_path: pathlib.Path, add: Add, limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan_adder, "_IN_MEMORY", limit)
    diff_ids = [scan(tmp_path / str(number), number) for number in range(3)]
    index = open_index()
    with index.adding() as adder:
        for number in (0, 1, 2, 1):
            add(adder, str(tmp_path / str(number)), diff_ids[number], tmp_path)
    expected = [
        (str(diff_id), folder, name)
        for number, diff_id in enumerate(diff_ids)
        for folder, name in ((f"/srv/{number}", "a"), (f"/srv/{number}", "b"), ("/etc", "os"))
    ]
    assert {row for row in list_rows(index) if row[2] in ("a", "b", "os")} == set(expected)
    assert not index.list_missing(diff_ids)
    assert list_databases(index) == {"main", "temp", SCHEMA}
    assert not (tmp_path / "large").exists()


@pytest.mark.parametrize("limit", [0, scan_adder._IN_MEMORY], ids=["attached", "in memory"])
def test_what_is_no_index_of_the_layer_is_refused(
    tmp_path: pathlib.Path, limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scan_adder, "_IN_MEMORY", limit)
    path = str(tmp_path / "scan")
    diff_id = scan(tmp_path / "scan", 1)
    packed = pack_index(path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TRIGGER more AFTER INSERT ON entry BEGIN DELETE FROM entry; END")
        connection.commit()
    forged = pack_index(path)
    index = open_index()
    with index.adding() as adder:
        for content, name, reason in (
            (forged, diff_id, "other tables"),
            (packed, OTHER, "it is of"),
            (packed[:-1], diff_id, "damaged"),
            (packed + b"x", diff_id, "more bytes"),
            (b"", diff_id, "truncated"),
            (b"no index", diff_id, "damaged"),
        ):
            with pytest.raises(Malformed) as refused:
                adder.add_packed(content, name, str(tmp_path / "large"), 1)
            assert refused.value.code == "layer-index"
            assert reason in refused.value.message
        assert not list_rows(index)
        adder.add_packed(packed, diff_id, str(tmp_path / "large"), 1)
    assert not index.list_missing([diff_id])


def test_a_scan_of_another_version_leaves_the_index_usable(tmp_path: pathlib.Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    diff_ids = [scan(first, 1), scan(second, 2)]
    with closing(sqlite3.connect(first)) as connection:
        connection.execute("UPDATE scan SET version = version + 1")
        connection.commit()
    index = open_index()
    with index.adding() as adder:
        with pytest.raises(ValueError, match="a scan of version"):
            adder.add(str(first), 1)
        adder.add(str(second), 1)
    assert index.list_missing(diff_ids) == diff_ids[:1]


def test_an_index_is_read_up_to_a_limit(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "scan"
    diff_id = scan(path, 1)
    packed, size = pack_index(str(path)), path.stat().st_size
    assert read_index(packed, diff_id, size) == path.read_bytes()
    assert read_index(packed, diff_id, size - 1) is None
