"""Options of statements that command lines compile to."""

from __future__ import annotations

from imq.grammar import ast
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


def literals(texts: Iterable[str]) -> tuple[ast.Literal, ...]:
    """Return words as quoted literals."""
    return tuple(ast.Literal(text, quoted=True) for text in texts)


def make_with(pairs: Iterable[tuple[str, str]]) -> tuple[ast.Option, ...]:
    """Return the option `with` with these names and values; nothing without any."""
    values = [node for name, text in pairs for node in (ast.Literal(name), ast.Literal(text, quoted=True))]
    return (ast.Option("with", tuple(values)),) if values else ()
