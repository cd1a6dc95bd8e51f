"""The client of the distribution API: one method for each operation. Responses are checked before they are returned."""

from __future__ import annotations

import threading
from http import HTTPStatus

from imq.engine.oci import media_types
from imq.engine.oci.digest import Digest, is_digest
from imq.engine.oci.manifest import Descriptor, check_document_size
from imq.engine.registry.auth.authorizer import make_pull_scope, make_push_scope
from imq.engine.registry.http.client import RegistryHttp, Request
from imq.engine.registry.http.pagination import iterate_pages
from imq.engine.registry.transfer.mount_sources import MountSources
from imq.grammar.errors import RegistryError
from imq.grammar.record import TYPE_CHECKING

from . import errors
from .catalog import list_repositories, make_tag_listing, search_repositories
from .manifests import (
    FetchedManifest,
    delete_manifest,
    digest_changed_error,
    make_manifest_path,
    make_manifest_request,
    read_head_response,
    read_manifest_response,
    verify_blob,
)
from .referrers import list_referrers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Self

    from imq.engine.oci.reference import Reference
    from imq.engine.registry.http.rate_limit import RateLimit
    from imq.engine.registry.http.request_body import Content
    from imq.engine.registry.transfer.parallel_reader import ConnectionBudget, ParallelReader
    from imq.engine.registry.transfer.upload import BlobUploader, UploadResult

    from .catalog import Repository
    from .manifests import DeleteResult
    from .settings import Settings


