"""Pushes images of namespaces to registries by ctr: `push`."""

from __future__ import annotations

from imq.engine.sources.action import Outcome, RegistryWrite, changed_error
from imq.engine.sources.action_options import get_option
from imq.engine.sources.new_names import list_push_names
from imq.grammar.errors import StatementError
from imq.grammar.record import TYPE_CHECKING

from .archives import choose_platform
from .clients import ContainerdClients
from .targets import find_targets, render_targets
from .transfer import make_registry_options

if TYPE_CHECKING:
    from collections.abc import Iterator

    from imq.engine.oci.digest import Digest
    from imq.engine.oci.reference import Reference
    from imq.engine.sources.action import Action, ExecutionContext, PlanContext
    from imq.grammar import ast


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
    targets, failures = list_push_names(act, context, find_targets, render_targets)
    pushes = (
        NamespacePush(source, name, target.id, target.listed.records[0].name, target.digest)
        for (source, name), target in targets.items()
    )
    return [*pushes, *failures]
