"""Who the user is to a registry: docker's config.json, podman's auth.json, and credential helpers.

What the settings say of a host goes before them. Files are read when a registry first asks, never before. Secrets stay
out of every `repr` and error.
"""

from __future__ import annotations

import os

from imq.engine.registry.settings import DOCKER_HUB_NAMES
from imq.grammar.errors import RegistryError
from imq.grammar.record import TYPE_CHECKING, Record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Any

    from imq.engine.registry.settings import Host, Settings

_DOCKER_HUB_KEY = "https://index.docker.io/v1/"
TOKEN_USER = "<token>"  # noqa: S105 - the word by which helpers say that the secret is an identity token
_LARGEST_FILE = 4 << 20


class Credentials(Record):
    """A user and password, an identity token that buys access tokens, or an access token for the registry itself."""

    user: str = ""
    password: str = ""
    identity_token: str = ""
    registry_token: str = ""

    def __repr__(self) -> str:
        """Show no secret."""
        return f"Credentials(user={self.user!r})"

    @property
    def basic(self) -> str:
        """The value of an Authorization header of the scheme Basic."""
        from base64 import b64encode

        return "Basic " + b64encode(f"{self.user}:{self.password}".encode(errors="surrogateescape")).decode("ascii")


def find_credentials(settings: Settings, registry: str, repository: str = "") -> Credentials | None:
    """Return what the user has stored for `registry`; the first file that knows it decides.

    Raises `RegistryError` with the code `credentials` for a file or helper that cannot be used, and for a variable or
    file that the settings name and that is not there.
    """
    own = settings.host(registry)
    if own is not None and (way := _own(own, registry, repository, settings)) is not None:
        return way[0]
    for path in _files(settings.environment):
        document = read_file(path)
        if document is not None:
            found = _from_file(document, path, registry, repository, settings)
            if found is not None:
                return found
    return None


def _own(own: Host, registry: str, repository: str, settings: Settings) -> tuple[Credentials | None] | None:
    """Return what there is where the settings say that the credentials of a host are; None when they say nothing."""
    if own.helper:
        asked = (ask_helper(own.helper, key, settings) for key in keys_of(registry))
        return (next((found for found in asked if found is not None), None),)
    if own.credentials_file:
        document = read_file(own.credentials_file)
        found = _from_file(document, own.credentials_file, registry, repository, settings) if document else None
        return (found,)
    if own.password_variable:
        secret = settings.environment.get(own.password_variable, "")
        if not secret:
            raise RegistryError(
                f"the variable {own.password_variable}, which is to hold the password for {registry}, is not set",
                code="credentials",
                host=registry,
                hints=("set it, or name another way to credentials in the configuration",),
            )
    elif own.password_file:
        secret = _first_line(own.password_file, registry)
    else:
        return None
    return (Credentials(identity_token=secret) if own.user == TOKEN_USER else Credentials(own.user, secret),)


def _first_line(path: str, registry: str) -> str:
    """Return the password that a file holds, without the end of its line."""
    try:
        with open(path, encoding="utf-8") as file:
            secret = file.read(_LARGEST_FILE).rstrip("\r\n")
    except (OSError, ValueError) as problem:
        why = (problem.strerror or "unknown reason").lower() if isinstance(problem, OSError) else "it is no UTF-8"
        secret, said = "", f"cannot be read: {why}"
    else:
        said = "is empty"
    if not secret:
        raise RegistryError(
            f"the file {path}, which is to hold the password for {registry}, {said}",
            code="credentials",
            host=registry,
            hints=("write the password into it, and nothing else",),
        )
    return secret


def config_file(environment: Mapping[str, str]) -> str:
    """Return the path of docker's config.json; "" when there is no home folder."""
    folder, home = environment.get("DOCKER_CONFIG"), environment.get("HOME", "")
    if not folder:
        folder = os.path.join(home, ".docker") if home else ""
    return os.path.join(folder, "config.json") if folder else ""


def _files(environment: Mapping[str, str]) -> Iterator[str]:
    """Yield where credentials may be: a file named outright, docker's, then podman's."""
    home = environment.get("HOME", "")
    if named := environment.get("REGISTRY_AUTH_FILE"):
        yield named
    if path := config_file(environment):
        yield path
    if runtime := environment.get("XDG_RUNTIME_DIR"):
        yield os.path.join(runtime, "containers", "auth.json")
    if configuration := environment.get("XDG_CONFIG_HOME") or (home and os.path.join(home, ".config")):
        yield os.path.join(configuration, "containers", "auth.json")


def read_file(path: str) -> dict[str, Any] | None:
    """Return what a file of credentials holds; None when it is not there."""
    import json

    return _parse_file(path, json.loads)


def read_file_to_rewrite(path: str) -> dict[str, Any] | None:
    """Return what a file of credentials holds, with numbers as they are written, for `exact_json.dumps`."""
    from imq.engine.units import exact_json

    return _parse_file(path, exact_json.loads)


def _parse_file(path: str, parse: Callable[[bytes], Any]) -> dict[str, Any] | None:
    try:
        with open(path, "rb") as file:
            content = file.read(_LARGEST_FILE)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as problem:
        raise _unusable(path, f"cannot be read: {(problem.strerror or 'unknown reason').lower()}") from None
    try:
        document = parse(content) if content.strip() else {}
    except (ValueError, RecursionError):
        raise _unusable(path, "is not JSON") from None  # the parser's message may quote what stands there
    if not isinstance(document, dict):
        raise _unusable(path, "is not a JSON object")
    return document


