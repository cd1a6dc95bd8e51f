"""`verify` on workers: the rows and the exit code are those of one process, and a damaged blob is named."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
from typing import TYPE_CHECKING

import imq
import pytest
from imq.engine.sources.contents import blob_checks
from imq.engine.sources.layouts import verify as layouts_verify
from imq.engine.store import measure
from support.images import Image, Layout, digest_of, layer

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from workers.conftest import Cluster
    from workers.faults import Faults

COUNT = 6
LAYERS = [layer({f"srv/{number}": os.urandom(1000) * 3}, "gzip") for number in range(COUNT)]
FALSE = {"type": "layers", "diff_ids": ["sha256:" + "0" * 64]}


def flip(path: pathlib.Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.chmod(0o644)
    path.write_bytes(content)


def truncate(path: pathlib.Path) -> None:
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-10])


DAMAGES: dict[str, Any] = {"flipped": flip, "truncated": truncate, "missing": pathlib.Path.unlink}


@pytest.fixture(params=["2 processes", "dask"])
def workers(request: pytest.FixtureRequest) -> int | str:
    if request.param != "dask":
        return 2
    cluster: Cluster = request.getfixturevalue("cluster")
    return cluster.url


@pytest.fixture
def apps(tmp_path: pathlib.Path) -> pathlib.Path:
    """A layout of images with two layers each, one of which is in two images, and one with a false diff ID."""
    folder = tmp_path / "layout"
    written = Layout(folder)
    for number in range(COUNT - 1):
        written.add(Image([LAYERS[number], LAYERS[number + 1]]), f"app:{number}")
    false = Image([LAYERS[0]], changes={"rootfs": FALSE})
    written.add(false, "app:false")
    written.close()
    return folder


def get_blob(folder: pathlib.Path, number: int) -> pathlib.Path:
    return folder / "blobs" / "sha256" / digest_of(LAYERS[number].blob).partition(":")[2]


def ask(root: pathlib.Path, statement: str, workers: object = None) -> list[tuple[object, ...]]:
    with imq.connect(root=root, workers=workers) as session:
        return [tuple(row) for row in session(statement)]


def run(
    root: pathlib.Path, statement: str, *options: str, environment: Mapping[str, str] | None = None
) -> tuple[int, str, str]:
    """Return the exit code of the command, its rows and its messages."""
    command = [
        sys.executable,
        "-m",
        "imq",
        "--root",
        str(root),
        "--no-progress",
        "--output",
        "json",
        *options,
        statement,
    ]
    variables = {**os.environ, **(environment or {})}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=variables)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("damage", [None, *DAMAGES])
def test_a_layout(tmp_path: pathlib.Path, apps: pathlib.Path, workers: int | str, damage: str | None) -> None:
    if damage is not None:
        DAMAGES[damage](get_blob(apps, 2))
    for statement in (f'verify images in "oci:{apps}" where layer_count > 0', f'verify all from "oci:{apps}"'):
        expected = ask(tmp_path / "plain", statement)
        assert ask(tmp_path / "workers", statement, workers) == expected
        named = [row for row in expected if digest_of(LAYERS[2].blob) in str(row)]
        assert [any(name in str(row[1]) for row in named) for name in ("app:1", "app:2")] == [damage is not None] * 2


@pytest.mark.parametrize("damage", [None, *DAMAGES])
def test_the_store(tmp_path: pathlib.Path, apps: pathlib.Path, workers: int | str, damage: str | None) -> None:
    root = tmp_path / "store"
    with imq.connect(root=root) as session:
        session(f'load "{apps}"')
    if damage is not None:
        DAMAGES[damage](get_blob(root, 2))
    statement = "verify all"
    expected = ask(root, statement)
    assert len(expected) >= COUNT - 1
    assert ask(root, statement, workers) == expected
    assert (digest_of(LAYERS[2].blob) in str(expected)) is (damage is not None)


def test_intact_layers_are_read_by_workers_alone(
    tmp_path: pathlib.Path, apps: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flip(get_blob(apps, 2))
    read: list[str] = []
    original = layouts_verify._measure
    monkeypatch.setattr(
        layouts_verify, "_measure", lambda source, name, *rest: read.append(name) or original(source, name, *rest)
    )
    rows = ask(tmp_path / "workers", f'verify images in "oci:{apps}" where tag <> false', 2)
    assert read == [f"the layer {digest_of(LAYERS[2].blob)}"]
    assert len(rows) == COUNT - 1


def test_another_file_of_the_same_path_says_nothing(
    tmp_path: pathlib.Path, apps: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker on another host reads what is there, which may be intact when the file here is not."""
    monkeypatch.setattr(blob_checks, "identify_file", lambda _: [0, 0, 0])
    read: list[str] = []
    original = layouts_verify._measure
    monkeypatch.setattr(
        layouts_verify, "_measure", lambda source, name, *rest: read.append(name) or original(source, name, *rest)
    )
    rows = ask(tmp_path / "workers", f'verify images in "oci:{apps}" where tag <> false', 2)
    assert len(read) == COUNT
    assert len(rows) == COUNT - 1


def test_the_exit_code(tmp_path: pathlib.Path, apps: pathlib.Path) -> None:
    statement = f'verify images in "oci:{apps}" where tag <> false'
    intact = run(tmp_path / "plain", statement)
    assert intact[0] == 0
    assert run(tmp_path / "workers", statement, "--workers", "2") == intact
    flip(get_blob(apps, 2))
    damaged = run(tmp_path / "plain", statement)
    assert damaged[0] == 1
    assert run(tmp_path / "workers", statement, "--workers", "2") == damaged


def test_measures_of_a_store_come_from_workers(
    tmp_path: pathlib.Path, apps: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise AssertionError("a layer is read by this process")

    root = tmp_path / "store"
    with imq.connect(root=root) as session:
        session("set verify = lazy")
        session(f'load "{apps}"')
    monkeypatch.setattr(measure, "measure_layer", fail)
    with imq.connect(root=root, workers=2) as session:
        session("verify images where tag <> false").raise_for_errors()
        rows = session("layers of (images where tag <> false) select size")
        assert all(size for (size,) in rows)


def test_a_layer_that_ends_its_workers_is_named(tmp_path: pathlib.Path, apps: pathlib.Path, faults: Faults) -> None:
    faults.set("crash", LAYERS[4].diff_id)
    statement = f'verify images in "oci:{apps}" where tag = 0 or tag = 4'
    code, rows, messages = run(tmp_path / "store", statement, "--workers", "2", environment=faults.environment)
    assert code == 1, messages
    assert LAYERS[4].diff_id in rows
    assert "ended 2 workers" in rows