class Client:
    """A client for any number of registries, safe to use from several threads; a context manager.

    Failures raise `RegistryError`; invalid documents raise `Malformed` or `DigestMismatch`.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.http = RegistryHttp(settings)
        self._lock = threading.Lock()
        self._lazy_uploads: BlobUploader | None = None
        self._lazy_connections: ConnectionBudget | None = None
        self.mount_sources = MountSources()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the open connections."""
        self.http.close()

    @property
    def _uploads(self) -> BlobUploader:
        """The state of uploads; a client that sends none does without its module."""
        with self._lock:
            if self._lazy_uploads is None:
                from imq.engine.registry.transfer.upload import BlobUploader

                self._lazy_uploads = BlobUploader(self.http)
            return self._lazy_uploads

    @property
    def _connections(self) -> ConnectionBudget:
        """The connections that all blobs share."""
        with self._lock:
            if self._lazy_connections is None:
                from imq.engine.registry.transfer.parallel_reader import MAX_CONNECTIONS, ConnectionBudget

                self._lazy_connections = ConnectionBudget(min(self.settings.jobs, MAX_CONNECTIONS))
            return self._lazy_connections

    def get_rate_limit(self, registry: str) -> RateLimit | None:
        """Return the rate limit that the registry last stated, None when it stated none."""
        return self.http.get_rate_limit(registry)

    def fetch_manifest(self, reference: Reference, accept: Sequence[str] = media_types.ACCEPTED) -> FetchedManifest:
        """Return the manifest or index of a reference, verified against its digest."""
        request = make_manifest_request("GET", reference, accept)
        limit = self.settings.largest_document
        response = self.http.fetch(request, limit, f"the manifest of {reference}")
        return read_manifest_response(response, reference, accept, limit)

    def find_manifest(
        self, reference: Reference, accept: Sequence[str] = media_types.ACCEPTED
    ) -> FetchedManifest | None:
        """Return the manifest or index of a reference, None when there is no such manifest."""
        try:
            return self.fetch_manifest(reference, accept)
        except RegistryError as error:
            if error.status == HTTPStatus.NOT_FOUND:
                return None
            raise

    def fetch_head(self, reference: Reference, accept: Sequence[str] = media_types.ACCEPTED) -> Descriptor | None:
        """Return the descriptor of a reference, or None if it does not exist."""
        response = self.http.send(make_manifest_request("HEAD", reference, accept))
        response.close()
        descriptor = read_head_response(response, reference, accept)
        if descriptor is not None:
            return descriptor
        fetched = self.find_manifest(reference, accept)
        return fetched.descriptor if fetched is not None else None

    def resolve_for_push(self, reference: Reference) -> Digest | None:
        """Return the digest of a name that is about to be written, None when the name does not exist.

        Registries may deny read access to a missing name and still allow a push, so a denial counts as missing.
        """
        request = make_manifest_request("HEAD", reference).replace(scopes=make_push_scope(reference.repository))
        response = self.http.send(request)
        response.close()
        if response.status in (HTTPStatus.NOT_FOUND, HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            return None
        descriptor = read_head_response(response, reference) or self.fetch_manifest(reference).descriptor
        return descriptor.digest

    def list_tags(self, reference: Reference) -> Iterator[str]:
        """Yield the tags of the repository in the registry's order, which is usually alphabetical."""
        return iterate_pages(self.http, make_tag_listing(reference))

    def list_repositories(self, registry: str) -> Iterator[str]:
        """Yield the names of the registry's repositories.

        Raises `RegistryError` (code `no-catalog`) when the registry lists none.
        """
        return list_repositories(self.http, registry)

    def search(self, term: str, registry: str, limit: int) -> Iterator[Repository]:
        """Yield at most `limit` repositories that match `term`.

        Registries other than Docker Hub are searched by catalog.
        """
        return search_repositories(self.http, term, registry, limit)

    def list_referrers(
        self, reference: Reference, digest: Digest, artifact_type: str | None = None
    ) -> Iterator[Descriptor]:
        """Yield the referrers of a manifest: signatures, SBOMs and other artifacts.

        An `artifact_type` selects the referrers of this type.
        """
        return list_referrers(self.http, self.fetch_manifest, reference, digest, artifact_type)

    def open_blob(
        self, reference: Reference, descriptor: Descriptor, offset: int = 0, stop: threading.Event | None = None
    ) -> ParallelReader:
        """Open a blob of the reference's repository for reading from `offset`; setting `stop` cancels it."""
        from imq.engine.registry.transfer.parallel_reader import ParallelReader

        return ParallelReader(self.http, reference, descriptor, offset, stop, self._connections)

    def fetch_blob(self, reference: Reference, descriptor: Descriptor) -> bytes:
        """Return a small blob (a config), verified against its descriptor."""
        from imq.engine.registry.transfer.blob_reader import ResumingReader

        check_document_size(descriptor.size, self.settings.largest_document, f"the config of {reference}")
        content = bytearray(descriptor.size + 1)
        done = 0
        with ResumingReader(self.http, reference, descriptor) as stream:
            while count := stream.readinto(memoryview(content)[done:]):
                done += count
        return verify_blob(bytes(content[:done]), reference, descriptor)

    def reject_source(self, descriptor: Descriptor) -> bool:  # noqa: ARG002 - a client with mirrors has a choice
        """Return False: a client without mirrors has no other source for a blob with wrong bytes."""
        return False

    def has_blob(self, reference: Reference, descriptor: Descriptor) -> bool:
        """Whether the repository has the blob."""
        return self._uploads.has_blob(reference, descriptor, make_pull_scope(reference.repository))

    def upload_blob(
        self,
        reference: Reference,
        descriptor: Descriptor,
        open_content: Callable[[], Content],
        *,
        source: str | None = None,
        on_progress: Callable[[int], None] = lambda _: None,
        stop: threading.Event | None = None,
    ) -> UploadResult:
        """Upload a blob unless the repository has it; `open_content` is called only when bytes are sent.

        `source` is a repository of the same registry to mount from. `on_progress` receives the number of bytes sent.
        """
        return self._uploads.upload(
            reference, descriptor, open_content, source=source, on_progress=on_progress, stop=stop
        )

    def delete(self, reference: Reference) -> DeleteResult:
        """Delete a manifest with its tags, or only the tag of a reference with a tag.

        Raises `RegistryError` (code `no-delete`) when deletion is disabled.
        """
        return delete_manifest(self.http, reference)

    def put_manifest(self, reference: Reference, content: bytes, media_type: str) -> Digest:
        """Store a manifest or index under the reference's tag, else its digest; return its digest."""
        digest = reference.digest or Digest.of(content)
        request = Request(
            "PUT",
            reference.registry,
            reference.repository,
            make_manifest_path(reference.replace(digest=None) if reference.tag else reference.replace(digest=digest)),
            make_push_scope(reference.repository),
            {"Content-Type": media_type},
            lambda: content,
        )
        response = self.http.send(request)
        if response.status not in (HTTPStatus.OK, HTTPStatus.CREATED, HTTPStatus.ACCEPTED):
            raise errors.response_error(response, reference.registry, f"the manifest of {reference}")
        response.close()
        stated = response.header("Docker-Content-Digest")
        if is_digest(stated) and stated.startswith(digest.algorithm) and stated != digest:
            raise digest_changed_error(reference, Digest(stated))
        return digest
