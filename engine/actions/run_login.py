"""Logging in and out as actions: where a password comes from, and what came of trying it."""

from __future__ import annotations

from imq.grammar.errors import ImqError, RegistryError
from imq.grammar.record import TYPE_CHECKING

from . import base as a

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TextIO

    from imq.engine.registry.auth.credentials import Credentials
    from imq.engine.registry.settings import Settings

    Ask = Callable[[str, bool], str]
    """Asks the user: what is shown before the answer, and whether the answer is hidden."""

STDIN = "stdin"
UNENCRYPTED = "kept unencrypted in "
"""How the note of a login begins that keeps a password in a file, before the path of that file."""
KEPT_ALREADY = "with the credentials that are kept already"
_LONGEST_SECRET = 1 << 16


def log_in(action: a.Login, settings: Settings, ask: Ask | None, stdin: TextIO | None) -> a.Outcome:
    """Try a user and password and keep them; without any, those that are kept are tried first, as docker does.

    Raises `RegistryError` when they are refused or cannot be kept, `ImqError` when nobody is there to be asked.
    """
    from imq.engine.registry.auth.credentials import Credentials, find_credentials
    from imq.engine.registry.auth.login import keep, place_of, try_credentials

    user = action.user
    if not (user or action.secret):
        kept = find_credentials(settings, action.host)
        if kept is not None and _lets_in(settings, action.host, kept):
            return a.Outcome("login", action.host, note=KEPT_ALREADY)
        user = kept.user if kept is not None else ""
    place_of(settings, action.host)  # before anything is asked: that they cannot be kept would be told too late
    if not action.user:
        shown = f"Username ({user}): " if user else "Username: "
        user = _asked(ask, shown, hidden=False) or user
        if not user:
            raise ImqError("the user's name is empty", code="operand")
    secret = _read(action.secret, stdin) if action.secret else _asked(ask, "Password: ", hidden=True)
    if not secret:
        raise ImqError("the password is empty", code="operand")
    found = try_credentials(settings, action.host, Credentials(user, secret))
    place = keep(settings, action.host, found)
    if place.helper:
        note = f"kept by docker-credential-{place.helper}"
    elif not place.changed:
        note = "kept already"
    else:
        note = f"{UNENCRYPTED if found.password else 'its token is kept in '}{place.file}"
    return a.Outcome("login", action.host, note=note)


def log_out(action: a.Logout, settings: Settings) -> a.Outcome:
    """Forget the credentials for a registry; say so when another file, such as podman's, has some still."""
    from imq.engine.registry.auth.credentials import find_credentials
    from imq.engine.registry.auth.login import forget

    place = forget(settings, action.host)
    note = "forgotten" if place.changed else "none were kept"
    if find_credentials(settings, action.host) is not None:
        note += "; another file has some still: REGISTRY_AUTH_FILE, or podman's auth.json"
    return a.Outcome("logout", action.host, note=note)


def _lets_in(settings: Settings, host: str, kept: Credentials) -> bool:
    from imq.engine.registry.auth.login import try_credentials

    try:
        try_credentials(settings, host, kept)
    except RegistryError as problem:
        if problem.code != "unauthorized":
            raise
        return False
    return True


def _asked(ask: Ask | None, prompt: str, *, hidden: bool) -> str:
    if ask is None:
        raise ImqError(
            "nobody is there to be asked for a password",
            code="needs-terminal",
            hints=("login HOST as USER from FILE, or from stdin",),
        )
    return ask(prompt, hidden)


def _read(path: str, stdin: TextIO | None) -> str:
    """Return the password that a file or standard input holds, without the end of its line."""
    if path.lower() == STDIN:
        if stdin is None:
            raise ImqError(
                "standard input is not there to be read", code="system", hints=("login HOST as USER from FILE",)
            )
        text = stdin.read(_LONGEST_SECRET)
    else:
        try:
            with open(path, encoding="utf-8") as file:
                text = file.read(_LONGEST_SECRET)
        except OSError as problem:
            raise ImqError(f"cannot read {path}: {(problem.strerror or '').lower()}", code="no-such-file") from None
        except UnicodeDecodeError:
            raise ImqError(f"{path} is no UTF-8", code="operand") from None
    return text.removesuffix("\n").removesuffix("\r")
