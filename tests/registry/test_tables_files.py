"""Files of images in registries: blobs are streamed through the scanner, once, and verified."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest
from imq.grammar.errors import ImqError
from registry.support.fault_proxy import Fault, FaultProxy, Reply
from registry.support.query import execute, open_session
from support.images import Image, Layout, layer
from support.servers import require_programs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.servers import Registry

BLOBS = "GET .*/blobs/"
BASE = layer({"etc/os-release": b"ID=debian\n", "usr/lib/libc.so": b"c" * 5000}, "gzip")
IMAGES = {
    "1": Image([BASE, layer({"srv/app": b"one" * 100}, "gzip")]),
    "2": Image([BASE, layer({"srv/app": b"two" * 100, "root/.ssh/id_rsa": b"KEY"}, "zstd")]),
    "3": Image([BASE, layer({"srv/app": b"three" * 100})]),
}
"""Images by their tags, with layers of each compression."""


@pytest.fixture(scope="module")
def pushed(registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> Registry:
    require_programs("skopeo")
    folder = tmp_path_factory.mktemp("pushed")
    layout = Layout(folder)
    for tag, image in IMAGES.items():
        layout.add(image, tag)
        words = ["skopeo", "copy", "-q", "--preserve-digests", "--dest-tls-verify=false", f"oci:{folder}:{tag}"]
        subprocess.run([*words, f"docker://{registry.host}/files/app:{tag}"], check=True, capture_output=True)
    return registry


@pytest.fixture
def proxy(pushed: Registry) -> Iterator[FaultProxy]:
    with FaultProxy(pushed.host) as proxy:
        yield proxy


def test_each_blob_is_read_once_and_only_where_the_cheap_conditions_hold(proxy: FaultProxy, tmp_path: Path) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    session = open_session(tmp_path / "store", environment={"TMPDIR": str(temporary)})
    tags = f"tags of {proxy.host}/files/app"
    first = execute(session, f'{tags} where tag = 1 and contains file "/srv/*" select tag')
    assert first.column("tag") == ["1"]
    config_and_layers = 1 + 2
    assert proxy.count_requests(BLOBS) == config_and_layers
    second = execute(session, f'{tags} where contains file "*id_rsa" select tag')
    assert second.column("tag") == ["2"]
    assert proxy.count_requests(BLOBS) == config_and_layers + 2 * 2, "the lowest layer is known"
    before = len(proxy.requests)
    rows = execute(session, f"files of ({tags}) where name = app order by image_name select image_name, size").rows
    assert [row["size"] for row in rows] == [300, 300, 500]
    assert proxy.count_requests(BLOBS) == config_and_layers + 2 * 2, "the layers are known for good"
    assert len(proxy.requests) > before
    session.close()
    assert not os.listdir(temporary)
    assert not (tmp_path / "store" / "blobs").exists() or not os.listdir(tmp_path / "store" / "blobs" / "sha256")


def test_rows_are_those_of_the_pulled_image(proxy: FaultProxy, tmp_path: Path) -> None:
    fields = "path, type, size, mode, mtime, layer, layer_index, sha256, content, image"
    for table in ("files", "all_files"):
        remote = execute(tmp_path / "remote", f"{table} of {proxy.host}/files/app:2 select {fields}").rows
        session = open_session(tmp_path / "pulled")
        pulled = execute(
            session, f"pull {proxy.host}/files/app:2; {table} of (images where tag = 2) select {fields}"
        ).rows
        assert remote == pulled
        session.close()


@pytest.mark.parametrize(
    ("spoil", "codes"),
    [
        (lambda body: body[:-20] + bytes(20), {"digest-mismatch"}),
        (lambda body: body[: len(body) // 2], {"truncated"}),
        (lambda body: body + b"more", {"digest-mismatch", "truncated"}),
    ],
    ids=["changed", "cut short", "too long"],
)
def test_a_blob_with_other_bytes(pushed: Registry, tmp_path: Path, spoil: object, codes: set[str]) -> None:
    digest = IMAGES["2"].layers[1].digest

    def change(reply: Reply) -> None:
        reply.body = spoil(reply.body)  # type: ignore[operator]

    with FaultProxy(pushed.host, Fault(on=f"GET .*/blobs/{digest}", change=change)) as proxy:
        tags = f"tags of {proxy.host}/files/app"
        environment = {"IMQ_RETRIES": "0"}
        session = open_session(tmp_path / "store", environment=environment)
        result = execute(session, f'{tags} where not contains file "*id_rsa" order by tag select tag')
        assert result.column("tag") == ["1", "3"]
        assert result.exit_code == 3
        assert {error.code for error in result.errors} <= codes
        with pytest.raises(ImqError):
            execute(session, f"files of {proxy.host}/files/app:2")
        session.close()
    with FaultProxy(pushed.host) as sound:
        rows = execute(tmp_path / "store", f"files of {sound.host}/files/app:2 where name = id_rsa select content").rows
        assert rows == [{"content": "KEY"}], "nothing wrong was remembered"


def test_names_that_are_no_images(proxy: FaultProxy, tmp_path: Path) -> None:
    with pytest.raises(ImqError) as caught:
        execute(tmp_path / "store", f"files of {proxy.host}/files/app:nope")
    assert caught.value.code == "manifest-unknown"
    several = execute(
        tmp_path / "store", f"files of {proxy.host}/files/app:nope, {proxy.host}/files/app:1 where name = app count"
    )
    assert several.rows == [{"count": 1}]
    assert several.exit_code == 3


def test_text_is_found_in_tags(proxy: FaultProxy, tmp_path: Path) -> None:
    session = open_session(tmp_path / "store")
    tags = f"tags of {proxy.host}/files/app"
    result = execute(session, f'{tags} where contains text "KEY"')
    assert result.column("tag") == ["2"]
    assert result.column("found") == [["file /root/.ssh/id_rsa:1"]]
    result = execute(session, f'texts of ({tags}) where text matches "^(one)+$" select image_name, location')
    assert result.column("location") == ["file /srv/app:1"]
