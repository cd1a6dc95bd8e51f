"""Hostile documents: each is refused with its own error code, quickly and in little memory."""

from __future__ import annotations

import hashlib
import json
import resource
from typing import TYPE_CHECKING, Any

import pytest
from imq.engine.oci import media_types
from imq.engine.oci.config import Config
from imq.engine.oci.digest import Digest
from imq.engine.oci.json_schema import fold_case
from imq.engine.oci.manifest import (
    MAX_LAYERS,
    Index,
    Manifest,
    check_document_size,
    check_layout_file,
    parse_json_object,
    parse_layout_index,
    parse_manifest,
)
from imq.engine.oci.media_types import DEFAULT_MAX_DOCUMENT, MAX_DOCUMENT
from imq.engine.store.config_columns import STRING_FIELDS, read_documents, read_strings
from imq.grammar.errors import Malformed
from support.waiting import deadline

if TYPE_CHECKING:
    from collections.abc import Callable

DIGEST = "sha256:" + "0" * 64
CONFIG = {"mediaType": media_types.OCI_CONFIG, "digest": DIGEST, "size": 2}
LAYER = {"mediaType": media_types.OCI_LAYER_GZIP, "digest": DIGEST, "size": 3}


def manifest(**changes: Any) -> bytes:
    document = {
        "schemaVersion": 2,
        "mediaType": media_types.OCI_MANIFEST,
        "config": CONFIG,
        "layers": [LAYER],
        **changes,
    }
    return json.dumps({key: value for key, value in document.items() if value is not None}).encode()


def layers(**changes: Any) -> bytes:
    return manifest(layers=[{**LAYER, **changes}])


def index(**changes: Any) -> bytes:
    return json.dumps({"schemaVersion": 2, "mediaType": media_types.OCI_INDEX, "manifests": [], **changes}).encode()


def test_valid_documents_are_parsed() -> None:
    assert len(parse_manifest(manifest()).layers) == 1  # type: ignore[union-attr]
    assert parse_manifest(index()).manifests == ()  # type: ignore[union-attr]
    assert len(parse_manifest(manifest(layers=[LAYER] * MAX_LAYERS)).layers) == MAX_LAYERS  # type: ignore[union-attr]


