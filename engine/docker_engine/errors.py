"""Maps error responses of engines, and failures of connections, to exceptions of `grammar/errors.py`.

Messages of an engine are cleaned and truncated before they are shown.
"""

from __future__ import annotations

import os

from imq.grammar.errors import Conflict, EngineError, ImqError, NotFound
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from .endpoint import Endpoint

_NO_IMAGE = "No such image: "
_MAX_REASON_LENGTH = 300
"""Maximum length of an engine's message, in characters."""


def clean_text(text: str) -> str:
    """Return a message of an engine as one printable line of limited length, without credentials."""
    from imq.engine.units.redaction import NO_SECRETS  # compiles patterns that only messages need

    text = NO_SECRETS.redact(text[: _MAX_REASON_LENGTH * 8])
    line = " ".join("".join(c if c.isprintable() else " " for c in text[: _MAX_REASON_LENGTH * 4]).split())
    return line if len(line) <= _MAX_REASON_LENGTH else line[: _MAX_REASON_LENGTH - 1] + "…"


def _locate(endpoint: Endpoint) -> str:
    """Return the name and the address of an endpoint, for a message."""
    return endpoint.name if endpoint.name == endpoint.address else f"{endpoint.name} at {endpoint.address}"


def response_error(endpoint: Endpoint, status: int, body: bytes) -> ImqError:
    """Return the exception for a response with an error status, in the words of the engine."""
    reason = _read_reason(body)
    if status == 404:
        before, words, name = reason.rpartition(_NO_IMAGE)  # docker before 25 writes the name twice
        reason = f"{words}{name}" if before.lower().startswith(_NO_IMAGE.lower()) else reason
        return NotFound(reason or f"{endpoint.name} does not have it")
    if status == 409:
        return Conflict(reason or f"{endpoint.name} refuses because of a conflict")
    low = reason.lower()
    if status == 400 and "client version" in low and ("too old" in low or "too new" in low or "newer" in low):
        return api_version_error(endpoint, reason)
    if "http request to an https server" in low:
        return EngineError(
            f"{_locate(endpoint)} requires TLS",
            code="engine-tls",
            hints=("set DOCKER_TLS_VERIFY=1 and DOCKER_CERT_PATH, or make a docker context with certificates",),
            endpoint=endpoint.name,
            status=status,
        )
    text = f"{endpoint.name} returned an error (HTTP {status})"
    return EngineError(f"{text}: {reason}" if reason else text, endpoint=endpoint.name, status=status, reason=reason)


def _read_reason(body: bytes) -> str:
    """Return the message in the body of an error response, or its text."""
    import json

    text = body.decode("utf-8", "replace")
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return clean_text(text)
    message = document.get("message") if isinstance(document, dict) else None
    return clean_text(message) if isinstance(message, str) else clean_text(text)


def api_version_error(endpoint: Endpoint, reason: str) -> EngineError:
    """Return the error of an engine without an API version that imq supports."""
    return EngineError(
        f"{endpoint.name} does not support this version of the Engine API: {reason}",
        code="engine-api-version",
        hints=("upgrade the older of the two: the engine or imq",),
        endpoint=endpoint.name,
    )


def protocol_error(endpoint: Endpoint, reason: str) -> EngineError:
    """Return the error of an engine whose response is invalid or incomplete."""
    hints = ["check that a container engine listens at this address, and read its log"]
    if endpoint.address.startswith("ssh://"):
        hints.append("the shell of that host must write nothing of its own: check its startup files")
    return EngineError(
        f"{_locate(endpoint)} failed: {reason}",
        code="engine-protocol",
        hints=hints,
        endpoint=endpoint.name,
    )


def timeout_error(endpoint: Endpoint, seconds: float, event: str) -> EngineError:
    """Return the error of an engine that did not respond in time."""
    return EngineError(
        f"{_locate(endpoint)} {event} within {seconds:g} second{'' if seconds == 1 else 's'}",
        code="engine-timeout",
        hints=("the engine is overloaded or hangs: check its log, or restart it",),
        endpoint=endpoint.name,
    )


