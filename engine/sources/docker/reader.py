"""The reader of engines: the clients, the documents and the problems that all scans of a statement share."""

from __future__ import annotations

from contextlib import suppress
from threading import Lock
from time import monotonic

from imq.engine.docker_engine.client import EngineClient
from imq.engine.docker_engine.endpoint import find_endpoint
from imq.engine.docker_engine.errors import protocol_error
from imq.grammar.errors import EngineError, ImqError, Interrupted, NotFound, UnknownName
from imq.grammar.record import TYPE_CHECKING

from .container_listing import list_containers, require_image_id
from .disk_usage import convert_disk_usage
from .image_documents import (
    complete_digests,
    is_stored_by_containerd,
    read_details,
    read_digests,
    to_full_name,
)
from .podman_documents import convert_history

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from typing import Any, TypeVar

    from imq.engine.catalog.schema import Raw
    from imq.engine.sources.contents.container_layer import ContainerLayer
    from imq.engine.sources.context import SourceContext

    T = TypeVar("T")
    K = TypeVar("K")

_SIDE_BY_SIDE = 8
"""Requests to one engine that run at once: a daemon answers them from one process, so more are not faster."""
_MAX_ENGINES = 64
"""The most engines that are queried at the same time."""
_SILENCE = 30.0
"""Seconds without a new request to one of several engines that did not respond in time."""
_MAX_PROGRESS_LINES = 8
"""Of more engines, only the number of those that have responded is shown."""


