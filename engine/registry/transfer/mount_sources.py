"""Records which repositories have which blobs, so that uploads can mount them.

Blobs seen by this client are certain. Cached ones may have been deleted: they are tried, and a registry that refuses a
cached mount gets no more of them.
"""

from __future__ import annotations

import threading

from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from imq.engine.oci.digest import Digest
    from imq.engine.oci.manifest import Index, Manifest
    from imq.engine.oci.reference import Reference

    LookupCallback = Callable[[str, Iterable[Digest]], Mapping[Digest, str]]
    """Returns, for a registry and blobs, repositories that may have them."""


class MountSources:
    """Safe to use from several threads, except `load_cached` and `record_manifest`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._repositories: dict[tuple[str, Digest], list[str]] = {}
        self._cached_repositories: dict[tuple[str, Digest], str] = {}
        self._refusing_registries: set[str] = set()
        self.find_cached: LookupCallback | None = None
        """Looks up blobs seen by earlier clients, None without a cache."""
        self.uploaded_manifests: list[tuple[Reference, Digest, int, Manifest | Index]] = []
        """Manifests that repositories have now: reference, digest, size and document."""

    def load_cached(self, reference: Reference, digests: Iterable[Digest]) -> None:
        """Load other repositories that may have these blobs."""
        if self.find_cached is not None:
            repositories = self.find_cached(reference.registry, digests)
            self._cached_repositories.update(
                ((reference.registry, digest), repository) for digest, repository in repositories.items()
            )

    def record_manifest(self, reference: Reference, digest: Digest, size: int, document: Manifest | Index) -> None:
        """Record that the reference's repository has a manifest and its blobs."""
        self.uploaded_manifests.append((reference, digest, size, document))

    def record_blob(self, reference: Reference, digest: Digest) -> None:
        """Record that the reference's repository has a blob."""
        with self._lock:
            repositories = self._repositories.setdefault((reference.registry, digest), [])
            if reference.repository not in repositories:
                repositories.append(reference.repository)

    def has_blob(self, reference: Reference, digest: Digest) -> bool:
        """Whether the reference's repository is known to have a blob."""
        with self._lock:
            return reference.repository in self._repositories.get((reference.registry, digest), ())

    def find_source(self, reference: Reference, digest: Digest) -> str | None:
        """Return another repository of the registry that has, or may have, a blob; None without one."""
        with self._lock:
            repositories = self._repositories.get((reference.registry, digest))
            if repositories:
                return repositories[0]
            cached = (
                None
                if reference.registry in self._refusing_registries
                else self._cached_repositories.get((reference.registry, digest))
            )
        return cached if cached != reference.repository else None

    def record_refusal(self, reference: Reference, digest: Digest, source: str) -> None:
        """Record a refused mount; a refused cached source disables the cache for the registry."""
        with self._lock:
            if source not in self._repositories.get((reference.registry, digest), ()):
                self._refusing_registries.add(reference.registry)
