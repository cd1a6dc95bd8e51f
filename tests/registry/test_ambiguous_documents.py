"""Ambiguous and unreadable documents are refused by every operation."""

from __future__ import annotations

import hashlib
import json
import os
from typing import TYPE_CHECKING, Any

import pytest
from registry.support.referrers_server import ReferrersServer
from store.support.stores import StoreSession, imq
from support.images import CONFIG_TYPE, INDEX_TYPE, MANIFEST_TYPE, Image, Layout, descriptor, digest_of, layer, to_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

LAYER = layer({"etc/x": b"hello\n"}, "gzip")
GOOD = Image([LAYER])
FOREIGN = "blake3:" + "a" * 64


@pytest.fixture
def registry() -> Iterator[ReferrersServer]:
    with ReferrersServer() as running:
        yield running


@pytest.fixture
def opened() -> Iterator[Callable[..., StoreSession]]:
    """Open stores, and close them after the test."""
    held: list[StoreSession] = []

    def at(root: object, **context: object) -> StoreSession:
        held.append(StoreSession(root, **context))
        return held[-1]

    yield at
    for one in held:
        one.close()


@pytest.fixture
def store(tmp_path: Path, opened: Callable[..., StoreSession]) -> StoreSession:
    return opened(tmp_path / "store")


def make_manifest(image: Image = GOOD, **changes: Any) -> bytes:
    """Return an image's manifest with changes."""
    return to_json({**json.loads(image.manifest), **changes})


def describe_image(image: Image, **changes: Any) -> dict[str, Any]:
    return {**descriptor(MANIFEST_TYPE, image.manifest), "platform": dict(image.platform), **changes}


def make_index(*entries: dict[str, Any], **changes: Any) -> bytes:
    return to_json({"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": list(entries), **changes})


def put_image(registry: ReferrersServer, manifest: bytes, image: Image = GOOD, kind: str = MANIFEST_TYPE) -> str:
    """Add an image with this manifest, and return its name."""
    repository = "odd/image"
    for content in (*(one.blob for one in image.layers), image.config):
        registry.blobs[repository, digest_of(content)] = content
    registry.manifests[repository, image.digest] = (MANIFEST_TYPE, image.manifest)
    registry.manifests[repository, digest_of(manifest)] = (kind, manifest)
    registry.tags[repository, "1"] = digest_of(manifest)
    return f"{registry.host}/{repository}:1"


LAYERS = [descriptor(LAYER.media_type, LAYER.blob)]
MANIFESTS = {
    "layers in another case": make_manifest(Layers=[]),
    "layers in another case first": b'{"LAYERS":[],' + GOOD.manifest[1:],
    "a digest in another case": make_manifest(layers=[{**LAYERS[0], "Digest": "sha256:" + "0" * 64}]),
    "an index next to an image": make_manifest(Manifests=[]),
}
CONFIGS = {
    "rootfs in another case": Image([LAYER], changes={"Rootfs": {"type": "layers", "diff_ids": []}}),
    "user in another case": Image([LAYER], settings={"User": "app", "user": "root"}),
    "a step in another case": Image([LAYER], changes={"history": [{"Empty_Layer": True}]}),
}
PLATFORMS = {
    "a platform in another case": make_index(describe_image(GOOD, platform={**GOOD.platform, "OS": "windows"})),
    "entries in another case": make_index(describe_image(GOOD), MANIFESTS=[]),
}


def check_refused_everywhere(registry: ReferrersServer, store: StoreSession, name: str) -> None:
    """Check that pull, copy and push refuse a name."""
    for text in (
        f"pull {name}",
        f"pull {name} platform all",
        f"copy {name} to {registry.host}/copy/image:1",
    ):
        assert store.failure_code(text) == "ambiguous-key", text
    assert store.error_codes(f"tags of {name.rpartition(':')[0]} select tag, download_size, user") == {"ambiguous-key"}
    assert not registry.tags.keys() - {("odd/image", "1")}
    assert store.names("all") == []


@pytest.mark.parametrize("case", MANIFESTS)
def test_an_ambiguous_manifest_is_rejected(registry: ReferrersServer, store: StoreSession, case: str) -> None:
    check_refused_everywhere(registry, store, put_image(registry, MANIFESTS[case]))


@pytest.mark.parametrize("case", PLATFORMS)
def test_an_ambiguous_index_is_rejected(registry: ReferrersServer, store: StoreSession, case: str) -> None:
    check_refused_everywhere(registry, store, put_image(registry, PLATFORMS[case], kind=INDEX_TYPE))


