"""The shared cache of indexes: in a folder, and in a bucket of a server of S3."""

from __future__ import annotations

import os
import pathlib
import re
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import imq
import pytest
from imq.engine.layer_index.index_cache import open_cache
from imq.engine.layer_index.packed_index import pack_index, unpack_index
from imq.engine.layer_index.readers import find_reader
from imq.engine.layer_index.scan import scan_layer
from imq.engine.oci.digest import Digest
from imq.grammar.errors import ImqError, Malformed
from support.images import layer
from workers.conftest import Bucket, list_values

if TYPE_CHECKING:
    from workers.faults import Faults

LAYER = layer({"srv/a": b"a" * 1000, "etc/os-release": b"ID=test\n"}, "gzip")


@pytest.fixture(params=["folder", "s3"])
def url(request: pytest.FixtureRequest, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of an empty cache, whose keys this process has."""
    if request.param == "folder":
        return f"file://{tmp_path}/cache"
    return find_empty_cache(request.getfixturevalue("bucket"), tmp_path, monkeypatch)


def find_empty_cache(bucket: Bucket, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> str:
    for name, value in bucket.environment.items():
        monkeypatch.setenv(name, value)
    return f"{bucket.url}/{tmp_path.name}"


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("scan") / "index"
    assert scan_layer([LAYER.blob], str(path), find_reader) == LAYER.diff_id
    return pack_index(str(path))


def test_an_object_is_written_once_and_read(url: str, packed: bytes) -> None:
    cache, diff_id = open_cache(url), Digest(LAYER.diff_id)
    other = Digest("sha256:" + "0" * 64)
    assert cache.get(diff_id) is None
    assert cache.list_known([diff_id]) == set()
    cache.put(diff_id, packed)
    cache.put(diff_id, b"another content")
    assert cache.get(diff_id) == packed
    assert dict(cache.get_all([other, diff_id])) == {diff_id: packed}
    assert cache.list_known([diff_id, other]) == {diff_id}
    usage = cache.measure()
    assert (usage.layers, usage.size, usage.other_size) == (1, len(packed), 0)


def test_many_writers_of_one_object(url: str, packed: bytes) -> None:
    diff_id = Digest(LAYER.diff_id)

    def write(_: int) -> bytes | None:
        cache = open_cache(url)
        cache.put(diff_id, packed)
        return cache.get(diff_id)

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(write, range(24))) == {packed}
    assert open_cache(url).measure().layers == 1


def test_trimming_takes_other_versions_first_then_the_oldest(tmp_path: pathlib.Path) -> None:
    cache = open_cache(f"file://{tmp_path}")
    digests = [Digest(f"sha256:{number:064x}") for number in range(4)]
    for age, digest in enumerate(digests):
        cache.put(digest, b"x" * 100)
        (path,) = tmp_path.rglob(f"{digest.encoded}*")
        os.utime(path, (1000 + age, 1000 + age))
    old = tmp_path / "v1" / "sha256" / "00" / f"{digests[0].encoded}.sqlite.zst"
    foreign, leftover, current = tmp_path / "README", tmp_path / "v1" / ".tmp-dead", tmp_path / "v1" / ".tmp-alive"
    old.parent.mkdir(parents=True)
    for path in (old, foreign, leftover, current):
        path.write_bytes(b"y" * 100)
    os.utime(leftover, (1000, 1000))
    assert cache.measure().other_size == 300
    assert cache.trim(None) == 100
    assert cache.trim(250) == 300
    assert not old.exists()
    assert not leftover.exists()
    assert current.exists()
    assert foreign.exists()
    assert cache.list_known(digests) == set(digests[2:])


def test_a_damaged_index_is_refused(tmp_path: pathlib.Path, packed: bytes) -> None:
    diff_id = Digest(LAYER.diff_id)
    target = str(tmp_path / "index")
    unpack_index(packed, target, diff_id)
    damaged = bytearray(packed)
    damaged[len(packed) // 2] ^= 0xFF
    for content in (packed[:-1], packed + b"x", bytes(damaged), b"", b"no zstd at all"):
        with pytest.raises(Malformed, match="the index of the layer"):
            unpack_index(content, target, diff_id)
    with pytest.raises(Malformed, match="it is of sha256"):
        unpack_index(packed, target, Digest("sha256:" + "0" * 64))


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE VIEW extra AS SELECT 1",
        "CREATE TRIGGER extra AFTER INSERT ON entry BEGIN DELETE FROM scan; END",
        "ALTER TABLE package RENAME TO other",
        "UPDATE scan SET version = version - 1",
        "INSERT INTO scan SELECT 'sha256:' || hex(zeroblob(32)), version, 0, 0, 0, 0, words FROM scan",
    ],
)
def test_an_index_with_other_tables_is_refused(tmp_path: pathlib.Path, packed: bytes, statement: str) -> None:
    import sqlite3

    path = str(tmp_path / "index")
    unpack_index(packed, path, Digest(LAYER.diff_id))
    with sqlite3.connect(path) as connection:
        connection.execute(statement)
    connection.close()
    with pytest.raises(Malformed):
        unpack_index(pack_index(path), str(tmp_path / "other"), Digest(LAYER.diff_id))


def ask(root: pathlib.Path, layout: str, url: str, workers: Any = None) -> list[tuple[Any, ...]]:
    with imq.connect(root=root, workers=workers) as session:
        session(f'set index_cache = "{url}"')
        return list_values(session(f'packages of (images in "oci:{layout}") select image_name, name, version'))


@pytest.mark.parametrize("place", ["this process", "processes", "dask"])
def test_a_team_scans_each_layer_once(
    tmp_path: pathlib.Path,
    layout: str,
    place: str,
    monkeypatch: pytest.MonkeyPatch,
    faults: Faults,
    request: pytest.FixtureRequest,
) -> None:
    with imq.connect(root=tmp_path / "plain") as session:
        expected = list_values(session(f'packages of (images in "oci:{layout}") select image_name, name, version'))
    for name, value in faults.environment.items():
        monkeypatch.setenv(name, value)
    url, workers = f"{tmp_path}/cache", {"this process": None, "processes": 2}.get(place)
    if place == "dask":
        url = find_empty_cache(request.getfixturevalue("bucket"), tmp_path, monkeypatch)
        workers = request.getfixturevalue("cluster").url
    assert ask(tmp_path / "first", layout, url, workers) == expected
    scans = len(faults.list_scans())
    assert scans == (0 if place == "this process" else 5)
    monkeypatch.setattr("imq.engine.layer_index.scan.scan_layer", None)  # nothing is scanned here either
    assert ask(tmp_path / "second", layout, url, 1) == expected
    assert len(faults.list_scans()) == scans


def test_a_damaged_object_is_scanned_again(
    tmp_path: pathlib.Path, layout: str, caplog: pytest.LogCaptureFixture
) -> None:
    url = f"file://{tmp_path}/cache"
    expected = ask(tmp_path / "first", layout, url)
    for path in (tmp_path / "cache").rglob("*.zst"):
        path.write_bytes(path.read_bytes()[:-7])
    assert ask(tmp_path / "second", layout, url) == expected
    assert caplog.text.count("is damaged") == 5


def test_a_cache_that_cannot_be_reached(
    tmp_path: pathlib.Path, layout: str, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    find_empty_cache(bucket, tmp_path, monkeypatch)
    with pytest.raises(ImqError) as failed:
        ask(tmp_path, layout, "s3://no-such-bucket-here/x")
    assert failed.value.code == "index-cache"
    assert "s3://no-such-bucket-here/x" in failed.value.message


def test_explain_shows_what_workers_read_and_what_the_cache_saves(tmp_path: pathlib.Path, layout: str) -> None:
    statement = "packages of (images)"
    with imq.connect(root=tmp_path / "store", workers=3) as session:
        session(f'load "{layout}"').raise_for_errors()
        session(f'set index_cache = "{tmp_path}/cache"')
        plan = session.explain(statement)
        assert re.search(r"at most 5 layers with \S+; 5 tasks for 3 processes of this machine", plan)
        session("packages of bare:1").raise_for_errors()
    (tmp_path / "store" / "files.db").unlink()
    with imq.connect(root=tmp_path / "store", workers="dask://scheduler.invalid:8786") as session:
        session(f'set index_cache = "{tmp_path}/cache"')
        assert re.search(
            r"at most 4 layers with \S+; the index cache has 1 layer with \S+; 4 tasks for dask://scheduler.invalid:8786",
            session.explain(statement),
        )
        session("set workers = none")
        session(statement).raise_for_errors()
    (tmp_path / "store" / "files.db").unlink()
    with imq.connect(root=tmp_path / "store", workers=2) as session:
        session(f'set index_cache = "{tmp_path}/cache"')
        assert re.search(
            r"; no layer; the index cache has 5 layers with \S+$", session.explain(statement), re.MULTILINE
        )


@pytest.mark.parametrize(
    "statement",
    [
        'packages of (images in "oci:{0}")',
        'images in "oci:{0}" where contains package openssl',
        'files of (images in "oci:{0}" where os = linux) where name = passwd',
    ],
)
def test_explain_shows_the_layers_of_layouts(tmp_path: pathlib.Path, layout: str, statement: str) -> None:
    text = statement.format(layout)
    with imq.connect(root=tmp_path / "store", workers=3) as session:
        session(f'set index_cache = "{tmp_path}/cache"')
        assert re.search(
            r"at most 5 layers with \S+; 5 tasks for 3 processes of this machine$", session.explain(text), re.MULTILINE
        )
        session(f'packages of bare:1 in "oci:{layout}"').raise_for_errors()
        assert re.search(
            r"at most 2 layers with \S+; 2 tasks for", session.explain(f'files of web:1 in "oci:{layout}"')
        )
    with imq.connect(root=tmp_path / "other", workers="dask://scheduler.invalid:8786") as session:
        session(f'set index_cache = "{tmp_path}/cache"')
        assert re.search(
            r"at most 4 layers with \S+; the index cache has 1 layer with \S+; 4 tasks for dask://scheduler.invalid:8786",
            session.explain(text),
        )


def test_usage_and_prune(tmp_path: pathlib.Path, layout: str, url: str) -> None:
    ask(tmp_path / "store", layout, url)
    with imq.connect(root=tmp_path / "store") as session:
        assert not [row for row in session("usage") if row.type == "Index Cache"]
        session(f'set index_cache = "{url}"')
        (row,) = [row for row in session("usage") if row.type == "Index Cache"]
        assert row.total == 5
        assert row.size > 1000
        session("set index_cache_size = 1KB")
        assert "the index cache" in session("prune", dry_run=True)[-1].target
        outcome = session("prune")[-1]
        assert outcome.target == f"the index cache {url}"
        assert outcome.size > 1000
        (row,) = [row for row in session("usage") if row.type == "Index Cache"]
        assert row.size <= 1000
