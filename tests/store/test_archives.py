"""Archives of images from docker and other tools: their listings, their compression, and missing parts."""

from __future__ import annotations

import bz2
import gzip
import io
import itertools
import json
import lzma
import pathlib
import subprocess
import tarfile
from typing import TYPE_CHECKING, Any

import pytest
from imq.engine.layers.zstd import zstd
from imq.engine.oci.digest import Digest
from store.support.stores import StoreSession, blobs_in, check_store, imq
from support.images import (
    ARM64,
    INDEX_TYPE,
    MANIFEST_TYPE,
    Image,
    Layout,
    descriptor,
    digest_of,
    docker_archive,
    index_of,
    layer,
    to_json,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

CONTAINERD_NAME = "io.containerd.image.name"
REF_NAME = "org.opencontainers.image.ref.name"
ONE, TWO = (Image([layer({"file": b"%d" % number})], labels={"n": str(number)}) for number in (1, 2))
ARM = Image([layer({"file": b"arm"})], platform=ARM64)


def tar_of(files: Iterable[tuple[str, bytes]]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, content in files:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return stream.getvalue()


def blob(digest: str) -> str:
    return "blobs/" + digest.replace(":", "/")


def listed(image: Image, tags: object) -> dict[str, Any]:
    """Return the entry of an image in manifest.json."""
    return {"Config": blob(image.id), "RepoTags": tags, "Layers": [blob(layer.digest) for layer in image.layers]}


def entry(image: Image, **annotations: str) -> dict[str, Any]:
    return {**descriptor(MANIFEST_TYPE, image.manifest), **({"annotations": annotations} if annotations else {})}


def both(path: pathlib.Path, index: object, listing: object, images: Sequence[Image] = (ONE, TWO)) -> pathlib.Path:
    """Write an archive with both lists, like docker 25."""
    blobs = {blob(digest): content for image in images for digest, content in image.blobs.items()}
    files = {
        "oci-layout": b'{"imageLayoutVersion":"1.0.0"}',
        "index.json": to_json({"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": index}),
        "manifest.json": to_json(listing),
        **blobs,
    }
    path.write_bytes(tar_of(files.items()))
    return path


def ids(store: StoreSession) -> dict[str | None, str]:
    return {row["name"]: row["id"] for row in store.rows("images select name, id")}


# Two lists

JOINED: dict[str, tuple[object, object, dict[str | None, Image]]] = {
    "null in the index": (None, [listed(ONE, ["a:1"])], {"a:1": ONE}),
    "nothing in the index": ([], [listed(ONE, ["a:1"]), listed(TWO, ["a:2"])], {"a:1": ONE, "a:2": TWO}),
    "one of two in the index": ([entry(ONE)], [listed(ONE, None), listed(TWO, ["b:2"])], {None: ONE, "b:2": TWO}),
    "names in the listing": (
        [entry(ONE), entry(TWO)], [listed(ONE, ["a:1", "b:1"])], {"a:1": ONE, "b:1": ONE, None: TWO},
    ),
    "names in the index": ([entry(ONE, **{REF_NAME: "a:1"})], [listed(ONE, None)], {"a:1": ONE}),
    "other names in both": ([entry(ONE, **{REF_NAME: "a:1"})], [listed(ONE, ["b:1"])], {"a:1": ONE, "b:1": ONE}),
    "the tag alone in the index": ([entry(ONE, **{REF_NAME: "1"})], [listed(ONE, ["a:1"])], {"a:1": ONE}),
    "the same names in both": (
        [entry(ONE, **{CONTAINERD_NAME: "docker.io/library/a:1", REF_NAME: "1"})], [listed(ONE, ["a:1"])], {"a:1": ONE},
    ),
    "an empty listing": ([entry(ONE, **{REF_NAME: "a:1"})], [], {"a:1": ONE}),
    "null as listing": ([entry(ONE, **{REF_NAME: "a:1"})], None, {"a:1": ONE}),
}  # fmt: skip


@pytest.mark.parametrize("case", JOINED)
def test_index_json_and_manifest_json_are_merged(
    store: StoreSession, root: pathlib.Path, tmp_path: pathlib.Path, case: str
) -> None:
    index, listing, expected = JOINED[case]
    store.do(f'load "{both(tmp_path / "archive.tar", index, listing)}"')
    assert ids(store) == {name: image.id for name, image in expected.items()}
    check_store(root)


def test_an_image_in_both_lists_keeps_its_manifest(store: StoreSession, tmp_path: pathlib.Path) -> None:
    store.do(f'load "{both(tmp_path / "archive.tar", [entry(ONE)], [listed(ONE, ["a:1"])])}"')
    assert [row["manifest_digest"] for row in store.rows("images select manifest_digest")] == [ONE.digest]


def test_an_index_in_both_lists_has_each_name_once(
    store: StoreSession, root: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    content = index_of([ONE, ARM])
    described = {**descriptor(INDEX_TYPE, content), "annotations": {REF_NAME: "a:1"}}
    path = both(tmp_path / "archive.tar", [described], [listed(ONE, ["a:1"]), listed(ARM, ["a:1", "b:1"])], (ONE, ARM))
    with tarfile.open(path, "a") as archive:
        info = tarfile.TarInfo(blob(digest_of(content)))
        info.size = len(content)
        archive.addfile(info, io.BytesIO(content))
    store.do(f'load "{path}"')
    assert sorted({(row["name"], row["id"]) for row in store.rows("images select name, id")}) == sorted(
        itertools.product(["a:1", "b:1"], [ONE.id, ARM.id])
    )
    store.do(f'save a:1, b:1 to "{tmp_path}/saved.tar"')
    check_store(root)


def test_one_name_for_two_images_is_refused(store: StoreSession, tmp_path: pathlib.Path) -> None:
    path = both(tmp_path / "archive.tar", [entry(ONE, **{REF_NAME: "a:1"})], [listed(TWO, ["a:1"])])
    assert store.failure_code(f'load "{path}"') == "archive"
    assert store.names() == []


@pytest.mark.parametrize("list_name", ["index.json", "manifest.json"])
def test_the_last_of_two_images_in_one_list_has_the_name(
    store: StoreSession, root: pathlib.Path, tmp_path: pathlib.Path, list_name: str
) -> None:
    """As `docker load` does it, and says it: dockerd 20.10 writes these lines for the same manifest.json."""
    path = str(tmp_path / "archive.tar")
    if list_name == "manifest.json":
        docker_archive(path, [(ONE, ["a:1"]), (TWO, ["a:1", "b:1"])])
    else:
        both(pathlib.Path(path), [entry(ONE, **{REF_NAME: "a:1"}), entry(TWO, **{REF_NAME: "a:1"})], [])
    kind = "docker-archive" if list_name == "manifest.json" else "oci-archive"
    listed = store.rows(f'images in "{kind}:{path}" where name = a:1 select id')
    assert listed == [{"id": TWO.id}]
    outcomes = store.do(f'load "{path}"')
    assert [(one["action"], one["target"].split(", ")[0], one["image"], one["note"]) for one in outcomes] == [
        ("load", "a:1", ONE.id, None),
        ("untag", "a:1", ONE.id, f"moved to {TWO.id[7:19]}"),
        ("load", "a:1", TWO.id, None),
    ]
    assert {row["id"]: row["name"] for row in store.rows("images where name = a:1 or dangling select id, name")} == {
        ONE.id: None, TWO.id: "a:1",
    }  # fmt: skip
    store.close()
    loaded = imq(root, "load", "-i", path).stdout.splitlines()
    assert loaded[:4] == [
        f"The image a:1 already exists, renaming the old one with ID {TWO.id} to empty string",
        "Loaded image: a:1",
        f"The image a:1 already exists, renaming the old one with ID {ONE.id} to empty string",
        "Loaded image: a:1",
    ]


@pytest.mark.parametrize(("index", "listing"), [(None, []), ([], None)])
def test_an_archive_that_lists_nothing_is_an_error(
    store: StoreSession, tmp_path: pathlib.Path, index: object, listing: object
) -> None:
    assert store.failure_code(f'load "{both(tmp_path / "archive.tar", index, listing)}"') == "archive"


# Types

WRONG: dict[str, object] = {
    "tags as text": [listed(ONE, "app")],
    "tags as a map": [listed(ONE, {"a:1": ""})],
    "a tag as a number": [listed(ONE, [1])],
    "a tag as null": [listed(ONE, [None])],
    "tags as a number": [listed(ONE, 0)],
    "layers as text": [{**listed(ONE, ["a:1"]), "Layers": blob(ONE.layers[0].digest)}],
    "a layer as a number": [{**listed(ONE, ["a:1"]), "Layers": [7]}],
    "a config as a list": [{**listed(ONE, ["a:1"]), "Config": [blob(ONE.id)]}],
    "a config as null": [{**listed(ONE, ["a:1"]), "Config": None}],
    "no config": [{"RepoTags": ["a:1"], "Layers": []}],
    "an image as null": [None],
    "an image as text": ["a:1"],
    "one image, no list": listed(ONE, ["a:1"]),
    "a text": "a:1",
    "a number": 1,
    "false": False,
}


@pytest.mark.parametrize("case", WRONG)
@pytest.mark.parametrize("index", [None, [entry(ONE)]], ids=["", "index"])
def test_wrong_types_in_manifest_json_are_named(
    store: StoreSession, root: pathlib.Path, tmp_path: pathlib.Path, case: str, index: object
) -> None:
    path = both(tmp_path / "archive.tar", index, WRONG[case])
    done = imq(root, "load", str(path), code=3)
    assert "error[archive]" in done.stderr
    assert "manifest.json" in done.stderr
    assert store.names() == []


# Packing

PACKED: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "zstd": zstd.compress,
    "zstd in frames": lambda content: b"".join(
        zstd.compress(content[start : start + 5000]) for start in range(0, len(content), 5000)
    ),
    "xz": lzma.compress,
    "bzip2": bz2.compress,
}


@pytest.mark.parametrize("packed", PACKED)
@pytest.mark.parametrize("form", ["docker", "oci", "both"])
def test_archives_may_be_compressed(
    store: StoreSession, root: pathlib.Path, tmp_path: pathlib.Path, packed: str, form: str
) -> None:
    path = tmp_path / "archive.tar"
    if form == "docker":
        docker_archive(path, [(ONE, ["a:1"]), (TWO, ["a:2"])])
    elif form == "both":
        both(path, [entry(TWO), entry(ONE)], [listed(ONE, ["a:1"]), listed(TWO, ["a:2"])])
    else:
        layout = Layout(tmp_path / "layout")
        for name, image in (("a:2", TWO), ("a:1", ONE)):
            layout.add(image, name)
        with tarfile.open(path, "w") as archive:
            archive.add(tmp_path / "layout", ".")
    path.write_bytes(PACKED[packed](path.read_bytes()))
    store.do(f'load "{path}"')
    assert ids(store) == {"a:1": ONE.id, "a:2": TWO.id}
    check_store(root)


@pytest.mark.parametrize("packed", PACKED)
@pytest.mark.parametrize("kept", [0.1, 0.5, 0.95])
def test_a_truncated_compressed_archive_is_rejected(
    store: StoreSession, root: pathlib.Path, tmp_path: pathlib.Path, packed: str, kept: float
) -> None:
    image = Image([layer({"file": bytes(range(256)) * 1000 + digest_of(b"x").encode() * 500})])
    both(tmp_path / "archive.tar", [entry(image)], [listed(image, ["a:1"])], (image,))
    whole = PACKED[packed]((tmp_path / "archive.tar").read_bytes())
    (tmp_path / "archive.tar").write_bytes(whole[: int(len(whole) * kept)])
    assert store.failure_code(f'load "{tmp_path}/archive.tar"') == "archive"
    assert store.names() == []
    assert blobs_in(root) == {}


# What is there in part


def without(layout: Layout, *digests: str) -> None:
    for digest in digests:
        pathlib.Path(layout.path(digest)).unlink()


@pytest.mark.parametrize("lacking", ["layer", "config", "damaged layer"])
def test_complete_platforms_are_loaded(
    store: StoreSession, root: pathlib.Path, tmp_path: pathlib.Path, lacking: str
) -> None:
    layout = Layout(tmp_path / "layout")
    layout.add_index([ARM, ONE], "a:1")
    if lacking == "damaged layer":
        pathlib.Path(layout.path(ARM.layers[0].digest)).write_bytes(bytes(len(ARM.layers[0].blob)))
    else:
        without(layout, ARM.layers[0].digest if lacking == "layer" else ARM.id)
    first, second = store.outcomes(f'load "{tmp_path}/layout"')
    assert (first["target"], first["image"], first["error"]) == ("a:1", ONE.id, None)
    assert second["target"] == "a:1"
    assert second["error"] == ("digest-mismatch" if lacking == "damaged layer" else "archive")
    assert "linux/arm64" in second["message"]
    assert ids(store) == {"a:1": ONE.id}
    assert [row["message"] for row in store.outcomes("verify a:1")] == [None]
    done = imq(tmp_path / "other", "load", str(tmp_path / "layout"), code=1)
    assert "linux/arm64" in done.stderr
    check_store(root)


def test_an_archive_without_a_complete_platform_is_an_error(store: StoreSession, tmp_path: pathlib.Path) -> None:
    layout = Layout(tmp_path / "layout")
    layout.add_index([ARM, ONE], "a:1")
    without(layout, ARM.id, ONE.layers[0].digest)
    assert store.failure_code(f'load "{tmp_path}/layout"') == "archive"
    assert store.names() == []


def test_absent_platforms_are_not_an_error(store: StoreSession, tmp_path: pathlib.Path) -> None:
    Layout(tmp_path / "layout").add_index([ONE], "a:1", absent=[ARM])
    (outcome,) = store.do(f'load "{tmp_path}/layout"')
    assert outcome["image"] == ONE.id


# Format 1.0

BASE = {
    "id": "b" * 64,
    "created": "2015-03-01T10:20:30.120000000Z",
    "container_config": {"Cmd": ["/bin/sh", "-c", "#(nop) ADD file:abc in /"]},
    "docker_version": "1.9.1",
    "author": "someone",
    "config": {"Env": ["PATH=/bin"], "Cmd": None},
    "architecture": "amd64",
    "os": "linux",
    "Size": 5,
}
APP = {
    "id": "a" * 64,
    "parent": "b" * 64,
    "created": "2015-03-02T00:00:00Z",
    "container_config": {"Cmd": ["/bin/sh", "-c", "echo '<&>' > /app"]},
    "docker_version": "1.9.1",
    "comment": "an app",
    "config": {"Env": ["PATH=/bin"], "Cmd": ["/app"], "Labels": {"n": "1"}},
    "architecture": "amd64",
    "os": "linux",
    "throwaway": True,
}
BASE_LAYER, APP_LAYER = tar_of([("base", b"base")]), tar_of([("app", b"app"), ("etc/os-release", b"ID=old\n")])


def v1_archive(
    path: pathlib.Path, repositories: object, images: Mapping[str, tuple[Mapping[str, Any], bytes]]
) -> pathlib.Path:
    files = []
    for id_, (config, content) in images.items():
        files += [(f"{id_}/VERSION", b"1.0"), (f"{id_}/json", to_json(config)), (f"{id_}/layer.tar", content)]
    path.write_bytes(tar_of([*files, ("repositories", to_json(repositories))]))
    return path


V1 = {"b" * 64: (BASE, BASE_LAYER), "a" * 64: (APP, APP_LAYER)}


@pytest.mark.parametrize("form", ["archive", "gzip", "folder"])
def test_archives_of_format_1_are_loaded(
    store: StoreSession, root: pathlib.Path, tmp_path: pathlib.Path, form: str
) -> None:
    path = v1_archive(tmp_path / "old.tar", {"old/app": {"1": "a" * 64, "latest": "a" * 64}}, V1)
    if form == "gzip":
        path.write_bytes(gzip.compress(path.read_bytes()))
    elif form == "folder":
        (tmp_path / "folder").mkdir()
        subprocess.run(["tar", "-xf", path, "-C", tmp_path / "folder"], check=True)
        path = tmp_path / "folder"
    (outcome,) = store.do(f'load "{path}"')
    assert outcome["target"] == "old/app:1, old/app:latest"
    (row, _) = store.rows("images select id, created, label.n, size order by name")
    assert list(row.values())[2:] == ["1", len(b"base" + b"app" + b"ID=old\n")]
    config = json.loads(store.session.store.read_document(Digest(row["id"])))
    assert config["rootfs"] == {"type": "layers", "diff_ids": [digest_of(BASE_LAYER), digest_of(APP_LAYER)]}
    assert config["history"] == [
        {
            "created": "2015-03-01T10:20:30.12Z",
            "author": "someone",
            "created_by": "/bin/sh -c #(nop) ADD file:abc in /",
        },
        {"created": "2015-03-02T00:00:00Z", "created_by": "/bin/sh -c echo '<&>' > /app", "comment": "an app"},
    ]
    assert not {"id", "parent", "Size", "throwaway"} & config.keys()
    store.do(f'export old/app:1 to "{tmp_path}/made"')
    assert (tmp_path / "made" / "base").read_bytes() == b"base"
    check_store(root)


def test_an_image_of_format_1_without_a_name_is_kept(store: StoreSession, tmp_path: pathlib.Path) -> None:
    store.do(f'load "{v1_archive(tmp_path / "old.tar", {}, V1)}"')
    assert store.names() == [None]


def test_a_named_parent_is_an_image_too(store: StoreSession, tmp_path: pathlib.Path) -> None:
    names = {"old/app": {"1": "a" * 64}, "old/base": {"1": "b" * 64}}
    store.do(f'load "{v1_archive(tmp_path / "old.tar", names, V1)}"')
    assert store.names() == ["old/app:1", "old/base:1"]
    assert len(blobs_in(store.root)) == 2 + 2 + 2, "layers are shared"


BROKEN_V1: dict[str, tuple[object, Mapping[str, tuple[Mapping[str, Any], bytes]], str]] = {
    "a name of nothing": ({"old/app": {"1": "c" * 64}}, V1, "is missing from the archive"),
    "a parent that is not there": ({"old/app": {"1": "a" * 64}}, {"a" * 64: V1["a" * 64]}, "is missing"),
    "parents in a circle": (
        {"old/app": {"1": "a" * 64}},
        {"a" * 64: (APP, APP_LAYER), "b" * 64: ({**BASE, "parent": "a" * 64}, BASE_LAYER)},
        "chain of parents",
    ),
    "a second parent in another case": (
        {"old/app": {"1": "a" * 64}},
        {**V1, "a" * 64: ({**APP, "Parent": "c" * 64}, APP_LAYER)},
        "most tools read",
    ),
    "an id outside": ({"old/app": {"1": "../../etc"}}, V1, "is missing from the archive"),
    "a parent that is a number": (
        {"old/app": {"1": "a" * 64}},
        {"a" * 64: ({**APP, "parent": 7}, APP_LAYER)},
        "chain of parents",
    ),
    "names that are a list": ({"old/app": ["1"]}, V1, "repositories"),
    "a list of names": ([], V1, "repositories"),
    "a name that is none": ({"Old App": {"1": "a" * 64}}, V1, "has an invalid image name"),
}


@pytest.mark.parametrize("case", BROKEN_V1)
def test_invalid_archives_of_format_1_are_rejected(store: StoreSession, tmp_path: pathlib.Path, case: str) -> None:
    repositories, images, said = BROKEN_V1[case]
    done = imq(store.root, "load", str(v1_archive(tmp_path / "old.tar", repositories, images)), code=3)
    assert said in done.stderr
    assert store.names() == []


def test_an_archive_of_a_file_tree_is_rejected(store: StoreSession, tmp_path: pathlib.Path) -> None:
    (tmp_path / "tree.tar").write_bytes(tar_of([("etc/json", b"{}"), ("etc/layer.tar", b"")]))
    done = imq(store.root, "load", str(tmp_path / "tree.tar"), code=3)
    assert "index.json, manifest.json and repositories" in done.stderr
    assert "imq import" in done.stderr


def test_an_image_with_an_unknown_digest_algorithm_is_skipped(store: StoreSession, tmp_path: pathlib.Path) -> None:
    layout = Layout(tmp_path / "layout")
    layout.add(Image([layer({"a": b"a"})]), "known:1")
    index = tmp_path / "layout" / "index.json"
    document = json.loads(index.read_text())
    (known,) = document["manifests"]
    name = {"org.opencontainers.image.ref.name": "unknown:1"}
    document["manifests"].insert(0, {**known, "digest": f"blake3:{'0' * 64}", "annotations": name})
    index.write_text(json.dumps(document))
    (tmp_path / "layout" / "blobs" / "blake3").mkdir()
    (tmp_path / "layout" / "blobs" / "blake3" / ("0" * 64)).write_text("{}")
    outcomes = store.outcomes(f"load '{tmp_path}/layout'")
    assert [(outcome["target"], outcome["error"]) for outcome in outcomes] == [
        ("known:1", None),
        ("unknown:1", "digest-algorithm"),
    ]
    assert store.names() == ["known:1"]
