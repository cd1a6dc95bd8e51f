"""The reader of engines: the clients, the documents and the problems that all scans of a statement share."""

from __future__ import annotations

from imq.engine.docker_engine.client import EngineClient
from imq.engine.docker_engine.endpoint import find_endpoint
from imq.grammar.errors import ImqError, Interrupted, UnknownName
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import Any, TypeVar

    from imq.engine.sources.context import SourceContext

    T = TypeVar("T")
    K = TypeVar("K")

_SIDE_BY_SIDE = 8
"""Requests to one engine that run at once: a daemon answers them from one process, so more are not faster."""
_MAX_ENGINES = 64
"""Engines that are asked at once."""


class EngineReader:
    """Reads documents of engines, each of which goes by the name that users write: `docker`, `ssh://host`.

    Listings are kept for one statement. What an engine says of an ID that is a digest is kept for the session.
    """

    def __init__(self, context: SourceContext) -> None:
        self._context = context
        self._clients: dict[str, EngineClient] = {}
        self._listings: dict[tuple[str, str], Any] = {}
        self._images: dict[tuple[str, str], Any] = {}
        self._problems: dict[tuple[str, str, str], ImqError] = {}

    @property
    def connection(self) -> sqlite3.Connection:
        """The connection of the index, which has the temporary tables of scans."""
        return self._context.store.index.connection

    def begin(self) -> None:
        """Forget the listings of the last statement."""
        self._listings = {}

    def close(self) -> None:
        """Close the connections."""
        for client in self._clients.values():
            client.close()
        self._clients = {}

    # Requests

    def client(self, source: str) -> EngineClient:
        """Return the client of an engine. Raises `UnknownName` when no engine has this name."""
        client = self._clients.get(source)
        if client is None:
            endpoint = find_endpoint(source, self._context.environment, self._context.home or "")
            if endpoint is None:
                raise UnknownName(f'no engine is called "{source}"')
            client = self._clients[source] = EngineClient(endpoint)
        return client

    def list_documents(self, source: str, path: str, **query: str) -> list[dict[str, Any]]:
        """Return the documents of a listing. It is requested once in a statement."""
        documents = self.get_document(source, path, **query)
        return [document for document in documents or () if isinstance(document, dict)]

    def get_document(self, source: str, path: str, **query: str) -> Any:
        """Return a document that is requested once in a statement."""
        key = source, f"{path}?{sorted(query.items())}"
        if key not in self._listings:
            self._listings[key] = self.client(source).get_json(path, query)
        return self._listings[key]

    def inspect_image(self, source: str, name: str) -> dict[str, Any]:
        """Return what an engine says of an image, by its ID or name. Raises `NotFound`."""
        known: dict[str, Any] | None = self._images.get((source, name))
        if known is None:
            known = self.client(source).get_json(f"images/{name}/json", {})
            if name.startswith("sha256:"):
                self._images[source, name] = known
        return known

    def inspect_container(self, source: str, id_: str) -> dict[str, Any]:
        """Return what an engine says of a container, once in a statement. Raises `NotFound`."""
        document: dict[str, Any] = self.get_document(source, f"containers/{id_}/json")
        return document

    def is_local(self, source: str) -> bool:
        """Whether an engine runs on this machine, so that paths in its documents are paths here."""
        return self.client(source).endpoint.address.startswith("unix://")

    def now(self) -> int:
        """Return the time of the session, in nanoseconds since the epoch."""
        return self._context.clock()

    def forget_images(self) -> None:
        """Forget what engines said of images: their names change with an action."""
        self._images = {}
        self._listings = {}

    def each_source(self, sources: Sequence[str], work: Callable[[str], T], view: str) -> Iterator[tuple[str, T]]:
        """Yield the result of `work` for each engine; all are asked side by side.

        The error of the only engine is raised. Of several, it is a problem of the scan.
        """
        for source, result in _run_each(sources, work, min(_MAX_ENGINES, len(sources))):
            if not isinstance(result, ImqError):
                yield source, result
            elif len(sources) == 1:
                raise result
            else:
                self.add_problem(result, source, view)

    @staticmethod
    def each_item(items: Sequence[K], work: Callable[[K], T]) -> Iterator[tuple[K, T | ImqError]]:
        """Yield the result of `work` for each item, or its error; some run side by side."""
        return _run_each(items, work, min(_SIDE_BY_SIDE, len(items)))

    # Problems

    def add_problem(self, error: ImqError, subject: str, view: str) -> str:
        """Record a problem of a scan; return the message for its row."""
        self._problems.setdefault((view, subject, error.code), error)
        return error.message

    def take_problems(self) -> tuple[tuple[str, str, ImqError], ...]:
        """Return and clear the problems: the scan, the subject and the error."""
        problems, self._problems = self._problems, {}
        return tuple((view, subject, error) for (view, subject, _), error in problems.items())


def _run_each(items: Iterable[K], work: Callable[[K], T], workers: int) -> Iterator[tuple[K, T | ImqError]]:
    """Yield each item with the result of `work`, or with its error, in order."""

    def run(item: K) -> T | ImqError:
        try:
            return work(item)
        except Interrupted:
            raise
        except ImqError as error:
            return error

    if workers < 2:
        for item in items:
            yield item, run(item)
        return
    from concurrent.futures import ThreadPoolExecutor  # slow to import, and one engine needs none

    with ThreadPoolExecutor(workers) as pool:
        items = tuple(items)
        yield from zip(items, pool.map(run, items), strict=True)
