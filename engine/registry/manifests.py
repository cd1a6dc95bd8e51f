"""Requests for manifests and indexes: fetch, verify and delete them."""

from __future__ import annotations

from enum import Enum
from http import HTTPStatus

from imq.engine.oci import media_types
from imq.engine.oci.digest import Digest, is_digest
from imq.engine.oci.manifest import DEFAULT_MAX_DOCUMENT, Descriptor, check_document_size
from imq.engine.registry.auth.authorizer import delete_scope, pull_scope
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


def manifest_path(reference: Reference) -> str:
    """Return the request path of a reference. A listed tag may contain any character, so it is quoted."""
    return f"/v2/{reference.repository}/manifests/{quote_segment(reference.selector)}"


def manifest_request(
    method: str, reference: Reference, accept: Sequence[str] = media_types.ACCEPTED, if_none_match: Digest | None = None
) -> Request:
    """Return the request for a manifest: `GET` for its bytes, `HEAD` for its descriptor.

    `if_none_match`: the response may be 304 when the digest is still this one.
    """
    name = reference.repository
    target = manifest_path(reference)
    headers = {"Accept": ", ".join(accept)}
    if if_none_match is not None:
        headers[IF_NONE_MATCH] = f'"{if_none_match}"'
    return Request(method, reference.registry, name, target, pull_scope(name), headers)


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
    stated = response.header("Docker-Content-Digest")
    if not is_digest(stated) or response.length is None:
        return None
    digest = Digest(stated)
    if reference.digest is not None and digest != reference.digest:
        raise digest_changed_error(reference, digest)
    return Descriptor(_read_media_type(response, reference, accept), digest, response.length)


def verify_blob(content: bytes, reference: Reference, descriptor: Descriptor) -> bytes:
    """Return the bytes of a small blob. Raises `DigestMismatch` when they do not match the descriptor."""
    hasher = descriptor.digest.new_hash()
    hasher.update(content)
    if hasher.hexdigest() != descriptor.digest.encoded:
        raise DigestMismatch(
            f"{reference.registry} sent other bytes than {descriptor.digest} for {reference.repository}",
            hints=("the registry or a proxy before it is broken, or someone meddles with what you get",),
        )
    return content


def manifest_error(response: ResponseLike, reference: Reference) -> RegistryError:
    """Return the error of a missing manifest in docker's words, else the registry's error."""
    if response.status != HTTPStatus.NOT_FOUND:
        return errors.response_error(response, reference.registry, str(reference))
    found = errors.response_error(response, reference.registry, str(reference))
    if found.code not in ("manifest-unknown", "name-unknown", "not-found"):
        return found
    reason = found.message.partition(f" not found on {reference.registry}")[2].removeprefix(": ")
    code = found.code if found.code != "not-found" else "manifest-unknown"
    word = code.replace("-", " ")
    return RegistryError(
        f"manifest for {reference} not found: {reason or f'{word}: {word}'}",
        code=code,
        host=reference.registry,
        status=HTTPStatus.NOT_FOUND,
        hints=(f"check the name and the tag; {reference.registry} was asked, and answers",),
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
            f"{reference.registry} answers with a web page where the manifest of {reference} should be",
            code="not-a-registry",
            host=reference.registry,
            hints=("check the name of the registry; a proxy or login page may stand in between",),
        )
    shown = errors.clean_text(media_type, response.secrets)
    raise Malformed(
        f"{reference.registry} answers with {shown} where the manifest of {reference} should be",
        code="content-type",
        hints=("what has this name is no container image",),
    )


def _verify_digest(content: bytes, response: ResponseLike, reference: Reference) -> Digest:
    """Return the digest of the content, verified against the requested and the stated digest."""
    stated = response.header("Docker-Content-Digest")
    expected = reference.digest or (Digest(stated) if is_digest(stated) else None)
    if expected is None:
        return Digest.of(content)
    hasher = expected.new_hash()
    hasher.update(content)
    if hasher.hexdigest() != expected.encoded:
        raise DigestMismatch(
            f"{reference.registry} sent other bytes than {expected} for the manifest of {reference}",
            hints=("the registry or a proxy before it is broken, or someone meddles with what you get",),
        )
    return expected


def digest_changed_error(reference: Reference, digest: Digest) -> DigestMismatch:
    """Return the error of a registry that states another digest for a reference by digest."""
    return DigestMismatch(
        f"{reference.registry} says that {reference} is {digest}",
        hints=("the registry or a proxy before it changes manifests",),
    )


_DELETE_ACCEPTED = frozenset({HTTPStatus.OK, HTTPStatus.ACCEPTED, HTTPStatus.NO_CONTENT})
_DELETE_UNSUPPORTED = frozenset({HTTPStatus.BAD_REQUEST, HTTPStatus.METHOD_NOT_ALLOWED, HTTPStatus.NOT_IMPLEMENTED})
"""Statuses of registries that cannot delete a tag alone (distribution before 3), or anything."""


class DeleteResult(Enum):
    """The registry's response to a DELETE. It does not prove that anything is gone."""

    ACCEPTED = "accepted"
    ABSENT = "absent"
    """The manifest does not exist."""
    UNSUPPORTED = "unsupported"
    """The registry cannot delete a tag alone."""


def delete_manifest(http: RegistryHttp, reference: Reference) -> DeleteResult:
    """Delete a manifest with all its tags, or only the tag of a reference without digest.

    Raises `RegistryError` (code `no-delete`) when the registry deletes nothing.
    """
    name = reference.repository
    response = http.send(Request("DELETE", reference.registry, name, manifest_path(reference), delete_scope(name)))
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
            f"{reference.registry} did not remove {reference} (HTTP 404): {_error_reason(error)}",
            code=error.code,
            host=reference.registry,
            status=response.status,
            hints=("check the name; the registry, or a proxy before it, may not allow removals here",),
        )
    if response.status in _DELETE_UNSUPPORTED:
        raise RegistryError(
            f"{reference.registry} removes nothing: deletion is turned off there",
            code="no-delete",
            host=reference.registry,
            status=response.status,
            hints=(
                f"its answer: {error.message}",
                "whoever runs the registry can allow it: REGISTRY_STORAGE_DELETE_ENABLED=true for docker's",
            ),
        )
    raise error


def _error_reason(error: RegistryError) -> str:
    """Return the reason of a 404, if it is an error of a registry."""
    reason = error.message.partition(f" not found on {error.host}")[2].removeprefix(": ")
    return reason or "the answer is none of a registry"
