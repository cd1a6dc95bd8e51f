"""Which repositories have which blobs, as far as a client has seen it: what one has, another of its host can mount."""

from __future__ import annotations

import threading

from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from imq.engine.oci.digest import Digest
    from imq.engine.oci.reference import Reference


class Placed:
    """Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._places: dict[tuple[str, Digest], list[str]] = {}

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
        """Return another repository of the same host that has a blob, None when none is known."""
        with self._lock:
            places = self._places.get((reference.registry, digest))
            return places[0] if places else None
