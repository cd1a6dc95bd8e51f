"""Gives images of namespaces another name: `tag` and `rename`."""

from __future__ import annotations

from imq.engine.oci.digest import Digest
from imq.engine.sources.action import Outcome, changed_error
from imq.engine.sources.new_names import list_new_names, require_one_image, require_one_old_name
from imq.grammar.errors import Conflict, NotFound
from imq.grammar.record import TYPE_CHECKING, Record

from .clients import ContainerdClients
from .content import make_record_name
from .remove import plan_old_names
from .targets import find_targets, get_reader, render_targets

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from imq.engine.oci.manifest import Descriptor
    from imq.engine.oci.reference import Reference
    from imq.engine.sources.action import Action, ExecutionContext, PlanContext
    from imq.grammar import ast

    from .targets import NamespaceTarget


class TagTarget(Record):
    """Give a target of a namespace a name. `moves_from` is the digest of the target that loses it, if there is one.

    `record` is the name in containerd: the long form, or that of the record that shows the name already.
    """

    source: str
    namespace: str
    name: Reference
    record: str
    id: Digest
    target: Descriptor
    labels: Mapping[str, str]
    moves_from: Digest | None = None

    def __hash__(self) -> int:
        """Hash by the name: labels are a mapping and cannot be hashed."""
        return hash((self.source, self.name))

    def describe(self) -> Outcome:
        """Return the name, the image, and the one that loses the name."""
        moves = f", moves from {self.moves_from.short}" if self.moves_from not in (None, self.target.digest) else ""
        return Outcome("tag", str(self.name), self.id, note=f"in {self.source}{moves}")

    def execute(self, context: ExecutionContext) -> Iterator[Outcome]:
        """Set the name. Raises `NotFound` (`changed`) when it belongs to yet another image by now."""
        client = context.get_shared(ContainerdClients).get()
        if self.moves_from == self.target.digest:
            yield self.describe().replace(note="it had the name already")
            return
        if not client.list_images(self.namespace, f"target.digest=={self.target.digest}"):
            raise changed_error(self.id.short)
        holders = client.list_images(self.namespace, f"name=={self.record}")
        if next((holder.target.digest for holder in holders), None) != self.moves_from:
            raise changed_error(str(self.name))
        try:
            if holders:
                client.move_name(self.namespace, self.record, self.target, self.labels)
            else:
                client.set_name(self.namespace, self.record, self.target, self.labels)
        except (Conflict, NotFound):
            raise changed_error(str(self.name)) from None
        yield self.describe()


def plan_tag(act: ast.ActionStatement, context: PlanContext) -> list[Action]:
    """Return the new names of `tag`: one name for a reference, or one for each row by a template."""
    named, failures = list_new_names(act, context, find_targets, render_targets)
    by_name = require_one_image(named, act)
    return [*(_plan_name(name, target, context) for (_, name), target in by_name.items()), *failures]


def plan_rename(act: ast.ActionStatement, context: PlanContext) -> list[Action]:
    """Return the new names of `rename`, then the removal of each old name that no image gets."""
    named, failures = list_new_names(act, context, find_targets, render_targets)
    renamed = require_one_old_name(named, act)
    tags = [_plan_name(name, target, context) for (_, name), target in renamed.items()]
    return [*tags, *plan_old_names(renamed, {(tag.source, tag.name): tag.record for tag in tags}, context), *failures]


def _plan_name(name: Reference, target: NamespaceTarget, context: PlanContext) -> TagTarget:
    reader = get_reader(context)
    rows = reader.read(target.source)
    record = make_record_name(name)
    holder = rows.find_record(record)
    if holder is None:  # tools also make records in docker's short form
        record, holder = rows.find_shown(str(name)) or (record, None)
    own = next(iter(target.listed.records), None)
    return TagTarget(
        target.source,
        reader.get_namespace(target.source),
        name,
        record,
        target.id,
        target.listed.descriptor,
        dict(own.labels) if own is not None else {},
        holder.descriptor.digest if holder is not None else None,
    )
