"""Which repositories have which blobs: what one has, another of its host can mount.

What a client has seen itself holds for as long as the client does. What was seen before is a guess: the blob may have
gone since. It is tried, and a host that does not mount what is guessed is not asked so again.
"""

from __future__ import annotations

import threading

from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from imq.engine.oci.digest import Digest
    from imq.engine.oci.manifest import Index, Manifest
    from imq.engine.oci.reference import Reference

    Recall = Callable[[str, Iterable[Digest]], Mapping[Digest, str]]
    """Returns, for blobs and a registry, repositories of it that may have them."""


class Placed:
    """Safe to use from several threads, but for `look_up` and `learn`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._places: dict[tuple[str, Digest], list[str]] = {}
        self._guesses: dict[tuple[str, Digest], str] = {}
        self._unwilling: set[str] = set()
        self.recall: Recall | None = None
        """What was seen before, if anybody remembers."""
        self.learnt: list[tuple[Reference, Digest, int, Manifest | Index]] = []
        """Manifests that repositories have now: the name, the digest, the bytes and the document."""

    def look_up(self, reference: Reference, digests: Iterable[Digest]) -> None:
        """Recall where else these blobs may be."""
        if self.recall is not None:
            found = self.recall(reference.registry, digests)
            self._guesses.update(((reference.registry, digest), place) for digest, place in found.items())

    def learn(self, reference: Reference, digest: Digest, size: int, document: Manifest | Index) -> None:
        """Say that the reference's repository has a manifest, and so what it names."""
        self.learnt.append((reference, digest, size, document))

    def note(self, reference: Reference, digest: Digest) -> None:
        """Remember that the reference's repository has a blob."""
        with self._lock:
            places = self._places.setdefault((reference.registry, digest), [])
            if reference.repository not in places:
                places.append(reference.repository)

    def has(self, reference: Reference, digest: Digest) -> bool:
        """Whether the reference's repository has been seen to have a blob."""
        with self._lock:
            return reference.repository in self._places.get((reference.registry, digest), ())

    def elsewhere(self, reference: Reference, digest: Digest) -> str | None:
        """Return another repository of the same host that has a blob, or may have it; None when none is known."""
        with self._lock:
            places = self._places.get((reference.registry, digest))
            if places:
                return places[0]
            guess = None if reference.registry in self._unwilling else self._guesses.get((reference.registry, digest))
        return guess if guess != reference.repository else None

    def refused(self, reference: Reference, digest: Digest, source: str) -> None:
        """Note that a blob could not be mounted from a repository; what was only guessed of its host is forgotten."""
        with self._lock:
            if source not in self._places.get((reference.registry, digest), ()):
                self._unwilling.add(reference.registry)
