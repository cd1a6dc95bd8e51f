"""The containers of the store that an action names or selects, and the context in which actions work on them."""

from __future__ import annotations

from imq.engine.oci.digest import Digest
from imq.engine.query.binder import require_where
from imq.engine.sources.action import Failed, Outcome
from imq.engine.sources.action_options import bind_whole_rows, list_container_names, names_containers
from imq.grammar import ast
from imq.grammar.errors import ImqError, NotFound, StatementError
from imq.grammar.record import TYPE_CHECKING, Record

from .operands import find_planner

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from imq.engine.containers.containers import Containers
    from imq.engine.containers.reader import Container
    from imq.engine.sources.action import Action, ExecutionContext, PlanContext, Planner

_SHORT = 12


class Chosen(Record):
    """A container as it was planned: its ID, its name, its status and the ID of its image."""

    id: str
    name: str
    status: str
    image: Digest | None = None

    @property
    def label(self) -> str:
        """The name, or the beginning of the ID."""
        return self.name or self.id[:_SHORT]


class ContainerAction(Record):
    """An action on one container of the store."""

    container: Chosen

    def describe(self) -> Outcome:
        """Return the name and the image."""
        return Outcome(self.verb, self.container.label, self.container.image, note=self.container.status)

    @property
    def verb(self) -> str:
        """The action in outcomes."""
        raise NotImplementedError

    def apply(self, containers: Containers, container: Container, context: ExecutionContext) -> Outcome:
        """Do it."""
        raise NotImplementedError

    def execute(self, context: ExecutionContext) -> Iterator[Outcome]:
        """Find the container again, and do it. Raises `NotFound` when it was removed meanwhile."""
        containers = context.get_shared(open_containers)
        yield self.apply(containers, containers.read(self.container.id), context)


def open_containers(context: ExecutionContext) -> Containers:
    """Return the containers of the store, cleaned up after processes that were killed."""
    from imq.engine.containers.factory import make_containers

    context.store.check_exists()
    containers = make_containers(context.store, context.runtime, context.environment)
    containers.recover()
    return containers


def find_container_planner(act: ast.ActionStatement, context: PlanContext) -> Planner | None:
    """Return the planner of the engine whose containers are the operands; None: the store.

    Names of containers are not names of images, which `find_planner` would check.
    """
    return find_planner(act.replace(references=()), context)


def plan_for_containers(
    act: ast.ActionStatement, context: PlanContext, make: Callable[[Chosen], Action], *, needs_where: bool = True
) -> list[Action]:
    """Return an action for each container that the statement names or selects, by `make`; or those of an engine."""
    if (planner := find_container_planner(act, context)) is not None:
        return planner(act, context)
    chosen, failures = choose_containers(act, context, needs_where=needs_where)
    return [*map(make, chosen), *failures]


def choose_containers(
    act: ast.ActionStatement, context: PlanContext, *, needs_where: bool = True
) -> tuple[list[Chosen], list[Action]]:
    """Return the containers of the store that a statement names or selects, and a failure for each unknown name.

    The error of the only name is raised.
    """
    if act.query is not None:
        select = bind_whole_rows(act, context)
        if select.table.name != "containers":
            raise StatementError(
                f"{act.verb} takes containers, not {select.table.name}", code="operand", span=act.query.span
            )
        if needs_where:
            require_where(act.query, act.verb)
        query = ast.Query("", base=act.query, select=_COLUMNS)
        rows = context.rows(query.replace(span=act.query.span), ())[1]
        return [_to_chosen(*row) for row in rows], []
    chosen: list[Chosen] = []
    failures: list[Action] = []
    references = list_container_names(act)
    for text, node in zip(context.literals(references), references, strict=True):
        try:
            chosen.append(find_container(text, context))
        except (NotFound, StatementError) as problem:
            problem.span = problem.span or node.span
            if len(references) == 1:
                raise
            failures.append(Failed(act.verb, text, problem))
    return list(dict.fromkeys(chosen)), failures


_COLUMNS = tuple(ast.Column(ast.Field((name,))) for name in ("id", "name", "status", "image_id"))


def _to_chosen(id_: object, name: object, status: object, image: object) -> Chosen:
    return Chosen(str(id_), str(name or ""), str(status), Digest(str(image)) if image else None)


def find_container(text: str, context: PlanContext) -> Chosen:
    """Return the container of the store with a name, an ID or the beginning of one. Raises `NotFound`."""
    from imq.engine.containers.factory import make_containers

    containers = make_containers(context.store, "", context.environment)
    found = containers.find(text)
    state = containers.read_state(found.id)
    return Chosen(found.id, found.name, state.status, Digest(str(found.document["Image"])))


def hint_at_container(act: ast.ActionStatement, context: PlanContext, problem: NotFound, way: str) -> None:
    """Add to the error of an image that does not exist that a container has its name; `way` has {} for the name."""
    for text in context.literals(act.references):
        row = context.store.index.connection.execute("SELECT 1 FROM container WHERE name = ?", (text,)).fetchone()
        if row is not None:
            problem.hints = (f"a container has this name; to {way.format(text)}", *problem.hints)


def is_of_containers(act: ast.ActionStatement, context: PlanContext) -> bool:
    """Whether the operands of a statement are containers: rows of their table, or names after `container`."""
    if act.query is None:
        return names_containers(act)
    try:
        return context.bind(act.query).table.name == "containers"
    except ImqError:
        return False
