"""The protocols that every source of rows follows.

A source resolves its own names, serves tables, handles actions on what it holds, and says whether it can be reached.
The packages in `engine/sources/` follow these protocols; nothing in `engine/query/` knows one of them by name.
"""

from __future__ import annotations

from imq.grammar.errors import ImqError, UnknownName, closest_hint, join_names
from imq.grammar.record import TYPE_CHECKING, Record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import Any, Protocol

    from imq.engine.catalog.schema import FetchLevel, Field, Raw, Table
    from imq.grammar import ast
    from imq.grammar.errors import Span
else:
    Protocol = object  # typing is slow to import, and a Protocol says nothing at run time


class SourceRef(Record):
    """A source that a statement names: `in store`, `in registry.local:5000/team/*`.

    `text` is how the user wrote it, `source` the name of the source that resolved it. What it means by `address` (a
    host, a socket, a folder) and `pattern` (which of its repositories or images) is the source's own business.
    """

    text: str
    source: str
    address: str = ""
    pattern: str = ""


class ScanRequest(Record):
    """Rows that a statement needs of a source. `view` is what SQL calls them, `table` as the source serves it.

    `targets` are the names behind `of`, `refs` the sources behind `in`. A scan with `lookup_fields` belongs to rows
    outside: it is given the values of these columns, and its rows say by `_lookup` which of the first they are for.
    `single_image`: a name means one image, and not all tags of a repository. `platform` is the one that the condition
    names, "" when it names none. `of_queries`: queries stand behind `of` too; their names are given to `list_rows`.
    `fresh`: for how many nanoseconds an answer about a name counts as known.
    """

    view: str
    table: Table
    targets: tuple[str, ...]
    refs: tuple[SourceRef, ...]
    lookup_fields: tuple[str, ...]
    single_image: bool = False
    platform: str = ""
    of_queries: bool = False
    fresh: int = 0


class FetchRequest(Record):
    """Fetch `fields` of this level for the chosen rows. `continues`: a higher level follows for the same rows."""

    level: FetchLevel
    fields: frozenset[Field]
    continues: bool = False


class TableScan(Protocol):
    """The rows of one scan: a temporary view with the columns of its table, `_row` and `_lookup`.

    The view has the columns `_row` (a whole number of its own), `_image`, `_root` and `_entry` (NULL but for images of
    the store) as well.
    """

    def list_rows(self, names: Sequence[tuple[Raw, ...]], /) -> None:
        """Make the view and list its rows: those of the request, and those of these names or looked-up values."""

    def fetch(self, request: FetchRequest, /) -> None:
        """Fetch fields for the rows whose `_row` is in the temporary table `selected_rows`."""

    def retain(self, rows: str) -> None:
        """Drop the rows whose `_row` is not in this temporary table."""

    def close(self) -> bool:
        """Drop the view; False when it cannot be dropped, because an answer is being read from it."""


class NativeTable(Record):
    """A table whose rows are in SQLite already.

    A query that reads a field with a level has `prepare` called for it before it runs; it returns what went wrong.
    `pending` returns what `explain` says of that, "" when there is nothing to do.
    """

    table: Table
    prepare: Callable[[FetchLevel], tuple[ImqError, ...]]
    pending: Callable[[FetchLevel], str]


class LoadedTable(Record):
    """A table that is read whole when a statement is bound. `load` is given the targets and returns what SQL has."""

    table: Table
    load: Callable[[Table, tuple[str, ...]], Table]


class StagedTable(Record):
    """A table whose rows are listed first; the rest is fetched level by level for the rows that are left.

    `levels` are in the order in which they are fetched. `listing` and `lookup` are how many requests it takes to list
    rows, and to list those that belong to rows outside, in words. `open` starts a scan. `holds_all`: `in SOURCE` may
    name it without a target.
    """

    table: Table
    levels: tuple[FetchLevel, ...]
    listing: str
    lookup: str
    open: Callable[[ScanRequest], TableScan]
    holds_all: bool = False


