"""Plans how rows of sources are fetched: listed first, then level by level for the remaining rows.

A remote source lists its rows with the fields that the listing contains. Other fields are fetched in the order of the
levels that the source declares. A stage is one such step, with a query that selects its rows. Stages are planned before
the first request, so that `explain` can show them.

The condition of a stage is implied by the condition of the query: a part that is not yet known counts as true, also
under `not`. So no row is lost. At the end SQLite evaluates the whole query over the fetched rows.
"""

from __future__ import annotations

from imq.engine.catalog.schema import parse_equal_fields
from imq.grammar.record import TYPE_CHECKING, Record

from . import ir
from .limit_pushdown import find_row_limit
from .source import FetchRequest, ScanRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator, Mapping

    from imq.engine.catalog.schema import FetchLevel, Field, Table

    from .searches import Search
    from .source import SourceRef, StagedTable
    from .time_pushdown import Bound


class Scan(Record):
    """Rows of one source that must be fetched. `view` is their name in SQL.

    `targets` are the operands of `of`: names and queries of names. For the other fields see `ScanRequest`.
    """

    view: str
    table: Table
    source: str
    provider: StagedTable
    targets: tuple[str | ir.Select, ...]
    refs: tuple[SourceRef, ...]
    lookup_fields: tuple[str, ...]
    single_image: bool = False
    join_fields: tuple[str, ...] = ()

    @property
    def scans(self) -> tuple[Scan, ...]:
        """The scan itself, as the one of a union of one."""
        return (self,)

    @property
    def native_tables(self) -> tuple[Table, ...]:
        """No table: the rows are fetched."""
        return ()

    @property
    def sources(self) -> tuple[str, ...]:
        """The name of the source."""
        return (self.source,)

    @property
    def ref_texts(self) -> tuple[str, ...]:
        """The texts after `in` of the statement."""
        return tuple(ref.text for ref in self.refs)

    def get_rank(self, field: Field) -> int:
        """Return the position of a field's level in the source, from 1; 0 for a field that the listing contains."""
        own = self.table.find_field(field.name)
        if own is None or own.level is None:
            return 0
        return self.provider.levels.index(own.level) + 1

    def make_request(self, platform: str) -> ScanRequest:
        """Return the request to the source. Its targets do not include the results of queries after `of`."""
        targets = tuple(target for target in self.targets if isinstance(target, str))
        of_queries = len(targets) < len(self.targets)
        return ScanRequest(
            self.view,
            self.table,
            targets,
            self.refs,
            self.lookup_fields,
            self.single_image,
            platform,
            of_queries,
            join_fields=self.join_fields,
        )


class NativeMember(Record):
    """A member of a union whose rows are in SQLite already."""

    table: Table
    source: str

    @property
    def ref_texts(self) -> tuple[str, ...]:
        """The name of the source."""
        return (self.source,)


class UnionScan(Record):
    """Rows of several sources in one view. `_member` is the index of the member that a row comes from.

    `_row` is the `_row` in the member, times the number of members, plus the index of the member.
    """

    view: str
    table: Table
    members: tuple[Scan | NativeMember, ...]

    @property
    def scans(self) -> tuple[Scan, ...]:
        """The members whose rows must be fetched."""
        return tuple(member for member in self.members if isinstance(member, Scan))

    @property
    def native_tables(self) -> tuple[Table, ...]:
        """The tables of the members whose rows are in SQLite already."""
        return tuple(member.table for member in self.members if isinstance(member, NativeMember))

    @property
    def sources(self) -> tuple[str, ...]:
        """The names of the sources of the members."""
        return tuple(member.source for member in self.members)

    @property
    def ref_texts(self) -> tuple[str, ...]:
        """The texts after `in` of the statement."""
        return tuple(text for member in self.members for text in member.ref_texts)


AnyScan = Scan | UnionScan


