"""The distribution API, one method for each thing it can do. What arrives is checked before it is returned."""

from __future__ import annotations

from http import HTTPStatus

from imq.engine.oci import media
from imq.engine.oci.digest import Digest, is_digest
from imq.engine.oci.document import LARGEST_DOCUMENT, Descriptor
from imq.grammar.errors import DigestMismatch, Malformed, RegistryError
from imq.grammar.record import TYPE_CHECKING, Record

from . import faults
from .blob import BlobStream
from .exchange import Ask, Exchange
from .pages import PAGE, paged, texts
from .referrers import referrers
from .repositories import catalog, search
from .scopes import pull_scope, push_scope
from .upload import Uploads

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterator, Sequence
    from typing import Self

    from imq.engine.oci.reference import Reference

    from .limits import Allowance
    from .repositories import Repository
    from .settings import Settings
    from .transport import Answer
    from .upload import Content, Outcome

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


class Client:
    """Speaks to registries, any number of them, from any number of threads; a context manager.

    Failures raise `RegistryError`; documents that are not what they should be, `Malformed` or `DigestMismatch`.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._exchange = Exchange(settings)
        self._uploads = Uploads(self._exchange)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections kept open."""
        self._exchange.close()

    def allowance(self, registry: str) -> Allowance | None:
        """Return how often the registry, when last asked, said that it may be asked; None when it never did."""
        return self._exchange.allowance(registry)

    def manifest(self, reference: Reference, accept: Sequence[str] = media.ACCEPTED) -> Fetched:
        """Return the manifest or index that `reference` names, of at most 4 MiB, checked against its digest."""
        ask = _ask_manifest("GET", reference, accept)
        answer = self._exchange.read(ask, LARGEST_DOCUMENT, f"the manifest of {reference}")
        if answer.status != HTTPStatus.OK:
            raise _no_manifest(answer, reference)
        media_type = _document_type(answer, reference, accept)
        content = answer.read(LARGEST_DOCUMENT)
        if len(content) > LARGEST_DOCUMENT:
            raise Malformed(f"the manifest of {reference} has more than {LARGEST_DOCUMENT} bytes", code="too-large")
        return Fetched(content, media_type, _checked(content, answer, reference))

    def head(self, reference: Reference, accept: Sequence[str] = media.ACCEPTED) -> Descriptor | None:
        """Return what `reference` names without its bytes, None when there is no such manifest."""
        answer = self._exchange.ask(_ask_manifest("HEAD", reference, accept))
        answer.close()
        if answer.status == HTTPStatus.NOT_FOUND:
            return None
        if answer.status == HTTPStatus.METHOD_NOT_ALLOWED:
            return self.manifest(reference, accept).descriptor
        if answer.status != HTTPStatus.OK:
            raise _no_manifest(answer, reference)
        stated = answer.header("Docker-Content-Digest")
        if not is_digest(stated) or answer.length is None:
            return self.manifest(reference, accept).descriptor
        digest = Digest(stated)
        if reference.digest is not None and digest != reference.digest:
            raise _other_digest(reference, digest)
        return Descriptor(_document_type(answer, reference, accept), digest, answer.length)

    def tags(self, reference: Reference) -> Iterator[str]:
        """Yield the tags of the repository, in the order of the registry, which is mostly that of the alphabet."""
        name = reference.repository
        ask = Ask("GET", reference.registry, name, f"/v2/{name}/tags/list?n={PAGE}", pull_scope(name))
        return paged(
            self._exchange,
            ask,
            f"tags of {name}",
            lambda document: texts(document.get("tags")) if isinstance(document, dict) else None,
            lambda answer: faults.refusal(answer, reference.registry, f"repository {name}"),
        )

    def catalog(self, registry: str) -> Iterator[str]:
        """Yield the names of the registry's repositories; a `RegistryError` (`no-catalog`) when it lists none."""
        return catalog(self._exchange, registry)

    def search(self, term: str, registry: str, limit: int) -> Iterator[Repository]:
        """Yield at most `limit` repositories that a search for `term` finds; outside Docker Hub, in the catalog."""
        return search(self._exchange, term, registry, limit)

    def referrers(self, reference: Reference, digest: Digest, artifact_type: str | None = None) -> Iterator[Descriptor]:
        """Yield what refers to the manifest of this digest: signatures, bills of materials and other artifacts.

        With an `artifact_type` only what is of this type.
        """
        return referrers(self, self._exchange, reference, digest, artifact_type)

    def open_blob(
        self, reference: Reference, descriptor: Descriptor, offset: int = 0, stop: threading.Event | None = None
    ) -> BlobStream:
        """Open a blob of the reference's repository for reading from `offset`; setting `stop` ends it."""
        return BlobStream(self._exchange, reference, descriptor, offset, stop)

    def document(self, reference: Reference, descriptor: Descriptor) -> bytes:
        """Return a small blob (a config), checked against its descriptor."""
        if descriptor.size > LARGEST_DOCUMENT:
            raise Malformed(
                f"the config of {reference} has {descriptor.size} bytes; the limit is {LARGEST_DOCUMENT}",
                code="too-large",
            )
        content = bytearray(descriptor.size + 1)
        done = 0
        with self.open_blob(reference, descriptor) as stream:
            while count := stream.readinto(memoryview(content)[done:]):
                done += count
        hasher = descriptor.digest.hasher()
        hasher.update(memoryview(content)[:done])
        if hasher.hexdigest() != descriptor.digest.hex:
            raise DigestMismatch(
                f"{reference.registry} sent other bytes than {descriptor.digest} for {reference.repository}",
                hints=("the registry or a proxy before it is broken, or someone meddles with what you get",),
            )
        return bytes(content[:done])

    def has_blob(self, reference: Reference, descriptor: Descriptor) -> bool:
        """Whether the repository has the blob."""
        return self._uploads.has(reference, descriptor, pull_scope(reference.repository))

    def mount_blob(self, reference: Reference, descriptor: Descriptor, source: str) -> bool:
        """Take a blob over from the repository `source` of the same registry; False when it does not do that."""
        return self._uploads.mount(reference, descriptor, source)

    def upload_blob(
        self,
        reference: Reference,
        descriptor: Descriptor,
        opened: Callable[[], Content],
        *,
        source: str | None = None,
        sent: Callable[[int], None] = lambda _: None,
        stop: threading.Event | None = None,
    ) -> Outcome:
        """See to it that the repository has the blob, sending what `opened` opens only when that is needed.

        `source` names a repository of the same registry to mount it from; `sent` is told how many bytes have gone.
        """
        return self._uploads.put(reference, descriptor, opened, source=source, sent=sent, stop=stop)

    def put_manifest(self, reference: Reference, content: bytes, media_type: str) -> Digest:
        """Store a manifest or index under the reference's tag, else its digest; return its digest."""
        digest = reference.digest or Digest.of(content)
        selector = reference.tag or digest
        ask = Ask(
            "PUT",
            reference.registry,
            reference.repository,
            f"/v2/{reference.repository}/manifests/{selector}",
            push_scope(reference.repository),
            {"Content-Type": media_type},
            lambda: content,
        )
        answer = self._exchange.ask(ask)
        if answer.status not in (HTTPStatus.OK, HTTPStatus.CREATED, HTTPStatus.ACCEPTED):
            raise faults.refusal(answer, reference.registry, f"the manifest of {reference}")
        answer.close()
        stated = answer.header("Docker-Content-Digest")
        if is_digest(stated) and stated.startswith(digest.algorithm) and stated != digest:
            raise _other_digest(reference, Digest(stated))
        return digest


