"""The predicates of conditions, declared once.

A predicate with `expand` is short for another expression; the others are bound in query/binder/expressions.py.
"""

from __future__ import annotations

from imq.engine.catalog.schema import DataType, Field
from imq.grammar import ast
from imq.grammar.errors import StatementError
from imq.grammar.record import TYPE_CHECKING, Record

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class Predicate(Record):
    """One predicate: its `words`, and its `parameter` (empty: none)."""

    words: str
    parameter: str
    doc: str
    example: str
    expand: Callable[[tuple[ast.Expr, ...]], ast.Expr] | None = None


def _make_field(*path: str) -> ast.Field:
    return ast.Field(path)


FOUND = Field(
    "found",
    DataType.LIST,
    "where contains text found its string in an image: in files, the first line with it, by path and number",
    shown_items=5,
)
"""The field of the rows of a query whose condition has `contains text`."""


def _make_pattern(text: ast.Expr) -> ast.Literal:
    """Return the glob of a string with any text around it."""
    if not isinstance(text, ast.Literal):
        raise StatementError(
            "contains text takes a string", code="operand", hints=('example: contains text "10.0.0.5"',)
        )
    escaped = "".join(f"\\{character}" if character in "*?[\\" else character for character in text.text)
    return text.replace(text=f"*{escaped}*", quoted=True)


def _expand_contains_text(text: ast.Expr) -> ast.Expr:
    """Return the condition that a string is in the files, the steps of the build or the config of an image."""
    pattern = _make_pattern(text)
    places = [ast.Comparison("like", _make_field(name), pattern) for name in ("env", "label", "cmd", "entrypoint")]
    steps = ast.Query("history", where=ast.Comparison("like", _make_field("created_by"), pattern))
    files = ast.Query("files", where=ast.Comparison("like", _make_field("content"), pattern))
    return ast.Or((*places, ast.Exists(steps), ast.Exists(files)))


def make_found_query(texts: Sequence[ast.Expr]) -> ast.Query:
    """Return the query of where an image has one of these strings: the value of the field `found`."""
    lines = tuple(ast.Comparison("like", _make_field("text"), _make_pattern(text)) for text in texts)
    first = ast.Comparison("=", _make_field("occurrence"), ast.Literal("1"))
    where = ast.And((first, ast.Or(lines) if len(lines) > 1 else lines[0]))
    return ast.Query("texts", where=where, select=(ast.Column(_make_field("location")),))


PREDICATES: dict[str, Predicate] = {
    predicate.words: predicate
    for predicate in (
        Predicate("in use", "", "a container was made from the image", "in use", lambda _: _make_field("in_use")),
        Predicate("older than", "a duration", "the image was created longer ago", "older than 30d"),
        Predicate("newer than", "a duration", "the image was created more recently", "newer than 2 weeks"),
        Predicate(
            "based on",
            "an image",
            "the lowest layers of the image are all layers of that image, or of one of the query in parentheses",
            "based on debian:12",
        ),
        Predicate(
            "shares layers with",
            "an image",
            "the image has a layer of that image, or of another image of the query in parentheses",
            "shares layers with redis:7",
        ),
        Predicate(
            "contains file",
            "a glob",
            "the path of a file in the image matches the glob",
            'contains file "*log4j*.jar"',
            lambda arguments: ast.Exists(
                ast.Query("files", where=ast.Comparison("like", _make_field("path"), arguments[0]))
            ),
        ),
        Predicate(
            "contains package",
            "a name",
            "the package of that name is installed in the image",
            "contains package openssl",
            lambda arguments: ast.Exists(
                ast.Query("packages", where=ast.Comparison("=", _make_field("name"), arguments[0]))
            ),
        ),
        Predicate(
            "contains text",
            "a string",
            "a file of the image, its build steps, variables, labels or command contain the string; found says where,"
            ' and texts each line: texts of app:1 where text like "*10.0.0.5*"',
            'contains text "10.0.0.5"',
            lambda arguments: _expand_contains_text(arguments[0]),
        ),
        Predicate(
            "writable by",
            "a user",
            "the user can write to the file: a name, a number, or UID:GID, with the groups in the image; root can write"
            " to every file. The user must be able to reach it too: to search the folders on the way",
            "writable by www-data",
            lambda arguments: ast.Comparison("has", _make_field("writable_by"), arguments[0]),
        ),
        Predicate(
            "executable by",
            "a user",
            "the user can execute the file, or search the folder, and reach it: see writable by",
            "executable by 1000:1000",
            lambda arguments: ast.Comparison("has", _make_field("executable_by"), arguments[0]),
        ),
        Predicate(
            "outdated",
            "",
            "the tag has another digest in its registry; of a container, that of its image",
            "outdated",
            lambda _: ast.Comparison("!=", _make_field("remote", "digest"), _make_field("digest")),
        ),
        Predicate(
            "local only",
            "",
            "the registry does not have the tag",
            "local only",
            lambda _: ast.Exists(ast.Query("remote"), negated=True),
        ),
    )
}
