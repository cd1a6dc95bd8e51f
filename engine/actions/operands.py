"""The operands of verbs: references and queries, resolved to images and names of the store."""

from __future__ import annotations

from imq.engine.oci.digest import Digest, parse_hex_prefix
from imq.engine.oci.platform import Platform
from imq.engine.oci.reference import DEFAULT_REGISTRY, Reference
from imq.engine.query.binder import require_choice, require_where
from imq.engine.query.binder.literals import is_string
from imq.engine.query.source import NativeTable
from imq.engine.query.sql.dialect import FREES
from imq.engine.sources.action import Failed
from imq.engine.sources.action_options import (
    bind_whole_rows,
    get_option,
    get_option_values,
    list_destination_refs,
    list_source_refs,
)
from imq.engine.store.unreadable_images import unreadable_image
from imq.grammar import ast
from imq.grammar.errors import (
    Conflict,
    EngineError,
    ImqError,
    InvalidReference,
    NotFound,
    StatementError,
    StoreError,
)
from imq.grammar.record import TYPE_CHECKING, Record

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TypeVar

    from imq.engine.catalog.schema import Raw
    from imq.engine.query.source import Source
    from imq.engine.result import Result
    from imq.engine.sources.action import Action, PlanContext, Planner
    from imq.engine.sources.archives import ArchivePlace
    from imq.engine.sources.layouts.places import Place
    from imq.grammar.errors import Span

    T = TypeVar("T")


TARGET_COLUMNS = ("_root", "id", "name")
"""The hidden columns that identify a target; see `PlanContext.rows`."""


_ANY_NAME = "image"
"""The name by which a statement without references finds out whether a source has images by name."""


class Target(Record):
    """One name of one image. `name` is None for an image without a name, and for an image referenced by its id.

    With `every` the target is an index with all its platforms; otherwise it is the image of one platform. `digest` is
    set when the reference has a digest; `name` may then be another name of the image in the same repository. `root`
    is the digest in index.json, or, in a `place` on disk, the digest that lists the image there; `size` is the size in
    bytes of its blobs. `frees` is the number of bytes that its removal frees after that of the targets before it, if
    the query of all targets counts them.
    """

    name: str | None
    root: Digest
    id: Digest
    by_id: bool = False
    every: bool = False
    digest: Digest | None = None
    place: Place | ArchivePlace | None = None
    size: int = 0
    frees: int | None = None


def get_platform(act: ast.ActionStatement, context: PlanContext) -> Platform | None:
    """Return the platform of the option `platform`, else the session's default."""
    texts = get_option_values(act, "platform", context)
    if len(texts) > 1:
        option = get_option(act, "platform")
        raise StatementError("expected one platform", code="platform", span=option.span if option else None)
    return Platform.parse(texts[0]) if texts else context.platform


def get_platforms(act: ast.ActionStatement, context: PlanContext) -> tuple[tuple[Platform, ...], bool]:
    """Return the platforms of the option `platform`, else the session's default; and whether it is `all`."""
    texts = get_option_values(act, "platform", context)
    if [text.lower() for text in texts] == ["all"]:
        return (), True
    if not texts:
        return (context.platform,) if context.platform is not None else (), False
    try:
        return tuple(dict.fromkeys(Platform.parse(text) for text in texts)), False
    except StatementError as problem:
        option = get_option(act, "platform")
        problem.span = option.span if option else None
        raise


def resolve_targets(act: ast.ActionStatement, context: PlanContext) -> list[Target]:
    """Return the targets of an action on images, without duplicates: its references, or the rows of its query."""
    if act.query is not None:
        return resolve_query(act, context)
    targets: list[Target] = []
    for text, node in zip(context.literals(act.references), act.references, strict=True):
        try:
            targets.append(_find_target(text, context))
        except NotFound as problem:
            if act.verb in _TAG_CONDITIONS and _names_registry(text):
                problem.hints = (_TAG_CONDITIONS[act.verb].format(text), *problem.hints)
            raise
        except StatementError as error:
            error.span = error.span or node.span
            if "*" in text:
                error.hints = (f"{act.verb} takes names; to match a pattern: {act.verb} images where name like …",)
            raise
    return check_targets(targets, act, context)


