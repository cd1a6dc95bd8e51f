"""The commands `docker inspect`, `docker image inspect` and `docker commit`."""

from __future__ import annotations

from imq.grammar import ast
from imq.grammar.errors import ImqError, NotFound, StatementError
from imq.grammar.record import TYPE_CHECKING

from .context import Handler
from .messages import parse_reference

if TYPE_CHECKING:
    from typing import Any

    from imq.engine.render.docker_inspect import DocumentTemplate

    from .context import CommandContext, CompileContext
    from .flags import ParsedFlags

    Statements = tuple[ast.Statement, ...]

_UNREADABLE_TEMPLATE = 64
"""The exit code of `docker inspect` for an invalid template."""
_ID_LENGTH = 64
_HEX = frozenset("0123456789abcdef")
_TYPES = ("config", "container", "image", "network", "node", "plugin", "secret", "service", "task", "volume")


def compile_inspect(parsed: ParsedFlags, compile_context: CompileContext) -> Statements:
    """Return one statement per image, so that a missing image does not hide the others."""
    kind = parsed.get_last("type")
    if kind not in ("", *_TYPES):
        types = ", ".join(f'"{each}"' for each in _TYPES)
        raise StatementError(f'unknown type: "{kind}": must be one of {types}', code="option")
    if compile_context.in_engine and kind in ("", "image", "container"):
        return _compile_inspect_in_engine(parsed, kind)
    if kind not in ("", "image", "container"):
        raise NotFound(f"No such {kind}: {parsed.arguments[0]}", hints=("imq inspects images and containers",))
    template = parsed.get_last("format")
    output = ast.Output(template=template) if template and template != "json" else ast.Output()
    marks = (ast.Literal("container"),) if kind == "container" else ()
    return tuple(
        ast.ActionStatement("inspect", (*marks, ast.Literal(name)), output=output) for name in parsed.arguments
    )


def _compile_inspect_in_engine(parsed: ParsedFlags, kind: str) -> Statements:
    """Return the statements for each argument: as in docker, a container comes before an image of the same name."""
    template = parsed.get_last("format")
    output = ast.Output(template=template) if template and template != "json" else ast.Output()
    statements: list[ast.Statement] = []
    for name in parsed.arguments:
        if kind != "image":
            literal = ast.Literal(name.removeprefix("/"), quoted=True)
            named = ast.Comparison("=", ast.Field(("name",)), literal)
            is_id = len(name) <= _ID_LENGTH and _HEX.issuperset(name)
            where = ast.Or((named, ast.Comparison("=", ast.Field(("id",)), literal))) if is_id else named
            query = ast.Query("containers", where=where, limit=ast.Limit(ast.Literal("1")))
            statements.append(ast.ActionStatement("inspect", query=query, output=output))
        if kind != "container":
            statements.append(ast.ActionStatement("inspect", (ast.Literal(name),), output=output))
    return tuple(statements)


def run_inspect(context: CommandContext, parsed: ParsedFlags, statements: Statements) -> int:
    """Write the documents, then report images that were not found and documents that the template fails on.

    When a template writes nothing, a newline is written, as by docker.
    """
    from imq.engine.render.formats_data import to_compact_json, to_json

    first = statements[0]
    assert isinstance(first, ast.ActionStatement)
    try:
        template = _document_template(first.output.template)
    except StatementError as problem:
        context.report_error(problem)
        return _UNREADABLE_TEMPLATE
    documents: list[dict[str, Any]] = []
    texts: list[str] = []
    errors: list[ImqError] = []
    problems: list[ImqError] = []
    is_found = False
    for statement in statements:
        assert isinstance(statement, ast.ActionStatement)
        if is_found and statement.query is None:  # the container of this name was found
            is_found = False
            continue
        try:
            result = context.inspect(statement)
            is_found = statement.query is not None and bool(result.documents)
            documents += result.documents
            errors += result.errors
            if template is not None:
                texts += [template.render(document) + "\n" for document in result.documents]
        except (NotFound, StatementError) as problem:
            problems.append(problem)
    if context.compile_context.in_engine:
        problems = _name_missing(parsed, problems, len(documents))
    if template is not None:
        context.write(texts or ("\n",))
    else:
        is_compact = parsed.get_last("format") == "json"
        context.write(((to_compact_json(documents) if is_compact else to_json(documents, indent=4)) + "\n",))
    return context.report_errors([*errors, *problems])


