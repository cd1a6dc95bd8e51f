"""Taking tags and manifests away in registries, as far as they let it be done."""

from __future__ import annotations

from http import HTTPStatus

from imq.grammar.errors import RegistryError
from imq.grammar.record import TYPE_CHECKING

from . import faults
from .exchange import Ask
from .manifests import manifest_path
from .scopes import delete_scope

if TYPE_CHECKING:
    from imq.engine.oci.reference import Reference

    from .exchange import Exchange

_DONE = frozenset({HTTPStatus.OK, HTTPStatus.ACCEPTED, HTTPStatus.NO_CONTENT, HTTPStatus.NOT_FOUND})
"""What is gone already is as good as removed."""
_NO_TAGS = frozenset({HTTPStatus.BAD_REQUEST, HTTPStatus.METHOD_NOT_ALLOWED, HTTPStatus.NOT_IMPLEMENTED})
"""How registries answer that know no removal of a tag alone: distribution before 3, and all where it is turned off."""


def remove(exchange: Exchange, reference: Reference) -> bool:
    """Remove a manifest, with all its tags, or only the tag of a reference that has one and no digest.

    Returns False where the registry cannot take a tag alone. Raises `RegistryError`: `no-delete` where it removes
    nothing at all.
    """
    name = reference.repository
    answer = exchange.ask(Ask("DELETE", reference.registry, name, manifest_path(reference), delete_scope(name)))
    if answer.status in _DONE:
        answer.close()
        return True
    if answer.status in _NO_TAGS and reference.digest is None:
        answer.close()
        return False
    if answer.status in _NO_TAGS:
        answer.close()
        raise RegistryError(
            f"{reference.registry} removes nothing: deletion is turned off there",
            code="no-delete",
            host=reference.registry,
            status=answer.status,
            hints=("whoever runs the registry can allow it: REGISTRY_STORAGE_DELETE_ENABLED=true for docker's",),
        )
    raise faults.refusal(answer, reference.registry, str(reference))
