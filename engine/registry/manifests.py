"""Manifests and indexes as registries hand them out: how they are asked for, and what an answer has to be."""

from __future__ import annotations

from http import HTTPStatus

from imq.engine.oci import media_types
from imq.engine.oci.digest import Digest, is_digest
from imq.engine.oci.manifest import LARGEST_DOCUMENT, Descriptor, check_size
from imq.engine.registry.auth.scopes import pull_scope
from imq.engine.registry.http.client import UNLESS, Ask
from imq.engine.registry.http.urls import quote_segment
from imq.grammar.errors import DigestMismatch, Malformed, RegistryError
from imq.grammar.record import TYPE_CHECKING, Record

from . import errors

if TYPE_CHECKING:
    from collections.abc import Sequence

    from imq.engine.oci.reference import Reference
    from imq.engine.registry.http.response import Reply

_VAGUE_TYPES = frozenset({"", "application/json", "application/octet-stream", "text/plain"})
"""Said by servers that know no better; what the document is then stands in the document."""


class Fetched(Record):
    """A manifest or index as it came, its bytes checked against `digest`. `media_type` is "" when not said."""

    content: bytes
    media_type: str
    digest: Digest

    @property
    def descriptor(self) -> Descriptor:
        """The descriptor that names this document."""
        return Descriptor(self.media_type, self.digest, len(self.content))


def manifest_path(reference: Reference) -> str:
    """Return the path of what a reference names; a tag that a registry lists may hold any character."""
    return f"/v2/{reference.repository}/manifests/{quote_segment(reference.selector)}"


def ask_manifest(
    method: str, reference: Reference, accept: Sequence[str] = media_types.ACCEPTED, unless: Digest | None = None
) -> Ask:
    """Return the question for what `reference` names: `GET` for its bytes, `HEAD` for what it is.

    `unless`: the answer may be 304 when that is still this digest.
    """
    name = reference.repository
    target = manifest_path(reference)
    headers = {"Accept": ", ".join(accept)}
    if unless is not None:
        headers[UNLESS] = f'"{unless}"'
    return Ask(method, reference.registry, name, target, pull_scope(name), headers)


def read_fetched(
    answer: Reply,
    reference: Reference,
    accept: Sequence[str] = media_types.ACCEPTED,
    limit: int = LARGEST_DOCUMENT,
) -> Fetched:
    """Return the document that an answer to `GET` brings, of at most `limit` bytes, checked against its digest."""
    if answer.status != HTTPStatus.OK:
        raise no_manifest(answer, reference)
    media_type = _document_type(answer, reference, accept)
    content = answer.read(limit)
    check_size(len(content), limit, f"the manifest of {reference}")
    return Fetched(content, media_type, _checked(content, answer, reference))


def read_head(answer: Reply, reference: Reference, accept: Sequence[str] = media_types.ACCEPTED) -> Descriptor | None:
    """Return what an answer to `HEAD` says of the document; None when it says too little, or refuses.

    A refusal is no answer to whether the manifest is there: some registries, and stores behind them that sign addresses
    for one method, refuse `HEAD` alone. Then `GET` tells.
    """
    if errors.is_temporary(answer.status):
        raise no_manifest(answer, reference)
    if answer.status != HTTPStatus.OK:
        return None
    stated = answer.header("Docker-Content-Digest")
    if not is_digest(stated) or answer.length is None:
        return None
    digest = Digest(stated)
    if reference.digest is not None and digest != reference.digest:
        raise other_digest(reference, digest)
    return Descriptor(_document_type(answer, reference, accept), digest, answer.length)


def checked_blob(content: bytes, reference: Reference, descriptor: Descriptor) -> bytes:
    """Return the bytes of a small blob, which must be those that the descriptor names."""
    hasher = descriptor.digest.hasher()
    hasher.update(content)
    if hasher.hexdigest() != descriptor.digest.hex:
        raise DigestMismatch(
            f"{reference.registry} sent other bytes than {descriptor.digest} for {reference.repository}",
            hints=("the registry or a proxy before it is broken, or someone meddles with what you get",),
        )
    return content


def no_manifest(answer: Reply, reference: Reference) -> RegistryError:
    """Say that there is no such manifest in docker's words, else what the registry says."""
    if answer.status != HTTPStatus.NOT_FOUND:
        return errors.refusal(answer, reference.registry, str(reference))
    found = errors.refusal(answer, reference.registry, str(reference))
    if found.code not in ("manifest-unknown", "name-unknown", "not-found"):
        return found
    said = found.message.partition(f" not found on {reference.registry}")[2].removeprefix(": ")
    code = found.code if found.code != "not-found" else "manifest-unknown"
    word = code.replace("-", " ")
    return RegistryError(
        f"manifest for {reference} not found: {said or f'{word}: {word}'}",
        code=code,
        host=reference.registry,
        status=HTTPStatus.NOT_FOUND,
        hints=(f"check the name and the tag; {reference.registry} was asked, and answers",),
    )


def _document_type(answer: Reply, reference: Reference, accept: Sequence[str]) -> str:
    """Return the media type of a manifest answer; a page for people is no manifest."""
    media_type = answer.header("Content-Type").partition(";")[0].strip().lower()
    if media_type in accept or media_type in (media_types.DOCKER_SCHEMA1, media_types.DOCKER_SCHEMA1_SIGNED):
        return media_type
    if media_type in _VAGUE_TYPES:
        return ""
    answer.close()
    if media_type in ("text/html", "application/xhtml+xml"):
        raise RegistryError(
            f"{reference.registry} answers with a web page where the manifest of {reference} should be",
            code="not-a-registry",
            host=reference.registry,
            hints=("check the name of the registry; a proxy or login page may stand in between",),
        )
    shown = errors.clean(media_type, answer.secrets)
    raise Malformed(
        f"{reference.registry} answers with {shown} where the manifest of {reference} should be",
        code="content-type",
        hints=("what has this name is no container image",),
    )


def _checked(content: bytes, answer: Reply, reference: Reference) -> Digest:
    """Return the digest of the content, which must be what was asked for and what the registry says it is."""
    stated = answer.header("Docker-Content-Digest")
    expected = reference.digest or (Digest(stated) if is_digest(stated) else None)
    if expected is None:
        return Digest.of(content)
    hasher = expected.hasher()
    hasher.update(content)
    if hasher.hexdigest() != expected.hex:
        raise DigestMismatch(
            f"{reference.registry} sent other bytes than {expected} for the manifest of {reference}",
            hints=("the registry or a proxy before it is broken, or someone meddles with what you get",),
        )
    return expected


def other_digest(reference: Reference, digest: Digest) -> DigestMismatch:
    """Return the error of a registry that calls the reference by another digest than it has."""
    return DigestMismatch(
        f"{reference.registry} says that {reference} is {digest}",
        hints=("the registry or a proxy before it changes manifests",),
    )
