"""The verb `copy`: copies images between registries, the store, engines and places on disk."""

from __future__ import annotations

from imq.engine.oci.reference import Reference
from imq.engine.sources.action_options import get_option, get_option_values, list_source_refs
from imq.engine.sources.archives import ArchivePlace
from imq.engine.sources.layouts.places import Place, is_path
from imq.engine.sources.namespaces import parse_namespace
from imq.engine.sources.registry.copy import Copy
from imq.engine.sources.row_templates import is_template
from imq.grammar.errors import ImqError, NotFound, StatementError
from imq.grammar.record import TYPE_CHECKING

from .copy_archives import plan_copies
from .destinations import resolve_destinations
from .load import Load
from .operands import get_platforms, resolve_references, resolve_targets
from .origins import (
    PLACE_SOURCES,
    RegistryOrigin,
    find_archives,
    group_origins,
    has_place_origin,
    is_tagged,
    list_archive_targets,
    list_named_targets,
    query_place_targets,
)
from .pull import plan_pulls
from .push import Push
from .save import plan_write, plan_writes, split_form
from .verb import OperandKind, Verb

if TYPE_CHECKING:
    from collections.abc import Sequence

    from imq.engine.sources.action import Action, PlanContext
    from imq.engine.sources.archives import ImageArchives
    from imq.grammar import ast

    from .operands import Target

STORE, REGISTRY = "store", "registry"
"""Names of sources."""


def _plan_copy(act: ast.ActionStatement, context: PlanContext) -> list[Action]:
    to = get_option_values(act, "to", context)
    if len(to) != 1:
        raise StatementError(
            "copy needs one destination",
            code="operand",
            span=act.span,
            hints=("example: copy redis:7 to registry.local:5000/team/redis:7, or to oci:DIR",),
        )
    (target,) = to
    is_form = is_path(target) or bool(split_form(target, act)[0])
    engines = () if is_form else _find_engines(target, context)
    archives = _find_origin_archives(act, context)
    if archives is None or act.query is not None or context.chosen_refs() or get_option(act, "from") is not None:
        return _plan_from(act, target, engines, archives, context, is_form=is_form)
    own, others = _split_references(act, context)
    actions = _plan_from(own, target, engines, archives, context, is_form=is_form) if own.references else []
    return [
        *actions,
        *(_plan_from(others, target, engines, None, context, is_form=is_form) if others.references else ()),
    ]


def _plan_from(
    act: ast.ActionStatement,
    target: str,
    engines: Sequence[ArchivePlace],
    archives: ImageArchives | None,
    context: PlanContext,
    *,
    is_form: bool,
) -> list[Action]:
    """Return the actions that copy images of the engine with these `archives`, or without them of other places."""
    if engines or (archives is not None and not is_form):
        return _plan_copy_with_engines(act, target, engines, archives, context)
    if target.lower() == STORE:
        _refuse_options(act, "the store", ("with referrers", "force", "skip existing"))
        return _plan_copy_to_store(act, context)
    if is_form:
        _refuse_options(act, "a place on disk", ("with referrers",))
        if archives is not None:
            _refuse_platform(act)
            return plan_writes(act, target, context)
        return _plan_copy_to_place(act, target, context)
    _refuse_options(act, "a registry", ("force", "skip existing"))
    if has_place_origin(act, context):
        return _plan_copy_from_place(act, target, context)
    return _plan_copy_between_registries(act, [target], context)


def _split_references(
    act: ast.ActionStatement, context: PlanContext
) -> tuple[ast.ActionStatement, ast.ActionStatement]:
    """Return the statement for the images that the default engine has, and for those of registries.

    Nobody chose this engine: it is the default because it responds. What it does not have is an image of a registry.
    """
    from imq.engine.sources.docker.targets import find_targets

    own, others = [], []
    for reference in act.references:
        try:
            find_targets(act.replace(references=(reference,)), context)
        except NotFound:
            others.append(reference)
        else:
            own.append(reference)
    return act.replace(references=tuple(own)), act.replace(references=tuple(others))


def _find_engines(target: str, context: PlanContext) -> tuple[ArchivePlace, ...]:
    """Return the engines that a destination names; none for the store, and for a registry."""
    try:
        refs = context.sources.resolve_all(target)
    except ImqError:
        return ()
    places = [(ref.text, context.sources[ref.source].archives) for ref in refs]
    return tuple(ArchivePlace(text, archives) for text, archives in places if archives is not None)


def _find_origin_archives(act: ast.ActionStatement, context: PlanContext) -> ImageArchives | None:
    """Return the archives of the engine that has the images: that of the query or of `from`, else the default one."""
    return find_archives(act, context, list_source_refs(act, context) if act.query is None else ())


def _plan_copy_with_engines(
    act: ast.ActionStatement,
    target: str,
    engines: Sequence[ArchivePlace],
    archives: ImageArchives | None,
    context: PlanContext,
) -> list[Action]:
    """Return the actions that copy images of engines, or to engines."""
    _refuse_options(act, "or from an engine", ("with referrers", "force", "skip existing"))
    failures: list[Action] = []
    if archives is not None:
        targets, failures = list_archive_targets(act, context, archives)
    elif get_option(act, "from") is None and _is_of_registry(act, context):
        return plan_pulls(act.replace(verb="pull"), context)  # the engine itself fetches them
    elif has_place_origin(act, context):
        targets = query_place_targets(act, context) if act.query is not None else list_named_targets(act, context)
    else:
        targets = resolve_targets(act, context)
    if engines or target.lower() == STORE:
        _refuse_platform(act)
        return [*plan_copies(targets, engines or (None,), context), *failures]
    return [*_plan_pushes(act, target, targets, context), *failures]


