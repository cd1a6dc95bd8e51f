"""`docker rmi` and `docker image prune`."""

from __future__ import annotations

from imq.engine.render.docker import format_reclaimed_space
from imq.grammar import ast
from imq.grammar.errors import ImqError, NotFound
from imq.grammar.record import TYPE_CHECKING

from .context import Work
from .filters import both, prune_conditions
from .messages import capital, docker_error, foresee, removed

if TYPE_CHECKING:
    from .context import Around, Desk
    from .flags import Given

    Statements = tuple[ast.Statement, ...]

_DANGLING = "This will remove all dangling images."
_UNUSED = "This will remove all images without at least one container associated to them."


def compile_rmi(given: Given, _around: Around) -> Statements:
    """Return the removal of these images."""
    references = tuple(ast.Literal(name) for name in given.arguments)
    platforms = tuple(ast.Literal(text) for given_text in given.all("platform") for text in given_text.split(","))
    options = [ast.Option("force")] if given.on("force") else []
    if platforms:
        options.append(ast.Option("platform", platforms))
    return (ast.ActionStatement("rm", references, options=tuple(options)),)


def answer_rmi(desk: Desk, given: Given, statements: Statements) -> int:
    """Remove what was named, as docker does: without asking, the rest when one fails.

    With -f an image that is not there is said, and nothing else: the exit code stays 0.
    """
    (act,) = statements
    assert isinstance(act, ast.ActionStatement)
    problems: list[ImqError] = []
    try:
        foreseen = foresee(desk, desk.outcomes(act, dry_run=True)[0])
        outcomes, errors = desk.outcomes(act)
    except ImqError as error:
        if error.exit_code == 130:
            raise
        problems.append(docker_error(error, given.arguments[0]))
    else:
        desk.say(f"{capital(word)}: {what}\n" for word, what in removed(desk, outcomes, foreseen))
        failed = [outcome.target for outcome in outcomes if outcome.error]
        problems += [docker_error(error, target) for error, target in zip(errors, failed, strict=True)]
    codes = [desk.complain(problem) for problem in problems]
    if given.on("force") and all(isinstance(problem, NotFound) for problem in problems):
        return 0
    return max(codes, default=0)


def compile_prune(given: Given, around: Around) -> Statements:
    """Return the removal of every image without a tag that no container uses; with -a of every such image."""
    asked, dangling = prune_conditions(given.all("filter"), around.now, around.zone)
    unused = ast.Not(ast.Predicate("in use"))
    every = given.on("all") or dangling is False
    where = both([None if every else ast.Field(("dangling",)), unused, asked])
    query = ast.Query("images", where=where, order=(ast.Ordering(ast.Field(("created",))),))
    return (ast.ActionStatement("rm", query=query, options=(ast.Option("force"),)),)


def answer_prune(desk: Desk, given: Given, statements: Statements) -> int:
    """Ask, unless -f says not to; remove, and say what went and how much the disk got back."""
    (act,) = statements
    assert isinstance(act, ast.ActionStatement)
    desk.session.store.check_collectable()
    if not given.on("force") and not desk.agree(_UNUSED if given.on("all") else _DANGLING):
        return 0
    foreseen = foresee(desk, desk.outcomes(act, dry_run=True)[0])
    outcomes, errors = desk.outcomes(act)
    lines = [f"{word}: {what}\n" for word, what in removed(desk, outcomes, foreseen)]
    if lines:
        desk.say(("Deleted Images:\n", *lines, "\n"))
    desk.say((format_reclaimed_space(sum(outcome.size or 0 for outcome in outcomes if not outcome.error)),))
    return max((desk.complain(error) for error in errors), default=0)


WORK = {"image rm": Work(compile_rmi, answer_rmi), "image prune": Work(compile_prune, answer_prune)}
