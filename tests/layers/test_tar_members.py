"""The files of a tar stream, while it is read."""

from __future__ import annotations

import io
import tarfile

import pytest
from imq.engine.layers.tar_members import iterate_members
from imq.grammar.errors import Malformed

FILES = {"a": b"", "folder/b": b"b" * 300_000, "c": b"c", "d": b"d" * 511, "e": b"e" * 262_144, "f": b""}


def make_archive() -> bytes:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w", format=tarfile.PAX_FORMAT) as tar:
        folder = tarfile.TarInfo("folder")
        folder.type = tarfile.DIRTYPE
        tar.addfile(folder)
        for name, content in FILES.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return archive.getvalue()


@pytest.mark.parametrize("step", [1, 511, 512, 10_000, 1 << 20])
def test_files_come_whole_and_in_order(step: int) -> None:
    source = io.BytesIO(make_archive())
    found = {entry.path: b"".join(map(bytes, pieces)) for entry, pieces in iterate_members(lambda _: source.read(step))}
    assert found == FILES
    assert list(found) == list(FILES)


def test_what_is_not_read_is_skipped() -> None:
    source = io.BytesIO(make_archive())
    names = []
    for entry, pieces in iterate_members(source.read):
        names.append(entry.path)
        if entry.path == "folder/b":
            assert bytes(next(pieces)).startswith(b"bbb")
    assert names == list(FILES)


@pytest.mark.parametrize("size", [100, 1_600, 200_000, 302_000, 566_000])
def test_a_truncated_archive(size: int) -> None:
    source = io.BytesIO(make_archive()[:size])
    with pytest.raises(Malformed):
        sum(len(piece) for _, pieces in iterate_members(source.read) for piece in pieces)
