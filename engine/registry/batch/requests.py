"""The requests of a batch: each knows its HTTP request and how to read the response.

A request belongs to one item of one batch. `handle_response` adds results and returns a further request, if one is
needed.
"""

from __future__ import annotations

from collections import deque
from http import HTTPStatus

from imq.engine.oci.manifest import check_document_size
from imq.engine.registry import errors
from imq.engine.registry.auth.authorizer import make_pull_scope
from imq.engine.registry.catalog import make_tag_listing
from imq.engine.registry.http.client import Request, read_complete
from imq.engine.registry.http.pagination import MAX_PAGE_BYTES, Pager
from imq.engine.registry.manifests import (
    make_manifest_request,
    manifest_error,
    read_head_response,
    read_manifest_response,
    verify_blob,
)
from imq.engine.registry.referrers import (
    NoReferrersApiError,
    make_referrers_listing,
    make_referrers_tag_reference,
    read_referrers_index,
)
from imq.grammar.errors import DigestMismatch
from imq.grammar.record import TYPE_CHECKING, Record

if TYPE_CHECKING:
    from typing import Any

    from imq.engine.oci.digest import Digest
    from imq.engine.oci.manifest import Descriptor
    from imq.engine.oci.reference import Reference
    from imq.engine.registry.http.response import ResponseLike


class TagPage(Record):
    """One page of the tags of a repository. `is_last`: no page follows."""

    tags: tuple[str, ...]
    is_last: bool


class Batch:
    """The state of one batch: results for the caller, and the number of pending items."""

    __slots__ = ("deferred", "is_cancelled", "pending_count", "results")

    def __init__(self) -> None:
        self.results: deque[tuple[int, Any]] = deque()
        self.pending_count = 0
        self.deferred: deque[BatchRequest] = deque()
        """Requests for more pages, which wait until the caller has taken the results."""
        self.is_cancelled = False


class BatchRequest:
    """A request of one item, with its retry state."""

    __slots__ = (
        *("attempts", "authorization", "batch", "has_stalled", "key", "max_bytes", "needs_full_client"),
        *("reference", "request", "retry_at", "stale_count", "unauthorized_count"),
    )

    def __init__(self, batch: Batch, key: int, reference: Reference, request: Request, max_bytes: int) -> None:
        self.batch = batch
        self.key = key
        self.reference = reference
        self.request = request
        self.max_bytes = max_bytes
        """Maximum size of a response body; one more byte is read to detect a longer one."""
        self.needs_full_client = False
        """Whether `RegistryHttp` must send it."""
        self.authorization: str | None = None
        """The Authorization header it was sent with."""
        self.retry_at = 0.0
        self.attempts = 0
        self.unauthorized_count = 0
        self.stale_count = 0
        self.has_stalled = False
        """Whether a response has stalled: a second stall fails the request."""

    @property
    def description(self) -> str:
        """The subject of the request, for error messages."""
        return f"the manifest of {self.reference}"

    def prepare(self) -> None:
        """Update the request before it is sent, from the results of other requests."""

    def handle_response(self, response: ResponseLike) -> Request | None:
        """Read a response and add its results; return the next request, if any. Raises `ImqError`."""
        raise NotImplementedError

    def add_result(self, result: Any) -> None:
        """Add a result to the batch."""
        self.batch.results.append((self.key, result))


class HeadRequest(BatchRequest):
    """Resolves a reference to a descriptor. `cached` is an earlier descriptor.

    A conditional request for an unchanged tag is cheaper: docker-registry need not read the manifest.
    """

    __slots__ = ("cached", "expects_missing", "head_works")

    def __init__(
        self,
        batch: Batch,
        key: int,
        reference: Reference,
        max_bytes: int,
        head_works: set[tuple[str, str]],
        cached: Descriptor | None = None,
        *,
        expects_missing: bool = False,
    ) -> None:
        self.cached = cached
        self.expects_missing = expects_missing
        """Whether most references do not exist: then a 404 to HEAD is final where HEAD works."""
        self.head_works = head_works
        """The repositories in which HEAD has succeeded, shared by all requests of the client."""
        if_none_match = cached.digest if cached is not None else None
        super().__init__(
            batch, key, reference, make_manifest_request("HEAD", reference, if_none_match=if_none_match), max_bytes
        )

    def handle_response(self, response: ResponseLike) -> Request | None:
        """Add the descriptor; fall back to GET when HEAD is insufficient or refused."""
        repository = (self.reference.registry, self.reference.repository)
        if response.status == HTTPStatus.NOT_MODIFIED and self.cached is not None:
            if response.header("Docker-Content-Digest") in ("", self.cached.digest):
                self.head_works.add(repository)
                self.add_result(self.cached)
                return None
            self.cached = None
            return make_manifest_request("HEAD", self.reference)
        if self.request.method == "HEAD":
            if response.status == HTTPStatus.NOT_FOUND and self.expects_missing and repository in self.head_works:
                raise manifest_error(response, self.reference)
            descriptor = read_head_response(response, self.reference)
            if descriptor is None:
                return make_manifest_request("GET", self.reference)
            self.head_works.add(repository)
        else:
            read_complete(response, self.request, self.max_bytes, self.description)
            descriptor = read_manifest_response(response, self.reference, max_bytes=self.max_bytes).descriptor
        self.add_result(descriptor)
        return None


