"""The commands `docker login` and `logout`, with docker's messages. The password is never part of a statement."""

from __future__ import annotations

from imq.engine.actions.login import UNENCRYPTED, WITH_STORED_CREDENTIALS
from imq.grammar import ast
from imq.grammar.errors import StatementError
from imq.grammar.record import TYPE_CHECKING

from .context import Handler

if TYPE_CHECKING:
    from .context import CommandContext, CompileContext
    from .flags import ParsedFlags

    Statements = tuple[ast.Statement, ...]

_HUB_KEY = "https://index.docker.io/v1/"
_UNENCRYPTED = """
WARNING! Your credentials are stored unencrypted in '{path}'.
Configure a credential helper to remove this warning. See
https://docs.docker.com/go/credential-store/

"""
_EXISTING = "Authenticating with existing credentials...\n"


def compile_login(parsed: ParsedFlags, _compile_context: CompileContext) -> Statements:
    """Return the statement that logs in, with the stored credentials when there is no user."""
    user, password = parsed.get_last("username"), parsed.get_all("password")
    if password and parsed.is_on("password-stdin"):
        raise StatementError("conflicting options: cannot specify both --password and --password-stdin", code="option")
    if parsed.is_on("password-stdin") and not user:
        raise StatementError("the --password-stdin option requires --username to be set", code="option")
    options = [ast.Option("as", (ast.Literal(user, quoted=True),))] if user else []
    if parsed.is_on("password-stdin"):
        options.append(ast.Option("from", (ast.Literal("stdin"),)))
    return (ast.ActionStatement("login", tuple(map(ast.Literal, parsed.arguments)), options=tuple(options)),)


def run_login(context: CommandContext, parsed: ParsedFlags, statements: Statements) -> int:
    """Log in, and write docker's messages."""
    if password := parsed.get_last("password"):
        context.stderr.write("WARNING! Using --password via the CLI is insecure. Use --password-stdin.\n")
        prompt_user = context.session.context.prompt

        def answer_prompt(prompt: str, hidden: bool) -> str:
            if hidden:
                return password
            return prompt_user(prompt, hidden) if prompt_user is not None else ""

        context.session.context = context.session.context.replace(prompt=answer_prompt)
    (act,) = statements
    assert isinstance(act, ast.ActionStatement)
    outcomes, errors = context.run_action(act)
    for outcome in outcomes:
        note = outcome.note or ""
        if outcome.error:
            continue
        if note == WITH_STORED_CREDENTIALS:
            context.write((_EXISTING,))
        elif note.startswith(UNENCRYPTED):
            context.stderr.write(_UNENCRYPTED.format(path=note.removeprefix(UNENCRYPTED)))
            context.stderr.flush()
        context.write(("Login Succeeded\n",))
    return context.report_errors(errors)


def compile_logout(parsed: ParsedFlags, _compile_context: CompileContext) -> Statements:
    """Return the statement that logs out."""
    return (ast.ActionStatement("logout", tuple(map(ast.Literal, parsed.arguments))),)


def run_logout(context: CommandContext, parsed: ParsedFlags, statements: Statements) -> int:
    """Log out. As in docker the output does not depend on whether credentials were stored."""
    (act,) = statements
    assert isinstance(act, ast.ActionStatement)
    outcomes, errors = context.run_action(act)
    for outcome in outcomes:
        if not outcome.error:
            host = outcome.target if parsed.arguments and outcome.target != "docker.io" else _HUB_KEY
            context.write((f"Removing login credentials for {host}\n",))
    return context.report_errors(errors)


LOGIN = Handler(compile_login, run_login)
LOGOUT = Handler(compile_logout, run_logout)
