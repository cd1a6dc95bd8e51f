"""Removes images of namespaces, and names of them: `rm`, `untag` and `prune`.

containerd removes names only; content without a name is collected. It refuses nothing, so the conflicts are those of
docker: an image that a container uses, and one that the kubelet has pinned, stay without `force`. Before each removal
the namespace is read again: an image whose names changed, or that got a container since the plan, is left alone.
"""

from __future__ import annotations

from imq.engine.oci.reference import parse_name
from imq.engine.sources.action import BatchedAction, Failed, Outcome
from imq.engine.sources.action_options import get_option
from imq.grammar import ast
from imq.grammar.errors import Conflict, ImqError, NotFound, SeveralNames, StatementError
from imq.grammar.record import TYPE_CHECKING

from .clients import ContainerdClients
from .content import name_of_record
from .remove_containers import plan_container_removal
from .targets import NamespaceTarget, find_targets, get_reader
from .uses import list_users

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from imq.engine.containerd_client.client import ContainerdClient
    from imq.engine.oci.digest import Digest
    from imq.engine.oci.manifest import Descriptor
    from imq.engine.oci.reference import Reference
    from imq.engine.sources.action import Action, ExecutionContext, PlanContext

    from .uses import ContainerUse


class RemoveNames(BatchedAction):
    """Remove records of one target of a namespace.

    `shown` are the names that users see, `records` those of all records to remove. `all_records` are the records that
    the target has when the turn of the action comes. With `removes_image` these are all of them; then no container may
    use the image but `users`, the IDs of those that used it when the action was planned. `chains` are the chain IDs of
    its images, and `snapshotters` those of the namespace. `frees` is the size in bytes of the blobs and snapshots that
    no other image of the namespace needs; it is known in a dry run.
    """

    source: str
    namespace: str
    shown: tuple[str, ...]
    id: Digest
    target: Descriptor
    records: tuple[str, ...]
    all_records: frozenset[str]
    removes_image: bool
    users: frozenset[str] = frozenset()
    chains: frozenset[str] = frozenset()
    snapshotters: frozenset[str] = frozenset()
    frees: int | None = None

    def describe(self) -> Outcome:
        """Return the names with the image."""
        verb = "remove" if self.removes_image else "untag"
        return Outcome(verb, ", ".join(self.shown) or "<none>", self.id, self.frees, note=f"in {self.source}")

    @staticmethod
    def execute_batch(actions: Sequence[RemoveNames], context: ExecutionContext) -> Iterator[Outcome]:
        """Execute the actions one after the other. Content is collected once, with the last name that goes."""
        client = context.get_shared(ContainerdClients).get()
        for number, action in enumerate(actions):
            described = action.describe()
            context.progress.report_items(described.action, number, len(actions))
            try:
                action.check_unchanged(client)
                for name in action.records:
                    is_last = number == len(actions) - 1 and name == action.records[-1]
                    client.remove_name(action.namespace, name, action.target, collects=is_last)
            except ImqError as error:
                yield described.with_error(error)
            else:
                yield described

    def check_unchanged(self, client: ContainerdClient) -> None:
        """Raise `NotFound` or `Conflict` (`changed`) when the image is no longer as it was planned."""
        records = client.list_images(self.namespace, f"target.digest=={self.target.digest}")
        if {record.name for record in records} != self.all_records:
            raise NotFound(
                f"the names of {self.id.short} have changed since this was planned, so it was left alone",
                code="changed",
                hints=("run the statement again",),
            )
        if not self.removes_image:
            return
        for container, chain in list_users(client, self.namespace, self.snapshotters):
            uses = container.image in self.all_records or chain in self.chains
            if uses and container.id not in self.users:
                raise Conflict(
                    f"the container {container.id} was made from {self.id.short} since this was planned, so it was"
                    " left alone",
                    code="changed",
                    hints=("run the statement again",),
                )