@pytest.mark.parametrize("case", CONFIGS)
def test_an_ambiguous_config_is_rejected(registry: ReferrersServer, store: StoreSession, case: str) -> None:
    image = CONFIGS[case]
    check_refused_everywhere(registry, store, put_image(registry, image.manifest, image))


@pytest.mark.parametrize("case", CONFIGS)
def test_an_ambiguous_config_is_not_unpacked_later(
    registry: ReferrersServer, tmp_path: Path, opened: Callable[..., StoreSession], case: str
) -> None:
    image = CONFIGS[case]
    store = opened(tmp_path / "lazy")
    store.read_message("set verify = lazy")
    assert store.failure_code(f"pull {put_image(registry, image.manifest, image)}") == "ambiguous-key"


@pytest.mark.parametrize("case", [*MANIFESTS, *CONFIGS])
def test_an_ambiguous_layout_is_not_loaded(store: StoreSession, tmp_path: Path, case: str) -> None:
    image = CONFIGS.get(case, GOOD)
    layout = Layout(tmp_path / "layout")
    layout.add(image)
    layout.entries.clear()
    manifest = MANIFESTS.get(case, image.manifest)
    layout.blob(manifest)
    layout.entry(descriptor(MANIFEST_TYPE, manifest), "odd:1")
    assert store.failure_code(f'load "{layout.folder}"') == "ambiguous-key"
    assert store.names("all") == []


@pytest.mark.parametrize("key", ["Manifests", "manife\u017fts"])
def test_an_ambiguous_layout_index_is_rejected(store: StoreSession, tmp_path: Path, key: str) -> None:
    layout = Layout(tmp_path / "layout")
    layout.add(GOOD, "good:1")
    document = {"schemaVersion": 2, "manifests": layout.entries, key: []}
    (tmp_path / "layout" / "index.json").write_bytes(to_json(document))
    assert store.failure_code(f'load "{layout.folder}"') == "ambiguous-key"
    done = imq(layout.folder, "images", "all", code=3)
    assert "ambiguous-key" in done.stderr


def test_an_ambiguous_layout_entry_is_rejected(store: StoreSession, tmp_path: Path) -> None:
    layout = Layout(tmp_path / "layout")
    layout.add(GOOD)
    layout.entries.clear()
    layout.entry({**descriptor(MANIFEST_TYPE, GOOD.manifest), "Digest": GOOD.digest}, "good:1")
    assert store.failure_code(f'load "{layout.folder}"') == "ambiguous-key"


@pytest.mark.parametrize("case", CONFIGS)
def test_verify_rejects_an_ambiguous_config_in_a_registry(
    registry: ReferrersServer, store: StoreSession, case: str
) -> None:
    image = CONFIGS[case]
    name = put_image(registry, image.manifest, image)
    (outcome,) = store.outcomes(f"verify tags of {name.rpartition(':')[0]}")
    assert outcome["error"] == "incomplete"
    assert "which most tools read as" in outcome["message"]


def test_annotations_and_labels_differ_by_case(registry: ReferrersServer, store: StoreSession) -> None:
    image = Image([LAYER], labels={"Layers": "1", "layers": "2"}, annotations={"digest": "a", "Digest": "b"})
    name = put_image(registry, image.manifest, image)
    store.do(f"pull {name}")
    (row,) = store.rows(f"images where name = {name} select label.Layers as one, label.layers as two")
    assert row == {"one": "1", "two": "2"}


@pytest.mark.parametrize("key", ["Manifests", "MANIFESTS"])
def test_an_ambiguous_list_of_referrers_is_rejected(registry: ReferrersServer, store: StoreSession, key: str) -> None:
    name = put_image(registry, GOOD.manifest)
    repository = name.rpartition(":")[0]
    listing = to_json({"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": [], key: []})
    fallback = "sha256-" + GOOD.digest.removeprefix("sha256:")
    registry.manifests["odd/image", digest_of(listing)] = (INDEX_TYPE, listing)
    registry.tags["odd/image", fallback] = digest_of(listing)
    registry.list_referrers = lambda *_: json.loads("{}")  # type: ignore[method-assign]
    assert store.failure_code(f"copy {repository}:{fallback} to {registry.host}/copy/image:1") == "ambiguous-key"


