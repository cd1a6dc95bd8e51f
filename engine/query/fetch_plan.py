"""How a question to a registry is staged: the cheap is asked first, and the dear only for the rows that are left.

A source that is not SQLite lists its rows with what the list tells, and fetches the rest by cost, level by level
(`tables.Cost`). A stage is one such step, with the query that chooses its rows: all that is known by then of the
condition. Stages are worked out before anything is asked, so that `explain` shows what will be done.

The condition that rows must meet at a stage is implied by the whole one: what is not known yet counts as true, whether
it stands under `not` or not. So no row is lost, and the last word is the whole query's, in SQL, over what was fetched.
"""

from __future__ import annotations

from imq.engine.catalog.tables import Cost
from imq.grammar.record import TYPE_CHECKING, Record

from . import ir as b

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator, Mapping

    from imq.engine.catalog.tables import Field, Table
    from imq.engine.sources.source_ref import Place

LEVELS = tuple(Cost)


class Scan(Record):
    """Rows that have to be asked for. `view` is what they are called in SQL.

    `targets` are what follows `of`: names, and queries of names. What `drives` it are columns of the row outside; `one`
    says that a name means the one thing that it stands for, and not all tags of a repository.
    """

    view: str
    table: Table
    targets: tuple[str | b.Select, ...]
    places: tuple[Place, ...]
    drives: tuple[str, ...]
    one: bool = False


class Stage(Record):
    """One step: list the rows of a scan (`cost` LISTED), or fetch `fields` of this cost for the rows of `rows`.

    A scan that is driven lists what the columns that drive it name in the rows of `rows`. `platform` is the one that a
    condition names; of an index, it is what its other fields are about. `more` says that dearer things of the same rows
    are fetched next, and that no condition stands between.
    """

    scan: Scan
    cost: Cost
    rows: b.Select | None = None
    fields: frozenset[Field] = frozenset()
    platform: str = ""
    more: bool = False


class Batches(Record):
    """Stages that are done for some rows at a time, in the order of the query, until it has as many as it wants."""

    select: b.Select
    stages: tuple[Stage, ...]
    wanted: int


Step = Stage | Batches


