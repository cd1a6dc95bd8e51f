"""Many questions at once, of which mirrors are asked for what digests name: that is checked, and never changes.

What a tag stands for, and which tags there are, are the registry's own matter.
"""

from __future__ import annotations

from imq.engine.registry.mirrors import Mirrors
from imq.grammar.errors import DigestMismatch, Malformed, RegistryError
from imq.grammar.record import TYPE_CHECKING

from .client import JOBS, Many

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

    from imq.engine.oci.digest import Digest
    from imq.engine.oci.manifest import Descriptor
    from imq.engine.oci.reference import Reference
    from imq.engine.registry.client import Client
    from imq.engine.registry.manifests import Fetched
    from imq.engine.registry.mirrors import Mirror
    from imq.grammar.errors import ImqError

    from .client import Told


class MirroredMany(Many):
    """A `Many` that asks mirrors first; `warn` is told of those that were passed over, and why."""

    checked_first = True

    def __init__(self, client: Client, warn: Callable[[str], None], jobs: int = JOBS, told: Told | None = None) -> None:
        super().__init__(client, jobs, told)
        self._mirrors = Mirrors(client)
        self._quick = Many(self._mirrors.quick, jobs, told)
        self._warn = warn
        self._met: set[tuple[str, str]] = set()

    def close(self) -> None:
        """Call off what is under way, and close the connections to mirrors too."""
        self._quick.close()
        self._mirrors.close()
        super().close()

    def documents(self, wanted: Iterable[tuple[int, Reference]]) -> Iterator[tuple[int, Fetched | ImqError]]:
        """Yield the manifest or index that each reference stands for; those by a digest from the first that has it."""
        return self._first(Many.documents, super().documents, wanted, lambda item: item[1].digest)

    def configs(self, wanted: Iterable[tuple[int, Reference, Descriptor]]) -> Iterator[tuple[int, bytes | ImqError]]:
        """Yield small blobs, each from the first that has it."""
        return self._first(Many.configs, super().configs, wanted, lambda item: item[2].digest)

    def _first(
        self,
        ask: Callable[[Many, Iterable[Any]], Iterator[tuple[int, Any]]],
        ask_registry: Callable[[Iterable[Any]], Iterator[tuple[int, Any]]],
        wanted: Iterable[Any],
        digest: Callable[[Any], Digest | None],
    ) -> Iterator[tuple[int, Any]]:
        """Ask the first mirror of each item, then the next for those that it did not give, and last the registry."""
        left = {item[0]: item for item in wanted}
        tried: set[tuple[int, str]] = set()
        while asked := {key: mirror for key, item in left.items() if (mirror := self._next(item, digest(item), tried))}:
            tried |= {(key, mirror.place) for key, mirror in asked.items()}
            questions = [(key, mirror.reference, *left[key][2:]) for key, mirror in asked.items()]
            for key, answer in ask(self._quick, questions):
                if isinstance(answer, RegistryError | DigestMismatch | Malformed):
                    self._pass_over(asked[key], left[key][1], answer)
                else:
                    del left[key]
                    yield key, answer
        yield from ask_registry(left.values())

    def _next(self, item: Any, digest: Digest | None, tried: set[tuple[int, str]]) -> Mirror | None:
        """Return the mirror to ask for an item, None when only its registry is left."""
        places = self._mirrors.places(item[1], digest) if digest is not None else []
        return next((mirror for mirror in places if (item[0], mirror.place) not in tried), None)

    def _pass_over(
        self, mirror: Mirror, reference: Reference, problem: RegistryError | DigestMismatch | Malformed
    ) -> None:
        """Remember what is wrong with a mirror; of each kind of it the first is told."""
        if (mirror.place, problem.code) in self._met:
            return
        self._met.add((mirror.place, problem.code))
        self._mirrors.pass_over(mirror, reference, problem)
        for text in self._mirrors.warnings:
            self._warn(text)
        self._mirrors.warnings.clear()
