"""Blobs on their way to a registry: one request to open a session, one to send the bytes, more when that is refused."""

from __future__ import annotations

from http import HTTPStatus

from imq.engine.registry import errors
from imq.engine.registry.auth.scopes import push_scope
from imq.engine.registry.http.client import Ask
from imq.engine.registry.http.rate_limit import retry_after
from imq.engine.registry.http.request_body import Body
from imq.engine.registry.http.retry import Patience
from imq.engine.registry.http.urls import resolve
from imq.grammar.errors import RegistryError
from imq.grammar.record import TYPE_CHECKING

from .chunked_upload import ChunkedUpload, Session

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable
    from typing import Literal

    from imq.engine.oci.manifest import Descriptor
    from imq.engine.oci.reference import Reference
    from imq.engine.registry.http.client import Exchange
    from imq.engine.registry.http.request_body import Content
    from imq.engine.registry.http.transport import Answer

    Outcome = Literal["sent", "exists", "mounted"]

_TOO_LARGE = frozenset({HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE})
_STORED = frozenset({HTTPStatus.OK, HTTPStatus.CREATED, HTTPStatus.NO_CONTENT})
_NOT_TOLD = frozenset(
    {HTTPStatus.NOT_FOUND, HTTPStatus.FORBIDDEN, HTTPStatus.METHOD_NOT_ALLOWED, HTTPStatus.NOT_IMPLEMENTED}
)
"""How HEAD of a blob is answered that is not there, or where HEAD is refused: then the upload itself tells."""

_LARGEST_CHUNK = 32 << 20
"""Bytes: a registry that wants larger chunks would want too much memory."""
_LONGEST_LENGTH = 19