def plan_removal(act: ast.ActionStatement, context: PlanContext) -> list[Action]:
    """Return the removals of `rm`: of each image whose last name goes, and of each name of the others."""
    if act.query is not None and context.bind(act.query).table.name == "containers":
        return plan_container_removal(act, context)
    for name in ("platform", "with its tags"):
        if (option := get_option(act, name)) is not None:
            raise StatementError(f"{act.verb} in containerd does not take {name}", code="option", span=option.span)
    targets, failures = find_targets(act, context)
    return _plan(targets, failures, context, verb=act.verb, force=get_option(act, "force") is not None)


def plan_prune(act: ast.ActionStatement, context: PlanContext) -> list[Action]:
    """Return the removals of `prune`: images without a tag that no container uses and the kubelet has not pinned."""
    unused = ast.And(
        (ast.Field(("dangling",)), ast.Not(ast.Field(("in_use",))), ast.Not(ast.Field(("pinned",)))),
    )
    targets, failures = find_targets(act, context, unused)
    whole = dict.fromkeys(target.replace(name=None) for target in targets)
    return _plan(tuple(whole), failures, context, verb=act.verb, force=False, takes_all_names=True)


def plan_untag(act: ast.ActionStatement, context: PlanContext) -> list[Action]:
    """Return the names that `untag` takes away. An image goes with its last record, so that one stays."""
    targets, failures = find_targets(act, context)
    left: dict[tuple[str, Digest], list[str]] = {}
    actions: list[Action] = []
    for target in targets:
        if target.name is None:
            raise StatementError(f"untag takes a name away, and {target.text} is an ID", code="operand", span=act.span)
        records = left.setdefault((target.source, target.digest), [one.name for one in target.listed.records])
        going = [record for record in records if str(name_of_record(record)) == target.name]
        if len(going) == len(records):
            error = Conflict(
                f"{target.name} is the last name of the image, which containerd would remove with it",
                hints=(f"to remove the image: rm {target.name} from {target.source}", "or give it another name first"),
            )
            failures.append(Failed(act.verb, target.name, error))
            continue
        actions.append(_make_action(target, (target.name,), going, records, context))
        left[target.source, target.digest] = [record for record in records if record not in going]
    return [*actions, *failures]


def plan_old_names(
    renamed: Mapping[tuple[str, Reference], NamespaceTarget],
    added: Mapping[tuple[str, Reference], str],
    context: PlanContext,
) -> list[Action]:
    """Return the removals of the old names of images, by their sources and new names. The new names are set before.

    `added` are the records of the new names.
    """
    left: dict[tuple[str, Digest], list[str]] = {}
    for (source, name), target in renamed.items():
        key = source, target.digest
        records = left.setdefault(key, [one.name for one in target.listed.records])
        record = added[source, name]
        for digests in left.values():  # the name may have moved from another image
            if record in digests and digests is not records:
                digests.remove(record)
        if record not in records:
            records.append(record)
    actions: list[Action] = []
    for target in dict.fromkeys(renamed.values()):
        if target.name is None or (target.source, parse_name(target.name)) in renamed:
            continue
        records = left[target.source, target.digest]
        going = [record for record in records if str(name_of_record(record)) == target.name]
        actions.append(_make_action(target, (target.name,), going, records, context))
        left[target.source, target.digest] = [record for record in records if record not in going]
    return actions


def _plan(
    targets: Sequence[NamespaceTarget],
    failures: Sequence[Action],
    context: PlanContext,
    *,
    verb: str,
    force: bool,
    takes_all_names: bool = False,
) -> list[Action]:
    names: dict[tuple[str, Digest], list[str]] = {}
    by_key: dict[tuple[str, Digest], NamespaceTarget] = {}
    failed = list(failures)
    for target in targets:
        shown = [str(name) for name in target.listed.names]
        if target.name is None and len(shown) > 1 and not force and not takes_all_names:
            failed.append(Failed(verb, target.text, _several_names(target, shown)))
            continue
        key = target.source, target.digest
        by_key[key] = target
        names.setdefault(key, []).extend(shown if target.name is None else [target.name])
    actions: list[Action] = []
    for key, going in names.items():
        target = by_key[key]
        shown = [str(name) for name in target.listed.names]
        records = [record.name for record in target.listed.records]
        if not set(shown) <= set(going):
            for name in dict.fromkeys(going):
                leaving = _records_of(name, records)
                actions.append(_make_action(target, (name,), leaving, records, context))
                records = [record for record in records if record not in leaving]
            continue
        error = None if force else _find_conflict(target)
        users = _list_users(target, context)
        error = error or _find_use_conflict(target, users, force=force)
        if error is not None:
            failed.append(Failed(verb, ", ".join(shown) or target.text, error))
        else:
            actions.append(_make_action(target, tuple(shown), records, records, context, users))
    return [*(_measure(actions, context) if context.is_dry_run else actions), *failed]


