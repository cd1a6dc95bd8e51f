"""Selects platforms of an image or index: one image, or an index with several and their attestations."""

from __future__ import annotations

from imq.grammar.errors import RegistryError
from imq.grammar.record import TYPE_CHECKING, Record

from . import media_types
from .config import Config
from .digest import Digest
from .manifest import Descriptor, Index, Manifest, encode_json, parse_json_object, parse_manifest
from .manifest_walk import read_path
from .platform import Platform
from .platform_match import describe_mismatch, select_entry

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .reference import Reference


class PlatformSelection(Record):
    """A selection and its warnings. `content` is the JSON of a new index."""

    descriptor: Descriptor
    content: bytes | None = None
    warnings: tuple[str, ...] = ()


class PlatformSelector:
    """Selects from the manifest or index of `reference`; `read` reads manifests and indexes, `config` reads configs."""

    def __init__(
        self, reference: Reference, read: Callable[[Digest], bytes], config: Callable[[Descriptor], bytes]
    ) -> None:
        self._reference = reference
        self._read_document = read
        self._read_config = config

    def select(self, top: Descriptor, platforms: Sequence[Platform]) -> PlatformSelection:
        """Select `platforms`; an empty list selects all. A single image is selected in any case, with a warning."""
        if not platforms:
            return PlatformSelection(top)
        requested = [platform.normalize() for platform in platforms]
        index = self._read(top)
        if isinstance(index, Manifest):
            actual = self._read_platform(index)
            warnings = (describe_mismatch(self._reference, platform, actual) for platform in requested)
            return PlatformSelection(top, warnings=tuple(warning for warning in warnings if warning))
        images = [self._find_image(top, platform) for platform in requested]
        if len({image.digest for image in images}) == 1:
            return PlatformSelection(images[0])
        return self._build_subset(top, index, {image.digest for image in images})

    def _read(self, descriptor: Descriptor) -> Manifest | Index:
        content = self._read_document(descriptor.digest)
        return parse_manifest(content, descriptor.media_type, f"the manifest of {self._reference}")

    def _find_image(self, top: Descriptor, platform: Platform) -> Descriptor:
        def select(index: Index) -> Descriptor:
            return select_entry(platform, index, self._reference, self._read_entry_platform)

        image = read_path(top, self._read, select)[-1]
        return image.descriptor.replace(media_type=image.document.media_type)

    def _read_entry_platform(self, entry: Descriptor) -> Platform:
        document = self._read(entry)
        return self._read_platform(document) if isinstance(document, Manifest) else Platform("", "")

    def _read_platform(self, manifest: Manifest) -> Platform:
        if not manifest.is_image:
            return Platform("", "")
        return Config.parse(self._read_config(manifest.config)).platform

    def _build_subset(self, top: Descriptor, index: Index, selected: set[Digest]) -> PlatformSelection:
        """Return an index with these manifests and their attestations, with unchanged descriptors."""
        document = parse_json_object(
            self._read_document(top.digest), f"the manifest of {self._reference}", keep_numbers=True
        )
        entries = [
            entry_json
            for entry, entry_json in zip(index.manifests, document["manifests"], strict=True)
            if entry.digest in selected or entry.annotations.get(media_types.REFERENCE_DIGEST) in selected
        ]
        if not selected <= {entry.digest for entry in index.manifests}:
            raise RegistryError(
                f"{self._reference} is an index of indexes: only one platform can be selected",
                code="nested-index",
                host=self._reference.registry,
                hints=("omit the platforms to get all of it",),
            )
        if len(entries) == len(index.manifests):
            return PlatformSelection(top)
        content = encode_json({**document, "manifests": entries})
        return PlatformSelection(Descriptor(top.media_type, Digest.of(content), len(content)), content)
