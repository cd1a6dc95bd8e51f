"""The quota of a store, nearly full disks, and the errors when there is not enough space."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import subprocess
import uuid
from typing import TYPE_CHECKING

import pytest
from imq.engine.catalog.settings import check_setting, parse_size_limit
from imq.engine.oci.digest import Digest
from imq.engine.store.quota import Quota, round_size
from imq.engine.units.size import parse_size
from imq.grammar.errors import StatementError
from store.support.serve_image import serve
from store.support.small_filesystem import fill, small_disk
from store.support.stores import StoreSession, blobs_in, check_store, imq, start
from support.images import Image, Layout, docker_archive, layer
from support.waiting import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from support.servers import Registry

BIG = Image([layer({f"file{n}": os.urandom(700_000)}, "gzip") for n in range(4)])
OTHER = Image([BIG.layers[0], layer({"other": os.urandom(600_000)}, "gzip")])
SMALL = Image([layer({"small": os.urandom(300_000)}, "gzip")])


def bytes_of(*images: Image) -> int:
    """Return the bytes of the images' blobs, each once."""
    return sum({digest: len(content) for image in images for digest, content in contents(image).items()}.values())


def contents(image: Image) -> dict[str, bytes]:
    found = {one.digest: one.blob for one in image.layers}
    return {**found, image.id: image.config, image.digest: image.manifest}


@pytest.fixture
def names(registry: Registry) -> dict[str, str]:
    """The names of two images in a registry."""
    mark = uuid.uuid4().hex[:8]
    return {name: serve(registry, f"{name}/{mark}:1", image) for name, image in (("big", BIG), ("other", OTHER))}


# The setting


@pytest.mark.parametrize(("text", "size"), [("20GB", 20 * 10**9), ("512MiB", 512 << 20), ("0", 0), ("none", None)])
def test_a_quota_is_a_size_or_none(store: StoreSession, text: str, size: int | None) -> None:
    assert parse_size_limit(check_setting("quota", text)[1]) == size
    store.read_message(f"set quota = {text}")
    assert store.read_message("set quota") == f"quota = {text}\n"


def test_other_values_of_the_quota_are_rejected(store: StoreSession) -> None:
    for text in ("much", "-1", "20%", "1.2.3GB", "''"):
        with pytest.raises(StatementError):
            store.read_message(f"set quota = {text}")
    assert store.read_message("set quota") == "quota = none\n"


@pytest.mark.parametrize("size", [0, 1, 999, 1000, 1234, 999_999, 16_912_345_678, (1 << 62) + 1])
def test_hinted_sizes_are_rounded_to_the_safe_side(size: int) -> None:
    low, high = parse_size(round_size(size, up=False)), parse_size(round_size(size, up=True))
    assert low is not None
    assert high is not None
    assert low <= size <= high


# The quota


def test_a_pull_that_would_exceed_the_quota_is_refused_before_it_begins(
    root: Path, names: dict[str, str], registry: Registry
) -> None:
    imq(root, "--set", f"quota={bytes_of(BIG)}", "pull", names["big"])
    before = blobs_in(root)
    done = imq(root, "--set", f"quota={bytes_of(BIG, OTHER) - 1}", "pull", names["other"], code=3)
    assert "error[quota]" in done.stderr
    assert "the store has 2.8MB of a quota of 3.4MB" in done.stderr
    assert blobs_in(root) == before
    repository = names["other"].removeprefix(f"{registry.host}/").removesuffix(":1")
    assert len([line for line in registry.requests() if line.startswith(f"GET /v2/{repository}/blobs/")]) <= 1
    imq(root, "--set", f"quota={bytes_of(BIG, OTHER)}", "pull", names["other"])
    imq(root, "--set", "quota=1", "pull", names["other"])  # it takes nothing more


def test_the_hinted_statement_frees_enough_space(root: Path, names: dict[str, str]) -> None:
    imq(root, "pull", names["big"])
    quota = f"quota={bytes_of(BIG)}"
    Layout(root.parent / "source").add(SMALL, "small:1")
    load = ("load", str(root.parent / "source"))
    done = imq(root, "--set", quota, *load, code=3)
    (hint,) = [line for line in done.stderr.splitlines() if "to free space: imq '" in line]
    imq(root, hint.split("'")[1])
    imq(root, "--set", quota, *load)
    with StoreSession(root) as held:
        assert held.names() == ["small:1"]


