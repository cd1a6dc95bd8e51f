"""A blob sent in chunks, for registries and proxies that refuse it as one: PATCH after PATCH, then an empty PUT.

A chunk that is too large is halved. After a break, or a range that the registry did not expect, it is asked how much
it has, and the upload goes on from there.
"""

from __future__ import annotations

import re
from http import HTTPStatus

from imq.engine.registry.http.client import Ask
from imq.engine.registry.http.request_body import Chunk
from imq.engine.registry.http.stall import Pace
from imq.engine.registry.http.urls import resolve
from imq.grammar.record import TYPE_CHECKING, Record

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from imq.engine.oci.reference import Reference
    from imq.engine.registry.http.client import Exchange
    from imq.engine.registry.http.request_body import Body
    from imq.engine.registry.http.retry import Patience
    from imq.engine.registry.http.transport import Answer

CHUNK = 4 << 20
"""Bytes of a chunk, all of them in memory; more than 4 MiB is refused by some who take chunks."""
_SMALLEST_CHUNK = 64 << 10
_RANGE = re.compile(r"(?:bytes=)?0-([0-9]{1,19})\s*\Z")


class Session(Record):
    """An upload session: its address, which every answer may change, and the bytes a chunk but the last must have."""

    address: str
    least: int = 0


class ChunkedUpload:
    """One upload under way; `scopes` are those of its requests."""

    def __init__(
        self,
        exchange: Exchange,
        reference: Reference,
        scopes: tuple[str, ...],
        session: Session,
        patience: Patience,
        stop: threading.Event | None,
    ) -> None:
        self._exchange = exchange
        self._reference = reference
        self._scopes = scopes
        self._address = session.address
        self._least = max(session.least, _SMALLEST_CHUNK)
        self._length = max(CHUNK, session.least)
        self._patience = patience
        self._stop = stop

    def send(self, body: Body, closing: Callable[[str], str]) -> Answer:
        """Send all of a blob; return the registry's last answer, or the first that is a refusal.

        `closing` makes the address of the last request from that of the session.
        """
        done = 0
        pace = Pace(self._exchange.settings)
        while chunk := _filled(body.take, self._length):
            left = memoryview(chunk)
            asked_again = False
            while left:
                part = left[: self._length]
                answer = self._patch(Chunk(body, part, pace), done)
                if answer.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE and len(part) // 2 >= self._least:
                    answer.close()
                    self._length = len(part) // 2
                    continue
                if answer.status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and not asked_again:
                    asked_again = True  # an answer was lost: the registry may have taken this part, or some of it
                    status = self._ask("GET")
                    taken = _end(status) if status.status == HTTPStatus.NO_CONTENT else None
                    if taken is None or not done <= taken <= done + len(part):
                        status.close()
                        return answer
                    answer.close()
                    answer = status
                elif answer.status in (HTTPStatus.ACCEPTED, HTTPStatus.CREATED, HTTPStatus.NO_CONTENT):
                    asked_again = False
                    taken = _end(answer)
                    taken = taken if taken is not None and done < taken <= done + len(part) else done + len(part)
                else:
                    return answer
                self._move(answer)
                left = left[taken - done :]
                done = taken
        return self._exchange.ask(
            Ask(
                "PUT",
                self._reference.registry,
                self._reference.repository,
                closing(self._address),
                self._scopes,
                {"Content-Length": "0"},
                once=True,
            ),
            self._stop,
        )

    def _patch(self, part: Chunk, start: int) -> Answer:
        headers = {
            "Content-Type": "application/octet-stream",
            "Content-Length": str(len(part)),
            "Content-Range": f"{start}-{start + len(part) - 1}",
        }
        return self._ask("PATCH", headers, lambda: part)

    def _ask(
        self, method: str, headers: dict[str, str] | None = None, body: Callable[[], Chunk] | None = None
    ) -> Answer:
        name = self._reference
        ask = Ask(method, name.registry, name.repository, self._address, self._scopes, headers or {}, body)
        return self._exchange.ask(ask, self._stop, self._patience)

    def _move(self, answer: Answer) -> None:
        """Take over the session's address, which holds how far it is in some registries."""
        location = answer.header("Location")
        answer.close()
        self._address = (resolve(answer.url, location) if location else "") or self._address


def _filled(read: Callable[[int], bytes | bytearray | memoryview], length: int) -> bytearray:
    """Read a whole chunk: less only at the end."""
    chunk = bytearray()
    while len(chunk) < length and (piece := read(length - len(chunk))):
        chunk += piece
    return chunk


def _end(answer: Answer) -> int | None:
    """Return how many bytes the registry has, by its Range header: `0-9` are ten; None when it does not say.

    `0-0` is said of one byte and of none; one byte alone is never sent.
    """
    said = _RANGE.match(answer.header("Range").strip())
    if said is None:
        return None
    return int(said[1]) + 1 if said[1] != "0" else 0
