"""Uploads blobs: a request to open a session and one for the bytes, or more when a registry rejects that."""

from __future__ import annotations

from http import HTTPStatus

from imq.engine.registry import errors
from imq.engine.registry.auth.authorizer import make_push_scope
from imq.engine.registry.http.client import Request
from imq.engine.registry.http.rate_limit import parse_retry_after
from imq.engine.registry.http.request_body import BlobBody
from imq.engine.registry.http.retry import RetryBudget
from imq.engine.registry.http.urls import resolve_url
from imq.grammar.errors import RegistryError
from imq.grammar.record import TYPE_CHECKING

from .chunked_upload import ChunkedUpload, UploadSession

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable
    from typing import Literal

    from imq.engine.oci.manifest import Descriptor
    from imq.engine.oci.reference import Reference
    from imq.engine.registry.http.client import RegistryHttp
    from imq.engine.registry.http.request_body import Content
    from imq.engine.registry.http.transport import Response

    UploadResult = Literal["sent", "exists", "mounted"]

_TOO_LARGE = frozenset({HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE})
_STORED = frozenset({HTTPStatus.OK, HTTPStatus.CREATED, HTTPStatus.NO_CONTENT})
_BLOB_UNKNOWN = frozenset(
    {HTTPStatus.NOT_FOUND, HTTPStatus.FORBIDDEN, HTTPStatus.METHOD_NOT_ALLOWED, HTTPStatus.NOT_IMPLEMENTED}
)
"""Statuses of a HEAD for a missing blob, or where HEAD is refused: then the blob is uploaded."""

_MAX_CHUNK_SIZE = 32 << 20
"""The maximum chunk size in bytes. Larger chunks would require too much memory."""
_MAX_DIGITS = 19


