"""Thousands of small questions to registries: many at once, streamed as they are answered, and called off at any time.

One thread asks them all, the caller's: it waits for whichever connection has something to say, and only while the
caller waits for a result. So nothing goes on behind the caller's back, and Ctrl-C reaches it at once. What needs more
than a plain question on a known connection (the first word to a host, a token, a redirect, a proxy) is done in threads
by the way that knows everything, `Exchange`; they write nothing but their answer.
"""

from __future__ import annotations

import os
import selectors
import threading
import time
from collections import deque
from types import MappingProxyType

from imq.engine.registry.settings import server_of
from imq.grammar.errors import ImqError, Interrupted
from imq.grammar.record import TYPE_CHECKING

from .host_queue import Host
from .requests import Call, ConfigQuestion, DocumentQuestion, HeadQuestion, ListingQuestion, Page, ReferrersQuestion

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from typing import Any, Self

    from imq.engine.oci.digest import Digest
    from imq.engine.oci.manifest import Descriptor
    from imq.engine.oci.reference import Reference
    from imq.engine.registry.client import Client
    from imq.engine.registry.http.pipelined import Wire
    from imq.engine.registry.manifests import Fetched

    from .requests import Question

    Told = Callable[[str, int, int], None]
    """Is told a registry, how many questions it has answered, and how many are still to be answered."""

JOBS = 24
"""Questions at once for one registry, when nobody says otherwise."""
_MOST_WAITING = 4096
"""Questions of one call that wait, when what can be asked at once is elsewhere."""
_TELL_EVERY = 0.1
_LOOK_EVERY = 0.5
"""Seconds of waiting after which it is looked for answers that are late."""


class Many:
    """Asks many questions at once, at most `jobs` of any registry, for one thread; a context manager.

    Each call takes items, each with a number of the caller's, and yields for each what came of it: the answer, or the
    `ImqError` that it has instead; in the order of the answers. Calls may be under way at the same time, one feeding
    another: all share the bound. Closing a call's generator calls it off. What is wrong with one item is that item's
    error; what is wrong with a registry is the error of all that was still to be asked of it.
    """

    checked_first = False
    """Whether documents by digest come from elsewhere than what a tag stands for, so that this is asked for first."""

    def __init__(self, client: Client, jobs: int = JOBS, told: Told | None = None) -> None:
        self.exchange = client.exchange
        self._largest = client.settings.largest_document
        self._pages = client.settings.list_pages
        self._jobs = max(1, jobs)
        self._told = told
        self._told_at = 0.0
        self._hosts: dict[str, Host] = {}
        self._calls: set[Call] = set()
        self._selector = selectors.DefaultSelector()
        self._watched: dict[Wire, Host] = {}
        self._lacking: set[tuple[str, str]] = set()
        self._heads: set[tuple[str, str]] = set()
        self._hands = _Hands()
        self.waited = 0.0
        self._looked = 0.0
        self._selector.register(self._hands, selectors.EVENT_READ)
        self._closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Call off what is under way, and close the connections."""
        if not self._closed:
            self._closed = True
            self._abandon()
            self._hands.close()
            self._selector.close()

    @property
    def requests(self) -> dict[str, int]:
        """How many requests the client has sent, by what they were for; see `exchange.kind_of`."""
        return self.exchange.requests

    def heads(
        self,
        wanted: Iterable[tuple[int, Reference]],
        known: Mapping[int, Descriptor] = MappingProxyType({}),
        *,
        probing: bool = False,
    ) -> Iterator[tuple[int, Descriptor | ImqError]]:
        """Yield what each reference stands for, its document not fetched unless the registry says too little.

        `known` says by their numbers what some of them stood for when they were last asked. `probing` says that most
        of them are not there: a registry that answers for other names of the repository is then asked once.
        """

        def question(call: Call, item: tuple[int, Reference]) -> Question:
            key, reference = item
            return HeadQuestion(call, key, reference, self._largest, self._heads, known.get(key), probing=probing)

        return self._run(question, wanted)

    def documents(self, wanted: Iterable[tuple[int, Reference]]) -> Iterator[tuple[int, Fetched | ImqError]]:
        """Yield the manifest or index that each reference stands for, checked against its digest."""
        return self._run(lambda call, item: DocumentQuestion(call, item[0], item[1], self._largest), wanted)

    def configs(self, wanted: Iterable[tuple[int, Reference, Descriptor]]) -> Iterator[tuple[int, bytes | ImqError]]:
        """Yield small blobs of the references' repositories, each checked against its descriptor."""
        return self._run(lambda call, item: ConfigQuestion(call, item[0], item[1], item[2], self._largest), wanted)

    def referrers(
        self, wanted: Iterable[tuple[int, Reference, Digest]]
    ) -> Iterator[tuple[int, list[Descriptor] | ImqError]]:
        """Yield what refers to the manifests of these digests in the references' repositories."""
        return self._run(
            lambda call, item: ReferrersQuestion(call, item[0], item[1], item[2], self._lacking, self._pages), wanted
        )

    def listings(self, wanted: Iterable[tuple[int, Reference]]) -> Iterator[tuple[int, Page | ImqError]]:
        """Yield the tags of the references' repositories page by page; an error ends a list, and not the others."""
        return self._run(lambda call, item: ListingQuestion(call, item[0], item[1], self._pages), wanted)

    def _run(self, question: Callable[[Call, Any], Question], wanted: Iterable[Any]) -> Iterator[tuple[int, Any]]:
        call = Call()
        source = iter(wanted)
        more = True
        self._calls.add(call)
        for host in self._hosts.values():
            host.renew()
        try:
            while True:
                while more and self._hungry(call):
                    item = next(source, None)
                    if item is None:
                        more = False
                    else:
                        self._put(call, item, question)
                if call.called_off:
                    raise Interrupted("the questions were called off")
                if call.ready:
                    yield call.ready.popleft()
                elif call.parked:
                    parked = call.parked.popleft()
                    self._host(parked.ask.registry).put(parked)
                elif call.outstanding:
                    self._turn(call)
                elif not more:
                    return
        finally:
            call.called_off = True
            self._calls.discard(call)
            call.ready.clear()

    def _hungry(self, call: Call) -> bool:
        """Whether another item can be taken: there is room for it, or none of those taken can be asked now.

        Not while a result waits for the caller: taking an item may take long, when another call has to bring it.
        """
        if call.ready or call.outstanding >= _MOST_WAITING:
            return False
        return sum([host.waiting for host in self._hosts.values()]) < 2 * self._jobs

    def _put(self, call: Call, item: Any, question: Callable[[Call, Any], Question]) -> None:
        try:
            made = question(call, item)
        except ImqError as problem:
            call.ready.append((item[0], problem))
            return
        call.outstanding += 1
        self._host(made.ask.registry).put(made)

    def _host(self, registry: str) -> Host:
        name = server_of(registry)
        host = self._hosts.get(name)
        if host is None:
            host = self._hosts[name] = Host(self, registry, self._jobs)
        return host

    # The loop

    def _turn(self, call: Call) -> None:
        """Send what can be sent, and if that leaves the call without a result, wait for something to happen."""
        try:
            for host in self._hosts.values():
                host.feed()
            if call.ready or call.parked:
                return
            now = time.monotonic()
            wait = min([host.next_event(now) for host in self._hosts.values()])
            events = self._selector.select(wait)
            self.waited += time.monotonic() - now
            for key, _ in events:
                if key.data is None:
                    self._hands.finish()
                else:
                    key.data.come(key.fileobj)
                    key.data.feed()
            if not events or not wait or self.waited >= self._looked + _LOOK_EVERY:
                self._looked = self.waited
                for host in self._hosts.values():
                    host.late()
            self._tell()
        except BaseException:  # in the middle of something: no connection is where it is thought to be
            self._abandon()
            raise

    def watch(self, host: Host, wire: Wire) -> None:
        """Wait for what comes over a connection, or until it takes what is still to go out."""
        events = selectors.EVENT_WRITE if wire.sending else selectors.EVENT_READ
        if wire in self._watched:
            self._selector.modify(wire, events, host)
        else:
            self._watched[wire] = host
            self._selector.register(wire, events, host)

    def unwatch(self, wire: Wire) -> None:
        """Wait no longer."""
        if self._watched.pop(wire, None) is not None:
            self._selector.unregister(wire)

    def hand(self, work: Callable[[], Any], done: Callable[[Any, ImqError | None], None]) -> None:
        """Do something in another thread, and tell its result or error in this one."""
        self._hands.take(work, done)

    def _tell(self) -> None:
        now = time.monotonic()
        if self._told is not None and now - self._told_at >= _TELL_EVERY:
            self._told_at = now
            left = sum(call.outstanding for call in self._calls)
            for host in self._hosts.values():
                self._told(host.registry, host.answered, left)

    def _abandon(self) -> None:
        """Call everything off."""
        for call in self._calls:
            call.called_off = True
        for host in self._hosts.values():
            host.forget()


