"""How rows of sources are fetched: listed first, then level by level for the rows that are left.

A source that is not SQLite lists its rows with what a listing says. The other fields are fetched in the order of the
levels that the source declares. A stage is one such step, with the query that chooses its rows by all that is known of
the condition by then. Stages are planned before anything is requested, so that `explain` can show them.

The condition that rows must meet at a stage is implied by the whole one: what is not known yet counts as true, also
under `not`. So no row is lost, and the whole query decides at the end, in SQL, over what was fetched.
"""

from __future__ import annotations

from imq.grammar.record import TYPE_CHECKING, Record

from . import ir
from .source import FetchRequest, ScanRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator, Mapping

    from imq.engine.catalog.schema import FetchLevel, Field, Table

    from .source import SourceRef, StagedTable


class Scan(Record):
    """Rows of one source that must be fetched. `view` is what SQL calls them.

    `targets` are what follows `of`: names, and queries of names. The rest is as in `ScanRequest`.
    """

    view: str
    table: Table
    source: str
    provider: StagedTable
    targets: tuple[str | ir.Select, ...]
    refs: tuple[SourceRef, ...]
    lookup_fields: tuple[str, ...]
    single_image: bool = False

    def rank_of(self, field: Field) -> int:
        """Return the rank of a field's level in the source, from 1; 0: listing the rows returns the field."""
        own = self.table.find_field(field.name)
        if own is None or own.level is None:
            return 0
        return self.provider.levels.index(own.level) + 1

    def request(self, platform: str) -> ScanRequest:
        """Return the request to the source; names that queries answer are not among its targets yet."""
        targets = tuple(target for target in self.targets if isinstance(target, str))
        of_queries = len(targets) < len(self.targets)
        return ScanRequest(
            self.view, self.table, targets, self.refs, self.lookup_fields, self.single_image, platform, of_queries
        )


class NativeMember(Record):
    """A member of a union whose rows are in SQLite already, under this name."""

    table: Table
    source: str


class UnionScan(Record):
    """Rows of several sources in one view. A row's `_row` is its member's, times the count, plus the member's index.

    `_member` says which member a row is of.
    """

    view: str
    table: Table
    members: tuple[Scan | NativeMember, ...]


AnyScan = Scan | UnionScan


class FetchStage(Record):
    """One step: list the rows of a scan (no `level`), or fetch `fields` of this level for the rows of `rows`.

    A scan with lookup fields lists what these columns of `rows` name. `platform` is the one that a condition names.
    `continues` says that the next level follows for the same rows. `union`: the scan is a member of it; `outer`: so
    are the rows that it looks up.
    """

    scan: Scan
    level: FetchLevel | None = None
    rows: ir.Select | None = None
    fields: frozenset[Field] = frozenset()
    platform: str = ""
    continues: bool = False
    union: UnionScan | None = None
    outer: UnionScan | None = None

    def fetch_request(self) -> FetchRequest | None:
        """Return the level and fields to fetch; None for listing the rows."""
        return FetchRequest(self.level, self.fields, self.continues) if self.level is not None else None


class BatchedStages(Record):
    """Stages that are run for some rows at a time, in the order of the query, until `limit` rows are in the answer."""

    select: ir.Select
    stages: tuple[FetchStage, ...]
    limit: int


Step = FetchStage | BatchedStages


