"""The JSON documents of an image: descriptor, manifest, index and config, checked when they are read.

Parsed values are valid: digests are well-formed, sizes are not negative, an index is not also a manifest.
Documents are untrusted, so an invalid field raises `Malformed` with its name. The codes are `document-size`, `json`,
`duplicate-key`, `ambiguous-key`, `layer-count`, `size`, `digest`, `ambiguous-manifest`, `schema1`, and `document` for a
field that is missing or has a wrong type. As in Go, null is a missing field.
"""

from __future__ import annotations

from imq.engine.units import exact_json
from imq.grammar.errors import Malformed
from imq.grammar.record import TYPE_CHECKING, Record

from . import json_schema, media_types
from .digest import Digest
from .media_types import MAX_DOCUMENT
from .platform import Platform, parse_platform

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

_COMMON_KEYS = frozenset({"mediaType", "digest", "size"})
"""The keys of most descriptors, which need no further checks."""
LAYOUT_VERSION = "1.0.0"
"""The only version of image layouts."""
MAX_LAYERS = 4096
"""More layers than any runtime can mount; a manifest with more is rejected."""


def check_document_size(size: int, limit: int, name: str) -> None:
    """Raise `Malformed` (code `document-size`) for a document that is larger than the setting `largest_document`.

    `size` is its size in bytes; for a document that is not read completely, limit + 1.
    """
    if size <= limit:
        return
    mebibytes = -(-max(size, 2 * limit) >> 20)
    raise Malformed(
        f"{name} has {size if size > limit + 1 else f'more than {limit}'} bytes; largest_document allows {limit}",
        code="document-size",
        hints=(f"to allow it: set largest_document = {mebibytes}MiB",)
        if size <= MAX_DOCUMENT
        else (f"the maximum of largest_document is {MAX_DOCUMENT >> 20}MiB",),
    )


def _reject_duplicate_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs):
        seen: set[str] = set()
        duplicate = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise Malformed(f"the key {duplicate!r} appears twice in one object", code="duplicate-key")
    return document


def parse_json_object(
    content: bytes, name: str, *, replace_invalid: bool = False, keep_numbers: bool = False
) -> dict[str, Any]:
    """Parse one JSON object, in UTF-8 without a byte order mark.

    The caller limits its size: see `check_document_size`. With `replace_invalid`, U+FFFD replaces each byte that is not
    UTF-8, as in Go's readers. With `keep_numbers`, a number with a fraction or an exponent (`1.10`, `1e400`) becomes a
    `JsonNumber`, which `encode_json` writes unchanged. Raises `Malformed`: `json` for content that is not JSON or is
    nested too deep, `duplicate-key`, and `document` for a value that is not an object.
    """
    document = parse_json(content, name, replace_invalid=replace_invalid, keep_numbers=keep_numbers)
    if not isinstance(document, dict):
        raise Malformed(f"{name} is not a JSON object", code="document")
    return document


def parse_json(content: bytes, name: str, *, replace_invalid: bool = False, keep_numbers: bool = False) -> Any:
    """Parse one JSON value as `parse_json_object` parses an object."""
    import json

    number = exact_json.JsonNumber if keep_numbers else float
    try:
        text = _decode_as_go(content) if replace_invalid else content.decode()
        if "\\u" in text:
            text = _replace_lone_surrogates(text)
        hook = _reject_duplicate_keys
        return json.loads(text, object_pairs_hook=hook, parse_constant=exact_json.reject_constant, parse_float=number)
    except UnicodeDecodeError as error:
        raise Malformed(f"{name} is not JSON: byte {error.start} is not UTF-8", code="json") from None
    except (ValueError, RecursionError) as error:
        raise Malformed(f"{name} is not JSON: {error}", code="json") from None
    except Malformed as error:
        raise Malformed(f"{name}: {error.message}", code=error.code) from None


def _decode_as_go(content: bytes) -> str:
    """Return a string in which U+FFFD replaces each byte that is not UTF-8."""
    import re

    try:
        return content.decode()
    except UnicodeDecodeError:
        return re.sub("[\\udc80-\\udcff]", "\ufffd", content.decode("utf-8", "surrogateescape"))


def _replace_lone_surrogates(text: str) -> str:
    r"""Return a JSON text in which U+FFFD replaces each half of a surrogate pair (`"\ud800"`), as Go reads it."""
    import re

    def replace(escape: re.Match[str]) -> str:
        return "\\ufffd" if escape[1] else escape[0]

    if re.search(r"\\u[dD][89a-fA-F]", text) is None:
        return text
    pair = r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    return re.sub(rf"{pair}|\\(u[dD][89a-fA-F][0-9a-fA-F]{{2}})|\\.", replace, text)


