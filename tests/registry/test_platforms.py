"""Images of several platforms under one name: the index is stored unchanged, with the images that were pulled."""

from __future__ import annotations

import json
import os
import uuid
from typing import TYPE_CHECKING

import pytest
from imq.engine.oci import media_types
from imq.engine.oci.manifest import Descriptor
from imq.engine.oci.reference import Reference
from imq.engine.progress import NullProgress
from imq.engine.registry.transfer.push import push
from imq.grammar.errors import Conflict
from registry.support import sample_images
from store.support.serve_image import serve, serve_index
from store.support.stores import StoreSession, blobs_in, check_store, entries_in, imq, run, version_of_index
from support.images import AMD64, ARM64, INDEX_TYPE, Image, Layout, descriptor, index_of, layer, to_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from imq.engine.registry.client import Client
    from support.servers import Registry

S390X = {"os": "linux", "architecture": "s390x"}
SHARED = layer({"shared": os.urandom(20_000)}, "gzip")
AMD = Image([SHARED, layer({"own": b"amd" * 1000}, "gzip")], platform=AMD64, labels={"n": "1"})
ARM = Image([SHARED, layer({"own": b"arm" * 1000}, "gzip")], platform=ARM64, labels={"n": "2"})
BIG = Image([layer({"own": b"390" * 1000}, "gzip")], platform=S390X, labels={"n": "3"})
IMAGES = [AMD, ARM, BIG]
ALL = ["linux/amd64", "linux/arm64", "linux/s390x"]


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    """The folder of a test's store, which is verified after the test."""
    yield tmp_path / "store"
    check_store(tmp_path / "store")


@pytest.fixture
def opened() -> Iterator[Callable[..., StoreSession]]:
    """Open stores, and close them after the test."""
    opened_store: list[StoreSession] = []

    def at(root: object, **settings: object) -> StoreSession:
        opened_store.append(StoreSession(root, **{"platform": None, **settings}))
        return opened_store[-1]

    yield at
    for one in opened_store:
        one.close()


@pytest.fixture
def store(root: Path, opened: Callable[..., StoreSession]) -> StoreSession:
    """A store that does not exist yet."""
    return opened(root)


@pytest.fixture
def name(registry: Registry) -> str:
    """An index of three platforms in its own repository."""
    return serve_index(registry, f"multi/{uuid.uuid4().hex[:8]}:1", IMAGES)


def list_platforms(store: StoreSession, where: str = "all") -> list[str]:
    return sorted(row["platform"] for row in store.rows(f"images {where} select platform"))


def compute_index_digest() -> str:
    return compute_digest_of_index(IMAGES)


def compute_digest_of_index(images: list[Image]) -> str:
    return str(descriptor(INDEX_TYPE, index_of(images))["digest"])


def test_all_platforms_are_pulled_with_their_index(store: StoreSession, root: Path, name: str) -> None:
    (outcome,) = store.do(f"pull {name} platform all")
    distinct = {one.digest: len(one.blob) for image in IMAGES for one in image.layers}
    assert (outcome["size"], outcome["image"]) == (sum(distinct.values()), None)
    rows = store.rows("images select name, platform, id, digest, size, shared_size order by platform")
    assert [(row["name"], row["platform"]) for row in rows] == [(name, platform) for platform in ALL]
    assert [row["id"] for row in rows] == [image.id for image in IMAGES]
    assert {row["digest"] for row in rows} == {compute_index_digest()}
    assert [row["shared_size"] for row in rows] == [20_000, 20_000, 0]
    expected = {digest for image in IMAGES for digest in image.blobs} | {compute_index_digest()}
    assert set(blobs_in(root)) == expected
    (again,) = store.do(f"pull {name} platform all")
    assert (again["size"], again["note"]) == (0, "image is up to date")


def test_only_selected_platforms_are_stored(store: StoreSession, root: Path, name: str) -> None:
    store.do(f"pull {name} platform linux/amd64, linux/arm64")
    assert list_platforms(store) == ALL[:2]
    expected = {digest for image in (AMD, ARM) for digest in image.blobs} | {compute_index_digest()}
    assert set(blobs_in(root)) == expected
    (verified,) = store.do("verify all")
    assert verified["note"] == "every blob is intact; 1 of its index not stored"
    (about,) = store.rows(f"inspect {name}")
    assert (about["Id"], about["Index"]["Platforms"], about["Index"]["Absent"]) == (AMD.id, ALL[:2], ALL[2:])