class Stager:
    """Works the stages of one statement out. `scans` are the rows that have to be asked for, by what SQL calls them."""

    def __init__(self, scans: Mapping[str, Scan]) -> None:
        self._scans = scans
        self._listed: set[str] = set()

    def steps(
        self, select: b.Select, drivers: b.Select | None = None, outside: b.Select | None = None
    ) -> Iterator[Step]:
        """Yield the steps of a query and of those inside it, in order.

        `drivers` are the rows that name what is asked for; `outside` those that the rows of a relation belong to.
        """
        if not self._asks(select):
            return
        for part in (select.base, *(select.of or ())):
            if isinstance(part, b.Union):
                yield from self.steps(part.left)
                yield from self.steps(part.right)
            elif isinstance(part, b.Select):
                yield from self.steps(part)
        for inner in _within(select):
            if not inner.link:
                yield from self.steps(inner)
        scan = self._scans.get(select.table.physical)
        if scan is not None and scan.view not in self._listed:
            self._listed.add(scan.view)
            for target in scan.targets:
                if isinstance(target, b.Select):
                    yield from self.steps(target)
            yield Stage(scan, Cost.LISTED, drivers, platform=_platform(select.where))
        yield from self._levels(select, outside)

    def condition(self, condition: b.Bound) -> Iterator[Step]:
        """Yield the steps of a condition about no row."""
        for inner in _selects_of((condition,)):
            yield from self.steps(inner)

    def _asks(self, select: b.Select) -> bool:
        return any(inner.table.physical in self._scans for inner in b.selects(select))

    def _levels(self, select: b.Select, outside: b.Select | None) -> Iterator[Step]:
        """Yield what the rows of a query itself need: first for its condition and its cuts, then for its columns."""
        asked = select.table.physical in self._scans
        deciding = self._things(select, _deciding(select))
        steps, ready = self._fetched(select, deciding, _Ready(native=not asked), outside, cuts=False)
        own = select.table.physical
        stages = tuple(step for step in steps if isinstance(step, Stage) and step.scan.view == own)
        wanted = _early(select) if asked and len(stages) == len(steps) > 0 else 0
        if wanted:
            yield Batches(select, stages, wanted)
        else:
            yield from steps
        rest = self._things(select, tuple(b.values(select)))
        yield from self._fetched(select, rest, ready, outside, cuts=True)[0]

    def _fetched(
        self, select: b.Select, things: list[_Thing], ready: _Ready, outside: b.Select | None, *, cuts: bool
    ) -> tuple[list[Step], _Ready]:
        """Return the stages for these things, cheapest first, and what is known behind them."""
        steps: list[Step] = []
        things = [thing for thing in things if not ready.has(thing)]
        for place, thing in enumerate(things):
            rows = self._rows(select, ready, outside, cuts=cuts)
            if isinstance(thing, b.Select):
                scan = self._scans.get(thing.table.physical)
                driven = scan is not None and scan.drives
                drivers = _comparable(rows, select.where, thing, ready) if driven else None
                steps += self.steps(thing, drivers, rows)
                ready = ready.replace(inner=ready.inner | {id(thing)})
                continue
            level, fields = thing
            after = ready.replace(fields=ready.fields | fields)
            following = things[place + 1] if place + 1 < len(things) else None
            more = (
                following is not None
                and not isinstance(following, b.Select)
                and self._rows(select, after, outside, cuts=cuts) == rows
            )
            steps.append(Stage(self._scans[select.table.physical], LEVELS[level], rows, fields, more=more))
            ready = after
        return steps, ready

    def _rows(self, select: b.Select, ready: _Ready, outside: b.Select | None, *, cuts: bool) -> b.Select:
        """Return the query for the rows that can still be in the answer, by what is known.

        `cuts`: its order and its limits are known too, so that only the rows of the answer are left. Those of a
        relation count within the rows that belong to one row outside, so there they cut nothing.
        """
        inside = {id(inner) for inner in _within(select) if inner.link and self._asks(inner)}
        where = implied(select.where, lambda part: ready.knows(part, inside)) if select.where is not None else None
        if outside is not None and select.link and select.table.physical not in self._scans:
            belongs = b.Belongs(select.link, outside)
            where = belongs if where is None else b.Every((belongs, where))
        rows = select.replace(columns=(), where=where, link="", count=False, nonempty="", whole=True)
        if cuts and not select.link and select.group is None and select.cut:
            return rows
        return rows.replace(group=None, having=None, order=(), limit=None, skip=None, spared=None, until=None)

    def _things(self, select: b.Select, values: tuple[b.Bound, ...]) -> list[_Thing]:
        """Return what these values need that the list does not tell: levels of fields and rows of relations."""
        own: dict[int, set[Field]] = {}
        ranked: list[tuple[float, int, _Thing]] = []
        asked = select.table.physical in self._scans
        for value in b.walk(values):
            if asked and isinstance(value, b.Column | b.Item) and value.field.cost is not Cost.LISTED:
                own.setdefault(LEVELS.index(value.field.cost), set()).add(value.field)
            inner = b.inner(value)
            if inner is not None and inner.link and self._asks(inner) and all(inner is not one for *_, one in ranked):
                scan = self._scans.get(inner.table.physical)
                fields = [select.table.find(name) for name in (scan.drives if scan is not None else ())]
                driving = [field for field in fields if field is not None and asked]
                for field in driving:
                    if field.cost is not Cost.LISTED:
                        own.setdefault(LEVELS.index(field.cost), set()).add(field)
                dearest = max((LEVELS.index(field.cost) for field in driving), default=0)
                ranked.append((dearest + 0.5, len(ranked), inner))
        ranked += [(level, -1, (level, frozenset(fields))) for level, fields in own.items()]
        return [thing for _, _, thing in sorted(ranked, key=lambda one: one[:2])]


_Thing = tuple[int, "frozenset[Field]"] | b.Select
"""A level of a query's own fields, or a query inside it about what belongs to its rows."""


