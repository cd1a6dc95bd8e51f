"""Names that other tables are of (`platforms of REF`, `referrers of REF`): asked for as tags are, before their rows."""

from __future__ import annotations

from imq.engine.catalog.tables import TAGS
from imq.engine.query.fetch_plan import Stage
from imq.grammar.record import TYPE_CHECKING

from .tags import Tags

if TYPE_CHECKING:
    from collections.abc import Sequence

    from imq.engine.catalog.tables import Cost
    from imq.engine.oci.platform import Platform
    from imq.engine.query.fetch_plan import Scan
    from imq.engine.render.values import Raw

    from .provider import Registries


class Named(Tags):
    """The names of another scan, as rows of tags. `repositories`: a name without a tag means all of a repository's."""

    def __init__(
        self, source: Registries, scan: Scan, platform: Platform | None = None, *, repositories: bool = False
    ) -> None:
        told = scan.view
        table = TAGS.replace(view=f"{scan.view}_of")
        scan = scan.replace(view=table.view, table=table)
        super().__init__(source, scan, platform or source.platform, images=not repositories)
        self.told = told

    def ask(self, names: Sequence[tuple[Raw, ...]], cost: Cost, field: str) -> None:
        """List them, and fetch a field of this cost for all of them."""
        self.begin(names)
        self.want_all()
        self.fetch(Stage(self.scan, cost, fields=frozenset({TAGS.field(field)})))
