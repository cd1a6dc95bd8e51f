"""Parts of indexes: the answers are those of whole indexes, and a part is never taken for one."""

from __future__ import annotations

import json
import sqlite3
from collections import deque
from contextlib import closing
from typing import TYPE_CHECKING, Any

import imq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from imq.engine.layer_index.index_part import make_filter, may_contain
from imq.engine.layer_index.packed_index import unpack_index
from imq.engine.layer_index.scan_adder import ScanAdder
from imq.engine.registry.settings import Settings
from imq.engine.sources.contents import indexer, layer_parts
from imq.engine.workers.dispatcher import Event
from imq.engine.workers.jobs import JobRunner
from imq.engine.workers.workers import Workers
from imq.grammar.errors import ImqError
from layer_index.test_merged_view import PATHS, entries, is_ordinary
from layers.stacks import Member, archive, folder, member, symlink
from support.images import Image, Layer, Layout, digest_of
from support.inside_images import make_inside_images
from workers.conftest import list_values

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterable, Iterator, Mapping

    from imq.engine.oci.digest import Digest
    from workers.conftest import Cluster

CONDITIONS = [
    'name = "a"',
    'path like "/a/*"',
    'path = "/a/b"',
    'path matches "^/[ab]/c"',
    'directory = "/a"',
    'name like "*b*" and size > 1',
    'path like "/b*" or name = "c"',
    'not name = "a" and type = file',
    'name = "a" and content like "*1*"',
    "size > 1",
    'type = directory or mode = "0644"',
    "type = symlink",
    'size = 1 and not name like "c*"',
]
FIELDS = "image_name, path, type, size, mode, layer, layer_index, sha256"
WHOLE_FIELDS = "image_name, path, resolved, broken, owner, package"
"""Fields for which the whole layers are indexed."""


class RemoteProcess:
    """A remote worker in this process. Documents go through JSON, as over a network."""

    slots = 1
    depth = 0

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        self.parts: list[bool] = []
        self._runner = JobRunner(Settings(), {})
        self._done: deque[Event] = deque()

    def submit(self, number: int, document: Mapping[str, Any], avoid: frozenset[str]) -> None:  # noqa: ARG002
        task = json.loads(json.dumps(document)) | {"folder": str(self.folder), "sharesFolder": False}
        result, content = self._runner.run(task)
        if task["kind"] == "scan":
            self.parts.append(bool(result.get("isPart")))
        self._done.append(Event(number, json.loads(json.dumps(result)), content, worker="remote"))

    def wait(self, timeout: float) -> list[Event]:  # noqa: ARG002
        events = list(self._done)
        self._done.clear()
        return events

    def find_workers(self, numbers: Iterable[int]) -> dict[int, str]:  # noqa: ARG002
        return {}

    def cancel(self, numbers: Iterable[int]) -> None:
        pass

    def close(self) -> None:
        pass


@pytest.fixture(scope="module")
def remote(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RemoteProcess]:
    made = RemoteProcess(tmp_path_factory.mktemp("remote"))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Workers, "_open", lambda _: made)
        patched.setattr(indexer, "MIN_PARTS", 1)
        patched.setattr("imq.engine.workers.jobs._is_smaller", lambda _part, _whole: True)
        yield made


def ask(
    root: pathlib.Path, statements: Iterable[str], cache: pathlib.Path | None = None
) -> list[list[tuple[Any, ...]]]:
    with imq.connect(root=root, workers="dask://remote:8786" if cache is not None else None) as session:
        if cache is not None:
            session(f'set index_cache = "{cache}"')
        return [answer(session, statement) for statement in statements]


def answer(session: imq.Session, statement: str) -> list[tuple[Any, ...]]:
    """Return the rows of a statement, or the code of its error: a drawn image may be one that cannot be unpacked."""
    try:
        return list_values(session(statement))
    except ImqError as error:
        return [(error.code,)]


def make_layer(members: list[Member]) -> Layer:
    content = archive(members)
    return Layer(content, digest_of(content), "application/vnd.oci.image.layer.v1.tar", 0)


def write_layout(path: pathlib.Path, stacks: Iterable[Iterable[list[Member]]]) -> None:
    layout = Layout(path)
    for number, drawn in enumerate(stacks):
        layout.add(Image([make_layer(members) for members in drawn], env=[f"N={number}"]), f"app:{number}")
    layout.close()


def compare(remote: RemoteProcess, folder: pathlib.Path, stacks: list[list[list[Member]]]) -> None:
    write_layout(folder / "layout", stacks)
    statements = [
        f'files of (images in "oci:{folder}/layout") where {condition} select {FIELDS}' for condition in CONDITIONS
    ]
    last = f'files of (images in "oci:{folder}/layout") where path like "/a*" select {WHOLE_FIELDS}'
    expected = ask(folder / "plain", [*statements, last])
    del remote.parts[:]
    found = ask(folder / "parts", [*statements, last], folder / "cache")
    for statement, rows, other in zip([*statements, last], expected, found, strict=True):
        assert rows == other, statement