class Uploads:
    """Brings blobs into repositories, each only when it is not there yet."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def has(self, reference: Reference, descriptor: Descriptor, scopes: tuple[str, ...]) -> bool:
        """Whether the repository has the blob."""
        name = reference.repository
        ask = Ask("HEAD", reference.registry, name, f"/v2/{name}/blobs/{descriptor.digest}", scopes)
        answer = self._exchange.ask(ask)
        answer.close()
        if answer.status in _NOT_TOLD:
            return False
        if answer.status != HTTPStatus.OK:
            raise errors.refusal(answer, reference.registry, _shown(reference, descriptor))
        return answer.length in (None, descriptor.size)

    def mount(self, reference: Reference, descriptor: Descriptor, source: str) -> bool:
        """Take the blob over from the repository `source`; False when the registry wants the bytes instead."""
        session = self._open(reference, descriptor, source, None)
        if session is not None:
            self._cancel(reference, session.address)
        return session is None

    def put(
        self,
        reference: Reference,
        descriptor: Descriptor,
        opened: Callable[[], Content],
        *,
        source: str | None,
        sent: Callable[[int], None],
        stop: threading.Event | None,
    ) -> Outcome:
        """See to it that the repository has the blob; return what it took.

        What another repository has is mounted without asking whether this one has it too. Where that is refused,
        however it is, it is as if there were no other.
        """
        mounts = source is not None and source != reference.repository
        scopes = push_scope(reference.repository, source)
        if not mounts and self.has(reference, descriptor, scopes):
            return "exists"
        patience = Patience(self._exchange.settings)
        chunked = False
        while True:
            try:
                session = self._open(reference, descriptor, source, stop, patience)
            except RegistryError as problem:
                if not mounts or problem.status is None:
                    raise
                mounts, source, scopes = False, None, push_scope(reference.repository)
                if self.has(reference, descriptor, scopes):
                    return "exists"
                continue
            if session is None:
                return "mounted"
            if mounts:
                mounts, source = False, None
                if self.has(reference, descriptor, scopes):
                    self._cancel(reference, session.address)
                    return "exists"
            wait: float | None
            try:
                if chunked:
                    answer = self._send_chunks(reference, descriptor, session, opened, source, sent, stop, patience)
                else:
                    answer = self._send(reference, descriptor, session.address, opened, source, sent, stop)
            except RegistryError as problem:
                wait = patience.wait_after(problem)
                if wait is None:
                    raise
            else:
                if answer.status in _STORED:
                    answer.close()
                    return "sent"
                if answer.status in _TOO_LARGE and descriptor.size and not chunked:
                    chunked = True
                    answer.close()
                    continue
                wait = patience.wait(retry_after(answer.headers)) if errors.is_temporary(answer.status) else None
                if wait is None:
                    raise errors.refusal(answer, reference.registry, _shown(reference, descriptor))
                answer.close()
            self._exchange.pause(wait, stop)

    def _open(
        self,
        reference: Reference,
        descriptor: Descriptor,
        source: str | None,
        stop: threading.Event | None,
        patience: Patience | None = None,
    ) -> Session | None:
        """Open an upload session; None says that the blob has been mounted."""
        name = reference.repository
        target = f"/v2/{name}/blobs/uploads/"
        if source and source != name:
            from urllib.parse import urlencode

            target += "?" + urlencode({"mount": descriptor.digest, "from": source})
        scopes = push_scope(name, source)
        ask = Ask("POST", reference.registry, name, target, scopes, {"Content-Length": "0"})
        answer = self._exchange.ask(ask, stop, patience)
        if answer.status not in (HTTPStatus.CREATED, HTTPStatus.ACCEPTED):
            raise errors.refusal(answer, reference.registry, _shown(reference, descriptor))
        answer.close()
        if answer.status == HTTPStatus.CREATED:
            return None
        location = answer.header("Location")
        address = resolve(answer.url, location) if location else ""
        if not address:
            raise RegistryError(
                f"{reference.registry} opens an upload to {name} and does not say where",
                code="not-a-registry",
                host=reference.registry,
                hints=("check the name of the registry; a proxy may stand in between",),
            )
        least = answer.header("OCI-Chunk-Min-Length")
        least = least if least.isascii() and least.isdigit() and len(least) <= _LONGEST_LENGTH else "0"
        return Session(address, min(int(least), _LARGEST_CHUNK))

    def _send(
        self,
        reference: Reference,
        descriptor: Descriptor,
        location: str,
        opened: Callable[[], Content],
        source: str | None,
        sent: Callable[[int], None],
        stop: threading.Event | None,
    ) -> Answer:
        bodies: list[Body] = []

        def body() -> Body | bytes:
            if not descriptor.size:
                return b""  # a stream of no length would travel in chunks, which registries need not take
            bodies.append(self._body(reference, descriptor, opened(), sent, stop))
            return bodies[-1]

        ask = Ask(
            "PUT",
            reference.registry,
            reference.repository,
            _closing(location, descriptor),
            push_scope(reference.repository, source),
            {"Content-Type": "application/octet-stream", "Content-Length": str(descriptor.size)},
            body,
            once=True,
        )
        try:
            return self._exchange.ask(ask, stop)
        finally:
            for opened_body in bodies:
                opened_body.close()

    def _send_chunks(
        self,
        reference: Reference,
        descriptor: Descriptor,
        session: Session,
        opened: Callable[[], Content],
        source: str | None,
        sent: Callable[[int], None],
        stop: threading.Event | None,
        patience: Patience,
    ) -> Answer:
        scopes = push_scope(reference.repository, source)
        upload = ChunkedUpload(self._exchange, reference, scopes, session, patience, stop)
        body = self._body(reference, descriptor, opened(), sent, stop)
        try:
            return upload.send(body, lambda address: _closing(address, descriptor))
        finally:
            body.close()

    def _body(
        self,
        reference: Reference,
        descriptor: Descriptor,
        content: Content,
        sent: Callable[[int], None],
        stop: threading.Event | None,
    ) -> Body:
        shown = _shown(reference, descriptor)
        return Body(content, descriptor.size, sent, stop, self._exchange.settings, reference.registry, shown)

    def _cancel(self, reference: Reference, location: str) -> None:
        """Close a session that is not needed. A registry that does not do that forgets it by itself."""
        name = reference.repository
        self._exchange.ask(Ask("DELETE", reference.registry, name, location, push_scope(name), once=True)).close()


def _closing(address: str, descriptor: Descriptor) -> str:
    """Return the address that ends an upload: the session's, with the digest."""
    from urllib.parse import quote

    return f"{address}{'&' if '?' in address else '?'}digest={quote(descriptor.digest, safe='')}"


def _shown(reference: Reference, descriptor: Descriptor) -> str:
    return f"blob {descriptor.digest.short} of {reference.repository}"
