"""A blob as it arrives: counted against its descriptor, and taken up again where a connection broke."""

from __future__ import annotations

import re
import time
from http import HTTPStatus

from imq.engine.registry import errors
from imq.engine.registry.auth.scopes import pull_scope
from imq.engine.registry.http.client import Ask
from imq.engine.registry.http.retry import Patience
from imq.grammar.errors import DigestMismatch, Interrupted, RegistryError
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    import threading
    from typing import Self

    from imq.engine.oci.manifest import Descriptor
    from imq.engine.oci.reference import Reference
    from imq.engine.registry.http.client import Exchange
    from imq.engine.registry.http.transport import Answer

_SKIPPED_AT_ONCE = 1 << 20
_WORTH_A_CONNECTION = 1 << 20
"""Bytes after which a connection that breaks has not been in vain: a large blob may survive many of these."""
_GATHERED = 0.1
"""Seconds for which more is waited for when something has come: large pieces are less work, on a slow line in time."""
_CONTENT_RANGE = re.compile(r"bytes\s+([0-9]{1,19})-[0-9]{1,19}/([0-9]{1,19}|\*)\s*\Z")


class RangesIgnoredError(Exception):
    """A registry sends something else than the part of a blob that it was asked for."""


class BlobStream:
    """The bytes of one blob, from an offset to its end or before `end`; a context manager.

    It promises the size and not the digest: whoever stores the bytes hashes them. With an `end`, a registry that does
    not send just these bytes raises `RangesIgnoredError`.
    """

    def __init__(
        self,
        exchange: Exchange,
        reference: Reference,
        descriptor: Descriptor,
        offset: int = 0,
        stop: threading.Event | None = None,
        end: int | None = None,
    ) -> None:
        self._exchange = exchange
        self._reference = reference
        self._descriptor = descriptor
        self._done = offset
        self._stop = stop
        self._begun = offset
        self._part = end is not None
        self._end = descriptor.size if end is None else end
        self._ranges = True
        self._validator = ""
        self._patience = Patience(exchange.settings)
        self._aborted = False
        self._problem: RegistryError | None = None
        self._answer: Answer | None = None
        self._shown = f"blob {descriptor.digest.short} of {reference.repository}"
        self._open()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def readinto(self, view: memoryview) -> int:
        """Fill `view` with what comes next, or a part of it where little comes, and return how many bytes.

        It returns 0 once all has been read. A connection that breaks is taken up again a bounded number of times; then,
        and for a server that ends too early, `RegistryError` is raised. More bytes than the descriptor's size raise
        `DigestMismatch` at once.
        """
        if self._problem is not None:
            raise self._problem
        filled = 0
        until = 0.0
        while True:
            problem: RegistryError | None = None
            count = 0
            try:
                if self._answer is None:
                    self._open()
                assert self._answer is not None
                count = self._answer.readinto(view[filled:])
            except RegistryError as failed:
                problem = failed
            except Exception:
                if not self._called_off:  # else it is how the connection below took being shut while it was read
                    raise
            if self._called_off:
                raise Interrupted("the transfer was called off")
            if count:
                self._done += count
                filled += count
                if self._done > self._end:
                    self.close()
                    raise _too_long(self._reference, self._descriptor)
                now = time.monotonic()
                until = until or now + _GATHERED
                if filled == len(view) or now >= until:
                    return filled
                continue
            if problem is None and self._done == self._end:
                return filled
            try:
                self._again(problem)
            except RegistryError as last:
                if not filled:
                    raise
                self._problem = last  # told at the next call: what has come is not lost with it
                return filled

    @property
    def _called_off(self) -> bool:
        return self._aborted or (self._stop is not None and self._stop.is_set())

    def abort(self) -> None:
        """Make a `readinto` that waits in another thread raise; the stream is of no use after."""
        self._aborted = True
        answer = self._answer
        if answer is not None:
            answer.abort()

    def close(self) -> None:
        """Give the connection back, or close it when the body was not read to its end."""
        answer, self._answer = self._answer, None
        if answer is not None:
            answer.close()

    def _again(self, problem: RegistryError | None) -> None:
        """Prepare to go on where the connection broke, or raise when it has broken too often."""
        self.close()
        if problem is None:
            problem = RegistryError(
                f"{self._shown} ends after {self._done} bytes at {self._reference.registry}, "
                f"and its manifest says that it has {self._end}",
                code="truncated",
                hints=("the manifest has a wrong size, or the registry has a part of the blob: push the image again",),
                host=self._reference.registry,
                temporary=True,
            )
        if self._done - self._begun >= _WORTH_A_CONNECTION:
            self._patience.renew()
        self._begun = self._done
        wait = self._patience.wait_after(problem)
        if wait is None:
            raise problem
        self._exchange.pause(wait, self._stop)

    def _open(self) -> None:
        """Ask for the blob from where we are, and check what the headers promise."""
        answer = self._asked()
        start = self._start(answer)
        if start is None:  # a range was asked for, and what came is none that fits: then all of it, once
            answer.close()
            if self._part:
                raise RangesIgnoredError
            self._ranges = False
            answer = self._asked()
            start = self._start(answer)
        if answer.status not in (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT) or start is None:
            raise errors.refusal(answer, self._reference.registry, self._shown)
        self._answer = answer
        answer.what = self._shown
        if answer.length is not None and answer.length > self._end - start:
            self.close()
            if self._part:
                raise RangesIgnoredError
            raise _too_long(self._reference, self._descriptor)
        self._validator = _strong(answer.header("ETag"))
        self._skip(answer, self._done - start)

    def _asked(self) -> Answer:
        name = self._reference
        headers: dict[str, str] = {}
        if self._part:
            headers = {"Range": f"bytes={self._done}-{self._end - 1}"}
        elif self._done and self._ranges:
            first = self._done - (self._done == self._descriptor.size)  # an empty range cannot be asked for
            headers = {"Range": f"bytes={first}-"}
            if self._validator:
                headers["If-Range"] = self._validator
        target = f"/v2/{name.repository}/blobs/{self._descriptor.digest}"
        ask = Ask("GET", name.registry, name.repository, target, pull_scope(name.repository), headers)
        return self._exchange.ask(ask, self._stop, self._patience)

    def _start(self, answer: Answer) -> int | None:
        """Return the offset in the blob at which an answer starts; None for a range that is of no use."""
        if answer.status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            return None
        if answer.status != HTTPStatus.PARTIAL_CONTENT:
            return None if self._part and answer.status == HTTPStatus.OK else 0
        said = _CONTENT_RANGE.match(answer.header("Content-Range").strip())
        if said is None or int(said[1]) > self._done or said[2] not in ("*", str(self._descriptor.size)):
            return None
        return int(said[1])

    def _skip(self, answer: Answer, count: int) -> None:
        """Read over what is known already, for servers that do not know ranges."""
        if count <= 0:
            return
        view = memoryview(bytearray(min(count, _SKIPPED_AT_ONCE)))
        while count and (read := answer.readinto(view[:count])):
            count -= read
        if count:
            self.close()
            raise RegistryError(
                f"{self._reference.registry} sends less than before of {self._shown}",
                code="truncated",
                host=self._reference.registry,
                temporary=True,
            )


def _strong(etag: str) -> str:
    """Return an entity tag that vouches for every byte, which is what If-Range needs; else an empty text."""
    return etag if etag.startswith('"') and etag.endswith('"') and etag.isascii() and etag.isprintable() else ""


def _too_long(reference: Reference, descriptor: Descriptor) -> DigestMismatch:
    return DigestMismatch(
        f"{reference.registry} sends more than the {descriptor.size} bytes that the manifest says "
        f"blob {descriptor.digest.short} of {reference.repository} has",
        hints=("the manifest and the blob do not belong together: push the image again",),
    )