MANIFESTS: dict[str, tuple[str, Callable[[], bytes]]] = {
    "index and image": ("ambiguous-manifest", lambda: manifest(manifests=[])),
    "index and config": ("ambiguous-manifest", lambda: index(config=CONFIG)),
    "an index with the media type of an image": (
        "ambiguous-manifest",
        lambda: index(mediaType=media_types.OCI_MANIFEST),
    ),
    "an image with the media type of an index": (
        "ambiguous-manifest",
        lambda: manifest(mediaType=media_types.OCI_INDEX),
    ),
    "neither an image nor an index": ("document", lambda: b"{}"),
    "a million layers": ("document-size", lambda: manifest(layers=[LAYER] * 1_000_000)),
    "a million empty layers": ("layer-count", lambda: manifest(layers=[{}] * 1_000_000)),
    "a million numbers": ("layer-count", lambda: manifest(layers=[0] * 1_000_000)),
    "one layer above the limit": ("layer-count", lambda: manifest(layers=[LAYER] * (MAX_LAYERS + 1))),
    "a million entries": ("document", lambda: index(manifests=[0] * 1_000_000)),
    "over 4 MiB": ("document-size", lambda: manifest(annotations={"a": "x" * DEFAULT_MAX_DOCUMENT})),
    "a negative size": ("size", lambda: layers(size=-1)),
    "a fractional size": ("size", lambda: layers(size=0.5)),
    "a size that is a string": ("size", lambda: layers(size="3")),
    "a size that is a boolean": ("size", lambda: layers(size=True)),
    "no size": ("size", lambda: layers(size=None)),
    "a size beyond 62 bits": ("size", lambda: layers(size=1 << 62)),
    "a size of a thousand digits": ("size", lambda: layers(size=10**1000)),
    "a size of a million digits": ("json", lambda: manifest().replace(b"3}", b"9" * 1_000_000 + b"}")),
    "an infinite size": ("json", lambda: manifest().replace(b'"size": 3', b'"size": Infinity')),
    "a duplicate key": ("duplicate-key", lambda: b'{"layers":[],' + manifest()[1:]),
    "a duplicate nested key": ("duplicate-key", lambda: manifest().replace(b'"size": 2', b'"size": 2, "size": 3')),
    "a duplicate key with an escape": ("duplicate-key", lambda: b'{"layer\\u0073":[],' + manifest()[1:]),
    "nested lists": ("json", lambda: manifest().replace(b'[{"media', b"[" * 100_000 + b'{"media')),
    "nested objects": ("json", lambda: b'{"a":' * 100_000 + b"1" + b"}" * 100_000),
    "nested and unclosed lists": ("json", lambda: b"[" * 4_000_000),
    "not JSON": ("json", lambda: b"\x1f\x8b\x08"),
    "not UTF-8": ("json", lambda: b'{"a": "\xff"}'),
    "a list": ("document", lambda: b"[]"),
    "UTF-16": ("json", lambda: manifest().decode().encode("utf-16")),
    "UTF-16 without a byte order mark": ("json", lambda: manifest().decode().encode("utf-16-le")),
    "UTF-32": ("json", lambda: manifest().decode().encode("utf-32")),
    "a byte order mark": ("json", lambda: b"\xef\xbb\xbf" + manifest()),
    "a digest of the wrong length": ("digest", lambda: layers(digest="sha384:" + "0" * 64)),
    "an algorithm in upper case": ("digest", lambda: layers(digest="BLAKE3:" + "0" * 64)),
    "a digest longer than a file name": ("digest", lambda: layers(digest="blake3:" + "0" * 300)),
    "layers in another case": ("ambiguous-key", lambda: manifest(Layers=[])),
    "layers in another case alone": ("ambiguous-key", lambda: manifest(layers=None, LAYERS=[LAYER])),
    "layers with a long s": ("ambiguous-key", lambda: b'{"layer\\u017f":[],' + manifest()[1:]),
    "manifests in another case": ("ambiguous-key", lambda: index(Manifests=[])),
    "manifests in another case in an image": ("ambiguous-key", lambda: manifest(MANIFESTS=[])),
    "the media type in another case": ("ambiguous-key", lambda: manifest(MediaType=media_types.OCI_INDEX)),
    "a digest in another case": ("ambiguous-key", lambda: layers(Digest=DIGEST)),
    "a platform in another case": (
        "ambiguous-key",
        lambda: index(
            manifests=[{**CONFIG, "platform": {"os": "linux", "architecture": "arm", "Architecture": "386"}}]
        ),
    ),
    "a subject in another case": ("ambiguous-key", lambda: manifest(subject={**CONFIG, "sizE": 4})),
    "unknown keys that differ only in case": ("ambiguous-key", lambda: manifest(note="a", Note="b")),
    "an artifact type of the wrong type": ("document", lambda: manifest(artifactType=5)),
    "a schema version that is a string": ("document", lambda: manifest(schemaVersion="2")),
    "data that is not base64": ("document", lambda: layers(data="*")),
    "URLs that are not a list": ("document", lambda: layers(urls="https://example.org")),
    "a platform that is a string": ("document", lambda: layers(platform="linux/amd64")),
    "OS features that are a string": ("document", lambda: layers(platform={"os.features": "win32k"})),
    "annotations of numbers": ("document", lambda: layers(annotations={"a": 1})),
    "schema 1 with layers": ("ambiguous-manifest", lambda: manifest(fsLayers=[])),
    "schema 1 with manifests": ("ambiguous-manifest", lambda: index(fsLayers=[{"blobSum": DIGEST}])),
    "a history of schema 1": ("ambiguous-manifest", lambda: manifest(history=[])),
    "a path for a digest": ("digest", lambda: layers(digest="sha256:../../../etc/passwd")),
    "an upper-case digest": ("digest", lambda: layers(digest="sha256:" + "A" * 64)),
    "a digest and a newline": ("digest", lambda: layers(digest=DIGEST + "\n")),
    "no digest": ("digest", lambda: layers(digest=None)),
    "a media type that is a number": ("document", lambda: layers(mediaType=5)),
    "layers that are an object": ("document", lambda: manifest(layers={"0": LAYER})),
    "a layer that is a string": ("document", lambda: manifest(layers=["layer"])),
    "no config": ("document", lambda: manifest(config=None)),
    "annotations that are a list": ("document", lambda: manifest(annotations=[1])),
    "schema 1": ("schema1", lambda: manifest(schemaVersion=1)),
}