def check_targets(targets: Sequence[Target], act: ast.ActionStatement, context: PlanContext) -> list[Target]:
    """Return targets in the store without duplicates. Raises `StoreError` unless index.json has all of them.

    A verb that reads their documents requires the IDs, too. See `store.index_check`.
    """
    targets = list(dict.fromkeys(targets))
    _require_in_store(targets, act, context)
    return targets


def _require_in_store(targets: Sequence[Target], act: ast.ActionStatement, context: PlanContext) -> None:
    """Raise the error of `check_targets`."""
    from imq.engine.store.index_check import check_images

    from . import get_verb

    images = [(target.name, target.root, target.id) for target in targets]
    check_images(context.store.index, images, reads_documents=not get_verb(act).removes)


def _find_target(text: str, context: PlanContext) -> Target:
    """Return the image or artifact with this name or id."""
    try:
        image = context.store.find(text)
    except NotFound:
        from imq.engine.store.non_image_entries import find_non_image_entry

        entry = find_non_image_entry(context.store, text)
        if entry is None:
            raise
        root = entry.descriptor.digest
        name = str(entry.name) if entry.name else None
        return Target(name, root, root, entry.name is None, every=True, digest=_get_digest(text, name))
    digits = parse_hex_prefix(text)
    every = image.name is not None or bool(digits and image.root.encoded.startswith(digits))
    return Target(image.name, image.root, image.id, image.name is None, every, _get_digest(text, image.name))


def _names_registry(text: str) -> bool:
    """Return whether a reference begins with the host of a registry."""
    try:
        return Reference.parse(text).registry != DEFAULT_REGISTRY
    except InvalidReference:
        return False


def _get_digest(text: str, name: str | None) -> Digest | None:
    """Return the digest in the text of a reference; None for a reference without one, and for an id."""
    return Reference.parse(text).digest if name is not None and name != text and "@" in text else None


def resolve_each_target(
    act: ast.ActionStatement, context: PlanContext, *, takes_unreadable: bool = False
) -> tuple[list[Target], list[Action]]:
    """Return the targets of an action as `resolve_targets` does, and a failure for each reference that is not found.

    One unknown name among several does not stop the others. The error of the only reference is raised.
    """
    targets: list[Target] = []
    failures: list[Action] = []
    if act.query is not None:
        return resolve_query(act, context, failures, takes_unreadable=takes_unreadable), failures
    if len(act.references) < 2:
        return resolve_targets(act, context), []
    for reference in act.references:
        try:
            targets += resolve_targets(act.replace(references=(reference,)), context)
        except NotFound as error:
            failures.append(Failed(act.verb, context.literals((reference,))[0], error))
    return list(dict.fromkeys(targets)), failures


def resolve_query(
    act: ast.ActionStatement,
    context: PlanContext,
    failures: list[Action] | None = None,
    *,
    takes_unreadable: bool = False,
) -> list[Target]:
    """Return the rows of an action's query as targets.

    The condition cannot be tested on an unreadable image, so its row becomes a failure; without `failures`, its error
    is raised. With `takes_unreadable` it is a target instead, whose id is the digest in index.json.
    """
    query = build_id_query(act, context)
    _, rows = context.rows(query, list_hidden_columns(query))
    rows = [*rows, *_list_excluded_unreadable(query, rows, context)]
    targets = _make_targets(rows)
    if targets is None:
        targets = []
        for id_, root, name in dict.fromkeys(row[:3] for row in rows):
            try:
                targets.append(parse_target_row((root, root if id_ is None and takes_unreadable else id_, name)))
            except StoreError as problem:
                if failures is None:
                    raise
                failures.append(Failed(act.verb, str(name or Digest(str(root)).short), problem))
    del rows  # those of many images take as much memory as their targets
    _require_in_store(targets, act, context)
    return targets