def test_the_hint_mentions_leftovers_of_failed_transfers(root: Path, names: dict[str, str]) -> None:
    imq(root, "pull", names["other"])
    left = os.urandom(500_000)
    blob = Layout(root.parent / "source").blob(left)
    os.rename(root.parent / "source" / "blobs" / "sha256" / blob[7:], root / "blobs" / "sha256" / blob[7:])
    (root / "ingest" / "sweep").touch()
    quota = f"quota={bytes_of(BIG, OTHER)}"
    done = imq(root, "--set", quota, "pull", names["big"], code=3)
    assert "imq prune" in done.stderr
    imq(root, "prune")
    imq(root, "--set", quota, "pull", names["big"])


@pytest.mark.parametrize("kind", ["layout", "archive", "docker"])
def test_a_load_that_would_exceed_the_quota_is_refused_before_it_begins(root: Path, tmp_path: Path, kind: str) -> None:
    plain = [Image([layer({f"{n}": os.urandom(100_000)})]) for n in range(3)]
    source = tmp_path / "source"
    layout = Layout(source)
    for number, image in enumerate(plain):
        layout.add(image, f"app:{number}")
    if kind == "docker":
        docker_archive(tmp_path / "saved.tar", [(image, [f"app:{number}"]) for number, image in enumerate(plain)])
    elif kind == "archive":
        subprocess.run(["tar", "-C", source, "-cf", tmp_path / "saved.tar", "."], check=True)
    words = ("load", str(source if kind == "layout" else tmp_path / "saved.tar"))
    layers = sum(len(image.layers[0].blob) for image in plain)
    done = imq(root, "--set", f"quota={layers - 1}", *words, code=3)
    assert "error[quota]" in done.stderr
    assert blobs_in(root) == {}
    imq(root, "--set", f"quota={layers + 20_000}", *words)
    imq(root, "--set", f"quota={layers + 20_000}", *words)  # it is here already
    assert len(blobs_in(root)) == 9


def test_an_import_is_stopped_where_it_exceeds_the_quota(root: Path, tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "file").write_bytes(os.urandom(3_000_000))
    done = imq(root, "--set", "quota=1MB", "import", str(tmp_path / "tree"), "as", "tree:1", code=3)
    assert "error[quota]" in done.stderr
    assert "at least" in done.stderr
    assert blobs_in(root) == {}
    imq(root, "--set", "quota=3.1MB", "import", str(tmp_path / "tree"), "as", "tree:1")


def test_two_pulls_cannot_claim_the_same_space(root: Path, names: dict[str, str]) -> None:
    quota = f"quota={bytes_of(BIG, OTHER) - 1}"
    both = [start(root, "--set", quota, "pull", names[name]) for name in ("big", "other")]
    said = [process.communicate()[1] for process in both]
    assert sorted(process.returncode for process in both) == [0, 3], said
    assert sum("error[quota]" in text for text in said) == 1
    imq(root, "prune")
    assert sum(blobs_in(root).values()) in (bytes_of(BIG), bytes_of(OTHER))


def test_a_quota_of_a_session_holds_until_it_is_set_again(store: StoreSession, tmp_path: Path) -> None:
    Layout(tmp_path / "source").add(SMALL, "small:1")
    store.read_message("set quota = 10kB")
    assert store.failure_code(f'load "{tmp_path / "source"}"') == "quota"
    store.read_message("set quota = none")
    store.do(f'load "{tmp_path / "source"}"')


