"""The JSON documents of an image: descriptor, manifest, index and config, checked when they are read.

A value that exists is valid: digests are digests, sizes are not negative, an index is not also a manifest.
Documents come from outside, so everything that does not fit raises `Malformed` naming the field; its code says what is
wrong: `document-size`, `json`, `duplicate-key`, `layer-count`, `size`, `digest`, `ambiguous-manifest`, `schema1`, and
`document` for a field that is missing or of another type.
"""

from __future__ import annotations

from imq.grammar.errors import Malformed
from imq.grammar.record import TYPE_CHECKING, Record

from . import media
from .digest import Digest
from .platform import Platform, platform_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

LARGEST_DOCUMENT = 4 << 20
"""Bytes: the distribution specification's limit for manifests, used for every document unless a setting says more."""
LARGEST_ALLOWED = 256 << 20
"""Bytes: more than that is never read as one document, whatever the setting."""
MOST_LAYERS = 4096
"""More layers than any runtime mounts; a manifest with more is refused."""


def check_size(size: int, limit: int, what: str) -> None:
    """Raise `Malformed` (code `document-size`) for a document of more bytes than the setting `largest_document` allows.

    `size` is what is known of it: of one that is still being read, a byte more than the limit.
    """
    if size <= limit:
        return
    wanted = -(-max(size, 2 * limit) >> 20)
    raise Malformed(
        f"{what} has {size if size > limit + 1 else f'more than {limit}'} bytes; largest_document allows {limit}",
        code="document-size",
        hints=(f"if it is meant to be so large: set largest_document = {wanted}MiB",)
        if size <= LARGEST_ALLOWED
        else (f"set largest_document allows {LARGEST_ALLOWED >> 20}MiB at most",),
    )


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise Malformed(f"the key {twice!r} stands twice in one object", code="duplicate-key")
    return document


def _no_constant(word: str) -> None:
    raise ValueError(f"{word} is no number")  # though Python would take it for one


def read_json(content: bytes, what: str) -> dict[str, Any]:
    """Parse one JSON object.

    Whoever brings the content in bounds it: see `check_size`. Raises `Malformed`: `json` for what is not JSON or nested
    too deep to be read, `duplicate-key`, and `document` when it is not an object.
    """
    import json

    try:
        document = json.loads(content, object_pairs_hook=_unique, parse_constant=_no_constant)
    except (ValueError, RecursionError) as problem:
        raise Malformed(f"{what} is not JSON: {problem}", code="json") from None
    if not isinstance(document, dict):
        raise Malformed(f"{what} is not a JSON object", code="document")
    return document


def write_json(document: Mapping[str, Any]) -> bytes:
    """Serialise a document the same way every time, so that equal documents have equal digests."""
    import json

    try:
        return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()
    except UnicodeEncodeError:  # a half of a surrogate pair, which JSON can only write escaped
        return json.dumps(document, separators=(",", ":")).encode()


class Descriptor(Record):
    """Where some content is named: its media type, digest and size in bytes, and what is said about it.

    `urls` are other places that may have it, which nobody is made to ask.
    """

    media_type: str
    digest: Digest
    size: int
    annotations: Mapping[str, str] = {}
    platform: Platform | None = None
    artifact_type: str = ""
    urls: tuple[str, ...] = ()

    @classmethod
    def read(cls, document: Any, what: str) -> Descriptor:
        """Read a descriptor out of a parsed document; `what` names it in errors."""
        if not isinstance(document, dict):
            raise Malformed(f"{what} is not a descriptor", code="document")
        size = document.get("size")
        if not isinstance(size, int) or isinstance(size, bool) or size < 0 or size >= 1 << 62:
            raise Malformed(f"{what} has no valid size", code="size")
        media_type = document.get("mediaType", "")
        if not isinstance(media_type, str):
            raise Malformed(f"{what} has no valid mediaType", code="document")
        platform = document.get("platform")
        artifact_type, urls = document.get("artifactType"), document.get("urls")
        return cls(
            media_type,
            Digest.parse(document.get("digest")),
            size,
            _texts(document.get("annotations"), f"the annotations of {what}"),
            platform_of(platform) if isinstance(platform, dict) else None,
            artifact_type if isinstance(artifact_type, str) else "",
            tuple(url for url in urls if isinstance(url, str)) if isinstance(urls, list) else (),
        )

    def document(self) -> dict[str, Any]:
        """Return the descriptor as the JSON object that `read` reads."""
        document: dict[str, Any] = {"mediaType": self.media_type, "digest": str(self.digest), "size": self.size}
        if self.artifact_type:
            document["artifactType"] = self.artifact_type
        if self.platform is not None:
            platform = {"architecture": self.platform.architecture, "os": self.platform.os}
            if self.platform.os_version:
                platform["os.version"] = self.platform.os_version
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
    """One image for one platform (or an artifact): its config and its layers, bottom first."""

    media_type: str
    config: Descriptor
    layers: tuple[Descriptor, ...]
    annotations: Mapping[str, str]
    artifact_type: str = ""
    subject: Descriptor | None = None

    @property
    def is_image(self) -> bool:
        """False for artifacts: what has another config than an image, or nothing that is a layer among its layers.

        The first are charts and bills of materials, the second cosign's signatures and buildkit's attestations.
        """
        if self.config.media_type not in media.CONFIGS:
            return False
        return not self.layers or any(media.layer_compression(layer.media_type) is not None for layer in self.layers)

    @property
    def kind(self) -> str:
        """What an artifact says that it is: its own type, else that of its config, else of what it holds."""
        config = self.config.media_type
        told = "" if config in media.CONFIGS or config == media.EMPTY else config
        return self.artifact_type or told or next((layer.media_type for layer in self.layers), config)

    @property
    def download_size(self) -> int:
        """Bytes of config and layers as they travel, each distinct blob once."""
        return sum({d.digest: d.size for d in (self.config, *self.layers)}.values())


