"""The verb `rm`: removes images of the store, by docker's rules. Sources plan the removal of their own rows."""

from __future__ import annotations

from itertools import chain

from imq.engine.oci.digest import Digest
from imq.engine.oci.manifest import Manifest, parse_manifest
from imq.engine.oci.platform import Platform
from imq.engine.oci.reference import parse_name
from imq.engine.sources.action import Failed, Outcome, OutcomeColumns, Skip, StoreAction, changed_error
from imq.engine.sources.action_options import get_option, names_containers
from imq.grammar import ast
from imq.grammar.errors import Conflict, ImqError, NotFound, SeveralNames, StatementError, join_names
from imq.grammar.record import TYPE_CHECKING

from .container_operands import find_container_planner, hint_at_container, is_of_containers
from .container_removal import ImageUse, find_uses, find_uses_by_image, plan_container_removal, refuse_id, refuse_name
from .operands import Target, get_platforms, plan_by_source, resolve_each_target
from .remaining_platforms import find_remaining_platforms
from .untag import Untag, format_reference, plan_digest_untag
from .verb import OperandKind, Verb
from .volume_removal import is_of_volumes, plan_volume_removal

if TYPE_CHECKING:
    from collections.abc import Collection, Container, Mapping, Sequence
    from collections.abc import Set as AbstractSet
    from sqlite3 import Connection
    from typing import ClassVar

    from imq.engine.sources.action import Action, PlanContext
    from imq.engine.store.transaction import Transaction


_INSERT_REMOVED = """
INSERT INTO temp.removed SELECT descriptor.key, place.key
FROM (SELECT key, value FROM json_each(?) ORDER BY value) AS place
CROSS JOIN descriptor ON descriptor.digest = place.value
"""
# CROSS JOIN: SQLite starts with the images to remove, and ends with the first other image that has a blob of them
_SELECT_FREED = """
WITH theirs AS MATERIALIZED (
    SELECT reaching.blob AS blob, max(removed.position) AS last
    FROM temp.removed CROSS JOIN reaching ON reaching.root = removed.root GROUP BY reaching.blob
)
SELECT last, sum(size) FROM (
    SELECT max(last) AS last, blob.size AS size FROM theirs CROSS JOIN descriptor AS blob ON blob.key = theirs.blob
    WHERE NOT EXISTS (
        SELECT 1 FROM descriptor AS same CROSS JOIN reaching AS every ON every.blob = same.key
        WHERE same.digest = blob.digest AND every.root NOT IN (SELECT root FROM temp.removed)
    )
    GROUP BY blob.digest
) GROUP BY last
"""
"""The bytes that become free, by the position of the last removed image that has them."""
_SELECT_FREED_BY_MANY = """
WITH freed AS MATERIALIZED (
    SELECT blob, max(position) AS last FROM reaching LEFT JOIN temp.removed ON removed.root = reaching.root
    GROUP BY blob HAVING count(*) = count(position)
)
SELECT last, sum(size) FROM freed CROSS JOIN descriptor ON descriptor.key = freed.blob GROUP BY last
"""
"""The same, when every digest has one descriptor: all blobs are read once, in the order of an index."""
_SHARE = 5
"""One in so many images is removed when reading the whole index takes less time than a search for each of them."""
_NO_USERS = frozenset[str]()