CONFIGS: dict[str, tuple[str, Callable[[], bytes]]] = {
    "no diff IDs": ("document", lambda: b"{}"),
    "diff IDs that are an object": ("document", lambda: b'{"rootfs":{"diff_ids":{"0":"x"}}}'),
    "a diff ID that is not a digest": ("digest", lambda: b'{"rootfs":{"diff_ids":["x"]}}'),
    "a diff ID of an unknown algorithm": ("digest-algorithm", lambda: b'{"rootfs":{"diff_ids":["crc32:12345678"]}}'),
    "a million diff IDs": ("document-size", lambda: b'{"rootfs":{"diff_ids":[' + b'"x",' * 2_000_000),
    "a duplicate key": ("duplicate-key", lambda: b'{"rootfs":{"diff_ids":[],"diff_ids":[]}}'),
    "UTF-16": ("json", lambda: config().decode().encode("utf-16")),
    "rootfs in another case": ("ambiguous-key", lambda: config(Rootfs={"diff_ids": []})),
    "diff IDs in another case": ("ambiguous-key", lambda: config(rootfs={"diff_ids": [], "Diff_IDs": []})),
    "user in another case": ("ambiguous-key", lambda: config(config={"User": "app", "user": "root"})),
    "user in another case alone": ("ambiguous-key", lambda: config(config={"USER": "root"})),
    "a docker key in another case": ("ambiguous-key", lambda: config(config={"onbuild": []})),
    "a nested docker key in another case": ("ambiguous-key", lambda: config(container_config={"cmd": ["sh"]})),
    "a key of a step in another case": (
        "ambiguous-key",
        lambda: config(history=[{"created_by": "a", "Created_By": "b"}]),
    ),
    "a Kelvin sign": ("ambiguous-key", lambda: config(config={"Wor\u212aingDir": "/"})),
    "no diff ID": ("digest", lambda: config(rootfs={"diff_ids": [None]})),
    "nested": ("json", lambda: b'{"config":' * 100_000),
}


