"""Verbs about names and removal: rm, untag, tag, prune; what goes with a name and what needs force, docker decides."""

from __future__ import annotations

from imq.engine.actions import Action, Collect, DropPlatform, Fail, Remove, Stay, Tag, Untag
from imq.engine.oci.digest import Digest
from imq.engine.oci.document import Manifest, read_manifest
from imq.engine.oci.platform import Platform
from imq.engine.oci.reference import Reference
from imq.engine.places import STORE
from imq.engine.store.unshown import unshown
from imq.grammar import ast
from imq.grammar.errors import Conflict, ImqError, NotFound, StatementError, listed
from imq.grammar.record import TYPE_CHECKING

from .declaration import Takes, Verb
from .operands import (
    TARGET_COLUMNS,
    Target,
    each_target,
    option_texts,
    parsed_name,
    platforms_of,
    said,
    target_query,
    targets,
    whole_images,
)
from .removal import WITH_ITS_TAGS, plan_removal
from .templates import rendered
from .there import is_remote, tag_there, tags_there

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .declaration import Planning


def _plan_rm(act: ast.Act, planning: Planning) -> list[Action]:
    if is_remote(act, planning):
        return plan_removal(act, planning)
    if (option := said(act, WITH_ITS_TAGS)) is not None:
        raise StatementError(
            "with its tags is about what registries have",
            code="option",
            span=option.span,
            hints=("an image of the store goes with all its names by its id, with force",),
        )
    wanted, failures = each_target(act, planning)
    if said(act, "platform") is not None:
        return _platform_removals(act, wanted, planning) + failures
    return _removals(wanted, planning, force=said(act, "force") is not None) + failures


def _platform_removals(act: ast.Act, wanted: list[Target], planning: Planning) -> list[Action]:
    """Return one action for each image that an index is to hold no longer, and what is wrong with other targets."""
    platforms, every = platforms_of(act, planning)
    names = _all_names(planning, {target.root for target in wanted})
    actions: list[Action] = []
    for root, id_ in {target.root: target.id for target in wanted}.items():
        name = ", ".join(names[root]) or root.short
        try:
            if every:
                raise _nothing_left(name)
            actions += _dropped(root, name, platforms, planning)
        except ImqError as problem:
            if len(names) == 1:
                raise
            actions.append(Fail("rm", name or id_.short, problem))
    return actions


def _dropped(root: Digest, name: str, platforms: Sequence[Platform], planning: Planning) -> list[Action]:
    """Return what removes these platforms of one index; raises `Conflict` when that cannot be."""
    rows = planning.store.index.connection.execute(
        "SELECT DISTINCT manifest, id, platform FROM entry WHERE root = ? ORDER BY image", (root,)
    ).fetchall()
    here = {Digest(manifest): (Digest(id_), platform or Digest(id_).short) for manifest, id_, platform in rows}
    if set(here) <= {root}:
        what = f"one image for {here[root][1]}" if here else "no image"
        raise Conflict(f"{name} is {what}, and no index of several", hints=(f"to take it away: rm {name}",))
    going: list[Digest] = []
    for wanted in platforms:
        found = [
            manifest for manifest, (_, text) in here.items() if "/" in text and wanted.rank(Platform.parse(text)) == 0
        ]
        if not found:
            raise NotFound(
                f"{name} has no image for {wanted} here",
                code="no-such-platform",
                hints=(f"here are: {listed(sorted({text for _, text in here.values()}))}",),
            )
        going += found
    going = list(dict.fromkeys(going))
    if len(going) == len(here):
        raise _nothing_left(name)
    others = tuple(dict.fromkeys(text for manifest, (_, text) in here.items() if manifest not in going))
    frees = _frees_of(root, going, [manifest for manifest in here if manifest not in going], planning)
    return [
        DropPlatform(name, root, here[manifest][0], manifest, here[manifest][1], others, frees[manifest])
        for manifest in going
    ]


def _frees_of(root: Digest, going: list[Digest], staying: list[Digest], planning: Planning) -> dict[Digest, int]:
    """Return for each manifest of an index, removed in this order, the bytes of the blobs that go with it."""
    import json

    connection = planning.store.index.connection
    blobs = {manifest: _blobs_of(manifest, planning) for manifest in (*going, *staying)}
    needed = {digest for manifest in staying for digest in blobs[manifest]}
    frees: dict[Digest, int] = {}
    for manifest in reversed(going):
        mine = {digest: size for digest, size in blobs[manifest].items() if digest not in needed}
        elsewhere = connection.execute(
            "SELECT DISTINCT digest FROM reach WHERE root <> ? AND digest IN (SELECT value FROM json_each(?))",
            (root, json.dumps(list(mine))),
        )
        frees[manifest] = sum(mine.values()) - sum(mine[Digest(digest)] for (digest,) in elsewhere)
        needed |= set(mine)
    return frees