def _measure(actions: Sequence[Action], context: PlanContext) -> list[Action]:
    """Return the actions, those that remove images with the bytes that they free."""
    from imq.engine.sources.reclaim import measure_removals

    removals = [action for action in actions if isinstance(action, RemoveNames) and action.removes_image]
    sizes: dict[tuple[str, str], int | None] = {}
    for source in dict.fromkeys(action.source for action in removals):
        ids = [action.id for action in removals if action.source == source]
        sizes |= {(source, id_): size for id_, size in measure_removals(source, ids, context).items()}
    return [
        action.replace(frees=sizes.get((action.source, action.id)))
        if isinstance(action, RemoveNames) and action.removes_image
        else action
        for action in actions
    ]


def _make_action(
    target: NamespaceTarget,
    shown: tuple[str, ...],
    going: Sequence[str],
    records: Sequence[str],
    context: PlanContext,
    users: Sequence[ContainerUse] = (),
) -> RemoveNames:
    reader = get_reader(context)
    rows = reader.read(target.source)
    chains = {str(rows.get_chain_id(image)) for image in target.listed.images}
    return RemoveNames(
        target.source,
        reader.get_namespace(target.source),
        shown,
        target.id,
        target.listed.descriptor,
        tuple(going),
        frozenset(records),
        len(going) == len(records),
        frozenset(use.record.id for use in users),
        frozenset(chains - {"None"}),
        rows.list_snapshotters(),
    )


def _records_of(name: str, records: Sequence[str]) -> list[str]:
    """Return the records that go with a name: those that show it, and with the last tag those with a digest."""
    parsed = {record: one for record in records if (one := name_of_record(record)) is not None}
    own = [record for record, one in parsed.items() if str(one) == name]
    repositories = {parsed[record].canonical_name for record in own}
    same = [record for record, one in parsed.items() if one.canonical_name in repositories and record not in own]
    return own if any(parsed[record].tag for record in same) else [*own, *same]


def _list_users(target: NamespaceTarget, context: PlanContext) -> list[ContainerUse]:
    return [use for use in get_reader(context).read_containers(target.source) if target.digest in use.used]


def _several_names(target: NamespaceTarget, shown: Sequence[str]) -> Conflict:
    return SeveralNames(
        f"unable to remove {target.text}: the image has several names ({', '.join(shown)})",
        hints=("name the one to take away, or add force to remove the image with all its names",),
    )


def _find_conflict(target: NamespaceTarget) -> Conflict | None:
    """Return why an image may only be removed by force: the kubelet has pinned it."""
    if not target.listed.is_pinned:
        return None
    return Conflict(
        f"unable to remove {target.text}: it is pinned, so pods on this node may need it",
        code="pinned",
        hints=("add force to remove it all the same",),
    )


def _find_use_conflict(target: NamespaceTarget, users: Sequence[ContainerUse], *, force: bool) -> Conflict | None:
    """Return why a container keeps an image. A container that runs keeps it even from `force`, as in docker."""
    running = [use for use in users if use.is_running]
    blocking = running if force else users
    if not blocking:
        return None
    subject = f"the container {blocking[0].record.id} uses" if len(blocking) == 1 else f"{len(blocking)} containers use"
    return Conflict(
        f"unable to remove {target.text}{' (cannot be forced)' if force else ''}: {subject} the image",
        code="in-use",
        hints=(f"to see them: containers in {target.source} where image_id = {target.id.short}",),
    )
