"""The entries of index.json and their annotations."""

from __future__ import annotations

from imq.engine.oci.digest import Digest
from imq.engine.oci.manifest import Descriptor
from imq.engine.oci.reference import Name, Reference, parse_name
from imq.engine.oci.timestamp import format_time, parse_time
from imq.grammar.record import TYPE_CHECKING, Record

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

REF_NAME = "org.opencontainers.image.ref.name"
CONTAINERD_NAME = "io.containerd.image.name"
REGISTRY_DIGEST = "dev.imq.registry-digest"
OTHER_DIGESTS = "dev.imq.other-digests"
SET_AT = "dev.imq.set-at"
_OWN_PREFIX = "dev.imq."
HELD_MANIFESTS = "dev.imq.holds"
"""On an index: the digests of its manifests that are held here, or `all`. Without it: those that exist."""
ALL_HELD = "all"


class IndexEntry(Record):
    """One descriptor of index.json. `digest` is the registry's digest of the name; `set_at` is in nanoseconds.

    `other_digests` are further digests that the registry has for the image, of indexes that list it too.
    The descriptor has the annotations as written, and `raw` is the whole JSON object: an entry of another tool stays
    unchanged until imq changes its name or digest.
    """

    descriptor: Descriptor
    name: Name | None = None
    digest: Digest | None = None
    set_at: int | None = None
    other_digests: tuple[Digest, ...] = ()
    raw: Mapping[str, Any] | None = None

    @classmethod
    def read(cls, document: Any, name: str) -> IndexEntry:
        """Parse an entry written by imq, skopeo, umoci or containerd; `name` is its name in errors."""
        descriptor = Descriptor.parse(document, name)
        return cls(descriptor, *_read_annotations(descriptor.annotations), document)

    def to_json(self) -> dict[str, Any]:
        """Return the descriptor for index.json; only annotations with other values are changed."""
        annotations = dict(self.descriptor.annotations)
        name, digest, _, other_digests = _read_annotations(annotations)
        if self.name != name:
            annotations.pop(CONTAINERD_NAME, None)
            annotations.pop(REF_NAME, None)
            if self.name is not None:
                annotations[REF_NAME] = str(self.name)
                digest = _read_annotations(annotations)[1]
        if self.digest != digest:
            annotations.pop(REGISTRY_DIGEST, None)
            if self.digest is not None:
                annotations[REGISTRY_DIGEST] = str(self.digest)
        if self.set_at != parse_time(annotations.get(SET_AT)):
            annotations.pop(SET_AT, None)
            if self.set_at is not None:
                annotations[SET_AT] = format_time(self.set_at)
        if self.other_digests != other_digests:
            annotations[OTHER_DIGESTS] = " ".join(self.other_digests)
        if self.raw is None:
            return self.descriptor.replace(annotations=annotations).to_json()
        document = dict(self.raw)
        if annotations:
            document["annotations"] = annotations
        elif document.get("annotations"):
            del document["annotations"]
        return document

    def __hash__(self) -> int:
        """Hash by content: `raw` is a mapping and cannot be hashed."""
        return hash((self.descriptor, self.name, self.digest, self.set_at))


def _read_annotations(
    annotations: Mapping[str, str],
) -> tuple[Name | None, Digest | None, int | None, tuple[Digest, ...]]:
    """Return the name, the digest that its registry has for it, the time when it was set, and further digests."""
    text = annotations.get(CONTAINERD_NAME) or annotations.get(REF_NAME) or ""
    name = parse_name(text) if text else None
    digest = annotations.get(REGISTRY_DIGEST)
    known = Digest.parse(digest) if digest else name.digest if name else None
    others = tuple(Digest.parse(other) for other in annotations.get(OTHER_DIGESTS, "").split())
    return name, known, parse_time(annotations.get(SET_AT)), others


def get_foreign_annotations(annotations: Mapping[str, str]) -> dict[str, str]:
    """Return the annotations of an entry that are neither names nor used by imq."""
    names = (REF_NAME, CONTAINERD_NAME)
    return {key: text for key, text in annotations.items() if key not in names and not key.startswith(_OWN_PREFIX)}


def set_held_manifests(descriptor: Descriptor, held: frozenset[Digest] | None) -> Descriptor:
    """Return the descriptor of an index, annotated with the manifests that are held; None: all of them."""
    value = ALL_HELD if held is None else " ".join(sorted(held))
    return descriptor.replace(annotations={**descriptor.annotations, HELD_MANIFESTS: value})


def is_held(root: Descriptor, manifest: Digest) -> bool:
    """Whether a manifest below a root is held here; True when the root does not say."""
    value = root.annotations.get(HELD_MANIFESTS, ALL_HELD)
    return value == ALL_HELD or manifest in value.split(" ")


def list_repositories(entries: Iterable[IndexEntry]) -> list[Reference]:
    """Return the repositories in the names of images, each once; first those known to have had the image."""
    ranked = sorted(entries, key=lambda entry: entry.digest is None)
    names = (entry.name for entry in ranked if isinstance(entry.name, Reference))
    return list(dict.fromkeys(name.replace(tag=None, digest=None) for name in names))
