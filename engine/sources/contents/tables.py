"""The tables of the contents of images, which every source with layers serves."""

from __future__ import annotations

from importlib import import_module

from imq.engine.catalog.schema import FetchLevel
from imq.engine.catalog.tables import TABLES
from imq.engine.query.source import StagedTable
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from imq.engine.query.source import ScanRequest, TableProvider, TableScan
    from imq.engine.sources.context import SourceContext

    from .protocol import LayerContents

_WHOLE = "no request, or 1 pass over each layer that is listed by its table of contents"
ACCOUNTS = FetchLevel("accounts", "the names of owners and groups", _WHOLE)
ACCESS = FetchLevel("access", "what users can do with the files", _WHOLE)
LINKS = FetchLevel("links", "where symlinks lead", "no request")
MACHINES = FetchLevel("machines", "the machines of executables", _WHOLE)
OWNERS = FetchLevel("owners", "the packages that own the paths", _WHOLE)
CONTENT = FetchLevel("content", "the contents of files", "1 pass over each layer that has some of them")
LICENCES = FetchLevel("licences", "the licences of the packages", "no request")
PURL = FetchLevel("package URLs", "the package URLs and distributions", "no request")
CONFIGS = FetchLevel("configs", "the digests, times and platforms of the images", "1 document for each image")
TEXTS = FetchLevel("texts", "the lines of texts", "1 pass over each layer that has some of the files")
_LISTING = "1 pass over each layer that is not in the index of files"
_FILE_LEVELS = {
    ACCOUNTS: "owner group",
    LINKS: "resolved broken",
    ACCESS: "writable_by executable_by",
    MACHINES: "machine",
    OWNERS: "package package_checksum",
    CONTENT: "sha256 content modified",
}
_LEVELS: dict[str, dict[FetchLevel, str]] = {
    "files": _FILE_LEVELS,
    "all_files": _FILE_LEVELS,
    "packages": {
        LICENCES: "licence",
        PURL: "purl distribution",
        CONFIGS: "image_digest image_created image_platform",
    },
    "texts": {TEXTS: "line text location occurrence"},
}
_SCANS = {
    "files": ("files", "FileScan", "FILTERED_FIELDS"),
    "all_files": ("files", "FileScan", "FILTERED_FIELDS_OF_ALL"),
    "archive_files": ("archive_files", "ArchiveFileScan", ""),
    "packages": ("packages", "PackageScan", "FILTERED_FIELDS"),
    "os_releases": ("packages", "OsReleaseScan", ""),
    "differences": ("differences", "DifferenceScan", ""),
    "waste": ("waste", "WasteScan", ""),
    "texts": ("texts", "TextScan", "FILTERED_FIELDS"),
}
"""The module of each table, its scan there, and the fields by which it leaves out rows."""


def make_content_provider(
    name: str,
    context: SourceContext,
    open_contents: Callable[[], LayerContents],
    kind: str = "",
    *,
    lists_all: bool = True,
) -> TableProvider:
    """Return the provider of a table of contents for a source.

    `kind` is what the source is, in messages (see `Table.source_kind`); for `lists_all` see `StagedTable`.
    """
    module_name, scan_name, fields_name = _SCANS[name]
    module = import_module(f".{module_name}", __package__)

    def open_scan(request: ScanRequest) -> TableScan:
        scan: TableScan = getattr(module, scan_name)(context, open_contents(), request)
        return scan

    levels = _LEVELS.get(name, {})
    return StagedTable(
        TABLES[name].with_levels(levels).replace(source_kind=kind),
        tuple(levels),
        _LISTING,
        _LISTING,
        open_scan,
        lists_all=lists_all,
        holders="files and settings" if name == "texts" else "",
        filtered_fields=getattr(module, fields_name) if fields_name else frozenset(),
    )