def parse_layout_index(content: bytes, name: str) -> dict[str, Any]:
    """Parse the index.json of an image layout; `manifests` is always a list: null is empty, as in Go."""
    document = parse_json_object(content, name, keep_numbers=True)
    json_schema.MANIFEST.check(document, name)
    if "manifests" not in document:
        raise Malformed(f"{name} has no list of manifests", code="document")
    return {**document, "manifests": _read_list(document["manifests"], name, "manifests")}


def parse_archive_manifest(content: bytes, name: str) -> list[tuple[str, list[str], list[str]]]:
    """Parse manifest.json of docker's archives: return the config, the names and the layers of each image.

    null is an empty list, as in Go.
    """
    images = parse_json(content, name)
    if images is None:
        return []
    if not isinstance(images, list):
        raise Malformed(f"{name} is not a list of images", code="document")
    parsed = []
    for number, image in enumerate(images):
        json_schema.ARCHIVE_IMAGE.check(image, f"entry {number} of {name}")
        if not image.get("Config"):
            raise Malformed(f"entry {number} of {name} has no config", code="document")
        strings = ([text or "" for text in image.get(key) or ()] for key in ("RepoTags", "Layers"))
        parsed.append((image["Config"], *strings))
    return parsed


def check_layout_file(content: bytes, name: str) -> None:
    """Raise `Malformed` when `content` is not a valid oci-layout file of a supported version."""
    document = parse_json_object(content, name)
    json_schema.LAYOUT.check(document, name)
    version = document.get("imageLayoutVersion")
    if version != LAYOUT_VERSION:
        found = f"unknown version {version[:40]!r}" if version else "no version"
        raise Malformed(
            f"{name}: {found} of the image layout, expected {LAYOUT_VERSION}",
            code="layout-version",
            hints=("write it again with a current tool: skopeo copy docker://NAME oci:FOLDER",),
        )


def encode_json(document: Mapping[str, Any]) -> bytes:
    """Serialise a document the same way every time, so that equal documents have equal digests."""
    return exact_json.dumps(document)


class Descriptor(Record):
    """A reference to content: its media type, digest and size in bytes, and optional metadata.

    `urls` are further locations of the content; imq does not use them.
    """

    media_type: str
    digest: Digest
    size: int
    annotations: Mapping[str, str] = {}
    platform: Platform | None = None
    artifact_type: str = ""
    urls: tuple[str, ...] = ()

    @classmethod
    def parse(cls, document: Any, name: str) -> Descriptor:
        """Parse a descriptor from a JSON value; `name` is its name in errors."""
        if not isinstance(document, dict):
            raise Malformed(f"{name} is not a descriptor", code="document")
        if not (document.keys() <= _COMMON_KEYS and type(document.get("mediaType")) is str):
            json_schema.DESCRIPTOR.check(document, name)
        size = document.get("size")
        if not isinstance(size, int) or isinstance(size, bool) or size < 0 or size >= 1 << 62:
            raise Malformed(f"{name} has no valid size", code="size")
        platform, annotations = document.get("platform"), document.get("annotations")
        try:
            digest = Digest.parse_any(document.get("digest"))
        except Malformed as error:
            raise Malformed(f"{name}: {error.message}", code=error.code, hints=error.hints) from None
        return cls(
            document.get("mediaType") or "",
            digest,
            size,
            _read_string_map(annotations) if annotations else {},
            parse_platform(platform) if platform is not None else None,
            document.get("artifactType") or "",
            tuple(url or "" for url in document.get("urls") or ()),
        )

    def to_json(self) -> dict[str, Any]:
        """Return the descriptor as a JSON object, the inverse of `parse`."""
        document: dict[str, Any] = {"mediaType": self.media_type, "digest": str(self.digest), "size": self.size}
        if self.artifact_type:
            document["artifactType"] = self.artifact_type
        if self.platform is not None:
            platform: dict[str, Any] = {"architecture": self.platform.architecture, "os": self.platform.os}
            if self.platform.os_version:
                platform["os.version"] = self.platform.os_version
            if self.platform.os_features:
                platform["os.features"] = list(self.platform.os_features)
            if self.platform.variant:
                platform["variant"] = self.platform.variant
            document["platform"] = platform
        if self.annotations:
            document["annotations"] = dict(self.annotations)
        if self.urls:
            document["urls"] = list(self.urls)
        return document

    def __hash__(self) -> int:
        """Hash by content: annotations are a mapping and cannot be hashed."""
        return hash((self.media_type, self.digest, self.size))