class FetchPlanner:
    """Plans the stages of one statement. `scans` are the rows that must be fetched, by what SQL calls them."""

    def __init__(self, scans: Mapping[str, AnyScan]) -> None:
        self._scans = scans
        self._listed: set[str] = set()

    def plan(
        self, select: ir.Select, lookups: ir.Select | None = None, outside: ir.Select | None = None
    ) -> Iterator[Step]:
        """Yield the steps of a query and of those inside it, in order.

        `lookups` are the rows by which a scan looks rows up; `outside` those that the rows of a relation belong to.
        """
        if not self._needs_fetch(select):
            return
        for part in (select.base, *(select.targets or ())):
            if isinstance(part, ir.Union):
                yield from self.plan(part.left)
                yield from self.plan(part.right)
            elif isinstance(part, ir.Select):
                yield from self.plan(part)
        for inner in _queries_inside(select):
            if not inner.join:
                yield from self.plan(inner)
        scan = self._scans.get(select.table.sql_name)
        if scan is not None and scan.view not in self._listed:
            self._listed.add(scan.view)
            yield from self._list(scan, select, lookups)
        yield from self._fetch(select, outside)

    def plan_condition(self, condition: ir.Expr) -> Iterator[Step]:
        """Yield the steps of a condition about no row."""
        for inner in _selects_in((condition,)):
            yield from self.plan(inner)

    def _list(self, scan: AnyScan, select: ir.Select, lookups: ir.Select | None) -> Iterator[Step]:
        union = scan if isinstance(scan, UnionScan) else None
        around = self._scans.get(lookups.table.sql_name) if lookups is not None else None
        for member in self.members(scan):
            for target in member.targets:
                if isinstance(target, ir.Select):
                    yield from self.plan(target)
            yield FetchStage(
                member,
                rows=lookups,
                platform=_platform(select.where),
                union=union,
                outer=around if union is not None and isinstance(around, UnionScan) else None,
            )

    @staticmethod
    def members(scan: AnyScan | None) -> tuple[Scan, ...]:
        """Return the scans that a view is made of."""
        if scan is None:
            return ()
        if isinstance(scan, Scan):
            return (scan,)
        return tuple(member for member in scan.members if isinstance(member, Scan))

    def _needs_fetch(self, select: ir.Select) -> bool:
        return any(inner.table.sql_name in self._scans for inner in ir.subqueries(select))

    def _fetch(self, select: ir.Select, outside: ir.Select | None) -> Iterator[Step]:
        """Yield what the rows of a query itself need: first for its condition and its cuts, then for its columns."""
        scan = self._scans.get(select.table.sql_name)
        scans = self.members(scan)
        union = scan if isinstance(scan, UnionScan) else None
        deciding = self._needs(select, scans, _deciding(select))
        steps, known = self._stages(select, scans, union, deciding, _Known(), outside, cuts=False)
        own = {member.view for member in scans}
        stages = tuple(step for step in steps if isinstance(step, FetchStage) and step.scan.view in own)
        limit = _early(select, scans) if scans and len(stages) == len(steps) > 0 else 0
        if limit:
            yield BatchedStages(select, stages, limit)
        else:
            yield from steps
        rest = self._needs(select, scans, tuple(ir.expressions_of(select)))
        yield from self._stages(select, scans, union, rest, known, outside, cuts=True)[0]

    def _stages(
        self,
        select: ir.Select,
        scans: tuple[Scan, ...],
        union: UnionScan | None,
        needs: list[_Need],
        known: _Known,
        outside: ir.Select | None,
        *,
        cuts: bool,
    ) -> tuple[list[Step], _Known]:
        """Return the stages for these needs, lowest level first, and what is known after them."""
        steps: list[Step] = []
        needs = [need for need in needs if not known.has(need)]
        for place, need in enumerate(needs):
            if isinstance(need, ir.Select):
                inner = self._scans.get(need.table.sql_name)
                looks_up = any(member.lookup_fields for member in self.members(inner))
                rows = self._rows(select, known, scans, outside, cuts=cuts)
                lookups = _comparable(rows, select.where, need, known, scans) if looks_up else None
                steps += self.plan(need, lookups, rows)
                known = known.replace(inner=known.inner | {id(need)})
                continue
            rows = self._rows(select, known, (need.scan,), outside, cuts=cuts and len(scans) == 1)
            after = known.replace(fields=known.fields | need.names())
            following = needs[place + 1] if place + 1 < len(needs) else None
            continues = (
                isinstance(following, _LevelNeed)
                and following.scan.view == need.scan.view
                and self._rows(select, after, (need.scan,), outside, cuts=cuts and len(scans) == 1) == rows
            )
            level = need.scan.provider.levels[need.rank - 1]
            steps.append(FetchStage(need.scan, level, rows, need.fields, continues=continues, union=union))
            known = after
        return steps, known

    def _rows(
        self, select: ir.Select, known: _Known, scans: tuple[Scan, ...], outside: ir.Select | None, *, cuts: bool
    ) -> ir.Select:
        """Return the query for the rows of these scans that may still be in the answer.

        `cuts`: its order and its limits are known too, so that only the rows of the answer are left. Those of a
        relation count within the rows that belong to one row outside, so there they cut nothing.
        """
        staged = {id(inner) for inner in _queries_inside(select) if inner.join and self._needs_fetch(inner)}
        where = None
        if select.where is not None:
            where = weaken_condition(select.where, lambda part: known.covers(part, staged, scans))
        if outside is not None and select.join and not scans:
            belongs = ir.RelatedTo(select.join, outside)
            where = belongs if where is None else ir.And((belongs, where))
        rows = select.replace(columns=(), where=where, join="", count=False, nonempty="", is_whole_rows=True)
        if cuts and not select.join and select.group is None and select.is_limited:
            return rows
        return rows.replace(group=None, having=None, order=(), limit=None, skip=None, keep_newest=None, until=None)

    def _needs(self, select: ir.Select, scans: tuple[Scan, ...], values: tuple[ir.Expr, ...]) -> list[_Need]:
        """Return what these values need beyond the listings: levels of fields, and rows of relations."""
        own: dict[tuple[int, int], set[Field]] = {}
        ranked: list[tuple[float, int, _Need]] = []

        def require(field: Field) -> int:
            ranks = [scan.rank_of(field) for scan in scans]
            for at, rank in enumerate(ranks):
                if rank:
                    own.setdefault((rank, at), set()).add(field)
            return max(ranks, default=0)

        for value in ir.walk(values):
            if isinstance(value, ir.Column | ir.MapItem):
                require(value.field)
            inner = ir.subquery_of(value)
            if inner is None or not inner.join or not self._needs_fetch(inner):
                continue
            if all(inner is not one for *_, one in ranked):
                highest = 0
                for member in self.members(self._scans.get(inner.table.sql_name)):
                    found = (select.table.find_field(name) for name in member.lookup_fields)
                    highest = max([highest, *(require(field) for field in found if field is not None)])
                ranked.append((highest + 0.5, len(ranked), inner))
        ranked += [
            (rank, at - len(scans), _LevelNeed(scans[at], rank, frozenset(fields)))
            for (rank, at), fields in own.items()
        ]
        return [need for _, _, need in sorted(ranked, key=lambda one: one[:2])]


