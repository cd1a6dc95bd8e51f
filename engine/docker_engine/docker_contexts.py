"""Docker's contexts: the named endpoints in `$DOCKER_CONFIG/contexts`, by default `~/.docker/contexts`."""

from __future__ import annotations

import os

from imq.grammar.errors import EngineError, closest_hint
from imq.grammar.record import TYPE_CHECKING

from .config_file import match_object_fields, read_json_object
from .tls import Tls

if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULT_CONTEXT = "default"
"""The context that is not stored: DOCKER_HOST, or the default socket."""


def config_folder(environment: Mapping[str, str], home: str) -> str:
    """Return the folder of docker's configuration, and of its certificates by default."""
    return environment.get("DOCKER_CONFIG") or os.path.join(home, ".docker")


def read_current_context(environment: Mapping[str, str], home: str) -> str:
    """Return the name of the context in use, without regard to DOCKER_HOST."""
    if environment.get("DOCKER_CONTEXT"):
        return environment["DOCKER_CONTEXT"]
    path = os.path.join(config_folder(environment, home), "config.json")
    try:
        document = read_json_object(path, ("currentContext",))
    except FileNotFoundError:
        return DEFAULT_CONTEXT
    except (OSError, ValueError):
        raise EngineError(
            f"the current docker context is unknown: {path} is not a readable JSON file",
            code="engine-context",
            hints=("repair the file, or set DOCKER_CONTEXT or DOCKER_HOST",),
        ) from None
    name = document.get("currentContext")
    return name if isinstance(name, str) and name else DEFAULT_CONTEXT


def list_contexts(environment: Mapping[str, str], home: str) -> list[str]:
    """Return the names of the stored contexts, sorted."""
    folder = os.path.join(config_folder(environment, home), "contexts", "meta")
    names = []
    try:
        digests = os.listdir(folder)
    except OSError:
        return []
    for digest in digests:
        try:
            name = read_json_object(os.path.join(folder, digest, "meta.json"), ("Name",)).get("Name")
        except (OSError, ValueError):
            continue
        if isinstance(name, str) and name:
            names.append(name)
    return sorted(names)


def is_context(name: str, environment: Mapping[str, str], home: str) -> bool:
    """Whether a context with this name is stored."""
    folder = os.path.join(config_folder(environment, home), "contexts", "meta")
    return os.path.isdir(folder) and os.path.isdir(os.path.join(folder, _digest(name)))


def read_context(name: str, environment: Mapping[str, str], home: str) -> tuple[str, Tls | None]:
    """Return the address and the certificates of a context.

    Raises `EngineError` (code `engine-context`) for a missing or broken context.
    """
    digest = _digest(name)
    folder = os.path.join(config_folder(environment, home), "contexts")
    path = os.path.join(folder, "meta", digest, "meta.json")
    try:
        endpoints = read_json_object(path, ("Endpoints",))["Endpoints"]
        endpoint = match_object_fields(endpoints["docker"], ("Host", "SkipTLSVerify"))
        address, skips_verification = endpoint["Host"], bool(endpoint.get("SkipTLSVerify"))
        if not isinstance(address, str):
            raise TypeError
    except FileNotFoundError:
        hint = closest_hint(name, list_contexts(environment, home)) or "`docker context ls` lists the contexts"
        raise EngineError(f"docker context {name} not found", code="engine-context", hints=(hint,)) from None
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        raise EngineError(
            f"docker context {name} is broken: {path} does not describe an endpoint",
            code="engine-context",
            hints=(f"make it again: `docker context rm {name}`, then `docker context create {name}`",),
        ) from None
    tls_folder = os.path.join(folder, "tls", digest, "docker")
    has_tls = os.path.isdir(tls_folder) or (skips_verification and address.startswith("tcp://"))
    return address, Tls.of_folder(tls_folder, verify=not skips_verification) if has_tls else None


def _digest(name: str) -> str:
    """Return the name of a context's folders."""
    from hashlib import sha256

    return sha256(name.encode()).hexdigest()
