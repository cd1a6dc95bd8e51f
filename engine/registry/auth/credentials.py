"""Finds credentials: docker's config.json, podman's auth.json, and credential helpers.

The settings of a host come first. Files are read when a registry first requires credentials. Secrets never appear in a
`repr` or an error.
"""

from __future__ import annotations

import os

from imq.engine.oci.json_schema import match_fields
from imq.engine.registry.settings import DOCKER_HUB_NAMES
from imq.grammar.errors import Malformed, RegistryError
from imq.grammar.record import TYPE_CHECKING, Record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from typing import Any

    from imq.engine.registry.settings import HostSettings, Settings

_DOCKER_HUB_KEY = "https://index.docker.io/v1/"
TOKEN_USER = "<token>"  # noqa: S105 - the user name by which helpers mark an identity token
_MAX_FILE_BYTES = 4 << 20
_FILE_FIELDS = ("auths", "credsStore", "credHelpers")
_ENTRY_FIELDS = ("auth", "username", "password", "identitytoken", "registrytoken")
_HELPER_FIELDS = ("Username", "Secret")


class Credentials(Record):
    """A user and password, an identity token that is exchanged for access tokens, or an access token."""

    user: str = ""
    password: str = ""
    identity_token: str = ""
    registry_token: str = ""

    def __repr__(self) -> str:
        """Omit the secrets."""
        return f"Credentials(user={self.user!r})"

    @property
    def basic(self) -> str:
        """The value of an Authorization header with the Basic scheme."""
        from base64 import b64encode

        return "Basic " + b64encode(f"{self.user}:{self.password}".encode(errors="surrogateescape")).decode("ascii")


def find_credentials(settings: Settings, registry: str, repository: str = "") -> Credentials | None:
    """Return the stored credentials for `registry`, from the first file that has them.

    Raises `RegistryError` (code `credentials`) for an unusable file or helper, and for a missing variable or file that
    the settings name.
    """
    host_settings = settings.get_host_settings(registry)
    if (
        host_settings is not None
        and (configured := _find_configured(host_settings, registry, repository, settings)) is not None
    ):
        return configured[0]
    for path in _list_credential_files(settings.environment):
        document = read_file(path)
        if document is not None:
            credentials = _find_in_file(document, path, registry, repository, settings)
            if credentials is not None:
                return credentials
    return None


def _find_configured(
    host_settings: HostSettings, registry: str, repository: str, settings: Settings
) -> tuple[Credentials | None] | None:
    """Return the credentials from the settings of a host, in a tuple; None when the settings name none."""
    if host_settings.helper:
        results = (get_from_helper(host_settings.helper, key, settings) for key in list_credential_keys(registry))
        return (next((credentials for credentials in results if credentials is not None), None),)
    if host_settings.credentials_file:
        document = read_file(host_settings.credentials_file)
        credentials = (
            _find_in_file(document, host_settings.credentials_file, registry, repository, settings)
            if document
            else None
        )
        return (credentials,)
    if host_settings.password_variable:
        secret = settings.environment.get(host_settings.password_variable, "")
        if not secret:
            raise RegistryError(
                f"the password variable {host_settings.password_variable} for {registry} is not set",
                code="credentials",
                host=registry,
                hints=("set it, or configure another source of credentials",),
            )
    elif host_settings.password_file:
        secret = _read_password_file(host_settings.password_file, registry)
    else:
        return None
    return (
        Credentials(identity_token=secret)
        if host_settings.user == TOKEN_USER
        else Credentials(host_settings.user, secret),
    )


def _read_password_file(path: str, registry: str) -> str:
    """Return the password in a file, without the line ending."""
    try:
        with open(path, encoding="utf-8") as file:
            secret = file.read(_MAX_FILE_BYTES).rstrip("\r\n")
    except (OSError, ValueError) as error:
        cause = (error.strerror or "unknown reason").lower() if isinstance(error, OSError) else "invalid UTF-8"
        secret, reason = "", f"cannot be read: {cause}"
    else:
        reason = "is empty"
    if not secret:
        raise RegistryError(
            f"the password file {path} for {registry} {reason}",
            code="credentials",
            host=registry,
            hints=("write only the password into it",),
        )
    return secret


def get_docker_config_path(environment: Mapping[str, str]) -> str:
    """Return the path of docker's config.json; "" without a home folder."""
    folder, home = environment.get("DOCKER_CONFIG"), environment.get("HOME", "")
    if not folder:
        folder = os.path.join(home, ".docker") if home else ""
    return os.path.join(folder, "config.json") if folder else ""