def test_an_entry_with_an_unknown_algorithm_is_ignored(registry: ReferrersServer, store: StoreSession) -> None:
    other = describe_image(GOOD, digest=FOREIGN, platform={"os": "linux", "architecture": "arm64"})
    name = put_image(registry, make_index(describe_image(GOOD), other, subject=other), kind=INDEX_TYPE)
    assert store.failure_code(f"pull {name} platform all") == "digest-algorithm"
    assert store.failure_code(f"pull {name} platform linux/arm64") == "digest-algorithm"
    store.do(f"pull {name}")
    (row,) = store.rows(f"images where name = {name} select platform, size")
    assert row == {"platform": "linux/amd64", "size": GOOD.size}
    rows = store.rows(f"platforms of {name} select platform, digest")
    assert [row["digest"] for row in rows] == [GOOD.digest, FOREIGN]


def test_a_subject_with_an_unknown_algorithm_is_ignored(
    registry: ReferrersServer, store: StoreSession, tmp_path: Path
) -> None:
    manifest = make_manifest(subject={"mediaType": MANIFEST_TYPE, "digest": FOREIGN, "size": 5})
    name = put_image(registry, manifest)
    store.do(f"pull {name}")
    store.do(f"save {name} to {tmp_path / 'saved.tar'}")
    store.do(f"copy {name} to {registry.host}/copy/image:1")
    store.do(f"push {name} to {registry.host}/push/image:1")
    assert registry.tags["push/image", "1"] == digest_of(manifest)
    assert imq(store.root, "verify", "all").returncode == 0


def test_a_layer_with_an_unknown_algorithm_is_refused_before_any_transfer(
    registry: ReferrersServer, store: StoreSession
) -> None:
    name = put_image(registry, make_manifest(layers=[*LAYERS, {**LAYERS[0], "digest": FOREIGN}]), Image([LAYER, LAYER]))
    assert store.failure_code(f"pull {name}") == "digest-algorithm"
    assert not [platforms for platforms in registry.requests if "/blobs/" in platforms]


def test_a_layout_entry_with_an_unknown_algorithm(tmp_path: Path, opened: Callable[..., StoreSession]) -> None:
    layout = Layout(tmp_path / "layout")
    layout.add(GOOD, "good:1")
    layout.entry({"mediaType": MANIFEST_TYPE, "digest": FOREIGN, "size": 5}, "foreign:1")
    store = opened(layout.folder)
    assert "good:1" in store.names("all")


def test_a_layer_with_a_sha384_digest(registry: ReferrersServer, store: StoreSession) -> None:
    digest = "sha384:" + hashlib.sha384(LAYER.blob).hexdigest()
    name = put_image(registry, make_manifest(layers=[{**LAYERS[0], "digest": digest}]))
    registry.blobs["odd/image", digest] = LAYER.blob
    store.do(f"pull {name}")
    (row,) = store.rows(f"images where name = {name} select size")
    assert row["size"] == GOOD.size
    assert imq(store.root, "verify", "all").returncode == 0
    store.do(f"rm {name}")
    store.do("prune")
    assert os.listdir(os.path.join(store.root, "blobs", "sha384")) == []


ODD_HISTORIES: dict[str, Any] = {
    "null": None,
    "a list of null": [None],
    "steps of null and more": [None, {"created_by": "RUN true", "empty_layer": True}, {}],
    "an empty list": [],
    "halves of pairs": [{"created_by": "\ud800", "comment": "\udc00"}],
}


@pytest.mark.parametrize("case", ODD_HISTORIES)
def test_an_inconsistent_history_is_shown(registry: ReferrersServer, store: StoreSession, case: str) -> None:
    image = Image([LAYER], changes={"history": ODD_HISTORIES[case], "author": "\udfff"})
    name = put_image(registry, image.manifest, image)
    done = imq(store.root, "pull", name, code=None)
    assert done.returncode == 0, done.stderr
    (document,) = json.loads(imq(store.root, "inspect", name).stdout)
    assert document["Author"] == "\ufffd"
    imq(store.root, f"history of {name}")
    imq(store.root, "verify", "all")


@pytest.mark.parametrize("history", ["x", 5, [1], {"a": 1}, [[]], [{"created": 5}]])
def test_an_invalid_history_is_refused(registry: ReferrersServer, store: StoreSession, history: object) -> None:
    image = Image([LAYER], changes={"history": history})
    name = put_image(registry, image.manifest, image)
    done = imq(store.root, "pull", name, code=3)
    assert "history" in done.stderr
    assert store.failure_code(f"pull {name}") == "document"


