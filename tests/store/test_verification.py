"""Invalid images are rejected: they get no entry, and their blobs are removed."""

from __future__ import annotations

import dataclasses
import gzip
import json
import os
import tarfile
import uuid
from typing import TYPE_CHECKING

import pytest
from registry.support.scripted_server import ScriptedServer, Step
from store.support.serve_image import serve
from store.support.stores import blobs_in, entries_in, imq, list_ingest
from support.images import MANIFEST_TYPE, Image, Layer, Layout, digest_of, docker_archive, layer, pack, to_json

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from store.support.stores import StoreSession
    from support.servers import Registry

GOOD = layer({"good": b"good" * 2000}, "gzip")
OTHER = layer({"other": b"other" * 2000}, "gzip")
PLAIN = layer({"plain": b"plain" * 2000})


def lying(packed: str = "gzip") -> Image:
    """An image whose config has a wrong diff ID."""
    made = layer({"lying": b"lying" * 1000}, packed)
    return Image([GOOD, dataclasses.replace(made, diff_id="sha256:" + "0" * 64)])


def cut(packed: str = "gzip") -> Image:
    """An image with a truncated layer whose digest is right."""
    made = layer({"cut": os.urandom(5000)}, packed)
    return Image([GOOD, dataclasses.replace(made, blob=made.blob[: len(made.blob) // 4])])


def untarred() -> Image:
    """An image whose layer is compressed correctly, but is not an archive."""
    content = b"no archive at all " * 1000
    return Image([GOOD, Layer(pack(content, "gzip"), digest_of(content), GOOD.media_type, 0)])


def packed_strangely() -> Image:
    """An image whose layer has an unsupported compression and the media type of gzip."""
    made = layer({"plain": b"plain" * 1000})
    return Image([GOOD, dataclasses.replace(made, media_type=GOOD.media_type, blob=b"\x04\x22\x4d\x18" + made.blob)])


def of_unknown_type() -> Image:
    return Image([GOOD, dataclasses.replace(OTHER, media_type="application/vnd.example.layer.v1.squashfs")])


def with_too_few_diff_ids() -> Image:
    return Image([GOOD, OTHER], changes={"rootfs": {"type": "layers", "diff_ids": [GOOD.diff_id]}})


def not_utf_8() -> Image:
    return Image([GOOD], changes={"rootfs": None})


FAULTS: dict[str, tuple[Callable[[], Image], str]] = {
    "wrong diff ID": (lying, "diff-id-mismatch"),
    "wrong diff ID, zstd": (lambda: lying("zstd"), "diff-id-mismatch"),
    "wrong diff ID, plain": (lambda: lying(""), "diff-id-mismatch"),
    "truncated gzip": (cut, "truncated"),
    "truncated zstd": (lambda: cut("zstd"), "truncated"),
    "truncated tar": (lambda: cut(""), "archive"),
    "no archive": (untarred, "archive"),
    "packed strangely": (packed_strangely, "archive"),
    "unknown type of layer": (of_unknown_type, "media-type"),
    "too few diff IDs": (with_too_few_diff_ids, ""),
    "no diff IDs": (not_utf_8, "document"),
}


@pytest.fixture
def before(store: StoreSession, root: Path) -> tuple[object, object]:
    """The state of a store with an image that shares a layer with the images of the tests."""
    source = root.with_name("before")
    Layout(source).add(Image([layer({"mine": b"mine"})]), "mine:1")
    store.do(f'load "{source}"')
    return entries_in(root), blobs_in(root)


def unchanged(store: StoreSession, root: Path, before: tuple[object, object]) -> None:
    """Check that there is no new entry, and that the next run removes the received blobs."""
    assert entries_in(root) == before[0]
    assert store.names() == ["mine:1"]
    assert list_ingest(root) <= {"sweep"}
    store.do("prune")
    assert blobs_in(root) == before[1]
    assert list_ingest(root) == set()


@pytest.mark.parametrize("fault", FAULTS)
def test_load_rejects(
    store: StoreSession, root: Path, before: tuple[object, object], tmp_path: Path, fault: str
) -> None:
    make, code = FAULTS[fault]
    layout = Layout(tmp_path / "bad")
    layout.add(Image([OTHER]), "whole:1")  # comes first, and must not come in alone
    layout.add(make(), "bad:1")
    assert store.failure_code(f'load "{layout.folder}"') == (code or "layers")
    unchanged(store, root, before)


@pytest.mark.parametrize("fault", FAULTS)
def test_pull_rejects(
    store: StoreSession, root: Path, before: tuple[object, object], registry: Registry, fault: str
) -> None:
    make, code = FAULTS[fault]
    name = serve(registry, f"bad/{uuid.uuid4().hex[:8]}:1", make())
    assert store.failure_code(f"pull {name}") == (code or "document")
    unchanged(store, root, before)


@pytest.mark.parametrize(
    "fault", ["wrong diff ID", "wrong diff ID, plain", "truncated gzip", "truncated tar", "no archive"]
)
def test_load_rejects_docker_archives(
    store: StoreSession, root: Path, before: tuple[object, object], tmp_path: Path, fault: str
) -> None:
    make, code = FAULTS[fault]
    if fault == "truncated tar":  # a layer that is not packed is known by its diff ID, and is not looked into first
        code = "diff-id-mismatch"
    docker_archive(tmp_path / "bad.tar", [(make(), ["bad:1"])])
    assert store.failure_code(f'load "{tmp_path / "bad.tar"}"') == code
    unchanged(store, root, before)


@pytest.mark.parametrize("spoil", ["other content", "longer", "shorter", "missing"])
@pytest.mark.parametrize("part", ["layer", "config", "manifest"])
def test_load_rejects_blobs_with_wrong_digests(
    store: StoreSession, root: Path, before: tuple[object, object], tmp_path: Path, part: str, spoil: str
) -> None:
    image = Image([GOOD, PLAIN])
    layout = Layout(tmp_path / "bad")
    layout.add(image, "bad:1")
    digest = {"layer": PLAIN.digest, "config": image.id, "manifest": image.digest}[part]
    content = image.blobs[digest]
    spoilt = {
        "other content": content[:-1] + bytes([content[-1] ^ 1]),
        "longer": content + b"\n",
        "shorter": content[:-1],
    }
    if spoil == "missing":
        os.unlink(layout.path(digest))
    else:
        with open(layout.path(digest), "wb") as target:
            target.write(spoilt[spoil])
    assert store.failure_code(f'load "{layout.folder}"') == ("archive" if spoil == "missing" else "digest-mismatch")
    unchanged(store, root, before)


@pytest.mark.parametrize("spoil", ["other content", "longer", "size"])
def test_pull_rejects_blobs_with_wrong_digests(
    store: StoreSession, root: Path, before: tuple[object, object], spoil: str
) -> None:
    image = Image([PLAIN])
    manifest = image.manifest
    blob = PLAIN.blob
    if spoil == "other content":
        blob = blob[:-1] + bytes([blob[-1] ^ 1])
    elif spoil == "longer":
        blob += b"\0"
    else:
        manifest = manifest.replace(b'"size":%d' % len(blob), b'"size":%d' % (len(blob) + 7))
    with ScriptedServer(
        Step("GET", "/v2/bad/manifests/1", headers={"Content-Type": MANIFEST_TYPE}, body=manifest),
        Step("GET", f"/v2/bad/blobs/{image.id}", body=image.config),
        *[Step("GET", f"/v2/bad/blobs/{PLAIN.digest}", body=blob) for _ in range(8)],
        any_order=True,
    ) as server:
        assert store.failure_code(f"pull {server.host}/bad:1") in ("digest-mismatch", "registry", "truncated")
    unchanged(store, root, before)


def test_a_manifest_that_is_both_index_and_image_is_rejected(
    store: StoreSession, root: Path, before: tuple[object, object], tmp_path: Path
) -> None:
    both = to_json({**json.loads(Image([GOOD]).manifest), "manifests": []})
    with ScriptedServer(
        Step("GET", "/v2/bad/manifests/1", headers={"Content-Type": MANIFEST_TYPE}, body=both), any_order=True
    ) as server:
        assert store.failure_code(f"pull {server.host}/bad:1") == "ambiguous-manifest"
    layout = Layout(tmp_path / "bad")
    layout.blob(both)
    layout.entry({"mediaType": MANIFEST_TYPE, "digest": digest_of(both), "size": len(both)}, "bad:1")
    assert store.failure_code(f'load "{layout.folder}"') == "ambiguous-manifest"
    unchanged(store, root, before)


def test_an_endless_response_is_aborted(store: StoreSession, root: Path, before: tuple[object, object]) -> None:
    image = Image([OTHER])
    with ScriptedServer(
        Step("GET", "/v2/bad/manifests/1", headers={"Content-Type": MANIFEST_TYPE}, body=image.manifest),
        Step("GET", f"/v2/bad/blobs/{image.id}", body=image.config),
        *[Step("GET", f"/v2/bad/blobs/{OTHER.digest}", endless=True) for _ in range(8)],
        any_order=True,
    ) as server:
        assert store.failure_code(f"pull {server.host}/bad:1") in ("digest-mismatch", "registry")
    unchanged(store, root, before)


def test_a_wrong_diff_id_of_a_stored_layer_is_found(
    store: StoreSession, root: Path, tmp_path: Path, registry: Registry
) -> None:
    """A stored layer is neither transferred nor unpacked again, but its diff ID is compared."""
    good = Layout(tmp_path / "good")
    good.add(Image([GOOD]), "mine:1")
    store.do(f'load "{good.folder}"')
    before = entries_in(root), blobs_in(root)
    forged = Image([dataclasses.replace(GOOD, diff_id="sha256:" + "0" * 64)])
    name = serve(registry, "bad/forged:1", forged)
    assert store.failure_code(f"pull {name}") == "diff-id-mismatch"
    unchanged(store, root, before)
    bad = Layout(tmp_path / "bad")
    bad.add(forged, "bad:1")
    assert store.failure_code(f'load "{bad.folder}"') == "diff-id-mismatch"
    unchanged(store, root, before)


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "archive"),
        (b"no archive", "archive"),
        (gzip.compress(b"no archive"), "archive"),
        (b"\x1f\x8b\x08\x00 broken", "archive"),
    ],
    ids=["empty", "text", "gzip of text", "broken gzip"],
)
def test_a_file_that_is_not_an_archive_is_not_loaded(
    store: StoreSession, root: Path, before: tuple[object, object], tmp_path: Path, content: bytes, code: str
) -> None:
    (tmp_path / "file").write_bytes(content)
    assert store.failure_code(f'load "{tmp_path / "file"}"') == code
    unchanged(store, root, before)


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("nothing", b"", "archive"),
        ("index.json", b"[]", "layout"),
        ("index.json", b'{"manifests":5}', "layout"),
        ("index.json", b'{"manifests":["x"]}', "document"),
        ("index.json", b"[" * 100_000, "layout"),
        ("manifest.json", b"{}", "archive"),
        ("manifest.json", b'[{"Config":5,"Layers":[]}]', "archive"),
        ("manifest.json", b'[{"Config":"x","RepoTags":"a:1","Layers":[]}]', "archive"),
        ("manifest.json", b'[{"Config":"x","Layers":[],"layers":["y"]}]', "ambiguous-key"),
        ("manifest.json", b'[{"Config":"x","Layers":[],"Layers":["y"]}]', "duplicate-key"),
        ("manifest.json", b"[5]", "archive"),
        ("manifest.json", b'[{"Config":"x.json","RepoTags":null,"Layers":[]}]', "archive"),
        ("manifest.json", b'[{"Config":"../../etc/passwd","Layers":[]}]', "archive"),
        ("manifest.json", b'[{"Config":"x","RepoTags":["<none>:<none>"],"Layers":[]}]', "archive"),
    ],
)
def test_archives_without_images_are_not_loaded(
    store: StoreSession, root: Path, before: tuple[object, object], tmp_path: Path, name: str, content: bytes, code: str
) -> None:
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / name).write_bytes(content)
    with tarfile.open(tmp_path / "bad.tar", "w") as archive:
        archive.add(tmp_path / "bad" / name, name)
    for place in ("bad", "bad.tar"):
        assert store.failure_code(f'load "{tmp_path / place}"') == code
    unchanged(store, root, before)