class Remove(StoreAction):
    """Remove an image with all its names. `frees` is the size in bytes of the blobs that no other image needs.

    `users` are the IDs of the stopped containers that it is removed in spite of.
    """

    names: tuple[str, ...]
    root: Digest
    id: Digest
    frees: int = 0
    users: frozenset[str] = _NO_USERS
    frees_layers: ClassVar[bool] = True

    def describe(self) -> Outcome:
        """Return the names, the image and the size."""
        return Outcome("remove", ", ".join(self.names) or "<none>", self.id, self.frees)

    @staticmethod
    def describe_batch(actions: Sequence[Remove]) -> OutcomeColumns:
        """Return the same by columns: a plan may remove most images."""
        nothing = (None,) * len(actions)
        targets = [", ".join(action.names) or "<none>" for action in actions]
        ids, sizes = [action.id for action in actions], [action.frees for action in actions]
        return OutcomeColumns((("remove",) * len(actions), targets, ids, sizes, nothing, nothing, nothing))

    def apply(self, transaction: Transaction, _now: int) -> Outcome:
        """Remove the entries of the image, unless its names, or the containers that use it, have changed."""
        entries = list(transaction.entries_of(self.root))
        if any(is_running or id_ not in self.users for id_, is_running in transaction.list_users(self.root)):
            raise changed_error(", ".join(self.names) or self.id.short)
        if {str(entry.name) for entry in entries if entry.name} != set(self.names) or not entries:
            raise changed_error(", ".join(self.names) or self.id.short)
        for entry in entries:
            transaction.remove(entry)
        return self.describe()


class DropPlatform(StoreAction):
    """Remove the image of one platform from an index, together with its attestations. The index stays.

    `name` is the names of the index, `others` the platforms that stay; `frees` is as in `Remove`.
    """

    name: str
    root: Digest
    id: Digest
    manifest: Digest
    platform: str
    others: tuple[str, ...] = ()
    frees: int = 0

    def describe(self) -> Outcome:
        """Return the names, the platform and the platforms that stay."""
        return Outcome("drop", self.name, self.id, self.frees, note=f"{self.platform}; kept: {join_names(self.others)}")

    def apply(self, transaction: Transaction, _now: int) -> Outcome:
        """Remove the image, unless the index no longer holds it."""
        if not transaction.release(self.root, self.manifest):
            raise changed_error(self.name)
        return self.describe()


def _plan_rm(act: ast.ActionStatement, context: PlanContext) -> list[Action]:
    if is_of_volumes(act):
        return plan_volume_removal(act, context)
    if names_containers(act):
        planner = find_container_planner(act, context) or plan_container_removal
        return planner(act, context)
    return plan_by_source(act, _plan_in_store, context)


def _plan_in_store(act: ast.ActionStatement, context: PlanContext) -> list[Action]:
    if is_of_containers(act, context):
        return plan_container_removal(act, context)
    if (option := get_option(act, "with its tags")) is not None:
        raise StatementError(
            "with its tags is for images in registries",
            code="option",
            span=option.span,
            hints=("to remove an image of the store with all its names: rm ID force",),
        )
    try:
        targets, failures = resolve_each_target(act, context)
    except NotFound as problem:
        hint_at_container(act, context, problem, "remove it: rm container {}")
        raise
    if get_option(act, "platform") is not None:
        return plan_platform_removals(act, targets, context) + failures
    return plan_removals(targets, context, force=get_option(act, "force") is not None, failures=failures)


def _refuse_id(
    target: Target, names: list[str], others: Sequence[str], context: PlanContext, *, force: bool
) -> Conflict | None:
    """Return why an image cannot be removed by its ID: its index has other platforms, or it has several names."""
    if not others:
        if force or _is_one_name(names):
            return None
        return SeveralNames(
            f"unable to remove {target.id.short}: the image has several names ({', '.join(names)})",
            hints=("name the one to remove, or add force to remove the image with all its names",),
        )
    name = _display_name(names, target.root)
    return Conflict(
        f"unable to remove {target.id.short}: {', '.join(names) or target.root.short} has {join_names(others)} too",
        hints=(
            f"to remove one platform: rm {name} platform {_platform_of(target, context)}",
            f"to remove all of them, use the name or the index: rm {target.root.short}",
        ),
    )


def _list_refusals(
    removed: Mapping[Digest, set[str]],
    names: Mapping[Digest, list[str]],
    targets: Mapping[Digest, Target],
    uses: Mapping[str, tuple[ImageUse, ...]],
    *,
    force: bool,
) -> dict[Digest, Conflict]:
    """Return the error of each image that would lose its last name although containers use it."""
    lost = [root for root, names_to_remove in removed.items() if root in uses and names_to_remove >= set(names[root])]
    refusals = {root: _refuse_used(names[root], targets[root].id, uses[root], force=force) for root in lost}
    return {root: problem for root, problem in refusals.items() if problem is not None}


