"""Uploads a blob in chunks, for registries and proxies that reject one large body: PATCH requests, then an empty PUT.

A chunk that is too large is halved. After a broken connection, or an unexpected range, a request reads the registry's
offset, and the upload continues there.
"""

from __future__ import annotations

import re
from http import HTTPStatus

from imq.engine.registry.http.client import Request
from imq.engine.registry.http.request_body import ChunkBody
from imq.engine.registry.http.stall import StallDetector
from imq.engine.registry.http.urls import resolve_url
from imq.grammar.record import TYPE_CHECKING, Record

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from imq.engine.oci.reference import Reference
    from imq.engine.registry.http.client import RegistryHttp
    from imq.engine.registry.http.request_body import BlobBody
    from imq.engine.registry.http.retry import RetryBudget
    from imq.engine.registry.http.transport import Response

CHUNK_SIZE = 4 << 20
"""Bytes of a chunk, all of them in memory; some registries reject more than 4 MiB."""
_MIN_CHUNK_SIZE = 64 << 10
_RANGE = re.compile(r"(?:bytes=)?0-([0-9]{1,19})\s*\Z")


class UploadSession(Record):
    """An upload session: its URL, which every response may change, and the minimum size of all chunks but the last."""

    url: str
    min_chunk_size: int = 0


class ChunkedUpload:
    """One chunked upload; `scopes` are the token scopes of its requests."""

    def __init__(
        self,
        http: RegistryHttp,
        reference: Reference,
        scopes: tuple[str, ...],
        session: UploadSession,
        retry_budget: RetryBudget,
        stop: threading.Event | None,
    ) -> None:
        self._http = http
        self._reference = reference
        self._scopes = scopes
        self._url = session.url
        self._min_chunk_size = max(session.min_chunk_size, _MIN_CHUNK_SIZE)
        self._chunk_size = max(CHUNK_SIZE, session.min_chunk_size)
        self._retry_budget = retry_budget
        self._stop = stop

    def send(self, body: BlobBody, make_final_url: Callable[[str], str]) -> Response:
        """Upload the blob; return the last response, or the first rejection.

        `closing` returns the URL of the last request from that of the session.
        """
        offset = 0
        stall_detector = StallDetector(self._http.settings)
        while chunk := _read_chunk(body.read_block, self._chunk_size):
            remaining = memoryview(chunk)
            has_requested_offset = False
            while remaining:
                chunk_part = remaining[: self._chunk_size]
                response = self._send_chunk(ChunkBody(body, chunk_part, stall_detector), offset)
                if (
                    response.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE
                    and len(chunk_part) // 2 >= self._min_chunk_size
                ):
                    response.close()
                    self._chunk_size = len(chunk_part) // 2
                    continue
                if response.status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and not has_requested_offset:
                    has_requested_offset = (
                        True  # a response was lost: the registry may have stored some or all of this part
                    )
                    status = self._send("GET")
                    received = _parse_received_bytes(status) if status.status == HTTPStatus.NO_CONTENT else None
                    if received is None or not offset <= received <= offset + len(chunk_part):
                        status.close()
                        return response
                    response.close()
                    response = status
                elif response.status in (HTTPStatus.ACCEPTED, HTTPStatus.CREATED, HTTPStatus.NO_CONTENT):
                    has_requested_offset = False
                    received = _parse_received_bytes(response)
                    received = (
                        received
                        if received is not None and offset < received <= offset + len(chunk_part)
                        else offset + len(chunk_part)
                    )
                else:
                    return response
                self._update_url(response)
                remaining = remaining[received - offset :]
                offset = received
        return self._http.send(
            Request(
                "PUT",
                self._reference.registry,
                self._reference.repository,
                make_final_url(self._url),
                self._scopes,
                {"Content-Length": "0"},
                no_retry=True,
            ),
            self._stop,
        )

    def _send_chunk(self, part: ChunkBody, start: int) -> Response:
        headers = {
            "Content-Type": "application/octet-stream",
            "Content-Length": str(len(part)),
            "Content-Range": f"{start}-{start + len(part) - 1}",
        }
        return self._send("PATCH", headers, lambda: part)

    def _send(
        self, method: str, headers: dict[str, str] | None = None, body: Callable[[], ChunkBody] | None = None
    ) -> Response:
        name = self._reference
        request = Request(method, name.registry, name.repository, self._url, self._scopes, headers or {}, body)
        return self._http.send(request, self._stop, self._retry_budget)

    def _update_url(self, response: Response) -> None:
        """Store the session's URL from a response; some registries keep the offset in it."""
        location = response.header("Location")
        response.close()
        self._url = (resolve_url(response.url, location) if location else "") or self._url


def _read_chunk(read: Callable[[int], bytes | bytearray | memoryview], length: int) -> bytearray:
    """Read a full chunk, or the rest of the blob."""
    chunk = bytearray()
    while len(chunk) < length and (block := read(length - len(chunk))):
        chunk += block
    return chunk


def _parse_received_bytes(response: Response) -> int | None:
    """Return the number of bytes that the registry has, from its Range header; None without one.

    Example: `0-9` is 10 bytes.

    Registries send `0-0` for one byte and for none; a chunk of one byte is never sent.
    """
    match = _RANGE.match(response.header("Range").strip())
    if match is None:
        return None
    return int(match[1]) + 1 if match[1] != "0" else 0
