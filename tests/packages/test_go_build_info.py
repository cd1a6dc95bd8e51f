"""Go's build information: what `go version -m` says of the same executables."""

from __future__ import annotations

import io
import struct

import pytest
from packages.reading import DATA, Stream, data, packages, problems, read, read_pieces

PATH = "usr/bin/program"
NAMES = ["go1.16-amd64", "go1.17-386", "go1.17-mips64le", "go1.19-amd64", "go1.20-arm64"]


def expect(name: str) -> list[tuple[str, str, str]]:
    """Return name, version and toolchain of each module that `go version -m` lists, and of the standard library."""
    toolchain, *lines = (DATA / f"{name}.txt").read_text().splitlines()
    modules = [line.split("\t")[2:4] for line in lines if line.startswith(("\tmod", "\tdep"))]
    if name == "go1.19-amd64":
        assert "\t=>\t./b\t(devel)\t" in lines
        modules[1][1] = "(devel)"  # a folder replaces it
    return [(path, version, toolchain) for path, version in (*modules, ("stdlib", toolchain.removeprefix("go")))]


@pytest.mark.parametrize("name", NAMES)
def test_modules_are_those_that_go_lists(name: str) -> None:
    rows = read(PATH, data(name), 0o755)
    assert [(row.name, row.version, row.toolchain) for row in packages(rows)] == expect(name)
    assert {row.architecture for row in packages(rows)} == {name.partition("-")[2]}
    assert problems(rows) == []


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("piece", [1 << 20, 99_991])
def test_pieces_of_an_archive_give_the_same_modules(name: str, piece: int) -> None:
    rows = read_pieces(PATH, data(name), piece, 0o755)
    assert [(row.name, row.version, row.toolchain) for row in packages(rows)] == expect(name)
    assert problems(rows) == []


@pytest.mark.parametrize("name", NAMES)
def test_a_stream_suffices_from_go_1_18_on(name: str) -> None:
    rows = read(PATH, Stream(data(name), 100_000), 0o755)
    if name < "go1.18":
        assert packages(rows) == []
        assert problems(rows)[0].endswith("needs a file that can be read again")
    else:
        assert [(row.name, row.version, row.toolchain) for row in packages(rows)] == expect(name)


@pytest.mark.parametrize(
    "content", [b"", b"#!/bin/sh\n", b"\x7fELF", b"\x7fELF" + bytes(100), b"\x7fELF\x02\x01" + b"\xff" * 100]
)
def test_other_files_have_no_modules(content: bytes) -> None:
    assert read(PATH, content, 0o755) == []


def test_the_file_is_read_only_as_far_as_needed() -> None:
    content = data("go1.20-arm64")
    read_up_to = []

    class Counting(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            piece = super().read(size)
            read_up_to.append(len(piece))
            return piece

    read(PATH, Counting(content), 0o755)
    assert sum(read_up_to) < len(content)
    read_up_to.clear()
    read(PATH, Counting(b"#!/usr/bin/python3\n" * 100_000), 0o755)
    assert sum(read_up_to) == 4


def make_elf(block: bytes, *, magic_in_code: bool = False) -> bytes:
    """Return a 64-bit executable with a segment of code and one of data, which begins with `block`."""
    header = (
        b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, 0, 64, 0, 0, 64, 56, 2, 0, 0, 0)
    )
    code = struct.pack("<IIQQQQQQ", 1, 5, 0, 0x400000, 0x400000, 4096, 4096, 4096)
    writable = struct.pack("<IIQQQQQQ", 1, 6, 4096, 0x500000, 0x500000, len(block), len(block), 4096)
    start = header + code + writable
    if magic_in_code:
        start += bytes(-len(start) % 16) + b"\xff Go buildinf:\x08\x02" + bytes(16) + b"\x03bad\x00"
    return start.ljust(4096, b"\0") + block


def make_block(version: bytes, modules: bytes) -> bytes:
    framed = b"a" * 16 + modules + b"b" * 16 if modules else b""
    length = bytes([len(framed) & 0x7F | 0x80, len(framed) >> 7]) if len(framed) > 127 else bytes([len(framed)])
    return b"\xff Go buildinf:\x08\x02" + bytes(16) + bytes([len(version)]) + version + length + framed


def test_replaced_modules_have_the_name_and_version_of_the_replacement() -> None:
    modules = (
        b"path\tx\nmod\texample.org/x\tv1.0.0\th1:=\ndep\tgithub.com/a/b\tv1.2.3\n=>\tgithub.com/fork/b\tv1.2.4\th1:=\n"
    )
    rows = packages(read(PATH, make_elf(make_block(b"go1.22.1 X:boringcrypto", modules)), 0o755))
    assert [(row.name, row.version) for row in rows] == [
        ("example.org/x", "v1.0.0"),
        ("github.com/fork/b", "v1.2.4"),
        ("stdlib", "1.22.1"),
    ]
    assert {row.toolchain for row in rows} == {"go1.22.1 X:boringcrypto"}


def test_the_magic_elsewhere_is_no_build_information() -> None:
    """Go's own tools contain it as a string."""
    block = b"x" * 8 + b"\xff Go buildinf:" + b"x" * 10 + make_block(b"go1.22.1", b"")
    (package,) = packages(read(PATH, make_elf(block, magic_in_code=True), 0o755))
    assert (package.name, package.version) == ("stdlib", "1.22.1")


@pytest.mark.parametrize(
    "block",
    [
        make_block(b"go1.22.1", b"mod\tx\tv1\n" * 30)[:100],
        b"\xff Go buildinf:\x08\x02" + bytes(4),
        b"\xff Go buildinf:\x08\x02" + bytes(16) + b"\xff\xff\xff\xff\x7f",
        b"\xff Go buildinf:\x08\x00" + b"\xff" * 16,
        b"\xff Go buildinf:\x08\x00" + struct.pack("<QQ", 0x500000, 0x500000),
        b"\xff Go buildinf:\x07\x00" + bytes(16),
    ],
)
def test_build_information_that_lies_is_a_problem(block: bytes) -> None:
    rows = read(PATH, make_elf(block), 0o755)
    assert packages(rows) == []
    (problem,) = problems(rows)
    assert problem.startswith(f"{PATH} at byte 4096: build information of Go")