class FetchStage(Record):
    """One step: list the rows of a scan (no `level`), or fetch `fields` of this level for the rows of `rows`.

    A scan with lookup fields lists the rows for the values of these columns in `rows`. `platform` is the platform in
    the condition. `continues`: the next stage fetches another level for the same rows. `union` is the union that the
    scan is a member of, and `outer_union` the union of the outer rows. `bounds` are the constants that the condition
    compares the time of the rows with; for `first` and `last` see `FetchRequest`. `condition` is the part of the
    condition of the query by which the source leaves out rows of a listing. For `searches` and `searched_fields` see
    `FetchRequest`.
    """

    scan: Scan
    level: FetchLevel | None = None
    rows: ir.Select | None = None
    fields: frozenset[Field] = frozenset()
    platform: str = ""
    continues: bool = False
    union: UnionScan | None = None
    outer_union: UnionScan | None = None
    bounds: tuple[Bound, ...] = ()
    first: int = 0
    last: int = 0
    condition: ir.Expr | None = None
    searches: frozenset[Search] = frozenset()
    searched_fields: frozenset[str] = frozenset()

    def make_request(self, now: int) -> FetchRequest | None:
        """Return the level and fields to fetch at the time `now`; None for listing the rows."""
        if self.level is None:
            return None
        request = FetchRequest(
            self.level,
            self.fields,
            self.continues,
            first=self.first,
            last=self.last,
            searches=self.searches,
            searched_fields=self.searched_fields,
        )
        if not self.bounds:
            return request
        from .time_pushdown import evaluate_bounds

        since, until = evaluate_bounds(self.bounds, now)
        return request.replace(since=since, until=until)


class BatchedStages(Record):
    """Stages that run for a batch of rows at a time, in the order of the query, until the result has `limit` rows."""

    select: ir.Select
    stages: tuple[FetchStage, ...]
    limit: int


Step = FetchStage | BatchedStages


