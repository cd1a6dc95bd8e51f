"""Headers of tar archives: the same bytes as those of the standard library."""

from __future__ import annotations

import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st
from imq.engine.layers import tar_writer
from imq.engine.layers.tar_writer import TarHeader

KINDS = [getattr(tar_writer, name) for name in ("FILE", "HARD_LINK", "SYMLINK", "CHAR", "BLOCK", "DIRECTORY", "FIFO")]
TEXTS = st.text(st.characters(min_codepoint=1, max_codepoint=0xFFFF, exclude_categories=("Cs",)), min_size=1)
BYTES = st.builds(
    lambda raw, count: (raw * count).replace(b"\0", b"x").decode("utf-8", "surrogateescape"),
    st.binary(min_size=1, max_size=30),
    st.integers(1, 40),
)
NAMES = TEXTS | BYTES
NUMBERS = st.integers(-5, 5) | st.integers(8**7 - 2, 8**7 + 2) | st.integers(8**11 - 2, 8**11 + 2)
DEVICES = st.integers(0, 8**7 - 1)
FIELDS = st.fixed_dictionaries(
    {"mode": st.integers(0, 0o177777)} | dict.fromkeys(("uid", "gid", "size", "mtime"), NUMBERS)
)
RECORDS = st.dictionaries(st.sampled_from(["SCHILY.xattr.user.a", "mtime", "path", "x"]), NAMES)


@given(NAMES, st.sampled_from(KINDS), FIELDS, NAMES | st.just(""), st.tuples(DEVICES, DEVICES), RECORDS)
def test_headers_are_those_of_the_standard_library(
    name: str, kind: bytes, fields: dict[str, int], link: str, device: tuple[int, int], records: dict[str, str]
) -> None:
    ours, theirs = TarHeader(name, kind), tarfile.TarInfo(name)
    theirs.type, theirs.linkname, theirs.pax_headers = kind, link, dict(records)
    theirs.devmajor, theirs.devminor = device
    ours.link_target, ours.device, ours.records = link, device, records
    for field, number in fields.items():
        setattr(ours, field, number)
        setattr(theirs, field, number)
    assert ours.encode() == theirs.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


def test_a_device_number_that_does_not_fit_is_refused() -> None:
    header = TarHeader("dev", tar_writer.CHAR)
    header.device = (8**7, 0)
    with pytest.raises(ValueError, match="octal digits"):
        header.encode()