def test_a_later_pull_adds_its_image_to_the_index(store: StoreSession, root: Path, name: str) -> None:
    store.do(f"pull {name} platform linux/amd64, linux/arm64")
    store.do(f"tag {name} as kept:1")
    (outcome,) = store.do(f"pull {name} platform linux/s390x")
    assert outcome["note"] == "downloaded newer platforms"
    assert list_platforms(store, f"where name = {name}") == list_platforms(store, "where name = kept:1") == ALL
    (again,) = store.do(f"pull {name}")
    assert again["note"] == "image is up to date"
    (whole,) = store.do(f"pull {name} platform all")
    assert whole["size"] == 0
    assert {entry["annotations"]["dev.imq.holds"] for entry in entries_in(root)} == {"all"}


def test_a_pull_of_one_platform_stores_one_image_until_more_are_pulled(
    store: StoreSession, root: Path, name: str
) -> None:
    store.do(f"pull {name} platform linux/arm64")
    assert entries_in(root)[0]["digest"] == ARM.digest
    store.do(f"pull {name} platform all")
    assert [entry["digest"] for entry in entries_in(root)] == [compute_index_digest()], "the image is in the index now"
    assert list_platforms(store) == ALL


def test_a_moved_tag_leaves_the_old_index_untagged(store: StoreSession, registry: Registry, name: str) -> None:
    store.do(f"pull {name} platform all")
    moved = Image([SHARED], platform=AMD64)
    serve(registry, name.partition("/")[2], moved)
    store.do(f"pull {name}")
    assert store.rows(f"images where name = {name} select id") == [{"id": moved.id}]
    assert list_platforms(store, f"where name = '{name.removesuffix(':1')}@{compute_index_digest()}'") == ALL


def test_a_missing_platform_is_reported(store: StoreSession, root: Path, name: str) -> None:
    assert store.failure_code(f"pull {name} platform linux/amd64, linux/mips64") == "no-matching-manifest"
    assert blobs_in(root) == {}


def test_attestations_are_pulled_with_all_platforms(
    store: StoreSession, client: Client, registry: Registry, root: Path, tmp_path: Path
) -> None:
    source_store = sample_images.MemoryStore()
    one = sample_images.add_image(source_store, size=1000)
    entries = [{**one.to_json(), "platform": sample_images.AMD64}, sample_images.add_attestation(source_store, one)]
    top = sample_images.add_index(source_store, entries)
    name = f"{registry.host}/multi/{uuid.uuid4().hex[:8]}:1"
    push(client, Reference.parse(name), top, source_store, NullProgress())
    store.do(f"pull {name} platform all")
    assert set(blobs_in(root)) == set(source_store.blobs)
    assert len(store.rows("images")) == 1
    store.do("verify all")
    store.do(f'save {name} to "{tmp_path}/saved.tar"')
    store.do(f"rm {name}")
    store.do(f'load "{tmp_path}/saved.tar"')
    assert set(blobs_in(root)) == set(source_store.blobs)


# Names and removal


def test_removing_a_name_removes_all_its_platforms(store: StoreSession, root: Path, name: str) -> None:
    store.do(f"pull {name} platform all")
    store.do(f"tag {name} as other:1")
    assert list_platforms(store, "where name = other:1") == ALL
    assert [row["action"] for row in store.do(f"rm {name}")] == ["untag"]
    (removed,) = store.do("rm other:1")
    assert removed["action"] == "remove"
    assert blobs_in(root) == {}


def test_removing_one_platform_keeps_the_others(store: StoreSession, root: Path, name: str) -> None:
    store.do(f"pull {name} platform all")
    before = entries_in(root)
    (outcome,) = store.do("rm images where platform = linux/arm64")
    assert (outcome["action"], outcome["target"]) == ("stay", name)
    assert outcome["note"] == f"it has linux/amd64, linux/s390x too; to remove one platform: rm {name} platform OS/ARCH"
    with pytest.raises(Conflict, match=f"{name} has linux/amd64, linux/s390x too"):
        store.rows(f"rm {ARM.id[:19]}")
    with pytest.raises(Conflict) as caught:
        store.rows(f"rm {ARM.id[:19]}")
    assert caught.value.hints[0] == f"to remove one platform: rm {name} platform linux/arm64"
    assert entries_in(root) == before
    store.do(f"rm {compute_index_digest()[:19]}")
    assert blobs_in(root) == {}