class FetchPlanner:
    """Plans the stages of one statement. `scans` are the rows that must be fetched, by their names in SQL."""

    def __init__(self, scans: Mapping[str, AnyScan]) -> None:
        self._scans = scans
        self._listed: set[str] = set()

    def plan(
        self, select: ir.Select, lookups: ir.Select | None = None, outer_rows: ir.Select | None = None
    ) -> Iterator[Step]:
        """Yield the steps of a query and of the queries inside it, in order.

        `lookups` selects the rows whose values a scan looks up; `outer_rows` the rows that a relation belongs to.
        """
        if not self._needs_fetch(select):
            return
        layers = (select.until.layers,) if select.until is not None else ()
        for part in (select.base, *(select.targets or ()), *(join.select for join in select.joins), *layers):
            if isinstance(part, ir.Union):
                yield from self.plan(part.left)
                yield from self.plan(part.right)
            elif isinstance(part, ir.Select):
                yield from self.plan(part)
        for inner in _list_subqueries(select):
            if not inner.join:
                yield from self.plan(inner)
        scan = self._scans.get(select.table.sql_name)
        if scan is not None and scan.view not in self._listed:
            self._listed.add(scan.view)
            yield from self._plan_listing(scan, select, lookups)
        yield from self._plan_fetches(select, outer_rows)

    def plan_condition(self, condition: ir.Expr) -> Iterator[Step]:
        """Yield the steps of a condition without a row."""
        for inner in _find_subqueries((condition,)):
            yield from self.plan(inner)

    def _plan_listing(self, scan: AnyScan, select: ir.Select, lookups: ir.Select | None) -> Iterator[Step]:
        union = scan if isinstance(scan, UnionScan) else None
        outer = self._scans.get(lookups.table.sql_name) if lookups is not None else None
        for member in self.list_scans(scan):
            for target in member.targets:
                if isinstance(target, ir.Select):
                    yield from self.plan(target)
            yield FetchStage(
                member,
                rows=lookups,
                platform=_find_platform(select.where),
                union=union,
                outer_union=outer if union is not None and isinstance(outer, UnionScan) else None,
                condition=_find_filter(select.where, member.provider.filtered_fields),
            )

    @staticmethod
    def list_scans(scan: AnyScan | None) -> tuple[Scan, ...]:
        """Return the scans of a view: one, or those of a union."""
        return scan.scans if scan is not None else ()

    def _needs_fetch(self, select: ir.Select) -> bool:
        return any(inner.table.sql_name in self._scans for inner in ir.walk_subqueries(select))

    def _plan_fetches(self, select: ir.Select, outer_rows: ir.Select | None) -> Iterator[Step]:
        """Yield the steps for the rows of a query: first for its condition and its limits, then for its columns."""
        scan = self._scans.get(select.table.sql_name)
        scans = self.list_scans(scan)
        union = scan if isinstance(scan, UnionScan) else None
        deciding = self._collect_needs(select, scans, _list_deciding_expressions(select))
        steps, known = self._plan_stages(select, scans, union, deciding, _Known(), outer_rows, applies_limits=False)
        own = {member.view for member in scans}
        stages = tuple(step for step in steps if isinstance(step, FetchStage) and step.scan.view in own)
        limit = 0
        if scans and len(stages) == len(steps) > 0:
            limit = find_row_limit(select, lambda field: any(scan.get_rank(field) for scan in scans))
        if limit:
            yield BatchedStages(select, stages, limit)
        else:
            yield from steps
        rest = self._collect_needs(select, scans, tuple(ir.list_expressions(select)))
        within = not any(ir.has_previous(column.value) for column in select.columns)
        yield from self._plan_stages(select, scans, union, rest, known, outer_rows, applies_limits=within)[0]

    def _plan_stages(
        self,
        select: ir.Select,
        scans: tuple[Scan, ...],
        union: UnionScan | None,
        needs: list[_Need],
        known: _Known,
        outer_rows: ir.Select | None,
        *,
        applies_limits: bool,
    ) -> tuple[list[Step], _Known]:
        """Return the stages for these needs, lowest level first, and the known values after them."""
        steps: list[Step] = []
        needs = [need for need in needs if not known.has(need)]
        for position, need in enumerate(needs):
            if isinstance(need, ir.Select):
                inner = self._scans.get(need.table.sql_name)
                looks_up = any(member.lookup_fields for member in self.list_scans(inner))
                rows = self._select_candidates(select, known, scans, outer_rows, applies_limits=applies_limits)
                lookups = _select_comparable(rows, select.where, need, known, scans) if looks_up else None
                steps += self.plan(need, lookups, rows)
                known = known.replace(inner=known.inner | {id(need)})
                continue
            rows = self._select_candidates(
                select, known, (need.scan,), outer_rows, applies_limits=applies_limits and len(scans) == 1
            )
            after = known.replace(fields=known.fields | need.list_field_names())
            following = needs[position + 1] if position + 1 < len(needs) else None
            continues = (
                isinstance(following, _LevelNeed)
                and following.scan.view == need.scan.view
                and self._select_candidates(
                    select, after, (need.scan,), outer_rows, applies_limits=applies_limits and len(scans) == 1
                )
                == rows
            )
            level = need.scan.provider.levels[need.rank - 1]
            stage = FetchStage(need.scan, level, rows, need.fields, continues=continues, union=union)
            if need.rank == 1 and need.scan.provider.time_field:
                from .time_pushdown import find_range

                part = find_range(select, need.scan.provider.time_field, need.scan.get_rank)
                stage = stage.replace(bounds=part.bounds, first=part.first, last=part.last)
            if any(field.search_column for field in need.fields):
                from .searches import find_searches

                searches, searched = find_searches(select)
                stage = stage.replace(searches=searches, searched_fields=searched)
            steps.append(stage)
            known = after
        return steps, known

    def _select_candidates(
        self,
        select: ir.Select,
        known: _Known,
        scans: tuple[Scan, ...],
        outer_rows: ir.Select | None,
        *,
        applies_limits: bool,
    ) -> ir.Select:
        """Return the query for the rows of these scans that can still be in the result.

        `applies_limits`: the order and the limits are known too, so that only the rows of the result remain. The
        limits of a relation count separately for each outer row, so they are not applied here.
        """
        staged = {id(inner) for inner in _list_subqueries(select) if inner.join and self._needs_fetch(inner)}
        where = None
        if select.where is not None:
            joined = {join.name for join in known.list_joins(select, staged, scans)}
            where = weaken_condition(select.where, lambda part: known.covers(part, staged, scans, joined))
        if outer_rows is not None and select.join and (not scans or _has_join_fields(select, known, scans)):
            is_related = ir.RelatedTo(select.join, outer_rows)
            where = is_related if where is None else ir.And((is_related, where))
        rows = select.replace(
            columns=(),
            where=where,
            join="",
            count=False,
            nonempty="",
            is_whole_rows=True,
            joins=tuple(_keep_left_rows(join) for join in known.list_joins(select, staged, scans)),
        )
        if applies_limits and not select.join and select.group is None and select.is_limited:
            return rows
        return rows.replace(group=None, having=None, order=(), limit=None, skip=None, keep_newest=None, until=None)

    def _collect_needs(self, select: ir.Select, scans: tuple[Scan, ...], values: tuple[ir.Expr, ...]) -> list[_Need]:
        """Return what these values need in addition to the listings: levels of fields, and rows of relations."""
        fields_by_level: dict[tuple[int, int], set[Field]] = {}
        ranked: list[tuple[float, int, _Need]] = []

        def require(field: Field) -> int:
            ranks = [scan.get_rank(field) for scan in scans]
            for at, rank in enumerate(ranks):
                if rank:
                    fields_by_level.setdefault((rank, at), set()).add(field)
            return max(ranks, default=0)

        for at, scan in enumerate(scans):
            if scan.provider.holders:  # the rows themselves are fetched, whichever fields are read
                fields_by_level[1, at] = {field for field in scan.table.stored_fields if scan.get_rank(field) == 1}
        for value in ir.walk(values):
            if isinstance(value, ir.Column | ir.MapItem) and not value.join:
                require(value.field)
            inner = ir.get_subquery(value)
            if inner is None or not inner.join or not self._needs_fetch(inner):
                continue
            if all(inner is not one for *_, one in ranked):
                members = self.list_scans(self._scans.get(inner.table.sql_name))
                own_sources = {scan.source for scan in scans}
                # rows of another source take a request each: for them, all own fields decide first
                is_elsewhere = bool(own_sources) and own_sources.isdisjoint(member.source for member in members)
                highest = max(len(scan.provider.levels) for scan in scans) if is_elsewhere and members else 0
                for member in members:
                    names = (*member.lookup_fields, *(outer for _, outer in parse_equal_fields(inner.join)))
                    found = (select.table.find_field(name) for name in names)
                    highest = max([highest, *(require(field) for field in found if field is not None)])
                ranked.append((highest + 0.5, len(ranked), inner))
        ranked += [
            (rank, at - len(scans), _LevelNeed(scans[at], rank, frozenset(fields)))
            for (rank, at), fields in fields_by_level.items()
        ]
        return [need for _, _, need in sorted(ranked, key=lambda one: one[:2])]