def list_hidden_columns(query: ast.Query) -> tuple[str, ...]:
    """Return the columns of the rows of `resolve_query` that follow the ID."""
    return ("_root", "name", FREES) if query.until is not None else ("_root", "name")


def _make_targets(rows: Sequence[tuple[Raw, ...]]) -> list[Target] | None:
    """Return the targets of rows, made by columns; None when a row has no target, or two rows have the same."""
    ids, roots, names, *frees = zip(*rows, strict=True) if rows else ((), (), ())
    if None in roots or None in ids or len(set(zip(ids, roots, names, strict=True))) < len(rows):
        return None
    columns = {"name": names, "root": map(Digest, roots), "id": map(Digest, ids)}
    return Target.make_many(len(rows), **(columns | {"frees": frees[0]} if frees else columns))


def _list_excluded_unreadable(
    query: ast.Query, rows: Sequence[tuple[Raw, ...]], context: PlanContext
) -> list[tuple[Raw, ...]]:
    """Return the rows, with ID, root and name, of unreadable images that `except newest`, `skip` or `until` excluded.

    Their age and size are unknown, so it is unknown whether these clauses should exclude them.
    """
    if query.keep_newest is None and query.skip is None and query.until is None:
        return []
    unreadable = context.store.index.find_unreadable_roots()
    if not unreadable:
        return []
    unlimited = query.replace(keep_newest=None, skip=None, limit=None, until=None)
    _, every = context.rows(unlimited, list_hidden_columns(query))
    selected = {row[:3] for row in rows}
    return [row for row in every if row[1] in unreadable and row[0] is None and row[:3] not in selected]


def parse_target_row(row: Sequence[Raw]) -> Target:
    """Return the target with these `TARGET_COLUMNS`.

    Raises `StatementError` for an image of another source, and `StoreError` for an unreadable image.
    """
    root, id_, name = row
    if root is None:
        raise StatementError(
            f"{name or 'the image'} is not in the store",
            code="operand",
            hints=("copy it there first: copy … to store",),
        )
    if id_ is None:
        raise unreadable_image(str(name) if name is not None else Digest(str(root)).short)
    return Target(None if name is None else str(name), Digest(root), Digest(id_), False, False, None, None, 0)


def get_target_query(act: ast.ActionStatement, context: PlanContext) -> ast.Query:
    """Return the query of an action on images. Raises `StatementError` without `where` or `all`."""
    query = get_image_query(act, context)
    require_where(query, act.verb)
    if isinstance(query, ast.Combination):
        query = ast.Query("", base=query, span=query.span)
    return query


def get_image_query(act: ast.ActionStatement, context: PlanContext) -> ast.RowSource:
    """Return the query of an action; raises `StatementError` when it does not select whole images."""
    select = bind_whole_rows(act, context)
    query = act.query
    assert query is not None
    if select.table.name != "images":
        hints = ("images of several sources are one query: images in A, B where …",) if select.base is not None else ()
        raise StatementError(
            f"{act.verb} takes images, not {select.table.name}", code="operand", span=query.span, hints=hints
        )
    return query


def build_names_query(act: ast.ActionStatement, context: PlanContext) -> ast.Query:
    """Return a query with one row for each image that is referenced."""
    conditions: list[ast.Expr] = []
    for target in resolve_targets(act, context):
        field, text = ("name", target.name) if target.name is not None else ("id", str(target.id))
        conditions.append(ast.Comparison("=", ast.Field((field,)), ast.Literal(text, quoted=True)))
    condition = conditions[0] if len(conditions) == 1 else ast.Or(tuple(conditions))
    return ast.Query("images", where=condition, span=act.span)