def _list_credential_files(environment: Mapping[str, str]) -> Iterator[str]:
    """Yield the files that may hold credentials: an explicit one, docker's, then podman's."""
    home = environment.get("HOME", "")
    if explicit := environment.get("REGISTRY_AUTH_FILE"):
        yield explicit
    if path := get_docker_config_path(environment):
        yield path
    if runtime := environment.get("XDG_RUNTIME_DIR"):
        yield os.path.join(runtime, "containers", "auth.json")
    if configuration := environment.get("XDG_CONFIG_HOME") or (home and os.path.join(home, ".config")):
        yield os.path.join(configuration, "containers", "auth.json")


def read_file(path: str) -> dict[str, Any] | None:
    """Return the content of a credentials file; None when it does not exist."""
    import json

    return _parse_file(path, json.loads)


def read_file_to_rewrite(path: str) -> dict[str, Any] | None:
    """Return the content of a credentials file, with numbers as written, for `exact_json.dumps`."""
    from imq.engine.units import exact_json

    return _parse_file(path, exact_json.loads)


def _parse_file(path: str, parse: Callable[[bytes], Any]) -> dict[str, Any] | None:
    try:
        with open(path, "rb") as file:
            content = file.read(_MAX_FILE_BYTES)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise _file_error(path, f"cannot be read: {(error.strerror or 'unknown reason').lower()}") from None
    try:
        document = parse(content) if content.strip() else {}
    except (ValueError, RecursionError):
        raise _file_error(path, "is not JSON") from None  # the parser's message may quote a secret
    if not isinstance(document, dict):
        raise _file_error(path, "is not a JSON object")
    return _match_fields(document, _FILE_FIELDS, path)


def _match_fields(document: Mapping[str, Any], fields: Iterable[str], path: str) -> dict[str, Any]:
    """Return an object of a credentials file with its keys as docker writes them: docker reads them in any case."""
    try:
        return match_fields(document, fields, f"the credentials file {path}")
    except Malformed as problem:
        raise RegistryError(problem.message, code="credentials", hints=problem.hints) from None


def _find_in_file(
    document: Mapping[str, Any], path: str, registry: str, repository: str, settings: Settings
) -> Credentials | None:
    """Search one file in docker's order: the registry's helper, the general helper, the stored credentials."""
    key, helper = find_helper(document, registry)
    if key:
        if helper:
            return get_from_helper(helper, key, settings)
    elif helper:
        for key in list_credential_keys(registry):
            credentials = get_from_helper(helper, key, settings)
            if credentials is not None:
                return credentials
    auths = _get_mapping(document, "auths")
    for key in _list_matching_keys(auths, registry, repository):
        entry = auths[key]
        if isinstance(entry, dict):
            credentials = _read_entry(entry, path, registry)
            if credentials is not None:
                return credentials
    return None


