"""Documents that mean harm: each is refused by name, soon and in little memory."""

from __future__ import annotations

import json
import resource
from typing import TYPE_CHECKING, Any

import pytest
from imq.engine.oci import media
from imq.engine.oci.config import Config
from imq.engine.oci.document import LARGEST_ALLOWED, LARGEST_DOCUMENT, MOST_LAYERS, check_size, read_manifest
from imq.grammar.errors import Malformed
from waiting import soon

if TYPE_CHECKING:
    from collections.abc import Callable

DIGEST = "sha256:" + "0" * 64
CONFIG = {"mediaType": media.OCI_CONFIG, "digest": DIGEST, "size": 2}
LAYER = {"mediaType": media.OCI_LAYER_GZIP, "digest": DIGEST, "size": 3}


def manifest(**changes: Any) -> bytes:
    document = {"schemaVersion": 2, "mediaType": media.OCI_MANIFEST, "config": CONFIG, "layers": [LAYER], **changes}
    return json.dumps({key: value for key, value in document.items() if value is not None}).encode()


def layers(**changes: Any) -> bytes:
    return manifest(layers=[{**LAYER, **changes}])


def index(**changes: Any) -> bytes:
    return json.dumps({"schemaVersion": 2, "mediaType": media.OCI_INDEX, "manifests": [], **changes}).encode()


def test_what_is_right_is_read() -> None:
    assert len(read_manifest(manifest()).layers) == 1  # type: ignore[union-attr]
    assert read_manifest(index()).manifests == ()  # type: ignore[union-attr]
    assert len(read_manifest(manifest(layers=[LAYER] * MOST_LAYERS)).layers) == MOST_LAYERS  # type: ignore[union-attr]


MANIFESTS: dict[str, tuple[str, Callable[[], bytes]]] = {
    "index and image": ("ambiguous-manifest", lambda: manifest(manifests=[])),
    "index and config": ("ambiguous-manifest", lambda: index(config=CONFIG)),
    "an index that says image": ("ambiguous-manifest", lambda: index(mediaType=media.OCI_MANIFEST)),
    "an image that says index": ("ambiguous-manifest", lambda: manifest(mediaType=media.OCI_INDEX)),
    "neither": ("document", lambda: b"{}"),
    "a million layers": ("document-size", lambda: manifest(layers=[LAYER] * 1_000_000)),
    "a million empty layers": ("layer-count", lambda: manifest(layers=[{}] * 1_000_000)),
    "a million numbers": ("layer-count", lambda: manifest(layers=[0] * 1_000_000)),
    "one layer more": ("layer-count", lambda: manifest(layers=[LAYER] * (MOST_LAYERS + 1))),
    "a million entries": ("document", lambda: index(manifests=[0] * 1_000_000)),
    "over 4 MiB": ("document-size", lambda: manifest(annotations={"a": "x" * LARGEST_DOCUMENT})),
    "a negative size": ("size", lambda: layers(size=-1)),
    "half a byte": ("size", lambda: layers(size=0.5)),
    "a size in words": ("size", lambda: layers(size="3")),
    "a true size": ("size", lambda: layers(size=True)),
    "no size": ("size", lambda: layers(size=None)),
    "a size beyond 62 bits": ("size", lambda: layers(size=1 << 62)),
    "a size of a thousand digits": ("size", lambda: layers(size=10**1000)),
    "a size of a million digits": ("json", lambda: manifest().replace(b"3}", b"9" * 1_000_000 + b"}")),
    "an endless size": ("json", lambda: manifest().replace(b'"size": 3', b'"size": Infinity')),
    "a key twice": ("duplicate-key", lambda: b'{"layers":[],' + manifest()[1:]),
    "a key twice, deeper": ("duplicate-key", lambda: manifest().replace(b'"size": 2', b'"size": 2, "size": 3')),
    "a key twice, in escapes": ("duplicate-key", lambda: b'{"layer\\u0073":[],' + manifest()[1:]),
    "nested lists": ("json", lambda: manifest().replace(b'[{"media', b"[" * 100_000 + b'{"media')),
    "nested objects": ("json", lambda: b'{"a":' * 100_000 + b"1" + b"}" * 100_000),
    "nested and not closed": ("json", lambda: b"[" * 4_000_000),
    "no JSON": ("json", lambda: b"\x1f\x8b\x08"),
    "not UTF-8": ("json", lambda: b'{"a": "\xff"}'),
    "a list": ("document", lambda: b"[]"),
    "an unknown algorithm": ("digest", lambda: layers(digest="md5:" + "0" * 32)),
    "a path for a digest": ("digest", lambda: layers(digest="sha256:../../../etc/passwd")),
    "an upper-case digest": ("digest", lambda: layers(digest="sha256:" + "A" * 64)),
    "a digest and a newline": ("digest", lambda: layers(digest=DIGEST + "\n")),
    "no digest": ("digest", lambda: layers(digest=None)),
    "a media type that is none": ("document", lambda: layers(mediaType=5)),
    "layers that are none": ("document", lambda: manifest(layers={"0": LAYER})),
    "a layer that is none": ("document", lambda: manifest(layers=["layer"])),
    "no config": ("document", lambda: manifest(config=None)),
    "annotations that are none": ("document", lambda: manifest(annotations=[1])),
    "schema 1": ("schema1", lambda: manifest(schemaVersion=1)),
}