def _refuse_options(act: ast.ActionStatement, destination: str, names: Sequence[str]) -> None:
    """Raise `StatementError` for an option that has no meaning for a destination."""
    for name in names:
        if (option := get_option(act, name)) is not None:
            raise StatementError(f"{name} does not apply to copies to {destination}", code="option", span=option.span)


def _refuse_platform(act: ast.ActionStatement) -> None:
    if (option := get_option(act, "platform")) is not None:
        raise StatementError(
            "platform selects among the images of an index in a registry",
            code="option",
            span=option.span,
            hints=("select the rows instead: copy images in PLACE where platform = …",),
        )


def _plan_copy_to_store(act: ast.ActionStatement, context: PlanContext) -> list[Action]:
    """Return the actions that store images of places, or of registries."""
    if not has_place_origin(act, context):
        if get_option(act, "from") is not None or not _is_of_registry(act, context):
            raise StatementError("these images are in the store already", code="operand", span=act.span)
        return plan_pulls(act, context)
    _refuse_platform(act)
    targets = query_place_targets(act, context) if act.query is not None else list_named_targets(act, context)
    origins = group_origins(targets)
    return [Load(origin.place, origin.images, act.verb) for origin in origins if isinstance(origin.place, Place)]


def _plan_copy_to_place(act: ast.ActionStatement, target: str, context: PlanContext) -> list[Action]:
    """Return the actions that write images to a place on disk. Names alone are those of images in registries."""
    if get_option(act, "from") is not None or has_place_origin(act, context) or not _is_of_registry(act, context):
        _refuse_platform(act)
        return plan_writes(act, target, context)
    platforms, every = get_platforms(act, context)
    references, failures = resolve_references(act, context)
    origins = tuple(RegistryOrigin(reference, platforms, every) for reference in references)
    return [*(plan_write(act, target, origins, context) if origins else []), *failures]


def _is_of_registry(act: ast.ActionStatement, context: PlanContext) -> bool:
    """Whether the operands name images in registries: names, strings that a query selects, and rows of registries."""
    if act.query is None:
        return True
    select = context.bind(act.query)
    if not select.is_whole_rows or select.table.name != "images":
        return True
    names = context.scope.fetch.list_sources(select.table)
    if others := [name for name in names if name not in (STORE, REGISTRY, *PLACE_SOURCES)]:
        raise StatementError(
            f"{act.verb} does not read rows of {' and '.join(others)}", code="operand", span=act.query.span
        )
    return REGISTRY in names


def _plan_copy_from_place(act: ast.ActionStatement, target: str, context: PlanContext) -> list[Action]:
    """Return the actions that send images of places to registries."""
    targets = query_place_targets(act, context) if act.query is not None else list_named_targets(act, context)
    return _plan_pushes(act, target, targets, context)


def _plan_pushes(
    act: ast.ActionStatement, target: str, targets: Sequence[Target], context: PlanContext
) -> list[Action]:
    """Return the actions that send images to registries."""
    platforms, _ = get_platforms(act, context)
    unnamed = next((one for one in targets if one.name is None or not is_tagged(one.name)), None)
    keeps_names = is_template(target) or parse_namespace(target) is not None
    if unnamed is not None and (keeps_names or len(targets) > 1):
        raise StatementError(
            f"{unnamed.name or unnamed.id.short} has no name to be copied as",
            code="operand",
            span=act.span,
            hints=(f"give it one, with its tag: copy {unnamed.id.short} from … to registry.local:5000/NAME:TAG",),
        )
    if unnamed is not None:
        names = [Reference.parse(target).with_default_tag()]
    else:
        names = resolve_destinations([Reference.parse(str(one.name)) for one in targets], target, context)
    return [
        Push(name, one.root, one.id, platforms, one.place, act.verb) for name, one in zip(names, targets, strict=True)
    ]


def _plan_copy_between_registries(act: ast.ActionStatement, to: list[str], context: PlanContext) -> list[Action]:
    platforms, _ = get_platforms(act, context)
    try:
        if not is_template(to[0]):
            parse_namespace(to[0])  # refuses an invalid name before any request
        sources, failures = resolve_references(act, context)
        destinations = resolve_destinations(sources, to[0], context)
    except StatementError as problem:
        option = get_option(act, "to")
        problem.span = problem.span or (option.span if option else None)
        raise
    source_by_destination: dict[Reference, Reference] = {}
    for source, target in zip(sources, destinations, strict=True):
        if source_by_destination.setdefault(target, source) != source:
            raise StatementError(
                f"both {source_by_destination[target]} and {source} would be copied to {target}",
                code="operand",
                span=act.span,
            )
    referrers = get_option(act, "with referrers") is not None
    return [
        *(Copy(source, target, platforms, referrers) for target, source in source_by_destination.items()),
        *failures,
    ]


VERB = Verb(
    "copy",
    "Copy images from registry to registry without storing them; an index is copied with all its platforms. "
    "The destination after to is a name, a host or namespace (repositories and tags stay the same), or a template. "
    "with referrers also copies signatures, attestations and SBOMs. Destinations on this machine are store, oci:DIR, "
    "oci-archive:FILE, docker-archive:FILE and dir:DIR; and engines, such as docker and podman. What a store or an "
    "engine has already is not copied again. from PLACE says where the images are.",
    "copy redis:7, alpine:3.19 to registry.local:5000/mirror",
    OperandKind.NAMES,
    options=("platform", "to", "from", "force", "skip existing", "with referrers", "dry run"),
    plan=_plan_copy,
)
