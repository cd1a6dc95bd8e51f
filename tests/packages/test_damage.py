"""No content of a file raises an exception: what cannot be read becomes a problem."""

from __future__ import annotations

import io
import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from imq.engine.packages.database_files import find_reader
from imq.engine.packages.package import OwnedFiles, Package, PackageLicence, Problem
from imq.grammar.errors import Malformed
from packages.reading import data, read, read_pieces
from packages.test_manifests import COPYRIGHT, GEMSPEC, INSTALLED

FILES = {
    "var/lib/dpkg/status": data("dpkg_status")[:6000],
    "var/lib/dpkg/status.d/base": b"Package: x\nVersion: 1\n",
    "var/lib/dpkg/info/x.list": b"/.\n/x\n",
    "var/lib/dpkg/info/x.md5sums": b"fcc1e4ba27b5b2ae8be3d7dc2b0d7a50  bin/bash\n",
    "lib/apk/db/installed": INSTALLED,
    "var/lib/rpm/rpmdb.sqlite": data("rpmdb.sqlite"),
    "var/lib/rpm/Packages.db": data("Packages.db"),
    "var/lib/rpm/Packages": data("Packages"),
    "x/x.dist-info/METADATA": b"Name: x\nVersion: 1\n\n",
    "x/x.dist-info/RECORD": b"x,sha256=abc,1\n",
    "x/x.egg-info/installed-files.txt": b"../x\n",
    "x/node_modules/x/package.json": b'{"name": "x", "version": "1"}',
    "x/specifications/x.gemspec": GEMSPEC.encode(),
    "var/lib/dpkg/updates/0001": b"Package: x\n",
    "var/lib/rpm/rpmdb.sqlite-wal": b"x",
    COPYRIGHT: b"Format: x\nLicense: MIT\n",
    "usr/bin/go1.17": data("go1.17-386")[:200_000],
    "usr/bin/go1.19": data("go1.19-amd64"),
}


def check(path: str, content: bytes) -> None:
    rows = read(path, content, 0o755)
    assert read_pieces(path, content, 4096, 0o755) == rows
    for row in rows:
        assert isinstance(row, Package | OwnedFiles | PackageLicence | Problem)
        if isinstance(row, Package):
            assert row.name
            assert row.version or row.type == "go"
            for field in Package.compared_fields():
                if field != "path" and isinstance(value := getattr(row, field), str):
                    value.encode()  # no surrogates, which databases do not take


@pytest.mark.parametrize("path", FILES)
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(content=st.binary(max_size=200), keep=st.integers(0, 100))
def test_any_content_after_a_sound_beginning(path: str, content: bytes, keep: int) -> None:
    check(path, FILES[path][:keep] + content)


@pytest.mark.parametrize("path", FILES)
def test_changed_bytes(path: str) -> None:
    random_ = random.Random(path)
    for _ in range(60):
        content = bytearray(FILES[path])
        for _ in range(random_.choice((1, 1, 5, 200))):
            content[random_.randrange(len(content))] = random_.choice((0, 0xFF, 0x0A, 0x20, random_.randrange(256)))
        check(path, bytes(content[: random_.choice((len(content), random_.randrange(len(content))))]))


@pytest.mark.parametrize("path", FILES)
@pytest.mark.parametrize("size", [7, 4096, 1 << 20])
def test_pieces_give_the_same_rows_as_a_file(path: str, size: int) -> None:
    for content in (FILES[path], FILES[path][: len(FILES[path]) // 2], b""):
        if len(content) > 1000 and size < 100:
            continue
        assert read_pieces(path, content, size, 0o755) == read(path, content, 0o755)


def test_every_reader_is_tested() -> None:
    readers = {find_reader(path.encode(), 0o755) for path in FILES}
    assert None not in readers
    assert len(readers) == len(FILES) - 1  # two executables


@pytest.mark.parametrize("path", FILES)
@pytest.mark.parametrize("error", [Malformed("a damaged layer"), OSError(5, "Input/output error")])
def test_errors_of_the_file_itself_are_raised(path: str, error: Exception) -> None:
    class Broken(io.BytesIO):
        def read(self, _size: int | None = -1, /) -> bytes:
            raise error

    with pytest.raises(type(error)):
        read(path, Broken(FILES[path]), 0o755)


@pytest.mark.parametrize("path", ["lib/apk/db/installed", "x/node_modules/x/package.json", "var/lib/dpkg/info/x.list"])
def test_a_file_that_is_too_large_is_read_up_to_a_limit(path: str) -> None:
    class Endless(io.RawIOBase):
        def __init__(self) -> None:
            self.size = 0

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: object) -> int:
            view = memoryview(buffer)  # type: ignore[arg-type]
            view[:] = b"\n" * len(view)
            self.size += len(view)
            return len(view)

    file = Endless()
    rows = read(path, file)  # type: ignore[arg-type]
    reader = find_reader(path.encode())
    assert reader is not None
    assert reader.max_size < file.size <= reader.max_size + (1 << 20)
    assert any(isinstance(row, Problem) and row.offset == reader.max_size for row in rows)
