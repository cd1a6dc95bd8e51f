"""The three kinds of databases of RPM: what rpm says of them, and what is left of damaged ones."""

from __future__ import annotations

import gzip
import pathlib
import sqlite3
import struct

import pytest
from packages.reading import Stream, data, lines, owned, packages, problems, read

SQLITE, NDB, BDB = "var/lib/rpm/rpmdb.sqlite", "usr/lib/sysimage/rpm/Packages.db", "var/lib/rpm/Packages"
DATABASES = [(SQLITE, "rpmdb.sqlite"), (NDB, "Packages.db"), (BDB, "Packages"), (BDB, "Packages-big-endian")]


@pytest.mark.parametrize(("path", "name"), DATABASES)
def test_packages_are_those_that_rpm_lists(path: str, name: str) -> None:
    rows = read(path, Stream(data(name)))
    found = sorted(
        [
            row.name,
            row.version,
            row.architecture,
            str(row.size),
            row.licence,
            f"{row.name}-{row.version}".replace("1:", ""),
        ]
        for row in packages(rows)
    )
    expected = [[*row[:5], row[5].removesuffix(".src.rpm")] for row in lines("rpm_query.txt")]
    assert found == expected
    assert {row.vendor for row in packages(rows)} == {"Example Vendor"}
    assert problems(rows) == []


@pytest.mark.parametrize(("path", "name"), DATABASES)
def test_files_and_checksums_are_those_that_rpm_lists(path: str, name: str) -> None:
    rows = read(path, data(name))
    keys = {row.key: row.name for row in packages(rows)}
    found = sorted([keys[row.package], f"/{file}", checksum] for row in owned(rows) for file, checksum in row.files)
    expected = sorted(
        [name, file, f"sha256:{digest}" if digest else ""] for name, file, digest in lines("rpm_files.txt")
    )
    assert found == expected


@pytest.mark.parametrize(("path", "name"), DATABASES)
def test_an_empty_database_has_no_packages(path: str, name: str) -> None:
    assert read(path, b"") == []
    assert data(name)


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        (SQLITE, "file is not a database"),
        (NDB, "at byte 0: not a database of RPM's format ndb"),
        (BDB, "at byte 0: not a hash of Berkeley DB"),
    ],
)
def test_other_files_are_no_databases(path: str, problem: str) -> None:
    rows = read(path, b"x" * 8192)
    assert packages(rows) == []
    assert len(problems(rows)) == 1
    assert problem in problems(rows)[0]


@pytest.mark.parametrize(("path", "name"), DATABASES)
def test_a_database_that_is_cut_short_has_the_packages_before(path: str, name: str) -> None:
    content = data(name)
    whole = {row.key: row for row in packages(read(path, content))}
    kept = set()
    for size in range(0, len(content), 1009):
        rows = read(path, content[:size])
        assert all(whole.get(row.key) == row for row in packages(rows))
        assert problems(rows) or size == 0
        kept.add(len(packages(rows)))
    assert {0, 2} <= kept


def test_a_damaged_page_of_berkeley_db_costs_the_packages_on_it() -> None:
    content = bytearray(data("Packages"))
    pages = [at for at in range(4096, len(content), 4096) if content[at + 25] == 7]  # overflow pages
    content[pages[-1] + 25] = 99
    rows = read(BDB, bytes(content))
    assert len(packages(rows)) == 3
    assert problems(rows) == [f"{BDB} at byte {pages[-1]}: not the page that continues a package"]


def test_a_wrong_checksum_of_ndb_is_a_problem() -> None:
    content = data("Packages.db")
    at = content.index(b"https://example.org/alpha")
    rows = read(NDB, content.replace(b"https://example.org/alpha", b"https://example.org/omega"))
    assert len(packages(rows)) == 4
    (problem,) = problems(rows)
    assert problem.endswith("a package with a wrong checksum")
    assert int(problem.split()[3].strip(":")) < at


def test_a_log_with_changes_is_a_problem() -> None:
    assert read(f"{SQLITE}-wal", b"") == []
    assert problems(read(f"{SQLITE}-wal", b"\x37\x7f\x06\x82")) == [
        f"{SQLITE}-wal at byte 0: changes that rpmdb.sqlite does not have yet: its packages can be older"
    ]


