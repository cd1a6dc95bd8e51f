"""Who the user is to a registry: docker's config.json, podman's auth.json, and credential helpers.

Files are read when a registry first asks, never before. Secrets stay out of every `repr` and error.
"""

from __future__ import annotations

import os

from imq.grammar.errors import RegistryError
from imq.grammar.record import TYPE_CHECKING, Record

from .settings import DOCKER_HUB_NAMES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from .settings import Settings

_DOCKER_HUB_KEY = "https://index.docker.io/v1/"
_TOKEN_USER = "<token>"  # noqa: S105 - the word by which helpers say that the secret is an identity token
_LARGEST_FILE = 4 << 20


class Credentials(Record):
    """A user and password, or an identity token that buys access tokens."""

    user: str = ""
    password: str = ""
    identity_token: str = ""

    def __repr__(self) -> str:
        """Show no secret."""
        return f"Credentials(user={self.user!r})"

    @property
    def basic(self) -> str:
        """The value of an Authorization header of the scheme Basic."""
        from base64 import b64encode

        return "Basic " + b64encode(f"{self.user}:{self.password}".encode()).decode("ascii")


def find_credentials(settings: Settings, registry: str, repository: str = "") -> Credentials | None:
    """Return what the user has stored for `registry`; the first file that knows it decides.

    Raises `RegistryError` with the code `credentials` for a file or helper that cannot be used.
    """
    for path in _files(settings.environment):
        document = _read(path)
        if document is not None:
            found = _from_file(document, path, registry, repository, settings)
            if found is not None:
                return found
    return None


def _files(environment: Mapping[str, str]) -> Iterator[str]:
    """Yield where credentials may be: a file named outright, docker's, then podman's."""
    home = environment.get("HOME", "")
    if named := environment.get("REGISTRY_AUTH_FILE"):
        yield named
    if folder := environment.get("DOCKER_CONFIG"):
        yield os.path.join(folder, "config.json")
    elif home:
        yield os.path.join(home, ".docker", "config.json")
    if runtime := environment.get("XDG_RUNTIME_DIR"):
        yield os.path.join(runtime, "containers", "auth.json")
    if configuration := environment.get("XDG_CONFIG_HOME") or (home and os.path.join(home, ".config")):
        yield os.path.join(configuration, "containers", "auth.json")


def _read(path: str) -> dict[str, Any] | None:
    import json

    try:
        with open(path, "rb") as file:
            content = file.read(_LARGEST_FILE)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as problem:
        raise _unusable(path, f"cannot be read: {(problem.strerror or 'unknown reason').lower()}") from None
    try:
        document = json.loads(content) if content.strip() else {}
    except (ValueError, RecursionError):
        raise _unusable(path, "is not JSON") from None  # the parser's message may quote what stands there
    if not isinstance(document, dict):
        raise _unusable(path, "is not a JSON object")
    return document


def _from_file(
    document: Mapping[str, Any], path: str, registry: str, repository: str, settings: Settings
) -> Credentials | None:
    """Look in one file by docker's order: the helper named for the registry, the general helper, what stands there."""
    helpers = _mapping(document, "credHelpers")
    store = document.get("credsStore")
    for key in _keys(registry):
        helper = helpers.get(key)
        if isinstance(helper, str) and helper:
            return ask_helper(helper, key, settings)
    if isinstance(store, str) and store:
        for key in _keys(registry):
            found = ask_helper(store, key, settings)
            if found is not None:
                return found
    entries = {_plain(key): value for key, value in _mapping(document, "auths").items()}
    for key in _entry_keys(registry, repository):
        entry = entries.get(key)
        if isinstance(entry, dict):
            found = _from_entry(entry, path, registry)
            if found is not None:
                return found
    return None


def _mapping(document: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = document.get(key)
    return value if isinstance(value, dict) else {}


def _keys(registry: str) -> tuple[str, ...]:
    return (_DOCKER_HUB_KEY, "docker.io", "index.docker.io") if registry in DOCKER_HUB_NAMES else (registry,)


def _plain(key: str) -> str:
    """Reduce an old key, an address such as `https://host/v1/`, to its host; podman's `host/path` stays."""
    scheme, separator, rest = key.partition("://")
    plain = (rest if separator else scheme).rstrip("/")
    for version in ("/v1", "/v2"):
        plain = plain.removesuffix(version)
    return "docker.io" if plain in DOCKER_HUB_NAMES else plain


def _entry_keys(registry: str, repository: str) -> Iterator[str]:
    """Yield keys of `auths`, the most specific first: podman stores credentials for parts of a registry too."""
    host = "docker.io" if registry in DOCKER_HUB_NAMES else registry
    parts = repository.split("/") if repository else []
    for count in range(len(parts), -1, -1):
        yield "/".join((host, *parts[:count]))


def _from_entry(entry: Mapping[str, Any], path: str, registry: str) -> Credentials | None:
    def text(key: str) -> str:
        value = entry.get(key)
        return value if isinstance(value, str) else ""

    user, password, token = text("username"), text("password"), text("identitytoken")
    if packed := text("auth"):
        from base64 import b64decode

        try:
            decoded = b64decode(packed, validate=True).decode()
        except ValueError:
            raise _unusable(path, f'has an "auth" for {registry} that is not base64') from None
        user, colon, password = decoded.partition(":")
        if not colon:
            raise _unusable(path, f'has an "auth" for {registry} without a password')
        password = password.rstrip("\0")  # old docker padded it
    if not (token or (user and password)):
        return None
    return Credentials(user, password, token)


def ask_helper(name: str, key: str, settings: Settings) -> Credentials | None:
    """Ask the program `docker-credential-NAME`; None when it knows nothing of `key`."""
    import json
    import subprocess

    program = f"docker-credential-{name}"
    if "/" in name or "\0" in name:
        raise _helper_failed(program, "has a name that is none")
    try:
        done = subprocess.run(  # noqa: S603 - the user's own configuration names it
            [program, "get"],
            input=key.encode(),
            capture_output=True,
            timeout=settings.helper_timeout,
            env=dict(settings.environment),
            check=False,
        )
    except FileNotFoundError:
        raise _helper_failed(program, "is not on the PATH") from None
    except subprocess.TimeoutExpired:
        raise _helper_failed(program, f"gave no answer in {settings.helper_timeout:g} seconds") from None
    except OSError as problem:
        raise _helper_failed(program, f"cannot be started: {(problem.strerror or '').lower()}") from None
    if done.returncode:
        if b"credentials not found" in done.stdout.lower() + done.stderr.lower():
            return None
        raise _helper_failed(program, f"failed with status {done.returncode}")
    try:
        answer = json.loads(done.stdout)
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise _helper_failed(program, "did not answer with a JSON object")
    user, secret = answer.get("Username"), answer.get("Secret")
    if not isinstance(user, str) or not isinstance(secret, str) or not secret:
        return None
    return Credentials(identity_token=secret) if user == _TOKEN_USER else Credentials(user, secret)


def _unusable(path: str, why: str) -> RegistryError:
    return RegistryError(
        f"the credentials file {path} {why}",
        code="credentials",
        hints=("repair it, or remove it and run: docker login",),
    )


def _helper_failed(program: str, why: str) -> RegistryError:
    return RegistryError(
        f"the credential helper {program} {why}",
        code="credentials",
        hints=("config.json names it in credsStore or credHelpers: install it, or remove it from there",),
    )
