"""What a task returns, and its form on the way from a worker to the coordinator."""

from __future__ import annotations

from imq.grammar.errors import (
    DigestMismatch,
    ImqError,
    Interrupted,
    Malformed,
    NotFound,
    RegistryError,
    StoreError,
)
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

_KINDS: dict[str, type[ImqError]] = {
    kind.__name__: kind for kind in (DigestMismatch, Interrupted, Malformed, NotFound, RegistryError, StoreError)
}


def encode_error(error: ImqError) -> dict[str, Any]:
    """Return an error as a JSON object. The position in a statement is left out: a worker knows none."""
    document: dict[str, Any] = {
        "type": type(error).__name__,
        "code": error.code,
        "message": error.message,
        "hints": list(error.hints),
    }
    if isinstance(error, RegistryError):
        document |= {"host": error.host, "status": error.status, "retryAfter": error.retry_after}
    return document


def decode_error(document: dict[str, Any]) -> ImqError:
    """Return the error that `encode_error` encoded."""
    kind = _KINDS.get(document["type"], ImqError)
    if kind is RegistryError:
        error = RegistryError(
            document["message"],
            code=document["code"],
            hints=document["hints"],
            host=document["host"],
            status=document["status"],
        )
        error.retry_after = document["retryAfter"]
        return error
    return kind(document["message"], code=document["code"], hints=document["hints"])
