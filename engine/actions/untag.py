"""The verb `untag`: removes names of images, and leaves the images."""

from __future__ import annotations

from imq.engine.oci.digest import Digest
from imq.engine.sources.action import Outcome, StoreAction
from imq.grammar.errors import NotFound, StatementError
from imq.grammar.record import TYPE_CHECKING

from .operands import find_planner, resolve_each_target
from .verb import OperandKind, Verb

if TYPE_CHECKING:
    from imq.engine.sources.action import Action, PlanContext
    from imq.engine.store.transaction import Transaction
    from imq.grammar import ast


class Untag(StoreAction):
    """Remove one name of an image; the image stays."""

    name: str
    root: Digest
    id: Digest

    def describe(self) -> Outcome:
        """Return the name with the image."""
        return Outcome("untag", self.name, self.id)

    def apply(self, transaction: Transaction, _now: int) -> Outcome:
        """Remove the name, unless it is that of another image now."""
        entry = transaction.find_entry(self.name)
        if entry is None or entry.descriptor.digest != self.root:
            raise has_changed(self.name)
        transaction.untag(entry)
        return self.describe()


def has_changed(name: str) -> NotFound:
    """Return the error for a name that is not that of the same image as when the action was planned."""
    return NotFound(
        f"{name} has changed since this was planned, so it was left alone",
        code="changed",
        hints=("run the statement again",),
    )


def _plan_untag(act: ast.Act, context: PlanContext) -> list[Action]:
    if (planner := find_planner(act, context)) is not None:
        return planner(act, context)
    wanted, failures = resolve_each_target(act, context)
    for target in wanted:
        if target.by_id:
            raise StatementError(
                f"untag takes a name away, and {target.id.short} is an id",
                code="operand",
                span=act.span,
                hints=("name the tag: untag app:1", f"or take all: untag images where id = {target.id.short}"),
            )
    untags = {target.name: Untag(target.name, target.root, target.id) for target in wanted if target.name is not None}
    return [*untags.values(), *failures]


VERB = Verb(
    "untag",
    "Take names away; the images stay, dangling when it was their last name.",
    "untag app:1",
    OperandKind.IMAGES,
    removes=True,
    options=("dry run",),
    plan=_plan_untag,
)
