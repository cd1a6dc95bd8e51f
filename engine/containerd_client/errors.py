"""The errors of the client: what went wrong with containerd, and what to do about it."""

from __future__ import annotations

import os

from imq.grammar.errors import Conflict, EngineError, ImqError, NotFound
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from .grpc_connection import CallError

_MAX_REASON_LENGTH = 300
_INVALID, _NOT_FOUND, _ALREADY_EXISTS, _PERMISSION_DENIED, _FAILED_PRECONDITION, _UNIMPLEMENTED = 3, 5, 6, 7, 9, 12
"""Status codes of gRPC."""
INVALID_ARGUMENT = "engine-argument"
"""The code of the error for something that containerd does not have."""


def clean_text(text: str) -> str:
    """Return a message of containerd or ctr as one printable line of limited length."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text[: _MAX_REASON_LENGTH * 4]).split())
    return line if len(line) <= _MAX_REASON_LENGTH else line[: _MAX_REASON_LENGTH - 1] + "…"


def call_error(address: str, error: CallError) -> ImqError:
    """Return the exception for an error that containerd returned, in its words."""
    reason = clean_text(error.message) or f"status {error.status}"
    if error.status == _NOT_FOUND:
        return NotFound(reason)
    if error.status in (_ALREADY_EXISTS, _FAILED_PRECONDITION):
        return Conflict(reason)
    if error.status == _PERMISSION_DENIED:
        return EngineError(reason, code="engine-permission", endpoint=address)
    if error.status == _UNIMPLEMENTED:
        return EngineError(
            f"containerd at {address} lacks a service that imq needs: {reason}",
            code="engine-api-version",
            hints=("imq needs containerd 1.4 or later, with its default plugins",),
            endpoint=address,
        )
    code = INVALID_ARGUMENT if error.status == _INVALID else "engine"
    return EngineError(f"containerd at {address} returned an error: {reason}", code=code, endpoint=address)


def protocol_error(address: str, reason: str) -> EngineError:
    """Return the error of a server whose response is invalid."""
    return EngineError(
        f"containerd at {address} failed: {reason}",
        code="engine-protocol",
        hints=("check that containerd listens at this address, and read its log",),
        endpoint=address,
    )


def ended_error(address: str) -> EngineError:
    """Return the error of a containerd that ended, or closed the connection, before its response was complete."""
    return EngineError(
        f"containerd at {address} closed the connection before it answered",
        code="engine-protocol",
        hints=("check that containerd runs, with `systemctl status containerd`, and read its log",),
        endpoint=address,
    )


def timeout_error(address: str, seconds: float) -> EngineError:
    """Return the error of a containerd that did not respond in time."""
    return EngineError(
        f"containerd at {address} did not respond within {seconds:g} seconds",
        code="engine-timeout",
        hints=("containerd is overloaded or hangs: check its log, or restart it",),
        endpoint=address,
    )


def connect_error(address: str, error: OSError) -> EngineError:
    """Map the failure of a connection attempt."""
    if isinstance(error, PermissionError):
        return EngineError(
            f"permission denied for the socket of containerd, {address}{_describe_owner(address)}",
            code="engine-permission",
            hints=("containerd is used as root: run imq with sudo",),
            endpoint=address,
        )
    if os.path.exists(address) and not _is_socket(address):
        return EngineError(
            f"{address} is not a socket",
            code="engine-not-a-socket",
            hints=("set CONTAINERD_ADDRESS to the socket of containerd",),
            endpoint=address,
        )
    return EngineError(
        f"containerd at {address} is not reachable: {(error.strerror or str(error)).lower()}",
        code="engine-unreachable",
        hints=(
            "start it, for example with `systemctl start containerd`",
            "or set CONTAINERD_ADDRESS to the path of its socket",
        ),
        endpoint=address,
    )


def _describe_owner(address: str) -> str:
    """Return the group of a socket for a message; "" when it cannot be seen, or is that of root."""
    try:
        group = os.stat(address).st_gid
    except OSError:
        return ""
    if group == 0:
        return ""
    import grp

    try:
        return f": it belongs to the group {grp.getgrgid(group).gr_name}"
    except KeyError:
        return f": it belongs to the group {group}"


def _is_socket(path: str) -> bool:
    import stat

    try:
        return stat.S_ISSOCK(os.stat(path).st_mode)
    except OSError:
        return True
