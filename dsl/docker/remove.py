"""The commands `docker rmi` and `docker image prune`."""

from __future__ import annotations

from imq.engine.render.docker import format_reclaimed_space
from imq.engine.sources.action import Delegation
from imq.grammar import ast
from imq.grammar.errors import ImqError, NotFound
from imq.grammar.record import TYPE_CHECKING

from .context import Handler
from .filters import join_conditions, prune_conditions
from .messages import capitalize, describe_removals, docker_error, take_snapshot

if TYPE_CHECKING:
    from .context import CommandContext, CompileContext
    from .flags import ParsedFlags

    Statements = tuple[ast.Statement, ...]

_DANGLING = "This will remove all dangling images."
_UNUSED = "This will remove all images without at least one container associated to them."


def compile_rmi(parsed: ParsedFlags, _compile_context: CompileContext) -> Statements:
    """Return the statement that removes these images."""
    references = tuple(ast.Literal(name) for name in parsed.arguments)
    platforms = tuple(ast.Literal(text) for value in parsed.get_all("platform") for text in value.split(","))
    options = [ast.Option("force")] if parsed.is_on("force") else []
    if platforms:
        options.append(ast.Option("platform", platforms))
    return (ast.ActionStatement("rm", references, options=tuple(options)),)


def run_rmi(context: CommandContext, parsed: ParsedFlags, statements: Statements) -> int:
    """Remove the images as docker does: without a prompt, and continuing after a failure.

    With -f, an image that is not found is reported, but the exit code is 0.
    """
    (act,) = statements
    assert isinstance(act, ast.ActionStatement)
    if context.session.is_of_engine:
        return _run_rmi_in_engine(context, parsed, act)
    problems: list[ImqError] = []
    try:
        snapshot = take_snapshot(context, context.run_action(act, dry_run=True)[0])
        outcomes, errors = context.run_action(act)
    except ImqError as error:
        if error.exit_code == 130:
            raise
        problems.append(docker_error(error, parsed.arguments[0]))
    else:
        removals = describe_removals(context, outcomes, snapshot)
        context.write(f"{capitalize(word)}: {name}\n" for word, name in removals)
        failed = [outcome.target for outcome in outcomes if outcome.error]
        problems += [docker_error(error, target) for error, target in zip(errors, failed, strict=True)]
    codes = [context.report_error(problem) for problem in problems]
    if parsed.is_on("force") and all(isinstance(problem, NotFound) for problem in problems):
        return 0
    return max(codes, default=0)


def _run_rmi_in_engine(context: CommandContext, parsed: ParsedFlags, act: ast.ActionStatement) -> int:
    """Let the engine remove the images by its own rules, and write the lines that it returns."""
    context.session.delegate_removals(Delegation(parsed.is_on("no-prune")))
    _, errors = context.run_action(act)
    context.write(f"{line}\n" for line in context.session.engine_answers)
    code = context.report_errors(errors)
    return 0 if parsed.is_on("force") and all(isinstance(error, NotFound) for error in errors) else code


def compile_prune(parsed: ParsedFlags, compile_context: CompileContext) -> Statements:
    """Return the statement that removes unused images without a tag; with -a all unused images."""
    filters, dangling = prune_conditions(
        parsed.get_all("filter"), compile_context.now, compile_context.zone, compile_context.spares_any_label
    )
    unused = ast.Not(ast.Predicate("in use"))
    includes_tagged = parsed.is_on("all") or dangling is False
    where = join_conditions([None if includes_tagged else ast.Field(("dangling",)), unused, filters])
    query = ast.Query("images", where=where, order=(ast.Ordering(ast.Field(("created",))),))
    return (ast.ActionStatement("rm", query=query, options=(ast.Option("force"),)),)


def run_prune(context: CommandContext, parsed: ParsedFlags, statements: Statements) -> int:
    """Prompt unless -f is set, remove the images, and write what was removed and the reclaimed space."""
    (act,) = statements
    assert isinstance(act, ast.ActionStatement)
    in_engine = context.session.is_of_engine
    if not in_engine:
        context.session.store.check_collectable()
    if not parsed.is_on("force") and not context.confirm_removal(_UNUSED if parsed.is_on("all") else _DANGLING):
        return 0
    if in_engine:
        return _prune_engine(context, act)
    snapshot = take_snapshot(context, context.run_action(act, dry_run=True)[0])
    outcomes, errors = context.run_action(act)
    lines = [f"{word}: {name}\n" for word, name in describe_removals(context, outcomes, snapshot)]
    if lines:
        context.write(("Deleted Images:\n", *lines, "\n"))
    context.write((format_reclaimed_space(sum(outcome.size or 0 for outcome in outcomes if not outcome.error)),))
    return context.report_errors(errors)


def _prune_engine(context: CommandContext, act: ast.ActionStatement) -> int:
    """Remove the images, and write what the engine says that it did and how much smaller its layers are."""
    before = _sum_layers(context)
    _, errors = context.run_action(act)
    lines = [f"{line[:1].lower()}{line[1:]}\n" for line in context.session.engine_answers]
    if lines:
        context.write(("Deleted Images:\n", *lines, "\n"))
    context.write((format_reclaimed_space(max(before - _sum_layers(context), 0)),))
    return context.report_errors(errors)


def _sum_layers(context: CommandContext) -> int:
    """Return the size of all layers of the engine's images in bytes."""
    images = ast.Comparison("=", ast.Field(("type",)), ast.Literal("Images", quoted=True))
    query = ast.Query("usage", where=images, select=(ast.Column(ast.Field(("size",))),))
    return sum(int(size or 0) for (size,) in context.query_rows(query))


REMOVE = Handler(compile_rmi, run_rmi)
PRUNE = Handler(compile_prune, run_prune)
