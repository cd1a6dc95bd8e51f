"""`docker login` and `logout`: as docker says it, with its messages; the password is in no statement."""

from __future__ import annotations

from imq.engine.actions.login import KEPT_ALREADY, UNENCRYPTED
from imq.grammar import ast
from imq.grammar.errors import StatementError
from imq.grammar.record import TYPE_CHECKING

from .context import Work

if TYPE_CHECKING:
    from .context import Around, Desk
    from .flags import Given

    Statements = tuple[ast.Statement, ...]

_HUB_KEY = "https://index.docker.io/v1/"
_UNENCRYPTED = """
WARNING! Your credentials are stored unencrypted in '{path}'.
Configure a credential helper to remove this warning. See
https://docs.docker.com/go/credential-store/

"""
_EXISTING = "Authenticating with existing credentials...\n"


def compile_login(given: Given, _around: Around) -> Statements:
    """Return the login of a user, or of whoever is logged in already."""
    user, password = given.last("username"), given.all("password")
    if password and given.on("password-stdin"):
        raise StatementError("conflicting options: cannot specify both --password and --password-stdin", code="option")
    if given.on("password-stdin") and not user:
        raise StatementError("the --password-stdin option requires --username to be set", code="option")
    options = [ast.Option("as", (ast.Literal(user, quoted=True),))] if user else []
    if given.on("password-stdin"):
        options.append(ast.Option("from", (ast.Literal("stdin"),)))
    return (ast.ActionStatement("login", tuple(map(ast.Literal, given.arguments)), options=tuple(options)),)


def answer_login(desk: Desk, given: Given, statements: Statements) -> int:
    """Log in, and say so as docker does."""
    if password := given.last("password"):
        desk.stderr.write("WARNING! Using --password via the CLI is insecure. Use --password-stdin.\n")
        asked = desk.session.context.prompt

        def answered(prompt: str, hidden: bool) -> str:
            if hidden:
                return password
            return asked(prompt, hidden) if asked is not None else ""

        desk.session.context = desk.session.context.replace(prompt=answered)
    (act,) = statements
    assert isinstance(act, ast.ActionStatement)
    outcomes, errors = desk.outcomes(act)
    for outcome in outcomes:
        note = outcome.note or ""
        if outcome.error:
            continue
        if note == KEPT_ALREADY:
            desk.say((_EXISTING,))
        elif note.startswith(UNENCRYPTED):
            desk.stderr.write(_UNENCRYPTED.format(path=note.removeprefix(UNENCRYPTED)))
            desk.stderr.flush()
        desk.say(("Login Succeeded\n",))
    return max((desk.complain(error) for error in errors), default=0)


def compile_logout(given: Given, _around: Around) -> Statements:
    """Return the logout."""
    return (ast.ActionStatement("logout", tuple(map(ast.Literal, given.arguments))),)


def answer_logout(desk: Desk, given: Given, statements: Statements) -> int:
    """Log out; whether anything was kept makes no difference to docker."""
    (act,) = statements
    assert isinstance(act, ast.ActionStatement)
    outcomes, errors = desk.outcomes(act)
    for outcome in outcomes:
        if not outcome.error:
            host = outcome.target if given.arguments and outcome.target != "docker.io" else _HUB_KEY
            desk.say((f"Removing login credentials for {host}\n",))
    return max((desk.complain(error) for error in errors), default=0)


WORK = {"login": Work(compile_login, answer_login), "logout": Work(compile_logout, answer_logout)}
