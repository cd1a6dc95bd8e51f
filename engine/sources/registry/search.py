"""The table `search`: the repositories that match a term."""

from __future__ import annotations

from imq.engine.oci.reference import DEFAULT_REGISTRY, Reference
from imq.grammar.errors import InvalidReference
from imq.grammar.record import TYPE_CHECKING

from .table_scan import RegistryScan

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from imq.engine.catalog.schema import Raw

MAX_RESULTS = 1000
"""The maximum number of results of one search; the ranking of further results is of little use."""


class Search(RegistryScan):
    """Rows of search results, by default from Docker Hub."""

    columns = ("name", "registry", "source", "description", "stars", "official", "automated")

    def list_rows(self, names: Sequence[tuple[Raw, ...]], /) -> None:
        """Search each registry for each term."""
        self.create({})
        hosts = [ref.address for ref in self.scan.refs] or [DEFAULT_REGISTRY]
        terms = [*self.scan.targets, *(str(row[0]) for row in names)]
        for registry in dict.fromkeys(hosts):
            for term in terms:
                self.insert(self._search(term, registry))

    def _search(self, term: str, registry: str) -> Iterator[tuple[object, ...]]:
        for hit in self.reader.client.search(term, registry, MAX_RESULTS):
            try:
                name = Reference.parse(f"{registry}/{hit.name}").familiar_name
            except InvalidReference:
                name = hit.name
            is_hub = registry == DEFAULT_REGISTRY
            hub_fields = (hit.description, hit.stars, hit.official, hit.automated) if is_hub else (None,) * 4
            yield (name, registry, registry, *hub_fields, None)
