"""Verbs about names and removal: rm, untag, tag, rename, prune, by docker's rules."""

from __future__ import annotations

from imq.engine.oci.reference import Reference
from imq.engine.sources.store.source import NAME as STORE
from imq.engine.store.unindexed import unshown
from imq.grammar import ast
from imq.grammar.errors import NotFound, StatementError
from imq.grammar.record import TYPE_CHECKING

from .base import Action, Collect, Tag, Untag
from .operands import (
    TARGET_COLUMNS,
    Target,
    each_target,
    option_texts,
    parsed_name,
    row_target,
    said,
    target_query,
    targets,
    whole_images,
)
from .plan_registry_removal import WITH_ITS_TAGS, plan_removal
from .plan_store_removal import platform_removals, removals
from .registry_targets import is_remote, tag_there, tags_there
from .row_templates import rendered
from .verb import Takes, Verb

if TYPE_CHECKING:
    from .verb import Planning


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
        return platform_removals(act, wanted, planning) + failures
    return removals(wanted, planning, force=said(act, "force") is not None) + failures


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
        error = StatementError(
            "prune takes no names: it removes what nothing needs",
            code="operand",
            span=act.references[0].span,
            hints=(f"to remove an image: rm {name}", "or say which of the unused ones: prune images where …"),
        )
        error.replacement = "images where" if name.lower() == "where" else f"images where {name}"
        raise error
    if act.query is not None:
        whole_images(act, planning)
        if is_remote(act, planning):
            raise StatementError(
                "prune is about the store: registries say of no image whether it is needed",
                code="operand",
                span=act.query.span,
                hints=("tags are taken away there by rm tags of REPOSITORY where …",),
            )
        planning.store.check_collectable()
        return removals(targets(_of_unused(act), planning), planning, force=True)
    planning.store.check_collectable()
    wanted = targets(_of_unused(act), planning)
    unread = planning.store.index.unreadable()
    for entry in unshown(planning.store):
        if entry.descriptor.digest in unread:
            continue
        if entry.name is None or entry.name.tag is None:
            root = entry.descriptor.digest
            wanted.append(Target(str(entry.name) if entry.name else None, root, root, every=True))
    return [*removals(wanted, planning, force=True), Collect()]


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
    for (text,), row in rendered(target_query(act, planning), (source,), planning, TARGET_COLUMNS):
        target = row_target(row)
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
    renamed: dict[Reference, str | None] = {}
    for name, target in named:
        if (other := renamed.setdefault(name, target.name)) != target.name:
            raise StatementError(
                f"both {other} and {target.name} would be renamed to {name}, and one of the names would be lost",
                code="ambiguous-name",
                span=act.span,
                hints=("put something into it that differs, such as {{.Tag}}", "to take a name away: untag NAME"),
            )
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
        " goes too. For docker's prune -a: rm images where not in use. While an image cannot be read, prune is refused:"
        " any blob may be needed by it.",
        plan=_plan_prune,
    ),
)
