"""An archive whose path ends in .tar.gz or .tar.zst is compressed, whatever its form; every reader takes it."""

from __future__ import annotations

import tarfile
from typing import TYPE_CHECKING

import pytest
from imq.engine.layers.compression import decompress, detect_compression

if TYPE_CHECKING:
    from pathlib import Path

    from store.support.stores import StoreSession
    from support.images import Image

PACKED = {"tar": "", "tar.gz": "gzip", "tgz": "gzip", "tar.zst": "zstd", "tzst": "zstd", "img": ""}


@pytest.mark.parametrize("form", ["", "docker-archive:", "oci-archive:"])
@pytest.mark.parametrize("ending", PACKED)
def test_the_end_of_the_path_tells_the_compression(
    session: StoreSession, tmp_path: Path, made: dict[str, Image], form: str, ending: str
) -> None:
    session.do(f'copy redis:7 from "oci:{tmp_path / "layout"}" to store')
    path = tmp_path / f"redis.{ending}"
    session.do(f'save redis:7 to "{form}{path}"')
    content = path.read_bytes()
    assert detect_compression(content[:6]) == PACKED[ending]
    (tmp_path / "plain.tar").write_bytes(b"".join(decompress(PACKED[ending], [content])))
    with tarfile.open(tmp_path / "plain.tar", "r:") as archive:
        assert ("index.json" if form == "oci-archive:" else "manifest.json") in archive.getnames()
    (found,) = session.rows(f'images in "{form}{path}" select * as json')
    assert found["id"] == made["redis:7"].id


def test_a_compressed_archive_is_loaded(session: StoreSession, tmp_path: Path, made: dict[str, Image]) -> None:
    session.do(f'copy redis:7, plain:1 from "oci:{tmp_path / "layout"}" to store')
    session.do(f'save redis:7, plain:1 to "{tmp_path / "both.tar.gz"}"')
    session.do("rm all images")
    session.do(f'load "{tmp_path / "both.tar.gz"}"')
    assert {row["id"] for row in session.rows("images select * as json")} == {made["redis:7"].id, made["plain:1"].id}
