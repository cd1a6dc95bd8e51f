"""Statements on files and packages have the same answers by one process, by processes of this machine, and by parts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import imq
import pytest
from workers.conftest import list_values
from workers.test_parts import RemoteProcess, remote  # noqa: F401 - a fixture

if TYPE_CHECKING:
    import pathlib

FILE_CONDITIONS = [
    "name = passwd",
    'name in (passwd, "group", shadow)',
    'name like "*.py"',
    'name matches "^os-"',
    'path = "/etc/passwd"',
    'path like "/etc/*"',
    'path like "*/dist-packages/*" and size > 100',
    'not path like "/usr/*" and type = file',
    'directory = "/etc"',
    'directory like "/srv*" or name = hosts',
    "type = symlink",
    'type = directory and path like "/usr/*"',
    "size > 500",
    'size between 1 and 100 and name like "*s*"',
    'mode = "0755"',
    'permissions like "-rws*"',
    'uid <> 0 or path like "/opt/*"',
    'setuid and directory like "/usr*"',
    "mtime before 2030-01-01 and name = motd",
    'link_target = none and name like "h*"',
    'content like "*SECRET*"',
    'path like "/srv/*" and content matches "[a-z]+"',
    "name = passwd and owner = root",
    'path like "/etc/*" and package = none',
]
FILE_STATEMENTS = [
    *(f"files of ({{images}}) where {one} select image_name, path, size, layer_index" for one in FILE_CONDITIONS),
    'files of ({images}) where path like "/etc/*" select image_name, path, sha256, owner, resolved',
    'files of ({images}) where path like "/etc/*" group by image_name select image_name, count(*), sum(size)',
    'files of ({images}) where name like "*s*" order by size desc, path limit 5 select path, size',
    'all files of ({images}) where path like "/etc/*" select image_name, path, status, layer_index',
    '{images} where contains file "*.py" select name',
    "{images} where contains file /etc/passwd select name",
    '{images} where any files where path like "/srv/*" and size > 1 select name',
    '{images} where not contains file "/srv/*" select name',
    "files of ({images}) where name = nothing select path",
]
PACKAGE_STATEMENTS = [
    "packages of ({images}) where name = openssl select image_name, name, version, path, layer",
    'packages of ({images}) where name like "*ss*" or type = python select image_name, name, version, licence',
    "packages of ({images}) where version < 3.0.15-1 select image_name, name, version",
    "packages of ({images}) group by type select type, count(*)",
    "packages of ({images}) where type <> deb and size > 0 select image_name, name",
    "{images} where contains package openssl select name",
    "{images} where any packages where name = openssl and version < 3.1 select name",
    "os_releases of ({images}) where id = debian select image_name, version_id",
]
STATEMENTS = [*FILE_STATEMENTS, *PACKAGE_STATEMENTS]


@pytest.fixture(scope="module")
def texts(layout: str) -> list[str]:
    return [statement.format(images=f'images in "oci:{layout}"') for statement in STATEMENTS]


@pytest.fixture(scope="module")
def expected(texts: list[str], tmp_path_factory: pytest.TempPathFactory) -> list[list[tuple[object, ...]]]:
    with imq.connect(root=tmp_path_factory.mktemp("plain")) as session:
        return [list_values(session(text)) for text in texts]


def test_by_processes(tmp_path: pathlib.Path, texts: list[str], expected: list[list[tuple[object, ...]]]) -> None:
    assert sum(map(bool, expected)) > len(texts) * 2 // 3
    with imq.connect(root=tmp_path, workers=2) as session:
        for text, rows in zip(texts, expected, strict=True):
            assert list_values(session(text)) == rows, text


def test_by_parts(
    tmp_path: pathlib.Path,
    texts: list[str],
    expected: list[list[tuple[object, ...]]],
    remote: RemoteProcess,  # noqa: F811
) -> None:
    """Each statement has a store of its own: with a layer in the index, no worker returns a part of it."""
    count = 0
    for number, (text, rows) in enumerate(zip(texts, expected, strict=True)):
        del remote.parts[:]
        with imq.connect(root=tmp_path / str(number), workers="dask://remote:8786") as session:
            session(f'set index_cache = "{tmp_path}/cache"')
            assert list_values(session(text)) == rows, text
        count += any(remote.parts)
    assert count > len(FILE_STATEMENTS) // 2