def _refuse_used(names: Sequence[str], id_: Digest, uses: tuple[ImageUse, ...], *, force: bool) -> Conflict | None:
    """Return why an image that containers use keeps its last name; None when `force` allows the removal of it.

    As in docker, force removes only the names of an image with running containers.
    """
    if not names:
        return refuse_id(id_, uses, force=force)
    return None if force else refuse_name(names[0], id_, uses)


def plan_platform_removals(act: ast.ActionStatement, targets: list[Target], context: PlanContext) -> list[Action]:
    """Return one action for each image to remove from an index, and a failure for each other target."""
    platforms, every = get_platforms(act, context)
    names = _fetch_names(context, {target.root for target in targets})
    actions: list[Action] = []
    uses = find_uses_by_image(context.store)
    for root, id_ in {target.root: target.id for target in targets}.items():
        name = ", ".join(names[root]) or root.short
        try:
            if every:
                raise _no_image_left_error(name)
            drops = _drop_platforms(root, name, platforms, context)
            _check_unused(drops, uses)
            actions += drops
        except ImqError as problem:
            if len(names) == 1:
                raise
            actions.append(Failed("rm", name or id_.short, problem))
    return actions


def _check_unused(drops: Sequence[DropPlatform], uses: Mapping[str, tuple[ImageUse, ...]]) -> None:
    """Raise `Conflict` for an image of an index that a container was made from."""
    for drop in drops:
        if drop.id in uses:
            problem = refuse_id(drop.id, uses[drop.id], force=False)
            assert problem is not None
            raise problem


def _drop_platforms(root: Digest, name: str, platforms: Sequence[Platform], context: PlanContext) -> list[DropPlatform]:
    """Return the actions that remove these platforms from one index; raises `Conflict` when none would be left."""
    rows = context.store.index.connection.execute(
        "SELECT DISTINCT manifest, id, platform, os, architecture, variant, os_version FROM entry"
        " WHERE root = ? AND image IS NOT NULL ORDER BY image",
        (root,),
    ).fetchall()
    stored = {Digest(manifest): (Digest(id_), platform or Digest(id_).short) for manifest, id_, platform, *_ in rows}
    offered = {
        Digest(manifest): Platform(system or "", architecture or "", variant or "", version or "")
        for manifest, _, _, system, architecture, variant, version in rows
    }
    if set(stored) <= {root}:
        kind = f"one image for {stored[root][1]}" if stored else "an artifact"
        raise Conflict(f"{name} is {kind}, not an index", hints=(f"to remove it: rm {name}",))
    removed: list[Digest] = []
    for requested in platforms:
        matches = [manifest for manifest, platform in offered.items() if requested.matches_exactly(platform)]
        if not matches:
            raise NotFound(
                f"{name} has no stored image for {requested}",
                code="no-such-platform",
                hints=(f"stored: {join_names(sorted({text for _, text in stored.values()}))}",),
            )
        removed += matches
    removed = list(dict.fromkeys(removed))
    if len(removed) == len(stored):
        raise _no_image_left_error(name)
    remaining = tuple(dict.fromkeys(text for manifest, (_, text) in stored.items() if manifest not in removed))
    frees = _compute_freed_by_manifest(
        root, removed, [manifest for manifest in stored if manifest not in removed], context
    )
    return [
        DropPlatform(name, root, stored[manifest][0], manifest, stored[manifest][1], remaining, frees[manifest])
        for manifest in removed
    ]