def test_one_platform_is_removed_from_an_index(store: StoreSession, root: Path, name: str) -> None:
    store.do(f"pull {name} platform all")
    store.do(f"tag {name} as other:1")
    frees = sum(len(content) for content in ARM.blobs.values()) - len(SHARED.blob)
    (planned,) = store.outcomes(f"rm {name} platform linux/arm64/v8", dry_run=True)
    before = blobs_in(root)
    (done,) = store.do(f"rm {name} platform linux/arm64/v8")
    assert done == planned
    assert (done["action"], done["target"], done["image"], done["size"]) == ("drop", f"{name}, other:1", ARM.id, frees)
    assert done["note"] == "linux/arm64; kept: linux/amd64, linux/s390x"
    assert sum(before.values()) - sum(blobs_in(root).values()) == frees
    assert (
        list_platforms(store, f"where name = {name}")
        == list_platforms(store, "where name = other:1")
        == [ALL[0], ALL[2]]
    )
    (verified,) = store.do("verify all")
    assert verified["note"] == "every blob is intact; 1 of its index not stored"
    (about,) = store.rows(f"inspect {name}")
    assert about["Index"]["Absent"] == ["linux/arm64"]
    check_store(root)
    store.do("rm images where name = other:1 platform linux/s390x")
    assert list_platforms(store) == [ALL[0], ALL[0]]
    store.do(f"pull {name} platform all")
    assert list_platforms(store, f"where name = {name}") == ALL


def test_docker_rmi_removes_one_platform(store: StoreSession, root: Path, name: str) -> None:
    store.do(f"pull {name} platform all")
    done = imq(root, "rmi", "--platform", "linux/s390x", name)
    assert done.stdout == f"Deleted: {BIG.id}\nDeleted: {BIG.layers[0].diff_id}\n"
    assert list_platforms(store) == ALL[:2]
    done = imq(root, "rmi", "--platform", "linux/s390x", name, code=1)
    assert "has no stored image for linux/s390x" in done.stderr


def test_several_platforms_are_removed_at_once(store: StoreSession, root: Path, name: str) -> None:
    store.do(f"pull {name} platform all")
    done = store.do(f"rm {name} platform linux/amd64, linux/arm64")
    assert [row["image"] for row in done] == [AMD.id, ARM.id]
    assert len(SHARED.blob) <= max(row["size"] for row in done), "shared blobs are freed with one of them"
    assert set(blobs_in(root)) == {compute_index_digest(), *BIG.blobs}


def test_a_platform_that_cannot_be_removed_is_reported(
    store: StoreSession, root: Path, registry: Registry, name: str
) -> None:
    store.do(f"pull {name} platform linux/amd64, linux/arm64")
    single = serve(registry, f"single/{uuid.uuid4().hex[:8]}:1", BIG)
    store.do(f"pull {single} platform linux/s390x")
    before = entries_in(root)
    assert store.failure_code(f"rm {name} platform linux/s390x") == "no-such-platform"
    with pytest.raises(Conflict, match="would have no image left") as caught:
        store.do(f"rm {name} platform linux/amd64, linux/arm64")
    assert caught.value.hints == (f"to remove it completely: rm {name}",)
    assert store.failure_code(f"rm {name} platform all") == "conflict"
    with pytest.raises(Conflict, match=f"{single} is one image for linux/s390x, not an index"):
        store.do(f"rm {single} platform linux/s390x")
    assert entries_in(root) == before
    outcomes = store.outcomes(f"rm {single}, {name} platform linux/arm64")
    assert {(row["action"], row["error"]) for row in outcomes} == {("drop", None), ("rm", "conflict")}