CONFIGS: dict[str, tuple[str, Callable[[], bytes]]] = {
    "no diff IDs": ("document", lambda: b"{}"),
    "diff IDs that are none": ("document", lambda: b'{"rootfs":{"diff_ids":{"0":"x"}}}'),
    "a diff ID that is none": ("digest", lambda: b'{"rootfs":{"diff_ids":["x"]}}'),
    "a diff ID of an unknown algorithm": ("digest", lambda: b'{"rootfs":{"diff_ids":["crc32:12345678"]}}'),
    "a million diff IDs": ("document-size", lambda: b'{"rootfs":{"diff_ids":[' + b'"x",' * 2_000_000),
    "a key twice": ("duplicate-key", lambda: b'{"rootfs":{"diff_ids":[],"diff_ids":[]}}'),
    "nested": ("json", lambda: b'{"config":' * 100_000),
}


def refusal(read: Callable[[bytes], object], content: bytes) -> str:
    """Return the code of what refuses a document, soon and in ten times the longest document's size.

    What it has at most is looked at first, as all do who bring documents in.
    """
    held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    def bring_in() -> None:
        check_size(len(content), LARGEST_DOCUMENT, "it")
        read(content)

    with soon(), pytest.raises(Malformed) as caught:
        bring_in()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - held < 10 * LARGEST_DOCUMENT >> 10  # KiB
    assert len(caught.value.message) < 500
    return caught.value.code


@pytest.mark.parametrize("case", MANIFESTS)
def test_a_manifest_is_refused(case: str) -> None:
    code, make = MANIFESTS[case]
    assert refusal(read_manifest, make()) == code


@pytest.mark.parametrize("said", [media.OCI_INDEX, media.DOCKER_INDEX, media.DOCKER_MANIFEST])
def test_what_came_as_something_else_is_refused(said: str) -> None:
    assert refusal(lambda content: read_manifest(content, said), manifest()) == "ambiguous-manifest"


@pytest.mark.parametrize("case", CONFIGS)
def test_a_config_is_refused(case: str) -> None:
    code, make = CONFIGS[case]
    assert refusal(Config.read, make()) == code


@pytest.mark.parametrize(
    ("size", "limit", "said"),
    [
        (101, 100, "more than 100 bytes; largest_document allows 100"),
        (150, 100, "150 bytes"),
        (LARGEST_DOCUMENT + 1, LARGEST_DOCUMENT, "largest_document = 8MiB"),
        (11 << 20, LARGEST_DOCUMENT, "largest_document = 11MiB"),
        ((11 << 20) + 1, LARGEST_DOCUMENT, "largest_document = 12MiB"),
        (LARGEST_ALLOWED + 2, LARGEST_ALLOWED, "largest_document allows 256MiB at most"),
    ],
)
def test_what_is_too_large_names_the_setting(size: int, limit: int, said: str) -> None:
    with pytest.raises(Malformed) as caught:
        check_size(size, limit, "it")
    assert caught.value.code == "document-size"
    assert said in "\n".join((caught.value.message, *caught.value.hints))
    check_size(limit, limit, "it")
