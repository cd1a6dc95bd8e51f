"""Fetches images from the mirrors of a registry, and from the registry if every mirror fails.

As in docker and podman, mirrors are tried in their order, for manifests and blobs only. On any failure (unreachable,
denied, missing, wrong digest) the next one is tried. A mirror is trusted for the digest of a tag; content is verified
by digest. A mirror has its own credentials and certificates and never receives those of the registry.
"""

from __future__ import annotations

import threading

from imq.engine.oci import media_types
from imq.grammar.errors import DigestMismatch, Malformed, RegistryError
from imq.grammar.record import TYPE_CHECKING, Record

from .client import Client

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Protocol, Self

    from imq.engine.oci.digest import Digest
    from imq.engine.oci.manifest import Descriptor
    from imq.engine.oci.reference import Reference

    from .manifests import FetchedManifest
    from .settings import Settings
else:
    Protocol = object

_CONNECT_TIMEOUT = 5.0
"""Timeout of a connection to a mirror in seconds; it is short because there is another source."""
_NOT_FOUND_CODES = frozenset({"manifest-unknown", "name-unknown", "blob-unknown", "not-found"})
"""Error codes of a mirror that lacks the image, which cause no warning."""
_UNREACHABLE_CODES = frozenset({"unreachable", "timeout", "tls"})


class BlobReader(Protocol):
    """A stream of the bytes of a blob, as `ResumingReader` implements it."""

    def __enter__(self) -> Self:
        """Return itself."""

    def __exit__(self, *_: object) -> None:
        """Close it."""

    def readinto(self, view: memoryview) -> int:
        """Fill `view` with the next bytes and return their number; 0 at the end."""

    def abort(self) -> None:
        """Make a `readinto` that is waiting in another thread raise an error."""

    def close(self) -> None:
        """Release the connection."""


class ImageReader(Protocol):
    """A source of images: a `Client`, or a `MirroredClient`."""

    @property
    def settings(self) -> Settings:
        """The settings of the client."""

    def fetch_manifest(self, reference: Reference, accept: Sequence[str] = media_types.ACCEPTED) -> FetchedManifest:
        """Return the manifest or index of a reference."""

    def fetch_blob(self, reference: Reference, descriptor: Descriptor) -> bytes:
        """Return a small blob, verified against its descriptor."""

    def open_blob(
        self, reference: Reference, descriptor: Descriptor, offset: int = 0, stop: threading.Event | None = None
    ) -> BlobReader:
        """Open a blob for reading."""

    def reject_source(self, descriptor: Descriptor) -> bool:
        """Reject the source of a blob with wrong bytes; return whether another source is left."""


class Mirror(Record):
    """One mirror: its configured location, and the reference there."""

    location: str
    reference: Reference


def list_mirrors(mirrors: Mapping[str, tuple[str, ...]], reference: Reference) -> list[Mirror]:
    """Return the mirrors of a reference, from the longest configured prefix that matches.

    The rest of the name is appended to the mirror's location: docker.io/library/redis is HOST/library/redis at the
    mirror HOST of docker.io.
    """
    name = reference.canonical_name
    prefixes = [prefix for prefix in mirrors if name.startswith(f"{prefix}/")]
    if not prefixes:
        return []
    prefix = max(prefixes, key=len)
    rest = name[len(prefix) + 1 :]
    result = []
    for mirror in mirrors[prefix]:
        host, _, namespace = mirror.partition("/")
        result.append(
            Mirror(mirror, reference.replace(registry=host, repository=f"{namespace}/{rest}" if namespace else rest))
        )
    return result


