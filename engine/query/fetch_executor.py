"""Runs the stages of a statement: rows of sources are listed, and fields are fetched for some of them.

The rows end up in temporary views of the index's connection, where the whole query then finds them. Rows of several
sources are put together in one view, a union.
"""

from __future__ import annotations

from imq.engine.oci.reference import Reference, parse_name
from imq.grammar.errors import ImqError, Interrupted
from imq.grammar.record import TYPE_CHECKING

from . import ir
from .fetch_plan import BatchedStages, FetchPlanner, NativeMember, Scan, UnionScan
from .plan import fields_read
from .source import LoadedTable, NativeTable, TableUse
from .sql.statements import write_select, write_union

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from imq.engine.catalog.schema import FetchLevel, Raw, Relation, Table

    from .fetch_plan import AnyScan, FetchStage, Step
    from .plan import NativeLevels
    from .source import Estimator, Sources, TableScan
    from .sqlite_executor import SqliteExecutor

SELECTED_ROWS = "selected_rows"
"""The temporary table of the rows that something is fetched for: `_row`."""
_SEEN = "looked"
_BATCH = "batch"
_MAPPED = "mapped"
_FIRST_BATCH = 32
"""Rows of the first batch, at least; each further one is twice as large."""


class FetchExecutor:
    """The scans of one statement, and the rows that were fetched for them.

    `sources` are those that the session knows, by name; `names` runs a query of names that a scan is of.
    """

    def __init__(
        self,
        sources: Sources,
        names: Callable[[ir.Select], Iterator[tuple[Raw, ...]]],
    ) -> None:
        self.sources = sources
        self._names = names
        self._scans: dict[str, AnyScan] = {}
        self._open: dict[str, TableScan] = {}
        self._failed: list[tuple[str, ImqError]] = []
        self._count = 0
        self._fresh = 0
        self._old: list[TableScan] = []
        self._old_unions: list[str] = []
        self._unions: set[str] = set()

    @property
    def scans(self) -> Mapping[str, AnyScan]:
        """The rows that must be fetched, by what they are called in SQL."""
        return self._scans

    def begin(self, runner: SqliteExecutor) -> None:
        """Drop the rows of earlier statements, but for those that an answer is still being read from."""
        self._old_unions = [view for view in (*self._old_unions, *self._unions) if not runner.drop_view(view)]
        self._old = [scan for scan in (*self._old, *self._open.values()) if not scan.close()]
        self._scans = {}
        self._open = {}
        self._unions = set()
        for source in self.sources.opened():
            source.begin()

    def close(self) -> None:
        """Close the connections of the sources."""
        for source in self.sources.opened():
            source.close()

    # Binding

    def bind_table(
        self,
        uses: Sequence[TableUse],
        targets: tuple[str | ir.Select, ...] = (),
        *,
        single_image: bool = False,
    ) -> Table:
        """Return the table as SQL will know it, put together of these uses of it."""
        members: list[Scan | NativeMember] = []
        for use in uses:
            provider = use.provider
            if isinstance(provider, LoadedTable):
                return provider.load(provider.table, tuple(target for target in targets if isinstance(target, str)))
            if isinstance(provider, NativeTable):
                members.append(NativeMember(provider.table, use.source))
                continue
            view = self._name()
            served = provider.table.replace(view=view, is_staged=True, source=use.source)
            members.append(Scan(view, served, use.source, provider, targets, use.refs, use.lookup_fields, single_image))
        if len(members) == 1:
            (member,) = members
            if isinstance(member, Scan):
                self._scans[member.view] = member
            return member.table
        view = self._name()
        made = _union_table([member.table for member in members]).replace(view=view, is_staged=True, source="")
        self._scans[view] = UnionScan(view, made, tuple(members))
        return made

    def bind_relation(self, outer: Table, relation: Relation) -> Table:
        """Return the table of rows that belong to rows of `outer`: of its own source, unless the relation names one."""
        scan = self._scans.get(outer.sql_name)
        if relation.members and isinstance(scan, UnionScan):
            uses = [self._use(member.source, one) for member, one in zip(scan.members, relation.members, strict=True)]
        else:
            uses = [self._use(relation.source or outer.source or next(iter(self.sources)).name, relation)]
        return self.bind_table(uses, single_image=not relation.is_many)

    def sources_of(self, table: Table) -> tuple[str, ...]:
        """Return the names of the sources that a bound table has rows of."""
        scan = self._scans.get(table.sql_name)
        return tuple(member.source for member in scan.members) if isinstance(scan, UnionScan) else (table.source,)

    def _use(self, source: str, relation: Relation) -> TableUse:
        return TableUse(self.sources[source].tables[relation.table], source, (), relation.lookup_fields)

    def _name(self) -> str:
        self._count += 1
        return f"remote_{self._count}"

    # Running

    def plan(self, select: ir.Select) -> tuple[Step, ...]:
        """Return the steps of a query, without running any."""
        return tuple(FetchPlanner(self._scans).plan(select)) if self._scans else ()

    def plan_condition(self, condition: ir.Expr) -> tuple[Step, ...]:
        """Return the steps of a condition about no row."""
        return tuple(FetchPlanner(self._scans).plan_condition(condition)) if self._scans else ()

    def required_levels(self, selects: Iterable[ir.Select]) -> NativeLevels:
        """Return what tables in SQLite must know before these queries run: source, table and level."""
        found: set[tuple[str, str, FetchLevel]] = set()
        for select in selects:
            scan = self._scans.get(select.table.sql_name)
            members = scan.members if isinstance(scan, UnionScan) else () if scan else (select,)
            tables = [member.table for member in members if not isinstance(member, Scan)]
            for field in fields_read(select) if tables else ():
                owns = ((table, table.find_field(field.name)) for table in tables)
                found |= {(table.source, table.name, own.level) for table, own in owns if own and own.level}
        return frozenset(found)

    def prepare(self, levels: NativeLevels) -> tuple[ImqError, ...]:
        """Have native tables know these levels for all their rows: source, table and level. Return what went wrong."""
        problems: list[ImqError] = []
        for provider, level in self.native_levels(levels):
            problems += provider.prepare(level)
        return tuple(problems)

    def estimators(self, now: int, fresh: int) -> Mapping[str, Estimator]:
        """Return what estimates the requests of the scans, by source."""
        names = dict.fromkeys(one.source for scan in self._scans.values() for one in FetchPlanner.members(scan))
        found = ((name, self.sources[name].estimator(now, fresh)) for name in names)
        return {name: estimator for name, estimator in found if estimator is not None}

    def native_levels(self, levels: NativeLevels) -> Iterator[tuple[NativeTable, FetchLevel]]:
        """Yield the providers of native tables, each level of a source once."""
        done: set[tuple[str, FetchLevel]] = set()
        for source, table, level in sorted(levels, key=lambda one: (one[0], one[1], one[2].name)):
            provider = self.sources[source].tables[table]
            if isinstance(provider, NativeTable) and (source, level) not in done:
                done.add((source, level))
                yield provider, level

    def run(
        self, steps: tuple[Step, ...], runner: SqliteExecutor, now: int, fresh: int = 0
    ) -> tuple[tuple[str, str, ImqError], ...]:
        """Run the steps; return what could not be fetched: the view of the scan, what it is about, and the error.

        `fresh`: for how many nanoseconds an answer about a name counts as known.
        The sources stay open for the next statement.
        """
        if not steps:
            return ()
        self._failed = []
        self._fresh = fresh
        try:
            for step in steps:
                if isinstance(step, BatchedStages):
                    self._run_batches(step, runner, now)
                elif step.level is None:
                    self._list(step, runner, now)
                else:
                    assert step.rows is not None
                    self._choose(step, step.rows, runner, now)
                    self._fetch(step)
        except BaseException:
            self.close()
            raise
        problems = [(self._visible(view), view, error) for view, error in self._failed]
        for source in self.sources.opened():
            problems += [(self._visible(view), about, error) for view, about, error in source.problems()]
        return tuple(problems)

    def _visible(self, view: str) -> str:
        """Return the view that a query names for a scan: the union that it is a member of, or its own."""
        for scan in self._scans.values():
            if isinstance(scan, UnionScan) and any(isinstance(one, Scan) and one.view == view for one in scan.members):
                return scan.view
        return view

    def _list(self, stage: FetchStage, runner: SqliteExecutor, now: int) -> None:
        scan = stage.scan
        names: list[tuple[Raw, ...]] = []
        if stage.rows is not None:
            names = list(dict.fromkeys(self._lookups(stage, stage.rows, runner, now)))
            if stage.rows.table.sql_name == "images":  # names of other tools are not names of registries
                names = [name for name in names if isinstance(parse_name(str(name[0])), Reference)]
        for target in scan.targets:
            if isinstance(target, ir.Select):
                names += dict.fromkeys(self._names(target))
        opened = scan.provider.open(scan.request(stage.platform).replace(fresh=self._fresh))
        self._open[scan.view] = opened
        try:
            opened.list_rows([name for name in names if name[0] is not None])
        except Interrupted:
            raise
        except ImqError as error:
            if stage.union is None:
                raise
            self._failed.append((scan.view, error))  # the other sources of the union answer
            opened.close()
            del self._open[scan.view]
        if stage.union is not None:
            self._make_union(stage, stage.union, runner)

    def _lookups(
        self, stage: FetchStage, rows: ir.Select, runner: SqliteExecutor, now: int
    ) -> Iterator[tuple[Raw, ...]]:
        """Yield the values that a scan is looked up by; of a union's rows those of the member that is like it."""
        if stage.union is None or stage.outer is None:
            yield from runner.run(write_select(rows, now, hidden=stage.scan.lookup_fields))
            return
        place = next(at for at, one in enumerate(stage.outer.members) if one.source == stage.scan.source)
        for *found, member in runner.run(write_select(rows, now, hidden=(*stage.scan.lookup_fields, "_member"))):
            if member == place:
                yield tuple(found)

    def _make_union(self, stage: FetchStage, union: UnionScan, runner: SqliteExecutor) -> None:
        """Make the view of a union behind the listing of its last member."""
        scans = [member for member in union.members if isinstance(member, Scan)]
        if stage.scan.view != scans[-1].view:
            return
        views = [
            (at, member.table.sql_name, runner.columns(member.table.sql_name))
            for at, member in enumerate(union.members)
            if isinstance(member, NativeMember) or member.view in self._open
        ]
        kept = [field.name for field in union.table.stored_fields]
        runner.make_view(union.view, write_union(kept, views, len(union.members)))
        self._unions.add(union.view)

    def _choose(self, stage: FetchStage, rows: ir.Select, runner: SqliteExecutor, now: int, *, within: str = "") -> int:
        """Choose the rows that something is fetched for; return how many of the query there are."""
        sql = write_select(rows, now, hidden=("_row",))
        if stage.union is None:
            return runner.select_rows(SELECTED_ROWS, sql, within=within)
        count = runner.select_rows(_MAPPED, sql, within=within)
        self._map_rows(stage, _MAPPED, SELECTED_ROWS, runner)
        return count

    @staticmethod
    def _map_rows(stage: FetchStage, union_rows: str, own_rows: str, runner: SqliteExecutor) -> None:
        """Put the rows of one member of a union into a table, by their own numbers."""
        assert stage.union is not None
        views = [member.table.sql_name for member in stage.union.members]
        runner.map_rows(own_rows, union_rows, len(views), views.index(stage.scan.view))

    def _fetch(self, stage: FetchStage) -> None:
        request = stage.fetch_request()
        if request is not None and stage.scan.view in self._open:
            self._open[stage.scan.view].fetch(request)

    def _run_batches(self, step: BatchedStages, runner: SqliteExecutor, now: int) -> None:
        """Fetch for the first rows in order, and for more as long as too few of them are in the answer."""
        select, first = step.select, step.stages[0]
        assert first.rows is not None
        whole = select.replace(columns=(), count=False, limit=None, skip=None, order=(), join="", nonempty="")
        runner.select_rows(_SEEN, None)
        size, done = max(_FIRST_BATCH, 2 * step.limit), 0
        while True:
            batch = first.rows.replace(order=select.order, limit=ir.Limit(size, ()), skip=ir.Limit(done, ()))
            found = runner.select_rows(_BATCH, write_select(batch, now, hidden=("_row",)))
            runner.select_rows(_SEEN, None, add=_BATCH)
            for stage in step.stages:
                assert stage.rows is not None
                if stage is not first:
                    self._choose(stage, stage.rows, runner, now, within=_SEEN)
                elif stage.union is not None:
                    self._map_rows(stage, _BATCH, SELECTED_ROWS, runner)
                else:
                    runner.select_rows(SELECTED_ROWS, None)
                    runner.select_rows(SELECTED_ROWS, None, add=_BATCH)
                self._fetch(stage)
            done += found
            if found < size:
                return
            if runner.count(write_select(whole, now, hidden=("_row",)), within=_SEEN) >= step.limit:
                break
            size *= 2
        for stage in {stage.scan.view: stage for stage in step.stages}.values():
            rows = _SEEN
            if stage.union is not None:
                self._map_rows(stage, _SEEN, rows := _MAPPED, runner)
            if stage.scan.view in self._open:
                self._open[stage.scan.view].retain(rows)


def _union_table(tables: list[Table]) -> Table:
    """Return the table that rows of several sources make: the fields of all, and the relations that all have."""
    fields = {field.name: field for table in reversed(tables) for field in table.fields}
    relations = []
    for relation in tables[0].relations:
        found = [one for table in tables if (one := table.find_relation(relation.name)) is not None]
        if len(found) < len(tables) or any(one.table != relation.table for one in found):
            continue
        same = bool(relation.source) and all(one == relation for one in found)
        relations.append(relation if same else relation.replace(members=tuple(found)))
    order = dict.fromkeys(field.name for table in tables for field in table.fields)
    for name in order:  # a field that one of the sources cannot see is not seen of all rows
        own = [table.find_field(name) for table in tables]
        fields[name] = fields[name].replace(is_unavailable=any(one is not None and one.is_unavailable for one in own))
    return tables[0].replace(fields=tuple(fields[name] for name in order), relations=tuple(relations))
