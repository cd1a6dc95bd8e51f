"""Images from the mirrors of a registry, and from the registry itself for what no mirror can give.

As docker and podman do it: mirrors are asked in their order, for manifests and blobs alone. Whatever is wrong with one
(it is down, it denies, it lacks the image, its bytes are not those of the digest), the next is asked. What a tag names
is believed of a mirror, what a digest names is checked. A mirror is a host like any other: it is shown its own
credentials and certificates, and never those of the registry.
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

    from .manifests import Fetched
    from .settings import Settings
else:
    Protocol = object

_PATIENCE = 5.0
"""Seconds that a mirror has at most to be reached: there is another place to ask."""
_ABSENT = frozenset({"manifest-unknown", "name-unknown", "blob-unknown", "not-found"})
"""Codes of errors by which a mirror says that it has not got something, which is nothing to be warned of."""
_UNREACHED = frozenset({"unreachable", "timeout", "tls"})


class Blob(Protocol):
    """The bytes of a blob on their way, as `BlobStream` has them."""

    def __enter__(self) -> Self:
        """Use it in a `with`."""

    def __exit__(self, *_: object) -> None:
        """Close it."""

    def readinto(self, view: memoryview) -> int:
        """Fill `view` with what comes next and return how many bytes; 0 at the end."""

    def abort(self) -> None:
        """Make a `readinto` that waits in another thread raise."""

    def close(self) -> None:
        """Need no more of it."""


class Fetcher(Protocol):
    """Where images are fetched from: a `Client`, or one with mirrors."""

    @property
    def settings(self) -> Settings:
        """How it speaks to registries."""

    def manifest(self, reference: Reference, accept: Sequence[str] = media_types.ACCEPTED) -> Fetched:
        """Return the manifest or index that a reference names."""

    def document(self, reference: Reference, descriptor: Descriptor) -> bytes:
        """Return a small blob, checked against its descriptor."""

    def open_blob(
        self, reference: Reference, descriptor: Descriptor, offset: int = 0, stop: threading.Event | None = None
    ) -> Blob:
        """Open a blob for reading."""

    def distrust(self, descriptor: Descriptor) -> bool:
        """Return whether a blob whose bytes were wrong may be had from another place, which is asked from now on."""


class Mirror(Record):
    """One mirror: its place as it is configured, and what stands there for the reference that is wanted."""

    place: str
    reference: Reference


def mirrors_of(mirrors: Mapping[str, tuple[str, ...]], reference: Reference) -> list[Mirror]:
    """Return where a reference may be fetched before its registry is asked, by the longest place that has mirrors.

    What stands behind that place in the name stands behind the mirror's: docker.io/library/redis is
    HOST/library/redis at the mirror HOST of docker.io.
    """
    name = reference.canonical_name
    fitting = [place for place in mirrors if name.startswith(f"{place}/")]
    if not fitting:
        return []
    place = max(fitting, key=len)
    rest = name[len(place) + 1 :]
    found = []
    for mirror in mirrors[place]:
        host, _, namespace = mirror.partition("/")
        found.append(
            Mirror(mirror, reference.replace(registry=host, repository=f"{namespace}/{rest}" if namespace else rest))
        )
    return found


class Mirrors:
    """A `Fetcher` that asks mirrors first; a context manager. Safe to use from several threads.

    `warnings` are what a user should know of mirrors that were passed over, each once. `quick` asks the mirrors.
    """

    def __init__(self, client: Client) -> None:
        settings = client.settings
        self._client = client
        self.quick = Client(
            settings.replace(retries=min(settings.retries, 1), connect_timeout=min(settings.connect_timeout, _PATIENCE))
        )
        self._lock = threading.Lock()
        self._down: set[str] = set()
        self._lacking: set[tuple[str, str]] = set()
        self._served: dict[Digest, set[str]] = {}
        self._wrong: set[tuple[str, Digest]] = set()
        self.warnings: list[str] = []

    @property
    def settings(self) -> Settings:
        """How registries are spoken to."""
        return self._client.settings

    def close(self) -> None:
        """Close the connections to mirrors; those of the client stay open."""
        self.quick.close()

    def manifest(self, reference: Reference, accept: Sequence[str] = media_types.ACCEPTED) -> Fetched:
        """Return the manifest or index that a reference names, from the first place that has it."""
        passed: list[str] = []
        for mirror in mirrors_of(self.settings.mirrors, reference):
            if mirror.reference.registry in self._down:
                continue
            key = mirror.place, mirror.reference.repository
            try:
                fetched = self.quick.manifest(mirror.reference, accept)
            except (RegistryError, DigestMismatch, Malformed) as problem:
                self._lacking.add(key)
                passed.append(self.pass_over(mirror, reference, problem))
            else:
                self._lacking.discard(key)
                return fetched
        try:
            return self._client.manifest(reference, accept)
        except RegistryError as problem:
            problem.hints = (*problem.hints, *passed)
            raise

    def document(self, reference: Reference, descriptor: Descriptor) -> bytes:
        """Return a small blob, checked against its descriptor, from the first place that has it."""
        for mirror in self.places(reference, descriptor.digest):
            try:
                return self.quick.document(mirror.reference, descriptor)
            except (RegistryError, DigestMismatch, Malformed) as problem:
                self.pass_over(mirror, reference, problem)
        return self._client.document(reference, descriptor)

    def open_blob(
        self, reference: Reference, descriptor: Descriptor, offset: int = 0, stop: threading.Event | None = None
    ) -> Blob:
        """Open a blob; what a mirror begins, and does not end, is gone on with elsewhere."""
        return _Stream(self, reference, descriptor, offset, stop)

    def distrust(self, descriptor: Descriptor) -> bool:
        """Ask the mirrors that served a blob no more for it; return whether there were any."""
        with self._lock:
            places = self._served.pop(descriptor.digest, set())
            self._wrong |= {(place, descriptor.digest) for place in places}
        for place in places:
            self._warn(f"the mirror {place} was passed over: it sent other bytes than {descriptor.digest}")
        return bool(places)

    def places(self, reference: Reference, digest: Digest) -> list[Mirror]:
        """Return the mirrors that are worth asking for a blob, or for a manifest by its digest."""
        return [
            mirror
            for mirror in mirrors_of(self.settings.mirrors, reference)
            if mirror.reference.registry not in self._down
            and (mirror.place, mirror.reference.repository) not in self._lacking
            and (mirror.place, digest) not in self._wrong
        ]

    def open_at(
        self,
        mirror: Mirror | None,
        reference: Reference,
        descriptor: Descriptor,
        start: int,
        stop: threading.Event | None,
    ) -> Blob:
        """Open a blob at a mirror, or (None) at its registry."""
        if mirror is None:
            return self._client.open_blob(reference, descriptor, start, stop)
        stream = self.quick.open_blob(mirror.reference, descriptor, start, stop)
        with self._lock:
            self._served.setdefault(descriptor.digest, set()).add(mirror.place)
        return stream

    def pass_over(
        self, mirror: Mirror, reference: Reference, problem: RegistryError | DigestMismatch | Malformed
    ) -> str:
        """Remember what is wrong with a mirror, and return it in a sentence; warn of what a user should know."""
        said = f"the mirror {mirror.place} of {reference.registry} was passed over: {problem.message}"
        if problem.code in _UNREACHED:
            self._down.add(mirror.reference.registry)
        if problem.code not in _ABSENT:
            self._warn(said)
        return said

    def _warn(self, text: str) -> None:
        with self._lock:
            if text not in self.warnings:
                self.warnings.append(text)


class _Stream:
    """A blob from the first place that gives it; a context manager."""

    def __init__(
        self,
        mirrors: Mirrors,
        reference: Reference,
        descriptor: Descriptor,
        offset: int,
        stop: threading.Event | None,
    ) -> None:
        self._mirrors = mirrors
        self._reference = reference
        self._descriptor = descriptor
        self._done = offset
        self._stop = stop
        self._aborted = False
        self._left: list[Mirror | None] = [*mirrors.places(reference, descriptor.digest), None]
        self._open()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def readinto(self, view: memoryview) -> int:
        """Fill `view` with what comes next and return how many bytes; 0 at the end."""
        while True:
            try:
                count = self._stream.readinto(view)
            except (RegistryError, DigestMismatch) as problem:
                if self._place is None:
                    raise
                self._mirrors.pass_over(self._place, self._reference, problem)
                self._stream.close()
                self._open()
            else:
                self._done += count
                return count

    def abort(self) -> None:
        """Make a `readinto` that waits in another thread raise."""
        self._aborted = True
        self._stream.abort()

    def close(self) -> None:
        """Give the connection back."""
        self._stream.close()

    def _open(self) -> None:
        """Open the blob at the next place, from where it has come to."""
        while True:
            self._place = self._left.pop(0)
            try:
                self._stream = self._mirrors.open_at(
                    self._place, self._reference, self._descriptor, self._done, self._stop
                )
            except (RegistryError, DigestMismatch) as problem:
                if self._place is None:
                    raise
                self._mirrors.pass_over(self._place, self._reference, problem)
            else:
                break
        if self._aborted:
            self._stream.abort()
