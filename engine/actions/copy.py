"""The verb `copy`: copies images from registry to registry."""

from __future__ import annotations

from imq.engine.oci.reference import Reference
from imq.engine.sources.action_options import get_option, get_option_values
from imq.engine.sources.registry.copy import Copy
from imq.engine.sources.row_templates import is_template
from imq.grammar.errors import StatementError
from imq.grammar.record import TYPE_CHECKING

from .destinations import parse_namespace, resolve_destinations
from .operands import get_platforms, resolve_references
from .verb import OperandKind, Verb

if TYPE_CHECKING:
    from imq.engine.sources.action import Action, PlanContext
    from imq.grammar import ast


def _plan_copy(act: ast.ActionStatement, context: PlanContext) -> list[Action]:
    to = get_option_values(act, "to", context)
    if len(to) != 1:
        raise StatementError(
            "copy needs one destination",
            code="operand",
            span=act.span,
            hints=("example: copy redis:7 to registry.local:5000/team/redis:7",),
        )
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
    "with referrers also copies signatures, attestations and SBOMs.",
    "copy redis:7, alpine:3.19 to registry.local:5000/mirror",
    OperandKind.NAMES,
    options=("platform", "to", "with referrers", "dry run"),
    plan=_plan_copy,
)