def test_referrers_of_a_platform_are_copied_with_it(
    store: StoreSession, client: Client, registry: Registry, root: Path
) -> None:
    source_store, others = sample_images.MemoryStore(), sample_images.MemoryStore()
    one = sample_images.add_image(source_store, size=1000)
    about_one = sample_images.add_attestation(source_store, one)
    other = sample_images.add_image(others, ARM64, size=2000)
    about_other = sample_images.add_attestation(others, other)
    both = sample_images.MemoryStore()
    both.blobs.update(source_store.blobs | others.blobs)
    entries = [{**one.to_json(), "platform": AMD64}, {**other.to_json(), "platform": ARM64}, about_one, about_other]
    top = sample_images.add_index(both, entries)
    name = f"{registry.host}/multi/{uuid.uuid4().hex[:8]}:1"
    push(client, Reference.parse(name), top, both, NullProgress())
    store.do(f"pull {name} platform all")
    assert set(blobs_in(root)) == set(both.blobs)
    store.do(f"rm {name} platform linux/arm64")
    assert set(blobs_in(root)) == {top.digest, *source_store.blobs}
    assert store.failure_code(f"rm {name} platform linux/amd64") == "conflict"


def test_the_rows_of_an_index_cover_all_entries(store: StoreSession, root: Path, name: str) -> None:
    store.do(f"pull {name} platform all")
    store.do("untag " + name)
    assert [row["action"] for row in store.do("prune")] == ["remove", "collect"]
    assert blobs_in(root) == {}


# Save, load, push and copy


def test_an_index_is_pushed_with_all_images(store: StoreSession, client: Client, registry: Registry, name: str) -> None:
    store.do(f"pull {name} platform all")
    to = f"{registry.host}/pushed/{uuid.uuid4().hex[:8]}:2"
    (outcome,) = store.do(f"push {name} to {to}")
    assert outcome["note"] == f"digest: {compute_index_digest()}"
    assert client.fetch_manifest(Reference.parse(to)).content == index_of(IMAGES)


def test_a_partial_index_is_pushed_where_the_rest_exists(
    store: StoreSession, client: Client, second: Registry, name: str
) -> None:
    store.do(f"pull {name} platform linux/amd64, linux/arm64")
    there = name.replace(":1", ":again")
    store.do(f"push {name} to {there.removeprefix('docker.io/')}")
    assert client.fetch_manifest(Reference.parse(there)).digest == compute_index_digest()
    other = f"{second.host}/pushed/{uuid.uuid4().hex[:8]}:1"
    (outcome,) = store.outcomes(f"push {name} to {other}")
    assert outcome["error"] == "partial-index"
    assert "linux/s390x" in outcome["message"]
    assert client.fetch_head(Reference.parse(other)) is None
    store.do(f"push {name} to {other} platform linux/amd64, linux/arm64")
    got = json.loads(client.fetch_manifest(Reference.parse(other)).content)
    assert [entry["digest"] for entry in got["manifests"]] == [AMD.digest, ARM.digest]
    store.do(f"push {name} to {other} platform linux/arm64")
    assert client.fetch_manifest(Reference.parse(other)).digest == ARM.digest


@pytest.mark.parametrize("requested", ["all", "linux/amd64, linux/arm64"])
def test_an_index_is_saved_and_loaded(
    store: StoreSession, root: Path, opened: Callable[..., StoreSession], tmp_path: Path, name: str, requested: str
) -> None:
    store.do(f"pull {name} platform {requested}")
    store.do(f'save {name} to "{tmp_path}/saved.tar"')
    again = opened(tmp_path / "again")
    again.do(f'load "{tmp_path}/saved.tar"')
    assert again.rows("images select name, platform, id") == store.rows("images select name, platform, id")
    assert blobs_in(again.root) == blobs_in(root)
    again.do("verify all")
    check_store(again.root)


@pytest.mark.parametrize("requested", ["all", "linux/amd64, linux/arm64"])
def test_skopeo_reads_it(store: StoreSession, root: Path, tmp_path: Path, name: str, requested: str) -> None:
    store.do(f"pull {name} platform {requested}")
    location = f"oci:{root}:{name}"
    assert run("skopeo", "inspect", "--raw", location).encode() == index_of(IMAGES)
    run("skopeo", "--override-arch", "arm64", "copy", "--preserve-digests", location, f"dir:{tmp_path}/one")
    assert (tmp_path / "one" / "manifest.json").read_bytes() == ARM.manifest
    if requested == "all":
        run("skopeo", "copy", "--all", "--preserve-digests", location, f"oci:{tmp_path}/whole:x")
        copied = {f"sha256:{path.name}" for path in (tmp_path / "whole" / "blobs" / "sha256").iterdir()}
        assert copied == set(blobs_in(root))