def _get_mapping(document: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = document.get(key)
    return value if isinstance(value, dict) else {}


def find_helper(document: Mapping[str, Any], registry: str) -> tuple[str, str]:
    """Return the registry's key in `credHelpers` and its helper, or "" and the general helper.

    If the helper of such a key is empty, the credentials are in the file, as in docker.
    """
    helpers = _get_mapping(document, "credHelpers")
    for key in list_credential_keys(registry):
        if isinstance(helper := helpers.get(key), str):
            return key, helper
    store = document.get("credsStore")
    return "", store if isinstance(store, str) else ""


def list_credential_keys(registry: str) -> tuple[str, ...]:
    """Return the keys of a registry in docker's files, the most common first."""
    return (_DOCKER_HUB_KEY, "docker.io", "index.docker.io") if registry in DOCKER_HUB_NAMES else (registry,)


def is_url_of(key: str, registry: str) -> bool:
    """Whether a key is a URL of the registry, such as `https://host/v1/`, as older docker files have it.

    A host with a path and without a scheme is podman's name of a namespace, except the version of an API.
    """
    scheme, separator, rest = key.partition("://")
    if separator and scheme not in ("http", "https"):
        return False
    host, _, path = (rest if separator else key).partition("/")
    if not separator and path.strip("/") not in ("", "v1", "v2"):
        return False
    return host == registry or (host in DOCKER_HUB_NAMES and registry in DOCKER_HUB_NAMES)


def _list_matching_keys(auths: Mapping[str, Any], registry: str, repository: str) -> Iterator[str]:
    """Yield the keys of `auths` that may hold the credentials, in order of preference.

    Namespaces (podman) come first, the longest one before the others. Then comes the registry's name: if it is there,
    even without credentials, its URLs are ignored. HTTPS URLs come before HTTP ones.
    """
    host = "docker.io" if registry in DOCKER_HUB_NAMES else registry
    parts = repository.split("/") if repository else []
    yield from (key for count in range(len(parts), 0, -1) if (key := "/".join((host, *parts[:count]))) in auths)
    exact = [key for key in list_credential_keys(registry) if key in auths]
    if exact:
        yield from exact
        return
    addresses = [key for key in auths if is_url_of(key, registry)]
    yield from sorted(addresses, key=lambda key: (key.startswith("http://"), key.count("/")))


def _read_entry(entry: Mapping[str, Any], path: str, registry: str) -> Credentials | None:
    entry = _match_fields(entry, _ENTRY_FIELDS, path)

    def text(key: str) -> str:
        value = entry.get(key)
        return value if isinstance(value, str) else ""

    user, password = text("username"), text("password")
    identity_token, registry_token = text("identitytoken"), text("registrytoken")
    if encoded := text("auth"):
        from base64 import b64decode

        encoded = encoded.replace("\n", "").replace("\r", "")  # Go ignores line endings in base64
        try:
            decoded = b64decode(encoded, validate=True).decode(errors="surrogateescape")
        except ValueError:
            raise _file_error(path, f'has an "auth" for {registry} that is not base64') from None
        user, colon, password = decoded.partition(":")
        if not colon:
            raise _file_error(path, f'has an "auth" for {registry} without a password')
        password = password.strip("\0")  # old docker padded it
    if not (identity_token or registry_token or (user and password)):
        return None
    return Credentials(user, password, identity_token, registry_token)


def run_helper(name: str, verb: str, stdin: bytes, settings: Settings) -> bytes | None:
    """Run `docker-credential-NAME` with get, store or erase. None if it has no such credentials."""
    import subprocess

    program = f"docker-credential-{name}"
    if "/" in name or "\0" in name:
        raise _helper_error(program, "has an invalid name")
    try:
        process = subprocess.run(  # noqa: S603 - the user's own configuration names it
            [program, verb],
            input=stdin,
            capture_output=True,
            timeout=settings.helper_timeout,
            env=dict(settings.environment),
            check=False,
        )
    except FileNotFoundError:
        raise _helper_error(program, "is not on the PATH") from None
    except subprocess.TimeoutExpired:
        raise _helper_error(program, f"timed out after {settings.helper_timeout:g} seconds") from None
    except OSError as error:
        raise _helper_error(program, f"cannot be started: {(error.strerror or '').lower()}") from None
    if process.returncode:
        if b"credentials not found" in process.stdout.lower() + process.stderr.lower():
            return None
        raise _helper_error(program, f"failed with status {process.returncode}")
    return process.stdout


def get_from_helper(name: str, key: str, settings: Settings) -> Credentials | None:
    """Return the credentials for `key` from `docker-credential-NAME`; None when it has none."""
    import json

    output = run_helper(name, "get", key.encode(), settings)
    if output is None:
        return None
    try:
        response = json.loads(output)
    except ValueError:
        response = None
    if not isinstance(response, dict):
        raise _helper_error(f"docker-credential-{name}", "did not return a JSON object")
    try:
        response = match_fields(response, _HELPER_FIELDS, f"the answer of docker-credential-{name}")
    except Malformed as problem:
        raise RegistryError(problem.message, code="credentials", hints=problem.hints) from None
    user, secret = response.get("Username"), response.get("Secret")
    if not isinstance(user, str) or not isinstance(secret, str) or not secret:
        return None
    return Credentials(identity_token=secret) if user == TOKEN_USER else Credentials(user, secret)


def _file_error(path: str, reason: str) -> RegistryError:
    return RegistryError(
        f"the credentials file {path} {reason}",
        code="credentials",
        hints=("repair it, or remove it and run: imq login",),
    )


def _helper_error(program: str, reason: str) -> RegistryError:
    return RegistryError(
        f"the credential helper {program} {reason}",
        code="credentials",
        hints=("install it, or remove it from credsStore or credHelpers in config.json",),
    )