def build_id_query(act: ast.ActionStatement, context: PlanContext) -> ast.Query:
    """Return the query of an action with the id as its only column, so that no layer is unpacked for a size."""
    return get_target_query(act, context).replace(select=(ast.Column(ast.Field(("id",))),))


def find_planner(act: ast.ActionStatement, context: PlanContext) -> Planner | None:
    """Return the planner of the source whose rows are the operands; None for images of the store.

    Raises `StatementError` for rows of several sources, and when the source does not support the verb.
    """
    return _find_of_source(act, context, lambda source: source.planners.get(act.verb))


def find_answer(act: ast.ActionStatement, context: PlanContext) -> Callable[..., Result] | None:
    """Return the function by which the source whose rows are the operands answers a verb, as `find_planner` does."""
    return _find_of_source(act, context, lambda source: source.answers.get(act.verb))


def _find_of_source(act: ast.ActionStatement, context: PlanContext, get: Callable[[Source], T | None]) -> T | None:
    if act.query is None:
        return _find_of_references(act, context, get)
    table = context.bind(act.query).table
    if not table.is_staged:
        return None
    names = context.scope.fetch.list_sources(table)
    if len(set(names)) > 1:
        raise several_sources_error(act, names)
    found = [one for name in names if (one := get(context.sources[name])) is not None]
    if not found:
        raise StatementError(
            f"{act.verb} does not support rows of {' and '.join(names)}", code="operand", span=act.query.span
        )
    return found[0]


def _find_of_references(act: ast.ActionStatement, context: PlanContext, get: Callable[[Source], T | None]) -> T | None:
    """Return what the source has in which the references of an action are names of images; None: the store."""
    refs = list_source_refs(act, context)
    names = tuple(dict.fromkeys(ref.source for ref in refs))
    if len(names) > 1:
        raise several_sources_error(act, names)
    source = context.sources[names[0]]
    if isinstance(source.tables.get("images"), NativeTable):
        return None
    names_to_match = context.literals(act.references) or [_ANY_NAME]
    if any(source.match_name(name) is None for name in names_to_match):  # registries have tags, not images by name
        if (option := get_option(act, "from")) is not None and act.verb in _TAG_CONDITIONS:
            raise StatementError(
                f"{act.verb} takes no names from {refs[0].text}: registries have tags",
                code="place",
                span=option.span,
                hints=(_TAG_CONDITIONS[act.verb].format(names_to_match[0]),),
            )
        return None
    found = get(source)
    if found is None:
        raise StatementError(f"{act.verb} does not work in {refs[0].text}", code="operand", span=act.span)
    return found


_TAG_CONDITIONS = {
    "rm": "to remove a tag: rm tags of {}",
    "untag": "to remove a tag: rm tags of {}",
    "inspect": "for its fields: tags of {} as json",
}
"""What to write in place of an action on names of a registry."""


class SourcePart(Record):
    """The part of an action that is about one of its sources. `planner` is that of the source; None for the store."""

    act: ast.ActionStatement
    planner: Planner | None


def split_by_source(act: ast.ActionStatement, context: PlanContext) -> list[SourcePart]:
    """Return the parts of a removal from several sources; none when all of it is about one source.

    Each part has the rows that the whole query selects in one source, so that limits count the rows of all sources.
    Raises `StatementError` when one of the sources has other rows or no planner of the verb.
    """
    table = context.bind(act.query).table if act.query is not None else None
    if table is not None:
        names = context.scope.fetch.list_sources(table) if table.is_staged else ()
        texts_by_source = _group_texts(context.scope.fetch.list_refs(table), context)
    else:
        texts_by_source = _group_texts([ref.text for ref in list_source_refs(act, context)], context)
        names = tuple(texts_by_source)
    if len(set(names)) < 2:
        return []
    parts: list[SourcePart] = []
    for name in dict.fromkeys(names):
        source = context.sources[name]
        native = isinstance(source.tables.get("images"), NativeTable)
        planner = source.planners.get(act.verb)
        if source.match_name(_ANY_NAME) is None or (planner is None and not native):
            raise several_sources_error(act, names)
        own = tuple(ast.Literal(text, quoted=True) for text in texts_by_source.get(name, (name,)))
        if act.query is None:
            others = tuple(option for option in act.options if option.name != "from")
            part = act.replace(options=(*others, ast.Option("from", own)))
        else:
            shown = ast.Or(tuple(_is_of_source(one) for one in own)) if len(own) > 1 else _is_of_source(own[0])
            part = act.replace(query=ast.Query("", base=act.query, where=shown, span=act.query.span))
        parts.append(SourcePart(part, planner))
    return parts