def _compute_freed_by_manifest(
    root: Digest, removed: list[Digest], remaining: list[Digest], context: PlanContext
) -> dict[Digest, int]:
    """Return the bytes that the removal of each manifest of an index frees, when they are removed in this order.

    While an image cannot be read, no blob is removed, and nothing is freed.
    """
    import json

    connection = context.store.index.connection
    if context.store.index.find_incomplete_roots():
        return dict.fromkeys(removed, 0)
    blobs = {manifest: _list_image_blobs(manifest, context) for manifest in (*removed, *remaining)}
    needed = {digest for manifest in remaining for digest in blobs[manifest]}
    frees: dict[Digest, int] = {}
    for manifest in reversed(removed):
        own_blobs = {digest: size for digest, size in blobs[manifest].items() if digest not in needed}
        elsewhere = connection.execute(
            "SELECT DISTINCT digest FROM reach WHERE root <> ? AND digest IN (SELECT value FROM json_each(?))",
            (root, json.dumps(list(own_blobs))),
        )
        frees[manifest] = sum(own_blobs.values()) - sum(own_blobs[Digest(digest)] for (digest,) in elsewhere)
        needed |= set(own_blobs)
    return frees


def _list_image_blobs(manifest: Digest, context: PlanContext) -> dict[Digest, int]:
    """Return the blobs of one stored image, with their sizes in bytes."""
    content = context.store.read_document(manifest)
    document = parse_manifest(content)
    assert isinstance(document, Manifest)
    return {manifest: len(content)} | {blob.digest: blob.size for blob in (document.config, *document.layers)}


def _no_image_left_error(name: str) -> Conflict:
    return Conflict(f"{name} would have no image left", hints=(f"to remove it completely: rm {name}",))


def plan_removals(
    targets: list[Target], context: PlanContext, *, force: bool, failures: Sequence[Action] = ()
) -> list[Action]:
    """Return one action for each image that is removed, and one for each name that is removed from an image that stays.

    `failures` are those of other references of the statement. The error of the only reference is raised.
    """
    by_root = {target.root: target for target in targets}
    shared = _find_shared_roots(context, by_root.keys())
    uses = find_uses(context.store, by_root.keys())
    # most rows of queries are the only ones of an image that no container uses: their removal takes no decision
    special_roots = {target.root for target in targets if not _is_only_row(target, shared) or target.root in uses}
    special = [target for target in targets if target.root in special_roots]
    names = _fetch_names(context, special_roots)
    remaining_platforms = find_remaining_platforms([target for target in special if target.root in shared], context)
    removed_names: dict[Digest, set[str]] = {}
    failures = list(failures)
    is_single = len(targets) + len(failures) == 1
    digest_untags: list[Untag] = []
    # the names of each index that stay, with the platforms that are not selected under them
    remaining_indexes: dict[Digest, dict[str | None, list[str]]] = {}
    for target in special:
        image_names = names[target.root]
        others = remaining_platforms.get((target.root, target.name))
        conflict: ImqError | None = None
        if target.digest is not None and not others:
            try:
                digest_untags.append(plan_digest_untag(target, context))
                continue
            except NotFound as problem:
                conflict = problem
        elif target.by_id:
            conflict = _refuse_id(target, image_names, others or (), context, force=force)
            if conflict is None and target.root in uses:
                conflict = refuse_id(target.id, uses[target.root], force=force)
        elif others:
            remaining_indexes.setdefault(target.root, {})[target.name] = others
            continue
        if conflict is not None:
            if is_single:
                raise conflict
            failures.append(Failed("rm", format_reference(target), conflict))
            continue
        names_to_remove = removed_names.setdefault(target.root, set())
        names_to_remove.update((target.name,) if target.name is not None else image_names)
        if target.name is not None:
            names_to_remove.update(_find_digest_names(target.name, image_names, names_to_remove))
    refusals = _list_refusals(removed_names, names, by_root, uses, force=force)
    if refusals and is_single:
        raise next(iter(refusals.values()))
    failures += [Failed("rm", ", ".join(names[root]) or by_root[root].id.short, one) for root, one in refusals.items()]
    removed_names = {root: removed for root, removed in removed_names.items() if root not in refusals}
    actions = _plan_names(removed_names, names, by_root, uses, context)
    if digest_untags:
        removed_roots = {action.root for action in actions if isinstance(action, Remove)}
        actions += [untag for untag in digest_untags if untag.root not in removed_roots]
    stays = [_skip_index(names[root], root, by_root[root].id, others) for root, others in remaining_indexes.items()]
    return [*actions, *stays, *failures]