class Manifest(Record):
    """The manifest of an image for one platform, or of an artifact: its config, and its layers, bottom first."""

    media_type: str
    config: Descriptor
    layers: tuple[Descriptor, ...]
    annotations: Mapping[str, str]
    artifact_type: str = ""
    subject: Descriptor | None = None

    @property
    def is_image(self) -> bool:
        """False for artifacts: manifests with a config of another type than an image's, or without image layers.

        Examples of the first are charts and SBOMs, of the second cosign signatures and BuildKit attestations.
        """
        config = self.config.media_type
        if config in media_types.CONFIGS and not self.layers:
            return True
        if config not in media_types.CONFIGS and config not in media_types.GENERIC_CONFIGS:
            return False
        types = {layer.media_type for layer in self.layers}
        if config not in media_types.CONFIGS:  # only the layers are evidence: one without a type is not enough
            types.discard("")
        return any(media_types.is_layer(media_type) for media_type in types)

    @property
    def artifact_kind(self) -> str:
        """The type of an artifact: its artifact type, else the type of its config, else of its first layer."""
        config = self.config.media_type
        config_type = "" if config in media_types.CONFIGS or config == media_types.EMPTY else config
        return self.artifact_type or config_type or next((layer.media_type for layer in self.layers), config)

    @property
    def download_size(self) -> int:
        """The compressed size of config and layers in bytes, each distinct blob once."""
        return sum({d.digest: d.size for d in (self.config, *self.layers)}.values())


class Index(Record):
    """A list of manifests, one for each platform, and their attestations."""

    media_type: str
    manifests: tuple[Descriptor, ...]
    annotations: Mapping[str, str]
    artifact_type: str = ""
    subject: Descriptor | None = None


def parse_manifest(content: bytes, media_type: str = "", name: str = "the manifest") -> Manifest | Index:
    """Parse a manifest or index. `media_type` is that of its descriptor or response, and must match the content."""
    document = parse_json_object(content, name)
    if document.get("schemaVersion") == 1 or media_type in (
        media_types.DOCKER_SCHEMA1,
        media_types.DOCKER_SCHEMA1_SIGNED,
    ):
        raise Malformed(
            f"{name} has the retired docker schema 1",
            code="schema1",
            hints=("push the image again with a current docker, or copy it with: skopeo copy --format oci",),
        )
    json_schema.MANIFEST.check(document, name)
    stated = document.get("mediaType") or ""
    has_index, has_image = "manifests" in document, "layers" in document or "config" in document
    if has_index and has_image:
        raise Malformed(f"{name} is both an index and an image", code="ambiguous-manifest")
    if (has_index or has_image) and ("fsLayers" in document or document.get("history") is not None):
        raise Malformed(f"{name} has fields of both schema 1 and schema 2", code="ambiguous-manifest")
    if not has_index and not has_image:
        raise Malformed(f"{name} is neither an index nor an image", code="document")
    allowed_types, default = (
        (media_types.INDEXES, media_types.OCI_INDEX) if has_index else (media_types.MANIFESTS, media_types.OCI_MANIFEST)
    )
    known = media_types.INDEXES | media_types.MANIFESTS
    for media_type_claim in (stated, media_type):
        if media_type_claim in known and media_type_claim not in allowed_types:
            raise Malformed(f"{name} does not match its media type {media_type_claim}", code="ambiguous-manifest")
    if stated in known and media_type in known and stated != media_type:
        raise Malformed(f"{name} has the media type {stated}, expected {media_type}", code="ambiguous-manifest")
    media_type = stated if stated in allowed_types else media_type if media_type in allowed_types else default
    annotations = _read_string_map(document.get("annotations") or {})
    artifact_type, subject_json = document.get("artifactType") or "", document.get("subject")
    subject = Descriptor.parse(subject_json, f"the subject of {name}") if subject_json is not None else None
    if has_index:
        entries = _read_list(document["manifests"], name, "manifests")
        return Index(
            media_type,
            tuple(Descriptor.parse(entry, f"entry {number} of {name}") for number, entry in enumerate(entries)),
            annotations,
            artifact_type,
            subject,
        )
    layers = _read_list(document.get("layers"), name, "layers")
    if len(layers) > MAX_LAYERS:
        raise Malformed(f"{name} has {len(layers)} layers; the limit is {MAX_LAYERS}", code="layer-count")
    return Manifest(
        media_type,
        Descriptor.parse(document.get("config"), f"the config of {name}"),
        tuple(Descriptor.parse(layer, f"layer {number} of {name}") for number, layer in enumerate(layers)),
        annotations,
        artifact_type,
        subject,
    )


def _read_list(value: Any, name: str, key: str) -> list[Any]:
    """Return a list; null is an empty list, as in Go."""
    if value is None:
        return []
    if not isinstance(value, list):
        raise Malformed(f"{key!r} of {name} is not a list", code="document")
    return value


def _read_string_map(value: Mapping[str, str | None]) -> Mapping[str, str]:
    """Return a validated map of strings; null is an empty string, as in Go."""
    return {key: text or "" for key, text in value.items()}