class _LevelNeed(Record):
    """Fields of one level of one scan."""

    scan: Scan
    rank: int
    fields: frozenset[Field]

    def list_field_names(self) -> frozenset[tuple[str, str]]:
        """Return the fields with their scan, by name."""
        return frozenset((self.scan.view, field.name) for field in self.fields)


_Need = _LevelNeed | ir.Select
"""A level of the fields of a query, or a query inside it for rows of a relation."""


class _Known(Record):
    """What is known in addition to the listings: fields, by scan and name, and subqueries, by identity."""

    fields: frozenset[tuple[str, str]] = frozenset()
    inner: frozenset[int] = frozenset()

    def has(self, need: _Need) -> bool:
        """Whether a need is fulfilled."""
        return id(need) in self.inner if isinstance(need, ir.Select) else need.list_field_names() <= self.fields

    def list_joins(self, select: ir.Select, staged: Container[int], scans: tuple[Scan, ...]) -> tuple[ir.Join, ...]:
        """Return the joins of a query whose conditions are known for the rows of these scans."""
        joins: list[ir.Join] = []
        for join in select.joins:
            names = {join.name, *(one.name for one in joins)}
            if self.covers(join.condition, staged, scans, names):
                joins.append(join)
        return tuple(joins)

    def covers(
        self, condition: ir.Expr, staged: Container[int], scans: tuple[Scan, ...], joins: Container[str] = ()
    ) -> bool:
        """Whether all values of a condition are known for the rows of these scans.

        `staged` are the identities of the subqueries that need fetching, and `joins` the names of the known joins.
        """
        for value in ir.walk((condition,)):
            if isinstance(value, ir.Column | ir.MapItem) and value.join:
                if value.join not in joins:
                    return False
            elif isinstance(value, ir.Column | ir.MapItem):
                name = value.field.name
                if any(scan.get_rank(value.field) and (scan.view, name) not in self.fields for scan in scans):
                    return False
            inner = ir.get_subquery(value)
            if inner is not None and id(inner) in staged and id(inner) not in self.inner:
                return False
        return True


def _has_join_fields(select: ir.Select, known: _Known, scans: tuple[Scan, ...]) -> bool:
    """Whether the fields that join the rows of a relation with the outer rows are known for these scans."""
    fields = [select.table.get_field(name) for name, _ in parse_equal_fields(select.join)]
    return bool(fields) and known.covers(ir.And(tuple(map(ir.Column, fields))), (), scans)


