"""Logs in and out: verifies credentials and stores them where docker and podman read them.

The store is the credential helper in docker's config.json, or that file itself, readable by its owner only.
"""

from __future__ import annotations

import json
import os
from http import HTTPStatus

from imq.engine.atomic_writer import open_output
from imq.engine.registry import errors
from imq.engine.registry.http.client import RegistryHttp, Request
from imq.engine.units import exact_json
from imq.grammar.errors import RegistryError
from imq.grammar.record import TYPE_CHECKING, Record

from .credentials import (
    TOKEN_USER,
    Credentials,
    find_helper,
    get_docker_config_path,
    is_url_of,
    list_credential_keys,
    read_file,
    read_file_to_rewrite,
    run_helper,
)

if TYPE_CHECKING:
    from typing import Any

    from imq.engine.registry.settings import Settings

_PATH_HELPERS = (("pass", "pass"), ("secretservice", ""))
"""Docker's default helpers on Linux, with the programs they need: the first available one is used."""


class CredentialStore(Record):
    """The store of the credentials for a registry: a credential helper, or a plain file.

    `changed` is False when the operation is known to have changed nothing.
    """

    path: str
    helper: str = ""
    changed: bool = True


def try_credentials(settings: Settings, registry: str, credentials: Credentials) -> Credentials:
    """Return the credentials if the registry accepts them, with the identity token it issues.

    An identity token replaces the password. Raises `RegistryError` (code `unauthorized`) when they are refused.
    """
    http = RegistryHttp(settings)
    http.authorizer.set_credentials(registry, credentials)
    try:
        response = http.send(Request("GET", registry, "", "/v2/"))
        if response.status == HTTPStatus.UNAUTHORIZED:
            response.close()
            raise _rejected_error(registry, response.status)
        if response.status != HTTPStatus.OK:
            raise errors.response_error(response, registry, "the registry")
        response.close()
        identity = http.authorizer.get_identity_token(registry)
    except RegistryError as error:
        if error.code in ("unauthorized", "denied") and error.status in (401, 403):
            raise _rejected_error(registry, error.status) from None
        raise
    finally:
        http.close()
    return Credentials(credentials.user, "", identity) if identity else credentials


def _rejected_error(registry: str, status: int) -> RegistryError:
    return RegistryError(
        f"{registry} rejected this user and password (HTTP {status})",
        code="unauthorized",
        host=registry,
        status=status,
        hints=("check both; some registries require an access token instead of the password",),
    )


def find_store(settings: Settings, registry: str) -> CredentialStore:
    """Return the store of the credentials for a registry.

    Raises `RegistryError` (code `credentials`) when the configuration names a store that cannot be written.
    """
    host_settings = settings.get_host_settings(registry)
    if host_settings is not None and (host_settings.password_variable or host_settings.password_file):
        location = (
            f"the variable {host_settings.password_variable}"
            if host_settings.password_variable
            else host_settings.password_file
        )
        raise RegistryError(
            f"the configuration reads the password for {registry} from {location}",
            code="credentials",
            host=registry,
            hints=("change it there, or remove that setting from the configuration",),
        )
    path = (
        host_settings.credentials_file
        if host_settings is not None and host_settings.credentials_file
        else get_docker_config_path(settings.environment)
    )
    if not path:
        raise RegistryError(
            "cannot store credentials: no home folder",
            code="credentials",
            host=registry,
            hints=("set DOCKER_CONFIG to a folder for docker's config.json",),
        )
    if host_settings is not None and host_settings.helper:
        return CredentialStore(path, host_settings.helper)
    document = read_file(path) or {}
    key, helper = find_helper(document, registry)
    if key or helper:
        return CredentialStore(path, helper)
    if not (
        document.get("auths")
        or document.get("credHelpers")
        or (host_settings is not None and host_settings.credentials_file)
    ):
        return CredentialStore(path, _find_default_helper(settings))
    return CredentialStore(path)


def _find_default_helper(settings: Settings) -> str:
    """Return docker's default helper, for when none is configured, or "" if it is not installed."""
    from shutil import which

    path = settings.environment.get("PATH", "")
    for name, program in _PATH_HELPERS:
        if not program or which(program, path=path):
            return name if which(f"docker-credential-{name}", path=path) else ""
    return ""


def store_credentials(settings: Settings, registry: str, credentials: Credentials) -> CredentialStore:
    """Store credentials and return the store."""
    store = find_store(settings, registry)
    key = list_credential_keys(registry)[0]
    entry: dict[str, str] = {}
    if store.helper:
        user = TOKEN_USER if credentials.identity_token else credentials.user
        request = {"ServerURL": key, "Username": user, "Secret": credentials.identity_token or credentials.password}
        run_helper(store.helper, "store", json.dumps(request).encode(), settings)
    else:
        if credentials.user or credentials.password:
            entry["auth"] = credentials.basic.removeprefix("Basic ")
        if credentials.identity_token:
            entry["identitytoken"] = credentials.identity_token
    host_settings = settings.get_host_settings(registry)
    if host_settings is None or not host_settings.helper:
        document = read_file_to_rewrite(store.path) or {}
        if store.helper and "credHelpers" not in document:
            document["credsStore"] = store.helper
        auths = document.setdefault("auths", {})
        if not isinstance(auths, dict):
            raise _auths_error(store.path)
        if entry and auths.get(key) == entry:
            return store.replace(changed=False)
        auths[key] = entry
        _write_file(store.path, document, secret=bool(entry))
    return store


def erase_credentials(settings: Settings, registry: str) -> CredentialStore:
    """Erase the credentials for a registry and return the store. Having none is not an error."""
    store = find_store(settings, registry)
    host = list_credential_keys(registry)[0]
    document = read_file_to_rewrite(store.path)
    auths = document.get("auths") if document else None
    url_keys = [key for key in auths if is_url_of(key, registry)] if isinstance(auths, dict) else []
    keys = {*list_credential_keys(registry), *(f"{scheme}://{registry}" for scheme in ("http", "https")), *url_keys}
    changed = False
    if store.helper:
        for key in (host, *sorted(keys - {host})):
            changed = changed or run_helper(store.helper, "get", key.encode(), settings) is not None
            run_helper(store.helper, "erase", key.encode(), settings)
    if document and isinstance(auths, dict) and keys & auths.keys():
        for key in keys & auths.keys():
            del auths[key]
        _write_file(store.path, document, secret=False)
        changed = True
    return store.replace(changed=changed)


def _auths_error(path: str) -> RegistryError:
    return RegistryError(
        f'credentials file {path}: "auths" is not an object',
        code="credentials",
        hints=("repair it, or remove it",),
    )


def _write_file(path: str, document: dict[str, Any], *, secret: bool) -> None:
    """Replace the file atomically, in docker's format; a symbolic link is followed.

    With `secret`, the file becomes readable by its owner only. Otherwise its permissions do not change.
    """
    content = exact_json.dumps(document, indent="\t")
    try:
        os.makedirs(os.path.dirname(os.path.realpath(path)), mode=0o700, exist_ok=True)
        with open_output(path, private=secret or not os.path.exists(path)) as file:
            file.write(content)
    except OSError as error:
        raise RegistryError(
            f"cannot write the credentials file {path}: {(error.strerror or 'unknown reason').lower()}",
            code="credentials",
            hints=("set DOCKER_CONFIG to another folder",),
        ) from None