def test_a_layout_of_one_platform_of_an_index_loads(store: StoreSession, tmp_path: Path) -> None:
    """As containerd and docker write it, which have only one platform of a pulled index."""
    Layout(tmp_path / "source").add_index([ARM], "multi:1", absent=[AMD, BIG])
    store.do(f'load "{tmp_path}/source"')
    assert list_platforms(store) == ["linux/arm64"]
    Layout(tmp_path / "more").add(AMD, "amd:1")
    store.do(f'load "{tmp_path}/more"')
    assert list_platforms(store, "where name = multi:1") == ["linux/arm64"], "it was not pulled for that name"
    store.do("verify all")


def test_inspect_lists_stored_and_missing_platforms(store: StoreSession, root: Path, name: str) -> None:
    store.do(f"pull {name} platform linux/amd64, linux/arm64")
    (root / "blobs" / "sha256" / ARM.digest.removeprefix("sha256:")).unlink()
    assert store.failure_code(f"verify {name}") == "blob-missing"
    store.do(f"pull {name} platform linux/arm64")
    store.do("verify all")
    assert list_platforms(store) == ALL[:2]


@pytest.mark.parametrize("requested", ["all", "linux/amd64, linux/arm64"])
def test_a_pull_stores_a_lost_image_again(store: StoreSession, root: Path, name: str, requested: str) -> None:
    store.do(f"pull {name} platform {requested}")
    for digest in (ARM.digest, ARM.id):
        (root / "blobs" / "sha256" / digest.removeprefix("sha256:")).unlink()
    assert store.failure_code("reindex") == "unreadable"
    assert "linux/arm64" not in list_platforms(store, "where id is known")
    store.do(f"pull {name} platform {requested}")
    assert "linux/arm64" in list_platforms(store)
    store.do("prune")
    store.do("verify all")


def test_a_name_resolves_to_the_platform_of_the_session(
    opened: Callable[..., StoreSession], root: Path, tmp_path: Path, name: str
) -> None:
    from imq.engine.oci.platform import Platform

    opened_store = opened(root, platform=Platform.parse("linux/arm64"))
    opened_store.do(f"pull {name} platform all")
    assert opened_store.rows(f"inspect {name}")[0]["Id"] == ARM.id
    assert {row["digest"] for row in opened_store.rows(f"layers of {name}")} == {one.digest for one in ARM.layers}
    opened_store.do(f'export {name} to "{tmp_path}/tree"')
    assert (tmp_path / "tree" / "own").read_bytes() == b"arm" * 1000


# Artifacts


@pytest.fixture
def chart(client: Client, registry: Registry) -> tuple[str, Descriptor, sample_images.MemoryStore]:
    """A helm chart in its own repository."""
    source_store = sample_images.MemoryStore()
    config, content = "application/vnd.cncf.helm.config.v1+json", "application/vnd.cncf.helm.chart.content.v1.tar+gzip"
    image_list = sample_images.add_artifact(source_store, config, content, content=b"a chart")
    name = f"{registry.host}/charts/{uuid.uuid4().hex[:8]}:1"
    push(client, Reference.parse(name), image_list, source_store, NullProgress())
    return name, image_list, source_store


def test_a_pulled_artifact_is_not_an_image(
    store: StoreSession, root: Path, chart: tuple[str, Descriptor, sample_images.MemoryStore]
) -> None:
    name, image_list, source_store = chart
    (outcome,) = store.do(f"pull {name}")
    assert outcome["note"] == "downloaded newer application/vnd.cncf.helm.config.v1+json"
    assert set(blobs_in(root)) == set(source_store.blobs)
    assert store.rows("images") == []
    before = version_of_index(root)
    (again,) = store.do(f"pull {name} platform all")
    assert (again["size"], "up to date" in again["note"]) == (0, True)
    assert version_of_index(root) == before
    (about,) = store.rows(f"inspect {name}")
    assert about["RepoTags"] == [name]
    assert about["Descriptor"]["digest"] == image_list.digest
    assert about["ArtifactType"] == "application/vnd.cncf.helm.config.v1+json"