def _blobs_of(manifest: Digest, planning: Planning) -> dict[Digest, int]:
    """Return the blobs of one image that is here, with their bytes."""
    content = planning.store.read(manifest)
    document = read_manifest(content)
    assert isinstance(document, Manifest)
    return {manifest: len(content)} | {blob.digest: blob.size for blob in (document.config, *document.layers)}


def _nothing_left(name: str) -> Conflict:
    return Conflict(f"{name} would have no image left", hints=(f"to take all of it away: rm {name}",))


def _removals(wanted: list[Target], planning: Planning, *, force: bool) -> list[Action]:
    """Return one action for each image that goes, and for each name that goes from an image that stays."""
    names = _all_names(planning, {target.root for target in wanted})
    kept = _kept_platforms(wanted, planning)
    going: dict[Digest, set[str]] = {}
    failures: list[Action] = []
    staying: dict[Digest, list[str]] = {}
    for target in wanted:
        have = names[target.root]
        others = kept.get(target.root)
        conflict = None
        if others and target.by_id:
            conflict = Conflict(
                f"unable to remove {target.id.short}: {', '.join(have) or target.root.short} has {listed(others)} too",
                hints=(
                    f"one platform goes by: rm {_shown(have, target.root)} platform {_platform(target, planning)}",
                    f"all of it goes by its name, or by the index: rm {target.root.short}",
                ),
            )
        elif others:
            staying[target.root] = others
            continue
        elif target.by_id and not force and not _one_name(have):
            conflict = Conflict(
                f"unable to remove {target.id.short}: the image has several names ({', '.join(have)})",
                hints=("name the one to take away, or add force to remove the image with all its names",),
            )
        if conflict is not None:
            if len(wanted) == 1:
                raise conflict
            failures.append(Fail("rm", target.id.short, conflict))
            continue
        taken = going.setdefault(target.root, set())
        if target.name is None:
            taken.update(have)
        else:
            taken.add(target.name)
            taken.update(_digest_names(target.name, have, taken))
    ids = {target.root: target.id for target in wanted}
    gone = [root for root, taken in going.items() if taken >= set(names[root])]
    frees = _frees(planning, gone)
    actions: list[Action] = []
    for root, taken in going.items():
        if root in frees:
            actions.append(Remove(tuple(names[root]), root, ids[root], frees[root]))
        else:
            actions += [Untag(name, root, ids[root]) for name in names[root] if name in taken]
    for root, platforms in staying.items():
        why = f"it has {listed(platforms)} too; one platform goes by: rm {_shown(names[root], root)} platform OS/ARCH"
        actions.append(Stay(", ".join(names[root]) or root.short, ids[root], why))
    return actions + failures


def _shown(names: Sequence[str], root: Digest) -> str:
    """Return what an index can be called by in a statement."""
    return names[0] if names else root.short


def _platform(target: Target, planning: Planning) -> str:
    row = planning.store.index.connection.execute(
        "SELECT platform FROM entry WHERE root = ? AND id = ?", (target.root, target.id)
    ).fetchone()
    return str(row[0]) if row and row[0] else "OS/ARCH"


def _kept_platforms(wanted: list[Target], planning: Planning) -> dict[Digest, list[str]]:
    """Return for each index of which not all images are wanted the platforms that are not: it stays, whole."""
    chosen: dict[Digest, set[Digest]] = {}
    for target in wanted:
        chosen.setdefault(target.root, set()).add(target.id)
    for target in wanted:
        if target.every:
            chosen.pop(target.root, None)
    rows = planning.store.index.connection.execute(
        "SELECT DISTINCT root, id, platform FROM entry WHERE root IN"
        " (SELECT root FROM entry GROUP BY root HAVING min(image) <> max(image))"
    )
    kept: dict[Digest, list[str]] = {}
    for root, id_, platform in rows:
        if root in chosen and id_ not in chosen[root]:
            kept.setdefault(Digest(root), []).append(platform or Digest(id_).short)
    return kept


def _one_name(names: list[str]) -> bool:
    """Whether these are at most one tag, and digest names of the same repository beside it.

    Docker removes an image with such names by its id, and asks for force when it has more.
    """
    references = [Reference.parse(name) for name in names]
    return len({r.canonical_name for r in references}) <= 1 and sum(r.tag is not None for r in references) <= 1