class EngineReader:
    """Reads documents of engines. An engine is named as users write it: `docker`, `ssh://host`.

    Listings are kept for one statement. Inspected images are kept for the session by ID, which is a digest.
    """

    def __init__(self, context: SourceContext) -> None:
        self._context = context
        self._clients: dict[str, EngineClient] = {}
        self._clients_lock = Lock()
        self._listings: dict[tuple[str, str], Any] = {}
        self._images: dict[tuple[str, str], Any] = {}
        self._names: dict[tuple[str, str], object] = {}
        self._details: dict[tuple[str, str], tuple[Raw, ...]] = {}
        self._histories: dict[tuple[str, str], list[dict[str, Any]]] = {}
        self._problems: dict[tuple[str, str, str], ImqError] = {}
        self._silent: dict[str, tuple[float, ImqError | None]] = {}
        self._is_closed = False

    @property
    def connection(self) -> sqlite3.Connection:
        """The connection of the index, which has the temporary tables of scans."""
        return self._context.store.index.connection

    def begin(self) -> None:
        """Forget the listings of the last statement, and which engines did not respond."""
        self._listings = {}
        for client in self._clients.values():
            client.forget_silence()

    def close(self) -> None:
        """Close the connections. Threads of a statement that failed open no other ones."""
        with self._clients_lock:
            self._is_closed = True
            clients, self._clients = tuple(self._clients.values()), {}
        for client in clients:
            client.close()

    # Requests

    def client(self, source: str) -> EngineClient:
        """Return the client of an engine. Raises `UnknownName` when no engine has this name.

        Raises `EngineError` when this reader was closed.
        """
        with self._clients_lock:  # of two threads, one makes it
            if self._is_closed:
                raise EngineError("the client is closed", endpoint=source)
            client = self._clients.get(source)
            if client is None:
                endpoint = find_endpoint(source, self._context.environment, self._context.home or "")
                if endpoint is None:
                    raise UnknownName(f'no engine is called "{source}"')
                client = self._clients[source] = EngineClient(endpoint, environment=self._context.environment)
            return client

    def list_documents(self, source: str, path: str, **query: str) -> list[dict[str, Any]]:
        """Return the documents of a listing. It is requested once in a statement."""
        documents = self.get_document(source, path, **query)
        if documents is None:
            return []
        if not isinstance(documents, list) or not all(isinstance(document, dict) for document in documents):
            raise protocol_error(self.client(source).endpoint, f"its response for {path} is not an array of objects")
        return documents

    def get_document(self, source: str, path: str, **query: str) -> Any:
        """Return a document that is requested once in a statement."""
        return self.keep(source, f"{path}?{sorted(query.items())}", lambda: self.client(source).get_json(path, query))

    def keep(self, source: str, subject: str, make: Callable[[], T]) -> T:
        """Return what `make` returned for this subject of an engine the first time in a statement."""
        key, listings = (source, subject), self._listings  # a thread of an earlier statement adds nothing to this one
        if key not in listings:
            listings[key] = make()
        kept: T = listings[key]
        return kept

    def get_disk_usage(self, source: str, **query: str) -> Mapping[str, Any]:
        """Return the disk usage of an engine; it is requested once in a statement."""
        return convert_disk_usage(self.get_document(source, "system/df", **query))

    def list_images(self, source: str) -> list[dict[str, Any]]:
        """Return the listing of an engine's images; the `Id` of each is a digest.

        Intermediate images of the classic builder are in it when the session shows them. They are marked as
        `Intermediate`, but for the image store of containerd, in which they are dangling.
        """
        return self.keep(source, "images", lambda: self._list_images(source))

    def _list_images(self, source: str) -> list[dict[str, Any]]:
        listed = self.list_documents(source, "images/json")
        is_containerd = any(map(is_stored_by_containerd, listed))
        if self._context.shows_intermediate_images:
            ids = {image.get("Id") for image in listed}
            every = self.list_documents(source, "images/json", all="1")
            mark = {} if is_containerd else {"Intermediate": True}
            listed = [*listed, *(image | mark for image in every if image.get("Id") not in ids)]
        client, images = self.client(source), []
        for image in listed:
            id_ = require_image_id(client, image.get("Id"), "a listed image")
            listed_image = image | {"Id": id_}
            if is_containerd:
                listed_image["RepoDigests"] = complete_digests(listed_image)
            images.append(listed_image)
            if self._names.setdefault((source, id_), image.get("RepoTags")) != image.get("RepoTags"):
                self._forget_image(source, id_)
                self._names[source, id_] = image.get("RepoTags")
        return images

    def list_containers(self, source: str, *, sizes: bool = False) -> list[dict[str, Any]]:
        """Return the listing of an engine's containers, as `container_listing.py` has it, once in a statement."""
        subject = f"containers, sizes: {sizes}"
        return self.keep(source, subject, lambda: list_containers(self.client(source), sizes=sizes))

    def inspect_image(self, source: str, name: str) -> dict[str, Any]:
        """Return the inspected image with this ID or name. Raises `NotFound`."""
        known: dict[str, Any] | None = self._images.get((source, name))
        if known is None:
            client = self.client(source)
            is_podman = self.is_podman(source)
            known = self._get_image(client, name, is_podman=is_podman)
            if not isinstance(known, dict):
                raise protocol_error(client.endpoint, f"its response for {name} is not a JSON object")
            known["Id"] = require_image_id(client, known.get("Id"), "an inspected image")
            if is_podman and isinstance(known.get("Config"), dict):
                known["Config"].setdefault("Healthcheck", known.get("Healthcheck"))
            if name.startswith("sha256:"):
                self._images[source, name] = known
        return known

    @staticmethod
    def _get_image(client: EngineClient, name: str, *, is_podman: bool) -> Any:
        """Return the document of an image. A name in full comes first: podman takes `app:1` for `localhost/app:1`."""
        if not is_podman:
            return client.get_json(f"images/{name}/json")
        if (full := to_full_name(name)) != name:
            with suppress(NotFound):
                return client.get_json(f"libpod/images/{full}/json")
        return client.get_json(f"libpod/images/{name}/json")

    def find_details(self, source: str, id_: str) -> tuple[Raw, ...] | None:
        """Return the values of `DETAIL_COLUMNS` of an image that was read before in this session."""
        return self._details.get((source, id_))

    def read_details(self, source: str, id_: str) -> tuple[Raw, ...]:
        """Return the values of `DETAIL_COLUMNS` of an image, by its ID. Raises `NotFound` and `Malformed`."""
        details = self._details[source, id_] = read_details(self.inspect_image(source, id_))
        return details

    def _forget_image(self, source: str, id_: str) -> None:
        """Forget an image whose names changed: the time of the last change is in its document."""
        self._images.pop((source, id_), None)
        self._details.pop((source, id_), None)

    def list_history(self, source: str, id_: str) -> list[dict[str, Any]]:
        """Return the steps of an image's build, last step first. The steps of an image never change.

        Podman fails for a history without times. Then its steps are those of the config, without sizes.
        """
        steps: list[dict[str, Any]] | None = self._histories.get((source, id_))
        if steps is None:
            try:
                steps = self.list_documents(source, f"images/{id_}/history")
            except EngineError as error:
                if error.code != "engine" or not self.is_podman(source):
                    raise
                steps = convert_history(self.inspect_image(source, id_))
            self._histories[source, id_] = steps
        return steps

    def inspect_container(self, source: str, id_: str) -> dict[str, Any]:
        """Return the inspected container; it is requested once in a statement. Raises `NotFound`."""
        path = f"libpod/containers/{id_}/json" if self.is_podman(source) else f"containers/{id_}/json"
        document = self.get_document(source, path)
        if not isinstance(document, dict):
            raise protocol_error(self.client(source).endpoint, f"its response for {id_} is not a JSON object")
        return document

    def read_container_layer(self, source: str, id_: str) -> ContainerLayer:
        """Return the changes of a container as a layer; they are read once in a statement. Raises `NotFound`."""
        from .container_layer import read_container_layer

        environment = self._context.environment
        return self.keep(
            source, f"changes of {id_}", lambda: read_container_layer(self.client(source), id_, environment)
        )

    def has_containerd_images(self, source: str) -> bool:
        """Whether an engine is docker with its image store of containerd, where the ID of an image is its digest."""
        images = self.list_images(source)
        if any(map(is_stored_by_containerd, images)):
            return True
        if any(map(read_digests, images)):  # with that store, such an image has told
            return False
        return not self.is_podman(source) and self.client(source).ping(details=True).has_containerd_images

    def is_podman(self, source: str) -> bool:
        """Whether an engine is podman, whose own API has more fields. Raises `EngineError` when it does not respond."""
        return self.client(source).ping().kind == "podman"

    def is_local(self, source: str) -> bool:
        """Whether an engine runs on this machine, so that paths in its documents are paths here."""
        return self.client(source).endpoint.address.startswith("unix://")

    def now(self) -> int:
        """Return the time of the session, in nanoseconds since the epoch."""
        return self._context.clock()

    def each_source(self, sources: Sequence[str], work: Callable[[str], T], view: str) -> Iterator[tuple[str, T]]:
        """Yield the result of `work` for each engine; the engines are queried concurrently.

        The error of the only engine is raised. Of several, it is a problem of the scan.
        """
        for source, result in self.each_result(sources, work):
            if not isinstance(result, ImqError):
                yield source, result
            elif len(sources) == 1:
                raise result
            else:
                self.add_problem(result, source, view)

    def each_result(self, sources: Sequence[str], work: Callable[[str], T]) -> Iterator[tuple[str, T | ImqError]]:
        """Yield the result of `work` for each engine, or its error; the engines are queried concurrently."""
        progress = self._context.progress
        lock, done = Lock(), 0

        def run(source: str) -> T:
            nonlocal done
            shows_each = len(sources) <= _MAX_PROGRESS_LINES
            if shows_each:
                progress.report_items(f"waiting for {source}", 0, 1)
            try:
                return self._run_unless_silent(source, work)
            finally:
                with lock:
                    done += 1
                    if shows_each:
                        progress.report_items(f"waiting for {source}", 1, 1)
                    else:
                        progress.report_items("waiting for engines", done, len(sources))

        return _run_each(sources, work if len(sources) == 1 else run, min(_MAX_ENGINES, len(sources)))

    def _run_unless_silent(self, source: str, work: Callable[[str], T]) -> T:
        """Return the result of `work`. An engine that did not respond in time gets no new request for a while."""
        since, error = self._silent.get(source, (0.0, None))
        if error is not None and monotonic() - since < _SILENCE:
            raise error
        try:
            return work(source)
        except EngineError as problem:
            if problem.code == "engine-timeout":
                self._silent[source] = monotonic(), problem
            raise

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
