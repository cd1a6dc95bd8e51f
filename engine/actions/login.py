"""The verb `login`: checks a user and a password at a registry, and stores them."""

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
    """Asks the user for a string: the prompt, and whether the input is hidden."""

STDIN = "stdin"
UNENCRYPTED = "kept unencrypted in "
"""How the note of a login begins that stores a password in a file; the path of that file follows."""
KEPT_ALREADY = "with the credentials that are kept already"
_MAX_SECRET_LENGTH = 1 << 16
_DOCKER_HUB_HOSTS = frozenset({"docker.io", "index.docker.io", "registry-1.docker.io"})


class Login(Record):
    """Log in at a registry. An empty `user` is prompted for, as is the password when `secret_path` is empty.

    The `secret_path` "stdin" is standard input.
    """

    host: str
    user: str = ""
    secret_path: str = ""

    def describe(self) -> Outcome:
        """Return the host with the user."""
        return Outcome("login", self.host, note=f"as {self.user}" if self.user else None)

    def execute(self, context: ExecutionContext) -> Iterator[Outcome]:
        """Check the credentials and store them; without any, stored ones are tried first, as docker does.

        Raises `RegistryError` when they are rejected or cannot be stored, `ImqError` when there is nobody to prompt.
        """
        from imq.engine.registry.auth.credentials import Credentials, find_credentials
        from imq.engine.registry.auth.login import find_store, store_credentials, try_credentials

        context.notify_network()
        settings = context.registry_settings()
        user = self.user
        if not (user or self.secret_path):
            stored = find_credentials(settings, self.host)
            if stored is not None and _accepts(settings, self.host, stored):
                yield Outcome("login", self.host, note=KEPT_ALREADY)
                return
            user = stored.user if stored is not None else ""
        find_store(settings, self.host)  # raises before the prompt when credentials cannot be stored
        if not self.user:
            text = f"Username ({user}): " if user else "Username: "
            user = _prompt(context.prompt, text, hidden=False) or user
            if not user:
                raise ImqError("the user's name is empty", code="operand")
        if self.secret_path:
            secret = _read_secret(self.secret_path, context.stdin)
        else:
            secret = _prompt(context.prompt, "Password: ", hidden=True)
        if not secret:
            raise ImqError("the password is empty", code="operand")
        credentials = try_credentials(settings, self.host, Credentials(user, secret))
        store = store_credentials(settings, self.host, credentials)
        if store.helper:
            note = f"kept by docker-credential-{store.helper}"
        elif not store.changed:
            note = "kept already"
        else:
            note = f"{UNENCRYPTED if credentials.password else 'its token is kept in '}{store.path}"
        yield Outcome("login", self.host, note=note)


def _accepts(settings: Settings, host: str, kept: Credentials) -> bool:
    from imq.engine.registry.auth.login import try_credentials

    try:
        try_credentials(settings, host, kept)
    except RegistryError as problem:
        if problem.code != "unauthorized":
            raise
        return False
    return True


def _prompt(prompt: Prompt | None, text: str, *, hidden: bool) -> str:
    if prompt is None:
        raise ImqError(
            "nobody is there to be asked for a password",
            code="needs-terminal",
            hints=("login HOST as USER from FILE, or from stdin",),
        )
    return prompt(text, hidden)


def _read_secret(path: str, stdin: TextIO | None) -> str:
    """Return the password in a file or standard input, without the line break."""
    if path.lower() == STDIN:
        if stdin is None:
            raise ImqError(
                "standard input is not there to be read", code="system", hints=("login HOST as USER from FILE",)
            )
        text = stdin.read(_MAX_SECRET_LENGTH)
    else:
        try:
            with open(path, encoding="utf-8") as file:
                text = file.read(_MAX_SECRET_LENGTH)
        except OSError as problem:
            raise ImqError(f"cannot read {path}: {(problem.strerror or '').lower()}", code="no-such-file") from None
        except UnicodeDecodeError:
            raise ImqError(f"{path} is no UTF-8", code="operand") from None
    return text.removesuffix("\n").removesuffix("\r")


def _plan_login(act: ast.ActionStatement, context: PlanContext) -> list[Action]:
    (host,) = parse_hosts(act, context, most=1)
    users, files = get_option_values(act, "as", context), get_option_values(act, "from", context)
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
        secret = expand_path(secret, context.folder, home_directory(context.environment), act.span)
    return [Login(host, users[0] if users else "", secret)]


def parse_hosts(act: ast.ActionStatement, context: PlanContext, most: int | None = None) -> list[str]:
    """Return the hosts of an action's operands, without duplicates; Docker Hub without operands."""
    if act.query is not None:
        raise StatementError(
            f"{act.verb} takes {OperandKind.HOSTS.value}, and no query", code="operand", span=act.query.span
        )
    texts = context.literals(act.references)
    spans = [node.span for node in act.references]
    found = [_parse_host(text, span, context) for text, span in zip(texts, spans, strict=True)]
    hosts = list(dict.fromkeys(found)) or [DEFAULT_REGISTRY]
    if most is not None and len(hosts) > most:
        raise StatementError(f"{act.verb} takes one registry at a time", code="operand", span=act.span)
    return hosts


def _parse_host(text: str, span: Span | None, context: PlanContext) -> str:
    """Return the host of an operand: a name of the configuration, or a host in one of docker's spellings."""
    known = context.registry(text)
    if known is not None:
        return known.host
    host = text.removeprefix("https://").removeprefix("http://").partition("/")[0]
    if host in _DOCKER_HUB_HOSTS:
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


VERB = Verb(
    "login",
    "Try a user and password at a registry (Docker Hub when none is named), and keep them where docker does. "
    "The password is asked for, or read from a file or stdin: it never stands in a statement.",
    "login registry.local:5000 as me from stdin",
    OperandKind.HOSTS,
    options=("as", "from", "dry run"),
    path_options=("from",),
    operand_optional=True,
    plan=_plan_login,
)