def _from_file(
    document: Mapping[str, Any], path: str, registry: str, repository: str, settings: Settings
) -> Credentials | None:
    """Look in one file by docker's order: the helper named for the registry, the general helper, what stands there."""
    key, helper = helper_of(document, registry)
    if key:
        if helper:
            return ask_helper(helper, key, settings)
    elif helper:
        for key in keys_of(registry):
            found = ask_helper(helper, key, settings)
            if found is not None:
                return found
    auths = _mapping(document, "auths")
    for key in _entry_keys(auths, registry, repository):
        entry = auths[key]
        if isinstance(entry, dict):
            found = _from_entry(entry, path, registry)
            if found is not None:
                return found
    return None


def _mapping(document: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = document.get(key)
    return value if isinstance(value, dict) else {}


def helper_of(document: Mapping[str, Any], registry: str) -> tuple[str, str]:
    """Return the key of `credHelpers` that names the registry, "" for none, and its helper, else the general one.

    An empty helper under such a key keeps the registry's credentials in the file, as docker does.
    """
    helpers = _mapping(document, "credHelpers")
    for key in keys_of(registry):
        if isinstance(helper := helpers.get(key), str):
            return key, helper
    store = document.get("credsStore")
    return "", store if isinstance(store, str) else ""


def keys_of(registry: str) -> tuple[str, ...]:
    """Return the names under which docker keeps credentials for a registry, the usual one first."""
    return (_DOCKER_HUB_KEY, "docker.io", "index.docker.io") if registry in DOCKER_HUB_NAMES else (registry,)


def is_address_of(key: str, registry: str) -> bool:
    """Whether a key is an address of the registry, such as `https://host/v1/`, by which docker's older files name it.

    A host with a path and without a scheme is podman's name of a part of a registry, but for the version of an API.
    """
    scheme, separator, rest = key.partition("://")
    if separator and scheme not in ("http", "https"):
        return False
    host, _, path = (rest if separator else key).partition("/")
    if not separator and path.strip("/") not in ("", "v1", "v2"):
        return False
    return host == registry or (host in DOCKER_HUB_NAMES and registry in DOCKER_HUB_NAMES)


def _entry_keys(auths: Mapping[str, Any], registry: str, repository: str) -> Iterator[str]:
    """Yield the keys of `auths` that may have the credentials, in the order in which they are tried.

    First those of parts of the registry, which podman writes, the most specific first. Then the registry's own name:
    when it is there, even without credentials, its addresses do not count. Of these https goes before http.
    """
    host = "docker.io" if registry in DOCKER_HUB_NAMES else registry
    parts = repository.split("/") if repository else []
    yield from (key for count in range(len(parts), 0, -1) if (key := "/".join((host, *parts[:count]))) in auths)
    exact = [key for key in keys_of(registry) if key in auths]
    if exact:
        yield from exact
        return
    addresses = [key for key in auths if is_address_of(key, registry)]
    yield from sorted(addresses, key=lambda key: (key.startswith("http://"), key.count("/")))


def _from_entry(entry: Mapping[str, Any], path: str, registry: str) -> Credentials | None:
    def text(key: str) -> str:
        value = entry.get(key)
        return value if isinstance(value, str) else ""

    user, password = text("username"), text("password")
    identity_token, registry_token = text("identitytoken"), text("registrytoken")
    if packed := text("auth"):
        from base64 import b64decode

        packed = packed.replace("\n", "").replace("\r", "")  # Go reads over the ends of lines in base64
        try:
            decoded = b64decode(packed, validate=True).decode(errors="surrogateescape")
        except ValueError:
            raise _unusable(path, f'has an "auth" for {registry} that is not base64') from None
        user, colon, password = decoded.partition(":")
        if not colon:
            raise _unusable(path, f'has an "auth" for {registry} without a password')
        password = password.strip("\0")  # old docker padded it
    if not (identity_token or registry_token or (user and password)):
        return None
    return Credentials(user, password, identity_token, registry_token)


def run_helper(name: str, verb: str, said: bytes, settings: Settings) -> bytes | None:
    """Run the program `docker-credential-NAME` for get, store or erase; None when it knows no such credentials."""
    import subprocess

    program = f"docker-credential-{name}"
    if "/" in name or "\0" in name:
        raise _helper_failed(program, "has a name that is none")
    try:
        done = subprocess.run(  # noqa: S603 - the user's own configuration names it
            [program, verb],
            input=said,
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
    return done.stdout


def ask_helper(name: str, key: str, settings: Settings) -> Credentials | None:
    """Ask the program `docker-credential-NAME`; None when it knows nothing of `key`."""
    import json

    said = run_helper(name, "get", key.encode(), settings)
    if said is None:
        return None
    try:
        answer = json.loads(said)
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise _helper_failed(f"docker-credential-{name}", "did not answer with a JSON object")
    user, secret = answer.get("Username"), answer.get("Secret")
    if not isinstance(user, str) or not isinstance(secret, str) or not secret:
        return None
    return Credentials(identity_token=secret) if user == TOKEN_USER else Credentials(user, secret)


def _unusable(path: str, why: str) -> RegistryError:
    return RegistryError(
        f"the credentials file {path} {why}",
        code="credentials",
        hints=("repair it, or remove it and run: imq login",),
    )


def _helper_failed(program: str, why: str) -> RegistryError:
    return RegistryError(
        f"the credential helper {program} {why}",
        code="credentials",
        hints=("config.json names it in credsStore or credHelpers: install it, or remove it from there",),
    )
