"""Lists the referrers of a manifest: artifacts whose `subject` it is, such as signatures and SBOMs.

The referrers API of the distribution specification 1.1 is tried first. Older registries have an index of the referrers
under the tag `sha256-…`, which clients maintain.
"""

from __future__ import annotations

from http import HTTPStatus

from imq.engine.oci import json_schema, media_types
from imq.engine.oci.manifest import Descriptor, Index, parse_manifest
from imq.engine.registry.auth.authorizer import make_pull_scope
from imq.engine.registry.http.client import Request
from imq.engine.registry.http.pagination import Listing, iterate_pages
from imq.grammar.errors import RegistryError
from imq.grammar.record import TYPE_CHECKING

from . import errors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from imq.engine.oci.digest import Digest
    from imq.engine.oci.reference import Reference
    from imq.engine.registry.http.client import RegistryHttp
    from imq.engine.registry.http.response import ResponseLike

    from .manifests import FetchedManifest

_MAX_ALGORITHM_LENGTH, _MAX_HEX_LENGTH = 32, 64
"""Maximum lengths in the referrers tag, by the specification."""
_API_MISSING = frozenset(
    {
        HTTPStatus.BAD_REQUEST,
        HTTPStatus.NOT_FOUND,
        HTTPStatus.METHOD_NOT_ALLOWED,
        HTTPStatus.NOT_ACCEPTABLE,
        HTTPStatus.NOT_IMPLEMENTED,
    }
)


class NoReferrersApiError(Exception):
    """The registry has no referrers API."""


def list_referrers(
    http: RegistryHttp,
    get_manifest: Callable[[Reference], FetchedManifest],
    reference: Reference,
    digest: Digest,
    artifact_type: str | None,
) -> Iterator[Descriptor]:
    """Yield the descriptors of the referrers of a manifest.

    An `artifact_type` selects the referrers of this type, whether or not the registry supports the filter.
    """
    try:
        for descriptor in iterate_pages(http, make_referrers_listing(reference, digest, artifact_type)):
            if artifact_type in (None, descriptor.artifact_type):
                yield descriptor
    except NoReferrersApiError:
        for descriptor in _list_tagged(get_manifest, reference, digest):
            if artifact_type in (None, descriptor.artifact_type):
                yield descriptor


def make_referrers_listing(reference: Reference, digest: Digest, artifact_type: str | None = None) -> Listing:
    """Return the paginated list of the referrers; reading it raises `NoReferrersApiError` without the API."""
    target = f"/v2/{reference.repository}/referrers/{digest}"
    if artifact_type is not None:
        from urllib.parse import urlencode

        target += "?" + urlencode({"artifactType": artifact_type})
    description = f"referrers of {digest.short} of {reference.repository}"

    def make_error(response: ResponseLike) -> RegistryError:
        if response.status in _API_MISSING:
            response.close()
            raise NoReferrersApiError
        return errors.response_error(response, reference.registry, description)

    headers = {"Accept": media_types.OCI_INDEX}
    scopes = make_pull_scope(reference.repository)
    request = Request("GET", reference.registry, reference.repository, target, scopes, headers)
    return Listing(request, description, _parse_page, make_error)


def make_referrers_tag(digest: Digest) -> str:
    """Return the tag of the referrers index in registries without the API."""
    tag = f"{digest.algorithm[:_MAX_ALGORITHM_LENGTH]}-{digest.encoded[:_MAX_HEX_LENGTH]}"
    return tag.replace("+", "-").replace("=", "-")  # the specification replaces characters that are invalid in tags


def _parse_page(document: Any) -> list[Descriptor] | None:
    if not isinstance(document, dict):
        return None
    json_schema.MANIFEST.check(document, "the list of referrers")
    entries = document.get("manifests", 0)
    if entries is not None and not isinstance(entries, list):
        return None
    return [Descriptor.parse(entry, f"referrer {number}") for number, entry in enumerate(entries or ())]


def _list_tagged(
    get_manifest: Callable[[Reference], FetchedManifest], reference: Reference, digest: Digest
) -> tuple[Descriptor, ...]:
    name = make_referrers_tag_reference(reference, digest)
    try:
        fetched = get_manifest(name)
    except RegistryError as error:
        if error.status == HTTPStatus.NOT_FOUND:
            return ()
        raise
    return read_referrers_index(fetched, name, digest)


def make_referrers_tag_reference(reference: Reference, digest: Digest) -> Reference:
    """Return the reference of the referrers index in registries without the API."""
    return reference.replace(tag=make_referrers_tag(digest), digest=None)


def is_subject(fetched: FetchedManifest, subject: Digest) -> bool:
    """Whether a fetched manifest is the subject itself: some registries read the referrers tag as a digest."""
    return subject.matches(fetched.content)


def read_referrers_index(fetched: FetchedManifest, name: Reference, subject: Digest) -> tuple[Descriptor, ...]:
    """Return the descriptors in the index under the referrers tag.

    An image for a platform is no referrer: then the tag names an ordinary index.
    """
    if is_subject(fetched, subject):
        return ()
    index = parse_manifest(fetched.content, fetched.media_type, f"the manifest of {name}")
    if not isinstance(index, Index):
        return ()
    return tuple(
        entry
        for entry in index.manifests
        if entry.artifact_type or entry.platform is None or not entry.platform.is_known
    )