def _name_missing(parsed: ParsedFlags, problems: list[ImqError], found: int) -> list[ImqError]:
    """Return the problems in docker's words: without a type, a missing name is a missing object."""
    kind = parsed.get_last("type")
    if kind == "container" and found < len(parsed.arguments):
        return [*problems, NotFound(f"No such container: {parsed.arguments[0]}", code="no-such-container")]
    if not kind:
        typed = set(parsed.arguments)
        for problem in problems:
            start, words, name = problem.message.partition("No such image: ")
            if words:
                short = name.removesuffix(":latest")
                problem.message = f"{start}No such object: {name if name in typed else short}"
    return problems


def compile_image_inspect(parsed: ParsedFlags, _compile_context: CompileContext) -> Statements:
    """Return one statement per image, so that a missing image does not hide the others."""
    template = parsed.get_last("format")
    output = ast.Output(template=template) if template and template != "json" else ast.Output()
    return tuple(ast.ActionStatement("inspect", (ast.Literal(name),), output=output) for name in parsed.arguments)


def run_image_inspect(context: CommandContext, parsed: ParsedFlags, statements: Statements) -> int:
    """Write the documents as `run_inspect` does, with the type `image`."""
    return run_inspect(context, parsed.replace(values={**parsed.values, "type": ("image",)}), statements)


def compile_container_inspect(parsed: ParsedFlags, compile_context: CompileContext) -> Statements:
    """Return one statement per container, so that a missing one does not hide the others."""
    return compile_inspect(_as_container(parsed), compile_context)


def run_container_inspect(context: CommandContext, parsed: ParsedFlags, statements: Statements) -> int:
    """Write the documents as `run_inspect` does, with the type `container`."""
    return run_inspect(context, _as_container(parsed), statements)


def _as_container(parsed: ParsedFlags) -> ParsedFlags:
    return parsed.replace(values={**parsed.values, "type": ("container",)})


def _document_template(text: str | None) -> DocumentTemplate | None:
    if text is None:
        return None
    from imq.engine.render.docker_inspect import DocumentTemplate
    from imq.engine.render.template.template import Template

    return DocumentTemplate(Template.parse(text))


def compile_commit(parsed: ParsedFlags, _compile_context: CompileContext) -> Statements:
    """Return the statement that makes an image of a container."""
    container, *names = parsed.arguments
    for name in names:
        parse_reference(name)
    own = [part for author in parsed.get_all("author")[-1:] for part in ("author", author)]
    own += [] if parsed.is_on("pause", default=True) else ["pause", "false"]
    last = parsed.get_all("message")[-1:]
    values = (("as", names), ("change", parsed.get_all("change")), ("message", last), ("with", own))
    options = tuple(
        ast.Option(name, tuple(ast.Literal(text, quoted=True) for text in texts)) for name, texts in values if texts
    )
    return (ast.ActionStatement("commit", (ast.Literal(container, quoted=True),), options=options),)


def run_commit(context: CommandContext, _parsed: ParsedFlags, statements: Statements) -> int:
    """Make the image, and write its ID."""
    outcomes, code = context.run_and_report(statements[0])
    context.write(f"{outcome.image}\n" for outcome in outcomes if not outcome.error)
    return code


INSPECT = Handler(compile_inspect, run_inspect)
IMAGE_INSPECT = Handler(compile_image_inspect, run_image_inspect)
CONTAINER_INSPECT = Handler(compile_container_inspect, run_container_inspect)
COMMIT = Handler(compile_commit, run_commit)
