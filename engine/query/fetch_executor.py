"""Runs the stages of a statement: lists the rows of sources, and fetches fields for some of them.

The rows are in temporary views on the connection of the index, where the final SQL statement reads them. A union is
one view of the rows of several sources. A statement on native tables alone has no scans; `fetch_plan` is not imported
for it.
"""

from __future__ import annotations

from imq.grammar.errors import ImqError, Interrupted
from imq.grammar.record import TYPE_CHECKING

from . import ir
from .plan import collect_fields
from .source import LoadedTable, NativeTable, TableUse
from .sql.statements import write_select, write_union, write_unread_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from imq.engine.catalog.schema import FetchLevel, Raw, Relation, Table

    from .fetch_plan import AnyScan, BatchedStages, FetchStage, NativeMember, Scan, Step, UnionScan
    from .plan import NativeLevels
    from .source import Estimator, Sources, TableScan
    from .sqlite_executor import SqliteExecutor

SELECTED_ROWS = "selected_rows"
"""The temporary table with the `_row` of the rows to fetch for."""
_SEEN = "seen_rows"
_BATCH = "batch_rows"
_MAPPED = "mapped_rows"
_FIRST_BATCH = 32
"""The least number of rows of the first batch. Each further batch is twice as large."""


class FetchExecutor:
    """The scans of one statement and their fetched rows.

    `sources` are the sources of the session. `query_names` runs a query after `of` and returns its names, each with
    hidden columns.
    """

    def __init__(
        self,
        sources: Sources,
        query_names: Callable[[ir.Select, tuple[str, ...]], Iterator[tuple[Raw, ...]]],
    ) -> None:
        self.sources = sources
        self._query_names = query_names
        self._scans: dict[str, AnyScan] = {}
        self._open: dict[str, TableScan] = {}
        self._failed: list[tuple[str, ImqError]] = []
        self._count = 0
        self._max_age = 0
        self._undropped_scans: list[TableScan] = []
        self._undropped_unions: list[str] = []
        self._unions: set[str] = set()
        self._outer_refs: dict[str, tuple[str, ...]] = {}
        self._unread: dict[str, str] = {}

    @property
    def unread(self) -> Mapping[str, str]:
        """For each view with rows that could not be read, the view of their outer rows; see `TableScan`."""
        return self._unread

    @property
    def scans(self) -> Mapping[str, AnyScan]:
        """The rows that must be fetched, by their names in SQL."""
        return self._scans

    def begin(self, runner: SqliteExecutor) -> None:
        """Drop the rows of earlier statements, except those that a result is still being read from."""
        self._undropped_unions = [
            view for view in (*self._undropped_unions, *self._unions) if not runner.drop_view(view)
        ]
        self._undropped_scans = [scan for scan in (*self._undropped_scans, *self._open.values()) if not scan.close()]
        self._scans = {}
        self._open = {}
        self._unions = set()
        self._unread = {}
        self._outer_refs = {}
        for source in self.sources.list_opened():
            source.begin()

    def close(self) -> None:
        """Close the connections of the sources."""
        for source in self.sources.list_opened():
            source.close()

    # Binding

    def bind_table(
        self,
        uses: Sequence[TableUse],
        targets: tuple[str | ir.Select, ...] = (),
        *,
        single_image: bool = False,
        at: tuple[str, ...] = (),
    ) -> Table:
        """Return the table in SQL for these uses: of one source, or a union. `at` is the path in a file."""
        for provider in (use.provider for use in uses):
            if isinstance(provider, LoadedTable):
                return provider.load(provider.table, tuple(target for target in targets if isinstance(target, str)), at)
            if isinstance(provider, NativeTable) and len(uses) == 1:
                return provider.table
        from .fetch_plan import NativeMember, Scan, UnionScan

        members: list[Scan | NativeMember] = []
        for use in uses:
            provider = use.provider
            assert not isinstance(provider, LoadedTable)
            if isinstance(provider, NativeTable):
                members.append(NativeMember(provider.table, use.source))
                continue
            view = self._make_view_name()
            served = provider.table.replace(view=view, is_staged=True, source=use.source)
            scan = Scan(view, served, use.source, provider, targets, use.refs, use.lookup_fields, single_image)
            members.append(scan.replace(join_fields=use.join_fields))
        if len(members) == 1:
            (member,) = members
            if isinstance(member, Scan):
                if len(member.refs) > 1:
                    member = member.replace(table=_show_source(member.table))
                self._scans[member.view] = member
            return member.table
        view = self._make_view_name()
        union_table = _show_source(_merge_tables([member.table for member in members])).replace(
            view=view, is_staged=True, source=""
        )
        self._scans[view] = UnionScan(view, union_table, tuple(members))
        return union_table

    def bind_relation(self, outer: Table, relation: Relation) -> Table:
        """Return the table of a relation of `outer`: in the source of the relation, if it has one, else of `outer`."""
        scan = self._scans.get(outer.sql_name)
        if relation.is_of_same_source:
            table = self._bind_same_source(outer, relation)
            self._outer_refs[table.sql_name] = self.list_refs(outer)
            return table
        if relation.members and scan is not None:
            uses = [self._make_use(source, one) for source, one in zip(scan.sources, relation.members, strict=True)]
        else:
            uses = [self._make_use(relation.source or outer.source or next(iter(self.sources)).name, relation)]
        table = self.bind_table(uses, single_image=not relation.is_many)
        self._outer_refs[table.sql_name] = self.list_refs(outer)
        return table

    def _bind_same_source(self, outer: Table, relation: Relation) -> Table:
        """Return the table of a relation whose rows are those of the sources, and of the targets, of `outer`."""
        scan = self._scans.get(outer.sql_name)
        if scan is None:
            return self.bind_table([self._make_use(outer.source or next(iter(self.sources)).name, relation)])
        refs = [ref for text in self.list_refs(outer) for ref in self.sources.resolve_all(text)]
        relations = relation.members or (relation,) * len(scan.sources)
        uses = [
            self._make_use(source, one).replace(refs=tuple(ref for ref in refs if ref.source == source))
            for source, one in zip(scan.sources, relations, strict=True)
        ]
        targets = tuple(dict.fromkeys(target for member in scan.scans for target in member.targets))
        return self.bind_table(uses, targets, single_image=any(member.single_image for member in scan.scans))

    def list_sources(self, table: Table) -> tuple[str, ...]:
        """Return the names of the sources of a bound table."""
        scan = self._scans.get(table.sql_name)
        return scan.sources if scan is not None else (table.source,)

    def list_refs(self, table: Table) -> tuple[str, ...]:
        """Return the texts after `in` for a bound table; for the rows of a relation, those of the outer table."""
        if table.sql_name in self._outer_refs:
            return self._outer_refs[table.sql_name]
        scan = self._scans.get(table.sql_name)
        return scan.ref_texts if scan is not None else ()

    def list_id_kinds(self, selects: Iterable[ir.Select]) -> dict[bool, str]:
        """Return whether the image IDs of these queries are digests of manifests, each with a source that has such IDs.

        Queries of which both are true have sources whose IDs never match.
        """
        kinds: dict[bool, str] = {}
        for select in selects:
            scan = self._scans.get(select.table.sql_name)
            if scan is None:
                kinds.setdefault(False, select.table.source)
                continue
            for member in scan.native_tables:
                kinds.setdefault(False, member.source)
            for one in scan.scans:
                source = self.sources[one.source]
                for text in one.ref_texts or self.list_refs(select.table):
                    if (kind := source.has_manifest_ids(text)) is not None:
                        kinds.setdefault(kind, text)
        return kinds

    def _make_use(self, source: str, relation: Relation) -> TableUse:
        joined = tuple(name for name, _ in relation.list_equal_fields())
        return TableUse(self.sources[source].tables[relation.table], source, (), relation.lookup_fields, joined)

    def _make_view_name(self) -> str:
        self._count += 1
        return f"remote_{self._count}"

    # Running

    def plan(self, select: ir.Select) -> tuple[Step, ...]:
        """Return the steps of a query. None is run."""
        if not self._scans:
            return ()
        from .fetch_plan import FetchPlanner

        return tuple(FetchPlanner(self._scans).plan(select))

    def plan_condition(self, condition: ir.Expr) -> tuple[Step, ...]:
        """Return the steps of a condition without a row."""
        if not self._scans:
            return ()
        from .fetch_plan import FetchPlanner

        return tuple(FetchPlanner(self._scans).plan_condition(condition))

    def find_required_levels(self, selects: Iterable[ir.Select]) -> NativeLevels:
        """Return the levels that native tables must have before these queries run: source, table and level."""
        levels: set[tuple[str, str, FetchLevel]] = set()
        for select in selects:
            scan = self._scans.get(select.table.sql_name)
            tables = scan.native_tables if scan is not None else (select.table,)
            for field in collect_fields(select) if tables else ():
                owns = ((table, table.find_field(field.name)) for table in tables)
                levels |= {(table.source, table.name, own.level) for table, own in owns if own and own.level}
        return frozenset(levels)

    def prepare(self, levels: NativeLevels) -> tuple[ImqError, ...]:
        """Fetch these levels for all rows of native tables, and return the errors."""
        problems: list[ImqError] = []
        for provider, level in self.list_native_levels(levels):
            problems += provider.prepare(level)
        return tuple(problems)

    def create_estimators(self, now: int, max_age: int) -> Mapping[str, Estimator]:
        """Return the estimators of requests, by source."""
        names = dict.fromkeys(one.source for scan in self._scans.values() for one in scan.scans)
        estimators = ((name, self.sources[name].create_estimator(now, max_age)) for name in names)
        return {name: estimator for name, estimator in estimators if estimator is not None}

    def list_native_levels(self, levels: NativeLevels) -> Iterator[tuple[NativeTable, FetchLevel]]:
        """Yield the provider of the native table for each level, each level of a source once."""
        done: set[tuple[str, FetchLevel]] = set()
        for source, table, level in sorted(levels, key=lambda one: (one[0], one[1], one[2].name)):
            provider = self.sources[source].tables[table]
            if isinstance(provider, NativeTable) and (source, level) not in done:
                done.add((source, level))
                yield provider, level

    def run(
        self, steps: tuple[Step, ...], runner: SqliteExecutor, now: int, max_age: int = 0
    ) -> tuple[tuple[str, str, ImqError], ...]:
        """Run the steps and return the errors: the view of the scan, the subject, and the error.

        `max_age`: cached results for a name are used until they are this many nanoseconds old. The sources stay open
        for the next statement.
        """
        if not steps:
            return ()
        from .fetch_plan import BatchedStages

        self._failed = []
        self._max_age = max_age
        try:
            for step in steps:
                if isinstance(step, BatchedStages):
                    self._run_batches(step, runner, now)
                elif step.level is None:
                    self._list_rows(step, runner, now)
                else:
                    assert step.rows is not None
                    self._choose_rows(step, step.rows, runner, now)
                    self._fetch_level(step, now)
        except BaseException:
            self.close()
            raise
        problems = [(self._find_query_view(view), view, error) for view, error in self._failed]
        for source in self.sources.list_opened():
            problems += [(self._find_query_view(view), about, error) for view, about, error in source.take_problems()]
        self._find_unread(runner)
        return tuple(problems)

    def _find_unread(self, runner: SqliteExecutor) -> None:
        """Make a view of the outer rows whose rows could not be read, for each view of the query that has some."""
        from .fetch_plan import UnionScan

        failed = {view for view, _ in self._failed}
        for view, scan in self._scans.items():
            if any(one.view in failed for one in scan.scans):
                continue  # a whole source failed: which of its rows are unread is not known
            members = scan.members if isinstance(scan, UnionScan) else (scan,)
            scans = ((at, self._open.get(member.table.sql_name)) for at, member in enumerate(members))
            tables = [(at, opened.unread) for at, opened in scans if opened is not None and opened.unread]
            if any(runner.has_rows(table) for _, table in tables):
                self._unread[view] = f"{view}_unread_rows"
                runner.make_view(self._unread[view], write_unread_rows(tables))
                self._unions.add(self._unread[view])

    def _find_query_view(self, view: str) -> str:
        """Return the view in the query for the view of a scan: that of its union, or its own."""
        for scan in self._scans.values():
            if any(one.view == view for one in scan.scans):
                return scan.view
        return view

    def _list_rows(self, stage: FetchStage, runner: SqliteExecutor, now: int) -> None:
        scan = stage.scan
        names: list[tuple[Raw, ...]] = []
        if stage.rows is not None:
            names = list(dict.fromkeys(self._read_lookup_values(stage, stage.rows, runner, now)))
            if (
                scan.lookup_fields[:1] == ("name",) and stage.rows.table.sql_name == "images"
            ):  # names that other tools wrote may not be references
                from imq.engine.oci.reference import Reference, parse_name

                names = [name for name in names if isinstance(parse_name(str(name[0])), Reference)]
        for target in scan.targets:
            if isinstance(target, ir.Select):
                names += dict.fromkeys(self._read_target_names(stage, target))
        request = scan.make_request(stage.platform)
        opened = scan.provider.open(request.replace(max_age=self._max_age, condition=stage.condition, now=now))
        self._open[scan.view] = opened
        try:
            opened.list_rows([name for name in names if name[0] is not None])
        except Interrupted:
            raise
        except ImqError as error:
            if stage.union is None:
                raise
            self._failed.append((scan.view, error))  # the other sources of the union may respond
            opened.close()
            del self._open[scan.view]
        if stage.union is not None:
            self._make_union(stage, stage.union, runner)

    def _read_target_names(self, stage: FetchStage, target: ir.Select) -> Iterator[tuple[Raw, ...]]:
        """Yield the names of a query after `of`. Of the rows of a union, those of the same source count."""
        from .fetch_plan import UnionScan

        union = self._scans.get(target.table.sql_name)
        if stage.union is None or not isinstance(union, UnionScan):
            yield from self._query_names(target, ())
            return
        own = next(at for at, one in enumerate(union.members) if one.source == stage.scan.source)
        for *values, member in self._query_names(target, ("_member",)):
            if member == own:
                yield tuple(values)

    def _read_lookup_values(
        self, stage: FetchStage, rows: ir.Select, runner: SqliteExecutor, now: int
    ) -> Iterator[tuple[Raw, ...]]:
        """Yield the lookup values for a scan. Of the rows of a union, only the member of the same source counts."""
        if stage.union is None or stage.outer_union is None:
            yield from runner.run(write_select(rows, now, hidden=stage.scan.lookup_fields))
            return
        outer_index = next(at for at, one in enumerate(stage.outer_union.members) if one.source == stage.scan.source)
        for *values, member in runner.run(write_select(rows, now, hidden=(*stage.scan.lookup_fields, "_member"))):
            if member == outer_index:
                yield tuple(values)

    def _make_union(self, stage: FetchStage, union: UnionScan, runner: SqliteExecutor) -> None:
        """Create the view of a union after its last member is listed."""
        from .fetch_plan import NativeMember

        if stage.scan.view != union.scans[-1].view:
            return
        views = [
            (at, member.table.sql_name, runner.list_columns(member.table.sql_name))
            for at, member in enumerate(union.members)
            if isinstance(member, NativeMember) or member.view in self._open
        ]
        fields = [field.name for field in union.table.stored_fields]
        runner.make_view(union.view, write_union(fields, views, len(union.members)))
        self._unions.add(union.view)

    def _choose_rows(
        self, stage: FetchStage, rows: ir.Select, runner: SqliteExecutor, now: int, *, within: str = ""
    ) -> int:
        """Write the rows to fetch for to `selected_rows`; return the number of rows of the query."""
        sql = write_select(rows, now, hidden=("_row",))
        if stage.union is None:
            return runner.select_rows(SELECTED_ROWS, sql, within=within)
        count = runner.select_rows(_MAPPED, sql, within=within)
        self._map_rows(stage, _MAPPED, SELECTED_ROWS, runner)
        return count

    @staticmethod
    def _map_rows(stage: FetchStage, union_rows: str, own_rows: str, runner: SqliteExecutor) -> None:
        """Write the rows of one member of a union to a table, by their `_row` in the member."""
        assert stage.union is not None
        views = [member.table.sql_name for member in stage.union.members]
        runner.map_rows(own_rows, union_rows, len(views), views.index(stage.scan.view))

    def _fetch_level(self, stage: FetchStage, now: int) -> None:
        request = stage.make_request(now)
        if request is not None and stage.scan.view in self._open:
            self._open[stage.scan.view].fetch(request)

    def _run_batches(self, step: BatchedStages, runner: SqliteExecutor, now: int) -> None:
        """Fetch for the first rows in order, and for more rows while the result is incomplete."""
        select, first = step.select, step.stages[0]
        assert first.rows is not None
        unlimited = select.replace(columns=(), count=False, limit=None, skip=None, order=(), join="", nonempty="")
        runner.select_rows(_SEEN, None)
        size, done = max(_FIRST_BATCH, 2 * step.limit), 0
        while True:
            batch = first.rows.replace(order=select.order, limit=ir.Limit(size, ()), skip=ir.Limit(done, ()))
            count = runner.select_rows(_BATCH, write_select(batch, now, hidden=("_row",)))
            runner.select_rows(_SEEN, None, add=_BATCH)
            for stage in step.stages:
                assert stage.rows is not None
                if stage is not first:
                    self._choose_rows(stage, stage.rows, runner, now, within=_SEEN)
                elif stage.union is not None:
                    self._map_rows(stage, _BATCH, SELECTED_ROWS, runner)
                else:
                    runner.select_rows(SELECTED_ROWS, None)
                    runner.select_rows(SELECTED_ROWS, None, add=_BATCH)
                self._fetch_level(stage, now)
            done += count
            if count < size:
                return
            if runner.count_rows(write_select(unlimited, now, hidden=("_row",)), within=_SEEN) >= step.limit:
                break
            size *= 2
        for stage in {stage.scan.view: stage for stage in step.stages}.values():
            rows = _SEEN
            if stage.union is not None:
                self._map_rows(stage, _SEEN, rows := _MAPPED, runner)
            if stage.scan.view in self._open:
                self._open[stage.scan.view].retain(rows)


