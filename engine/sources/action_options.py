"""Readers for the options and operands of action statements, shared by verbs and sources."""

from __future__ import annotations

from imq.grammar import ast
from imq.grammar.errors import StatementError
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from imq.engine.query.ir import Select
    from imq.engine.query.source import SourceRef

    from .action import PlanContext


def get_option(act: ast.ActionStatement, name: str) -> ast.Option | None:
    """Return the option of this name, or None if the statement does not have it."""
    return next((option for option in act.options if option.name == name), None)


def get_option_values(act: ast.ActionStatement, name: str, context: PlanContext) -> list[str]:
    """Return the values of an option; empty if the statement does not have it."""
    option = get_option(act, name)
    return context.literals(option.values) if option is not None else []


def get_named_values(act: ast.ActionStatement, context: PlanContext) -> list[tuple[str, str]]:
    """Return the names and values of the option `with`."""
    option = get_option(act, "with")
    if option is None:
        return []
    return list(zip(context.literals(option.values[::2]), context.literals(option.values[1::2]), strict=True))


def name_image(act: ast.ActionStatement) -> ast.ActionStatement:
    """Return `create NAME from IMAGE in SOURCE` as a statement about the image: its reference, with `from SOURCE`.

    Raises `StatementError` unless it has one name, or none, and one image.
    """
    image, place = get_option(act, "from"), get_option(act, "in")
    if image is None or len(image.values) != 1 or len(act.references) > 1:
        raise StatementError(
            f"{act.verb} takes one name and one image",
            code="operand",
            span=act.span,
            hints=("example: create web from redis:7", "in an engine: create web from redis:7 in docker"),
        )
    others = tuple(one for one in act.options if one not in (image, place))
    if place is not None:
        others = (*others, ast.Option("from", place.values, place.span))
    return act.replace(references=image.values, options=others)


def list_source_refs(act: ast.ActionStatement, context: PlanContext) -> tuple[SourceRef, ...]:
    """Return the sources of an action's references: those of the option `from`, else the default ones."""
    option = get_option(act, "from")
    if option is None:
        return context.scope.default_refs()
    return _resolve_sources(option, context)


def list_destination_refs(act: ast.ActionStatement, context: PlanContext) -> tuple[SourceRef, ...]:
    """Return the sources that an action brings images into: those of the option `to`, else those that the user chose.

    Empty without either: the store.
    """
    option = get_option(act, "to")
    return context.chosen_refs() if option is None else _resolve_sources(option, context)


def _resolve_sources(option: ast.Option, context: PlanContext) -> tuple[SourceRef, ...]:
    texts = zip(context.literals(option.values), option.values, strict=True)
    return tuple(ref for text, node in texts for ref in context.sources.resolve_all(text, node.span))


def bind_whole_rows(act: ast.ActionStatement, context: PlanContext) -> Select:
    """Return the bound query of an action. Raises `StatementError` if it does not select whole rows."""
    assert act.query is not None
    select = context.bind(act.query)
    if not select.is_whole_rows:
        raise StatementError(
            f"{act.verb} takes whole rows: leave out group by, select and count", code="operand", span=act.query.span
        )
    return select


CONTAINER = "container"
"""`rm container web`: the word before names of containers, for verbs that work on images too."""


def list_container_names(act: ast.ActionStatement) -> tuple[ast.Literal | ast.Variable, ...]:
    """Return the references of a statement without the word `container` before them."""
    return act.references[1:] if names_containers(act) else act.references


def names_containers(act: ast.ActionStatement) -> bool:
    """Whether the references of a statement begin with the word `container`."""
    return _begins_with(act, CONTAINER)


VOLUME = "volume"
"""The word before names of volumes: `rm volume data`."""


def names_volumes(act: ast.ActionStatement) -> bool:
    """Whether the references of a statement begin with the word `volume`."""
    return _begins_with(act, VOLUME)


def _begins_with(act: ast.ActionStatement, word: str) -> bool:
    first = act.references[0] if len(act.references) > 1 else None
    return isinstance(first, ast.Literal) and not first.quoted and first.text.lower() == word
