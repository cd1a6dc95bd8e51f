"""Docker's contexts: the named endpoints in `$DOCKER_CONFIG/contexts`, by default `~/.docker/contexts`."""

from __future__ import annotations

import os

from imq.grammar.errors import EngineError, closest_hint
from imq.grammar.record import TYPE_CHECKING, Record

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

_MAX_FILE_BYTES = 1 << 20


class Tls(Record):
    """Paths of certificates in PEM form. Without `verify` any server is accepted."""

    ca: str | None = None
    cert: str | None = None
    key: str | None = None
    verify: bool = True

    @classmethod
    def of_folder(cls, folder: str, *, verify: bool) -> Tls:
        """Return the files `ca.pem`, `cert.pem` and `key.pem` of a folder, as far as they exist."""
        paths = (os.path.join(folder, f"{name}.pem") for name in ("ca", "cert", "key"))
        ca, cert, key = (path if os.path.exists(path) else None for path in paths)
        return cls(ca, cert, key, verify)


def default_context(environment: Mapping[str, str], home: str) -> str:
    """Return the name of the context in use, without regard to DOCKER_HOST."""
    if environment.get("DOCKER_CONTEXT"):
        return environment["DOCKER_CONTEXT"]
    try:
        document = _read_json(os.path.join(_config_folder(environment, home), "config.json"))
    except (OSError, ValueError):
        return "default"
    return str(document.get("currentContext") or "default")


def list_contexts(environment: Mapping[str, str], home: str) -> list[str]:
    """Return the names of the contexts that are stored, sorted."""
    folder = os.path.join(_config_folder(environment, home), "contexts", "meta")
    names = []
    try:
        digests = os.listdir(folder)
    except OSError:
        return []
    for digest in digests:
        try:
            name = _read_json(os.path.join(folder, digest, "meta.json")).get("Name")
        except (OSError, ValueError):
            continue
        if isinstance(name, str) and name:
            names.append(name)
    return sorted(names)


def read_context(name: str, environment: Mapping[str, str], home: str) -> tuple[str, Tls | None]:
    """Return the address and the certificates of a context.

    Raises `EngineError` (code `engine-context`) for a missing or broken context.
    """
    from hashlib import sha256

    digest = sha256(name.encode()).hexdigest()
    folder = os.path.join(_config_folder(environment, home), "contexts")
    path = os.path.join(folder, "meta", digest, "meta.json")
    try:
        endpoint = _read_json(path)["Endpoints"]["docker"]
        address, skip = endpoint["Host"], bool(endpoint.get("SkipTLSVerify"))
        if not isinstance(address, str):
            raise TypeError
    except FileNotFoundError:
        hint = closest_hint(name, list_contexts(environment, home)) or "`docker context ls` lists the contexts"
        raise EngineError(f"docker context {name} not found", code="engine-context", hints=(hint,)) from None
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        raise EngineError(
            f"docker context {name} is broken: {path} does not describe a docker endpoint",
            code="engine-context",
            hints=(f"make it again: `docker context rm {name}`, then `docker context create {name}`",),
        ) from None
    tls_folder = os.path.join(folder, "tls", digest, "docker")
    has_tls = os.path.isdir(tls_folder) or (skip and address.startswith("tcp://"))
    return address, Tls.of_folder(tls_folder, verify=not skip) if has_tls else None


def _config_folder(environment: Mapping[str, str], home: str) -> str:
    return environment.get("DOCKER_CONFIG") or os.path.join(home, ".docker")


def _read_json(path: str) -> dict[str, Any]:
    import json

    with open(path, "rb") as file:
        document = json.loads(file.read(_MAX_FILE_BYTES))
    if not isinstance(document, dict):
        raise TypeError
    return document
