"""The verb `commit`: makes an image of a container. Engines do it for their own containers."""

from __future__ import annotations

from imq.engine.containers.commit import CommitOptions
from imq.engine.oci.digest import Digest
from imq.engine.oci.dockerfile_changes import apply_instructions
from imq.engine.oci.reference import parse_tag_name
from imq.engine.sources.action import Failed, Outcome
from imq.engine.sources.action_options import bind_whole_rows, get_option_values, list_container_names
from imq.engine.sources.container_values import read_flag, read_named_values
from imq.engine.sources.row_templates import is_template, render_rows
from imq.grammar import ast
from imq.grammar.errors import ImqError, StatementError
from imq.grammar.record import TYPE_CHECKING, Record

from .container_operands import Chosen, find_container, find_container_planner, open_containers
from .verb import OperandKind, Verb

if TYPE_CHECKING:
    from collections.abc import Iterator

    from imq.engine.oci.reference import Reference
    from imq.engine.sources.action import Action, ExecutionContext, PlanContext


class CommitContainer(Record):
    """Make an image of the changes of a container."""

    container: Chosen
    options: CommitOptions

    def describe(self) -> Outcome:
        """Return the name and the container."""
        return Outcome("commit", self._label, note=f"of the container {self.container.label}")

    @property
    def _label(self) -> str:
        return str(self.options.name) if self.options.name is not None else "<none>"

    def execute(self, context: ExecutionContext) -> Iterator[Outcome]:
        """Store the changes as a layer, and the image. Only files that the container changed are read."""
        from imq.engine.containers.commit import commit_container

        containers = context.get_shared(open_containers)
        container = containers.read(self.container.id)
        id_, size = commit_container(containers, container, self.options, context.clock())
        yield self.describe().replace(image=id_, size=size)


def _plan_commit(act: ast.ActionStatement, context: PlanContext) -> list[Action]:
    if len(act.references) == 2 and not any(option.name == "as" for option in act.options):
        name = ast.Option("as", act.references[1:])  # docker's order: commit CONTAINER NAME
        act = act.replace(references=act.references[:1], options=(*act.options, name))
    from .commit_archives import plan_archived_commits

    if (planned := plan_archived_commits(act, context)) is not None:
        return planned
    if (planner := find_container_planner(act, context)) is not None:
        return planner(act, context)
    changes = tuple(get_option_values(act, "change", context))
    apply_instructions({}, changes)
    messages = get_option_values(act, "message", context)
    author, pause = "", True
    for value in read_named_values(act, ("author", "pause"), context):
        if value.name == "author":
            author = value.text
        else:
            pause = read_flag(value)
    chosen, failures = _choose(act, get_option_values(act, "as", context), context)
    names = [name for _, name in chosen if name is not None]
    if len(set(names)) < len(names):
        raise StatementError(
            "several containers would be committed under one name",
            code="operand",
            span=act.span,
            hints=("add a field to the template, such as {{.Name}}",),
        )
    message = messages[0] if messages else ""
    commits = (CommitContainer(one, CommitOptions(name, changes, message, author, pause)) for one, name in chosen)
    return [*commits, *failures]


def _choose(
    act: ast.ActionStatement, names: list[str], context: PlanContext
) -> tuple[list[tuple[Chosen, Reference | None]], list[Action]]:
    """Return the containers with the names of their images, and a failure for each unknown container."""
    chosen: list[tuple[Chosen, Reference | None]] = []
    failures: list[Action] = []
    if act.query is not None:
        from imq.engine.query.binder import require_where

        select = bind_whole_rows(act, context)
        if select.table.name != "containers":
            raise StatementError(
                f"commit takes containers, not {select.table.name}", code="operand", span=act.query.span
            )
        require_where(act.query, act.verb)
        rows = render_rows(act.query, (names[0] if names else "",), context, ("id", "name", "status", "image_id"))
        for (text,), (id_, own_name, status, image) in rows:
            one = Chosen(str(id_), str(own_name or ""), str(status), Digest(str(image)))
            chosen.append((one, parse_tag_name(text) if text else None))
        return chosen, failures
    if names and is_template(names[0]):
        raise StatementError("a template is for the rows of a query", code="operand", span=act.span)
    name = parse_tag_name(names[0]) if names else None
    references = list_container_names(act)
    for text, node in zip(context.literals(references), references, strict=True):
        try:
            chosen.append((find_container(text, context), name))
        except ImqError as problem:
            problem.span = problem.span or node.span
            if len(references) == 1:
                raise
            failures.append(Failed(act.verb, text, problem))
    return chosen, failures


VERB = Verb(
    "commit",
    "Make an image of a container, which is paused for that time; pause = false leaves it running. change takes"
    " Dockerfile instructions. With a query of containers, the name is a template. author and message are those of"
    " docker.",
    "commit web as team/web:1 change 'CMD [\"serve\"]' message 'with the fix'",
    OperandKind.CONTAINERS,
    options=("as", "from", "change", "message", "with", "dry run"),
    docker_differences=(
        "For a container of the store, the new layer has only the files that the container changed, and the layers"
        " below are shared."
    ),
    plan=_plan_commit,
)
