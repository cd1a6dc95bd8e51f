"""The names under which sources push their images: those of the images, or those of `to`."""

from __future__ import annotations

from imq.engine.oci.reference import Reference, parse_name
from imq.grammar.errors import Conflict
from imq.grammar.record import TYPE_CHECKING

from .action import Failed
from .action_options import get_option_values, parse_tag_name
from .namespaces import add_namespace, parse_namespace
from .row_templates import is_template

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol, TypeVar

    from imq.grammar import ast

    from .action import Action, PlanContext

    class NamedTarget(Protocol):
        """An image of a source: its name, if it has one, and the text that stands for it in messages."""

        @property
        def name(self) -> str | None: ...  # noqa: D102 - see the class
        @property
        def text(self) -> str: ...  # noqa: D102

    T = TypeVar("T", bound=NamedTarget)


def name_targets(
    act: ast.ActionStatement,
    context: PlanContext,
    find: Callable[[ast.ActionStatement, PlanContext], tuple[list[T], list[Action]]],
    render: Callable[[ast.ActionStatement, str, PlanContext], tuple[list[tuple[str, T]], list[Action]]],
) -> tuple[list[tuple[Reference, T]], list[Action]]:
    """Return the targets of `push`, each with its name, and a failure for each image that has none.

    `find` and `render` are the functions of the source that find its targets and render the template of `to`.
    """
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