def _plan_names(
    removed_names: Mapping[Digest, set[str]],
    names: Mapping[Digest, list[str]],
    targets: Mapping[Digest, Target],
    uses: Mapping[str, tuple[ImageUse, ...]],
    context: PlanContext,
) -> list[Action]:
    """Return the removal of each image that loses all its names, and an action for each name of one that stays.

    `targets` has one target of each root. A root without a value in `names` has only the name of its target.
    """
    removed = [
        root
        for root in targets
        if root not in names
        or (
            root in removed_names
            and removed_names[root] >= set(names[root])
            and not (root in uses and uses[root][0].is_running)
        )
    ]
    found = [targets[root] for root in removed]
    removals = Remove.make_many(
        len(removed),
        names=[_list_names(target, names) for target in found],
        root=removed,
        id=[target.id for target in found],
        frees=_list_freed(found, context, are_all=not names),
        users=[frozenset(use.id for use in uses[root]) if root in uses else _NO_USERS for root in removed],
    )
    by_root = dict(zip(removed, removals, strict=True))
    untags = {
        root: [Untag(name, root, targets[root].id) for name in names[root] if name in names_to_remove]
        for root, names_to_remove in removed_names.items()
        if root not in by_root
    }
    if not untags:
        return [*removals]
    return list(chain.from_iterable([by_root[root]] if root in by_root else untags.get(root, ()) for root in targets))


def _list_names(target: Target, names: Mapping[Digest, list[str]]) -> tuple[str, ...]:
    """Return the names of the image of a target; see `_plan_names`."""
    if target.root in names:
        return tuple(names[target.root])
    return (target.name,) if target.name is not None else ()


def _skip_index(names: Sequence[str], root: Digest, id_: Digest, others: Mapping[str | None, Sequence[str]]) -> Skip:
    """Return the note that names of an index stay because only some of its platforms are selected under each."""
    kept = [name for name in names if name in others]
    platforms = join_names(list(dict.fromkeys(platform for listed in others.values() for platform in listed)))
    reason = f"it has {platforms} too; to remove one platform: rm {_display_name(kept, root)} platform OS/ARCH"
    return Skip(", ".join(kept) or root.short, id_, reason)


def _display_name(names: Sequence[str], root: Digest) -> str:
    """Return a name or an id by which a statement can reference an index."""
    return names[0] if names else root.short


def _platform_of(target: Target, context: PlanContext) -> str:
    row = context.store.index.connection.execute(
        "SELECT platform FROM entry WHERE root = ? AND id = ?", (target.root, target.id)
    ).fetchone()
    return str(row[0]) if row and row[0] else "OS/ARCH"


def _find_shared_roots(context: PlanContext, roots: AbstractSet[Digest]) -> AbstractSet[Digest]:
    """Return those of the roots that have several rows in `entry`: several names, or images for several platforms."""
    import json

    connection = context.store.index.connection
    if _is_large_part(roots, connection):
        rows = connection.execute("SELECT root FROM entry GROUP BY root HAVING count(*) > 1")
    else:
        rows = connection.execute(
            "SELECT root FROM entry WHERE root IN (SELECT value FROM json_each(?)) GROUP BY root HAVING count(*) > 1",
            (json.dumps(list(roots)),),
        )
    return roots & {root for (root,) in rows}


def _is_large_part(roots: Collection[Digest], connection: Connection) -> bool:
    """Whether one pass over the index takes less time than a search for each of these images.

    The limit grows with the store. With a constant limit, a rule that removes many images of a large store would take
    more than linear time.
    """
    enough = len(roots) * _SHARE  # no more are counted: all of a large store take time, and pages of memory
    (count,) = connection.execute("SELECT count(*) FROM (SELECT 1 FROM image LIMIT ?)", (enough,)).fetchone()
    return bool(count < enough)


