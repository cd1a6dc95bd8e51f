"""The values of the settings for workers, their errors, and what is not loaded without them."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import imq
import pytest
from imq.engine.configuration.reader import parse_configuration
from imq.grammar.errors import ImqError, StatementError
from support.servers import find_free_port

if TYPE_CHECKING:
    import pathlib

PLAIN = """
import sys
import imq
with imq.connect(root=sys.argv[1]) as session:
    session("images")
    session('packages of (images)')
print([name for name in ("distributed", "dask", "fsspec", "s3fs", "imq.engine.workers") if name in sys.modules])
"""


@pytest.mark.parametrize(
    "value", ["none", "1", "64", "dask://host:8786", "dask://[::1]:8786", "DASK://HOST:1", "dask+tls://host:8786"]
)
def test_a_value_of_workers(tmp_path: pathlib.Path, value: str) -> None:
    with imq.connect(root=tmp_path) as session:
        session(f'set workers = "{value}"')
        assert str(session("set workers")) == f"workers = {value.lower()}\n"
        if '"' not in value and "[" not in value:
            session(f"set workers = {value}")


@pytest.mark.parametrize(
    "value", ["0", "65", "-1", "all", "dask://", "dask://host", "dask://host:", "tcp://host:1", "dask://u:p@host:1"]
)
def test_an_invalid_value_of_workers(tmp_path: pathlib.Path, value: str) -> None:
    with imq.connect(root=tmp_path) as session, pytest.raises(StatementError) as refused:
        session(f'set workers = "{value}"')
    assert "dask://HOST:8786" in str(refused.value)


@pytest.mark.parametrize("value", ["relative/folder", "s3://key:secret@bucket", "s3://", "", "://x"])
def test_an_invalid_index_cache(tmp_path: pathlib.Path, value: str) -> None:
    with imq.connect(root=tmp_path) as session, pytest.raises(StatementError):
        session(f'set index_cache = "{value}"')


def test_a_plain_query_loads_nothing_of_them(tmp_path: pathlib.Path) -> None:
    run = subprocess.run([sys.executable, "-c", PLAIN, str(tmp_path)], capture_output=True, text=True, check=True)
    assert run.stdout == "[]\n"


def test_a_scheduler_that_cannot_be_reached(
    tmp_path: pathlib.Path, layout: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("imq.engine.workers.dask_cluster._CONNECT_TIMEOUT", "1s")
    address = f"dask://127.0.0.1:{find_free_port()}"
    with imq.connect(root=tmp_path, workers=address) as session, pytest.raises(ImqError) as failed:
        session(f'packages of (images in "oci:{layout}")')
    assert failed.value.code == "workers-unreachable"
    assert address in failed.value.message


@pytest.mark.parametrize("frozen", [False, True])
def test_without_dask(tmp_path: pathlib.Path, layout: str, monkeypatch: pytest.MonkeyPatch, frozen: bool) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    if frozen:
        monkeypatch.setattr(sys, "frozen", True, raising=False)
    with imq.connect(root=tmp_path, workers="dask://127.0.0.1:1") as session, pytest.raises(ImqError) as failed:
        session(f'packages of (images in "oci:{layout}")')
    assert failed.value.code == "no-dask"
    assert 'pip install "imq[dask]"' in str(failed.value)
    assert ("single executable" in str(failed.value)) is frozen


def test_a_cache_whose_package_is_missing(tmp_path: pathlib.Path, layout: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with imq.connect(root=tmp_path) as session:
        session("set index_cache = s3://bucket/imq")
        with pytest.raises(ImqError) as failed:
            session(f'packages of (images in "oci:{layout}")')
    assert failed.value.code == "no-fsspec"
    assert 'pip install "imq[s3]"' in str(failed.value)


def test_shared_folders_of_the_configuration() -> None:
    text = '[shared.images]\nfolder = "/mnt/images/"\nurl = "s3://images/base/"\n'
    assert parse_configuration([("config.toml", text)], {}).shared == {"/mnt/images": "s3://images/base"}
    for line, reason in (
        ('folder = "/mnt"', "has no url"),
        ('url = "s3://x"', "has no folder"),
        ('folder = "/mnt"\nurl = "images"', "invalid URL"),
        ('folder = "/mnt"\nurl = "s3://key:secret@images"', "invalid URL"),
    ):
        with pytest.raises(ImqError, match=reason):
            parse_configuration([("config.toml", f"[shared.images]\n{line}\n")], {})
