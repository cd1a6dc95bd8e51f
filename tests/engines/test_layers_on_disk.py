"""Layers of docker are read where they lie, and from the export of the engine when that is not possible."""

from __future__ import annotations

import json
import os
import pathlib
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from imq.engine.sources.docker.contents import EngineContents
from imq.grammar.errors import ImqError
from layer_index.test_image_contents import make_layer
from layers.stacks import folder as make_folder
from layers.stacks import link, member, symlink
from registry.support.query import open_session
from support.engine_images import clear
from support.images import Image, Layout, docker_archive
from support.statement_rows import read_last_rows

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.engines import Dockerd

LOWER = make_layer(
    make_folder("d"), member("d/a", b"a" * 3000), member("d/b", b"b"), symlink("s", "d/a"), link("h", "d/a"),
    member("opt/x", b"x"),
)  # fmt: skip
UPPER = make_layer(member("d/.wh.b"), member("opt/.wh..wh..opq"), member("opt/y", b"y"), member("d/a", b"new"))
IMAGE = Image([LOWER, UPPER])
STATEMENT = "all files of disk:1 in docker select path, type, size, status, sha256 order by path, layer_index"


@pytest.fixture(scope="module")
def engine(dockerd: Dockerd, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dockerd]:
    archive = tmp_path_factory.mktemp("disk") / "disk.tar"
    docker_archive(archive, [(IMAGE, ["disk:1"])])
    clear(dockerd)
    dockerd.run("load", "-i", str(archive))
    yield dockerd
    clear(dockerd)


def read(engine: Dockerd, root: pathlib.Path) -> list[Any]:
    with closing(open_session(root, environment={"DOCKER_HOST": engine.address})) as session:
        return list(read_last_rows(session, STATEMENT))


def require_overlay(engine: Dockerd) -> pathlib.Path:
    """Return the database of layers of an engine whose driver is overlay2."""
    information = json.loads(engine.run("info", "--format", "{{json .}}"))
    if information["Driver"] != "overlay2" or os.geteuid() != 0:
        pytest.skip("the layers of this engine cannot be read where they lie")
    return pathlib.Path(information["DockerRootDir"]) / "image" / "overlay2" / "layerdb" / "sha256"


@pytest.fixture
def expected(tmp_path: pathlib.Path) -> list[Any]:
    """The rows of the same image in a layout."""
    Layout(tmp_path / "layout").add(IMAGE, "disk:1")
    with closing(open_session(tmp_path / "layout")) as session:
        return list(read_last_rows(session, STATEMENT.replace("in docker", "in store")))


def test_layers_are_read_where_they_lie(
    engine: Dockerd, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, expected: list[Any]
) -> None:
    require_overlay(engine)
    exports: list[Any] = []
    export = EngineContents._read
    monkeypatch.setattr(EngineContents, "_read", lambda *given: exports.append(given) or export(*given))
    statement = STATEMENT.replace(", sha256", "")
    with closing(open_session(tmp_path / "store", environment={"DOCKER_HOST": engine.address})) as session:
        assert list(read_last_rows(session, statement)) == [row[:4] for row in expected]
    assert exports == []
    assert read(engine, tmp_path / "store") == expected


def test_layers_without_records_are_exported(
    engine: Dockerd, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = list(require_overlay(engine).glob("*/tar-split.json.gz"))
    exports: list[Any] = []
    monkeypatch.setattr(EngineContents, "_read", lambda *given: exports.append(given))
    for path in records:
        path.rename(path.with_suffix(".away"))
    try:
        with pytest.raises(ImqError, match="was not found"):
            read(engine, tmp_path / "store")
        assert exports
    finally:
        for path in records:
            path.with_suffix(".away").rename(path)


def test_a_changed_file_does_not_count(engine: Dockerd, tmp_path: pathlib.Path, expected: list[Any]) -> None:
    database = require_overlay(engine)
    changed = [
        path
        for cache_id in database.glob("*/cache-id")
        for path in [database.parents[3] / "overlay2" / cache_id.read_text().strip() / "diff" / "d" / "a"]
        if path.exists() and path.stat().st_size == 3000
    ]
    assert len(changed) == 1
    original = changed[0].read_bytes()
    changed[0].write_bytes(b"A" * 3000)
    try:
        with pytest.raises(ImqError) as caught:
            read(engine, tmp_path / "store")
        assert caught.value.code == "diff-id-mismatch"
    finally:
        changed[0].write_bytes(original)
    assert read(engine, tmp_path / "store") == expected
