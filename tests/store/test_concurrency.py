"""Several processes use one store, and some are killed: the store stays consistent."""

from __future__ import annotations

import concurrent.futures
import fcntl
import json
import os
import random
import signal
import sqlite3
import threading
import time
import uuid
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from imq.engine.progress import NullProgress
from imq.engine.store.database import enable_wal
from store.support.serve_image import serve
from store.support.stores import StoreSession, blobs_in, check_store, imq, list_ingest, start
from support.images import Image, layer
from support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.servers import Registry

HEAVY = Image([layer({f"file{n}": os.urandom(2_000_000)}, "gzip") for n in range(4)])
LIGHT = Image([HEAVY.layers[0], layer({"light": os.urandom(1000)}, "gzip")])


@pytest.fixture(scope="module")
def heavy(registry: Registry) -> str:
    """The name of an image that takes some time to pull."""
    return serve(registry, f"heavy/{uuid.uuid4().hex[:8]}:1", HEAVY)


@pytest.fixture(scope="module")
def light(registry: Registry) -> str:
    """The name of a smaller image that shares a layer with it."""
    return serve(registry, f"light/{uuid.uuid4().hex[:8]}:1", LIGHT)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A folder to import."""
    tree = tmp_path / "tree"
    tree.mkdir()
    for number in range(20):
        (tree / f"file{number}").write_bytes(os.urandom(100_000))
    return tree


def run_together(*works: Callable[[], object]) -> None:
    """Call functions in parallel; the first error is raised."""
    with concurrent.futures.ThreadPoolExecutor(len(works)) as pool:
        for done in [pool.submit(work) for work in works]:
            done.result()


def test_two_pulls_of_one_image(root: Path, heavy: str) -> None:
    run_together(*[lambda: imq(root, "pull", heavy)] * 3)
    with StoreSession(root) as held:
        assert held.names() == [heavy]
        assert held.rows("images select size") == [{"size": 8_000_000}]
    assert set(blobs_in(root)) == set(HEAVY.blobs)


def test_prune_keeps_the_blobs_of_a_running_pull(root: Path, heavy: str, light: str) -> None:
    imq(root, "pull", light)  # prune needs a store
    stop = threading.Event()

    def prune() -> None:
        while not stop.is_set():
            imq(root, "prune")

    def pull() -> None:
        try:
            for _ in range(3):
                run_together(lambda: imq(root, "pull", heavy), lambda: imq(root, "pull", light))
                imq(root, "verify", "all")
                run_together(lambda: imq(root, "rm", heavy), lambda: imq(root, "rm", light))
            imq(root, "pull", light)
        finally:
            stop.set()

    run_together(prune, prune, pull)
    assert set(blobs_in(root)) == set(LIGHT.blobs)


def test_many_processes_change_names_at_once(root: Path, tree: Path) -> None:
    imq(root, "import", str(tree), "as", "base:1")
    others = []
    for number in range(8):
        (tree.parent / f"small{number}").mkdir()
        (tree.parent / f"small{number}" / "file").write_bytes(b"%d" % number)
        others.append(str(tree.parent / f"small{number}"))

    def work(number: int) -> None:
        imq(root, "import", others[number], "as", f"own{number}:1")
        imq(root, "tag", "base:1", "as", f"shared:{number}")
        moved = imq(root, "tag", f"own{number}:1", "as", "moving:latest", code=None)
        assert moved.returncode == 0 or "error[changed]" in moved.stderr, "another was quicker"
        imq(root, "images")
        imq(root, "rm", f"own{number}:1")
        imq(root, "rm", f"shared:{number}") if number % 2 else imq(root, "untag", f"shared:{number}")

    run_together(*[lambda number=number: work(number) for number in range(8)])  # type: ignore[misc]
    with StoreSession(root) as held:
        named = [name for name in held.names() if name]
        assert named == ["base:1", "moving:latest"]
        held.do("prune")
        assert len(held.rows("images")) == 2
    assert len(blobs_in(root)) == 6


def test_two_processes_open_a_new_database(tmp_path: Path) -> None:
    """SQLite does not wait for a reader when it switches a database to write-ahead logging."""
    path = tmp_path / "new.db"
    with closing(sqlite3.connect(path, check_same_thread=False)) as reader, closing(sqlite3.connect(path)) as writer:
        reader.execute("CREATE TABLE t (x)")
        reader.execute("INSERT INTO t VALUES (1)")
        reader.commit()
        reader.execute("BEGIN")
        reader.execute("SELECT x FROM t").fetchone()
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            writer.execute("PRAGMA journal_mode = WAL")
        timer = threading.Timer(0.3, reader.rollback)
        timer.start()
        enable_wal(writer)
        timer.join()
        assert writer.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_many_processes_create_one_store_at_once(root: Path, tree: Path) -> None:
    run_together(*[lambda n=n: imq(root, "import", str(tree), "as", f"app:{n}") for n in range(6)])  # type: ignore[misc]
    with StoreSession(root) as held:
        assert held.names() == [f"app:{number}" for number in range(6)]


@pytest.mark.usefixtures("made")
def test_many_processes_open_a_store_without_index_at_once(root: Path) -> None:
    run_together(*[lambda: imq(root, "images", "as", "json")] * 8)
    with StoreSession(root) as held:
        assert len(held.names()) == 11


def killed_at(seconds: float, root: Path, *words: str) -> bool:
    """Start imq, kill it after a while, and return whether it was still running."""
    with start(root, *words) as process:
        time.sleep(seconds)
        running = process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.communicate()
    return running


def test_a_pull_can_be_killed_at_any_moment(root: Path, heavy: str, light: str) -> None:
    moments = random.Random(7)
    imq(root, "pull", light)
    at_work = 0
    for number in range(24):
        with start(root, "pull", heavy) as process:
            if number % 2:
                time.sleep(moments.uniform(0.05, 0.45))
            else:  # whatever the machine's speed, these are at work
                wait_until(lambda: process.poll() is not None or len(list_ingest(root)) > 0)
                time.sleep(moments.uniform(0, 0.03))
            running = process.poll() is None
            process.send_signal(signal.SIGKILL)
            process.communicate()
        at_work += running and len(list_ingest(root)) > 0
        if number % 4 == 3:  # the next run, whatever it is
            imq(root, *(("images",), ("rm", "nosuch:1"), ("tag", light, "as", "other:1"))[number // 4 % 3], code=None)
            check_store(root)
            with StoreSession(root) as held:
                if heavy in held.names():
                    held.do(f"rm {heavy}")
                held.do("prune")
            assert set(blobs_in(root)) == set(LIGHT.blobs)
    assert at_work > 3, "some were killed at work"
    imq(root, "pull", heavy)
    imq(root, "verify", "all")
    with StoreSession(root) as held:
        assert {light, heavy} <= set(held.names())


def test_an_import_and_a_removal_can_be_killed_at_any_moment(root: Path, tree: Path) -> None:
    moments = random.Random(11)
    imq(root, "import", str(tree), "as", "base:1")
    base = set(blobs_in(root))
    for number in range(8):
        killed_at(moments.uniform(0.03, 0.3), root, "import", str(tree), "as", f"app:{number}")
        killed_at(moments.uniform(0.03, 0.2), root, "rm", "images", "where", "repository", "=", "app")
        if number % 4 == 3:
            imq(root, "images")
            check_store(root)
    imq(root, "rm", "images", "where", "repository", "=", "app")
    imq(root, "prune")
    assert set(blobs_in(root)) == base
    assert list_ingest(root) == set()


def test_complete_blobs_of_a_killed_pull_are_not_fetched_again(root: Path, heavy: str) -> None:
    with start(root, "--jobs", "1", "pull", heavy) as process:
        wait_until(lambda: len(blobs_in(root)) > 1)
        process.kill()
        process.communicate()
    whole = set(blobs_in(root))
    (outcome,) = json.loads(imq(root, "pull", heavy, "as", "json").stdout)
    left = [layer for layer in HEAVY.layers if layer.digest not in whole]
    assert outcome["size"] == sum(len(layer.blob) for layer in left) < sum(len(layer.blob) for layer in HEAVY.layers)


def test_an_interrupted_pull_leaves_a_consistent_store(root: Path, heavy: str) -> None:
    with start(root, "pull", heavy) as process:
        wait_until(lambda: len(list_ingest(root)) > 1)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode in (130, 0), said
    assert "Traceback" not in said
    check_store(root)
    imq(root, "pull", heavy)


def test_a_lock_that_another_process_holds_is_reported_after_a_while(
    root: Path, made: dict[str, Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("imq.engine.store.atomic_files._SILENT_WAIT", 0.05)
    with open(root / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        warnings: list[str] = []

        class Releasing(NullProgress):
            def warn(self, text: str) -> None:
                warnings.append(text)
                fcntl.flock(lock, fcntl.LOCK_UN)

        with StoreSession(root, progress=Releasing()) as held:
            held.do("tag plain:1 as other:1")
            assert "other:1" in held.names()
    assert made
    assert warnings == [f"another process holds the lock of the store {root}; waiting for it"]
