"""Sends thousands of small requests concurrently; results are streamed, and the batch can be cancelled at any time.

The caller's thread runs the event loop, and only while it waits for a result. No work happens in the background, and
Ctrl-C takes effect at once. A request that needs more than an open connection (the first contact with a host, a token,
a redirect, a proxy) is sent by `RegistryHttp` in a worker thread.
"""

from __future__ import annotations

import os
import selectors
import threading
import time
from collections import deque
from types import MappingProxyType

from imq.engine.registry.settings import get_server
from imq.grammar.errors import ImqError, Interrupted
from imq.grammar.record import TYPE_CHECKING

from .host_queue import HostQueue
from .requests import Batch, ConfigRequest, HeadRequest, ManifestRequest, ReferrersRequest, TagPage, TagsRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from typing import Any, Self

    from imq.engine.oci.digest import Digest
    from imq.engine.oci.manifest import Descriptor
    from imq.engine.oci.reference import Reference
    from imq.engine.registry.client import Client
    from imq.engine.registry.http.pipelined import PipelinedConnection
    from imq.engine.registry.manifests import FetchedManifest

    from .requests import BatchRequest

    ProgressCallback = Callable[[str, int, int], None]
    """Receives a registry, the number of its responses, and the number of remaining requests."""

DEFAULT_CONCURRENCY = 24
"""Default number of concurrent requests to one registry."""
_MAX_OUTSTANDING = 4096
"""Maximum number of waiting requests of one batch."""
_PROGRESS_INTERVAL = 0.1
_TIMEOUT_CHECK_INTERVAL = 0.5
"""Seconds of waiting between checks for late responses."""