def test_a_truncated_archive_is_not_loaded(
    store: StoreSession, root: Path, before: tuple[object, object], tmp_path: Path
) -> None:
    docker_archive(tmp_path / "whole.tar", [(Image([GOOD, OTHER]), ["app:1"])])
    whole = (tmp_path / "whole.tar").read_bytes()
    for length in (600, 1500, 3000):
        (tmp_path / "cut.tar").write_bytes(whole[:length])
        assert store.failure_code(f'load "{tmp_path / "cut.tar"}"') == "archive", length
    unchanged(store, root, before)


@pytest.mark.parametrize("packed", ["", "gzip", "zstd"])
@pytest.mark.parametrize("way", ["load", "pull", "lazy pull"])
def test_sizes_are_those_of_the_files(
    store: StoreSession, tmp_path: Path, registry: Registry, packed: str, way: str
) -> None:
    files = {"a": b"", "b/c": b"x", "d": os.urandom(4096), "e": bytes(3_000_000)}
    image = Image([layer(files, packed), layer({"f": b"f" * 513}, packed)])
    if way == "load":
        Layout(tmp_path / "source").add(image, "app:1")
        store.do(f'load "{tmp_path / "source"}"')
    else:
        store.session.settings["verify"] = "lazy" if way == "lazy pull" else "full"
        store.do(f"pull {serve(registry, f'sizes/{uuid.uuid4().hex[:8]}:1', image)}")
    assert store.rows("images select size, layer_count") == [{"size": image.size, "layer_count": 2}]
    sizes = [tuple(row.values()) for row in store.rows("layers select index, size, diff_id order by index")]
    assert sizes == [(place, made.size, made.diff_id) for place, made in enumerate(image.layers)]