def _select_comparable(
    rows: ir.Select, where: ir.Expr | None, need: ir.Select, known: _Known, scans: tuple[Scan, ...]
) -> ir.Select:
    """Return the query without the rows for which a subquery of the condition need not be fetched.

    If the subquery is compared with a value of the row, and that value is unknown, the comparison is unknown too.
    """
    uses = [value for value in ir.walk(() if where is None else (where,)) if ir.get_subquery(value) is need]
    for test in ir.walk((where,)) if where is not None and len(uses) == 1 else ():
        if isinstance(test, ir.Comparison) and uses[0] in (test.left, test.right):
            other = test.right if test.left is uses[0] else test.left
            if known.covers(other, (), scans):
                is_known = ir.IsKnown(other, known=True)
                return rows.replace(where=is_known if rows.where is None else ir.And((rows.where, is_known)))
    return rows


def weaken_condition(condition: ir.Expr, known: Callable[[ir.Expr], bool]) -> ir.Expr | None:
    """Return the strongest condition that follows from this one and reads known values only; None if there is none."""
    match condition:
        case ir.And(operands):
            parts = [part for operand in operands if (part := weaken_condition(operand, known)) is not None]
            return None if not parts else parts[0] if len(parts) == 1 else ir.And(tuple(parts))
        case ir.Or(operands):
            either = [weaken_condition(operand, known) for operand in operands]
            return None if None in either else ir.Or(tuple(part for part in either if part is not None))
        case ir.Not(ir.Or(operands)):
            return weaken_condition(ir.And(tuple(ir.Not(operand) for operand in operands)), known)
        case ir.Not(ir.And(operands)):
            return weaken_condition(ir.Or(tuple(ir.Not(operand) for operand in operands)), known)
        case ir.Not(ir.Not(operand)):
            return weaken_condition(operand, known)
        case _:
            return condition if known(condition) else None


def _list_deciding_expressions(select: ir.Select) -> tuple[ir.Expr, ...]:
    """Return the expressions that decide which rows a query returns."""
    expressions = [] if select.where is None else [select.where]
    if select.group is None and select.is_limited:
        expressions += [key.value for key in select.order]
        for cut in (select.limit, select.skip):
            expressions += cut.per if cut is not None else ()
        if select.keep_newest is not None:
            expressions += [*select.keep_newest.per, select.keep_newest.by, *_list_name_columns(select)]
    expressions += [join.condition for join in select.joins]
    expressions += [ir.Column(select.table.get_field(name)) for name, _ in parse_equal_fields(select.join)]
    return tuple(expressions)


def _list_name_columns(select: ir.Select) -> list[ir.Column]:
    """Return the columns by which `except newest` counts the names of images."""
    if select.table.name != "images":
        return []
    return [ir.Column(select.table.get_field(name)) for name in ("source", "name")]


def _keep_left_rows(join: ir.Join) -> ir.Join:
    """Return the join without rows that the left side lacks: nothing is fetched for them."""
    return join.replace(kind="left") if join.kind == "full" else join


_ROWLESS = (ir.RowNumber, ir.Previous, ir.Largest, ir.AggregateCall, ir.ImageField, ir.ImageRelation)
"""Values that are not those of one row alone."""


def _find_filter(where: ir.Expr | None, names: frozenset[str]) -> ir.Expr | None:
    """Return the part of a condition that reads these fields of the row alone; None if there is none."""

    def is_covered(condition: ir.Expr) -> bool:
        values = list(ir.walk((condition,)))
        if any(isinstance(value, _ROWLESS) or ir.get_subquery(value) is not None for value in values):
            return False
        columns = [value for value in values if isinstance(value, ir.Column | ir.MapItem)]
        return all(not column.join and column.field.name in names for column in columns)

    return weaken_condition(where, is_covered) if where is not None and names else None


def _find_platform(where: ir.Expr | None) -> str:
    """Return the platform that a condition requires: `platform = linux/arm64`, or by its architecture."""
    values = {"platform": "", "os": "linux", "architecture": "", "variant": ""}
    for part in where.operands if isinstance(where, ir.And) else (where,):
        match part:
            case ir.Comparison("=", ir.Column(field, ""), ir.Literal(value)) if field.name in values:
                values[field.name] = str(value)
    if values["platform"] or not values["architecture"]:
        return values["platform"]
    return "/".join(part for part in (values["os"], values["architecture"], values["variant"]) if part)


def _list_subqueries(select: ir.Select) -> Iterator[ir.Select]:
    """Yield the queries directly inside the expressions of a query."""
    yield from _find_subqueries(tuple(ir.list_expressions(select)))


def _find_subqueries(values: tuple[ir.Expr, ...]) -> Iterator[ir.Select]:
    for value in ir.walk(values):
        if (inner := ir.get_subquery(value)) is not None:
            yield inner
