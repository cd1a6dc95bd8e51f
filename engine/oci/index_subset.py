"""What some platforms mean of an image or an index: one image, or an index of these and of what is said about them."""

from __future__ import annotations

from imq.grammar.errors import Malformed, RegistryError
from imq.grammar.record import TYPE_CHECKING, Record

from . import media_types
from .config import Config
from .digest import Digest
from .manifest import Descriptor, Index, Manifest, read_json, read_manifest, write_json
from .platform import Platform
from .platform_match import entry_for, mismatch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .reference import Reference

_DEEPEST_INDEX = 4


class Selected(Record):
    """What is meant, and what to warn of; `content` is that of an index which was made for it."""

    descriptor: Descriptor
    content: bytes | None = None
    warnings: tuple[str, ...] = ()


class Selection:
    """Chooses from what `reference` names; `read` gives manifests and indexes, `config` gives configs."""

    def __init__(
        self, reference: Reference, read: Callable[[Digest], bytes], config: Callable[[Descriptor], bytes]
    ) -> None:
        self._reference = reference
        self._read_document = read
        self._read_config = config

    def of(self, top: Descriptor, platforms: Sequence[Platform]) -> Selected:
        """Return what these platforms mean; none mean all. A single image of another one is taken, with a warning."""
        if not platforms:
            return Selected(top)
        wanted = [platform.normalised() for platform in platforms]
        index = self._read(top)
        if isinstance(index, Manifest):
            actual = self._platform(index)
            warned = (mismatch(self._reference, platform, actual) for platform in wanted)
            return Selected(top, warnings=tuple(warning for warning in warned if warning))
        found = [self._image(index, platform) for platform in wanted]
        if len({image.digest for image in found}) == 1:
            return Selected(found[0])
        return self._reduced(top, index, {image.digest for image in found})

    def _read(self, descriptor: Descriptor) -> Manifest | Index:
        content = self._read_document(descriptor.digest)
        return read_manifest(content, descriptor.media_type, f"the manifest of {self._reference}")

    def _image(self, index: Index, platform: Platform, depth: int = 0) -> Descriptor:
        entry = entry_for(platform, index, self._reference, self._look)
        document = self._read(entry)
        if isinstance(document, Manifest):
            return entry.replace(media_type=document.media_type)
        if depth >= _DEEPEST_INDEX:
            raise Malformed(f"{self._reference} is an index of indexes without end", code="document")
        return self._image(document, platform, depth + 1)

    def _look(self, entry: Descriptor) -> Platform:
        document = self._read(entry)
        return self._platform(document) if isinstance(document, Manifest) else Platform("", "")

    def _platform(self, manifest: Manifest) -> Platform:
        if not manifest.is_image:
            return Platform("", "")
        return Config.read(self._read_config(manifest.config)).platform

    def _reduced(self, top: Descriptor, index: Index, kept: set[Digest]) -> Selected:
        """Return an index with these entries, and those about them, written as they stand in the whole one."""
        document = read_json(self._read_document(top.digest), f"the manifest of {self._reference}")
        entries = [
            written
            for entry, written in zip(index.manifests, document["manifests"], strict=True)
            if entry.digest in kept or entry.annotations.get(media_types.REFERENCE_DIGEST) in kept
        ]
        if not kept <= {entry.digest for entry in index.manifests}:
            raise RegistryError(
                f"{self._reference} is an index of indexes, from which one platform at a time can be taken",
                code="nested-index",
                host=self._reference.registry,
                hints=("leave the platforms out to take it whole",),
            )
        if len(entries) == len(index.manifests):
            return Selected(top)
        content = write_json({**document, "manifests": entries})
        return Selected(Descriptor(top.media_type, Digest.of(content), len(content)), content)
