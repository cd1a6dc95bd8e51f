"""Pulls from and pushes to a real registry, with a real store and a session."""

from __future__ import annotations

import json
import os
import uuid
from typing import TYPE_CHECKING

import pytest
from imq.engine.oci.platform import Platform
from imq.grammar.errors import ImqError
from registry.support import sample_images
from store.support.serve_image import serve, serve_index
from store.support.stores import StoreSession, blobs_in, check_store, imq, run, version_of_index
from support.images import ARM64, Image, digest_of, index_of, layer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.servers import Registry

BASE = layer({"base": os.urandom(100_000)}, "gzip")


def image(number: int = 1, **more: object) -> Image:
    return Image([BASE, layer({"own": b"own%d" % number * 1000}, "gzip")], labels={"n": str(number)}, **more)  # type: ignore[arg-type]


@pytest.fixture
def repository() -> str:
    """A repository that no other test uses."""
    return f"team/{uuid.uuid4().hex[:8]}"


def test_by_tag(store: StoreSession, registry: Registry, repository: str) -> None:
    made = image()
    name = serve(registry, f"{repository}:1", made)
    (outcome,) = store.do(f"pull {name}")
    assert outcome["image"] == made.id
    assert outcome["size"] == sum(len(layer.blob) for layer in made.layers)
    assert outcome["note"] == "downloaded newer image"
    (row,) = store.rows("images select name, id, digest, manifest_digest, size, pulled_at is known as pulled")
    assert list(row.values()) == [name, made.id, made.digest, made.digest, made.size, 1]