class Index(Record):
    """Several manifests under one name, one for each platform, and attestations beside them."""

    media_type: str
    manifests: tuple[Descriptor, ...]
    annotations: Mapping[str, str]
    artifact_type: str = ""
    subject: Descriptor | None = None


def read_manifest(content: bytes, media_type: str = "", what: str = "the manifest") -> Manifest | Index:
    """Parse a manifest or an index. `media_type` is what its descriptor or server said; it must agree with the text."""
    document = read_json(content, what)
    stated = document.get("mediaType", "")
    if not isinstance(stated, str):
        raise Malformed(f"{what} has no valid mediaType", code="document")
    if document.get("schemaVersion") == 1 or media_type in (media.DOCKER_SCHEMA1, media.DOCKER_SCHEMA1_SIGNED):
        raise Malformed(
            f"{what} is of schema 1, which docker has retired",
            code="schema1",
            hints=("push the image again with a current docker, or copy it with: skopeo copy --format oci",),
        )
    has_index, has_image = "manifests" in document, "layers" in document or "config" in document
    if has_index and has_image:
        raise Malformed(f"{what} is both an index and an image", code="ambiguous-manifest")
    if not has_index and not has_image:
        raise Malformed(f"{what} is neither an index nor an image", code="document")
    kinds, default = (media.INDEXES, media.OCI_INDEX) if has_index else (media.MANIFESTS, media.OCI_MANIFEST)
    known = media.INDEXES | media.MANIFESTS
    for said in (stated, media_type):
        if said in known and said not in kinds:
            raise Malformed(f"{what} says it is {said}, but its content is not", code="ambiguous-manifest")
    if stated in known and media_type in known and stated != media_type:
        raise Malformed(f"{what} says it is {stated}, but came as {media_type}", code="ambiguous-manifest")
    media_type = stated if stated in kinds else media_type if media_type in kinds else default
    annotations = _texts(document.get("annotations"), f"the annotations of {what}")
    stated, about = document.get("artifactType"), document.get("subject")
    artifact_type = stated if isinstance(stated, str) else ""
    subject = Descriptor.read(about, f"the subject of {what}") if about is not None else None
    if has_index:
        entries = _list(document["manifests"], what, "manifests")
        return Index(
            media_type,
            tuple(Descriptor.read(entry, f"entry {place} of {what}") for place, entry in enumerate(entries)),
            annotations,
            artifact_type,
            subject,
        )
    layers = _list(document.get("layers", []), what, "layers")
    if len(layers) > MOST_LAYERS:
        raise Malformed(f"{what} has {len(layers)} layers; the limit is {MOST_LAYERS}", code="layer-count")
    return Manifest(
        media_type,
        Descriptor.read(document.get("config"), f"the config of {what}"),
        tuple(Descriptor.read(layer, f"layer {place} of {what}") for place, layer in enumerate(layers)),
        annotations,
        artifact_type,
        subject,
    )


def _list(value: Any, what: str, key: str) -> list[Any]:
    if not isinstance(value, list):
        raise Malformed(f"{key!r} of {what} is not a list", code="document")
    return value


def _texts(value: Any, what: str) -> dict[str, str]:
    """Read a map of texts; null is an empty map, as Go writes it."""
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise Malformed(f"{what} are not a map of texts", code="document")
    return value
