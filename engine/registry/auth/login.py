"""Logging in and out: credentials are tried, then kept where docker keeps its own, so that docker and podman find them.

That is a credential helper when docker's config.json names one, else the file itself, for its owner alone.
"""

from __future__ import annotations

import json
import os
from http import HTTPStatus

from imq.engine.atomic_writer import open_output
from imq.engine.registry import errors
from imq.engine.registry.http.client import Ask, Exchange
from imq.engine.units import exact_json
from imq.grammar.errors import RegistryError
from imq.grammar.record import TYPE_CHECKING, Record

from .credentials import (
    TOKEN_USER,
    Credentials,
    config_file,
    helper_of,
    is_address_of,
    keys_of,
    read_file,
    read_file_to_rewrite,
    run_helper,
)

if TYPE_CHECKING:
    from typing import Any

    from imq.engine.registry.settings import Settings

_PATH_HELPERS = (("pass", "pass"), ("secretservice", ""))
"""The helpers that docker takes on Linux when nothing is configured: the first whose own program is there."""


class Place(Record):
    """Where the credentials for a registry are kept: a credential helper, or else a file in plain sight.

    `changed` says that there is something else now than before, as far as that can be told.
    """

    file: str
    helper: str = ""
    changed: bool = True


def try_credentials(settings: Settings, registry: str, credentials: Credentials) -> Credentials:
    """Return the credentials when the registry lets them in, with the identity token that it gives for them.

    With such a token the password is of no more use and is dropped. Raises `RegistryError`: `unauthorized` when they
    are refused.
    """
    exchange = Exchange(settings)
    exchange.authorizer.know(registry, credentials)
    try:
        answer = exchange.ask(Ask("GET", registry, "", "/v2/"))
        if answer.status == HTTPStatus.UNAUTHORIZED:
            answer.close()
            raise _refused(registry, answer.status)
        if answer.status != HTTPStatus.OK:
            raise errors.refusal(answer, registry, "the registry")
        answer.close()
        identity = exchange.authorizer.identity(registry)
    except RegistryError as problem:
        if problem.code in ("unauthorized", "denied") and problem.status in (401, 403):
            raise _refused(registry, problem.status) from None
        raise
    finally:
        exchange.close()
    return Credentials(credentials.user, "", identity) if identity else credentials


def _refused(registry: str, status: int) -> RegistryError:
    return RegistryError(
        f"{registry} refuses this user and password (HTTP {status})",
        code="unauthorized",
        host=registry,
        status=status,
        hints=("check both; some registries want an access token in the place of the password",),
    )


def place_of(settings: Settings, registry: str) -> Place:
    """Return where credentials for a registry are kept, or would be.

    Raises `RegistryError` (code `credentials`) where the configuration says a place that cannot be written to.
    """
    own = settings.host(registry)
    if own is not None and (own.password_variable or own.password_file):
        where = f"the variable {own.password_variable}" if own.password_variable else own.password_file
        raise RegistryError(
            f"the configuration says that the password for {registry} is in {where}",
            code="credentials",
            host=registry,
            hints=("change it there, or take that out of the configuration",),
        )
    path = own.credentials_file if own is not None and own.credentials_file else config_file(settings.environment)
    if not path:
        raise RegistryError(
            "there is no home folder to keep credentials in",
            code="credentials",
            host=registry,
            hints=("name a folder for docker's config.json in DOCKER_CONFIG",),
        )
    if own is not None and own.helper:
        return Place(path, own.helper)
    document = read_file(path) or {}
    key, helper = helper_of(document, registry)
    if key or helper:
        return Place(path, helper)
    if not (document.get("auths") or document.get("credHelpers") or (own is not None and own.credentials_file)):
        return Place(path, _default_helper(settings))
    return Place(path)


def _default_helper(settings: Settings) -> str:
    """Return the helper that docker would take where nothing is configured and nothing kept; "" for none."""
    from shutil import which

    path = settings.environment.get("PATH", "")
    for name, program in _PATH_HELPERS:
        if not program or which(program, path=path):
            return name if which(f"docker-credential-{name}", path=path) else ""
    return ""


def keep(settings: Settings, registry: str, credentials: Credentials) -> Place:
    """Keep credentials and return where."""
    place = place_of(settings, registry)
    key = keys_of(registry)[0]
    entry: dict[str, str] = {}
    if place.helper:
        user = TOKEN_USER if credentials.identity_token else credentials.user
        said = {"ServerURL": key, "Username": user, "Secret": credentials.identity_token or credentials.password}
        run_helper(place.helper, "store", json.dumps(said).encode(), settings)
    else:
        if credentials.user or credentials.password:
            entry["auth"] = credentials.basic.removeprefix("Basic ")
        if credentials.identity_token:
            entry["identitytoken"] = credentials.identity_token
    own = settings.host(registry)
    if own is None or not own.helper:
        document = read_file_to_rewrite(place.file) or {}
        if place.helper and "credHelpers" not in document:
            document["credsStore"] = place.helper
        auths = document.setdefault("auths", {})
        if not isinstance(auths, dict):
            raise _no_entries(place.file)
        if entry and auths.get(key) == entry:
            return place.replace(changed=False)
        auths[key] = entry
        _write(place.file, document, secret=bool(entry))
    return place


def forget(settings: Settings, registry: str) -> Place:
    """Forget what is kept for a registry, wherever that is, and return where it was; nothing kept is no error."""
    place = place_of(settings, registry)
    host = keys_of(registry)[0]
    document = read_file_to_rewrite(place.file)
    auths = document.get("auths") if document else None
    kept = [key for key in auths if is_address_of(key, registry)] if isinstance(auths, dict) else []
    keys = {*keys_of(registry), *(f"{scheme}://{registry}" for scheme in ("http", "https")), *kept}
    changed = False
    if place.helper:
        for key in (host, *sorted(keys - {host})):
            changed = changed or run_helper(place.helper, "get", key.encode(), settings) is not None
            run_helper(place.helper, "erase", key.encode(), settings)
    if document and isinstance(auths, dict) and keys & auths.keys():
        for key in keys & auths.keys():
            del auths[key]
        _write(place.file, document, secret=False)
        changed = True
    return place.replace(changed=changed)


def _no_entries(path: str) -> RegistryError:
    return RegistryError(
        f'the credentials file {path} has "auths" that hold no entries',
        code="credentials",
        hints=("repair it, or remove it",),
    )


def _write(path: str, document: dict[str, Any], *, secret: bool) -> None:
    """Write the file anew, at once, as docker writes it; one that a link leads to stays where it is.

    With a `secret` it is for its owner alone; else it may be read by whom it could be read before.
    """
    content = exact_json.dumps(document, indent="\t")
    try:
        os.makedirs(os.path.dirname(os.path.realpath(path)), mode=0o700, exist_ok=True)
        with open_output(path, private=secret or not os.path.exists(path)) as file:
            file.write(content)
    except OSError as problem:
        raise RegistryError(
            f"the credentials file {path} cannot be written: {(problem.strerror or 'unknown reason').lower()}",
            code="credentials",
            hints=("name another folder in DOCKER_CONFIG",),
        ) from None
