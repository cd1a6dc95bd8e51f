"""The tables of the contents of images, which every source with layers serves."""

from __future__ import annotations

from imq.engine.catalog.schema import FetchLevel
from imq.engine.query.source import StagedTable
from imq.grammar.record import TYPE_CHECKING

from . import CONTENT_TABLES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from imq.engine.catalog.schema import Table
    from imq.engine.query.source import ScanRequest, TableProvider, TableScan
    from imq.engine.sources.context import SourceContext

    from .protocol import LayerContents

CONTENT = FetchLevel("content", "the contents of files", "1 pass over each layer that has some of them")
_LEVELS = {"files": {CONTENT: "sha256 content"}, "all_files": {CONTENT: "sha256 content"}}
_LISTING = "1 pass over each layer that is not in the index of files"


def make_content_providers(
    context: SourceContext, open_contents: Callable[[], LayerContents]
) -> Mapping[str, TableProvider]:
    """Return the providers of the tables of contents for a source, by the name of the table."""
    from imq.engine.catalog.tables import TABLES

    def open_scan(request: ScanRequest) -> TableScan:
        from .scan import FileScan

        return FileScan(context, open_contents(), request)

    def provide(table: Table) -> StagedTable:
        from .scan import FILTERED_FIELDS

        levels = _LEVELS[table.name]
        return StagedTable(
            table.with_levels(levels),
            tuple(levels),
            _LISTING,
            _LISTING,
            open_scan,
            lists_all=True,
            filtered_fields=FILTERED_FIELDS,
        )

    return {name: provide(TABLES[name]) for name in CONTENT_TABLES}