def test_every_verb_supports_artifacts(
    store: StoreSession,
    root: Path,
    client: Client,
    second: Registry,
    opened: Callable[..., StoreSession],
    tmp_path: Path,
    chart: tuple[str, Descriptor, sample_images.MemoryStore],
) -> None:
    name, image_list, source_store = chart
    store.do(f"pull {name}")
    store.do(f"verify {name}")
    assert len(store.do("verify all")) == 1
    store.do(f"tag {name} as chart:2")
    to = Reference.parse(f"{second.host}/charts/{uuid.uuid4().hex[:8]}:1")
    store.do(f"push chart:2 to {to}")
    assert client.fetch_head(to) == image_list
    store.do(f'save chart:2 to "{tmp_path}/chart.tar"')
    again = opened(tmp_path / "again")
    again.do(f'load "{tmp_path}/chart.tar"')
    assert set(blobs_in(again.root)) == set(source_store.blobs)
    with pytest.raises(Conflict):
        store.rows(f"rm {image_list.digest[:19]}")
    assert store.failure_code(f'export chart:2 to "{tmp_path}/x"') == "not-an-image"
    store.do(f"rm {name}")
    assert set(blobs_in(root)) == set(source_store.blobs)
    (gone,) = store.do("rm chart:2")
    assert (gone["action"], blobs_in(root)) == ("remove", {})
    assert store.failure_code("rm chart:2") == "no-such-image"


def test_prune_takes_artifacts_without_a_tag(
    store: StoreSession, root: Path, chart: tuple[str, Descriptor, sample_images.MemoryStore]
) -> None:
    store.do(f"pull {chart[0]}")
    store.do("prune")
    assert blobs_in(root)
    store.do(f"untag {chart[0]}")
    assert [row["action"] for row in store.do("prune")] == ["remove", "collect"]
    assert blobs_in(root) == {}


def test_skopeo_and_the_store_agree_on_an_artifact(
    store: StoreSession, root: Path, chart: tuple[str, Descriptor, sample_images.MemoryStore]
) -> None:
    name, image_list, source_store = chart
    store.do(f"pull {name}")
    assert run("skopeo", "inspect", "--raw", f"oci:{root}:{name}").encode() == source_store.blobs[image_list.digest]


# Foreign layers


def add_foreign_image(source_store: sample_images.MemoryStore, urls: list[str]) -> Descriptor:
    image_list = sample_images.add_image(source_store, layers=2, size=1000)
    document = json.loads(source_store.blobs[image_list.digest])
    document["layers"][0] |= {"mediaType": media_types.OCI_NONDISTRIBUTABLE + "+gzip", "urls": urls}
    return source_store.describe(media_types.OCI_MANIFEST, to_json(document))


def test_a_foreign_layer_is_neither_pushed_nor_fetched_from_elsewhere(
    store: StoreSession, client: Client, registry: Registry, root: Path
) -> None:
    source_store, watcher = sample_images.MemoryStore(), sample_images.ProgressRecorder()
    image_list = add_foreign_image(source_store, ["http://127.0.0.1:1/layer"])
    name = f"{registry.host}/foreign/{uuid.uuid4().hex[:8]}:1"
    push(client, Reference.parse(name), image_list, source_store, watcher)
    layers = json.loads(source_store.blobs[image_list.digest])["layers"]
    assert watcher.words[layers[0]["digest"]][-1] == "Skipped foreign layer"
    assert not client.has_blob(Reference.parse(name), Descriptor.parse(layers[0], ""))
    (outcome,) = store.outcomes(f"pull {name}")
    assert outcome["error"] == "foreign-layer"
    assert store.rows("images") == []
    content = source_store.blobs[layers[0]["digest"]]
    client.upload_blob(
        Reference.parse(name), Descriptor.parse(layers[0], ""), lambda: source_store.open(layers[0]["digest"])
    )
    (outcome,) = store.do(f"pull {name}")
    both = len(content) + layers[1]["size"]
    assert outcome["size"] in (len(content), both), "a registry that has it gives it; the other may have come before"
    check_store(root)
