"""The command `docker inspect`, and `docker commit`, which is not available yet."""

from __future__ import annotations

from imq.grammar import ast
from imq.grammar.errors import ImqError, NotFound, StatementError
from imq.grammar.record import TYPE_CHECKING

from .context import Handler

if TYPE_CHECKING:
    from typing import Any, NoReturn

    from imq.engine.render.docker_inspect import DocumentTemplate

    from .context import CommandContext, CompileContext
    from .flags import ParsedFlags

    Statements = tuple[ast.Statement, ...]

_UNREADABLE_TEMPLATE = 64
"""The exit code of `docker inspect` for an invalid template."""
_TYPES = ("config", "container", "image", "network", "node", "plugin", "secret", "service", "task", "volume")


def compile_inspect(parsed: ParsedFlags, _compile_context: CompileContext) -> Statements:
    """Return one statement per image, so that a missing image does not hide the others."""
    kind = parsed.get_last("type")
    if kind not in ("", *_TYPES):
        types = ", ".join(f'"{each}"' for each in _TYPES)
        raise StatementError(f'unknown type: "{kind}": must be one of {types}', code="option")
    if kind not in ("", "image"):
        raise NotFound(f"No such {kind}: {parsed.arguments[0]}", hints=("imq inspects only images",))
    template = parsed.get_last("format")
    output = ast.Output(template=template) if template and template != "json" else ast.Output()
    return tuple(ast.ActionStatement("inspect", (ast.Literal(name),), output=output) for name in parsed.arguments)


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
    for statement in statements:
        assert isinstance(statement, ast.ActionStatement)
        try:
            result = context.inspect(statement)
            documents += result.documents
            errors += result.errors
            if template is not None:
                texts += [template.render(document) + "\n" for document in result.documents]
        except (NotFound, StatementError) as problem:
            problems.append(problem)
    if template is not None:
        context.write(texts or ("\n",))
    else:
        is_compact = parsed.get_last("format") == "json"
        context.write(((to_compact_json(documents) if is_compact else to_json(documents, indent=4)) + "\n",))
    return context.report_errors([*errors, *problems])


def _document_template(text: str | None) -> DocumentTemplate | None:
    if text is None:
        return None
    from imq.engine.render.docker_inspect import DocumentTemplate
    from imq.engine.render.template.template import Template

    return DocumentTemplate(Template.parse(text))


def refuse_commit(_parsed: ParsedFlags, _compile_context: CompileContext) -> NoReturn:
    """Refuse `docker commit`."""
    raise ImqError(
        "imq cannot commit containers: the embedded store has none",
        code="unavailable",
    )


def run_nothing(_context: CommandContext, _parsed: ParsedFlags, _statements: Statements) -> int:
    """Do nothing, for a command without statements."""
    return 0


INSPECT = Handler(compile_inspect, run_inspect)
COMMIT = Handler(refuse_commit, run_nothing)
