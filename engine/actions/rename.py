"""The verb `rename`: gives images a new name and removes the old one; containers after the word `container`."""

from __future__ import annotations

from imq.engine.oci.reference import Reference, parse_tag_name
from imq.engine.sources.action import Outcome
from imq.engine.sources.new_names import split_container_name
from imq.grammar.errors import NotFound, StatementError
from imq.grammar.record import TYPE_CHECKING

from .container_operands import ContainerAction, find_container, find_container_planner, hint_at_container
from .operands import find_planner, resolve_targets
from .tag import get_new_names, plan_tag, render_new_names, with_name
from .untag import Untag
from .verb import OperandKind, Verb

if TYPE_CHECKING:
    from imq.engine.containers.containers import Containers
    from imq.engine.containers.reader import Container
    from imq.engine.sources.action import Action, ExecutionContext, PlanContext
    from imq.grammar import ast


class RenameContainer(ContainerAction):
    """Give a container of the store another name."""

    name: str

    @property
    def verb(self) -> str:
        """The action in outcomes."""
        return "rename"

    def describe(self) -> Outcome:
        """Return the old name and the new one."""
        return Outcome("rename", self.container.label, self.container.image, note=f"to {self.name}")

    def apply(self, containers: Containers, container: Container, _context: ExecutionContext) -> Outcome:
        """Rename it. Raises `Conflict` for a name that another container has."""
        containers.rename(container, self.name)
        return self.describe()


def _plan_rename(act: ast.ActionStatement, context: PlanContext) -> list[Action]:
    if (container_names := split_container_name(act, context)) is not None:
        if (planner := find_container_planner(act, context)) is not None:
            return planner(act, context)
        return [RenameContainer(find_container(container_names[0], context), container_names[1])]
    names, act = get_new_names(
        act, context, "rename needs a new name", 'rename images where repository = old as "new:{{.Tag}}"'
    )
    if (planner := find_planner(act, context)) is not None:
        return planner(with_name(act, names[0]), context)
    if act.query is not None:
        named_targets = render_new_names(act, names[0], context)
    else:
        try:
            targets = resolve_targets(act, context)
        except NotFound as problem:
            hint_at_container(act, context, problem, f"rename it: rename container {{}} as {names[0]}")
            raise
        if len(targets) != 1:
            raise StatementError("rename takes one image for one name", code="operand", span=act.span)
        named_targets = [(parse_tag_name(names[0]), targets[0])]
    from imq.engine.sources.new_names import make_two_names_error

    actions: list[Action] = []
    new_names = {str(name) for name, _ in named_targets}
    renamed: dict[Reference, str | None] = {}
    for name, target in named_targets:
        if (other := renamed.setdefault(name, target.name)) != target.name:
            raise make_two_names_error(name, other, target.name, act)
        if str(name) == target.name:
            continue
        actions.append(plan_tag(name, target, context))
        if target.name is not None and target.name not in new_names:
            actions.append(Untag(target.name, target.root, target.id))
    return actions


VERB = Verb(
    "rename",
    "Give an image a new name and remove the old one. With a query the new name is a template. An engine sets the new"
    " name before it removes the old one.",
    'rename images where repository = old as "new:{{.Tag}}"',
    OperandKind.IMAGES,
    options=("as", "from", "dry run"),
    docker_differences=("docker rename gives a container another name: rename container web as web2."),
    plan=_plan_rename,
)