def write_database(folder: pathlib.Path, *statements: str, blobs: tuple[bytes, ...] = ()) -> bytes:
    file = folder / "rpmdb.sqlite"
    with sqlite3.connect(file) as database:
        for statement in statements:
            database.execute(statement)
        if blobs:
            database.executemany("INSERT INTO Packages (blob) VALUES (?)", ((blob,) for blob in blobs))
    database.close()
    return file.read_bytes()


TABLE = "CREATE TABLE Packages (hnum INTEGER PRIMARY KEY AUTOINCREMENT, blob BLOB NOT NULL)"


def test_a_view_in_place_of_the_table_is_not_executed(tmp_path: pathlib.Path) -> None:
    view = (
        "CREATE VIEW Packages AS WITH RECURSIVE endless(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM endless)"
        " SELECT n AS hnum, x'00' AS blob FROM endless"
    )
    assert problems(read(SQLITE, write_database(tmp_path, view))) == [f"{SQLITE}: no table of packages"]


def make_header(*entries: tuple[int, int, int, int], data: bytes = b"") -> bytes:
    return (
        struct.pack(">II", len(entries), len(data)) + b"".join(struct.pack(">IIII", *entry) for entry in entries) + data
    )


@pytest.mark.parametrize(
    ("header", "problem"),
    [
        (b"\0", "a header that is cut short"),
        (struct.pack(">II", 1 << 30, 0), "a header of 8 bytes that claims to have 1,073,741,824 entries"),
        (make_header(), "a header without name"),
        (make_header((1000, 6, 0, 1), data=b"x\0"), "a header without version"),
        (make_header((1000, 6, 99, 1)), "a header whose data of 0 bytes does not have its tags 1000"),
        (make_header((1000, 6, 0, 1), data=b"x"), "a header whose data of 1 bytes does not have its tags 1000"),
        (make_header((1009, 4, 0, 1 << 31), data=b"xxx"), "a header whose data of 3 bytes does not have its tags 1009"),
        (make_header((1000, 99, 0, 1), data=b"x\0"), "a header whose data of 2 bytes does not have its tags 1000"),
        (
            make_header(
                (1000, 6, 0, 1), (1001, 6, 0, 1), (1117, 8, 0, 1), (1118, 8, 0, 1), (1116, 4, 2, 1),
                data=b"x\0" + b"\xff" * 4,
            ),
            "the header of x has lists of files that do not agree",
        ),
    ],
)  # fmt: skip
def test_headers_that_lie_are_problems(tmp_path: pathlib.Path, header: bytes, problem: str) -> None:
    rows = read(SQLITE, write_database(tmp_path, TABLE, blobs=(header,)))
    assert f"{SQLITE}: {problem}" in problems(rows)


def test_a_missing_release_and_epoch_are_left_out(tmp_path: pathlib.Path) -> None:
    header = make_header((1000, 6, 0, 1), (1001, 6, 2, 1), data=b"x\x001.0\0")
    (package,) = packages(read(SQLITE, write_database(tmp_path, TABLE, blobs=(header,))))
    assert (package.version, package.key, package.size) == ("1.0", "x-1.0", None)


def test_a_damaged_page_of_sqlite_costs_the_packages_on_it() -> None:
    content = data("rpmdb.sqlite")
    whole = packages(read(SQLITE, content))
    lost = set()
    for page in range(1, len(content) // 4096):
        damaged = content[: page * 4096] + b"\xff" * 4096 + content[(page + 1) * 4096 :]
        rows = read(SQLITE, damaged)
        assert all(row in whole for row in packages(rows))
        if len(packages(rows)) < len(whole):
            assert problems(rows)
            lost.add(len(whole) - len(packages(rows)))
    assert lost >= {1}


def test_the_database_of_the_test_data_is_that_of_rpm() -> None:
    assert gzip.decompress((pathlib.Path(__file__).parent / "data" / "rpmdb.sqlite.gz").read_bytes())[:6] == b"SQLite"
