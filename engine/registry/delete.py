"""Removing tags and manifests in registries, as far as they allow it."""

from __future__ import annotations

from enum import Enum
from http import HTTPStatus

from imq.engine.registry.auth.scopes import delete_scope
from imq.engine.registry.http.client import Ask
from imq.grammar.errors import RegistryError
from imq.grammar.record import TYPE_CHECKING

from . import errors
from .manifests import manifest_path

if TYPE_CHECKING:
    from imq.engine.oci.reference import Reference
    from imq.engine.registry.http.client import Exchange

_ACCEPTED = frozenset({HTTPStatus.OK, HTTPStatus.ACCEPTED, HTTPStatus.NO_CONTENT})
_NO_TAGS = frozenset({HTTPStatus.BAD_REQUEST, HTTPStatus.METHOD_NOT_ALLOWED, HTTPStatus.NOT_IMPLEMENTED})
"""How registries answer that know no removal of a tag alone: distribution before 3, and all where it is turned off."""


class Removed(Enum):
    """What a registry says to a removal. Whether anything is gone is another question."""

    ACCEPTED = "accepted"
    ABSENT = "absent"
    """It has no such manifest."""
    UNSUPPORTED = "unsupported"
    """It cannot remove a tag alone."""


def remove(exchange: Exchange, reference: Reference) -> Removed:
    """Remove a manifest, with all its tags, or only the tag of a reference that has one and no digest.

    Raises `RegistryError`: `no-delete` where the registry removes nothing at all.
    """
    name = reference.repository
    answer = exchange.ask(Ask("DELETE", reference.registry, name, manifest_path(reference), delete_scope(name)))
    if answer.status in _ACCEPTED:
        answer.close()
        return Removed.ACCEPTED
    if answer.status in _NO_TAGS and reference.digest is None:
        answer.close()
        return Removed.UNSUPPORTED
    refused = errors.refusal(answer, reference.registry, str(reference))
    if answer.status == HTTPStatus.NOT_FOUND:
        if refused.code == "manifest-unknown":
            return Removed.ABSENT
        raise RegistryError(
            f"{reference.registry} did not remove {reference} (HTTP 404): {_reason(refused)}",
            code=refused.code,
            host=reference.registry,
            status=answer.status,
            hints=("check the name; the registry, or a proxy before it, may not allow removals here",),
        )
    if answer.status in _NO_TAGS:
        raise RegistryError(
            f"{reference.registry} removes nothing: deletion is turned off there",
            code="no-delete",
            host=reference.registry,
            status=answer.status,
            hints=(
                f"its answer: {refused.message}",
                "whoever runs the registry can allow it: REGISTRY_STORAGE_DELETE_ENABLED=true for docker's",
            ),
        )
    raise refused


def _reason(refused: RegistryError) -> str:
    """Return what a 404 says, when it says anything that a registry says."""
    said = refused.message.partition(f" not found on {refused.host}")[2].removeprefix(": ")
    return said or "the answer is none of a registry"