# What is damaged later


def test_verify_lists_damaged_blobs(store: StoreSession, made: dict[str, Image], root: Path) -> None:
    assert not [row for row in store.outcomes("verify all") if row["error"]]
    path = root / "blobs" / "sha256" / made["redis:7"].layers[1].digest[7:]
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + b"!")
    assert store.failure_code("verify redis:7") == "digest-mismatch"
    failed = [row["target"] for row in store.outcomes("verify all") if row["error"]]
    assert failed == ["redis:7"]
    done = imq(root, "verify", "all", code=1)
    assert "digest-mismatch" in done.stdout
    path.unlink()
    assert store.failure_code("verify redis:7") == "blob-missing"
    path.write_bytes(whole)
    assert store.do("verify redis:7")


def test_a_missing_layer_is_pulled_again(store: StoreSession, root: Path, registry: Registry) -> None:
    image = Image([GOOD, OTHER])
    name = serve(registry, "mend/layer:1", image)
    store.do(f"pull {name}")
    for content in (None, OTHER.blob[:-5]):
        path = root / "blobs" / "sha256" / OTHER.digest[7:]
        path.unlink()
        if content is not None:
            path.write_bytes(content)
        assert store.failure_code(f"verify {name}") in ("blob-missing", "digest-mismatch")
        store.do(f"pull {name}")
        assert store.do(f"verify {name}")


