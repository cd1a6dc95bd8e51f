"""The sentence forms of conditions, declared once: what each takes, and what it stands for.

A form with `expand` is short for another expression of the language; the rest are bound in expressions.py.
"""

from __future__ import annotations

from imq.grammar import ast
from imq.grammar.record import TYPE_CHECKING, Record

if TYPE_CHECKING:
    from collections.abc import Callable


class Predicate(Record):
    """One sentence form. `words` begin it, `takes` names what follows them (empty: nothing)."""

    words: str
    parameter: str
    doc: str
    example: str
    expand: Callable[[tuple[ast.Expr, ...]], ast.Expr] | None = None


def _field(*path: str) -> ast.Field:
    return ast.Field(path)


PREDICATES: dict[str, Predicate] = {
    phrase.words: phrase
    for phrase in (
        Predicate("in use", "", "a container was made from the image", "in use", lambda _: _field("in_use")),
        Predicate("older than", "a duration", "created longer ago than that", "older than 30d"),
        Predicate("newer than", "a duration", "created more recently than that", "newer than 2 weeks"),
        Predicate("based on", "an image", "its first layers are all the layers of that image", "based on debian:12"),
        Predicate("shares layers with", "an image", "a layer is one of that image's too", "shares layers with redis:7"),
        Predicate(
            "contains file",
            "a glob",
            "a file of the image has a path like that",
            'contains file "*log4j*.jar"',
            lambda given: ast.Exists(ast.Query("files", where=ast.Comparison("like", _field("path"), given[0]))),
        ),
        Predicate(
            "contains package",
            "a name",
            "the package of that name is installed in the image",
            "contains package openssl",
            lambda given: ast.Exists(ast.Query("packages", where=ast.Comparison("=", _field("name"), given[0]))),
        ),
        Predicate(
            "outdated",
            "",
            "its tag names another digest in its registry now",
            "outdated",
            lambda _: ast.Comparison("!=", _field("remote", "digest"), _field("digest")),
        ),
        Predicate(
            "local only",
            "",
            "its registry does not have its tag",
            "local only",
            lambda _: ast.Exists(ast.Query("remote"), negated=True),
        ),
    )
}
