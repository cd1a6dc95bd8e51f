"""Full disks, read-only folders, roots that are not stores, and missing blobs."""

from __future__ import annotations

import errno
import io
import os
import resource
import shutil
import signal
import subprocess
import sys
import uuid
from typing import TYPE_CHECKING, Any

import pytest
from imq.engine.store.bounded_read import read_bounded
from store.support.serve_image import serve
from store.support.small_filesystem import file_system, fill
from store.support.stores import StoreSession, blobs_in, check_store, command, entries_in, imq
from support.images import Image, Layout, docker_archive, layer, write_library

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from support.servers import Registry

BIG = Image([layer({f"file{n}": os.urandom(1_500_000)}, "gzip") for n in range(4)])


def small_files() -> None:
    """Limit the files of this process to a megabyte, to simulate a full disk."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))


@pytest.fixture
def readable(root: Path) -> Iterator[dict[str, Image]]:
    """A store that unprivileged users may read but not write."""
    made = write_library(root)
    imq(root, "images")  # measures, and makes the index
    folders = [folder for folder, _, _ in os.walk(root)]
    for folder in folders:
        os.chmod(folder, 0o555)
    yield made
    for folder in folders:
        os.chmod(folder, 0o755)


# Little memory


def limited_memory() -> None:
    """Allow this process 1.1 GB of address space, as `ulimit -v 1100000` does."""
    resource.setrlimit(resource.RLIMIT_AS, (1_100_000 << 10, 1_100_000 << 10))


def test_actions_need_no_memory_for_the_largest_index_json(root: Path, tmp_path: Path, registry: Registry) -> None:
    name = serve(registry, f"memory/{uuid.uuid4().hex[:8]}:1", BIG)
    archive, files = tmp_path / "a.tar", tmp_path / "files.tar"
    for words in (
        ("pull", "-q", name),
        ("verify", "all"),
        ("save", name, "to", str(archive)),
        ("export", name, "to", str(files)),
        ("import", str(files), "as", "imported:1"),
        ("untag", name),
        ("load", str(archive)),
        ("rmi", name),
        ("prune",),
    ):
        imq(root, *words, preexec_fn=limited_memory)
    assert [entry["annotations"]["org.opencontainers.image.ref.name"] for entry in entries_in(root)] == ["imported:1"]


@pytest.mark.parametrize("size", [0, 1, 65535, 65536, 65537, 200_000])
def test_a_bounded_read_returns_the_file_or_one_byte_more_than_the_limit(size: int) -> None:
    content = os.urandom(size)
    for limit in (size - 1, size, size + 1, 10 * size):
        assert read_bounded(io.BytesIO(content), limit) == content[: limit + 1]


# A full disk


def test_a_full_disk(tmp_path: Path, registry: Registry) -> None:
    name = serve(registry, f"big/{uuid.uuid4().hex[:8]}:1", BIG)
    root = tmp_path / "small" / "store"
    with file_system(tmp_path / "small", "size=4m") as mounted:
        options: dict[str, Any] = {} if mounted else {"preexec_fn": small_files}
        write_library(root)
        before = imq(root, "images", "as", "json").stdout
        blobs = blobs_in(root)
        for words in (("pull", name), ("load", str(tmp_path / "source"))):
            Layout(tmp_path / "source").add(BIG, "big:1")
            done = imq(root, *words, code=None, **options)
            assert done.returncode in (1, 3)
            assert "no-space" in done.stderr or "File too large" in done.stderr, done
        assert imq(root, "images", "as", "json", **options).stdout == before
        imq(root, "prune", **options)
        assert blobs_in(root).keys() <= blobs.keys()
        check_store(root)


def test_queries_work_on_a_completely_full_disk(tmp_path: Path) -> None:
    root = tmp_path / "small" / "store"
    with file_system(tmp_path / "small", "size=2m") as mounted:
        write_library(root)
        before = imq(root, "images", "as", "json").stdout
        if mounted:
            fill(tmp_path / "small" / "filler")
        assert imq(root, "images", "as", "json").stdout == before
        if mounted:
            done = imq(root, "tag", "redis:7", "as", "other:1", code=3)
            assert "no-space" in done.stderr
            os.unlink(tmp_path / "small" / "filler")
        imq(root, "tag", "redis:7", "as", "other:1")
        check_store(root)


def test_saving_to_a_full_disk_leaves_nothing(tmp_path: Path, root: Path) -> None:
    Layout(root).add(BIG, "big:1")
    (tmp_path / "out").mkdir()
    with file_system(tmp_path / "out", "size=1m") as mounted:
        options: dict[str, Any] = {} if mounted else {"preexec_fn": small_files}
        done = imq(root, "save", "big:1", "to", str(tmp_path / "out" / "big.tar"), code=None, **options)
        assert done.returncode in (1, 3)
        assert list((tmp_path / "out").iterdir()) == []


# Nothing may be written


def test_a_read_only_store_answers_queries(
    root: Path, readable: dict[str, Image], unprivileged: dict[str, Any]
) -> None:
    before = imq(root, "images", "as", "json").stdout
    assert imq(root, "images", "as", "json", **unprivileged).stdout == before
    dangling = imq(root, "images where dangling and size > 1kB count", **unprivileged)
    assert dangling.stdout.strip() == "2"
    assert readable


@pytest.mark.parametrize(
    "words",
    [
        ("rm", "redis:7"),
        ("tag", "redis:7", "as", "x:1"),
        ("prune",),
        ("import", "/etc/hostname", "as", "x:1"),
        ("pull", "127.0.0.1:1/x:1"),
    ],
    ids=lambda words: words[0],
)
@pytest.mark.usefixtures("readable")
def test_a_read_only_store_is_not_changed(root: Path, unprivileged: dict[str, Any], words: tuple[str, ...]) -> None:
    entries, blobs = entries_in(root), blobs_in(root)
    done = imq(root, *words, code=None, **unprivileged)
    assert done.returncode in (1, 3)
    assert "permission" in done.stderr
    assert (entries_in(root), blobs_in(root)) == (entries, blobs)


def test_a_read_only_file_system(tmp_path: Path) -> None:
    root = tmp_path / "fixed" / "store"
    with file_system(tmp_path / "fixed", "size=8m") as mounted:
        write_library(root)
        before = imq(root, "images", "as", "json").stdout
        if mounted:
            subprocess.run(["mount", "-o", "remount,ro", str(tmp_path / "fixed")], check=True)
            done = imq(root, "rm", "redis:7", code=None)
            assert "read-only" in done.stderr
        assert imq(root, "images", "as", "json").stdout == before


@pytest.mark.usefixtures("readable")
def test_a_read_only_store_does_not_measure_layers_again(root: Path, unprivileged: dict[str, Any]) -> None:
    """The measures of the index on disk are used; otherwise every query would unpack every layer."""
    script = (
        "import sys; from imq.engine.store.store import Store; "
        "store = Store(sys.argv[1]); print(len(store.list_unmeasured_layers()), store.index.is_current)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(root)], capture_output=True, text=True, check=True, **unprivileged
    )
    assert done.stdout.split() == ["0", "True"]


# Roots that are no stores


def test_a_missing_store_is_empty(root: Path, opened: Callable[..., StoreSession]) -> None:
    assert opened(root).names() == []
    done = imq(root, "images", "count", code=3)
    assert (done.stdout, "error[no-store]" in done.stderr) == ("", True)
    assert not root.exists(), "a question makes nothing"
    assert "no-such-image" in imq(root, "rm", "redis:7", code=3).stderr
    assert not root.exists()


@pytest.mark.parametrize("words", [("images",), ("prune",), ("import", "/etc/hostname", "as", "x:1")])
def test_a_folder_with_other_files_is_rejected(tmp_path: Path, words: tuple[str, ...]) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_bytes(b"cat")
    done = imq(tmp_path / "photos", *words, code=None)
    assert done.returncode in (1, 3)
    assert "cat.jpg" in done.stderr
    assert os.listdir(tmp_path / "photos") == ["cat.jpg"]


@pytest.mark.parametrize("words", [("images",), ("prune",), ("import", "/etc/hostname", "as", "x:1")])
def test_a_file_is_rejected_as_a_store(tmp_path: Path, words: tuple[str, ...]) -> None:
    (tmp_path / "file").write_bytes(b"a file")
    done = imq(tmp_path / "file", *words, code=None)
    assert done.returncode in (1, 3)
    assert "not a folder" in done.stderr
    assert (tmp_path / "file").read_bytes() == b"a file"


@pytest.mark.parametrize("content", [b"", b"no json", b"[]", b"{}", b'{"manifests":[{}]}', b'{"manifests":' * 9999])
def test_an_invalid_index_json_is_reported_and_kept(root: Path, content: bytes, tmp_path: Path) -> None:
    Layout(root).add(BIG, "big:1")
    shutil.copytree(root, tmp_path / "kept")
    (root / "index.json").write_bytes(content)
    for words in (("images",), ("prune",), ("tag", "big:1", "as", "x:1")):
        done = imq(root, *words, code=3)
        assert "index.json" in done.stderr
    assert (root / "index.json").read_bytes() == content
    assert blobs_in(root) == blobs_in(tmp_path / "kept"), "nothing is removed when nothing is known"
    shutil.copy(tmp_path / "kept" / "index.json", root / "index.json")
    imq(root, "images")


# Blobs that are gone


def test_images_with_missing_blobs_are_reported(store: StoreSession, made: dict[str, Image], tmp_path: Path) -> None:
    root = tmp_path / "spoilt"
    shutil.copytree(store.root, root)
    spoilt = {
        made["redis:7"].layers[1].digest: "missing",
        made["plain:1"].id: "missing",
        made["edge/agent:1"].digest: "missing",
    }
    for digest in spoilt:
        (root / "blobs" / "sha256" / digest[7:]).unlink()
    with StoreSession(root) as held:
        assert set(held.names("where id is unknown")) == {"plain:1", "edge/agent:1"}
        assert "redis:7" in held.names("where id is known")
        assert held.error_codes("images") == {"unreadable", "blob-missing"}
        failed = {row["target"]: row["error"] for row in held.outcomes("verify all") if row["error"]}
        assert failed == {"redis:7": "blob-missing", "plain:1": "blob-missing", "edge/agent:1": "blob-missing"}
        assert held.failure_code("push redis:7 to 127.0.0.1:1/x:1") in ("blob-missing", "unreachable")
        held.do("tag redis:latest as plain:1")  # a name that means nothing any more can be given
        held.do("rm redis:7")
    unknown = made["edge/agent:1"]  # what its manifest reached nobody can tell, until it is pulled again
    check_store(root, damaged={**spoilt, unknown.id: "unknown", unknown.layers[0].digest: "unknown"})


def test_queries_never_print_a_traceback(tmp_path: Path) -> None:
    """Even if the store is corrupt in an unforeseen way."""
    root = tmp_path / "store"
    made = write_library(root)
    imq(root, "images")
    for number, digest in enumerate(made["redis:7"].blobs):
        (root / "blobs" / "sha256" / digest[7:]).unlink()
        (root / "blobs" / "sha256" / digest[7:]).mkdir()
        os.utime(root / "index.json", (number, number))
        for words in ("images select * as json", "verify all", "inspect redis:7", "layers of redis:7", "reindex"):
            imq(root, words, code=None)
    assert command(root)


# Many small blobs


def test_small_blobs_are_published_only_after_the_sync(
    store: StoreSession, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_library(tmp_path / "source")
    held: list[set[str]] = []

    def breaks(_folder: str) -> None:
        held.append(set(blobs_in(root)))
        raise OSError(errno.EIO, "the disk is broken")

    with monkeypatch.context() as patched:
        patched.setattr("imq.engine.store.ingest.sync_file_system", breaks)
        assert store.failure_code(f'load "{tmp_path / "source"}"') == "store"
    assert held == [set()]
    assert blobs_in(root) == {}
    assert entries_in(root) == []
    store.do(f'load "{tmp_path / "source"}"')
    assert set(blobs_in(root)) == set(blobs_in(tmp_path / "source"))


def test_shared_layers_of_an_archive_are_read_once(store: StoreSession, tmp_path: Path) -> None:
    common, lower = layer({"common": b"c" * 5000}), layer({"lower": b"l" * 70})
    images = [(Image([common, lower, layer({str(n): b"n" * n})]), [f"app:{n}"]) for n in range(1, 9)]
    docker_archive(tmp_path / "saved.tar", images)
    store.do(f'load "{tmp_path / "saved.tar"}"')
    assert {row["images"] for row in store.rows("layers where index < 2 select images")} == {8}
    assert [row["size"] for row in store.rows("images order by size select size")] == [5070 + n for n in range(1, 9)]
