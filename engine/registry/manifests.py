"""Requests for manifests and indexes: fetch, verify and delete them."""

from __future__ import annotations

from enum import Enum
from http import HTTPStatus

from imq.engine.oci import media_types
from imq.engine.oci.digest import Digest, is_digest
from imq.engine.oci.manifest import Descriptor, check_document_size
from imq.engine.oci.media_types import DEFAULT_MAX_DOCUMENT
from imq.engine.registry.auth.authorizer import make_delete_scope, make_pull_scope
from imq.engine.registry.http.client import IF_NONE_MATCH, Request
from imq.engine.registry.http.urls import quote_segment
from imq.grammar.errors import DigestMismatch, Malformed, RegistryError
from imq.grammar.record import TYPE_CHECKING, Record

from . import errors

if TYPE_CHECKING:
    from collections.abc import Sequence

    from imq.engine.oci.reference import Reference
    from imq.engine.registry.http.client import RegistryHttp
    from imq.engine.registry.http.response import ResponseLike

_GENERIC_TYPES = frozenset({"", "application/json", "application/octet-stream", "text/plain"})
"""Content types of servers that do not know the media type; the document then states it."""


class FetchedManifest(Record):
    """A fetched manifest or index, verified against `digest`. `media_type` is "" when it is not stated."""

    content: bytes
    media_type: str
    digest: Digest

    @property
    def descriptor(self) -> Descriptor:
        """The descriptor of this document."""
        return Descriptor(self.media_type, self.digest, len(self.content))


def make_manifest_path(reference: Reference) -> str:
    """Return the request path of a reference. A listed tag may contain any character, so it is quoted."""
    return f"/v2/{reference.repository}/manifests/{quote_segment(reference.selector)}"


def make_manifest_request(
    method: str, reference: Reference, accept: Sequence[str] = media_types.ACCEPTED, if_none_match: Digest | None = None
) -> Request:
    """Return the request for a manifest: `GET` for its bytes, `HEAD` for its descriptor.

    `if_none_match`: the response may be 304 when the digest is still this one.
    """
    name = reference.repository
    target = make_manifest_path(reference)
    headers = {"Accept": ", ".join(accept)}
    if if_none_match is not None:
        headers[IF_NONE_MATCH] = f'"{if_none_match}"'
    return Request(method, reference.registry, name, target, make_pull_scope(name), headers)


def read_manifest_response(
    response: ResponseLike,
    reference: Reference,
    accept: Sequence[str] = media_types.ACCEPTED,
    max_bytes: int = DEFAULT_MAX_DOCUMENT,
) -> FetchedManifest:
    """Return the manifest in a response to `GET`, of at most `max_bytes`, verified against its digest."""
    if response.status != HTTPStatus.OK:
        raise manifest_error(response, reference)
    media_type = _read_media_type(response, reference, accept)
    content = response.read(max_bytes)
    check_document_size(len(content), max_bytes, f"the manifest of {reference}")
    return FetchedManifest(content, media_type, _verify_digest(content, response, reference))


def read_head_response(
    response: ResponseLike, reference: Reference, accept: Sequence[str] = media_types.ACCEPTED
) -> Descriptor | None:
    """Return the descriptor in a response to `HEAD`; None when headers are missing or `HEAD` is refused.

    A refused `HEAD` does not mean that the manifest is missing: some registries, and storage behind them with URLs
    signed for one method, refuse only `HEAD`. The caller then sends `GET`.
    """
    if errors.is_temporary(response.status):
        raise manifest_error(response, reference)
    if response.status != HTTPStatus.OK:
        return None
    header_digest = response.header("Docker-Content-Digest")
    if not is_digest(header_digest) or response.length is None:
        return None
    digest = Digest(header_digest)
    if reference.digest is not None and digest != reference.digest:
        raise digest_changed_error(reference, digest)
    return Descriptor(_read_media_type(response, reference, accept), digest, response.length)


def verify_blob(content: bytes, reference: Reference, descriptor: Descriptor) -> bytes:
    """Return the bytes of a small blob. Raises `DigestMismatch` when they do not match the descriptor."""
    if not descriptor.digest.matches(content):
        raise DigestMismatch(
            f"{reference.registry} sent content of {reference.repository} that does not match {descriptor.digest}",
            hints=("the registry or a proxy is faulty, or the content was manipulated in transit",),
        )
    return content


def manifest_error(response: ResponseLike, reference: Reference) -> RegistryError:
    """Return the error of a missing manifest in docker's wording, or the registry's error."""
    if response.status != HTTPStatus.NOT_FOUND:
        return errors.response_error(response, reference.registry, str(reference))
    error = errors.response_error(response, reference.registry, str(reference))
    if error.code not in ("manifest-unknown", "name-unknown", "not-found"):
        return error
    reason = error.message.partition(f" not found on {reference.registry}")[2].removeprefix(": ")
    code = error.code if error.code != "not-found" else "manifest-unknown"
    word = code.replace("-", " ")
    return RegistryError(
        f"manifest for {reference} not found: {reason or f'{word}: {word}'}",
        code=code,
        host=reference.registry,
        status=HTTPStatus.NOT_FOUND,
        hints=(f"check the name and the tag; {reference.registry} itself is reachable",),
    )