def tls_error(endpoint: Endpoint, error: OSError) -> EngineError:
    """Return the error of a TLS connection that one side rejects."""
    reason = getattr(error, "verify_message", "") or str(getattr(error, "reason", "")).lower().replace("_", " ")
    hints = ["check the certificates: ca.pem is the authority of the engine, cert.pem and key.pem are your own"]
    if "wrong version number" in reason or "http request" in reason:
        hints = ["the engine does not use TLS at this port: unset DOCKER_TLS_VERIFY, or use another port"]
    return EngineError(
        f"no TLS connection to {_locate(endpoint)}: {reason}",
        code="engine-tls",
        hints=hints,
        endpoint=endpoint.name,
    )


def certificate_error(endpoint: Endpoint, error: Exception) -> EngineError:
    """Return the error of a certificate or key that cannot be loaded."""
    tls = endpoint.tls
    paths = [path for path in (tls.ca, tls.cert, tls.key) if path] if tls is not None else []
    reason = "a file is invalid, or the key is not that of the certificate"
    if isinstance(error, FileNotFoundError | PermissionError | IsADirectoryError):
        reason = error.strerror or reason
    return EngineError(
        f"the certificates of {endpoint.name} cannot be loaded: {reason.lower()}",
        code="engine-tls",
        hints=(f"check {', '.join(paths)}",) if paths else (),
        endpoint=endpoint.name,
    )


def connect_error(endpoint: Endpoint, error: OSError) -> EngineError:
    """Map the failure of a connection attempt over a unix socket or TCP."""
    path = endpoint.socket_path
    if path is not None and isinstance(error, PermissionError):
        return _permission_error(endpoint, path)
    if path is not None and os.path.exists(path) and not _is_socket(path):
        return EngineError(
            f"{path} is not a socket",
            code="engine-not-a-socket",
            hints=(f"give the path of the socket of {endpoint.kind}, or remove this file and restart {endpoint.kind}",),
            endpoint=endpoint.name,
        )
    reason = (error.strerror or str(error)).lower()
    return EngineError(
        f"{_locate(endpoint)} is not reachable: {reason}",
        code="engine-unreachable",
        hints=_start_hints(endpoint),
        endpoint=endpoint.name,
    )


def _is_socket(path: str) -> bool:
    import stat

    try:
        return stat.S_ISSOCK(os.stat(path).st_mode)
    except OSError:
        return True


def _permission_error(endpoint: Endpoint, path: str) -> EngineError:
    """Return the error of a socket that this user may not open; it names the group that may."""
    message = f"permission denied for the socket of {endpoint.name}, {path}"
    hints = [f"run imq as a user who may use {endpoint.kind}"]
    try:
        group = os.stat(path).st_gid
    except OSError:
        hints = [f"only the owner of {os.path.dirname(path)} may use this socket"]
    else:
        import grp

        try:
            name = grp.getgrgid(group).gr_name
        except KeyError:
            name = str(group)
        if group:
            message += f": it belongs to the group {name}"
            hints = [f"join the group with `sudo usermod -aG {name} $USER`, and log in again"]
    if endpoint.kind == "podman":
        hints.append("or start a service of your own with `systemctl --user start podman.socket`")
    return EngineError(message, code="engine-permission", hints=hints, endpoint=endpoint.name)


def _start_hints(endpoint: Endpoint) -> tuple[str, ...]:
    if endpoint.socket_path is None:
        return ("check that the engine runs and listens at this address",)
    if endpoint.kind == "podman":
        return ("start it with `systemctl --user start podman.socket`; as root, without `--user`",)
    return (
        "start the engine, for example with `systemctl start docker`",
        "or name another endpoint in DOCKER_HOST, or with `docker context use`",
    )
