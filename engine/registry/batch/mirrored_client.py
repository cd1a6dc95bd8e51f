"""A batch client that tries mirrors first for content with a digest, which can be verified.

Tags are resolved and listed at the registry only.
"""

from __future__ import annotations

from imq.engine.registry.mirrors import MirroredClient
from imq.grammar.errors import DigestMismatch, Malformed, RegistryError
from imq.grammar.record import TYPE_CHECKING

from .client import DEFAULT_CONCURRENCY, BatchClient

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

    from imq.engine.oci.digest import Digest
    from imq.engine.oci.manifest import Descriptor
    from imq.engine.oci.reference import Reference
    from imq.engine.registry.client import Client
    from imq.engine.registry.manifests import FetchedManifest
    from imq.engine.registry.mirrors import Mirror
    from imq.grammar.errors import ImqError

    from .client import ProgressCallback


class MirroredBatchClient(BatchClient):
    """A `BatchClient` that tries mirrors first; `warn` receives a message for each skipped mirror."""

    resolves_tags_first = True

    def __init__(
        self,
        client: Client,
        warn: Callable[[str], None],
        concurrency: int = DEFAULT_CONCURRENCY,
        on_progress: ProgressCallback | None = None,
    ) -> None:
        super().__init__(client, concurrency, on_progress)
        self._mirrors = MirroredClient(client)
        self._mirror_batch = BatchClient(self._mirrors.mirror_client, concurrency, on_progress)
        self._warn = warn
        self._reported: set[tuple[str, str]] = set()

    def close(self) -> None:
        """Cancel all batches, and close the connections to mirrors too."""
        self._mirror_batch.close()
        self._mirrors.close()
        super().close()

    def fetch_manifests(
        self, items: Iterable[tuple[int, Reference]]
    ) -> Iterator[tuple[int, FetchedManifest | ImqError]]:
        """Yield the manifest or index of each reference; those by digest from the first source that has it."""
        return self._fetch_from_mirrors(
            BatchClient.fetch_manifests, super().fetch_manifests, items, lambda item: item[1].digest
        )

    def fetch_configs(
        self, items: Iterable[tuple[int, Reference, Descriptor]]
    ) -> Iterator[tuple[int, bytes | ImqError]]:
        """Yield small blobs, each from the first source that has it."""
        return self._fetch_from_mirrors(
            BatchClient.fetch_configs, super().fetch_configs, items, lambda item: item[2].digest
        )

    def _fetch_from_mirrors(
        self,
        fetch: Callable[[BatchClient, Iterable[Any]], Iterator[tuple[int, Any]]],
        fetch_from_registry: Callable[[Iterable[Any]], Iterator[tuple[int, Any]]],
        items: Iterable[Any],
        digest: Callable[[Any], Digest | None],
    ) -> Iterator[tuple[int, Any]]:
        """Try the mirrors of each item in order, and the registry last."""
        remaining = {item[0]: item for item in items}
        tried: set[tuple[int, str]] = set()
        while assigned := {
            key: mirror for key, item in remaining.items() if (mirror := self._next_mirror(item, digest(item), tried))
        }:
            tried |= {(key, mirror.location) for key, mirror in assigned.items()}
            requests = [(key, mirror.reference, *remaining[key][2:]) for key, mirror in assigned.items()]
            for key, result in fetch(self._mirror_batch, requests):
                if isinstance(result, RegistryError | DigestMismatch | Malformed):
                    self._skip_mirror(assigned[key], remaining[key][1], result)
                else:
                    del remaining[key]
                    yield key, result
        yield from fetch_from_registry(remaining.values())

    def _next_mirror(self, item: Any, digest: Digest | None, tried: set[tuple[int, str]]) -> Mirror | None:
        """Return the next mirror to try for an item, None when only its registry is left."""
        mirrors = self._mirrors.list_candidates(item[1], digest) if digest is not None else []
        return next((mirror for mirror in mirrors if (item[0], mirror.location) not in tried), None)

    def _skip_mirror(
        self, mirror: Mirror, reference: Reference, error: RegistryError | DigestMismatch | Malformed
    ) -> None:
        """Record a mirror's failure; warn once for each mirror and error code."""
        if (mirror.location, error.code) in self._reported:
            return
        self._reported.add((mirror.location, error.code))
        self._mirrors.skip_mirror(mirror, reference, error)
        for text in self._mirrors.warnings:
            self._warn(text)
        self._mirrors.warnings.clear()