class BatchClient:
    """Sends many requests for one thread, at most `concurrency` to one registry; a context manager.

    Each method takes items with a number of the caller's, and yields for each number the result or an `ImqError`, in
    the order of the responses. Several batches may run at once, one feeding another; they share the limit. Closing the
    generator cancels its batch. An error of one item fails that item; an error of a registry fails all its remaining
    items.
    """

    resolves_tags_first = False
    """Whether manifests by digest have other sources than tags, so that tags are resolved first."""

    def __init__(
        self, client: Client, concurrency: int = DEFAULT_CONCURRENCY, on_progress: ProgressCallback | None = None
    ) -> None:
        self.http = client.http
        self._max_document_bytes = client.settings.largest_document
        self._max_pages = client.settings.list_pages
        self._concurrency = max(1, concurrency)
        self._on_progress = on_progress
        self._progress_at = 0.0
        self._queues: dict[str, HostQueue] = {}
        self._batches: set[Batch] = set()
        self._selector = selectors.DefaultSelector()
        self._watched: dict[PipelinedConnection, HostQueue] = {}
        self._no_referrers_api: set[tuple[str, str]] = set()
        self._head_works: set[tuple[str, str]] = set()
        self._threads = _ThreadPool()
        self.idle_seconds = 0.0
        self._timeouts_checked_at = 0.0
        self._selector.register(self._threads, selectors.EVENT_READ)
        self._closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Cancel all batches and close the connections."""
        if not self._closed:
            self._closed = True
            self._cancel_all()
            self._threads.close()
            self._selector.close()

    @property
    def request_counts(self) -> dict[str, int]:
        """The number of requests sent, by kind; see `classify_request`."""
        return self.http.request_counts

    def fetch_heads(
        self,
        references: Iterable[tuple[int, Reference]],
        cached: Mapping[int, Descriptor] = MappingProxyType({}),
        *,
        expect_missing: bool = False,
    ) -> Iterator[tuple[int, Descriptor | ImqError]]:
        """Yield the descriptor of each reference. The manifest is fetched only if HEAD is insufficient.

        `cached` holds earlier descriptors by number. `expect_missing` means that most references do not exist: if
        HEAD works in the repository, its 404 is final.
        """

        def make_request(batch: Batch, item: tuple[int, Reference]) -> BatchRequest:
            key, reference = item
            return HeadRequest(
                batch,
                key,
                reference,
                self._max_document_bytes,
                self._head_works,
                cached.get(key),
                expects_missing=expect_missing,
            )

        return self._run(make_request, references)

    def fetch_manifests(
        self, references: Iterable[tuple[int, Reference]]
    ) -> Iterator[tuple[int, FetchedManifest | ImqError]]:
        """Yield the manifest or index of each reference, verified against its digest."""
        return self._run(
            lambda batch, item: ManifestRequest(batch, item[0], item[1], self._max_document_bytes), references
        )

    def fetch_configs(
        self, configs: Iterable[tuple[int, Reference, Descriptor]]
    ) -> Iterator[tuple[int, bytes | ImqError]]:
        """Yield small blobs of the references' repositories, each verified against its descriptor."""
        return self._run(
            lambda batch, item: ConfigRequest(batch, item[0], item[1], item[2], self._max_document_bytes), configs
        )

    def fetch_referrers(
        self, subjects: Iterable[tuple[int, Reference, Digest]]
    ) -> Iterator[tuple[int, list[Descriptor] | ImqError]]:
        """Yield the referrers of the manifests with these digests."""
        return self._run(
            lambda batch, item: ReferrersRequest(
                batch, item[0], item[1], item[2], self._no_referrers_api, self._max_pages
            ),
            subjects,
        )

    def fetch_tags(self, repositories: Iterable[tuple[int, Reference]]) -> Iterator[tuple[int, TagPage | ImqError]]:
        """Yield the tags of the repositories page by page; an error ends only its own list."""
        return self._run(lambda batch, item: TagsRequest(batch, item[0], item[1], self._max_pages), repositories)

    def _run(
        self, make_request: Callable[[Batch, Any], BatchRequest], items: Iterable[Any]
    ) -> Iterator[tuple[int, Any]]:
        batch = Batch()
        iterator = iter(items)
        has_more = True
        self._batches.add(batch)
        for queue in self._queues.values():
            queue.reopen()
        try:
            while True:
                while has_more and self._has_capacity(batch):
                    item = next(iterator, None)
                    if item is None:
                        has_more = False
                    else:
                        self._enqueue(batch, item, make_request)
                if batch.is_cancelled:
                    raise Interrupted("the requests were cancelled")
                if batch.results:
                    yield batch.results.popleft()
                elif batch.deferred:
                    request = batch.deferred.popleft()
                    self._get_queue(request.request.registry).enqueue(request)
                elif batch.pending_count:
                    self._run_once(batch)
                elif not has_more:
                    return
        finally:
            batch.is_cancelled = True
            self._batches.discard(batch)
            batch.results.clear()

    def _has_capacity(self, batch: Batch) -> bool:
        """Whether another item can be taken: the queues have capacity, or no queued request can be sent now.

        False while results wait for the caller: the next item may depend on another batch.
        """
        if batch.results or batch.pending_count >= _MAX_OUTSTANDING:
            return False
        return sum([queue.sendable_count for queue in self._queues.values()]) < 2 * self._concurrency

    def _enqueue(self, batch: Batch, item: Any, make_request: Callable[[Batch, Any], BatchRequest]) -> None:
        try:
            batch_request = make_request(batch, item)
        except ImqError as error:
            batch.results.append((item[0], error))
            return
        batch.pending_count += 1
        self._get_queue(batch_request.request.registry).enqueue(batch_request)

    def _get_queue(self, registry: str) -> HostQueue:
        name = get_server(registry)
        queue = self._queues.get(name)
        if queue is None:
            queue = self._queues[name] = HostQueue(self, registry, self._concurrency)
        return queue

    # The loop

    def _run_once(self, batch: Batch) -> None:
        """Send queued requests. If the batch still has no result, wait for events."""
        try:
            for queue in self._queues.values():
                queue.send_queued()
            if batch.results or batch.deferred:
                return
            now = time.monotonic()
            wait = min([queue.seconds_until_next_event(now) for queue in self._queues.values()])
            events = self._selector.select(wait)
            self.idle_seconds += time.monotonic() - now
            for key, _ in events:
                if key.data is None:
                    self._threads.deliver_results()
                else:
                    key.data.handle_readiness(key.fileobj)
                    key.data.send_queued()
            if not events or not wait or self.idle_seconds >= self._timeouts_checked_at + _TIMEOUT_CHECK_INTERVAL:
                self._timeouts_checked_at = self.idle_seconds
                for queue in self._queues.values():
                    queue.check_timeouts()
            self._report_progress()
        except BaseException:  # interrupted midway: the state of the connections is unknown
            self._cancel_all()
            raise

    def watch(self, queue: HostQueue, connection: PipelinedConnection) -> None:
        """Wait until a connection has data, or accepts the rest of a request."""
        events = selectors.EVENT_WRITE if connection.is_sending else selectors.EVENT_READ
        if connection in self._watched:
            self._selector.modify(connection, events, queue)
        else:
            self._watched[connection] = queue
            self._selector.register(connection, events, queue)

    def unwatch(self, connection: PipelinedConnection) -> None:
        """Stop waiting for a connection."""
        if self._watched.pop(connection, None) is not None:
            self._selector.unregister(connection)

    def run_in_thread(self, work: Callable[[], Any], done: Callable[[Any, ImqError | None], None]) -> None:
        """Run `work` in another thread, and `done` with its result or error in this one."""
        self._threads.submit(work, done)

    def _report_progress(self) -> None:
        now = time.monotonic()
        if self._on_progress is not None and now - self._progress_at >= _PROGRESS_INTERVAL:
            self._progress_at = now
            remaining = sum(batch.pending_count for batch in self._batches)
            for queue in self._queues.values():
                self._on_progress(queue.registry, queue.response_count, remaining)

    def _cancel_all(self) -> None:
        """Cancel every batch."""
        for batch in self._batches:
            batch.is_cancelled = True
        for queue in self._queues.values():
            queue.clear()


