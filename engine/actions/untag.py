"""The verb `untag`: removes names of images; the images stay."""

from __future__ import annotations

from imq.engine.oci.digest import Digest
from imq.engine.oci.reference import parse_name
from imq.engine.sources.action import Failed, Outcome, Skip, StoreAction, changed_error
from imq.grammar.errors import NotFound, StatementError, join_names
from imq.grammar.record import TYPE_CHECKING

from .operands import plan_by_source, resolve_each_target
from .remaining_platforms import find_remaining_platforms
from .verb import OperandKind, Verb

if TYPE_CHECKING:
    from imq.engine.sources.action import Action, PlanContext
    from imq.engine.store.transaction import Transaction
    from imq.grammar import ast

    from .operands import Target


class Untag(StoreAction):
    """Remove one name of an image; the image stays."""

    name: str
    root: Digest
    id: Digest

    def describe(self) -> Outcome:
        """Return the name and the image."""
        return Outcome("untag", self.name, self.id)

    def apply(self, transaction: Transaction, _now: int) -> Outcome:
        """Remove the name. Raises when it belongs to another image by now."""
        entry = transaction.find_entry(self.name)
        if entry is None and transaction.forget_digest(self.name, self.root):
            return self.describe()
        if entry is None or entry.descriptor.digest != self.root:
            raise changed_error(self.name)
        transaction.untag(entry)
        return self.describe()


def _plan_untag(act: ast.ActionStatement, context: PlanContext) -> list[Action]:
    return plan_by_source(act, _plan_in_store, context)


def _plan_in_store(act: ast.ActionStatement, context: PlanContext) -> list[Action]:
    targets, failures = resolve_each_target(act, context)
    for target in targets:
        if target.by_id:
            raise StatementError(
                f"untag takes names, and {target.id.short} is an id",
                code="operand",
                span=act.span,
                hints=("to remove one name: untag app:1", f"to remove all: untag images where id = {target.id.short}"),
            )
    remaining_platforms = find_remaining_platforms(targets, context)
    untags: dict[str, Untag] = {}
    remaining: dict[str, Skip] = {}
    for target in targets:
        if target.digest is not None:
            try:
                untag = plan_digest_untag(target, context)
            except NotFound as problem:
                if len(targets) + len(failures) == 1:
                    raise
                failures.append(Failed("untag", format_reference(target), problem))
            else:
                untags.setdefault(untag.name, untag)
        elif target.name is not None and (others := remaining_platforms.get((target.root, target.name))):
            reason = f"it has {join_names(others)} too; to remove the name: untag {target.name}"
            remaining[target.name] = Skip(target.name, target.id, reason)
        elif target.name is not None:
            untags[target.name] = Untag(target.name, target.root, target.id)
    return [*untags.values(), *remaining.values(), *failures]


def format_reference(target: Target) -> str:
    """Return the reference of a target as the statement gave it: with a digest, an id or a name."""
    if target.digest is not None and target.name is not None:
        return f"{parse_name(target.name).familiar_name}@{target.digest}"
    return target.id.short if target.by_id else target.name or target.id.short


def plan_digest_untag(target: Target, context: PlanContext) -> Untag:
    """Return the action that removes a digest reference; the tags of the image stay, as in docker.

    Raises `NotFound` when the image has no such digest in this repository.
    """
    name = format_reference(target)
    repository = parse_name(name).canonical_name
    entries = context.store.layout.find_entries(target.root)
    same = [entry for entry in entries if entry.name is not None and entry.name.canonical_name == repository]
    if any(target.digest in (entry.digest, *entry.other_digests) for entry in same):
        return Untag(name, target.root, target.id)
    raise NotFound(
        f"No such image: {name}",
        code="no-such-image",
        hints=(
            f"names of the image: {', '.join(sorted(str(entry.name) for entry in same))}",
            f"to remove the image with all its names: rm {target.id.short} force",
        ),
    )


VERB = Verb(
    "untag",
    "Remove names. The images stay; without a name they are dangling. The name of an index stays when a query selects"
    " only some of its platforms.",
    "untag app:1",
    OperandKind.IMAGES,
    removes=True,
    options=("from", "dry run"),
    plan=_plan_untag,
)