def _is_only_row(target: Target, shared: Container[Digest]) -> bool:
    """Whether a target is the row of a query, and its root has no other. `shared` are those with several in `entry`."""
    return not (target.by_id or target.every or target.digest is not None or target.root in shared)


def _is_one_name(names: list[str]) -> bool:
    """Return whether these are names of one repository with at most one tag.

    Docker removes an image with such names by its id, and requires force when it has more names.
    """
    references = [parse_name(name) for name in names]
    return len({r.canonical_name for r in references}) <= 1 and sum(r.tag is not None for r in references) <= 1


def _fetch_names(context: PlanContext, roots: set[Digest]) -> dict[Digest, list[str]]:
    """Return the names of each root; those without an image in the index are read from index.json."""
    import json

    names: dict[Digest, list[str]] = {root: [] for root in roots}
    rows = context.store.index.connection.execute(
        "SELECT DISTINCT root, name FROM entry WHERE root IN (SELECT value FROM json_each(?)) ORDER BY name",
        (json.dumps(sorted(roots)),),
    )
    missing = set(roots)
    for root, name in rows:
        missing.discard(root)
        if name is not None:
            names[root].append(name)
    for root in missing:
        entries = context.store.layout.find_entries(root)
        names[root] = list(dict.fromkeys(str(entry.name) for entry in entries if entry.name is not None))
    return names


def _find_digest_names(name: str, image_names: list[str], removed: set[str]) -> list[str]:
    """Return the digest names that are removed with the last tag of their repository, as in docker."""
    if image_names == [name]:
        return []
    repository = parse_name(name).canonical_name
    same = {other: parse_name(other) for other in image_names}
    same = {other: parsed for other, parsed in same.items() if parsed.canonical_name == repository}
    tags = [other for other, parsed in same.items() if parsed.tag and other not in removed]
    return [] if tags else [other for other, parsed in same.items() if not parsed.tag]


def _list_freed(targets: Sequence[Target], context: PlanContext, *, are_all: bool) -> list[int]:
    """Return the bytes that the removal of the image of each target frees, when they are removed in this order.

    A blob that several of them share is freed with the last. While another image cannot be read, nothing is freed.
    `are_all`: no other image loses a name, so what the query counted holds.
    """
    import json

    connection = context.store.index.connection
    roots = [target.root for target in targets]
    if context.store.index.find_incomplete_roots().keys() - set(roots):
        return [0] * len(roots)
    counted = [target.frees for target in targets if target.frees is not None]
    if are_all and len(counted) == len(targets):
        return counted
    connection.execute("CREATE TEMP TABLE IF NOT EXISTS removed (root INTEGER PRIMARY KEY, position INTEGER NOT NULL)")
    connection.execute("DELETE FROM temp.removed")
    connection.execute(_INSERT_REMOVED, (json.dumps(roots),))
    repeated = "SELECT 1 FROM descriptor WHERE is_repeated LIMIT 1"
    reads_all = _is_large_part(roots, connection) and connection.execute(repeated).fetchone() is None
    sizes = dict(connection.execute(_SELECT_FREED_BY_MANY if reads_all else _SELECT_FREED).fetchall())
    return [sizes.get(position, 0) for position in range(len(roots))]


VERB = Verb(
    "rm",
    "Remove names. An image is removed with its last name, and its layers unless another image has them.",
    'rm images where repository like "team/*" and older than 30d',
    OperandKind.IMAGES,
    options=("from", "force", "platform", "with its tags", "dry run"),
    removes=True,
    needs_confirmation=True,
    docker_differences=(
        "There are no parent images: layers that another image has stay. As in docker, an image that containers were"
        " made from stays, unless force is given and none of them runs; of a running one force removes the names. After"
        " the word container, the names are those of containers. An index is removed with all its platforms, and it"
        " stays when a query selects only some of them; with"
        " platform only the images of these platforms are removed. As in docker, an image with several names can"
        " be removed by its id only with force; a query removes each name that it selects. All removals of a statement"
        " are one transaction."
    ),
    plan=_plan_rm,
)