def _is_of_source(text: ast.Literal) -> ast.Expr:
    """Return the condition for rows of a source: its name, or the name with a part of it: `containerd:k8s.io`."""
    source = ast.Field(("source",))
    own = ast.Comparison("=", source, text)
    return ast.Or((own, ast.Comparison("like", source, text.replace(text=f"{text.text}:*"))))


def _group_texts(texts: Sequence[str], context: PlanContext) -> dict[str, list[str]]:
    """Return the texts after `in` or `from` by the source that they name."""
    grouped: dict[str, list[str]] = {}
    for text in texts:
        grouped.setdefault(context.sources.resolve(text).source, []).append(text)
    return grouped


def plan_by_source(
    act: ast.ActionStatement,
    own: Callable[[ast.ActionStatement, PlanContext], list[Action]],
    context: PlanContext,
    *,
    needs_where: bool = True,
) -> list[Action]:
    """Return the plan of the source of an action, or one plan of all its sources. `own` plans for the store."""
    parts = split_by_source(act, context)
    if not parts:
        return (find_planner(act, context) or own)(act, context)
    if needs_where and act.query is not None:
        require_where(act.query, act.verb)
    return _plan_parts(parts, own, context)


def _plan_parts(
    parts: Sequence[SourcePart], own: Callable[[ast.ActionStatement, PlanContext], list[Action]], context: PlanContext
) -> list[Action]:
    """Return the plan of an action for several sources as one list. `own` plans for the store.

    A name or ID that only some of the sources have is planned for these; `NotFound` is raised when none has it.
    """
    actions: list[Action] = []
    missing: dict[ast.Literal | ast.Variable, ImqError] = {}
    found: set[ast.Literal | ast.Variable] = set()
    for part in parts:
        plan, act = part.planner or own, part.act
        here: list[ast.Literal | ast.Variable] = []
        for reference in act.references:
            try:
                plan(act.replace(references=(reference,)), context)
            except NotFound as error:
                missing.setdefault(reference, error)
            except (Conflict, EngineError) as error:
                found.add(reference)
                actions.append(Failed(act.verb, context.literals((reference,))[0], error))
            else:
                found.add(reference)
                here.append(reference)
        if here or not act.references:
            actions += plan(act.replace(references=tuple(here)), context)
    for reference, problem in missing.items():
        if reference in found:
            continue
        if len(parts[0].act.references) == 1:
            raise problem
        actions.append(Failed(parts[0].act.verb, context.literals((reference,))[0], problem))
    return actions


