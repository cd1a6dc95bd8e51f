"""The distribution API, one method for each thing it can do. What arrives is checked before it is returned."""

from __future__ import annotations

from http import HTTPStatus

from imq.engine.oci import media_types
from imq.engine.oci.digest import Digest, is_digest
from imq.engine.oci.manifest import Descriptor, check_size
from imq.engine.registry.auth.scopes import pull_scope, push_scope
from imq.engine.registry.http.client import Ask, Exchange
from imq.engine.registry.http.pagination import paged
from imq.engine.registry.transfer.blob_reader import BlobStream
from imq.engine.registry.transfer.mount_sources import Placed
from imq.engine.registry.transfer.parallel_reader import MOST_LANES, Download, Lanes
from imq.engine.registry.transfer.upload import Uploads
from imq.grammar.errors import RegistryError
from imq.grammar.record import TYPE_CHECKING

from . import errors
from .catalog import catalog, search, tags_of
from .delete import remove
from .manifests import Fetched, ask_manifest, checked_blob, manifest_path, other_digest, read_fetched, read_head
from .referrers import referrers

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterator, Sequence
    from typing import Self

    from imq.engine.oci.reference import Reference
    from imq.engine.registry.http.rate_limit import Allowance
    from imq.engine.registry.http.request_body import Content
    from imq.engine.registry.transfer.upload import Outcome

    from .catalog import Repository
    from .delete import Removed
    from .settings import Settings


class Client:
    """Speaks to registries, any number of them, from any number of threads; a context manager.

    Failures raise `RegistryError`; documents that are not what they should be, `Malformed` or `DigestMismatch`.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.exchange = Exchange(settings)
        self._uploads = Uploads(self.exchange)
        self._lanes = Lanes(min(settings.jobs, MOST_LANES))
        self.placed = Placed()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections kept open."""
        self.exchange.close()

    def allowance(self, registry: str) -> Allowance | None:
        """Return how often the registry, when last asked, said that it may be asked; None when it never did."""
        return self.exchange.allowance(registry)

    def manifest(self, reference: Reference, accept: Sequence[str] = media_types.ACCEPTED) -> Fetched:
        """Return the manifest or index that `reference` names, checked against its digest."""
        ask = ask_manifest("GET", reference, accept)
        limit = self.settings.largest_document
        answer = self.exchange.read(ask, limit, f"the manifest of {reference}")
        return read_fetched(answer, reference, accept, limit)

    def head(self, reference: Reference, accept: Sequence[str] = media_types.ACCEPTED) -> Descriptor | None:
        """Return what `reference` names without its bytes, None when there is no such manifest."""
        answer = self.exchange.ask(ask_manifest("HEAD", reference, accept))
        answer.close()
        found = read_head(answer, reference, accept)
        if found is not None:
            return found
        try:
            return self.manifest(reference, accept).descriptor
        except RegistryError as problem:
            if problem.status == HTTPStatus.NOT_FOUND:
                return None
            raise

    def named(self, reference: Reference) -> Digest | None:
        """Return what a name means where it is to be written, None when it means nothing yet.

        Who may not even ask for what is not there may yet be let in to write.
        """
        ask = ask_manifest("HEAD", reference).replace(scopes=push_scope(reference.repository))
        answer = self.exchange.ask(ask)
        answer.close()
        if answer.status in (HTTPStatus.NOT_FOUND, HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            return None
        found = read_head(answer, reference) or self.manifest(reference).descriptor
        return found.digest

    def tags(self, reference: Reference) -> Iterator[str]:
        """Yield the tags of the repository, in the order of the registry, which is mostly that of the alphabet."""
        return paged(self.exchange, tags_of(reference))

    def catalog(self, registry: str) -> Iterator[str]:
        """Yield the names of the registry's repositories; a `RegistryError` (`no-catalog`) when it lists none."""
        return catalog(self.exchange, registry)

    def search(self, term: str, registry: str, limit: int) -> Iterator[Repository]:
        """Yield at most `limit` repositories that a search for `term` finds; outside Docker Hub, in the catalog."""
        return search(self.exchange, term, registry, limit)

    def referrers(self, reference: Reference, digest: Digest, artifact_type: str | None = None) -> Iterator[Descriptor]:
        """Yield what refers to the manifest of this digest: signatures, bills of materials and other artifacts.

        With an `artifact_type` only what is of this type.
        """
        return referrers(self, self.exchange, reference, digest, artifact_type)

    def open_blob(
        self, reference: Reference, descriptor: Descriptor, offset: int = 0, stop: threading.Event | None = None
    ) -> Download:
        """Open a blob of the reference's repository for reading from `offset`; setting `stop` ends it."""
        return Download(self.exchange, reference, descriptor, offset, stop, self._lanes)

    def document(self, reference: Reference, descriptor: Descriptor) -> bytes:
        """Return a small blob (a config), checked against its descriptor."""
        check_size(descriptor.size, self.settings.largest_document, f"the config of {reference}")
        content = bytearray(descriptor.size + 1)
        done = 0
        with BlobStream(self.exchange, reference, descriptor) as stream:
            while count := stream.readinto(memoryview(content)[done:]):
                done += count
        return checked_blob(bytes(content[:done]), reference, descriptor)

    def distrust(self, descriptor: Descriptor) -> bool:  # noqa: ARG002 - a client with mirrors has a choice
        """Return whether a blob whose bytes were wrong may be had from another place: here there is one alone."""
        return False

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

    def remove(self, reference: Reference) -> Removed:
        """Remove a manifest with its tags, or the tag alone of a reference with a tag; return the registry's answer.

        Raises `RegistryError`, with the code `no-delete` where the registry removes nothing.
        """
        return remove(self.exchange, reference)

    def put_manifest(self, reference: Reference, content: bytes, media_type: str) -> Digest:
        """Store a manifest or index under the reference's tag, else its digest; return its digest."""
        digest = reference.digest or Digest.of(content)
        ask = Ask(
            "PUT",
            reference.registry,
            reference.repository,
            manifest_path(reference.replace(digest=None) if reference.tag else reference.replace(digest=digest)),
            push_scope(reference.repository),
            {"Content-Type": media_type},
            lambda: content,
        )
        answer = self.exchange.ask(ask)
        if answer.status not in (HTTPStatus.OK, HTTPStatus.CREATED, HTTPStatus.ACCEPTED):
            raise errors.refusal(answer, reference.registry, f"the manifest of {reference}")
        answer.close()
        stated = answer.header("Docker-Content-Digest")
        if is_digest(stated) and stated.startswith(digest.algorithm) and stated != digest:
            raise other_digest(reference, Digest(stated))
        return digest