class ManifestRequest(BatchRequest):
    """Fetches the manifest or index of a reference: a `FetchedManifest`."""

    __slots__ = ()

    def __init__(self, batch: Batch, key: int, reference: Reference, max_bytes: int) -> None:
        super().__init__(batch, key, reference, make_manifest_request("GET", reference), max_bytes)

    def handle_response(self, response: ResponseLike) -> Request | None:
        """Add the manifest."""
        if response.status == HTTPStatus.OK:
            read_complete(response, self.request, self.max_bytes, self.description)
        self.add_result(read_manifest_response(response, self.reference, max_bytes=self.max_bytes))
        return None


class ConfigRequest(BatchRequest):
    """Fetches a small blob: its bytes."""

    __slots__ = ("descriptor",)

    def __init__(self, batch: Batch, key: int, reference: Reference, descriptor: Descriptor, max_bytes: int) -> None:
        check_document_size(descriptor.size, max_bytes, f"the config of {reference}")
        self.descriptor = descriptor
        name = reference.repository
        request = Request(
            "GET", reference.registry, name, f"/v2/{name}/blobs/{descriptor.digest}", make_pull_scope(name)
        )
        super().__init__(batch, key, reference, request, descriptor.size)

    @property
    def description(self) -> str:
        """The subject of the request, for error messages."""
        return f"blob {self.descriptor.digest.short} of {self.reference.repository}"

    def handle_response(self, response: ResponseLike) -> Request | None:
        """Add the bytes after their digest is verified."""
        if response.status != HTTPStatus.OK:
            raise errors.response_error(response, self.request.registry, self.description)
        read_complete(response, self.request, self.max_bytes, self.description)
        content = response.read(self.max_bytes)
        if len(content) != self.descriptor.size:
            more = "more than" if len(content) > self.descriptor.size else f"{len(content)} of"
            raise DigestMismatch(
                f"{self.request.registry} sent {more} the {self.descriptor.size} bytes that "
                f"the manifest specifies for {self.description}",
                hints=("the manifest does not match the blob: push the image again",),
            )
        self.add_result(verify_blob(content, self.reference, self.descriptor))
        return None


class TagsRequest(BatchRequest):
    """Lists the tags of a repository: a `TagPage` for each page."""

    __slots__ = ("pager",)

    def __init__(self, batch: Batch, key: int, reference: Reference, max_pages: int) -> None:
        self.pager = Pager(listing := make_tag_listing(reference), max_pages)
        super().__init__(batch, key, reference, listing.first_request, MAX_PAGE_BYTES)

    @property
    def description(self) -> str:
        """The subject of the request, for error messages."""
        return f"tags of {self.reference.repository}"

    def handle_response(self, response: ResponseLike) -> Request | None:
        """Add a page, and return the request for the next."""
        if response.status == HTTPStatus.OK:
            read_complete(response, self.request, self.max_bytes, self.description)
        tags = self.pager.read_page(response)
        self.add_result(TagPage(tuple(tags), self.pager.next_request is None))
        self.pager.check_next()
        return self.pager.next_request


class ReferrersRequest(BatchRequest):
    """Lists the referrers of a manifest: a list of descriptors."""

    __slots__ = ("descriptors", "digest", "no_referrers_api", "pager")

    def __init__(
        self,
        batch: Batch,
        key: int,
        reference: Reference,
        digest: Digest,
        no_referrers_api: set[tuple[str, str]],
        max_pages: int,
    ) -> None:
        listing = make_referrers_listing(reference, digest)
        self.digest = digest
        self.descriptors: list[Descriptor] = []
        self.no_referrers_api = no_referrers_api
        """The repositories without a referrers API, shared by all requests of the client."""
        self.pager: Pager | None = Pager(listing, max_pages)
        super().__init__(batch, key, reference, listing.first_request, MAX_PAGE_BYTES)

    @property
    def description(self) -> str:
        """The subject of the request, for error messages."""
        return f"referrers of {self.digest.short} of {self.reference.repository}"

    def prepare(self) -> None:
        """Request the referrers tag directly if the repository is known to have no API."""
        if self.pager is not None and (self.reference.registry, self.reference.repository) in self.no_referrers_api:
            self.pager, self.request = None, self._make_tag_request(self.reference)

    def handle_response(self, response: ResponseLike) -> Request | None:
        """Collect the pages, and add the list after the last; without the API, read the referrers tag."""
        if response.status == HTTPStatus.OK:
            read_complete(response, self.request, self.max_bytes, self.description)
        if self.pager is None:
            name = make_referrers_tag_reference(self.reference, self.digest)
            if response.status != HTTPStatus.NOT_FOUND:
                self.descriptors.extend(read_referrers_index(read_manifest_response(response, name), name, self.digest))
            self.add_result(self.descriptors)
            return None
        try:
            self.descriptors.extend(self.pager.read_page(response))
        except NoReferrersApiError:
            self.pager = None
            self.no_referrers_api.add((self.reference.registry, self.reference.repository))
            return self._make_tag_request(self.reference)
        self.pager.check_next()
        if self.pager.next_request is None:
            self.add_result(self.descriptors)
        return self.pager.next_request

    def _make_tag_request(self, reference: Reference) -> Request:
        return make_manifest_request("GET", make_referrers_tag_reference(reference, self.digest))
