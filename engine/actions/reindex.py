"""The verb `reindex`: rebuilds the index of the store from its blobs."""

from __future__ import annotations

from imq.engine.progress import make_item_counter
from imq.engine.sources.action import Outcome
from imq.grammar.record import TYPE_CHECKING, Record

from .verb import OperandKind, Verb

if TYPE_CHECKING:
    from collections.abc import Iterator

    from imq.engine.sources.action import Action, ExecutionContext, PlanContext
    from imq.grammar import ast


class Reindex(Record):
    """Rebuild the index from the blobs."""

    def describe(self) -> Outcome:
        """Return the index."""
        return Outcome("reindex", "the index")

    def execute(self, context: ExecutionContext) -> Iterator[Outcome]:
        """Rebuild the index, then measure all layers."""
        store = context.store
        store.reindex()
        report = make_item_counter(context.progress, "unpack", len(store.list_unmeasured_layers()))
        problems = store.measure_layers(context.jobs, on_progress=report)
        count = store.index.connection.execute("SELECT count(*) FROM image").fetchone()[0]
        first, *others = store.index.list_problems() or (None,)
        yield self.describe().replace(note=f"{count} images", error=first)
        for other in others:
            yield Outcome("reindex", "an image", error=other)
        for problem in problems:
            yield Outcome("measure", "a layer", error=problem)


def _plan_reindex(_act: ast.ActionStatement, context: PlanContext) -> list[Action]:
    context.store.check_exists()
    return [Reindex()]


VERB = Verb(
    "reindex",
    "Rebuild the index from the blobs of the store.",
    "reindex",
    OperandKind.NOTHING,
    options=("dry run",),
    operand_optional=True,
    plan=_plan_reindex,
)