DRAWN = st.lists(st.lists(entries(), max_size=5).filter(is_ordinary), min_size=1, max_size=3)


@settings(max_examples=12, deadline=None)
@given(drawn=st.lists(DRAWN, min_size=1, max_size=3))
def test_drawn_stacks(
    remote: RemoteProcess, tmp_path_factory: pytest.TempPathFactory, drawn: list[list[list[Member]]]
) -> None:
    compare(remote, tmp_path_factory.mktemp("drawn"), drawn)


@pytest.mark.parametrize(
    "stack",
    [
        [[folder("a"), member("a/b", b"1")], [member("a", b"a file in the place of a folder")]],
        [[member("a/b", b"1"), member("a/c/d/b", b"1")], [member("a/c", b"2")], [member("x", b"3")]],
        [[member("a/b", b"11"), member("b", b"11")], [member("a/.wh.b"), member("x", b"1")]],
        [[member("a/b", b"11")], [member("a/.wh..wh..opq"), member("a/c", b"1")]],
        [[symlink("a", "b"), member("b/b", b"1")], [member("a/b", b"22"), member("x", b"3")]],
        [[symlink("a", "b"), member("b/b", b"1")], [member("a/.wh.b")]],
        [[member("a/b", b"11")], [symlink("a", "c")]],
        [[member("a/b", b"11")], [folder("a", 0o700), member("a/c", b"3")]],
    ],
    ids=[
        "file on folder", "file on lower folder", "whiteout", "opaque", "link", "whiteout behind a link",
        "link on folder", "folder",
    ],
)  # fmt: skip
def test_stacks_by_hand(remote: RemoteProcess, tmp_path: pathlib.Path, stack: list[list[Member]]) -> None:
    many = [member(f"many/{number}", b"") for number in range(50)]
    compare(remote, tmp_path, [[[*many, *stack[0]], *stack[1:]]])
    assert any(remote.parts)


def test_too_many_paths_to_look_for(
    remote: RemoteProcess, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layer_parts, "_CHECKS", 0)
    compare(remote, tmp_path, [[[member("a/b", b"11"), member("c", b"1")], [member("a/c", b"2")]]])
    assert any(remote.parts)


PACKAGE_STATEMENTS = [
    "packages of ({images}) where name = openssl select {fields}",
    'packages of ({images}) where name like "*std*" and not type = deb select {fields}',
    'packages of ({images}) where version >= "1.1" and architecture = amd64 select {fields}',
    'packages of ({images}) where not name matches "^[a-l]" select {fields}',
    'packages of ({images}) where path like "/var/*" and name != openssl select {fields}',
    "packages of ({images}) where size > 1000 select {fields}",
    "packages of ({images}) where name = openssl or source = openssl select {fields}",
    "packages of ({images}) select {fields}",
    "os_releases of ({images}) select image_name, id, version_id, pretty_name",
    "{images} where contains package openssl select name",
    "{images} where not contains package openssl select name",
]
PACKAGE_FIELDS = "image_name, name, version, type, path, layer, layer_index, licence, purl, distribution"


def write_lists(*names: str) -> bytes:
    """Return the list of packages of a Debian system."""
    texts = (
        f"Package: {name}\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1.{len(name)}\n"
        for name in names
    )
    return "\n".join(texts).encode()


@pytest.fixture
def package_images(tmp_path: pathlib.Path) -> str:
    """A query of images with packages: those for all tests, and lists of packages that upper layers replace or hide."""
    layout = Layout(tmp_path / "layout")
    for image, names in make_inside_images().values():
        layout.add(image, *names)
    path = "var/lib/dpkg/status"
    lower = [member(path, write_lists("openssl", "curl")), *(member(f"many/{number}", b"") for number in range(50))]
    stacks = [
        [lower, [member(path, write_lists("openssl", "bash"))]],
        [lower, [member("var/lib/dpkg/.wh.status")]],
        [lower, [member("var/lib/dpkg", b"a file in the place of a folder")]],
        [lower, [symlink("var", "srv")]],
        [lower, [member("opt/x", b"")], [member("var/lib/dpkg/status.d/openssl", write_lists("openssl"))]],
    ]
    for number, stack in enumerate(stacks):
        layout.add(Image([make_layer(members) for members in stack], env=[f"N={number}"]), f"stack:{number}")
    layout.close()
    return f'images in "oci:{tmp_path}/layout"'


