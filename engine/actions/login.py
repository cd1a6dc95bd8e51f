"""Verbs that let one in at a registry, and out again: login, logout."""

from __future__ import annotations

from imq.engine.oci.reference import DEFAULT_REGISTRY, Reference
from imq.engine.units.paths import home_folder, located
from imq.grammar.errors import InvalidReference, StatementError
from imq.grammar.record import TYPE_CHECKING

from .base import Action, Login, Logout
from .operands import option_texts
from .verb import Takes, Verb

if TYPE_CHECKING:
    from imq.grammar import ast
    from imq.grammar.errors import Span

    from .verb import Planning

STDIN = "stdin"
_HUB = frozenset({"docker.io", "index.docker.io", "registry-1.docker.io"})


def _plan_login(act: ast.Act, planning: Planning) -> list[Action]:
    (host,) = _hosts(act, planning, most=1)
    users, files = option_texts(act, "as", planning), option_texts(act, "from", planning)
    if users and not users[0]:
        raise StatementError("the user's name is empty", code="operand", span=act.span)
    if files and not users:
        raise StatementError(
            "a password that is read needs a user",
            code="operand",
            span=act.span,
            hints=("login HOST as USER from FILE",),
        )
    secret = files[0] if files else ""
    if secret and secret.lower() != STDIN:
        secret = located(secret, planning.folder, home_folder(planning.environment), act.span)
    return [Login(host, users[0] if users else "", secret)]


def _plan_logout(act: ast.Act, planning: Planning) -> list[Action]:
    return [Logout(host) for host in _hosts(act, planning)]


def _hosts(act: ast.Act, planning: Planning, most: int | None = None) -> list[str]:
    """Return the hosts that an action is given, each once; Docker Hub when there is none."""
    if act.query is not None:
        raise StatementError(f"{act.verb} takes {Takes.HOSTS.value}, and no query", code="operand", span=act.query.span)
    texts = planning.literals(act.references)
    spans = [node.span for node in act.references]
    found = [_host(text, span, planning) for text, span in zip(texts, spans, strict=True)]
    hosts = list(dict.fromkeys(found)) or [DEFAULT_REGISTRY]
    if most is not None and len(hosts) > most:
        raise StatementError(f"{act.verb} takes one registry at a time", code="operand", span=act.span)
    return hosts


def _host(text: str, span: Span | None, planning: Planning) -> str:
    """Return the host that is meant: by a name of the configuration, or written as docker lets one write it."""
    known = planning.registry(text)
    if known is not None:
        return known.host
    host = text.removeprefix("https://").removeprefix("http://").partition("/")[0]
    if host in _HUB:
        return DEFAULT_REGISTRY
    try:
        reference = Reference.parse(f"{host}/x")
    except InvalidReference:
        reference = None
    if reference is None or reference.registry != host:
        raise StatementError(
            f'"{text}" is neither a registry\'s host nor the name of one in the configuration',
            code="operand",
            span=span,
            hints=("such as registry.local:5000; a host without a dot needs its port",),
        )
    return host


VERBS = (
    Verb(
        "login",
        "Try a user and password at a registry (Docker Hub when none is named), and keep them where docker does. "
        "The password is asked for, or read from a file or stdin: it never stands in a statement.",
        "login registry.local:5000 as me from stdin",
        Takes.HOSTS,
        options=("as", "from", "dry run"),
        files=("from",),
        alone=True,
        plan=_plan_login,
    ),
    Verb(
        "logout",
        "Forget the credentials for registries (Docker Hub when none is named), where docker keeps them.",
        "logout registry.local:5000",
        Takes.HOSTS,
        options=("dry run",),
        alone=True,
        plan=_plan_logout,
    ),
)
