"""Every verb of the language, declared once, in the module that plans it.

A module is loaded when one of its verbs is looked at: a question has none, and loading all of them would take a good
part of the time that it may take.
"""

from __future__ import annotations

from collections.abc import Mapping

from imq.grammar.errors import StatementError, UnknownName, nearest
from imq.grammar.record import TYPE_CHECKING

from .verb import Planning, Takes, Verb

if TYPE_CHECKING:
    from collections.abc import Iterator

    from imq.grammar import ast

_DECLARED_IN = {
    "transfer": ("pull", "push", "copy", "import", "load", "save"),
    "export": ("export",),
    "rm": ("rm", "untag", "tag", "rename", "prune"),
    "registry_targets": ("index",),
    "inspect": ("inspect", "verify", "reindex"),
    "login": ("login", "logout"),
    "exec": ("exec",),
}
"""The modules, and the verbs that each declares."""


class _Verbs(Mapping[str, Verb]):
    """The verbs by their names, each loaded when it is asked for."""

    def __init__(self) -> None:
        self._modules = {name: module for module, names in _DECLARED_IN.items() for name in names}
        self._loaded: dict[str, Verb] = {}

    def __getitem__(self, name: str) -> Verb:
        if name not in self._loaded:
            module = __import__(f"{__name__}.{self._modules[name]}", fromlist=["VERBS"])
            self._loaded.update({verb.name: verb for verb in module.VERBS})
        return self._loaded[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._modules)

    def __len__(self) -> int:
        return len(self._modules)

    def __contains__(self, name: object) -> bool:
        return name in self._modules


VERBS: Mapping[str, Verb] = _Verbs()

_INSIDES = "what is inside of layers cannot be read yet"
_CONTAINERS = "the embedded store makes no containers"
ABSENT: tuple[tuple[str, str], ...] = (
    *((name, _INSIDES) for name in ("diff", "cat", "extract", "tree")),
    *((name, _CONTAINERS) for name in ("commit", "create", "start", "stop", "run")),
)
"""Verbs of the language that cannot be done here, and why."""

DESTROYING = frozenset({"rm", "untag", "prune"})
"""Verbs after which something is gone, known without loading them: no misspelled word is readily taken for one."""

__all__ = ["ABSENT", "DESTROYING", "VERBS", "Planning", "Takes", "Verb", "verb_of"]


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
        wrong = f"{verb.name} all: say all of what" + ("" if verb.destroys else f": {verb.name} all images")
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
