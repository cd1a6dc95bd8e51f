"""The verb `logout`: removes the stored credentials for registries."""

from __future__ import annotations

from imq.engine.sources.action import Outcome
from imq.grammar.record import TYPE_CHECKING, Record

from .login import parse_hosts
from .verb import OperandKind, Verb

if TYPE_CHECKING:
    from collections.abc import Iterator

    from imq.engine.sources.action import Action, ExecutionContext, PlanContext
    from imq.grammar import ast


class Logout(Record):
    """Remove the stored credentials for a registry."""

    host: str

    def describe(self) -> Outcome:
        """Return the host."""
        return Outcome("logout", self.host)

    def execute(self, context: ExecutionContext) -> Iterator[Outcome]:
        """Remove the credentials. A note reports other files, such as podman's, that still have some."""
        from imq.engine.registry.auth.credentials import find_credentials
        from imq.engine.registry.auth.login import erase_credentials

        settings = context.registry_settings()
        store = erase_credentials(settings, self.host)
        note = "removed" if store.changed else "none were stored"
        if find_credentials(settings, self.host) is not None:
            note += "; another file still has some: REGISTRY_AUTH_FILE, or podman's auth.json"
        yield Outcome("logout", self.host, note=note)


def _plan_logout(act: ast.ActionStatement, context: PlanContext) -> list[Action]:
    return [Logout(host) for host in parse_hosts(act, context)]


VERB = Verb(
    "logout",
    "Remove the credentials for registries (default: Docker Hub) from where docker stores them.",
    "logout registry.local:5000",
    OperandKind.HOSTS,
    options=("dry run",),
    operand_optional=True,
    plan=_plan_logout,
)