class _Hands:
    """Threads that do what would make the loop wait; they end when the loop is closed."""

    def __init__(self) -> None:
        from queue import SimpleQueue

        self._work: SimpleQueue[tuple[Callable[[], Any], Callable[[Any, ImqError | None], None]] | None] = SimpleQueue()
        self._results: deque[tuple[Callable[[Any, ImqError | None], None], Any, BaseException | None]] = deque()
        self._lock = threading.Lock()
        self._threads = 0
        self._free = 0
        self._closed = False
        self._out, self._in = os.pipe()
        os.set_blocking(self._out, False)
        os.set_blocking(self._in, False)

    def fileno(self) -> int:
        """Return the descriptor that can be read when something is done."""
        return self._out

    def take(self, work: Callable[[], Any], done: Callable[[Any, ImqError | None], None]) -> None:
        """Have `work` done, and `done` called with its result, or its error, by `finish`."""
        with self._lock:
            start = not self._free
            if start:
                self._threads += 1
            else:
                self._free -= 1
        self._work.put((work, done))
        if start:
            threading.Thread(target=self._run, name=f"imq-asking-{self._threads}", daemon=True).start()

    def finish(self) -> None:
        """Tell what has been done."""
        try:
            os.read(self._out, 4096)
        except BlockingIOError:
            return
        while self._results:
            done, result, problem = self._results.popleft()
            if problem is not None and not isinstance(problem, ImqError):
                raise problem
            done(result, problem)

    def close(self) -> None:
        """End the threads: at once, or as soon as what they wait for has come."""
        with self._lock:
            self._closed = True
            os.close(self._out)
            os.close(self._in)
            for _ in range(self._threads):
                self._work.put(None)
        while self._results:
            _close(self._results.popleft()[1])

    def _run(self) -> None:
        while (task := self._work.get()) is not None:
            work, done = task
            result: Any = None
            problem: BaseException | None = None
            try:
                result = work()
            except BaseException as failed:  # noqa: BLE001 - carried to the thread that asks, which raises it
                problem = failed
            with self._lock:
                if self._closed:
                    _close(result)
                    return
                self._free += 1
                self._results.append((done, result, problem))
                try:
                    os.write(self._in, b".")
                except BlockingIOError:
                    pass  # it is full of such words already


def _close(result: Any) -> None:
    """Close a connection or an answer that nobody waits for any more."""
    if result is not None:
        result.close()