class _Ready(Record):
    """What is known: these fields beside those that the list tells, and the queries inside that were asked.

    The queries are told by their identity. `native`: every field is known, for SQLite has them all.
    """

    native: bool
    fields: frozenset[Field] = frozenset()
    inner: frozenset[int] = frozenset()

    def has(self, thing: _Thing) -> bool:
        """Whether all of it is known."""
        return id(thing) in self.inner if isinstance(thing, b.Select) else thing[1] <= self.fields

    def knows(self, condition: b.Bound, asked: Container[int]) -> bool:
        """Whether all that a condition reads is known; `asked` are the queries inside that have to be asked."""
        for value in b.walk((condition,)):
            if isinstance(value, b.Column | b.Item) and not self._tells(value.field):
                return False
            inner = b.inner(value)
            if inner is not None and id(inner) in asked and id(inner) not in self.inner:
                return False
        return True

    def _tells(self, field: Field) -> bool:
        return self.native or field.cost is Cost.LISTED or field in self.fields


def _comparable(rows: b.Select, where: b.Bound | None, thing: b.Select, ready: _Ready) -> b.Select:
    """Leave rows out for which a query inside a condition need not be asked.

    It is compared with a value of the row. Where that is unknown, so is the comparison, whatever the answer is.
    """
    found = [value for value in b.walk(() if where is None else (where,)) if b.inner(value) is thing]
    for test in b.walk((where,)) if where is not None and len(found) == 1 else ():
        if isinstance(test, b.Test) and found[0] in (test.left, test.right):
            other = test.right if test.left is found[0] else test.left
            if ready.knows(other, ()):
                known = b.IsKnown(other, known=True)
                return rows.replace(where=known if rows.where is None else b.Every((rows.where, known)))
    return rows


def implied(condition: b.Bound, known: Callable[[b.Bound], bool]) -> b.Bound | None:
    """Return what a condition implies of what is known; None when that is nothing."""
    match condition:
        case b.Every(operands):
            parts = [part for operand in operands if (part := implied(operand, known)) is not None]
            return None if not parts else parts[0] if len(parts) == 1 else b.Every(tuple(parts))
        case b.Any(operands):
            either = [implied(operand, known) for operand in operands]
            return None if None in either else b.Any(tuple(part for part in either if part is not None))
        case b.Negation(b.Any(operands)):
            return implied(b.Every(tuple(b.Negation(operand) for operand in operands)), known)
        case b.Negation(b.Every(operands)):
            return implied(b.Any(tuple(b.Negation(operand) for operand in operands)), known)
        case b.Negation(b.Negation(operand)):
            return implied(operand, known)
        case _:
            return condition if known(condition) else None


def _deciding(select: b.Select) -> tuple[b.Bound, ...]:
    """Return the values that decide which rows a query answers."""
    found = [] if select.where is None else [select.where]
    if select.group is None and select.cut:
        found += [key.value for key in select.order]
        for cut in (select.limit, select.skip):
            found += cut.per if cut is not None else ()
        if select.spared is not None:
            found += [*select.spared.per, select.spared.by]
    return tuple(found)


def _early(select: b.Select) -> int:
    """Return after how many rows a query is done, in its order, by what the list tells; 0: when all were looked at."""
    if select.limit is None or select.limit.per or select.spared or select.until or select.group is not None:
        return 0
    if select.link:  # it counts within the rows that belong to one row outside
        return 0
    if select.skip is not None and select.skip.per:
        return 0
    for value in b.walk(key.value for key in select.order):
        if b.inner(value) is not None or (isinstance(value, b.Column | b.Item) and value.field.cost is not Cost.LISTED):
            return 0
    return select.limit.count + (select.skip.count if select.skip else 0)


def _platform(where: b.Bound | None) -> str:
    """Return the platform that a condition demands: `platform = linux/arm64`, or by its architecture."""
    said = {"platform": "", "os": "linux", "architecture": "", "variant": ""}
    for part in where.operands if isinstance(where, b.Every) else (where,):
        match part:
            case b.Test("=", b.Column(field), b.Value(value)) if field.name in said:
                said[field.name] = str(value)
    if said["platform"] or not said["architecture"]:
        return said["platform"]
    return "/".join(part for part in (said["os"], said["architecture"], said["variant"]) if part)


def _within(select: b.Select) -> Iterator[b.Select]:
    """Yield the queries directly inside a query's expressions."""
    yield from _selects_of(tuple(b.values(select)))


def _selects_of(values: tuple[b.Bound, ...]) -> Iterator[b.Select]:
    for value in b.walk(values):
        if (inner := b.inner(value)) is not None:
            yield inner