class _LevelNeed(Record):
    """Fields of one level of one scan."""

    scan: Scan
    rank: int
    fields: frozenset[Field]

    def names(self) -> frozenset[tuple[str, str]]:
        """Return the fields with their scan, by name."""
        return frozenset((self.scan.view, field.name) for field in self.fields)


_Need = _LevelNeed | ir.Select
"""A level of a query's own fields, or a query inside it about what belongs to its rows."""


class _Known(Record):
    """What is known beyond the listings: fields, by scan and name, and subqueries, by identity."""

    fields: frozenset[tuple[str, str]] = frozenset()
    inner: frozenset[int] = frozenset()

    def has(self, need: _Need) -> bool:
        """Whether all of it is known."""
        return id(need) in self.inner if isinstance(need, ir.Select) else need.names() <= self.fields

    def covers(self, condition: ir.Expr, staged: Container[int], scans: tuple[Scan, ...]) -> bool:
        """Whether all that a condition reads is known of the rows of these scans; `staged` are queries to fetch for."""
        for value in ir.walk((condition,)):
            if isinstance(value, ir.Column | ir.MapItem):
                name = value.field.name
                if any(scan.rank_of(value.field) and (scan.view, name) not in self.fields for scan in scans):
                    return False
            inner = ir.subquery_of(value)
            if inner is not None and id(inner) in staged and id(inner) not in self.inner:
                return False
        return True


def _comparable(
    rows: ir.Select, where: ir.Expr | None, need: ir.Select, known: _Known, scans: tuple[Scan, ...]
) -> ir.Select:
    """Leave out rows for which a subquery of the condition need not be fetched.

    The subquery is compared with a value of the row. Where that value is unknown, the comparison is unknown too.
    """
    found = [value for value in ir.walk(() if where is None else (where,)) if ir.subquery_of(value) is need]
    for test in ir.walk((where,)) if where is not None and len(found) == 1 else ():
        if isinstance(test, ir.Comparison) and found[0] in (test.left, test.right):
            other = test.right if test.left is found[0] else test.left
            if known.covers(other, (), scans):
                is_known = ir.IsKnown(other, known=True)
                return rows.replace(where=is_known if rows.where is None else ir.And((rows.where, is_known)))
    return rows


def weaken_condition(condition: ir.Expr, known: Callable[[ir.Expr], bool]) -> ir.Expr | None:
    """Return the weakest condition that follows from this one and reads only what is known; None: there is none."""
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


def _deciding(select: ir.Select) -> tuple[ir.Expr, ...]:
    """Return the values that decide which rows a query answers."""
    found = [] if select.where is None else [select.where]
    if select.group is None and select.is_limited:
        found += [key.value for key in select.order]
        for cut in (select.limit, select.skip):
            found += cut.per if cut is not None else ()
        if select.keep_newest is not None:
            found += [*select.keep_newest.per, select.keep_newest.by]
    return tuple(found)


def _early(select: ir.Select, scans: tuple[Scan, ...]) -> int:
    """Return how many rows, in an order that listings give, complete the answer; 0: all rows are needed."""
    if select.limit is None or select.limit.per or select.keep_newest or select.until or select.group is not None:
        return 0
    if select.join:  # it counts within the rows that belong to one row outside
        return 0
    if select.skip is not None and select.skip.per:
        return 0
    for value in ir.walk(key.value for key in select.order):
        if ir.subquery_of(value) is not None:
            return 0
        if isinstance(value, ir.Column | ir.MapItem) and any(scan.rank_of(value.field) for scan in scans):
            return 0
    return select.limit.count + (select.skip.count if select.skip else 0)


def _platform(where: ir.Expr | None) -> str:
    """Return the platform that a condition demands: `platform = linux/arm64`, or by its architecture."""
    named = {"platform": "", "os": "linux", "architecture": "", "variant": ""}
    for part in where.operands if isinstance(where, ir.And) else (where,):
        match part:
            case ir.Comparison("=", ir.Column(field), ir.Literal(value)) if field.name in named:
                named[field.name] = str(value)
    if named["platform"] or not named["architecture"]:
        return named["platform"]
    return "/".join(part for part in (named["os"], named["architecture"], named["variant"]) if part)


def _queries_inside(select: ir.Select) -> Iterator[ir.Select]:
    """Yield the queries directly inside a query's expressions."""
    yield from _selects_in(tuple(ir.expressions_of(select)))


def _selects_in(values: tuple[ir.Expr, ...]) -> Iterator[ir.Select]:
    for value in ir.walk(values):
        if (inner := ir.subquery_of(value)) is not None:
            yield inner