MISTYPED: dict[str, dict[str, Any]] = {
    "os is a number": {"os": 5},
    "architecture is a list": {"architecture": []},
    "variant is a number": {"variant": 8},
    "author is a boolean": {"author": True},
    "os.features is a string": {"os.features": "win32k"},
    "created is a number": {"created": 5},
    "created is a string": {"created": ""},
    "history is a string": {"history": "x"},
    "history is a number": {"history": 5},
    "history is an object": {"history": {"a": 1}},
    "history[0] is a number": {"history": [1]},
    "history[1].created is a string": {"history": [None, {"created": "2023-02-29T00:00:00Z"}]},
    "history[0].empty_layer is a string": {"history": [{"empty_layer": "true"}]},
    "history[0].created_by is a number": {"history": [{"created_by": 1.5}]},
    "config is a list": {"config": []},
    "config.User is a number": {"config": {"User": 0}},
    "config.Labels is a list": {"config": {"Labels": ["a"]}},
    "config.Labels['a'] is a number": {"config": {"Labels": {"a": 1}}},
    "config.Env is an object": {"config": {"Env": {"A": "b"}}},
    "config.Env[1] is a number": {"config": {"Env": ["A=b", 1]}},
    "config.Volumes is a list": {"config": {"Volumes": ["/data"]}},
    "config.Volumes['/data'] is a boolean": {"config": {"Volumes": {"/data": True}}},
    "config.ExposedPorts is a list": {"config": {"ExposedPorts": ["80/tcp"]}},
    "config.Cmd is a number": {"config": {"Cmd": 5}},
    "config.Entrypoint[0] is a list": {"config": {"Entrypoint": [["sh"]]}},
    "config.WorkingDir is an object": {"config": {"WorkingDir": {}}},
    "config.StopSignal is a number": {"config": {"StopSignal": 9}},
    "rootfs.type is a number": {"rootfs": {"type": 5, "diff_ids": []}},
}
"""The errors of configs that docker, podman and containerd all refuse to pull."""
READ_ON: dict[str, dict[str, Any]] = {
    "config.Healthcheck is a string": {"config": {"Healthcheck": "true"}},
    "config.Healthcheck.Test is a string": {"config": {"Healthcheck": {"Test": "true"}}},
    "config.OnBuild is a string": {"config": {"OnBuild": "RUN true"}},
    "config.Hostname is a number": {"config": {"Hostname": 5}},
    "container_config.User is a number": {"container_config": {"User": 5}},
    "docker_version is a number": {"docker_version": 20},
    "history has 1 steps that made a layer": {"history": [{"created_by": "RUN true"}]},
}
"""The warnings about configs that docker refuses to pull, and containerd or podman accept."""


def config(**changes: Any) -> bytes:
    return json.dumps({"os": "linux", "rootfs": {"type": "layers", "diff_ids": []}, **changes}).encode()


def refusal(read: Callable[[bytes], object], content: bytes) -> str:
    """Return the error code for a document. It is refused quickly, in ten times the memory of the largest document.

    The size is checked first, as all readers of documents do.
    """
    memory_before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    def parse_document() -> None:
        check_document_size(len(content), DEFAULT_MAX_DOCUMENT, "it")
        read(content)

    with deadline(), pytest.raises(Malformed) as caught:
        parse_document()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory_before < 10 * DEFAULT_MAX_DOCUMENT >> 10  # KiB
    assert len(caught.value.message) < 500
    return caught.value.code


@pytest.mark.parametrize("case", MANIFESTS)
def test_a_manifest_is_refused(case: str) -> None:
    code, make = MANIFESTS[case]
    assert refusal(parse_manifest, make()) == code


@pytest.mark.parametrize("media_type", [media_types.OCI_INDEX, media_types.DOCKER_INDEX, media_types.DOCKER_MANIFEST])
def test_a_manifest_served_with_another_media_type_is_refused(media_type: str) -> None:
    assert refusal(lambda content: parse_manifest(content, media_type), manifest()) == "ambiguous-manifest"


@pytest.mark.parametrize("case", CONFIGS)
def test_a_config_is_refused(case: str) -> None:
    code, make = CONFIGS[case]
    assert refusal(Config.parse, make()) == code


@pytest.mark.parametrize(
    ("size", "limit", "message"),
    [
        (101, 100, "more than 100 bytes; largest_document allows 100"),
        (150, 100, "150 bytes"),
        (DEFAULT_MAX_DOCUMENT + 1, DEFAULT_MAX_DOCUMENT, "largest_document = 8MiB"),
        (11 << 20, DEFAULT_MAX_DOCUMENT, "largest_document = 11MiB"),
        ((11 << 20) + 1, DEFAULT_MAX_DOCUMENT, "largest_document = 12MiB"),
        (MAX_DOCUMENT + 2, MAX_DOCUMENT, "the maximum of largest_document is 256MiB"),
    ],
)
def test_the_error_about_a_large_document_names_the_setting(size: int, limit: int, message: str) -> None:
    with pytest.raises(Malformed) as caught:
        check_document_size(size, limit, "it")
    assert caught.value.code == "document-size"
    assert message in "\n".join((caught.value.message, *caught.value.hints))
    check_document_size(limit, limit, "it")


