"""What workers read is what this process reads: the same rows, from layouts, the store and registries."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import imq
import pytest
from imq.engine.workers.workers import Workers
from support.servers import Registry, require_programs
from workers.conftest import Bucket, Cluster, list_values

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterator

    from workers.faults import Faults

STATEMENTS = [
    "packages of ({images}) select image_name, name, version, type, path, layer, licence, purl",
    "files of ({images}) select image_name, path, size, mode, uid, owner, package, layer, machine",
    "all files of ({images}) select image_name, path, status, layer",
    'files of ({images}) where content like "*SECRET*" select image_name, path, sha256',
    "files of ({images}) where size < 1000 select image_name, path, sha256, content",
    "os_releases of ({images}) select image_name, id, version_id",
    'files of ({images}) where path like "/srv/*" select image_name, path, modified, sha256',
    '{images} where contains file "/srv/*.py" select name',
    "{images} where contains package openssl select name",
    'texts of ({images}) where text like "*e*" select image_name, kind, key, line, text, layer, occurrence',
    'texts of ({images}) where kind = file and text matches "[0-9]+" and not text like "*a*" select key, line, text',
    'texts of ({images}) where text like "*e*" and occurrence = 1 or text like "*SECRET*" select location, occurrence',
    '{images} where contains text "SECRET" select name, found',
]


def ask(root: pathlib.Path, statement: str, workers: object = None, **options: object) -> list[tuple[object, ...]]:
    with imq.connect(root=root / "store", workers=workers, **options) as session:
        return list_values(session(statement))


@pytest.fixture(params=["2 processes", "dask"])
def workers(request: pytest.FixtureRequest) -> int | str:
    if request.param != "dask":
        return 2
    cluster: Cluster = request.getfixturevalue("cluster")
    return cluster.url


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory, layout: str) -> Iterator[Registry]:
    require_programs("docker-registry")
    with Registry(tmp_path_factory.mktemp("registry")) as made:
        with imq.connect(root=tmp_path_factory.mktemp("source")) as session:
            result = session(f'copy all images in "oci:{layout}" to "{made.host}/team/{{{{.Name}}}}"')
            result.raise_for_errors()
        yield made


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory, layout: str) -> dict[str, list[tuple[object, ...]]]:
    """What this process reads itself."""
    with imq.connect(root=tmp_path_factory.mktemp("plain")) as session:
        return {one: list_values(session(one.format(images=f'images in "oci:{layout}"'))) for one in STATEMENTS}


def test_a_layout(
    tmp_path: pathlib.Path, layout: str, workers: int | str, expected: dict[str, list[tuple[object, ...]]]
) -> None:
    assert all(expected.values())
    with imq.connect(root=tmp_path, workers=workers) as session:
        for statement, rows in expected.items():
            assert list_values(session(statement.format(images=f'images in "oci:{layout}"'))) == rows, statement


def test_the_store(tmp_path: pathlib.Path, layout: str, workers: int | str) -> None:
    with imq.connect(root=tmp_path / "store") as session:
        session(f'load "{layout}"').raise_for_errors()
        expected = list_values(session("packages of (images) select image_name, name, version"))
    (tmp_path / "store" / "files.db").unlink()
    assert expected
    with imq.connect(root=tmp_path / "store", workers=workers) as session:
        assert list_values(session("packages of (images) select image_name, name, version")) == expected


def test_a_registry(tmp_path: pathlib.Path, registry: Registry, workers: int | str) -> None:
    text = f"packages of (tags in {registry.host}/team/*) select image_name, name, version, path, layer"
    expected = ask(tmp_path / "plain", text)
    assert expected
    assert ask(tmp_path / "workers", text, workers) == expected


def test_a_client_of_the_program_stays_open(tmp_path: pathlib.Path, layout: str, cluster: Cluster) -> None:
    from distributed import Client

    text = f'packages of (images in "oci:{layout}") select name, version'
    expected = ask(tmp_path / "plain", text)
    with Client(cluster.address, set_as_default=False) as client:
        assert ask(tmp_path / "workers", text, client) == expected
        assert client.submit(lambda: 1).result() == 1


def test_a_layout_that_workers_read_in_a_bucket(
    tmp_path: pathlib.Path,
    layout: str,
    cluster: Cluster,
    bucket: Bucket,
    faults: Faults,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    import s3fs

    for name, value in bucket.environment.items():
        monkeypatch.setenv(name, value)
    copied = tmp_path / "mounted" / "images"
    shutil.copytree(layout, copied)
    s3fs.S3FileSystem().put(f"{layout}/blobs", f"indexes/{tmp_path.name}/images/blobs", recursive=True)
    expected = ask(tmp_path / "plain", f'packages of (images in "oci:{copied}") select name, version, path')
    config = tmp_path / "config.toml"
    config.write_text(f'[shared.images]\nfolder = "{tmp_path}/mounted"\nurl = "s3://indexes/{tmp_path.name}"\n')
    with imq.connect(root=tmp_path / "store", workers=cluster.url, config=config) as session:
        seen: list[dict[str, Any]] = []
        encode = Workers._encode
        monkeypatch.setattr(Workers, "_encode", lambda *given: seen.append(encode(*given)) or drop_file(seen[-1]))
        query = f'packages of (images in "oci:{copied}") select name, version, path'
        assert list_values(session(query)) == expected
    assert len(faults.list_scans()) == len(seen) == 5
    assert "scanned here" not in caplog.text


def drop_file(task: dict[str, Any]) -> dict[str, Any]:
    """Return a task without the file of this machine, as on a machine that does not have it."""
    shared, own = task["locations"]
    assert own.startswith("file://")
    return {**task, "locations": [shared]}
