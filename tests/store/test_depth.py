"""`import` and `export` have the same limit on the depth of paths."""

from __future__ import annotations

import pathlib
import subprocess
from typing import TYPE_CHECKING

import pytest
from imq.engine.layers.rooted_fs import MAX_DEPTH
from layers.stacks import archive, folder, member
from store.support.stores import StoreSession, check_store
from support.images import pack

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def held(tmp_path: pathlib.Path) -> Iterator[StoreSession]:
    with StoreSession(tmp_path / "store") as opened:
        yield opened


def path_of(names: int) -> str:
    return "/".join(["d"] * (names - 1) + ["file"])


@pytest.mark.parametrize("source", ["folder", "tar", "tar.gz", "tar.xz"])
@pytest.mark.parametrize("names", [MAX_DEPTH, MAX_DEPTH + 1])
def test_import_and_export_share_one_limit(tmp_path: pathlib.Path, held: StoreSession, source: str, names: int) -> None:
    path = tmp_path / "source"
    if source == "folder":
        (path / path_of(names)).parent.mkdir(parents=True)
        (path / path_of(names)).write_bytes(b"deep")
    else:
        content = archive([folder("./"), member(f"./{path_of(names)}", b"deep")])
        path.write_bytes(pack(content, "gzip") if source == "tar.gz" else content)
        if source == "tar.xz":
            path.write_bytes(subprocess.run(["xz"], input=content, capture_output=True, check=True).stdout)
    if names > MAX_DEPTH:
        assert held.failure_code(f'import "{path}" as deep:1') == "path-depth"
        check_store(held.root)
        return
    held.do(f'import "{path}" as deep:1')
    held.do(f'export deep:1 to "{tmp_path}/made"')
    assert (tmp_path / "made" / path_of(names)).read_bytes() == b"deep"


def test_dots_and_slashes_do_not_count_as_depth(tmp_path: pathlib.Path, held: StoreSession) -> None:
    (tmp_path / "source.tar").write_bytes(archive([member("./" * 200 + "a//b/./c", b"flat")]))
    held.do(f'import "{tmp_path}/source.tar" as flat:1')
    held.do(f'export flat:1 to "{tmp_path}/made"')
    assert (tmp_path / "made" / "a" / "b" / "c").read_bytes() == b"flat"