def _show_source(table: Table) -> Table:
    """Return a table of several sources, with the source among its default columns."""
    columns = table.default_columns
    if "source" in columns or table.find_field("source") is None:
        return table
    return table.replace(default_columns=(*columns, "source"))


def _merge_tables(tables: list[Table]) -> Table:
    """Return the table of a union: the fields of all members, and the relations that all members have."""
    fields = {field.name: field for table in reversed(tables) for field in table.fields}
    relations = []
    for relation in tables[0].relations:
        members = [one for table in tables if (one := table.find_relation(relation.name)) is not None]
        if len(members) < len(tables) or any(one.table != relation.table for one in members):
            continue
        same = bool(relation.source) and all(one == relation for one in members)
        relations.append(relation if same else relation.replace(members=tuple(members)))
    order = dict.fromkeys(field.name for table in tables for field in table.fields)
    for name in order:  # a field that one source does not provide is unavailable in the union
        declarations = [field for table in tables if (field := table.find_field(name)) is not None]
        fields[name] = fields[name].replace(
            is_unavailable=any(one.is_unavailable for one in declarations),
            takes_any_text=any(one.takes_any_text for one in declarations),
        )
    source_kind = " or ".join(dict.fromkeys(table.source_kind for table in tables if table.source_kind))
    columns = tuple(fields[name] for name in order)
    has_containers = all(table.has_containers for table in tables)
    return tables[0].replace(
        fields=columns, relations=tuple(relations), source_kind=source_kind, has_containers=has_containers
    )