def test_a_config_with_a_byte_that_is_not_utf8(
    store: StoreSession, registry: Registry, repository: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = image(changes={"author": "cafe"})
    written = made.config.replace(b'"cafe"', b'"caf\xe9"')
    monkeypatch.setattr(Image, "config", property(lambda _: written))
    name = serve(registry, f"{repository}:1", made)
    store.do(f"pull {name}")
    assert store.rows("images select author") == [{"author": "caf\ufffd"}]
    assert store.do(f"verify {name}")
    assert made.id in blobs_in(store.root)


def test_the_default_tag_is_latest(store: StoreSession, registry: Registry, repository: str) -> None:
    name = serve(registry, f"{repository}:latest", image())
    store.do(f"pull {name.removesuffix(':latest')}")
    assert store.names() == [name]


def test_a_second_pull_is_up_to_date(store: StoreSession, registry: Registry, repository: str, root: Path) -> None:
    name = serve(registry, f"{repository}:1", image())
    store.do(f"pull {name}")
    before = version_of_index(root)
    (outcome,) = store.do(f"pull {name}")
    assert (outcome["note"], outcome["size"]) == ("image is up to date", 0)
    assert version_of_index(root) == before


def test_by_digest(store: StoreSession, registry: Registry, repository: str) -> None:
    made = image()
    name = serve(registry, f"{repository}:1", made)
    by_digest = f"{name.removesuffix(':1')}@{made.digest}"
    store.do(f"pull {by_digest}")
    assert store.rows("images select name, tag, digest") == [{"name": by_digest, "tag": None, "digest": made.digest}]
    store.do(f"pull {name}")
    assert store.names() == [name], "the tag says all that the digest said"
    store.do(f"pull {by_digest}")
    assert store.names() == [name]
    store.do(f"rm {by_digest}")
    assert store.names() == [name], "the tag is another name"
    store.do(f"rm {name}")
    assert store.names() == []


@pytest.mark.parametrize("tag", [":1", ":never", ""])
def test_with_a_digest_the_tag_is_dropped(
    store: StoreSession, root: Path, registry: Registry, repository: str, tag: str
) -> None:
    made = image()
    place = serve(registry, f"{repository}:1", made).removesuffix(":1")
    (planned,) = store.outcomes(f"pull {place}{tag}@{made.digest}", dry_run=True)
    (outcome,) = store.do(f"pull {place}{tag}@{made.digest}, {place}@{made.digest}")
    assert outcome["target"] == planned["target"] == f"{place}@{made.digest}"
    (row,) = store.rows("images select name, repository, tag, digest")
    assert row == {"name": f"{place}@{made.digest}", "repository": place, "tag": None, "digest": made.digest}
    for name in (f"{place}@{made.digest}", f"{place}{tag}@{made.digest}", made.id[7:19]):
        (document,) = store.rows(f"inspect {name}")
        assert (document["RepoTags"], document["RepoDigests"]) == ([], [f"{place}@{made.digest}"])
    listed = imq(root, "images", "--digests", place).stdout
    assert (place in listed, "<none>" in listed, made.digest in listed) == (True, True, True)
    assert place not in imq(root, "images", f"{place}:1").stdout
    imq(root, "rmi", f"{place}@{made.digest}")
    assert store.names() == []


def test_an_image_with_several_digests_of_one_repository_is_one_row(
    store: StoreSession, registry: Registry, repository: str
) -> None:
    """They are the digests of indexes with the image, and of its own manifest."""
    amd, arm, other = image(1), image(2, platform=ARM64), image(3, platform=ARM64)
    place = serve_index(registry, f"{repository}:1", [amd, arm]).removesuffix(":1")
    serve_index(registry, f"{repository}:2", [amd, other])
    digests = [digest_of(index_of([amd, arm])), digest_of(index_of([amd, other])), amd.digest]
    names = [f"{place}@{digest}" for digest in digests]
    for first in range(3):
        for name in (*names[first:], *names[:first], *names):
            store.do(f"pull {name}")
            assert store.rows("images count")[0]["count"] == 1
        for name in names:
            (document,) = store.rows(f"inspect {name}")
            assert document["Id"] == amd.id
            assert set(names[:2]) <= set(document["RepoDigests"])
        store.do(f"pull {place}:1")
        assert store.names() == [f"{place}:1"]
        assert all(store.rows(f"inspect {name}") for name in names)
        store.do("reindex")
        assert all(store.rows(f"inspect {name}") for name in names)
        store.do(f"rm {place}:1")
        assert store.names() == []


def test_a_tag_that_moved_in_the_registry_leaves_the_old_image_by_digest(
    store: StoreSession, registry: Registry, repository: str
) -> None:
    old, new = image(1), image(2)
    name = serve(registry, f"{repository}:1", old)
    store.do(f"pull {name}")
    serve(registry, f"{repository}:1", new)
    (outcome,) = store.do(f"pull {name}")
    assert "newer" in outcome["note"]
    (left,) = store.rows(f"images where id = {old.id} select name, dangling")
    assert left == {"name": f"{name.removesuffix(':1')}@{old.digest}", "dangling": 1}
    assert [row["image"] for row in store.do("prune") if row["action"] == "remove"] == [old.id]


def test_stored_layers_are_not_transferred(root: Path, opened: Callable[..., StoreSession], registry: Registry) -> None:
    watcher = sample_images.ProgressRecorder()
    held = opened(root, progress=watcher)
    repository = f"team/{uuid.uuid4().hex[:8]}"
    first, second = image(1), image(2)
    names = [serve(registry, f"{repository}:{n}", made) for n, made in ((1, first), (2, second))]
    held.do(f"pull {names[0]}")
    watcher.words.clear()
    (outcome,) = held.do(f"pull {names[1]}")
    assert watcher.words[BASE.digest] == ["Already exists"]  # type: ignore[index]
    assert watcher.words[second.layers[1].digest][-1] == "Pull complete"  # type: ignore[index]
    assert outcome["size"] == len(second.layers[1].blob)
    rows = held.rows("images select name, size, shared_size, unique_size order by name")
    assert [tuple(row.values())[1:] for row in rows] == [(104_000, 100_000, 4000)] * 2


def test_an_index_gives_the_image_for_the_platform(
    store: StoreSession, registry: Registry, repository: str, root: Path
) -> None:
    amd, arm = image(1), image(2, platform=ARM64)
    name = serve_index(registry, f"{repository}:1", [amd, arm])
    store.do(f"pull {name}")
    (row,) = store.rows("images select id, platform, digest, manifest_digest")
    assert (row["id"], row["platform"], row["manifest_digest"]) == (amd.id, "linux/amd64", amd.digest)
    assert row["digest"] not in (amd.digest, arm.digest), "the name stands for the index there"
    assert set(blobs_in(root)) == set(amd.blobs), "and nothing is kept that nothing here refers to"
    store.do(f"pull {name} platform linux/arm64")
    rows = {row["id"]: row["name"] for row in store.rows("images select id, name")}
    assert rows[arm.id] == name
    (again,) = store.do(f"pull {name} platform arm64")
    assert "up to date" in again["note"]
    store.do("rm all images")
    assert blobs_in(root) == {}


def test_an_image_of_another_platform_is_pulled_with_a_warning(root: Path, registry: Registry, repository: str) -> None:
    name = serve(registry, f"{repository}:1", image())
    done = imq(root, "pull", name, "platform", "linux/s390x")
    warning = (
        f"image with reference {name} was found but does not match the specified platform: "
        "wanted linux/s390x, actual: linux/amd64"
    )
    assert f"WARNING: {warning}\n" in done.stderr
    (outcome,) = json.loads(imq(root, "pull", name, "platform", "linux/s390x", "as", "json").stdout)
    assert outcome["note"] == f"image is up to date; {warning}"
    assert "WARNING" not in imq(root, "pull", name).stderr


def test_the_platform_of_the_session_is_used(
    root: Path, opened: Callable[..., StoreSession], registry: Registry
) -> None:
    arm = image(2, platform=ARM64)
    name = serve_index(registry, f"team/{uuid.uuid4().hex[:8]}:1", [image(1), arm])
    held = opened(root, platform=Platform.parse("linux/arm64"))
    held.do(f"pull {name}")
    assert held.rows("images select id") == [{"id": arm.id}]


def test_lazy_verification_measures_layers_at_the_first_query(
    store: StoreSession, registry: Registry, repository: str
) -> None:
    made = image()
    name = serve(registry, f"{repository}:1", made)
    store.read_message("set verify = lazy")
    store.do(f"pull {name}")
    assert len(store.session.store.list_unmeasured_layers()) == 2
    assert store.names() == [name], "a question that asks for no size unpacks nothing"
    assert len(store.session.store.list_unmeasured_layers()) == 2
    assert store.rows("images select size") == [{"size": made.size}]
    assert store.session.store.list_unmeasured_layers() == []


def test_several_at_once_and_one_that_fails(store: StoreSession, registry: Registry, repository: str) -> None:
    names = [serve(registry, f"{repository}:{number}", image(number)) for number in (1, 2)]
    outcomes = store.outcomes(f"pull {names[0]}, {registry.host}/{repository}:nosuch, {names[1]}")
    assert [outcome["error"] for outcome in outcomes] == [None, "manifest-unknown", None]
    assert store.names() == names


@pytest.mark.parametrize(
    ("what", "code"),
    [
        ("{host}/{repository}:nosuch", "manifest-unknown"),
        ("{host}/{repository}-nosuch:1", "manifest-unknown"),
        ("{host}/{repository}@sha256:" + "0" * 64, "manifest-unknown"),
        ("127.0.0.1:1/team/app:1", "unreachable"),
        ("nosuch.invalid/team/app:1", "unreachable"),
        ("{host}/{repository}:1 platform linux/s390x", "no-matching-manifest"),
    ],
)
def test_missing_images_are_reported(
    store: StoreSession, registry: Registry, repository: str, root: Path, what: str, code: str
) -> None:
    serve_index(registry, f"{repository}:1", [image(1), image(2, platform=ARM64)])
    assert store.failure_code("pull " + what.format(host=registry.host, repository=repository)) == code
    assert blobs_in(root) == {}
    assert store.names() == []


def test_an_invalid_name_is_reported_before_anything_is_pulled(
    store: StoreSession, registry: Registry, repository: str
) -> None:
    name = serve(registry, f"{repository}:1", image())
    with pytest.raises(ImqError) as caught:
        store.rows(f"pull {name}, BAD:1")
    assert (caught.value.code, caught.value.exit_code) == ("reference", 2)
    assert caught.value.span is not None
    assert store.names() == []


def test_pushed_images_can_be_pulled(
    store: StoreSession,
    made: dict[str, Image],
    registry: Registry,
    repository: str,
    tmp_path: Path,
    opened: Callable[..., StoreSession],
) -> None:
    name = f"{registry.host}/{repository}:1"
    (outcome,) = store.do(f"push redis:7 to {name}")
    assert outcome["note"] == f"digest: {made['redis:7'].digest}"
    store.do(f"tag plain:1 as {registry.host}/{repository}:2")
    store.do(f"push {registry.host}/{repository}:2")
    (row,) = store.rows(f"images where name = {registry.host}/{repository}:2 select digest")
    assert row["digest"] == made["plain:1"].digest, "now it has a registry's digest"
    other = opened(tmp_path / "other")
    other.do(f"pull {name}, {registry.host}/{repository}:2")
    assert {row["id"] for row in other.rows("images select id")} == {made["redis:7"].id, made["plain:1"].id}
    other.close()
    check_store(tmp_path / "other")


def test_an_image_without_a_name_cannot_be_pushed(store: StoreSession, made: dict[str, Image]) -> None:
    assert store.failure_code(f"push {made['dangling'].id}") == "operand"
    assert store.failure_code("push redis:7, redis:latest to x.invalid/y:1") == "operand"


def test_skopeo_reads_pulled_images(store: StoreSession, registry: Registry, repository: str, root: Path) -> None:

    made = image()
    name = serve(registry, f"{repository}:1", made)
    store.do(f"pull {name}")
    assert made.digest in run("skopeo", "inspect", f"oci:{root}:{name}")
