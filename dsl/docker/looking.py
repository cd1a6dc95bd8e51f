"""`docker inspect`, and the command that imq does not have, which says what it waits for."""

from __future__ import annotations

from imq.engine.result import Documents
from imq.grammar import ast
from imq.grammar.errors import ImqError, NotFound, StatementError
from imq.grammar.record import TYPE_CHECKING

from .desk import Work

if TYPE_CHECKING:
    from typing import NoReturn

    from .desk import Around, Desk
    from .flags import Given

    Statements = tuple[ast.Statement, ...]

_TYPES = ("config", "container", "image", "network", "node", "plugin", "secret", "service", "task", "volume")


def compile_inspect(given: Given, _around: Around) -> Statements:
    """Return one inspection for each image, so that one that is not there keeps no other from being shown."""
    kind = given.last("type")
    if kind not in ("", *_TYPES):
        wanted = ", ".join(f'"{each}"' for each in _TYPES)
        raise StatementError(f'unknown type: "{kind}": must be one of {wanted}', code="option")
    if kind not in ("", "image"):
        raise NotFound(f"No such {kind}: {given.arguments[0]}", hints=("imq inspects images",))
    template = given.last("format")
    output = ast.Output(template=template) if template and template != "json" else ast.Output()
    return tuple(ast.Act("inspect", (ast.Literal(name),), output=output) for name in given.arguments)


def answer_inspect(desk: Desk, given: Given, statements: Statements) -> int:
    """Write the documents of those that were found, then complain of the others."""
    from imq.engine.render.forms import write_documents

    found: list[Documents] = []
    problems: list[ImqError] = []
    for statement in statements:
        assert isinstance(statement, ast.Act)
        try:
            found.append(desk.documents(statement))
        except NotFound as problem:
            problems.append(problem)
    documents = Documents(
        tuple(document for each in found for document in each.documents),
        _output(statements),
        tuple(error for each in found for error in each.errors),
    )
    if given.last("format") == "json":
        from imq.engine.render.template_json import encode

        desk.say((encode(list(documents.documents)) + "\n",))
    elif documents.documents or not given.last("format"):
        desk.say(write_documents(documents))
    return max([desk.finish(documents), *map(desk.complain, problems)])


def _output(statements: Statements) -> ast.Output:
    first = statements[0]
    assert isinstance(first, ast.Act)
    return first.output


def refuse_commit(_given: Given, _around: Around) -> NoReturn:
    """Say why there is no commit."""
    raise ImqError(
        "imq cannot make an image of a container yet: that waits for containers, which the embedded store has none of",
        code="unavailable",
    )


def answer_nothing(_desk: Desk, _given: Given, _statements: Statements) -> int:
    """Answer a command that compiles to nothing."""
    return 0


WORK = {
    "image inspect": Work(compile_inspect, answer_inspect),
    "commit": Work(refuse_commit, answer_nothing),
}