@pytest.mark.parametrize("part", ["config", "manifest"])
def test_a_missing_document_is_pulled_again(store: StoreSession, root: Path, registry: Registry, part: str) -> None:
    image = Image([GOOD, OTHER])
    name = serve(registry, f"mend/{part}:1", image)
    store.do(f"pull {name}")
    digest = image.id if part == "config" else image.digest
    (root / "blobs" / "sha256" / digest[7:]).unlink()
    assert store.failure_code("reindex") == "unreadable"
    assert store.rows("images select name, id") == [{"name": name, "id": None}]
    assert [row["error"] is None for row in store.outcomes("verify all")] == [False]
    store.do(f"pull {name}")
    assert store.names() == [name]
    assert store.do("verify all")


def test_a_layer_of_unknown_type_in_a_foreign_layout_has_no_size(store: StoreSession, root: Path) -> None:
    """In the layout of another tool, layers that cannot be measured must not make queries fail."""
    layout = Layout(root)
    odd = layout.add(of_unknown_type(), "odd:1")
    layout.add(Image([GOOD]), "plain:1")
    rows = {row["name"]: row["size"] for row in store.rows("images select name, size")}
    assert rows == {"odd:1": None, "plain:1": GOOD.size}
    assert store.failure_code("verify odd:1") == "media-type"
    assert [row["id"] for row in store.rows("images where size is unknown select id")] == [odd.id]


@pytest.mark.parametrize(
    "fault", ["wrong diff ID", "truncated gzip", "truncated zstd", "no archive", "packed strangely"]
)
def test_the_size_of_a_layer_found_damaged_later_stays_unknown(
    store: StoreSession, root: Path, registry: Registry, fault: str
) -> None:
    """Queries still work, the exit code reports it, and no action uses the unknown size."""
    make, code = FAULTS[fault]
    bad, good = make(), Image([GOOD])
    name = serve(registry, f"later/{uuid.uuid4().hex[:8]}:1", bad)
    Layout(root.with_name("good")).add(good, "good:1")
    store.do(f'load "{root.with_name("good")}"')
    store.read_message("set verify = lazy")
    store.do(f"pull {name}")
    asked = "images order by name select name, size"
    assert store.rows(asked) == [{"name": name, "size": None}, {"name": "good:1", "size": good.size}]
    assert store.error_codes(asked) == {code}
    assert store.error_codes("images count") == set()
    done = imq(root, "images", code=3)
    assert "good" in done.stdout
    assert bad.layers[1].digest in done.stderr
    assert store.failure_code("rm images where not size > 1GB") == code
    assert set(store.names()) == {name, "good:1"}
    assert store.error_codes("inspect good:1") == set()
    assert store.error_codes(f"inspect {name}") == {code}
    assert store.failure_code(f"verify {name}") == code
    store.do(f"rm {name}")
    assert store.error_codes(asked) == set()


def test_verify_warns_of_config_fields_that_other_tools_reject(root: Path, tmp_path: Path) -> None:
    image = Image([GOOD], settings={"Healthcheck": "curl localhost"})
    Layout(tmp_path / "layout").add(image, "odd:1")
    imq(root, "load", str(tmp_path / "layout"))
    done = imq(root, "verify", "odd:1")
    assert "Healthcheck is a string, expected an object" in " ".join(done.stderr.split())
    assert "every blob is intact" in done.stdout