@pytest.mark.parametrize("case", MISTYPED)
def test_a_config_with_a_field_of_another_type_is_refused(case: str) -> None:
    with pytest.raises(Malformed) as caught:
        Config.parse(config(**MISTYPED[case]))
    assert (caught.value.code, caught.value.message.startswith(f"the config: {case}, expected ")) == ("document", True)


@pytest.mark.parametrize("case", READ_ON)
def test_a_config_that_only_docker_refuses_has_a_warning(case: str) -> None:
    (message,) = Config.parse(config(**READ_ON[case])).problems
    assert message.startswith(f"the config: {case}")


@pytest.mark.parametrize(
    ("check", "words"),
    [("true", ["true"]), ({"Test": "true"}, ["true"]), (5, ["5"]), ({"Test": ["CMD", 1]}, ["CMD", "1"])],
)
def test_a_health_check_of_another_type_is_shown_unchanged(check: Any, words: list[str]) -> None:
    assert Config.parse(config(config={"Healthcheck": check})).healthcheck == words


def test_a_config_that_every_tool_accepts_has_no_warning() -> None:
    read = Config.parse(
        config(
            created=None,
            config={
                "User": None,
                "Cmd": "sh",
                "Env": None,
                "Labels": {"a": None, "User": "x", "user": "y"},
                "Volumes": {"/b": None, "/a": {}},
            },
            history=[None],
            rootfs={"diff_ids": [DIGEST]},
        )
    )
    strings = dict(zip((field.name for field in STRING_FIELDS), read_strings(read), strict=True))
    documents = read_documents(read)
    assert (read.created, strings["user"], documents["cmd"], documents["entrypoint"]) == (None, None, ["sh"], None)
    assert documents["env"] == {}
    assert documents["label"] == {"a": "", "User": "x", "user": "y"}
    assert documents["volumes"] == ["/a", "/b"]
    assert [(step.created_by, step.empty_layer) for step in read.history] == [("", False)]
    assert read.problems == ()
    assert Config.parse(config(rootfs={"diff_ids": None}, history=None, config=None)).diff_ids == ()


def test_lone_surrogates_are_decoded_as_in_go() -> None:
    content = rb'{"author": "a\ud800b\\ud800\udc00", "os": "\ud83d\ude00", "rootfs": {"diff_ids": []}}'
    read = Config.parse(content)
    assert (read.document["author"], read.platform.os) == ("a\ufffdb\\ud800\ufffd", "\U0001f600")


@pytest.mark.parametrize(
    "content", [manifest(layers=None), manifest().replace(b"[" + json.dumps(LAYER).encode() + b"]", b"null")]
)
def test_the_layers_of_an_image_may_be_null(content: bytes) -> None:
    read = parse_manifest(content)
    assert isinstance(read, Manifest)
    assert (read.layers, read.is_image) == ((), True)


def test_the_entries_of_an_index_may_be_null() -> None:
    assert parse_manifest(index(manifests=None)).manifests == ()  # type: ignore[union-attr]
    assert parse_layout_index(index(manifests=None), "index.json")["manifests"] == []


@pytest.mark.parametrize("digest", ["blake3:" + "0" * 64, "sha1:" + "0" * 40, "multihash+base58:QmRZ", "md5:x=_-Y"])
def test_a_digest_with_an_unknown_algorithm_is_refused_when_used(digest: str) -> None:
    entry = {**CONFIG, "digest": digest}
    read = parse_manifest(index(manifests=[CONFIG, entry], subject=entry))
    assert isinstance(read, Index)
    assert read.subject is not None
    assert [one.digest for one in (*read.manifests, read.subject)] == [DIGEST, digest, digest]
    assert parse_manifest(manifest(subject=entry)).subject == read.subject
    with pytest.raises(Malformed) as caught:
        read.manifests[1].digest.new_hash()
    assert caught.value.code == "digest-algorithm"