def test_a_pull_warns_about_more_steps_than_layers(registry: ReferrersServer, store: StoreSession) -> None:
    image = Image([LAYER], changes={"history": [{"created_by": "one"}, {"created_by": "two"}]})
    name = put_image(registry, image.manifest, image)
    done = imq(store.root, "pull", name)
    assert "history has 2 steps that made a layer, and there are 1 layers" in done.stderr


def test_a_load_warns_about_more_steps_than_layers(store: StoreSession, tmp_path: Path) -> None:
    layout = Layout(tmp_path / "layout")
    layout.add(Image([LAYER], changes={"history": [{}, {}]}), "steps:1")
    done = imq(store.root, "load", layout.folder)
    assert "history has 2 steps that made a layer" in done.stderr


def test_an_index_may_have_several_versions_of_windows(registry: ReferrersServer, store: StoreSession) -> None:
    for version in ("10.0.17763.1", "10.0.20348.1"):
        image = Image([LAYER], platform={"os": "windows", "architecture": "amd64", "os.version": version})
        name = put_image(registry, image.manifest, image).rpartition(":")[0]
        registry.tags["odd/image", version] = image.digest
    registry.tags.pop(("odd/image", "1"))
    (outcome,) = store.do(f"index tags of {name} as {name}:all")
    assert "for windows(10.0.17763.1)/amd64, windows(10.0.20348.1)/amd64" in outcome["note"]
    rows = store.rows(f"platforms of {name}:all select platform, os_version")
    assert [row["os_version"] for row in rows] == ["10.0.17763.1", "10.0.20348.1"]


def test_an_image_whose_layers_have_no_media_type_is_an_image(registry: ReferrersServer, store: StoreSession) -> None:
    plain = layer({"etc/x": b"hello\n"})
    image = Image([plain])
    untyped = {key: value for key, value in descriptor("", plain.blob).items() if key != "mediaType"}
    name = put_image(registry, make_manifest(image, layers=[untyped]), image)
    store.do(f"pull {name}")
    (row,) = store.rows(f"images where name = {name} select size, layer_count")
    assert row == {"size": plain.size, "layer_count": 1}
    assert imq(store.root, "verify", "all").returncode == 0


def test_an_image_with_null_layers(registry: ReferrersServer, store: StoreSession) -> None:
    image = Image([])
    name = put_image(registry, make_manifest(image, layers=None), image)
    store.do(f"pull {name}")
    (row,) = store.rows(f"images where name = {name} select size, layer_count")
    assert row == {"size": 0, "layer_count": 0}


def test_a_layout_of_another_version_is_not_loaded(store: StoreSession, tmp_path: Path) -> None:
    layout = Layout(tmp_path / "layout")
    layout.add(GOOD, "good:1")
    (tmp_path / "layout" / "oci-layout").write_bytes(b'{"imageLayoutVersion":"2.0.0"}')
    assert store.failure_code(f'load "{layout.folder}"') == "layout-version"
    (tmp_path / "layout" / "oci-layout").unlink()
    store.do(f'load "{layout.folder}"')
    assert store.names() == ["good:1"]


@pytest.mark.parametrize(("where", "off"), [("layer", 1), ("layer", -1), ("config", -1)])
def test_a_wrong_size_in_a_manifest_is_reported(
    registry: ReferrersServer, store: StoreSession, where: str, off: int
) -> None:
    right = descriptor(CONFIG_TYPE, GOOD.config) if where == "config" else LAYERS[0]
    wrong = {**right, "size": right["size"] + off}
    manifest = make_manifest(config=wrong) if where == "config" else make_manifest(layers=[wrong])
    done = imq(store.root, "pull", put_image(registry, manifest), code=3)
    assert right["digest"].removeprefix("sha256:")[:12] in done.stderr
    assert f"{wrong['size']}" in done.stderr
    assert "manifest" in done.stderr


def test_a_wrong_size_in_an_index_is_reported(registry: ReferrersServer, store: StoreSession) -> None:
    name = put_image(registry, make_index(describe_image(GOOD, size=5)), kind=INDEX_TYPE)
    done = imq(store.root, "pull", name, code=3)
    message = f"the manifest {GOOD.digest.removeprefix('sha256:')[:12]} of {name} has {len(GOOD.manifest)} bytes"
    assert f"error[size]: {message}, but the index specifies 5" in done.stderr