def _all_names(planning: Planning, roots: set[Digest]) -> dict[Digest, list[str]]:
    names: dict[Digest, list[str]] = {root: [] for root in roots}
    rows = planning.store.index.connection.execute(
        "SELECT DISTINCT root, name FROM entry WHERE name IS NOT NULL ORDER BY name"
    )
    for root, name in rows:
        if root in names:
            names[root].append(name)
    if not all(names.values()):
        for entry in unshown(planning.store):
            if entry.name is not None and entry.descriptor.digest in names:
                names[entry.descriptor.digest].append(str(entry.name))
    return names


def _digest_names(name: str, have: list[str], taken: set[str]) -> list[str]:
    """Return the digest names that go with the last tag of their repository, as in docker."""
    repository = Reference.parse(name).familiar_name
    same = [other for other in have if Reference.parse(other).familiar_name == repository]
    tags = [other for other in same if "@" not in other and other not in taken]
    return [] if tags else [other for other in same if "@" in other]


def _frees(planning: Planning, roots: list[Digest]) -> dict[Digest, int]:
    """Return for each image, removed in this order, the bytes of the blobs that go with it: none that is still needed.

    A blob that several of them share goes with the last.
    """
    connection = planning.store.index.connection
    connection.execute("CREATE TEMP TABLE IF NOT EXISTS doomed (root TEXT PRIMARY KEY, place INTEGER) WITHOUT ROWID")
    connection.execute("DELETE FROM temp.doomed")
    connection.executemany("INSERT INTO temp.doomed VALUES (?, ?)", [(root, place) for place, root in enumerate(roots)])
    rows = connection.execute(
        "SELECT last, sum(size) FROM ("
        " SELECT max(doomed.place) AS last, reach.size AS size FROM temp.doomed JOIN reach ON reach.root = doomed.root"
        " GROUP BY reach.digest"
        " HAVING count(*) = (SELECT count(*) FROM reach AS every WHERE every.digest = reach.digest)"
        ") GROUP BY last"
    )
    sizes = dict(rows.fetchall())
    return {root: sizes.get(place, 0) for place, root in enumerate(roots)}


def _plan_untag(act: ast.Act, planning: Planning) -> list[Action]:
    if is_remote(act, planning):
        return plan_removal(act, planning)
    wanted, failures = each_target(act, planning)
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


def _of_unused(act: ast.Act) -> ast.Act:
    """Return what a prune is short for: its query, of the images that are dangling and not in use."""
    query = act.query
    if query is None:
        here = (ast.Literal(STORE),)  # whatever source is asked unless one is named
        query = ast.Query("images", sources=here, order=(ast.Ordering(ast.Field(("created",))),))
    elif isinstance(query, ast.Combination):
        query = ast.Query("", base=query, span=query.span)
    unused = (ast.Field(("dangling",)), ast.Not(ast.Phrase("in use")))
    asked = (query.where,) if query.where is not None else ()
    return act.replace(query=query.replace(where=ast.And((*unused, *asked))))


def _plan_prune(act: ast.Act, planning: Planning) -> list[Action]:
    if act.references:
        name = planning.literals(act.references[:1])[0]
        raise StatementError(
            "prune takes no names: it removes what nothing needs",
            code="operand",
            span=act.references[0].span,
            hints=(f"to remove an image: rm {name}", "or say which of the unused ones: prune images where …"),
        )
    if act.query is not None:
        whole_images(act, planning)
        if is_remote(act, planning):
            raise StatementError(
                "prune is about the store: registries say of no image whether it is needed",
                code="operand",
                span=act.query.span,
                hints=("tags are taken away there by rm tags of REPOSITORY where …",),
            )
        return _removals(targets(_of_unused(act), planning), planning, force=True)
    wanted = targets(_of_unused(act), planning)
    for entry in unshown(planning.store):
        if entry.name is None or entry.name.tag is None:
            root = entry.descriptor.digest
            wanted.append(Target(str(entry.name) if entry.name else None, root, root, every=True))
    return [*_removals(wanted, planning, force=True), Collect()]


def _plan_tag(act: ast.Act, planning: Planning) -> list[Action]:
    names, act = _new_names(act, planning, "tag needs a name to give", "tag redis:7 as team/cache:stable")
    if is_remote(act, planning):
        return tags_there(act, names[0], planning)
    if act.query is not None:
        return _tags_by_template(act, names[0], planning)
    if (there := tag_there(act, names[0], planning)) is not None:
        return [there]
    found = targets(act, planning)
    if len(found) != 1:
        raise StatementError("one image can be given one name", code="operand", span=act.span)
    return [_tag(parsed_name(names[0]), found[0], planning)]


