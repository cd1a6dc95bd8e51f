"""The verb `tag`: adds names to images."""

from __future__ import annotations

from imq.engine.oci.digest import Digest
from imq.engine.oci.reference import Reference, parse_tag_name
from imq.engine.sources.action import Outcome, StoreAction, changed_error
from imq.engine.sources.action_options import get_option_values
from imq.grammar import ast
from imq.grammar.errors import NotFound, StatementError
from imq.grammar.record import TYPE_CHECKING

from .operands import (
    TARGET_COLUMNS,
    Target,
    check_targets,
    find_planner,
    get_target_query,
    parse_target_row,
    resolve_targets,
)
from .verb import OperandKind, Verb

if TYPE_CHECKING:
    from imq.engine.sources.action import Action, PlanContext
    from imq.engine.store.transaction import Transaction


class Tag(StoreAction):
    """Give an image a name. `moves_from` is the id of the image that loses the name, if there is one."""

    name: Reference
    root: Digest
    id: Digest
    moves_from: Digest | None = None

    def describe(self) -> Outcome:
        """Return the name, the image, and the image that loses the name."""
        note = f"moves from {self.moves_from.short}" if self.moves_from else None
        return Outcome("tag", str(self.name), self.id, note=note)

    def apply(self, transaction: Transaction, now: int) -> Outcome:
        """Set the name. Raises when it belongs to yet another image by now, or the image is gone."""
        holder = transaction.find_entry(self.name)
        if (
            holder is not None
            and holder.descriptor.digest != self.root
            and not transaction.refers_to(holder, self.moves_from)
        ):
            raise changed_error(str(self.name))
        source = next(iter(transaction.entries_of(self.root)), None)
        if source is None:
            raise changed_error(self.id.short)
        same_repository = source.name is not None and source.name.canonical_name == self.name.canonical_name
        is_new = transaction.set_name(self.name, source.descriptor, source.digest if same_repository else None, now)
        note = f"moved from {self.moves_from.short}" if self.moves_from else None
        return Outcome("tag", str(self.name), self.id, note=note if is_new else "it had the name already")


def _plan_tag(act: ast.ActionStatement, context: PlanContext) -> list[Action]:
    names, act = get_new_names(act, context, "tag needs a name", "tag redis:7 as team/cache:stable")
    if (planner := find_planner(act, context)) is not None:
        return planner(with_name(act, names[0]), context)
    if act.query is not None:
        return _plan_tags_by_template(act, names[0], context)
    if len(act.references) == 1 and (planned := _plan_elsewhere(act, names[0], context)):
        return planned
    targets = resolve_targets(act, context)
    if len(targets) != 1:
        raise StatementError("tag takes one image for one name", code="operand", span=act.span)
    return [plan_tag(parse_tag_name(names[0]), targets[0], context)]


def with_name(act: ast.ActionStatement, name: str) -> ast.ActionStatement:
    """Return the statement with the name as its option `as`, where planners of sources expect it."""
    options = tuple(option for option in act.options if option.name != "as")
    return act.replace(options=(*options, ast.Option("as", (ast.Literal(name, quoted=True),))))


def _plan_elsewhere(act: ast.ActionStatement, name: str, context: PlanContext) -> list[Action]:
    """Return the plan of another source that has the image; empty when the store has it or no source does."""
    (text,) = context.literals(act.references)
    try:
        context.store.find(text)
    except NotFound:
        planners = (source.planners.get(act.verb) for source in context.sources if source.has_target(text))
        plans = (planner(with_name(act, name), context) for planner in planners if planner is not None)
        return next(filter(None, plans), [])
    return []


def get_new_names(
    act: ast.ActionStatement, context: PlanContext, message: str, example: str
) -> tuple[list[str], ast.ActionStatement]:
    """Return the values of `as`, or the second operand as in docker's syntax, and the rest of the statement."""
    names = get_option_values(act, "as", context)
    if not names and len(act.references) == 2:
        names = context.literals(act.references[1:])
        act = act.replace(references=act.references[:1])
    if not names:
        raise StatementError(message, code="operand", span=act.span, hints=(f"example: {example}",))
    return names, act


def plan_tag(name: Reference, target: Target, context: PlanContext) -> Tag:
    """Return the action that gives an image of the store a name."""
    holder = context.store.find_named(name)
    if holder is None:
        return Tag(name, target.root, target.id)
    moves = holder.name is not None and holder.root != target.root
    return Tag(name, target.root, target.id, holder.id if moves else None)


def _plan_tags_by_template(act: ast.ActionStatement, source: str, context: PlanContext) -> list[Action]:
    """Return one action for each row of the query, with the name that the template renders."""
    return [plan_tag(name, target, context) for name, target in render_new_names(act, source, context)]


def render_new_names(act: ast.ActionStatement, source: str, context: PlanContext) -> list[tuple[Reference, Target]]:
    """Return each row of a query with its rendered name. Raises `StatementError` when two images get one name."""
    from imq.engine.sources.new_names import make_two_images_error
    from imq.engine.sources.row_templates import render_rows

    targets_by_name: dict[Reference, Target] = {}
    named_targets: list[tuple[Reference, Target]] = []
    seen: set[tuple[Reference, str | None]] = set()
    for (text,), row in render_rows(get_target_query(act, context), (source,), context, TARGET_COLUMNS):
        target = parse_target_row(row)
        name = parse_tag_name(text)
        earlier = targets_by_name.setdefault(name, target)
        if earlier.root != target.root:
            raise make_two_images_error(name, earlier.id, target.id, act)
        if (name, target.name) not in seen:  # each platform of an index is a row
            seen.add((name, target.name))
            named_targets.append((name, target))
    check_targets([target for _, target in named_targets], act, context)
    return named_targets


VERB = Verb(
    "tag",
    "Give an image a name; a name of another image moves. With a query the name is a template.",
    "tag redis:7 as team/cache:stable",
    OperandKind.IMAGES,
    options=("as", "from", "dry run"),
    docker_differences=("An image that loses its only name stays and is dangling."),
    plan=_plan_tag,
)
