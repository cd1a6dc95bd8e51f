"""Pushes images of namespaces to registries by ctr: `push`."""

from __future__ import annotations

from imq.engine.oci.reference import Reference, parse_name
from imq.engine.sources.action import Failed, Outcome, RegistryWrite
from imq.engine.sources.action_options import get_option, parse_tag_name
from imq.engine.sources.namespaces import add_namespace, parse_namespace
from imq.engine.sources.row_templates import is_template
from imq.grammar.errors import Conflict, StatementError
from imq.grammar.record import TYPE_CHECKING

from .archives import choose_platform
from .clients import ContainerdClients
from .tag import changed_error
from .targets import find_targets, render_targets
from .transfer import make_registry_options

if TYPE_CHECKING:
    from collections.abc import Iterator

    from imq.engine.oci.digest import Digest
    from imq.engine.sources.action import Action, ExecutionContext, PlanContext
    from imq.grammar import ast

    from .targets import NamespaceTarget

    Named = list[tuple[Reference, NamespaceTarget]]


class NamespacePush(RegistryWrite):
    """Make ctr push an image as `reference`. `record` is its name in the namespace, `target` what that points to."""

    source: str
    reference: Reference
    id: Digest
    record: str
    target: Digest

    def describe(self) -> Outcome:
        """Return the name and the image."""
        return Outcome("push", str(self.reference), self.id, note=f"from {self.source}")

    def execute(self, context: ExecutionContext, /) -> Iterator[Outcome]:
        """Push an index whole, or the image of this platform when the others are not here.

        Raises `NotFound` (`changed`) when the name belongs to another image by now.
        """
        context.notify_network()
        clients = context.get_shared(ContainerdClients)
        listed = clients.read_rows(self.source).find_record(self.record)
        if listed is None or listed.descriptor.digest != self.target:
            raise changed_error(self.record)
        platform = choose_platform(listed)
        options, secret = make_registry_options(context, self.reference)
        if platform is not None:
            options += ["--platform", platform]
        remote = f"{self.reference.canonical_name}:{self.reference.tag}"
        clients.get_ctr(self.source).run("images", "push", *options, remote, self.record, secret=secret)
        digest = self.target if platform is None else listed.images[0].manifest
        yield Outcome("push", str(self.reference), self.id, note=f"digest: {digest}")


def plan_push(act: ast.ActionStatement, context: PlanContext) -> list[Action]:
    """Return the pushes of `push`, under the names of the images or those of `to`."""
    if (option := get_option(act, "platform")) is not None:
        raise StatementError("push by ctr does not take platform", code="option", span=option.span)
    to = get_option(act, "to")
    try:
        named, failures = _name_targets(act, context.literals(to.values)[0] if to is not None else None, context)
    except StatementError as problem:
        problem.span = problem.span or (to.span if to is not None else None)
        raise
    targets: dict[tuple[str, Reference], NamespaceTarget] = {}
    for name, target in named:
        other = targets.setdefault((target.source, name), target)
        if other.digest != target.digest:
            raise StatementError(
                f"{other.text} and {target.text} would be pushed to {name}, but a name can have only one image",
                code="operand",
                span=act.span,
                hints=("without a tag the names are kept: push images where … to registry.local:5000/team",),
            )
    pushes = (
        NamespacePush(source, name, target.id, target.listed.records[0].name, target.digest)
        for (source, name), target in targets.items()
    )
    return [*pushes, *failures]


def _name_targets(act: ast.ActionStatement, text: str | None, context: PlanContext) -> tuple[Named, list[Action]]:
    """Return the names to push, and a failure for each image that has none."""
    if text is not None and is_template(text):
        rendered, failures = render_targets(act, text, context)
        return [(parse_tag_name(name), target) for name, target in rendered], failures
    targets, failures = find_targets(act, context)
    namespace = parse_namespace(text) if text is not None else None
    if text is not None and namespace is None:
        return [(parse_tag_name(text), target) for target in targets], failures
    named: Named = []
    for target in targets:
        name = parse_name(target.name) if target.name is not None else None
        if isinstance(name, Reference) and name.tag is not None:
            named.append((add_namespace(namespace, name) if namespace is not None else name, target))
        else:
            error = Conflict(
                f"{target.text} has no name to push", hints=("to push it under a name: push ID to NAME:TAG",)
            )
            failures.append(Failed(act.verb, target.text, error))
    return named, failures