def _new_names(act: ast.Act, planning: Planning, missing: str, example: str) -> tuple[list[str], ast.Act]:
    """Return what `as` says, and the action without it; docker's own order is: tag SOURCE TARGET."""
    names = option_texts(act, "as", planning)
    if not names and len(act.references) == 2:
        names = planning.literals(act.references[1:])
        act = act.replace(references=act.references[:1])
    if not names:
        raise StatementError(missing, code="operand", span=act.span, hints=(f"such as: {example}",))
    return names, act


def _tag(name: Reference, target: Target, planning: Planning) -> Tag:
    try:
        holder = planning.store.find(str(name))
    except NotFound:
        return Tag(name, target.root, target.id)
    moves = holder.name is not None and holder.root != target.root
    return Tag(name, target.root, target.id, holder.id if moves else None)


def _tags_by_template(act: ast.Act, source: str, planning: Planning) -> list[Action]:
    """Return a tag for each row of the query, its name written by a template of the row."""
    return [_tag(name, target, planning) for name, target in _named_by(act, source, planning)]


def _named_by(act: ast.Act, source: str, planning: Planning) -> list[tuple[Reference, Target]]:
    """Return each row of an action's query with the name that a template makes of it; a name can go to one image."""
    given: dict[Reference, Target] = {}
    named: list[tuple[Reference, Target]] = []
    done: set[tuple[Reference, str | None]] = set()
    for (text,), (root, id_, old) in rendered(target_query(act, planning), (source,), planning, TARGET_COLUMNS):
        target = Target(old if isinstance(old, str) else None, Digest(root), Digest(id_))
        name = parsed_name(text)
        earlier = given.setdefault(name, target)
        if earlier.root != target.root:
            raise StatementError(
                f'the template gives "{name}" to two images: {earlier.id.short} and {target.id.short}',
                code="ambiguous-name",
                span=act.span,
                hints=("put something into it that differs, such as {{.Tag}}",),
            )
        if (name, target.name) not in done:  # the platforms of an index are rows of their own
            done.add((name, target.name))
            named.append((name, target))
    return named


def _plan_rename(act: ast.Act, planning: Planning) -> list[Action]:
    names, act = _new_names(
        act, planning, "rename needs a new name", 'rename images where repository = old as "new:{{.Tag}}"'
    )
    if act.query is not None:
        named = _named_by(act, names[0], planning)
    else:
        found = targets(act, planning)
        if len(found) != 1:
            raise StatementError("one image can be given one name", code="operand", span=act.span)
        named = [(parsed_name(names[0]), found[0])]
    actions: list[Action] = []
    kept = {str(name) for name, _ in named}
    for name, target in named:
        if str(name) == target.name:
            continue
        actions.append(_tag(name, target, planning))
        if target.name is not None and target.name not in kept:
            actions.append(Untag(target.name, target.root, target.id))
    return actions


VERBS = (
    Verb(
        "rm",
        "Take names away, and each image with its last name; its layers go when no other image has them.",
        'rm images where repository like "team/*" and older than 30d',
        Takes.IMAGES,
        options=("force", "platform", "with its tags", "dry run"),
        destroys=True,
        differs="There are no parent images: an image is its layers, and those that another image has stay. Containers"
        " are known to their engines alone, so nothing here is in use. An image of several platforms goes as a whole,"
        " and stays when a query leaves one of them; platform takes the images of these platforms out of it, and the"
        " name and the others stay. By id, an image with several names needs force, as in docker; a"
        " query counts every name that it gives. All that was planned is done, or none when it breaks.",
        plan=_plan_rm,
    ),
    Verb(
        "untag",
        "Take names away; the images stay, dangling when it was their last name.",
        "untag app:1",
        Takes.IMAGES,
        options=("dry run",),
        plan=_plan_untag,
    ),
    Verb(
        "tag",
        "Give an image a name; a name that another image has moves. Over a query the name is a template.",
        "tag redis:7 as team/cache:stable",
        Takes.IMAGES,
        options=("as", "dry run"),
        differs="The image that loses the name stays, without one when it was its last.",
        plan=_plan_tag,
    ),
    Verb(
        "rename",
        "Give an image another name and take the old one away. Over a query the new name is a template.",
        'rename images where repository = old as "new:{{.Tag}}"',
        Takes.IMAGES,
        options=("as", "dry run"),
        plan=_plan_rename,
    ),
    Verb(
        "prune",
        "Remove the images that are dangling and not in use: of a query, or all, with what failed transfers left.",
        "prune images where older than 7d",
        Takes.IMAGES,
        options=("dry run",),
        destroys=True,
        alone=True,
        short_for=_of_unused,
        differs="Images that are known by a digest alone are dangling, and go, as in docker. What failed transfers left"
        " goes too. For docker's prune -a: rm images where not in use.",
        plan=_plan_prune,
    ),
)
