"""What refers to a manifest: signatures, bills of materials and other artifacts whose `subject` it is.

Registries with the referrers API of the distribution specification 1.1 are asked for them; of older ones the tag
`sha256-…` is read, under which clients keep an index of the referrers there.
"""

from __future__ import annotations

from http import HTTPStatus

from imq.engine.oci import json_schema, media_types
from imq.engine.oci.manifest import Descriptor, Index, read_manifest
from imq.engine.registry.auth.scopes import pull_scope
from imq.engine.registry.http.client import Ask
from imq.engine.registry.http.pagination import Listing, paged
from imq.grammar.errors import RegistryError
from imq.grammar.record import TYPE_CHECKING

from . import errors

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from imq.engine.oci.digest import Digest
    from imq.engine.oci.reference import Reference
    from imq.engine.registry.http.client import Exchange
    from imq.engine.registry.http.response import Reply

    from .client import Client
    from .manifests import Fetched

_LONGEST_ALGORITHM, _LONGEST_HEX = 32, 64
"""Characters of a digest that stand in the tag, by the specification."""
_NO_SUCH_API = frozenset(
    {
        HTTPStatus.BAD_REQUEST,
        HTTPStatus.NOT_FOUND,
        HTTPStatus.METHOD_NOT_ALLOWED,
        HTTPStatus.NOT_ACCEPTABLE,
        HTTPStatus.NOT_IMPLEMENTED,
    }
)


class NoReferrersError(Exception):
    """The registry has no referrers API."""


def referrers(
    client: Client, exchange: Exchange, reference: Reference, digest: Digest, artifact_type: str | None
) -> Iterator[Descriptor]:
    """Yield the descriptors of what refers to the manifest of this digest in the reference's repository.

    With an `artifact_type` only those of this type, whether or not the registry knows how to choose.
    """
    try:
        for found in paged(exchange, referrers_of(reference, digest, artifact_type)):
            if artifact_type in (None, found.artifact_type):
                yield found
    except NoReferrersError:
        for found in _tagged(client, reference, digest):
            if artifact_type in (None, found.artifact_type):
                yield found


def referrers_of(reference: Reference, digest: Digest, artifact_type: str | None = None) -> Listing:
    """Return the list of the referrers; reading it raises `NoReferrersError` where the API is not there."""
    target = f"/v2/{reference.repository}/referrers/{digest}"
    if artifact_type is not None:
        from urllib.parse import urlencode

        target += "?" + urlencode({"artifactType": artifact_type})
    what = f"referrers of {digest.short} of {reference.repository}"

    def refused(answer: Reply) -> RegistryError:
        if answer.status in _NO_SUCH_API:
            answer.close()
            raise NoReferrersError
        return errors.refusal(answer, reference.registry, what)

    headers = {"Accept": media_types.OCI_INDEX}
    scopes = pull_scope(reference.repository)
    ask = Ask("GET", reference.registry, reference.repository, target, scopes, headers)
    return Listing(ask, what, _entries, refused)


def fallback_tag(digest: Digest) -> str:
    """Return the tag of the index of referrers in registries without the API."""
    tag = f"{digest.algorithm[:_LONGEST_ALGORITHM]}-{digest.hex[:_LONGEST_HEX]}"
    return tag.replace("+", "-").replace("=", "-")  # as the specification says of what no tag may have


def _entries(document: Any) -> list[Descriptor] | None:
    if not isinstance(document, dict):
        return None
    json_schema.MANIFEST.check(document, "the list of referrers")
    entries = document.get("manifests", 0)
    if entries is not None and not isinstance(entries, list):
        return None
    return [Descriptor.read(entry, f"referrer {place}") for place, entry in enumerate(entries or ())]


def _tagged(client: Client, reference: Reference, digest: Digest) -> tuple[Descriptor, ...]:
    name = fallback(reference, digest)
    try:
        fetched = client.manifest(name)
    except RegistryError as problem:
        if problem.status == HTTPStatus.NOT_FOUND:
            return ()
        raise
    return entries_of(fetched, name, digest)


def fallback(reference: Reference, digest: Digest) -> Reference:
    """Return the name under which a registry without the API may have the index of the referrers."""
    return reference.replace(tag=fallback_tag(digest), digest=None)


def is_subject(fetched: Fetched, subject: Digest) -> bool:
    """Whether the document under the fallback tag is the subject itself: some registries read that tag as a digest."""
    hasher = subject.hasher()
    hasher.update(fetched.content)
    return hasher.hexdigest() == subject.hex


def entries_of(fetched: Fetched, name: Reference, subject: Digest) -> tuple[Descriptor, ...]:
    """Return the referrers of the subject that the document under the fallback tag names."""
    if is_subject(fetched, subject):
        return ()
    index = read_manifest(fetched.content, fetched.media_type, f"the manifest of {name}")
    return index.manifests if isinstance(index, Index) else ()