class MirroredClient:
    """An `ImageReader` that tries mirrors first; a context manager. Safe to use from several threads.

    `warnings` holds one message for each skipped mirror. `mirror_client` sends requests to the mirrors.
    """

    def __init__(self, client: Client) -> None:
        settings = client.settings
        self._client = client
        self.mirror_client = Client(
            settings.replace(
                retries=min(settings.retries, 1), connect_timeout=min(settings.connect_timeout, _CONNECT_TIMEOUT)
            )
        )
        self._lock = threading.Lock()
        self._unreachable: set[str] = set()
        self._missing: set[tuple[str, str]] = set()
        self._sources: dict[Digest, set[str]] = {}
        self._rejected: set[tuple[str, Digest]] = set()
        self.warnings: list[str] = []

    @property
    def settings(self) -> Settings:
        """The settings of the client."""
        return self._client.settings

    def close(self) -> None:
        """Close the connections to mirrors; those of the client stay open."""
        self.mirror_client.close()

    def fetch_manifest(self, reference: Reference, accept: Sequence[str] = media_types.ACCEPTED) -> FetchedManifest:
        """Return the manifest or index of a reference from the first source that has it."""
        skipped: list[str] = []
        for mirror in list_mirrors(self.settings.mirrors, reference):
            if mirror.reference.registry in self._unreachable:
                continue
            key = mirror.location, mirror.reference.repository
            try:
                fetched = self.mirror_client.fetch_manifest(mirror.reference, accept)
            except (RegistryError, DigestMismatch, Malformed) as error:
                self._missing.add(key)
                skipped.append(self.skip_mirror(mirror, reference, error))
            else:
                self._missing.discard(key)
                return fetched
        try:
            return self._client.fetch_manifest(reference, accept)
        except RegistryError as error:
            error.hints = (*error.hints, *skipped)
            raise

    def fetch_blob(self, reference: Reference, descriptor: Descriptor) -> bytes:
        """Return a small blob, verified against its descriptor, from the first source that has it."""
        for mirror in self.list_candidates(reference, descriptor.digest):
            try:
                return self.mirror_client.fetch_blob(mirror.reference, descriptor)
            except (RegistryError, DigestMismatch, Malformed) as error:
                self.skip_mirror(mirror, reference, error)
        return self._client.fetch_blob(reference, descriptor)

    def open_blob(
        self, reference: Reference, descriptor: Descriptor, offset: int = 0, stop: threading.Event | None = None
    ) -> BlobReader:
        """Open a blob; when a mirror fails midway, the next source continues."""
        return _MirroredBlob(self, reference, descriptor, offset, stop)

    def reject_source(self, descriptor: Descriptor) -> bool:
        """Reject the mirrors that served a blob with wrong bytes; return whether there were any."""
        with self._lock:
            locations = self._sources.pop(descriptor.digest, set())
            self._rejected |= {(location, descriptor.digest) for location in locations}
        for location in locations:
            self._warn(f"mirror {location} skipped: it sent content that does not match {descriptor.digest}")
        return bool(locations)

    def list_candidates(self, reference: Reference, digest: Digest) -> list[Mirror]:
        """Return the mirrors to try for a blob, or for a manifest by digest."""
        return [
            mirror
            for mirror in list_mirrors(self.settings.mirrors, reference)
            if mirror.reference.registry not in self._unreachable
            and (mirror.location, mirror.reference.repository) not in self._missing
            and (mirror.location, digest) not in self._rejected
        ]

    def open_at(
        self,
        mirror: Mirror | None,
        reference: Reference,
        descriptor: Descriptor,
        start: int,
        stop: threading.Event | None,
    ) -> BlobReader:
        """Open a blob at a mirror, or (None) at its registry."""
        if mirror is None:
            return self._client.open_blob(reference, descriptor, start, stop)
        stream = self.mirror_client.open_blob(mirror.reference, descriptor, start, stop)
        with self._lock:
            self._sources.setdefault(descriptor.digest, set()).add(mirror.location)
        return stream

    def skip_mirror(
        self, mirror: Mirror, reference: Reference, error: RegistryError | DigestMismatch | Malformed
    ) -> str:
        """Record a mirror's failure and return a message. It is a warning too, unless only the image is missing."""
        message = f"mirror {mirror.location} of {reference.registry} skipped: {error.message}"
        if error.code in _UNREACHABLE_CODES:
            self._unreachable.add(mirror.reference.registry)
        if error.code not in _NOT_FOUND_CODES:
            self._warn(message)
        return message

    def _warn(self, text: str) -> None:
        with self._lock:
            if text not in self.warnings:
                self.warnings.append(text)


class _MirroredBlob:
    """A blob from the first source that serves it; a context manager."""

    def __init__(
        self,
        mirrors: MirroredClient,
        reference: Reference,
        descriptor: Descriptor,
        offset: int,
        stop: threading.Event | None,
    ) -> None:
        self._mirrors = mirrors
        self._reference = reference
        self._descriptor = descriptor
        self._offset = offset
        self._stop = stop
        self._aborted = False
        self._remaining: list[Mirror | None] = [*mirrors.list_candidates(reference, descriptor.digest), None]
        self._open()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def readinto(self, view: memoryview) -> int:
        """Fill `view` with the next bytes and return their number; 0 at the end."""
        while True:
            try:
                count = self._stream.readinto(view)
            except (RegistryError, DigestMismatch) as error:
                if self._mirror is None:
                    raise
                self._mirrors.skip_mirror(self._mirror, self._reference, error)
                self._stream.close()
                self._open()
            else:
                self._offset += count
                return count

    def abort(self) -> None:
        """Make a `readinto` that is waiting in another thread raise an error."""
        self._aborted = True
        self._stream.abort()

    def close(self) -> None:
        """Release the connection."""
        self._stream.close()

    def _open(self) -> None:
        """Open the blob at the next source, from the current offset."""
        while True:
            self._mirror = self._remaining.pop(0)
            try:
                self._stream = self._mirrors.open_at(
                    self._mirror, self._reference, self._descriptor, self._offset, self._stop
                )
            except (RegistryError, DigestMismatch) as error:
                if self._mirror is None:
                    raise
                self._mirrors.skip_mirror(self._mirror, self._reference, error)
            else:
                break
        if self._aborted:
            self._stream.abort()
