"""The request queue of one registry: concurrency, connections, rate limits and retries.

A retry delay, an exhausted rate limit, an expired token and an unreachable host affect all requests to the host. Other
errors fail only their own item.
"""

from __future__ import annotations

import time
from collections import deque
from heapq import heappop, heappush
from http import HTTPStatus

from imq.engine.registry import errors
from imq.engine.registry.errors import deadline_error, stalled_error, transport_error
from imq.engine.registry.http.client import IF_NONE_MATCH, REDIRECTS, classify_request
from imq.engine.registry.http.pipelined import ConnectionBrokenError, PipelinedConnection
from imq.engine.registry.http.rate_limit import format_wait, is_rate_limited, parse_retry_after
from imq.engine.registry.http.response_head import UnsupportedResponseError, are_sendable, is_header_value
from imq.engine.registry.http.retry import RetryBudget
from imq.engine.registry.http.stall import StallDetector
from imq.engine.registry.settings import get_server
from imq.grammar.errors import ImqError, RegistryError
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Protocol

    from imq.engine.registry.http.client import ReadyRequest, RegistryHttp, Request
    from imq.engine.registry.http.rate_limit import RateLimit
    from imq.engine.registry.http.response import ResponseLike
    from imq.engine.registry.settings import Settings

    from .requests import BatchRequest

    class EventLoop(Protocol):
        """The part of `BatchClient` that queues share: readiness events and worker threads."""

        http: RegistryHttp
        idle_seconds: float
        """Seconds spent waiting for connections: the servers' time, without the caller's."""

        def watch(self, host: HostQueue, connection: PipelinedConnection) -> None:
            """Wait until a connection has data."""

        def unwatch(self, connection: PipelinedConnection) -> None:
            """Stop waiting for a connection."""

        def run_in_thread(self, work: Callable[[], Any], done: Callable[[Any, ImqError | None], None]) -> None:
            """Run `work` in another thread, and `done` with its result or error in this one."""


_MAX_CONSECUTIVE_FAILURES = 40
"""Consecutive failures after which the host is given up."""
_MAX_DENIED_REPOSITORIES = 8
"""Denied repositories after which the host is given up, if no repository was accessible."""
_MAX_UNSUPPORTED = 3
"""Unsupported or redirected responses to one kind of request, after which the full client sends that kind."""
_MAX_STALE_RETRIES = 3
"""Retries of one request after the server closed an idle connection."""
_MAX_CACHED_HEADERS = 100
_HOST_ERROR_CODES = frozenset({"unreachable", "tls", "timeout", "credentials", "insecure-realm"})
"""Error codes that concern a host and not an item."""
_FIRST_CONTACT = ""
"""The key of requests that are held until the first contact with a host is made."""


class _ResponseTimer:
    """The deadlines of one response, in seconds of waiting: for its head, its next byte and its end.

    `due` is the time of the next check.
    """

    __slots__ = ("_last_received_at", "_received_bytes", "_settings", "_stall_detector", "_started_at", "due")

    def __init__(self, settings: Settings, now: float) -> None:
        self._settings = settings
        self._started_at = self._last_received_at = now
        self._received_bytes = 0
        self._stall_detector: StallDetector | None = None
        self.due = now + min(settings.read_timeout, settings.answer_timeout)

    def record(self, connection: PipelinedConnection, now: float) -> float | None:
        """Record received bytes. Return the speed in bytes a second if the body has stalled."""
        if not connection.has_head:
            return None
        speed = None
        if self._stall_detector is None:
            self._stall_detector = StallDetector(self._settings)
        else:
            speed = self._stall_detector.record(
                connection.received_bytes - self._received_bytes, now - self._last_received_at
            )
        self._received_bytes, self._last_received_at = connection.received_bytes, now
        self.due = min(now + self._settings.read_timeout, self._started_at + self._settings.answer_timeout)
        return speed

    def timeout_error(self, now: float, host: str, description: str) -> RegistryError:
        """Return the error of a response that is past its deadline."""
        if now - self._started_at >= self._settings.answer_timeout:
            return deadline_error(host, f"sends {description}", self._settings.answer_timeout)
        event = "does not respond" if self._stall_detector is None else "closed the connection during the response"
        return transport_error(TimeoutError(), host, event)


