"""The names that actions of sources give to images: those of `tag`, `rename` and `push`."""

from __future__ import annotations

from imq.engine.oci.reference import Reference, parse_name, parse_tag_name
from imq.grammar.errors import Conflict, StatementError
from imq.grammar.record import TYPE_CHECKING

from .action import Failed
from .action_options import get_option, get_option_values, names_containers
from .namespaces import add_namespace, parse_namespace
from .row_templates import is_template

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Protocol, TypeVar

    from imq.engine.oci.digest import Digest
    from imq.grammar import ast

    from .action import Action, PlanContext

    class NamedTarget(Protocol):
        """An image of a source: its name, if it has one, its ID, and the text that stands for it in messages.

        `digest` identifies the image in its source.
        """

        @property
        def source(self) -> str: ...  # noqa: D102 - see the class
        @property
        def name(self) -> str | None: ...  # noqa: D102
        @property
        def text(self) -> str: ...  # noqa: D102
        @property
        def id(self) -> Digest: ...  # noqa: D102
        @property
        def digest(self) -> Digest: ...  # noqa: D102

    T = TypeVar("T", bound=NamedTarget)
    Find = Callable[[ast.ActionStatement, PlanContext], tuple[list[T], list[Action]]]
    Render = Callable[[ast.ActionStatement, str, PlanContext], tuple[list[tuple[str, T]], list[Action]]]


def split_container_name(act: ast.ActionStatement, context: PlanContext) -> tuple[str, str] | None:
    """Return the names in `rename container OLD as NEW`, or `rename container OLD NEW`; None for images."""
    given = get_option_values(act, "as", context)
    if not names_containers(act) or len(act.references) + len(given) != 3:
        return None
    _, old, new = (*context.literals(act.references), *given)
    return old, new


def list_new_names(
    act: ast.ActionStatement, context: PlanContext, find: Find[T], render: Render[T]
) -> tuple[list[tuple[Reference, T]], list[Action]]:
    """Return the targets of `tag` and `rename`, each with its new name, and a failure for each row that has none.

    `find` and `render` are the functions of the source that find its targets and render the template of `as`.
    """
    (text,) = get_option_values(act, "as", context)
    if act.query is not None:
        rendered, failures = render(act, text, context)
        return [(parse_tag_name(name), target) for name, target in rendered], failures
    if len(act.references) != 1:
        raise StatementError(f"{act.verb} takes one image for one name", code="operand", span=act.span)
    targets, failures = find(act, context)
    return [(parse_tag_name(text), target) for target in targets], failures


def require_one_image(named: Sequence[tuple[Reference, T]], act: ast.ActionStatement) -> dict[tuple[str, Reference], T]:
    """Return the targets by their source and new name. Raises `StatementError` when two images get one name."""
    by_name: dict[tuple[str, Reference], T] = {}
    for name, target in named:
        other = by_name.setdefault((target.source, name), target)
        if other.digest != target.digest:
            raise make_two_images_error(name, other.id, target.id, act)
    return by_name


def require_one_old_name(
    named: Sequence[tuple[Reference, T]], act: ast.ActionStatement
) -> dict[tuple[str, Reference], T]:
    """Return the targets of `rename` that get another name, by their source and new name.

    Raises `StatementError` when two old names get one new name.
    """
    renamed: dict[tuple[str, Reference], T] = {}
    for name, target in named:
        other = renamed.setdefault((target.source, name), target)
        if other.name != target.name:
            raise make_two_names_error(name, other.text, target.text, act)
    return {key: target for key, target in renamed.items() if str(key[1]) != target.name}


def make_two_images_error(name: Reference, one: Digest, other: Digest, act: ast.ActionStatement) -> StatementError:
    """Return the error for a template that gives two images one name."""
    return StatementError(
        f'the template renders "{name}" for two images: {one.short} and {other.short}',
        code="ambiguous-name",
        span=act.span,
        hints=("add a field to the template, such as {{.Tag}}",),
    )


def make_two_names_error(
    name: Reference, one: str | None, other: str | None, act: ast.ActionStatement
) -> StatementError:
    """Return the error for two old names that `rename` would give one new name."""
    return StatementError(
        f"both {one} and {other} would be renamed to {name}",
        code="ambiguous-name",
        span=act.span,
        hints=("add a field to the template, such as {{.Tag}}", "to remove a name: untag NAME"),
    )


def list_push_names(
    act: ast.ActionStatement, context: PlanContext, find: Find[T], render: Render[T]
) -> tuple[dict[tuple[str, Reference], T], list[Action]]:
    """Return the targets of `push` by source and name, and a failure for each image that has no name.

    The names are those of the images, or those of `to`. `find` and `render` are as in `list_new_names`.
    """
    try:
        named, failures = _list_push_names(act, context, find, render)
    except StatementError as problem:
        to = get_option(act, "to")
        problem.span = problem.span or (to.span if to is not None else None)
        raise
    targets: dict[tuple[str, Reference], T] = {}
    for name, target in named:
        other = targets.setdefault((target.source, name), target)
        if other.digest != target.digest:
            raise StatementError(
                f"{other.text} and {target.text} would be pushed to {name}, but a name can have only one image",
                code="operand",
                span=act.span,
                hints=("without a tag the names are kept: push images where … to registry.local:5000/team",),
            )
    return targets, failures


def _list_push_names(
    act: ast.ActionStatement, context: PlanContext, find: Find[T], render: Render[T]
) -> tuple[list[tuple[Reference, T]], list[Action]]:
    text = next(iter(get_option_values(act, "to", context)), None)
    if text is not None and is_template(text):
        rendered, failures = render(act, text, context)
        return [(parse_tag_name(name), target) for name, target in rendered], failures
    targets, failures = find(act, context)
    namespace = parse_namespace(text) if text is not None else None
    if text is not None and namespace is None:
        return [(parse_tag_name(text), target) for target in targets], failures
    named: list[tuple[Reference, T]] = []
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