def test_partial_downloads_count_and_are_removed_for_space(root: Path, names: dict[str, str]) -> None:
    size = 600_000
    part = root / "ingest" / f"sha256-{'1' * 64}.1.1.part"
    part.parent.mkdir(parents=True, exist_ok=True)
    part.write_bytes(bytes(size))
    quota = bytes_of(BIG)
    imq(root, "--set", f"quota={quota + size}", "pull", names["big"])
    assert part.exists()
    with part.open("rb") as written:  # somebody is at it
        fcntl.flock(written, fcntl.LOCK_EX)
        done = imq(root, "--set", f"quota={bytes_of(BIG, OTHER) + size - 1}", "pull", names["other"], code=3)
        assert "error[quota]" in done.stderr
        assert part.exists()
    imq(root, "--set", f"quota={bytes_of(BIG, OTHER)}", "pull", names["other"])
    assert not part.exists()


def test_a_resumed_pull_claims_only_the_missing_bytes(root: Path, names: dict[str, str]) -> None:
    digest, content = BIG.layers[0].digest, BIG.layers[0].blob
    (root / "ingest").mkdir(parents=True, exist_ok=True)
    (root / "ingest" / f"{digest.replace(':', '-')}.1.1.part").write_bytes(content[:600_000])
    imq(root, "--set", f"quota={bytes_of(BIG)}", "pull", names["big"])


def test_an_import_uses_the_space_of_partial_downloads(root: Path, tmp_path: Path) -> None:
    part = root / "ingest" / f"sha256-{'1' * 64}.1.1.part"
    part.parent.mkdir(parents=True)
    (root / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    part.write_bytes(bytes(600_000))
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "file").write_bytes(os.urandom(700_000))
    imq(root, "--set", "quota=900kB", "import", str(tmp_path / "tree"), "as", "tree:1")
    assert not part.exists()


def test_a_truncated_claim_is_ignored(root: Path, tmp_path: Path, store: StoreSession) -> None:
    Layout(tmp_path / "source").add(SMALL, "small:1")
    store.do(f'load "{tmp_path / "source"}"')
    (root / "ingest" / "1-1234567890ab.room").write_text(f"sha256:{'1' * 64} 5\nsha256:22")
    assert Quota(store.session.store.layout, 0, "x")._list_sizes()[Digest(f"sha256:{'1' * 64}")] == 5
    (root / "ingest" / "1-1234567890ab.room").unlink()


# The disk


@pytest.mark.parametrize("after", [0, 1_500_000])
def test_an_exceeded_disk_quota_is_reported_like_a_full_disk(
    root: Path, store: StoreSession, names: dict[str, str], monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    """Simulated, as the file system may not support quotas."""
    write, left = os.write, [after]

    def bounded(handle: int, content: bytes) -> int:
        if os.readlink(f"/proc/self/fd/{handle}").startswith(f"{root}/ingest/sha256-"):
            if left[0] <= 0:
                raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))
            left[0] -= len(content)
        return write(handle, content)

    monkeypatch.setattr(os, "write", bounded)
    (failed,) = store.outcomes(f"pull {names['big']}")
    assert failed["error"] == "no-space"
    assert "the disk quota of this user or folder is used up; " in failed["message"]
    assert " are free" not in failed["message"]
    assert [name for name in os.listdir(root / "ingest") if name.endswith(".part")] == []
    monkeypatch.undo()
    store.do(f"pull {names['big']}")


def test_a_pull_that_does_not_fit_on_the_disk_is_rejected_first(tmp_path: Path, names: dict[str, str]) -> None:
    with small_disk(tmp_path / "small", "size=2m") as disk:
        done = imq(disk / "store", "pull", names["big"], code=3)
        assert "error[no-space]" in done.stderr
        assert re.search(r"2\.8\dMB are needed", done.stderr)
        assert f"not enough space at {disk / 'store'}: " in done.stderr
        assert "are missing" in done.stderr
        assert "imq prune" in done.stderr
        assert blobs_in(disk / "store") == {}
        subprocess.run(["mount", "-o", "remount,size=8m", disk], check=True)
        imq(disk / "store", "pull", names["big"])
        check_store(disk / "store")


