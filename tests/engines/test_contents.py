"""Layers from the archives of engines: every form, one request for several images, and archives with damage."""

from __future__ import annotations

import gzip
import io
import random
import tarfile
from typing import TYPE_CHECKING, Any

import pytest
from imq.grammar.errors import ImqError
from support.engines import http_answer
from support.images import digest_of, layer
from support.scripted_session import A, B, Script, answer, image, inspected

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    Start = Callable[..., Script]
    Pack = Callable[[Sequence[bytes]], dict[str, bytes]]

BASE, ONE, TWO = (
    layer({"etc/os-release": b"ID=debian\n", "etc/passwd": b"root:x:0:0"}).blob,
    layer({"srv/one": random.Random(1).randbytes(300_000)}).blob,
    layer({"srv/two": b"2", "root/.ssh/id_rsa": b"KEY"}).blob,
)
FAILURE = http_answer(b'{"message":"layer does not exist"}', status="500 Internal Server Error")


def pack_docker_25(layers: Sequence[bytes]) -> dict[str, bytes]:
    return {f"blobs/sha256/{digest_of(one)[7:]}": one for one in layers}


def pack_docker_24(layers: Sequence[bytes]) -> dict[str, bytes]:
    return {f"{digest_of(one + b'v1')[7:]}/layer.tar": one for one in layers}


def pack_podman(layers: Sequence[bytes]) -> dict[str, bytes]:
    return {f"{digest_of(one)[7:]}.tar": one for one in layers}


def pack_containerd(layers: Sequence[bytes]) -> dict[str, bytes]:
    blobs = [gzip.compress(one, mtime=0) for one in layers]
    return {f"blobs/sha256/{digest_of(blob)[7:]}": blob for blob in blobs}


FORMS = [pack_docker_25, pack_docker_24, pack_podman, pack_containerd]


def make_archive(files: Mapping[str, bytes]) -> bytes:
    archive = io.BytesIO()
    documents = {"oci-layout": b"{}", f"blobs/sha256/{'0' * 64}": b'{"config": {}}', "repositories": b"{}"}
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for name, content in {**documents, **files, "manifest.json": b"[]"}.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return archive.getvalue()


def make_answers(archive: bytes | None) -> dict[str, Any]:
    layers = {A: [BASE, ONE], B: [BASE, TWO]}
    documents = {
        id_: inspected(id_, name, RootFS={"Layers": [digest_of(one) for one in layers[id_]]})
        for id_, name in ((A, "a:1"), (B, "b:1"))
    }
    return {
        "images/get": http_answer(archive, "Content-Type: application/x-tar") if archive is not None else FAILURE,
        f"images/{A}": documents[A],
        f"images/{B}": documents[B],
        "images/a:1": documents[A],
        "images/b:1": documents[B],
        "images/json": [image(A, "a:1"), image(B, "b:1")],
        "containers/json": [],
    }


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    scripts: list[Script] = []

    def make(archive: bytes | None) -> Script:
        made = make_answers(archive)
        answers = {part: one if isinstance(one, bytes) else answer(one) for part, one in made.items()}
        scripts.append(Script(tmp_path / f"script{len(scripts)}", answers))
        return scripts[-1]

    yield make
    for script in scripts:
        script.close()


@pytest.mark.parametrize("pack", FORMS)
class TestArchives:
    """Every form of archive."""

    def test_one_request_for_several_images(self, start: Start, pack: Pack) -> None:
        engine = start(make_archive(pack([BASE, ONE, TWO])))
        found = engine.ask('images in docker where contains file "*id_rsa" select name')
        assert found.column("name") == ["b:1"]
        (request,) = engine.requests("images/get")
        assert A[7:] in request
        assert B[7:] in request
        rows = engine.ask("files of (images in docker) where type = file order by image_name, path select path").rows
        names = ["/etc/os-release", "/etc/passwd", "/srv/one", "/etc/os-release", "/etc/passwd", "/root/.ssh/id_rsa"]
        assert [row["path"] for row in rows] == [*names, "/srv/two"]
        assert len(engine.requests("images/get")) == 1

    def test_contents(self, start: Start, pack: Pack) -> None:
        engine = start(make_archive(pack([BASE, ONE, TWO])))
        rows = engine.ask("files of b:1 in docker where path like *id_rsa select content, sha256, layer").rows
        assert rows == [{"content": "KEY", "sha256": digest_of(b"KEY"), "layer": digest_of(TWO)}]

    def test_a_layer_that_is_damaged(self, start: Start, pack: Pack) -> None:
        files = pack([BASE, ONE, TWO])
        (name,) = set(files) - set(pack([BASE, ONE]))
        damaged = bytearray(files[name])
        damaged[len(damaged) // 2] ^= 0xFF
        engine = start(make_archive({**files, name: bytes(damaged)}))
        for condition, expected in (("contains", []), ("not contains", ["a:1"])):
            result = engine.ask(f'images in docker where {condition} file "*id_rsa" select name')
            assert result.column("name") == expected
            assert result.exit_code == 3
            assert "b:1" in result.errors[0].message
        with pytest.raises(ImqError):
            engine.ask("files of b:1 in docker")

    @pytest.mark.parametrize("size", [1_000, 20_000, 250_000])
    def test_an_archive_that_is_cut_short(self, start: Start, pack: Pack, size: int) -> None:
        engine = start(make_archive(pack([BASE, TWO, ONE]))[:size])
        result = engine.ask('rm images in docker where not contains file "/srv/two*" as json')
        assert engine.removals == []
        assert result.exit_code
        with pytest.raises(ImqError):
            engine.ask("files of a:1 in docker")


def test_a_connection_that_ends(start: Start) -> None:
    archive = make_archive(pack_docker_25([BASE, TWO, ONE]))
    engine = start(archive)
    engine.engine.answer("images/get", http_answer(archive[:100_000], length=len(archive)))
    result = engine.ask('images in docker where not contains file "*/two" select name')
    assert result.rows == []
    assert result.exit_code == 3


def test_an_engine_that_cannot_export_one_of_the_images(start: Start) -> None:
    """It exports none of several then; each is requested by itself."""
    engine = start(None)
    engine.engine.answer(f"names={A.replace(':', '%3A')}&", FAILURE)
    engine.engine.answer(f"names={A.replace(':', '%3A')} ", http_answer(make_archive(pack_docker_25([BASE, ONE]))))
    result = engine.ask('images in docker where not contains file "*id_rsa" select name')
    assert result.column("name") == ["a:1"]
    assert result.exit_code == 3
    assert "layer does not exist" in result.errors[0].message


def test_an_image_that_has_gone(start: Start) -> None:
    engine = start(make_archive(pack_docker_25([BASE, ONE, TWO])))
    engine.engine.answer(f"images/{B}", http_answer(b'{"message":"No such image"}', status="404 Not Found"))
    result = engine.ask('images in docker where not contains file "*id_rsa" select name')
    assert result.column("name") == ["a:1"]
    assert result.exit_code == 3
