"""Does what stages.py worked out: lists rows of sources that have to be asked, and fetches the dear of some of them.

The rows end up in temporary tables of the index's connection, where the whole query then finds them.
"""

from __future__ import annotations

from imq.engine.catalog.tables import Cost
from imq.engine.oci.reference import Reference, read_name
from imq.engine.query.sql.statements import write_select
from imq.grammar.record import TYPE_CHECKING

from . import ir as b
from .fetch_plan import Batches, Scan, Stage, Stager

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from imq.engine.catalog.tables import Table
    from imq.engine.render.values import Raw
    from imq.engine.sources.base import Filler, Filling
    from imq.engine.sources.source_ref import Place
    from imq.grammar.errors import ImqError

    from .fetch_plan import Step
    from .sqlite_executor import Runner

WANTED = "wanted"
"""The temporary table of the rows that something is fetched for: `_row`."""
_LOOKED = "looked"
_FIRST_BATCH = 32
"""Rows of the first batch, at least; each further one is twice as large."""


class Staging:
    """The scans of one statement, and what was asked for them.

    `source` opens what asks, `rows` runs a query of names that a scan is of.
    """

    def __init__(
        self,
        source: Callable[[], Filling],
        rows: Callable[[b.Select], Iterator[tuple[Raw, ...]]],
    ) -> None:
        self._source = source
        self._names = rows
        self._opened: Filling | None = None
        self._scans: dict[str, Scan] = {}
        self._fillers: dict[str, Filler] = {}
        self._count = 0
        self._old: list[Filler] = []

    @property
    def scans(self) -> Mapping[str, Scan]:
        """The rows that have to be asked for, by what they are called in SQL."""
        return self._scans

    def begin(self) -> None:
        """Forget what earlier statements asked for, unless an answer is still being read from it."""
        self._old = [filler for filler in (*self._old, *self._fillers.values()) if not filler.drop()]
        self._scans = {}
        self._fillers = {}

    def end(self) -> None:
        """Close the connections."""
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    def scan(
        self,
        table: Table,
        targets: tuple[str | b.Select, ...],
        places: tuple[Place, ...],
        drives: tuple[str, ...],
        one: bool,
    ) -> Table:
        """Return a table whose rows are to be asked for, under the name by which SQL will know them."""
        from imq.engine.catalog.tables import THERE

        self._count += 1
        made = THERE.get(table.name, table).replace(view=f"remote_{self._count}")
        self._scans[made.view] = Scan(made.view, made, targets, places, drives, one)
        return made

    def steps(self, select: b.Select) -> tuple[Step, ...]:
        """Return the steps of a query, without doing any."""
        return tuple(Stager(self._scans).steps(select)) if self._scans else ()

    def condition(self, condition: b.Bound) -> tuple[Step, ...]:
        """Return the steps of a condition about no row."""
        return tuple(Stager(self._scans).condition(condition)) if self._scans else ()

    def run(
        self, steps: tuple[Step, ...], runner: Runner, now: int, fresh: int = 0
    ) -> tuple[tuple[str, str, ImqError], ...]:
        """Do the steps; return what could not be told: of which scan, by what SQL calls it, of what, and why.

        `fresh`: for how long, in nanoseconds, what a name stood for counts as known. The connections stay open for what
        is asked next.
        """
        if not steps:
            return ()
        try:
            return self._run(steps, runner, now, fresh)
        except BaseException:
            self.end()
            raise

    def _run(
        self, steps: tuple[Step, ...], runner: Runner, now: int, fresh: int
    ) -> tuple[tuple[str, str, ImqError], ...]:
        if self._opened is not None and not self._opened.serves(runner.connection):
            self.end()
        self._opened = self._opened or self._source()
        self._opened.fresh = fresh
        for step in steps:
            if isinstance(step, Batches):
                self._batches(step, runner, now)
            elif step.cost is Cost.LISTED:
                self._list(step, runner, now)
            else:
                assert step.rows is not None
                runner.choose(WANTED, write_select(step.rows, now, hidden=("_row",)))
                self._fetch(step)
        return self._opened.problems()

    def _list(self, stage: Stage, runner: Runner, now: int) -> None:
        assert self._opened is not None
        scan = stage.scan
        names: list[tuple[Raw, ...]] = []
        if stage.rows is not None:
            names = list(dict.fromkeys(runner.run(write_select(stage.rows, now, hidden=scan.drives))))
            if stage.rows.table.physical == "images":  # those of other tools are no names of registries
                names = [name for name in names if isinstance(read_name(str(name[0])), Reference)]
        for target in scan.targets:
            if isinstance(target, b.Select):
                names += dict.fromkeys(self._names(target))
        self._fillers[scan.view] = filler = self._opened.filler(scan, stage.platform)
        filler.begin([name for name in names if name[0] is not None])

    def _fetch(self, stage: Stage) -> None:
        self._fillers[stage.scan.view].fetch(stage)

    def _batches(self, step: Batches, runner: Runner, now: int) -> None:
        """Fetch for the first rows in order, and for more as long as too few of them are in the answer."""
        select, first = step.select, step.stages[0]
        assert first.rows is not None
        whole = select.replace(columns=(), count=False, limit=None, skip=None, order=(), link="", nonempty="")
        runner.choose(_LOOKED, None)
        size, done = max(_FIRST_BATCH, 2 * step.wanted), 0
        while True:
            batch = first.rows.replace(order=select.order, limit=b.Cut(size, ()), skip=b.Cut(done, ()))
            found = runner.choose(WANTED, write_select(batch, now, hidden=("_row",)))
            runner.choose(_LOOKED, None, add=WANTED)
            for place, stage in enumerate(step.stages):
                assert stage.rows is not None
                if place:
                    runner.choose(WANTED, write_select(stage.rows, now, hidden=("_row",)), within=_LOOKED)
                self._fetch(stage)
            done += found
            if found < size:
                return
            if runner.count(write_select(whole, now, hidden=("_row",)), within=_LOOKED) >= step.wanted:
                break
            size *= 2
        self._fillers[first.scan.view].keep(_LOOKED)