def plan_receiving(act: ast.ActionStatement, names: Sequence[str], context: PlanContext) -> list[Action] | None:
    """Return the plan of the source that an action brings images into; None: the store.

    It is the source of the option `to`, else the one that the user chose with `use`, `--source` or the configuration.
    `names` are the operands, with queries and patterns resolved.
    """
    refs = list_destination_refs(act, context)
    sources = tuple(dict.fromkeys(ref.source for ref in refs))
    if len(sources) > 1:
        raise StatementError(
            f"{act.verb} takes destinations of one kind, and these are of {' and '.join(sources)}",
            code="operand",
            span=act.span,
            hints=(f"use one {act.verb} statement for each",),
        )
    if not sources or isinstance(context.sources[sources[0]].tables.get("images"), NativeTable):
        return None
    planner = context.sources[sources[0]].planners.get(act.verb)
    option = get_option(act, "to")
    if planner is not None:
        literals = tuple(ast.Literal(name, quoted=True) for name in names)
        return planner(act.replace(references=literals, query=None, explicit_all=False), context)
    is_registry = context.sources[sources[0]].match_name(_ANY_NAME) is None
    if option is None and is_registry:  # `use REGISTRY`: images come from there, into the store
        return None
    text = refs[0].text
    copied = "images in PLACE where …" if act.verb == "load" else " ".join(names[:1])
    raise StatementError(
        f"{act.verb} does not work in {text}",
        code="operand",
        span=option.span if option is not None else act.span,
        hints=(
            f"to bring them into the store: {act.verb} … to store",
            *([f"to copy them there: copy {copied} to {text}"] if act.verb != "import" and not is_registry else []),
        ),
    )


def several_sources_error(act: ast.ActionStatement, names: Sequence[str]) -> StatementError:
    """Return the error for an action on rows of several sources."""
    return StatementError(
        f"{act.verb} takes rows of one source, and these are of {' and '.join(names)}",
        code="operand",
        span=act.query.span if act.query is not None else act.span,
        hints=(f"use one {act.verb} statement for each source",),
    )


# Names of images in registries


def resolve_references(act: ast.ActionStatement, context: PlanContext) -> tuple[list[Reference], list[Action]]:
    """Return the names of images in registries, without duplicates: the operands of an action, or rows of its query.

    A registry may list invalid tags. In the rows of a query each of them is a failure, and the others are returned.
    """
    if act.query is not None:
        names = _fetch_names(act.query, act.verb, context)
    else:
        names = list(zip(context.literals(act.references), (node.span for node in act.references), strict=True))
    select = context.bind(act.query) if act.query is not None else None
    references: list[Reference] = []
    failures: list[Action] = []
    for text, span in names:
        try:
            if select is not None and select.is_whole_rows and select.table.name == "tags" and "@" in text:
                raise InvalidReference(f'"{text}" is not a tag: a tag has no "@"')
            references.append(Reference.parse(text).with_default_tag())
        except InvalidReference as problem:
            if select is not None and select.is_whole_rows:
                failures.append(Failed(act.verb, text, problem))
                continue
            problem.span = span
            raise
    return list(dict.fromkeys(references)), failures


_TABLES_OF_NAMES = ("images", "tags", "manifests", "referrers")
"""The tables whose rows can be pulled and copied by name."""


def _fetch_names(query: ast.RowSource, verb: str, context: PlanContext) -> list[tuple[str, Span | None]]:
    """Return the names in the rows of a query: names of tagged images, or the strings of its only column."""
    select = context.bind(query)
    if select.is_whole_rows:
        (require_choice if select.table.is_staged else require_where)(query, verb)
    if select.is_whole_rows and select.table.name in _TABLES_OF_NAMES:
        fields = {"images": ("tag", "registry"), "tags": ("tag",)}.get(select.table.name, ())
        conditions = tuple(ast.IsKnown(ast.Field((field,))) for field in fields)
        is_named = ast.And(conditions) if len(conditions) > 1 else conditions[0] if conditions else None
        query = ast.Query("", base=query, where=is_named, select=(ast.Column(ast.Field(("name",))),), span=query.span)
        select, rows = context.rows(query, ())
    else:
        select, rows = context.rows(query, ())
        if len(select.columns) != 1 or not is_string(select.columns[0].value.kind):
            raise StatementError(
                f"{verb} takes names: a query of images, or a query with one column of strings",
                code="operand",
                span=query.span,
            )
    return [(str(row[0]), query.span) for row in rows if row[0] is not None]