def _ask_manifest(method: str, reference: Reference, accept: Sequence[str]) -> Ask:
    name = reference.repository
    target = f"/v2/{name}/manifests/{reference.selector}"
    return Ask(method, reference.registry, name, target, pull_scope(name), {"Accept": ", ".join(accept)})


def _no_manifest(answer: Answer, reference: Reference) -> RegistryError:
    """Say that there is no such manifest in docker's words, else what the registry says."""
    if answer.status != HTTPStatus.NOT_FOUND:
        return faults.refusal(answer, reference.registry, str(reference))
    found = faults.refusal(answer, reference.registry, str(reference))
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


def _document_type(answer: Answer, reference: Reference, accept: Sequence[str]) -> str:
    """Return the media type of a manifest answer; a page for people is no manifest."""
    media_type = answer.header("Content-Type").partition(";")[0].strip().lower()
    if media_type in accept or media_type in (media.DOCKER_SCHEMA1, media.DOCKER_SCHEMA1_SIGNED):
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
    raise Malformed(
        f"{reference.registry} answers with {faults.clean(media_type)} where the manifest of {reference} should be",
        code="content-type",
        hints=("what has this name is no container image",),
    )


def _checked(content: bytes, answer: Answer, reference: Reference) -> Digest:
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


def _other_digest(reference: Reference, digest: Digest) -> DigestMismatch:
    return DigestMismatch(
        f"{reference.registry} says that {reference} is {digest}",
        hints=("the registry or a proxy before it changes manifests",),
    )