@pytest.mark.parametrize("statement", PACKAGE_STATEMENTS)
def test_conditions_on_packages(
    remote: RemoteProcess, tmp_path: pathlib.Path, package_images: str, statement: str
) -> None:
    text = statement.format(images=package_images, fields=PACKAGE_FIELDS)
    (expected,) = ask(tmp_path / "plain", [text])
    assert expected
    del remote.parts[:]
    (found,) = ask(tmp_path / "parts", [text], tmp_path / "cache")
    assert found == expected
    assert any(remote.parts)


def test_a_part_has_the_selected_packages(
    remote: RemoteProcess, tmp_path: pathlib.Path, package_images: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    names: set[str] = set()
    add = ScanAdder.add_packed

    def note(self: ScanAdder, packed: bytes, key: Digest, path: str, now: int) -> None:
        unpack_index(packed, path, key)
        with closing(sqlite3.connect(path)) as connection:
            names.update(name for (name,) in connection.execute("SELECT name FROM package"))
        add(self, packed, key, path, now)

    monkeypatch.setattr(ScanAdder, "add_packed", note)
    del remote.parts[:]
    text = f"packages of ({package_images}) where name = openssl or name = curl and size is unknown select name"
    ask(tmp_path / "parts", [text], tmp_path / "cache")
    assert all(remote.parts)
    assert "openssl" in names
    assert names <= {"openssl", "curl"}


def test_a_part_is_dropped_with_its_statement(remote: RemoteProcess, tmp_path: pathlib.Path) -> None:
    write_layout(tmp_path / "layout", [[[member("a/b", b"1"), member("c", b"2")]]])
    images = f'images in "oci:{tmp_path}/layout"'
    del remote.parts[:]
    with imq.connect(root=tmp_path / "store", workers="dask://remote:8786") as session:
        session(f'set index_cache = "{tmp_path}/cache"')
        session(f'load "{tmp_path}/layout"').raise_for_errors()
        (tmp_path / "store" / "files.db").unlink(missing_ok=True)
    with imq.connect(root=tmp_path / "store", workers="dask://remote:8786") as session:
        session(f'set index_cache = "{tmp_path}/cache"')
        assert list_values(session(f"files of ({images}) where name = c select path")) == [("/c",)]
        assert remote.parts == [True]
        assert len(list_values(session(f"files of ({images}) select path"))) == 3
    with sqlite3.connect(tmp_path / "store" / "files.db") as connection:
        names = [name for (name,) in connection.execute("SELECT diff_id FROM layer")]
        assert len(names) == 1
        assert connection.execute("SELECT count(*) FROM note WHERE kind = 'dropped'").fetchone() == (0,)
    assert len(list((tmp_path / "cache").rglob("*.zst"))) == 1  # the whole index


def test_without_a_cache_the_whole_index_is_returned(remote: RemoteProcess, tmp_path: pathlib.Path) -> None:
    write_layout(tmp_path / "layout", [[[member("a/b", b"1"), member("c", b"2")]]])
    del remote.parts[:]
    with imq.connect(root=tmp_path / "store", workers="dask://remote:8786") as session:
        text = f'files of (images in "oci:{tmp_path}/layout") where name = c select path'
        assert list_values(session(text)) == [("/c",)]
    assert remote.parts == [False]


def test_statements_on_a_cluster(cluster: Cluster, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indexer, "MIN_PARTS", 1)
    layout = Layout(tmp_path / "layout")
    for image, names in make_inside_images().values():
        layout.add(image, *names)
    layout.close()
    images = f'images in "oci:{tmp_path}/layout"'
    statements = [
        f'files of ({images}) where path like "/etc/*" select image_name, path, size, mode, owner, package',
        f'files of ({images}) where path like "/srv/*" and content like "*SECRET*" select image_name, path, sha256',
        f'{images} where contains file "/srv/*.py" select name',
        f'files of ({images}) where name = "os-release" and size > 10 select image_name, path, layer',
    ]
    expected = ask(tmp_path / "plain", statements)
    assert all(expected)
    for number, statement in enumerate(statements):
        with imq.connect(root=tmp_path / f"store-{number}", workers=cluster.url) as session:
            session(f'set index_cache = "{tmp_path}/cache"')
            assert list_values(session(statement)) == expected[number]


@given(st.sets(PATHS, max_size=30))
def test_a_filter_has_all_of_its_paths(paths: set[str]) -> None:
    bits = make_filter(paths)
    assert all(may_contain(bits, path) for path in paths)


@pytest.mark.parametrize("size", [0, 1, 10, 3000])
def test_a_filter_has_few_other_paths(size: int) -> None:
    bits = make_filter(f"/usr/share/file-{number}" for number in range(size))
    assert sum(may_contain(bits, f"/usr/lib/other-{number}") for number in range(10_000)) <= 3