def test_another_process_fills_the_disk_during_a_pull(tmp_path: Path, names: dict[str, str]) -> None:
    with small_disk(tmp_path / "small", "size=6m") as disk:
        root = disk / "store"
        with start(root, "--jobs", "1", "pull", names["big"]) as process:
            wait_until(lambda: len(blobs_in(root)) > 0)
            process.send_signal(19)
            fill(disk / "filler", leave=100_000)
            process.send_signal(18)
            _, said = process.communicate()
        if process.returncode:
            assert "error[no-space]" in said
            assert "free at" in said
            assert "are needed" in said
        with StoreSession(root) as held:
            assert held.names() == ([] if process.returncode else [names["big"]])
        (disk / "filler").unlink()
        imq(root, "pull", names["big"])
        imq(root, "verify", "all")
        check_store(root)


def test_an_import_and_a_load_on_a_full_disk(tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "file").write_bytes(os.urandom(3_000_000))
    Layout(tmp_path / "source").add(BIG, "big:1")
    docker_archive(tmp_path / "docker.tar", [(Image([layer({"a": os.urandom(3_000_000)})]), ["d:1"])])
    sources = (
        ("import", str(tmp_path / "tree"), "as", "tree:1"),
        ("load", str(tmp_path / "source")),
        ("load", str(tmp_path / "docker.tar")),
    )
    with small_disk(tmp_path / "small", "size=2m") as disk:
        root = disk / "store"
        for words in sources:
            done = imq(root, *words, code=3)
            assert "error[no-space]" in done.stderr
            assert " are free" in done.stderr
        imq(root, "prune")
        assert blobs_in(root) == {}
        subprocess.run(["mount", "-o", "remount,size=16m", disk], check=True)
        for words in sources:
            imq(root, *words)
        check_store(root)


@pytest.mark.parametrize("words", [("save", "big:1", "to", "big.tar"), ("export", "big:1", "to", "big")])
def test_output_files_report_the_needed_space(root: Path, tmp_path: Path, words: tuple[str, ...]) -> None:
    Layout(root).add(BIG, "big:1")
    with small_disk(tmp_path / "out", "size=1m") as disk:
        done = imq(root, *words, code=3, cwd=disk)
        assert "error[no-space]" in done.stderr
        assert "2.8MB are needed" in done.stderr
        assert f"are free at {disk}" in done.stderr
        assert "--root" not in done.stderr, "the store has room"
        assert os.listdir(disk) == []
        subprocess.run(["mount", "-o", "remount,size=8m", disk], check=True)
        imq(root, *words, cwd=disk)


@pytest.mark.parametrize("leave", [0, 8192, 40_000])
def test_actions_succeed_when_the_index_cannot_be_written(tmp_path: Path, leave: int) -> None:
    """Names are in index.json: once it is written, the action is done, and the index is updated later."""
    with small_disk(tmp_path / "small", "size=4m") as disk:
        root = disk / "store"
        layout = Layout(root)
        for number in range(40):
            layout.add(Image([layer({str(number): os.urandom(900)})], labels={"n": "x" * 900}), f"app:{number}")
        with StoreSession(root) as held:
            before = held.dump_tables()
        os.unlink(root / "index.db")
        fill(disk / "filler", leave=leave)
        assert len(json.loads(imq(root, "images", "as", "json").stdout)) == 40
        done = imq(root, "rm", "app:1", code=None)
        assert done.returncode == 0 or "error[no-space]" in done.stderr, done
        (disk / "filler").unlink()
        if done.returncode:
            with StoreSession(root) as held:
                assert held.dump_tables() == before
            imq(root, "rm", "app:1")
        with StoreSession(root) as held:
            assert len(held.names()) == 39
        check_store(root)


# What is used


def test_usage_matches_the_size_of_the_files(root: Path, names: dict[str, str]) -> None:
    """The sum of the blobs' file sizes, not of the blocks that the file system uses."""
    for name in names.values():
        imq(root, "pull", name)
    imq(root, "tag", names["big"], "as", "again:1")
    du = subprocess.run(
        f"find {root}/blobs -type f -print0 | du --apparent-size -B1 -c --files0-from=- | tail -1",
        shell=True,
        capture_output=True,
        text=True,
        check=True,
    )
    with StoreSession(root) as held:
        (row,) = held.rows("usage where type = Images select * as json")
        assert row["size"] == int(du.stdout.split()[0]) == bytes_of(BIG, OTHER)
        assert held.rows("images where name = again:1 select unique_size")