def test_sha384_is_supported() -> None:
    digest = Digest.parse("sha384:" + hashlib.sha384(b"").hexdigest())
    assert (digest.algorithm, digest.is_supported, digest.new_hash().hexdigest()) == ("sha384", True, digest.encoded)


@pytest.mark.parametrize(
    ("config_type", "layer_types", "is_image"),
    [
        (media_types.OCI_CONFIG, [""], True),
        (media_types.OCI_CONFIG, [media_types.OCI_LAYER, ""], True),
        (media_types.OCI_CONFIG, ["application/vnd.dev.cosign.simplesigning.v1+json"], False),
        ("", [media_types.OCI_LAYER_GZIP], True),
        ("application/octet-stream", [media_types.DOCKER_LAYER_GZIP], True),
        ("", [""], False),
        (media_types.EMPTY, [""], False),
        ("application/vnd.cncf.helm.config.v1+json", [media_types.OCI_LAYER_GZIP], False),
    ],
)
def test_images_are_distinguished_from_artifacts(config_type: str, layer_types: list[str], is_image: bool) -> None:
    content = manifest(
        config={**CONFIG, "mediaType": config_type}, layers=[{**LAYER, "mediaType": one} for one in layer_types]
    )
    read = parse_manifest(content)
    assert isinstance(read, Manifest)
    assert read.is_image is is_image


def test_a_layer_without_a_media_type_is_a_layer() -> None:
    untyped = {key: value for key, value in LAYER.items() if key != "mediaType"}
    read = parse_manifest(manifest(layers=[untyped]))
    assert isinstance(read, Manifest)
    assert read.is_image


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("rootfs", "RootFS", True),
        ("rootfs", "rootf\u017f", True),
        ("WorkingDir", "wor\u212aingdir", True),
        ("straße", "strasse", False),
        ("straße", "STRA\u1e9eE", True),
        ("\u03c3", "\u03c2", True),
        ("i", "\u0130", False),
        ("i", "\u0131", False),
    ],
)
def test_keys_match_in_any_case_as_in_go(one: str, other: str, same: bool) -> None:
    assert (fold_case(one) == fold_case(other)) is same


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b'{"imageLayoutVersion":"2.0.0"}', "layout-version"),
        (b'{"imageLayoutVersion":null}', "layout-version"),
        (b"{}", "layout-version"),
        (b'{"imageLayoutVersion":1}', "document"),
        (b'{"imageLayoutVersion":"1.0.0","ImageLayoutVersion":"2.0.0"}', "ambiguous-key"),
        (b"1.0.0", "json"),
    ],
)
def test_a_layout_of_another_version_is_refused(content: bytes, code: str) -> None:
    with pytest.raises(Malformed) as caught:
        check_layout_file(content, "oci-layout")
    assert caught.value.code == code
    assert "None" not in caught.value.message
    check_layout_file(b'{"imageLayoutVersion": "1.0.0"}', "oci-layout")


def test_an_error_names_the_document() -> None:
    for content in (b'{"a":1,"a":2}', b"{", b"[]"):
        with pytest.raises(Malformed, match="the manifest of redis"):
            parse_json_object(content, "the manifest of redis")


def test_a_config_may_have_bytes_that_are_not_utf8() -> None:
    """Each such byte becomes U+FFFD, as in Go."""
    config = Config.parse(
        b'{"rootfs":{"diff_ids":[]},"author":"caf\xe9","config":{"Labels":{"cut":"\xe2\x82","half":"\xed\xa0\x80"}}}'
    )
    assert config.document["author"] == "caf\ufffd"
    assert read_documents(config)["label"] == {"cut": "\ufffd\ufffd", "half": "\ufffd\ufffd\ufffd"}


def test_keys_that_decode_to_the_same_string_are_refused() -> None:
    with pytest.raises(Malformed) as refused:
        Config.parse(b'{"rootfs":{"diff_ids":[]},"config":{"Labels":{"\xe9":"a","\xe8":"b"}}}')
    assert refused.value.code == "duplicate-key"
