"""The verb `login`: checks a user name and a password at a registry, and stores them."""

from __future__ import annotations

from imq.engine.oci.reference import DEFAULT_REGISTRY, Reference
from imq.engine.sources.action import Outcome
from imq.engine.sources.action_options import get_option_values
from imq.engine.units.paths import expand_path, home_directory
from imq.grammar.errors import ImqError, InvalidReference, RegistryError, StatementError
from imq.grammar.record import TYPE_CHECKING, Record

from .verb import OperandKind, Verb

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import TextIO

    from imq.engine.registry.auth.credentials import Credentials
    from imq.engine.registry.settings import Settings
    from imq.engine.sources.action import Action, ExecutionContext, PlanContext
    from imq.grammar import ast
    from imq.grammar.errors import Span

    Prompt = Callable[[str, bool], str]
    """Prompts the user for a string: the prompt, and whether the input is hidden."""

STDIN = "stdin"
UNENCRYPTED = "stored unencrypted in "
"""The start of the note of a login that stores a password in a file; the path of the file follows."""
WITH_STORED_CREDENTIALS = "with stored credentials"
_MAX_SECRET_LENGTH = 1 << 16
_DOCKER_HUB_HOSTS = frozenset({"docker.io", "index.docker.io", "registry-1.docker.io"})


class Login(Record):
    """Log in at a registry. The user is prompted for an empty `user`, and for the password without a `secret_path`.

    The `secret_path` "stdin" is standard input.
    """

    host: str
    user: str = ""
    secret_path: str = ""

    def describe(self) -> Outcome:
        """Return the host and the user."""
        return Outcome("login", self.host, note=f"as {self.user}" if self.user else None)

    def execute(self, context: ExecutionContext) -> Iterator[Outcome]:
        """Check the credentials and store them. Without a user, stored credentials are tried first, as docker does.

        Raises `RegistryError` when they are rejected or cannot be stored, `ImqError` when a prompt is not possible.
        """
        from imq.engine.registry.auth.credentials import Credentials, find_credentials
        from imq.engine.registry.auth.login import find_store, store_credentials, try_credentials

        context.notify_network()
        settings = context.registry_settings()
        user = self.user
        if not (user or self.secret_path):
            stored = find_credentials(settings, self.host)
            if stored is not None and _is_accepted(settings, self.host, stored):
                yield Outcome("login", self.host, note=WITH_STORED_CREDENTIALS)
                return
            user = stored.user if stored is not None else ""
        find_store(settings, self.host)  # raises before the prompt when credentials cannot be stored
        if not self.user:
            text = f"Username ({user}): " if user else "Username: "
            user = _prompt(context.prompt, text, hidden=False) or user
            if not user:
                raise ImqError("the user name is empty", code="operand")
        if self.secret_path:
            secret = _read_secret(self.secret_path, context.stdin)
        else:
            secret = _prompt(context.prompt, "Password: ", hidden=True)
        if not secret:
            raise ImqError("the password is empty", code="operand")
        credentials = try_credentials(settings, self.host, Credentials(user, secret))
        store = store_credentials(settings, self.host, credentials)
        if store.helper:
            note = f"stored by docker-credential-{store.helper}"
        elif not store.changed:
            note = "stored already"
        else:
            note = f"{UNENCRYPTED if credentials.password else 'token stored in '}{store.path}"
        yield Outcome("login", self.host, note=note)


def _is_accepted(settings: Settings, host: str, credentials: Credentials) -> bool:
    from imq.engine.registry.auth.login import try_credentials

    try:
        try_credentials(settings, host, credentials)
    except RegistryError as problem:
        if problem.code != "unauthorized":
            raise
        return False
    return True


def _prompt(prompt: Prompt | None, text: str, *, hidden: bool) -> str:
    if prompt is None:
        raise ImqError(
            "cannot prompt for the password without a terminal",
            code="needs-terminal",
            hints=("login HOST as USER from FILE, or from stdin",),
        )
    return prompt(text, hidden)


def _read_secret(path: str, stdin: TextIO | None) -> str:
    """Return the password in a file or in standard input, without the line break at its end."""
    if path.lower() == STDIN:
        if stdin is None:
            raise ImqError("standard input is not available", code="system", hints=("login HOST as USER from FILE",))
        text = stdin.read(_MAX_SECRET_LENGTH)
    else:
        try:
            with open(path, encoding="utf-8") as file:
                text = file.read(_MAX_SECRET_LENGTH)
        except OSError as problem:
            raise ImqError(f"cannot read {path}: {(problem.strerror or '').lower()}", code="no-such-file") from None
        except UnicodeDecodeError:
            raise ImqError(f"{path} is not UTF-8", code="operand") from None
    return text.removesuffix("\n").removesuffix("\r")


def _plan_login(act: ast.ActionStatement, context: PlanContext) -> list[Action]:
    (host,) = parse_hosts(act, context, maximum=1)
    users, files = get_option_values(act, "as", context), get_option_values(act, "from", context)
    if users and not users[0]:
        raise StatementError("the user name is empty", code="operand", span=act.span)
    if files and not users:
        raise StatementError(
            "from needs a user name",
            code="operand",
            span=act.span,
            hints=("login HOST as USER from FILE",),
        )
    if len(files) > 1:
        raise StatementError("expected one file after from", code="operand", span=act.span)
    secret = files[0] if files else ""
    if secret and secret.lower() != STDIN:
        secret = expand_path(secret, context.folder, home_directory(context.environment), act.span)
    return [Login(host, users[0] if users else "", secret)]


def parse_hosts(act: ast.ActionStatement, context: PlanContext, maximum: int | None = None) -> list[str]:
    """Return the hosts in the operands of an action, without duplicates; without operands, Docker Hub."""
    if act.query is not None:
        raise StatementError(
            f"{act.verb} takes {OperandKind.HOSTS.value}, not a query", code="operand", span=act.query.span
        )
    texts = context.literals(act.references)
    spans = [node.span for node in act.references]
    operand_hosts = [_parse_host(text, span, context) for text, span in zip(texts, spans, strict=True)]
    hosts = list(dict.fromkeys(operand_hosts)) or [DEFAULT_REGISTRY]
    if maximum is not None and len(hosts) > maximum:
        raise StatementError(f"{act.verb} takes one registry", code="operand", span=act.span)
    return hosts


def _parse_host(text: str, span: Span | None, context: PlanContext) -> str:
    """Return the host of an operand: a name in the configuration, or a host as docker accepts it."""
    registry = context.registry(text)
    if registry is not None:
        return registry.host
    host = text.removeprefix("https://").removeprefix("http://").partition("/")[0]
    if host in _DOCKER_HUB_HOSTS:
        return DEFAULT_REGISTRY
    try:
        reference = Reference.parse(f"{host}/x")
    except InvalidReference:
        reference = None
    if reference is None or reference.registry != host:
        raise StatementError(
            f'"{text}" is neither the host of a registry nor the name of one in the configuration',
            code="operand",
            span=span,
            hints=("example: registry.local:5000; a host without a dot needs its port",),
        )
    return host


VERB = Verb(
    "login",
    "Check a user name and password at a registry (default: Docker Hub) and store them where docker does. "
    "The password is read from a prompt, a file or stdin; it is never part of a statement.",
    "login registry.local:5000 as me from stdin",
    OperandKind.HOSTS,
    options=("as", "from", "dry run"),
    path_options=("from",),
    operand_optional=True,
    plan=_plan_login,
)
