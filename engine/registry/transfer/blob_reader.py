"""Reads a blob: counts it against its descriptor, and resumes after a broken connection."""

from __future__ import annotations

import re
import time
from http import HTTPStatus

from imq.engine.registry import errors
from imq.engine.registry.auth.authorizer import make_pull_scope
from imq.engine.registry.http.client import Request
from imq.engine.registry.http.retry import RetryBudget
from imq.grammar.errors import DigestMismatch, Interrupted, RegistryError
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    import threading
    from typing import Self

    from imq.engine.oci.manifest import Descriptor
    from imq.engine.oci.reference import Reference
    from imq.engine.registry.http.client import RegistryHttp
    from imq.engine.registry.http.transport import Response

_SKIP_SIZE = 1 << 20
_MIN_PROGRESS = 1 << 20
"""Bytes after which a broken connection counts as progress: a large blob may outlast many connections."""
_GATHER_SECONDS = 0.1
"""Maximum seconds to fill a buffer after the first byte: large reads are cheaper."""
_CONTENT_RANGE = re.compile(r"bytes\s+([0-9]{1,19})-[0-9]{1,19}/([0-9]{1,19}|\*)\s*\Z")


class RangesIgnoredError(Exception):
    """A registry ignores the Range header of a request."""


class ResumingReader:
    """Reads the bytes of one blob from an offset to `end` or its end; a context manager.

    It guarantees the size, not the digest: the caller hashes the bytes. With an `end`, a registry that does not send
    exactly this range raises `RangesIgnoredError`.
    """

    def __init__(
        self,
        http: RegistryHttp,
        reference: Reference,
        descriptor: Descriptor,
        offset: int = 0,
        stop: threading.Event | None = None,
        end: int | None = None,
    ) -> None:
        self._http = http
        self._reference = reference
        self._descriptor = descriptor
        self._offset = offset
        self._stop = stop
        self._resumed_at = offset
        self._is_range = end is not None
        self._end = descriptor.size if end is None else end
        self._uses_ranges = True
        self._validator = ""
        self._retry_budget = RetryBudget(http.settings)
        self._aborted = False
        self._pending_error: RegistryError | None = None
        self._response: Response | None = None
        self._description = f"blob {descriptor.digest.short} of {reference.repository}"
        self._open()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def readinto(self, view: memoryview) -> int:
        """Fill `view`, or part of it if data is slow, and return the number of bytes.

        It returns 0 at the end. A broken connection is resumed a limited number of times; then, and for a truncated
        blob, `RegistryError` is raised. More bytes than the descriptor's size raise `DigestMismatch` at once.
        """
        if self._pending_error is not None:
            raise self._pending_error
        filled = 0
        until = 0.0
        while True:
            error: RegistryError | None = None
            count = 0
            try:
                if self._response is None:
                    self._open()
                assert self._response is not None
                count = self._response.readinto(view[filled:])
            except RegistryError as failed:
                error = failed
            except Exception:
                if not self._is_cancelled:  # otherwise the error is a result of the abort
                    raise
            if self._is_cancelled:
                raise Interrupted("the transfer was cancelled")
            if count:
                self._offset += count
                filled += count
                if self._offset > self._end:
                    self.close()
                    raise _size_error(self._reference, self._descriptor)
                now = time.monotonic()
                until = until or now + _GATHER_SECONDS
                if filled == len(view) or now >= until:
                    return filled
                continue
            if error is None and self._offset == self._end:
                return filled
            try:
                self._prepare_retry(error)
            except RegistryError as last:
                if not filled:
                    raise
                self._pending_error = last  # raised by the next call, after the received bytes are used
                return filled

    @property
    def _is_cancelled(self) -> bool:
        return self._aborted or (self._stop is not None and self._stop.is_set())

    def abort(self) -> None:
        """Make a `readinto` that waits in another thread raise; the reader is unusable afterwards."""
        self._aborted = True
        response = self._response
        if response is not None:
            response.abort()

    def close(self) -> None:
        """Return the connection to the pool, or close it when the body is not read to the end."""
        response, self._response = self._response, None
        if response is not None:
            response.close()

    def _prepare_retry(self, error: RegistryError | None) -> None:
        """Prepare to resume after a broken connection, or raise when the retries are used up."""
        self.close()
        if error is None:
            error = RegistryError(
                f"{self._reference.registry} sent {self._offset} bytes of {self._description}, "
                f"but its manifest specifies {self._end}",
                code="truncated",
                hints=("the manifest or the blob in the registry is wrong: push the image again",),
                host=self._reference.registry,
                temporary=True,
            )
        if self._offset - self._resumed_at >= _MIN_PROGRESS:
            self._retry_budget.reset()
        self._resumed_at = self._offset
        wait = self._retry_budget.next_delay_after(error)
        if wait is None:
            raise error
        self._http.pause(wait, self._stop)

    def _open(self) -> None:
        """Request the blob from the current offset, and check the response's headers."""
        response = self._request()
        start = self._parse_offset(response)
        if start is None:  # the response is not the requested range: request the whole blob once
            response.close()
            if self._is_range:
                raise RangesIgnoredError
            self._uses_ranges = False
            response = self._request()
            start = self._parse_offset(response)
        if response.status not in (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT) or start is None:
            raise errors.response_error(response, self._reference.registry, self._description)
        self._response = response
        response.description = self._description
        if response.length is not None and response.length > self._end - start:
            self.close()
            if self._is_range:
                raise RangesIgnoredError
            raise _size_error(self._reference, self._descriptor)
        self._validator = _get_strong_etag(response.header("ETag"))
        self._skip(response, self._offset - start)

    def _request(self) -> Response:
        name = self._reference
        headers: dict[str, str] = {}
        if self._is_range:
            headers = {"Range": f"bytes={self._offset}-{self._end - 1}"}
        elif self._offset and self._uses_ranges:
            first = self._offset - (self._offset == self._descriptor.size)  # a range cannot be empty
            headers = {"Range": f"bytes={first}-"}
            if self._validator:
                headers["If-Range"] = self._validator
        target = f"/v2/{name.repository}/blobs/{self._descriptor.digest}"
        request = Request("GET", name.registry, name.repository, target, make_pull_scope(name.repository), headers)
        return self._http.send(request, self._stop, self._retry_budget)

    def _parse_offset(self, response: Response) -> int | None:
        """Return the offset at which a response starts; None for an unusable range."""
        if response.status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            return None
        if response.status != HTTPStatus.PARTIAL_CONTENT:
            return None if self._is_range and response.status == HTTPStatus.OK else 0
        match = _CONTENT_RANGE.match(response.header("Content-Range").strip())
        if match is None or int(match[1]) > self._offset or match[2] not in ("*", str(self._descriptor.size)):
            return None
        return int(match[1])

    def _skip(self, response: Response, count: int) -> None:
        """Skip bytes that were read before, for servers without range support."""
        if count <= 0:
            return
        view = memoryview(bytearray(min(count, _SKIP_SIZE)))
        while count and (read := response.readinto(view[:count])):
            count -= read
        if count:
            self.close()
            raise RegistryError(
                f"{self._reference.registry} sent less of {self._description} than before",
                code="truncated",
                host=self._reference.registry,
                temporary=True,
            )


def _get_strong_etag(etag: str) -> str:
    """Return a strong entity tag, which If-Range requires; "" for a weak or invalid one."""
    return etag if etag.startswith('"') and etag.endswith('"') and etag.isascii() and etag.isprintable() else ""


def _size_error(reference: Reference, descriptor: Descriptor) -> DigestMismatch:
    return DigestMismatch(
        f"{reference.registry} sent more than the {descriptor.size} bytes that the manifest specifies for "
        f"blob {descriptor.digest.short} of {reference.repository}",
        hints=("the manifest does not match the blob: push the image again",),
    )