class TableUse(Record):
    """A table of one source as a statement uses it, with the sources behind `in` and the fields that look rows up."""

    provider: TableProvider
    source: str
    refs: tuple[SourceRef, ...] = ()
    lookup_fields: tuple[str, ...] = ()


TableProvider = NativeTable | LoadedTable | StagedTable


class Estimator(Protocol):
    """Says how many requests the stages of one statement take, as far as that is known without asking."""

    def upper_bound(self, request: ScanRequest, fetch: FetchRequest | None) -> str:
        """Return at most how many requests a stage takes, in words; None: listing the rows. "" when not known."""

    def cached(self) -> str:
        """Return what need not be requested again, in words; "" when that is nothing."""


class Source(Protocol):
    """A place that holds images, or rows about them.

    `name` is what it is called in SourceRefs, `tables` are its providers by the names of their tables. `planners` are
    functions by verb: each plans the actions of a statement on rows of this source (see `sources/action.py`).
    """

    name: str
    tables: Mapping[str, TableProvider]
    planners: Mapping[str, Callable[[ast.ActionStatement, Any], list[Any]]]

    def begin(self) -> None:
        """Take notice that a statement begins."""

    def resolve(self, text: str) -> SourceRef | None:
        """Return what this text means here, None when it means nothing here. Nothing is requested for it."""

    def names(self) -> Sequence[str]:
        """Return the names that users may write, for suggestions."""

    def holds(self, target: str) -> bool:
        """Whether a name behind `of` means something here. Nothing is requested for it."""

    def ping(self) -> Sequence[tuple[str, str, str, bool, int | None]]:
        """Return its rows of the table `sources`: name, kind, address, whether it answers, and how many images."""

    def estimator(self, now: int, fresh: int) -> Estimator | None:
        """Return what estimates requests at the time `now`; `fresh`: for how long answers about names are kept."""

    def problems(self) -> tuple[tuple[str, str, ImqError], ...]:
        """Return what went wrong since the last call: the view of the scan, what it is about, and the error."""

    def close(self) -> None:
        """Close its connections."""


class Sources:
    """The sources of a session, by name. Each is opened when a statement first needs it."""

    def __init__(self, factories: Mapping[str, Callable[[], Source]]) -> None:
        self._factories = factories
        self._open: dict[str, Source] = {}

    def __getitem__(self, name: str) -> Source:
        """Return the source of this name."""
        source = self._open.get(name)
        if source is None:
            source = self._open[name] = self._factories[name]()
        return source

    def __iter__(self) -> Iterator[Source]:
        """Yield all sources, in order."""
        return map(self.__getitem__, self._factories)

    def opened(self) -> Sequence[Source]:
        """Return the sources that statements have needed so far."""
        return tuple(self._open.values())

    def resolve(self, text: str, span: Span | None = None) -> SourceRef:
        """Return what `in TEXT` names; raises `UnknownName` when no source knows it."""
        try:
            for source in self:
                if (ref := source.resolve(text)) is not None:
                    return ref
        except ImqError as error:
            error.span = error.span or span
            raise
        known = self.names()
        raise UnknownName(
            f'there is no source "{text}" here',
            span=span,
            hints=(
                closest_hint(text, known) or f"sources: {join_names(known)}",
                "a registry is named by its host: in registry.local:5000, in ghcr.io/team/*",
            ),
        )

    def names(self) -> Sequence[str]:
        """Return the names that users may write, of all sources."""
        return [name for source in self for name in source.names()]

    def native(self, table: str) -> Table | None:
        """Return a table whose rows are in SQLite already, if a source has one of this name."""
        providers = (source.tables.get(table) for source in self)
        return next((provider.table for provider in providers if isinstance(provider, NativeTable)), None)

    def serving(self, table: str) -> Sequence[TableUse]:
        """Return how each source that has a table serves it."""
        found = ((source, source.tables.get(table)) for source in self)
        return [TableUse(provider, source.name) for source, provider in found if provider is not None]