class HostQueue:
    """The requests to one registry, from one thread; at most `concurrency` at once.

    Requests travel over pipelined connections, or by `RegistryHttp` in threads.
    """

    def __init__(self, loop: EventLoop, registry: str, concurrency: int) -> None:
        self.registry = registry
        self.fatal_error: ImqError | None = None
        """The error of all remaining requests, or None while the host is usable."""
        self.retry_at = 0.0
        """The monotonic time from which the host may be tried again."""
        self.response_count = 0
        self.active: dict[PipelinedConnection, BatchRequest] = {}
        self.paused_until = 0.0
        self._loop = loop
        self._http = loop.http
        self._settings = loop.http.settings
        self._server = get_server(registry)
        self._max_concurrency = concurrency
        self._concurrency = float(concurrency)
        self._queue: deque[BatchRequest] = deque()
        self._held_requests: dict[str, deque[BatchRequest]] = {}
        self._denied_repositories: dict[str, ImqError] = {}
        self._delayed: list[tuple[float, int, BatchRequest]] = []
        self._sequence = 0
        self._idle: list[PipelinedConnection] = []
        self._timers: dict[PipelinedConnection, _ResponseTimer] = {}
        self._connecting_count = 0
        self._thread_count = 0
        self._retry_budget = RetryBudget(self._settings)
        self._consecutive_failures = 0
        self._denied_count = 0
        self._is_authorized = False
        self._last_response_at = 0.0
        self._unsupported_counts: dict[str, int] = {}
        self._remaining_requests: int | None = None
        self._encoded_headers: dict[tuple[object, ...], str] = {}
        rate_limit = self._http.get_rate_limit(registry)
        if rate_limit is not None and rate_limit.remaining >= 0:
            self._remaining_requests = rate_limit.remaining

    @property
    def sendable_count(self) -> int:
        """The number of queued requests that could be sent if there were capacity."""
        return 0 if self.fatal_error is not None or self.paused_until > time.monotonic() else len(self._queue)

    @property
    def _active_count(self) -> int:
        return len(self.active) + self._thread_count

    def enqueue(self, batch_request: BatchRequest) -> None:
        """Add a request."""
        self._queue.append(batch_request)

    def reopen(self) -> None:
        """Retry a host that was given up, unless it specified how long to wait."""
        if self.fatal_error is not None and time.monotonic() >= self.retry_at:
            self.fatal_error, self._consecutive_failures, self._denied_count = None, 0, 0
            self._retry_budget.reset()
        self._denied_repositories.clear()

    def clear(self) -> None:
        """Drop every request and connection, without waiting for threads."""
        self._queue.clear()
        self._held_requests.clear()
        self._delayed.clear()
        for connection in (*self.active, *self._idle):
            self._close_connection(connection)
        self.active.clear()

    def seconds_until_next_event(self, now: float) -> float:
        """Return the seconds until the next timer, if no connection becomes ready."""
        due = [self._delayed[0][0]] if self._delayed else []
        if self._queue and self.paused_until > now:
            due.append(self.paused_until)
        if self.active:
            due.append(now + min(self._timers[connection].due for connection in self.active) - self._loop.idle_seconds)
        return max(0.0, min(due) - now) if due else 60.0

    # Sending

    def send_queued(self) -> None:
        """Send as many requests as the capacity allows."""
        if not self._queue and not self._delayed:
            return
        now = time.monotonic()
        while self._delayed and self._delayed[0][0] <= now:
            self._queue.appendleft(heappop(self._delayed)[2])
        if self.fatal_error is None and now < self.paused_until:
            return
        while self._queue:
            batch_request = self._queue[0]
            if batch_request.batch.is_cancelled:
                self._queue.popleft()
                continue
            error = self.fatal_error or self._denied_repositories.get(batch_request.request.repository)
            if error is not None:
                self._queue.popleft()
                self._fail_request(batch_request, error)
                continue
            if self._active_count >= int(self._concurrency):
                return
            if self._is_rate_limit_exhausted(batch_request.request):
                if self.fatal_error is None:
                    return
            elif not self._send_next(batch_request):
                return

    def _send_next(self, batch_request: BatchRequest) -> bool:
        """Send the first queued request, or hold it. Return False if it remains in the queue."""
        batch_request.prepare()
        request = batch_request.request
        is_direct = self._http.is_direct(request.registry)
        needs_full_client = (
            batch_request.needs_full_client
            or is_direct is False
            or self._unsupported_counts.get(self._classify(request), 0) >= _MAX_UNSUPPORTED
        )
        ready = None if needs_full_client or is_direct is None else self._http.prepare_request(request)
        encoded = self._encode_request(request, ready) if ready is not None else None
        if ready is not None and encoded is None:
            ready, needs_full_client = None, True
        if ready is None or encoded is None:
            hold_key = None if needs_full_client else request.repository if is_direct else _FIRST_CONTACT
            self._queue.popleft()
            self._hold_or_send_in_thread(batch_request, hold_key)
            return True
        if _FIRST_CONTACT in self._held_requests or request.repository in self._held_requests:
            self._queue.popleft()
            self._held_requests[
                request.repository if request.repository in self._held_requests else _FIRST_CONTACT
            ].append(batch_request)
            return True
        if not self._idle:
            if self._connecting_count + self._active_count < int(self._concurrency) and self._connecting_count < len(
                self._queue
            ):
                self._connect(ready.origin)
                return True
            return False
        self._queue.popleft()
        self._send_on_connection(self._idle.pop(), batch_request, ready, encoded)
        return True

    def _send_on_connection(
        self, connection: PipelinedConnection, batch_request: BatchRequest, ready: ReadyRequest, encoded: bytes
    ) -> None:
        request = batch_request.request
        batch_request.authorization = ready.authorization
        self.active[connection] = batch_request
        self._timers[connection] = _ResponseTimer(self._settings, self._loop.idle_seconds)
        self._http.count_request(request.method, request.target)
        try:
            connection.send(request.method, encoded, batch_request.max_bytes)
        except ConnectionBrokenError as broken:
            self.handle_broken_connection(connection, broken)
            return
        if connection.is_sending:
            self._loop.watch(self, connection)

    def _encode_request(self, request: Request, ready: ReadyRequest) -> bytes | None:
        """Encode a request. None if it has a body or characters that need quoting."""
        condition = request.headers.get(IF_NONE_MATCH, "")  # differs for each request; the other headers are shared
        common = (
            {name: value for name, value in request.headers.items() if name != IF_NONE_MATCH}
            if condition
            else request.headers
        )
        key = (*common.items(), ready.authorization)
        encoded_headers = self._encoded_headers.get(key)
        if encoded_headers is None:
            headers = {"Accept-Encoding": "identity", "User-Agent": self._settings.user_agent, **common}
            if ready.authorization:
                headers["Authorization"] = ready.authorization
            if not all(map(is_header_value, headers.values())):
                return None
            lines = [f"Host: {self._server}", *(f"{name}: {value}" for name, value in headers.items())]
            encoded_headers = "".join(f"{line}\r\n" for line in lines) + "\r\n"
            if len(self._encoded_headers) >= _MAX_CACHED_HEADERS:
                self._encoded_headers.clear()
            self._encoded_headers[key] = encoded_headers
        if request.body is not None or not are_sendable(request.target):
            return None
        conditional_header = f"{IF_NONE_MATCH}: {condition}\r\n" if condition else ""
        return f"{request.method} {request.target} HTTP/1.1\r\n{conditional_header}{encoded_headers}".encode("ascii")

    def _send_in_thread(self, batch_request: BatchRequest, hold_key: str | None) -> None:
        """Send a request with `RegistryHttp` in a thread. Requests held by `hold_key` continue after it."""
        if hold_key is not None:
            self._held_requests[hold_key] = deque()
        self._thread_count += 1
        request, max_bytes, http = batch_request.request, batch_request.max_bytes, self._http

        def work() -> ResponseLike:
            response = http.send_once(request)
            try:
                response.read(max_bytes)
            finally:
                response.close()
            return response

        def done(response: Any, error: ImqError | None) -> None:
            self._thread_count -= 1
            if hold_key is not None:
                self._queue.extendleft(reversed(self._held_requests.pop(hold_key, ())))
            if batch_request.batch.is_cancelled:
                return
            if error is None:
                self._handle_response(batch_request, response)
            else:
                self._handle_failure(batch_request, error)

        self._loop.run_in_thread(work, done)

    def _connect(self, url: str) -> None:
        self._connecting_count += 1
        http = self._http

        def done(sock: Any, error: ImqError | None) -> None:
            self._connecting_count -= 1
            if error is None:
                self._idle.append(connection := PipelinedConnection(sock, url))
                self._loop.watch(self, connection)
            elif self.active or self._idle:
                self._max_concurrency = len(self.active) + len(self._idle)  # the server accepts no more connections
                self._concurrency = min(self._concurrency, self._max_concurrency)
            elif not self._connecting_count:
                delay = self._retry_budget.next_delay_after(error) if isinstance(error, RegistryError) else None
                if delay is None:
                    self._give_up_host(error)
                else:
                    self.paused_until = time.monotonic() + delay

        self._loop.run_in_thread(lambda: http.connect(url), done)

    # Receiving

    def handle_readiness(self, connection: PipelinedConnection) -> None:
        """Read from a connection that has data, or send the rest of a request."""
        batch_request = self.active.get(connection)
        try:
            if batch_request is None:  # closed by the server, or unexpected data
                self._close_connection(connection)
            elif connection.is_sending:
                connection.flush()
                self._loop.watch(self, connection)
            else:
                response = connection.receive(batch_request.request.target)
                if response is not None:
                    self._finish_response(connection, batch_request, response)
                elif (speed := self._timers[connection].record(connection, self._loop.idle_seconds)) is not None:
                    slow = stalled_error(
                        self.registry, f"sends {batch_request.description}", speed, self._settings.least_speed
                    )
                    self._abort_response(connection, slow)
        except ConnectionBrokenError as broken:
            self.handle_broken_connection(connection, broken)
        except UnsupportedResponseError:
            self._close_connection(connection)
            self._use_full_client(self.active.pop(connection))

    def _finish_response(
        self, connection: PipelinedConnection, batch_request: BatchRequest, response: ResponseLike
    ) -> None:
        del self.active[connection]
        if connection.is_finished:
            self._close_connection(connection)
        else:
            self._idle.append(connection)
        if not batch_request.batch.is_cancelled:
            self._http.record_rate_limit(response, self._server)
            self._handle_pipelined_response(batch_request, response)

    def handle_broken_connection(self, connection: PipelinedConnection, broken: ConnectionBrokenError) -> None:
        """Retry the request of a broken connection."""
        batch_request = self.active.pop(connection)
        was_idle = connection.response_count > 0 and not connection.has_begun
        self._close_connection(connection)
        if batch_request.batch.is_cancelled:
            return
        if (
            was_idle and batch_request.stale_count < _MAX_STALE_RETRIES
        ):  # most likely the server's idle timeout, which is not a failure
            batch_request.stale_count += 1
            self._queue.appendleft(batch_request)
            return
        error = transport_error(
            broken.cause or ConnectionError("closed without a response"),
            self.registry,
            "closed the connection during the response",
        )
        self._handle_failure(batch_request, error)

    def check_timeouts(self) -> None:
        """Fail the responses that are past their deadline."""
        now = self._loop.idle_seconds
        for connection in [connection for connection in self.active if self._timers[connection].due <= now]:
            self._abort_response(
                connection,
                self._timers[connection].timeout_error(now, self.registry, self.active[connection].description),
            )

    def _abort_response(self, connection: PipelinedConnection, error: RegistryError) -> None:
        """Close a connection whose response has failed."""
        batch_request = self.active.pop(connection)
        self._close_connection(connection)
        if not batch_request.batch.is_cancelled:
            self._handle_failure(batch_request, error)

    def _handle_pipelined_response(self, batch_request: BatchRequest, response: ResponseLike) -> None:
        """Handle a response of a pipelined connection; credentials and redirects need the full client."""
        if response.status == HTTPStatus.UNAUTHORIZED:
            batch_request.unauthorized_count += 1
            ready = self._http.prepare_request(batch_request.request)
            renewed = ready is not None and ready.authorization != batch_request.authorization
            if not renewed or batch_request.unauthorized_count > 1:
                self._authorize_repository(batch_request)
            else:
                self._queue.appendleft(batch_request)
        elif response.status in REDIRECTS and response.header("Location"):
            self._use_full_client(batch_request)
        else:
            self._handle_response(batch_request, response)

    def _authorize_repository(self, batch_request: BatchRequest) -> None:
        """Let one request obtain the token of its repository, while the others are held."""
        self._hold_or_send_in_thread(batch_request, batch_request.request.repository)

    def _hold_or_send_in_thread(self, batch_request: BatchRequest, hold_key: str | None) -> None:
        """Hold a request back while another one with its key is sent; else send it, and hold those that follow."""
        if hold_key in self._held_requests:
            self._held_requests[hold_key].append(batch_request)
        else:
            self._send_in_thread(batch_request, hold_key)

    def _use_full_client(self, batch_request: BatchRequest) -> None:
        kind = self._classify(batch_request.request)
        self._unsupported_counts[kind] = self._unsupported_counts.get(kind, 0) + 1
        batch_request.needs_full_client = True
        self._queue.appendleft(batch_request)

    def _handle_response(self, batch_request: BatchRequest, response: ResponseLike) -> None:
        """Handle a response that needs no other way of sending."""
        rate_limit = response.rate_limit
        if rate_limit is not None and rate_limit.remaining >= 0 and response.header("RateLimit-Remaining"):
            self._record_remaining(rate_limit.remaining)
        if errors.is_temporary(response.status):
            self._retry_later(
                batch_request, errors.response_error(response, self.registry, batch_request.description), response
            )
            return
        try:
            next_request = batch_request.handle_response(response)
        except RegistryError as error:
            if error.temporary:
                self._retry_later(batch_request, error, None)
                return
            self._record_success(response)
            if error.status == HTTPStatus.UNAUTHORIZED:
                self._deny_repository(batch_request, error)
            self._fail_request(batch_request, error)
        except ImqError as error:
            self._record_success(response)
            self._fail_request(batch_request, error)
        else:
            self._record_success(response)
            if next_request is None:
                batch_request.batch.pending_count -= 1
                return
            batch_request.request, batch_request.attempts, batch_request.needs_full_client = next_request, 0, False
            (batch_request.batch.deferred if batch_request.batch.results else self._queue).append(batch_request)

    def _record_success(self, response: ResponseLike) -> None:
        """Record a response of the host; it restores the retry budget."""
        self.response_count += 1
        self._last_response_at = time.monotonic()
        self._consecutive_failures = 0
        self._retry_budget.reset()
        if self._concurrency < self._max_concurrency:
            self._concurrency = min(self._max_concurrency, self._concurrency + 1 / self._concurrency)
        if response.status != HTTPStatus.UNAUTHORIZED:
            self._denied_count, self._is_authorized = 0, True

    # Failing

    def _handle_failure(self, batch_request: BatchRequest, error: ImqError) -> None:
        """Handle a failure without a response."""
        if isinstance(error, RegistryError):
            if error.temporary:
                self._retry_later(batch_request, error, None)
                return
            if error.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):  # from the token server
                self._deny_repository(batch_request, error)
            elif error.code in _HOST_ERROR_CODES and not self._is_alive(error):
                self._give_up_host(error)
            else:
                self._record_failure(error)
        self._fail_request(batch_request, error)

    def _retry_later(self, batch_request: BatchRequest, error: RegistryError, response: ResponseLike | None) -> None:
        """Schedule a retry, unless the host or the item has used up its retries."""
        now = time.monotonic()
        retry_after = parse_retry_after(response.headers) if response is not None else 0.0
        if error.status == HTTPStatus.TOO_MANY_REQUESTS or retry_after:
            self._pause_host(batch_request, error, retry_after, now)
            return
        self._record_failure(error)
        is_stalled = error.code == "too-slow"
        if batch_request.attempts >= self._settings.retries or (is_stalled and batch_request.has_stalled):
            self._fail_request(batch_request, error)
            return
        delay = min(self._settings.first_wait * (1 << batch_request.attempts), self._settings.longest_wait)
        batch_request.attempts += 1
        batch_request.has_stalled = batch_request.has_stalled or is_stalled
        self._sequence += 1
        heappush(self._delayed, (now + delay, self._sequence, batch_request))

    def _pause_host(self, batch_request: BatchRequest, error: RegistryError, retry_after: float, now: float) -> None:
        """Pause all requests to the host as long as it demands; responses of one burst count once."""
        self._queue.appendleft(batch_request)
        if now < self.paused_until:
            self.paused_until = max(self.paused_until, now + min(retry_after, self._settings.longest_wait))
            return
        delay = self._retry_budget.next_delay(retry_after)
        if delay is None:
            hints = (*error.hints[:-1], self._format_resume_hint(retry_after), *error.hints[-1:])
            final_error = RegistryError(
                error.message, code=error.code, hints=hints, host=self.registry, status=error.status
            )
            self._give_up_host(final_error, now + retry_after)
            return
        self.paused_until = now + delay
        self._remaining_requests = None
        self._concurrency = max(1.0, self._concurrency / 2)

    def _is_rate_limit_exhausted(self, request: Request) -> bool:
        """Whether the rate limit forbids the request now; then pause or give up the host."""
        if self._remaining_requests is None or not is_rate_limited(self.registry, request.method, request.target):
            return False
        if self._remaining_requests - self._active_count > 0:
            return False
        if self._active_count:
            return True
        rate_limit = self._http.get_rate_limit(self.registry)
        delay = _get_seconds_until_reset(rate_limit)
        now = time.monotonic()
        limit_text = "" if rate_limit is None else str(rate_limit.replace(remaining=max(0, self._remaining_requests)))
        self._remaining_requests = None
        if 0 <= delay <= self._settings.longest_wait:
            self.paused_until = now + delay
            return True
        error = RegistryError(
            f"{self.registry} rate limit exceeded: {limit_text}",
            code="too-many-requests",
            hints=(
                self._format_resume_hint(delay),
                f"log in for a higher limit: {errors.format_login_command(self.registry)}",
            ),
            host=self.registry,
            status=HTTPStatus.TOO_MANY_REQUESTS,
        )
        self._give_up_host(error, now + max(delay, 0))
        return True

    def _record_remaining(self, remaining: int) -> None:
        """Record the remaining requests.

        Responses may arrive out of order; a much higher number is a new window.
        """
        if (
            self._remaining_requests is None
            or remaining < self._remaining_requests
            or remaining > self._remaining_requests + self._max_concurrency
        ):
            self._remaining_requests = remaining

    def _format_resume_hint(self, wait: float) -> str:
        progress = f"{self.response_count} requests succeeded before"
        return f"{progress}: continue in {format_wait(wait)}" if wait > 0 else f"{progress}: continue later"

    def _deny_repository(self, batch_request: BatchRequest, error: ImqError) -> None:
        """Fail the requests to a repository that denies access, or to the host if every repository does."""
        self._denied_repositories[batch_request.request.repository] = error
        self._denied_count += 1
        if self._denied_count >= _MAX_DENIED_REPOSITORIES and not self._is_authorized:
            self._give_up_host(error)

    def _record_failure(self, error: ImqError) -> None:
        """Count a failure. Too many consecutive failures give the host up."""
        self._consecutive_failures += 1
        if self._consecutive_failures >= _MAX_CONSECUTIVE_FAILURES and self.fatal_error is None:
            self._give_up_host(error)

    def _is_alive(self, error: RegistryError) -> bool:
        """Whether the host has responded since the failed request was sent."""
        if error.code == "timeout":
            return (
                bool(self._last_response_at) and time.monotonic() - self._last_response_at < self._settings.read_timeout
            )
        return bool(self.active or self._idle)

    def _give_up_host(self, error: ImqError, until: float = 0.0) -> None:
        """Fail all waiting requests with this error."""
        self.fatal_error, self.retry_at = error, until
        for held in self._held_requests.values():
            self._queue.extend(held)
            held.clear()
        while self._delayed:
            self._queue.append(heappop(self._delayed)[2])

    def _fail_request(self, batch_request: BatchRequest, error: ImqError) -> None:
        batch_request.add_result(error)
        batch_request.batch.pending_count -= 1

    def _close_connection(self, connection: PipelinedConnection) -> None:
        self._loop.unwatch(connection)
        connection.close()
        self._timers.pop(connection, None)
        if connection in self._idle:
            self._idle.remove(connection)

    def _classify(self, request: Request) -> str:
        return classify_request(request.method, request.target)


def _get_seconds_until_reset(rate_limit: RateLimit | None) -> float:
    """Return the seconds until a rate limit is reset, or -1 if the host does not specify them."""
    if rate_limit is None:
        return -1.0
    return float(rate_limit.reset if rate_limit.reset >= 0 else rate_limit.window)