class BlobUploader:
    """Uploads blobs to repositories that lack them."""

    def __init__(self, http: RegistryHttp) -> None:
        self._http = http

    def has_blob(self, reference: Reference, descriptor: Descriptor, scopes: tuple[str, ...]) -> bool:
        """Whether the repository has the blob."""
        name = reference.repository
        request = Request("HEAD", reference.registry, name, f"/v2/{name}/blobs/{descriptor.digest}", scopes)
        response = self._http.send(request)
        response.close()
        if response.status in _BLOB_UNKNOWN:
            return False
        if response.status != HTTPStatus.OK:
            raise errors.response_error(response, reference.registry, _describe(reference, descriptor))
        return response.length in (None, descriptor.size)

    def upload(
        self,
        reference: Reference,
        descriptor: Descriptor,
        open_content: Callable[[], Content],
        *,
        source: str | None,
        on_progress: Callable[[int], None],
        stop: threading.Event | None,
    ) -> UploadResult:
        """Ensure that the repository has the blob, and return how.

        A blob in another repository is mounted without checking whether this one has it. A refused mount is
        handled like a missing source.
        """
        mounts = source is not None and source != reference.repository
        scopes = make_push_scope(reference.repository, source)
        if not mounts and self.has_blob(reference, descriptor, scopes):
            return "exists"
        retry_budget = RetryBudget(self._http.settings)
        chunked = False
        while True:
            try:
                session = self._open_session(reference, descriptor, source, stop, retry_budget)
            except RegistryError as error:
                if not mounts or error.status is None:
                    raise
                mounts, source, scopes = False, None, make_push_scope(reference.repository)
                if self.has_blob(reference, descriptor, scopes):
                    return "exists"
                continue
            if session is None:
                return "mounted"
            if mounts:
                mounts, source = False, None
                if self.has_blob(reference, descriptor, scopes):
                    self._cancel_session(reference, session.url)
                    return "exists"
            wait: float | None
            try:
                if chunked:
                    response = self._send_chunks(
                        reference, descriptor, session, open_content, source, on_progress, stop, retry_budget
                    )
                else:
                    response = self._send_single(
                        reference, descriptor, session.url, open_content, source, on_progress, stop
                    )
            except RegistryError as error:
                wait = retry_budget.next_delay_after(error)
                if wait is None:
                    raise
            else:
                if response.status in _STORED:
                    response.close()
                    return "sent"
                if response.status in _TOO_LARGE and descriptor.size and not chunked:
                    chunked = True
                    response.close()
                    continue
                wait = (
                    retry_budget.next_delay(parse_retry_after(response.headers))
                    if errors.is_temporary(response.status)
                    else None
                )
                if wait is None:
                    raise errors.response_error(response, reference.registry, _describe(reference, descriptor))
                response.close()
            self._http.pause(wait, stop)

    def _open_session(
        self,
        reference: Reference,
        descriptor: Descriptor,
        source: str | None,
        stop: threading.Event | None,
        retry_budget: RetryBudget,
    ) -> UploadSession | None:
        """Open an upload session. None means that the blob was mounted."""
        name = reference.repository
        target = f"/v2/{name}/blobs/uploads/"
        if source and source != name:
            from urllib.parse import urlencode

            target += "?" + urlencode({"mount": descriptor.digest, "from": source})
        scopes = make_push_scope(name, source)
        request = Request("POST", reference.registry, name, target, scopes, {"Content-Length": "0"})
        response = self._http.send(request, stop, retry_budget)
        if response.status not in (HTTPStatus.CREATED, HTTPStatus.ACCEPTED):
            raise errors.response_error(response, reference.registry, _describe(reference, descriptor))
        response.close()
        if response.status == HTTPStatus.CREATED:
            return None
        location = response.header("Location")
        address = resolve_url(response.url, location) if location else ""
        if not address:
            raise RegistryError(
                f"{reference.registry} opened an upload to {name} without a Location header",
                code="not-a-registry",
                host=reference.registry,
                hints=("check the name of the registry; the response may come from a proxy",),
            )
        min_size = response.header("OCI-Chunk-Min-Length")
        min_size = min_size if min_size.isascii() and min_size.isdigit() and len(min_size) <= _MAX_DIGITS else "0"
        return UploadSession(address, min(int(min_size), _MAX_CHUNK_SIZE))

    def _send_single(
        self,
        reference: Reference,
        descriptor: Descriptor,
        location: str,
        open_content: Callable[[], Content],
        source: str | None,
        on_progress: Callable[[int], None],
        stop: threading.Event | None,
    ) -> Response:
        bodies: list[BlobBody] = []

        def body() -> BlobBody | bytes:
            if not descriptor.size:
                return b""  # an empty stream would be sent chunked, which registries need not support
            bodies.append(self._make_body(reference, descriptor, open_content(), on_progress, stop))
            return bodies[-1]

        request = Request(
            "PUT",
            reference.registry,
            reference.repository,
            _make_final_url(location, descriptor),
            make_push_scope(reference.repository, source),
            {"Content-Type": "application/octet-stream", "Content-Length": str(descriptor.size)},
            body,
            no_retry=True,
        )
        try:
            return self._http.send(request, stop)
        finally:
            for opened_body in bodies:
                opened_body.close()

    def _send_chunks(
        self,
        reference: Reference,
        descriptor: Descriptor,
        session: UploadSession,
        open_content: Callable[[], Content],
        source: str | None,
        on_progress: Callable[[int], None],
        stop: threading.Event | None,
        retry_budget: RetryBudget,
    ) -> Response:
        scopes = make_push_scope(reference.repository, source)
        upload = ChunkedUpload(self._http, reference, scopes, session, retry_budget, stop)
        body = self._make_body(reference, descriptor, open_content(), on_progress, stop)
        try:
            return upload.send(body, lambda address: _make_final_url(address, descriptor))
        finally:
            body.close()

    def _make_body(
        self,
        reference: Reference,
        descriptor: Descriptor,
        content: Content,
        on_progress: Callable[[int], None],
        stop: threading.Event | None,
    ) -> BlobBody:
        description = _describe(reference, descriptor)
        return BlobBody(
            content, descriptor.size, on_progress, stop, self._http.settings, reference.registry, description
        )

    def _cancel_session(self, reference: Reference, location: str) -> None:
        """Cancel an upload session. Registries that do not support this expire it."""
        name = reference.repository
        self._http.send(
            Request("DELETE", reference.registry, name, location, make_push_scope(name), no_retry=True)
        ).close()


def _make_final_url(address: str, descriptor: Descriptor) -> str:
    """Return the URL that completes an upload: the session's, with the digest."""
    from urllib.parse import quote

    return f"{address}{'&' if '?' in address else '?'}digest={quote(descriptor.digest, safe='')}"


def _describe(reference: Reference, descriptor: Descriptor) -> str:
    return f"blob {descriptor.digest.short} of {reference.repository}"
