"""Removes containers of engines: `rm containers where …`.

The engine does it, and its conflicts are reported in its words. The plan is checked again before each removal: a
container that was started, stopped or replaced since the plan is left alone.
"""

from __future__ import annotations

from imq.engine.docker_engine.errors import protocol_error
from imq.engine.oci.digest import Digest
from imq.engine.query.binder import require_where
from imq.engine.sources.action import Failed, Outcome
from imq.engine.sources.action_options import bind_whole_rows, get_option
from imq.grammar import ast
from imq.grammar.errors import Conflict, EngineError
from imq.grammar.record import TYPE_CHECKING, Record

from .clients import EngineClients
from .container_listing import ACTIVE, STOPPED
from .json_documents import read_object, read_text
from .podman_documents import BUILD_STATE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from imq.engine.sources.action import Action, ExecutionContext, PlanContext

_SHORT = 12


class RemoveContainer(Record):
    """Remove a container, whose `status` was that of the plan. With `force` its processes are killed."""

    source: str
    id: str
    name: str
    status: str
    image: Digest | None = None
    force: bool = False

    def describe(self) -> Outcome:
        """Return the name with the status and the image."""
        if self.status == BUILD_STATE:
            return Outcome("remove", self.name, self.image, note=f"working container of a build in {self.source}")
        kills = ", its processes are killed" if self.status in ACTIVE else ""
        return Outcome("remove", self.name, self.image, note=f"{self.status} container in {self.source}{kills}")

    def execute(self, context: ExecutionContext) -> Iterator[Outcome]:
        """Remove the container. Raises `Conflict` (`changed`) when it is not as it was planned."""
        client = context.get_shared(EngineClients).get(self.source)
        if self.status == BUILD_STATE:  # podman knows it in its own API alone
            client.delete_json(f"libpod/containers/{self.id}")
            yield self.describe()
            return
        state = read_object(client.get_object(f"containers/{self.id}/json").get("State"))
        status = read_text(state.get("Status"))
        if status is None:
            raise protocol_error(client.endpoint, f"the container {self.name} has no status")
        if status != self.status and (status in ACTIVE) != (self.status in ACTIVE):
            raise Conflict(
                f"the container {self.name} is {status} and was {self.status} when this was planned, so it was left"
                " alone",
                code="changed",
                hints=("run the statement again",),
            )
        client.delete_json(f"containers/{self.id}", {"force": "1"} if self.force else {})
        yield self.describe()


def plan_container_removal(act: ast.ActionStatement, context: PlanContext) -> list[Action]:
    """Return the removal of each container of a query. Running ones are failures without `force`."""
    assert act.query is not None
    bind_whole_rows(act, context)
    require_where(act.query, act.verb)
    force = get_option(act, "force") is not None
    names = ("source", "id", "name", "status", "image_id", "problem")
    query = ast.Query("", base=act.query, select=tuple(ast.Column(ast.Field((name,))) for name in names))
    actions: dict[tuple[str, str], Action] = {}
    for source, id_, name, status, image, problem in context.rows(query.replace(span=act.query.span), ())[1]:
        key, text = (str(source), str(id_)), str(name or str(id_)[:_SHORT])
        if problem is not None:  # the condition may have read what the engine did not return
            actions[key] = Failed(act.verb, text, EngineError(str(problem)))
        elif status in ACTIVE and not force:
            actions[key] = Failed(act.verb, text, _active_error(text, str(status)))
        else:
            id_of_image = Digest(str(image)) if image else None
            actions[key] = RemoveContainer(*key, text, str(status), id_of_image, force=force)
    return list(actions.values())


def plan_container_prune(act: ast.ActionStatement, context: PlanContext) -> list[Action]:
    """Return the removal of each container of a query that has no processes, but those of build tools."""
    assert act.query is not None
    bind_whole_rows(act, context)
    stopped = tuple(ast.Literal(status, quoted=True) for status in STOPPED)
    query = ast.Query("", base=act.query, where=ast.In(ast.Field(("status",)), stopped), span=act.query.span)
    return plan_container_removal(act.replace(query=query), context)


def _active_error(name: str, status: str) -> Conflict:
    return Conflict(
        f"unable to remove the container {name}: it is {status}",
        hints=("stop it first, or add force, which kills its processes",),
    )
