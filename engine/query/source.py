"""The protocols that every source of rows follows.

A source resolves its own names, serves tables, plans actions on its content and checks whether it can be reached.
The packages in `engine/sources/` follow these protocols. No module of `engine/query/` contains the name of a source.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext

from imq.grammar.errors import ImqError, Interrupted, NotFound, UnknownName, closest_hint, join_names
from imq.grammar.record import TYPE_CHECKING, Record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager
    from typing import Any, Protocol

    from imq.engine.catalog.schema import FetchLevel, Field, Raw, Table
    from imq.grammar import ast
    from imq.grammar.errors import Span

    from . import ir
    from .disk_space import DiskSpace
    from .searches import Search
else:
    Protocol = object  # typing is slow to import, and a Protocol has no effect at run time


class SourceRef(Record):
    """A source that a statement names: `in store`, `in registry.local:5000/team/*`.

    `text` is the text of the user and `source` the name of the source that resolved it. Each source defines its own
    `address` (a host, a socket, a folder) and `pattern` (a filter for repositories or images).
    """

    text: str
    source: str
    address: str = ""
    pattern: str = ""


class Place(Record):
    """A place that holds images: a row of the table `sources`.

    `name` is what users write after `in`. `request` asks the place and returns the number of its images, None when it
    does not count them, or the places in it, which replace it. It may run in any thread, and raises `ImqError` when the
    place does not respond. Without `request`, `images` is known, or `problem` is why the place is unusable.
    """

    name: str
    kind: str
    address: str
    images: int | None = None
    problem: ImqError | None = None
    request: Callable[[], int | Sequence[Place] | None] | None = None


class ScanRequest(Record):
    """The rows that a statement needs from a source.

    - `view` is the name of the rows in SQL, and `table` their table as the source serves it.
    - `targets` are the names after `of`, and `refs` the sources after `in`.
    - `lookup_fields` are columns of outer rows, for a scan of a relation. The scan receives their values; the column
      `_lookup` of each row holds the first value that it was looked up by.
    - `single_image`: a name selects one image instead of all tags of a repository.
    - `platform` is the platform in the condition, "" if it has none.
    - `has_target_queries`: `of` has queries too; `list_rows` receives their names.
    - `max_age`: cached results for a name are used until they are this many nanoseconds old.
    - `condition` holds for every row of the result; the scan may leave out other rows. It reads the `filtered_fields`
      of the provider alone. `now` is the time of the statement.
    - `join_fields` are fields of the table by which the rows of a relation are joined with the outer rows.
    """

    view: str
    table: Table
    targets: tuple[str, ...]
    refs: tuple[SourceRef, ...]
    lookup_fields: tuple[str, ...]
    single_image: bool = False
    platform: str = ""
    has_target_queries: bool = False
    max_age: int = 0
    condition: ir.Expr | None = None
    now: int = 0
    join_fields: tuple[str, ...] = ()


class FetchRequest(Record):
    """Fetch `fields` of this level for the chosen rows. `continues`: a higher level follows for the same rows.

    Of a table with a `time_field`, the statement needs no row before `since` or after `until` (nanoseconds since the
    epoch; None: no limit). With `first` or `last` it needs only so many of the oldest or of the newest rows that each
    chosen row is replaced by; 0: all.

    `searches` are those of the query in these fields; of `searched_fields` it needs nothing else.
    """

    level: FetchLevel
    fields: frozenset[Field]
    continues: bool = False
    since: int | None = None
    until: int | None = None
    first: int = 0
    last: int = 0
    searches: frozenset[Search] = frozenset()
    searched_fields: frozenset[str] = frozenset()


class TableScan(Protocol):
    """The rows of one scan: a temporary view with the columns of its table and hidden ones.

    The hidden columns are `_row` (a unique integer), `_lookup`, and `_image`, `_root` and `_entry`, which are NULL
    except for images of the store.

    `unread` is a temporary table of the outer rows of a relation whose rows could not be read, each with a problem:
    their `_lookup` and `source`. "" when the scan raises the errors instead.
    """

    unread: str

    def list_rows(self, names: Sequence[tuple[Raw, ...]], /) -> None:
        """Create the view and list its rows: those of the request, and those of these names or lookup values."""

    def fetch(self, request: FetchRequest, /) -> None:
        """Fetch the fields for the rows whose `_row` is in the temporary table `selected_rows`."""

    def retain(self, rows: str) -> None:
        """Delete the rows whose `_row` is not in this temporary table."""

    def close(self) -> bool:
        """Drop the view. Return False when a result is still being read from it."""


class NativeTable(Record):
    """A table whose rows are in SQLite already.

    `prepare` is called before a query that reads a field of a level; it returns the errors. `describe_pending` returns
    the words of `explain` for this work, "" when there is none.
    """

    table: Table
    prepare: Callable[[FetchLevel], tuple[ImqError, ...]]
    describe_pending: Callable[[FetchLevel], str]


class LoadedTable(Record):
    """A table that is read when a statement is bound.

    `load` takes the targets and the path after `at`, and returns the table as SQL has it.
    """

    table: Table
    load: Callable[[Table, tuple[str, ...], tuple[str, ...]], Table]


class StagedTable(Record):
    """A table whose rows are listed first; other fields are fetched level by level for the remaining rows.

    - `levels` are in the order of fetching.
    - `listing_requests` and `lookup_requests` are the numbers of requests to list rows and to look up the rows of a
      relation, in the words of `explain`.
    - `open` starts a scan.
    - `lists_all`: the table can be read with `in SOURCE` alone, without a target.
    - `holders`: what is listed are not rows of the table but what contains them. Example: containers, each of which
      has a log. The first level fetches the rows, whichever fields are read, and replaces each chosen holder by its
      own.
    - `time_field`: the time of such rows. Its bounds in the condition are part of the request.
    """

    table: Table
    levels: tuple[FetchLevel, ...]
    listing_requests: str
    lookup_requests: str
    open: Callable[[ScanRequest], TableScan]
    lists_all: bool = False
    time_field: str = ""
    holders: str = ""
    filtered_fields: frozenset[str] = frozenset()


class TableUse(Record):
    """A table of one source as a statement uses it, with the sources after `in`.

    `lookup_fields` and `join_fields` are those of a relation (see `ScanRequest`).
    """

    provider: TableProvider
    source: str
    refs: tuple[SourceRef, ...] = ()
    lookup_fields: tuple[str, ...] = ()
    join_fields: tuple[str, ...] = ()


TableProvider = NativeTable | LoadedTable | StagedTable


class LateTables(Mapping[str, "TableProvider"]):
    """The providers of a source: `ready` ones, and those of `late`, each of which is made when it is first needed."""

    def __init__(
        self, ready: Mapping[str, TableProvider], late: Sequence[str], make: Callable[[str], TableProvider]
    ) -> None:
        self._ready = dict(ready)
        self._names = (*ready, *late)
        self._make = make

    def __getitem__(self, name: str) -> TableProvider:
        if name not in self._ready and name in self._names:
            self._ready[name] = self._make(name)
        return self._ready[name]

    def __iter__(self) -> Iterator[str]:
        yield from self._names

    def __len__(self) -> int:
        return len(self._names)

    def __contains__(self, name: object) -> bool:
        return name in self._names


class Estimator(Protocol):
    """Estimates the number of requests for the stages of one statement. It makes no request itself."""

    def upper_bound(self, request: ScanRequest, fetch: FetchRequest | None) -> str:
        """Return the most requests that a stage can take, in words; "" when unknown. `fetch` is None for a listing."""

    def describe_cached(self) -> str:
        """Describe the cached content that is not requested again; "" when there is none."""


class Source:
    """A place that holds images, or rows about them. The methods here are the defaults of sources.

    `name` identifies the source in a `SourceRef`. `title` is its places in messages, in the plural, and `example` how
    users write one of them. `tables` maps the names of tables to providers. `planners` maps verbs
    to functions that plan actions on rows of this source (see `sources/action.py`). `answers` maps verbs that return a
    result instead of actions to functions that return it. `archives` reads and writes images as archives (see
    `sources/archives.py`); None when the source cannot. `has_docker_rules`: what a removal of a name does is decided by
    the source itself, by docker's rules. `uncounted` says what a removal frees in addition to the sizes of images and
    layers: `until` a space of the disk would remove too many images. It is "" when nothing is left out.
    """

    name: str
    title: str = "other sources"
    example: str = "SOURCE"
    tables: Mapping[str, TableProvider]
    planners: Mapping[str, Callable[[ast.ActionStatement, Any], list[Any]]] = {}
    answers: Mapping[str, Callable[[ast.ActionStatement, Any], Any]] = {}
    archives: Any = None
    has_docker_rules: bool = False
    uncounted: str = ""

    def open_contents(self) -> Any:
        """Return what reads the layers of its images (see `sources/contents/protocol.py`); None when it cannot."""
        return None

    def pause_container(self, _text: str, _id: str, /) -> AbstractContextManager[object]:
        """Return a context manager that pauses a container of the place with this text, if it runs.

        It does nothing in a source that pauses containers by itself, or has none.
        """
        return nullcontext()

    def begin(self) -> None:
        """Prepare for a new statement."""

    def resolve(self, _text: str, /) -> SourceRef | None:
        """Return the reference for a text after `in`; None if it names nothing here. No request is made."""
        return None

    def expand(self, ref: SourceRef, /) -> Sequence[SourceRef]:
        """Return the places that a reference with a pattern names, else the reference; none when nothing matches.

        No request is made, but folders may be listed.
        """
        return (ref,)

    def list_names(self) -> Sequence[str]:
        """Return the names that users can write, for suggestions."""
        return ()

    def has_target(self, _target: str, /) -> bool:
        """Whether this source serves a name after `of`. No request is made."""
        return False

    def match_name(self, _text: str, /) -> ast.Expr | None:
        """Return the condition for the rows of `images` that a name or ID refers to.

        None: names refer to tags of registries. Raises `InvalidReference`.
        """
        return None

    def has_manifest_ids(self, _text: str, /) -> bool | None:
        """Whether image IDs of the place with this text are digests of manifests and indexes, not of configs.

        Such an ID never equals that of the same image elsewhere. It is called after rows of the place were listed; None
        for a place that does not respond.
        """
        return False

    def spares_any_label(self, _text: str, /) -> bool:
        """Whether a prune with several filters `label!` spares images with any of the labels here, as some engines do.

        False: it spares those with all of them.
        """
        return False

    def list_places(self) -> Sequence[Place]:
        """Return the places of this source that are configured or found on this machine. No request is made."""
        return ()

    def find_place(self, _ref: SourceRef, /) -> Place | None:
        """Return the place that a reference names; None when it is a part of one. No request is made."""
        return None

    def list_defaults(self) -> Sequence[Place]:
        """Return the places that sessions without a source may use, in order of preference.

        Their `request` takes a second or two at most, and need not count images.
        """
        return ()

    def measure_disk(self, _refs: Sequence[str], /) -> DiskSpace | None:
        """Return the space of the disk that holds the images of these references; None when it is unknown."""
        return None

    def has_indexes(self) -> bool:
        """Return whether images of several platforms may have one name."""
        return True

    def create_estimator(self, _now: int, _max_age: int, /) -> Estimator | None:
        """Return an estimator for the time `now`; cached results are used until they are `max_age` nanoseconds old."""
        return None

    def take_problems(self) -> tuple[tuple[str, str, ImqError], ...]:
        """Return the errors since the last call: the view of the scan, the subject and the error."""
        return ()

    def close(self) -> None:
        """Close its connections."""


class Sources:
    """The sources of a session, by name. A source is opened when a statement first needs it."""

    def __init__(
        self,
        factories: Mapping[str, Callable[[], Source]],
        groups: Callable[[], Mapping[str, tuple[str, ...]]] = dict,
    ) -> None:
        self._factories = factories
        self._groups = groups
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

    def list_opened(self) -> Sequence[Source]:
        """Return the sources that have been opened."""
        return tuple(self._open.values())

    @property
    def groups(self) -> Mapping[str, tuple[str, ...]]:
        """The sources of each group of the configuration, by its name in lower case."""
        return self._groups()

    def resolve_all(self, text: str, span: Span | None = None) -> tuple[SourceRef, ...]:
        """Return the references for a text after `in`: the members of a group, the places of a pattern, else one.

        Raises `UnknownName`, and `NotFound` for a pattern that matches nothing.
        """
        members = self.groups.get(text.lower())
        if members is None:
            return self._resolve_places(text, span)
        try:
            return tuple(ref for member in members for ref in self._resolve_places(member, span))
        except ImqError as error:
            error.hints = (f"it is a source of the group {text} in the configuration", *error.hints)
            raise

    def _resolve_places(self, text: str, span: Span | None) -> tuple[SourceRef, ...]:
        ref = self.resolve(text, span)
        refs = tuple(self[ref.source].expand(ref))
        if not refs:
            raise NotFound(f"no file matches {text}", code="no-such-file", span=span)
        return refs

    def resolve(self, text: str, span: Span | None = None) -> SourceRef:
        """Return the source that `in TEXT` names. Raises `UnknownName` if no source resolves it."""
        try:
            for source in self:
                if (ref := source.resolve(text)) is not None:
                    return ref
        except ImqError as error:
            error.span = error.span or span
            raise
        names = self.list_names()
        raise UnknownName(
            f'unknown source "{text}"',
            span=span,
            hints=(
                closest_hint(text, names) or f"sources: {join_names(names)}",
                "a registry is named by its host: in registry.local:5000, in ghcr.io/team/*",
                "a place on disk by its form or path: in oci:DIR, in ./DIR, in images.tar",
            ),
        )

    def list_names(self) -> Sequence[str]:
        """Return the names that users can write, of all sources."""
        return [*(name for source in self for name in source.list_names()), *self.groups]

    def find_default(self) -> tuple[Place | None, tuple[tuple[Place, ImqError], ...]]:
        """Return the first place that responds, for a session without a source; and those that did not, and why."""
        failed: list[tuple[Place, ImqError]] = []
        for source in self:
            for place in source.list_defaults():
                try:
                    if place.problem is not None:
                        raise place.problem
                    if place.request is not None:
                        place.request()
                except Interrupted:
                    raise
                except ImqError as error:
                    failed.append((place, error))
                else:
                    return place, tuple(failed)
        return None, tuple(failed)

    def has_default(self, table: str) -> bool:
        """Whether a place that a session may use by default has this table."""
        return any(table in source.tables and type(source).list_defaults is not Source.list_defaults for source in self)

    def find_native(self, table: str) -> Table | None:
        """Return the native table of this name; None if no source has one."""
        providers = (source.tables.get(table) for source in self)
        return next((provider.table for provider in providers if isinstance(provider, NativeTable)), None)

    def find_uses(self, table: str) -> Sequence[TableUse]:
        """Return the use of a table in each source that has it."""
        return list(self.iterate_uses(table))

    def iterate_uses(self, table: str) -> Iterator[TableUse]:
        """Yield the use of a table in each source that has it. A source is opened when its turn comes."""
        for source in self:
            if (provider := source.tables.get(table)) is not None:
                yield TableUse(provider, source.name)