class _ThreadPool:
    """Threads for work that would block the event loop. They end when the client is closed."""

    def __init__(self) -> None:
        from queue import SimpleQueue

        self._tasks: SimpleQueue[tuple[Callable[[], Any], Callable[[Any, ImqError | None], None]] | None] = (
            SimpleQueue()
        )
        self._results: deque[tuple[Callable[[Any, ImqError | None], None], Any, BaseException | None]] = deque()
        self._lock = threading.Lock()
        self._thread_count = 0
        self._idle_count = 0
        self._closed = False
        self._wake_reader, self._wake_writer = os.pipe()
        os.set_blocking(self._wake_reader, False)
        os.set_blocking(self._wake_writer, False)

    def fileno(self) -> int:
        """Return the file descriptor that becomes readable when work is done."""
        return self._wake_reader

    def submit(self, work: Callable[[], Any], done: Callable[[Any, ImqError | None], None]) -> None:
        """Run `work` in a thread; `deliver_results` calls `done` with its result or error."""
        with self._lock:
            start = not self._idle_count
            if start:
                self._thread_count += 1
            else:
                self._idle_count -= 1
        self._tasks.put((work, done))
        if start:
            threading.Thread(target=self._run, name=f"imq-request-{self._thread_count}", daemon=True).start()

    def deliver_results(self) -> None:
        """Call `done` for all finished work."""
        try:
            os.read(self._wake_reader, 4096)
        except BlockingIOError:
            return
        while self._results:
            done, result, error = self._results.popleft()
            if error is not None and not isinstance(error, ImqError):
                raise error
            done(result, error)

    def close(self) -> None:
        """End the threads: at once, or when their current work ends."""
        with self._lock:
            self._closed = True
            os.close(self._wake_reader)
            os.close(self._wake_writer)
            for _ in range(self._thread_count):
                self._tasks.put(None)
        while self._results:
            _close_if_any(self._results.popleft()[1])

    def _run(self) -> None:
        while (task := self._tasks.get()) is not None:
            work, done = task
            result: Any = None
            error: BaseException | None = None
            try:
                result = work()
            except BaseException as failed:  # noqa: BLE001 - raised again by the thread of the event loop
                error = failed
            with self._lock:
                if self._closed:
                    _close_if_any(result)
                    return
                self._idle_count += 1
                self._results.append((done, result, error))
                try:
                    os.write(self._wake_writer, b".")
                except BlockingIOError:
                    pass  # the pipe is full of wake-ups already


def _close_if_any(result: Any) -> None:
    """Close a connection or response that is no longer needed."""
    if result is not None:
        result.close()
