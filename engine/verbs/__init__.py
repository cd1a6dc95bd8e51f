"""Every verb of the language, declared once."""

from __future__ import annotations

from imq.grammar.errors import StatementError, UnknownName, nearest
from imq.grammar.record import TYPE_CHECKING

from . import execution, inspection, login, names, there, transfer, unpacking
from .declaration import Planning, Takes, Verb

if TYPE_CHECKING:
    from imq.grammar import ast

VERBS: dict[str, Verb] = {
    verb.name: verb
    for verb in (
        *transfer.VERBS,
        *unpacking.VERBS,
        *names.VERBS,
        *there.VERBS,
        *inspection.VERBS,
        *login.VERBS,
        *execution.VERBS,
    )
}

_INSIDES = "what is inside of layers cannot be read yet"
_CONTAINERS = "the embedded store makes no containers"
ABSENT: tuple[tuple[str, str], ...] = (
    *((name, _INSIDES) for name in ("diff", "cat", "extract", "tree")),
    *((name, _CONTAINERS) for name in ("commit", "create", "start", "stop", "run")),
)
"""Verbs of the language that cannot be done here, and why."""

__all__ = ["ABSENT", "VERBS", "Planning", "Takes", "Verb", "verb_of"]


def verb_of(statement: ast.Act) -> Verb:
    """Return the declaration of an action's verb; raises when its operands or options are not what the verb takes."""
    verb = VERBS.get(statement.verb)
    if verb is None:
        raise UnknownName(
            f'there is no verb "{statement.verb}"', span=statement.span, hints=(nearest(statement.verb, VERBS),)
        )
    given = bool(statement.references) or statement.query is not None
    wrong = ""
    if statement.every and not verb.all:
        wrong = f"{verb.name} all: say all of what: {verb.name} all images"
    elif not given and not statement.every and not verb.alone:
        wrong = f"{verb.name} needs {verb.takes.value}"
    elif given and verb.takes is Takes.NOTHING:
        wrong = f"{verb.name} takes no operand"
    if wrong:
        raise StatementError(wrong, code="operand", span=statement.span, hints=(f"such as: {verb.example}",))
    for option in statement.options:
        if option.name not in verb.options:
            known = ", ".join(verb.options) or "none"
            raise StatementError(
                f'{verb.name} does not take "{option.name}"',
                code="option",
                span=option.span,
                hints=(f"its options: {known}",),
            )
    return verb
