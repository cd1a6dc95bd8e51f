"""The table `search`: the repositories that a search finds."""

from __future__ import annotations

from imq.engine.oci.reference import DEFAULT_REGISTRY, Reference
from imq.engine.sources.staged_table import Filled
from imq.grammar.errors import InvalidReference
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from imq.engine.render.values import Raw

MOST = 1000
"""Hits that are read of one search: no registry tells more of them in a useful order."""


class Search(Filled):
    """Rows of hits: of Docker Hub, when no registry is named."""

    columns = ("name", "registry", "source", "description", "stars", "official", "automated")

    def begin(self, names: Sequence[tuple[Raw, ...]], /) -> None:
        """Search each place for each word."""
        self.make({})
        places = [place.registry for place in self.scan.places if place.registry] or [DEFAULT_REGISTRY]
        terms = [*(target for target in self.scan.targets if isinstance(target, str)), *(str(row[0]) for row in names)]
        for registry in dict.fromkeys(places):
            for term in terms:
                self.insert(self._hits(term, registry))

    def _hits(self, term: str, registry: str) -> Iterator[tuple[object, ...]]:
        for hit in self.source.client.search(term, registry, MOST):
            try:
                name = Reference.parse(f"{registry}/{hit.name}").familiar_name
            except InvalidReference:
                name = hit.name
            hub = registry == DEFAULT_REGISTRY
            told = (hit.description, hit.stars, hit.official, hit.automated) if hub else (None,) * 4
            yield (name, registry, registry, *told, None)
