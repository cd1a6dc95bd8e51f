"""Selecting the image of an index for a platform: in pulls, queries and removals, as in containerd."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import pytest
from imq.grammar.errors import StatementError
from store.support.serve_image import serve, serve_index
from store.support.stores import StoreSession
from support.images import Image, layer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from support.servers import Registry


def make_image(**platform: object) -> Image:
    return Image([layer({"own": repr(platform).encode()}, "gzip")], platform=platform)  # type: ignore[arg-type]


AMD = make_image(os="linux", architecture="amd64")
ARM = make_image(os="linux", architecture="arm", variant="v7")
PLAIN_ARM = make_image(os="linux", architecture="arm")
ARM6 = make_image(os="linux", architecture="arm", variant="v6")
ARM64 = make_image(os="linux", architecture="arm64", variant="v8")
ARM64_NEW = make_image(os="linux", architecture="arm64", variant="v8.2")
WINDOWS = {
    build: make_image(os="windows", architecture="amd64", **{"os.version": f"10.0.{build}.1"})
    for build in (17763, 20348)
}
GPU = make_image(os="linux", architecture="amd64", **{"os.features": ["gpu"]})


@pytest.fixture
def opened() -> Iterator[Callable[..., StoreSession]]:
    """Open stores, and close them after the test."""
    held: list[StoreSession] = []

    def at(root: object, **settings: object) -> StoreSession:
        held.append(StoreSession(root, **settings))
        return held[-1]

    yield at
    for one in held:
        one.close()


@pytest.fixture
def store(tmp_path: Path, opened: Callable[..., StoreSession]) -> StoreSession:
    return opened(tmp_path / "store")


@pytest.fixture
def index(registry: Registry) -> Callable[..., str]:
    """Push an index of images to the registry, and return its name."""
    return lambda *images: serve_index(registry, f"choice/{uuid.uuid4().hex[:8]}:1", images)


def list_ids(store: StoreSession, where: str = "all") -> set[str]:
    return {row["id"] for row in store.rows(f"images {where} select id as json")}


@pytest.mark.parametrize(
    ("platform", "chosen"),
    [
        *[
            (text, ARM64)
            for text in ("linux/arm64/8", "linux/arm64/v8.0", "linux/aarch64", "arm64", "linux/arm64/v8.1")
        ],
        *[(text, ARM64_NEW) for text in ("linux/arm64/v8.2", "linux/arm64/9", "linux/arm64/v9.0")],
        *[(text, ARM) for text in ("linux/arm", "linux/arm/7", "linux/armhf", "arm", "linux/arm/8")],
        *[(text, ARM6) for text in ("linux/arm/6", "linux/armel")],
        ("Linux/X86_64", AMD),
        ("linux(+gpu)/amd64", GPU),
        ("windows/amd64", WINDOWS[17763]),
        ("windows(10.0.17763)/amd64", WINDOWS[17763]),
        ("windows(10.0.20348)/amd64", WINDOWS[20348]),
        ("windows(10.0.20348.999)/amd64", WINDOWS[20348]),
        ("windows(10.0.26100)/amd64", WINDOWS[20348]),
    ],
)
def test_a_pull_selects_the_image_of_the_platform(
    index: Callable[..., str], store: StoreSession, platform: str, chosen: Image
) -> None:
    name = index(GPU, AMD, ARM6, ARM, ARM64, ARM64_NEW, *WINDOWS.values())
    store.do(f'pull {name} platform "{platform}"')
    assert list_ids(store) == {chosen.id}


@pytest.mark.parametrize("platform", ["linux/arm64", "linux/arm64/v8.1", "windows(10.0.14393)/amd64", "linux(+x)/386"])
def test_an_attestation_is_not_selected(index: Callable[..., str], store: StoreSession, platform: str) -> None:
    name = index(AMD, ARM64_NEW, *WINDOWS.values())
    assert store.failure_code(f'pull {name} platform "{platform}"') == "no-matching-manifest"


@pytest.mark.parametrize("platform", ["foo", "linux/arm*", "linux/amd64/", "arm/7", "linux/a b"])
def test_an_invalid_platform_is_refused_everywhere(registry: Registry, store: StoreSession, platform: str) -> None:
    name = serve(registry, f"choice/{uuid.uuid4().hex[:8]}:1", AMD)
    for text in (f'pull {name} platform "{platform}"', f'images where platform in ("{platform}")'):
        with pytest.raises(StatementError) as caught:
            store.rows(text)
        assert caught.value.code in ("platform", "glob")
        assert caught.value.exit_code == 2


def test_a_comparison_finds_equal_images(index: Callable[..., str], store: StoreSession) -> None:
    store.do(f"pull {index(AMD, PLAIN_ARM, ARM6, ARM64, ARM64_NEW)} platform all")
    assert list_ids(store, "where platform = linux/arm") == {PLAIN_ARM.id}
    assert list_ids(store, "where platform = linux/arm/v7") == {PLAIN_ARM.id}
    assert list_ids(store, "where platform = linux/armhf and variant = v7") == {PLAIN_ARM.id}
    assert list_ids(store, "where platform = linux/arm64/8") == {ARM64.id}
    assert list_ids(store, "where platform in (linux/x86_64, linux/armel)") == {AMD.id, ARM6.id}
    assert list_ids(store, "where platform like 'linux/arm/*'") == {PLAIN_ARM.id, ARM6.id}
    (row,) = store.rows("images where platform = linux/aarch64 select os, architecture, variant")
    assert row == {"os": "linux", "architecture": "arm64", "variant": "v8"}


def test_a_version_comparison_suggests_the_field(store: StoreSession) -> None:
    with pytest.raises(StatementError) as caught:
        store.rows('images where platform = "windows(10.0.17763)/amd64"')
    assert caught.value.hints == ("platform = windows/amd64 and os_version like '10.0.17763*'",)


def test_tags_select_a_platform_the_same_way(index: Callable[..., str], store: StoreSession) -> None:
    name = index(AMD, ARM6, PLAIN_ARM, ARM64)
    repository = name.rpartition(":")[0]
    for platform, image in {"linux/arm": PLAIN_ARM, "linux/arm/6": ARM6, "linux/arm64/v8.0": ARM64}.items():
        (row,) = store.rows(f"tags of {repository} where platform = {platform} select id")
        assert row["id"] == image.id
    assert len(store.rows(f"tags of {repository} where platforms has linux/arm/7")) == 1
    assert store.rows(f"tags of {repository} where platforms has linux/arm/v5") == []
    rows = store.rows(f"platforms of {name} select platform, variant")
    assert {(row["platform"], row["variant"]) for row in rows} == {
        ("linux/amd64", None),
        ("linux/arm/v6", "v6"),
        ("linux/arm/v7", "v7"),
        ("linux/arm64", "v8"),
    }


@pytest.mark.parametrize("table", ["tags of", "images in"])
def test_the_platforms_of_an_image_without_an_index_do_not_depend_on_the_cache(
    registry: Registry, tmp_path: Path, opened: Callable[..., StoreSession], table: str
) -> None:
    repository = serve(registry, f"single/{uuid.uuid4().hex[:8]}:amd", AMD).rpartition(":")[0]
    serve(registry, f"{repository.partition('/')[2]}:arm64", ARM64)
    serve_index(registry, f"{repository.partition('/')[2]}:both", (AMD, ARM64))

    def tags(condition: str) -> list[str]:
        store = opened(tmp_path / uuid.uuid4().hex)  # nothing is cached
        return sorted(row["tag"] for row in store.rows(f"{table} {repository} where {condition} select tag"))

    assert tags("platforms has linux/arm64") == ["arm64", "both"]
    assert tags("not platforms has linux/amd64") == ["arm64"]
    assert tags("platforms is unknown") == []
    removed = opened(tmp_path / "removing").rows(f"dry run rm tags of {repository} where not platforms has linux/amd64")
    assert [row["target"].rpartition(":")[2] for row in removed] == ["arm64"]


def test_a_name_of_several_platforms_resolves_to_the_nearest(index: Callable[..., str], tmp_path: Path) -> None:
    from imq.engine.oci.platform import Platform

    name = index(ARM6, AMD, ARM)
    for expected, image in {"linux/arm": ARM, "linux/arm/v6": ARM6, "linux/amd64/v3": AMD}.items():
        with StoreSession(tmp_path / "several", platform=Platform.parse(expected)) as store:
            store.do(f"pull {name} platform all")
            (document,) = store.rows(f"inspect {name}")
            assert document["Id"] == image.id


def test_one_os_version_of_several_is_removed(index: Callable[..., str], store: StoreSession) -> None:
    name = index(AMD, *WINDOWS.values())
    store.do(f"pull {name} platform all")
    store.do(f'rm {name} platform "windows(10.0.17763)/amd64"')
    assert list_ids(store) == {AMD.id, WINDOWS[20348].id}