def _read_media_type(response: ResponseLike, reference: Reference, accept: Sequence[str]) -> str:
    """Return the media type of a manifest response. A web page raises `RegistryError`."""
    media_type = response.header("Content-Type").partition(";")[0].strip().lower()
    if media_type in accept or media_type in (media_types.DOCKER_SCHEMA1, media_types.DOCKER_SCHEMA1_SIGNED):
        return media_type
    if media_type in _GENERIC_TYPES:
        return ""
    response.close()
    if media_type in ("text/html", "application/xhtml+xml"):
        raise RegistryError(
            f"{reference.registry} returned a web page instead of the manifest of {reference}",
            code="not-a-registry",
            host=reference.registry,
            hints=("check the name of the registry; the response may come from a proxy or login page",),
        )
    cleaned = errors.clean_text(media_type, response.secrets)
    raise Malformed(
        f"{reference.registry} returned {cleaned} instead of the manifest of {reference}",
        code="content-type",
        hints=("this name is not a container image",),
    )


def _verify_digest(content: bytes, response: ResponseLike, reference: Reference) -> Digest:
    """Return the digest of the content, verified against the requested and the stated digest."""
    header_digest = response.header("Docker-Content-Digest")
    expected = reference.digest or (Digest(header_digest) if is_digest(header_digest) else None)
    if expected is None:
        return Digest.of(content)
    if not expected.matches(content):
        raise DigestMismatch(
            f"{reference.registry} sent a manifest of {reference} that does not match {expected}",
            hints=("the registry or a proxy is faulty, or the content was manipulated in transit",),
        )
    return expected


def digest_changed_error(reference: Reference, digest: Digest) -> DigestMismatch:
    """Return the error of a registry that states another digest for a reference by digest."""
    return DigestMismatch(
        f"{reference.registry} reports the digest {digest} for {reference}",
        hints=("the registry or a proxy in front of it changes manifests",),
    )


_DELETE_ACCEPTED = frozenset({HTTPStatus.OK, HTTPStatus.ACCEPTED, HTTPStatus.NO_CONTENT})
_DELETE_UNSUPPORTED = frozenset({HTTPStatus.BAD_REQUEST, HTTPStatus.METHOD_NOT_ALLOWED, HTTPStatus.NOT_IMPLEMENTED})
"""Statuses of registries that cannot delete a tag alone (distribution before 3), or anything."""


class DeleteResult(Enum):
    """The registry's response to a DELETE. It does not prove that anything was deleted."""

    ACCEPTED = "accepted"
    ABSENT = "absent"
    """The manifest does not exist."""
    UNSUPPORTED = "unsupported"
    """The registry cannot delete a tag alone."""


def delete_manifest(http: RegistryHttp, reference: Reference) -> DeleteResult:
    """Delete a manifest with all its tags, or only the tag of a reference without digest.

    Raises `RegistryError` (code `no-delete`) if the registry does not support deletion.
    """
    name = reference.repository
    response = http.send(
        Request("DELETE", reference.registry, name, make_manifest_path(reference), make_delete_scope(name))
    )
    if response.status in _DELETE_ACCEPTED:
        response.close()
        return DeleteResult.ACCEPTED
    if response.status in _DELETE_UNSUPPORTED and reference.digest is None:
        response.close()
        return DeleteResult.UNSUPPORTED
    error = errors.response_error(response, reference.registry, str(reference))
    if response.status == HTTPStatus.NOT_FOUND:
        if error.code == "manifest-unknown":
            return DeleteResult.ABSENT
        raise RegistryError(
            f"{reference.registry} did not delete {reference} (HTTP 404): {_get_error_reason(error)}",
            code=error.code,
            host=reference.registry,
            status=response.status,
            hints=("check the name; the registry, or a proxy in front of it, may not allow deletion",),
        )
    if response.status in _DELETE_UNSUPPORTED:
        raise RegistryError(
            f"{reference.registry} does not allow deletion",
            code="no-delete",
            host=reference.registry,
            status=response.status,
            hints=(
                f"response: {error.message}",
                "its operator can enable it; for Docker's registry: REGISTRY_STORAGE_DELETE_ENABLED=true",
            ),
        )
    raise error


def _get_error_reason(error: RegistryError) -> str:
    """Return the reason in a 404 of a registry, or a note that the response is not one."""
    reason = error.message.partition(f" not found on {error.host}")[2].removeprefix(": ")
    return reason or "the response is not from a registry"
