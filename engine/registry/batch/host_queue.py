"""One registry that is asked many small questions: how many at once, over which connections, and when no more.

What concerns the whole host holds for all that ask it: a wait that it asks for, a budget that is used up, a token that
has to be renewed, a host that is not there. What concerns one item is that item's error.
"""

from __future__ import annotations

import time
from collections import deque
from heapq import heappop, heappush
from http import HTTPStatus

from imq.engine.registry import errors
from imq.engine.registry.exceptions import failure, too_long, too_slow
from imq.engine.registry.http.client import REDIRECTS, UNLESS, kind_of
from imq.engine.registry.http.pipelined import BrokenError, StrangeError, Wire, can_carry, is_plain
from imq.engine.registry.http.rate_limit import counts, retry_after, spelled
from imq.engine.registry.http.retry import Patience
from imq.engine.registry.http.stall import Pace
from imq.engine.registry.settings import server_of
from imq.grammar.errors import ImqError, RegistryError
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Protocol

    from imq.engine.registry.http.client import Ask, Exchange, Known
    from imq.engine.registry.http.rate_limit import Allowance
    from imq.engine.registry.http.response import Reply
    from imq.engine.registry.settings import Settings

    from .requests import Question

    class Loop(Protocol):
        """What hosts share: waiting, and threads for what cannot be done without."""

        exchange: Exchange
        waited: float
        """Seconds that were spent waiting for connections: the time of servers, and not that of the caller."""

        def watch(self, host: Host, wire: Wire) -> None:
            """Wait for what comes over a connection."""

        def unwatch(self, wire: Wire) -> None:
            """Wait no longer."""

        def hand(self, work: Callable[[], Any], done: Callable[[Any, ImqError | None], None]) -> None:
            """Do something in another thread, and tell its result or error in this one."""


_MOST_IN_VAIN = 40
"""Requests in vain one after the other, none of them well answered in between, after which the rest is not asked."""
_MOST_REFUSING = 8
"""Repositories that let nobody in, after which the others are not asked, if none ever did."""
_MOST_STRANGE = 3
"""Strange or redirected answers to questions of one kind, after which that kind goes the way that knows more."""
_MOST_STALE = 3
"""Times that a question is asked again because a kept connection turns out to be closed."""
_MOST_TAILS = 100
_WHOLE = frozenset({"unreachable", "tls", "timeout", "credentials", "insecure-realm"})
"""Codes of what concerns a host rather than an item."""
_ANYWHERE = ""
"""In the place of a repository: the host has not been met, and one question goes first."""


class _Timer:
    """The times of one answer, by the seconds that were waited: for its headers, for more of it, and for its end.

    It is to be looked at again when it is `due`.
    """

    __slots__ = ("_begun", "_last", "_pace", "_received", "_settings", "due")

    def __init__(self, settings: Settings, now: float) -> None:
        self._settings = settings
        self._begun = self._last = now
        self._received = 0
        self._pace: Pace | None = None
        self.due = now + min(settings.read_timeout, settings.answer_timeout)

    def note(self, wire: Wire, now: float) -> float | None:
        """Note that a part of the answer has come; return bytes a second when a body only drips."""
        if not wire.has_head:
            return None
        speed = None
        if self._pace is None:
            self._pace = Pace(self._settings)
        else:
            speed = self._pace.note(wire.received - self._received, now - self._last)
        self._received, self._last = wire.received, now
        self.due = min(now + self._settings.read_timeout, self._begun + self._settings.answer_timeout)
        return speed

    def problem(self, now: float, host: str, what: str) -> RegistryError:
        """Return what is wrong with an answer that is past its time."""
        if now - self._begun >= self._settings.answer_timeout:
            return too_long(host, f"sends {what}", self._settings.answer_timeout)
        happened = "does not answer" if self._pace is None else "broke off while answering"
        return failure(TimeoutError(), host, happened)


class Host:
    """The questions for one registry, from one thread. `most` at once, over connections of its own or in threads."""

    def __init__(self, loop: Loop, registry: str, most: int) -> None:
        self.registry = registry
        self.over: ImqError | None = None
        """Why nothing more is asked."""
        self.until = 0.0
        """When, by the monotonic clock, it may be asked again after all."""
        self.answered = 0
        self.busy: dict[Wire, Question] = {}
        self.paused = 0.0
        self._loop = loop
        self._exchange = loop.exchange
        self._settings = loop.exchange.settings
        self._server = server_of(registry)
        self._limit = most
        self._most = float(most)
        self._queue: deque[Question] = deque()
        self._held: dict[str, deque[Question]] = {}
        self._closed: dict[str, ImqError] = {}
        self._later: list[tuple[float, int, Question]] = []
        self._number = 0
        self._idle: list[Wire] = []
        self._timers: dict[Wire, _Timer] = {}
        self._dialing = 0
        self._handed = 0
        self._patience = Patience(self._settings)
        self._vain = 0
        self._refused = 0
        self._let_in = False
        self._last = 0.0
        self._strange: dict[str, int] = {}
        self._left: int | None = None
        self._tails: dict[tuple[object, ...], str] = {}
        known = self._exchange.allowance(registry)
        if known is not None and known.remaining >= 0:
            self._left = known.remaining

    @property
    def waiting(self) -> int:
        """How many questions could go out if there were room."""
        return 0 if self.over is not None or self.paused > time.monotonic() else len(self._queue)

    @property
    def _running(self) -> int:
        return len(self.busy) + self._handed

    def put(self, question: Question) -> None:
        """Take a question on."""
        self._queue.append(question)

    def renew(self) -> None:
        """Ask again a host that had been given up, unless it said for how long."""
        if self.over is not None and time.monotonic() >= self.until:
            self.over, self._vain, self._refused = None, 0, 0
            self._patience.renew()
        self._closed.clear()

    def forget(self) -> None:
        """Drop every question and connection; what is done in threads is not waited for."""
        self._queue.clear()
        self._held.clear()
        self._later.clear()
        for wire in (*self.busy, *self._idle):
            self._drop(wire)
        self.busy.clear()

    def next_event(self, now: float) -> float:
        """Return the seconds until something is due even if nothing comes."""
        due = [self._later[0][0]] if self._later else []
        if self._queue and self.paused > now:
            due.append(self.paused)
        if self.busy:
            due.append(now + min(self._timers[wire].due for wire in self.busy) - self._loop.waited)
        return max(0.0, min(due) - now) if due else 60.0

    # Sending

    def feed(self) -> None:
        """Send what there is room for."""
        if not self._queue and not self._later:
            return
        now = time.monotonic()
        while self._later and self._later[0][0] <= now:
            self._queue.appendleft(heappop(self._later)[2])
        if self.over is None and now < self.paused:
            return
        while self._queue:
            question = self._queue[0]
            if question.call.called_off:
                self._queue.popleft()
                continue
            problem = self.over or self._closed.get(question.ask.repository)
            if problem is not None:
                self._queue.popleft()
                self._give_up(question, problem)
                continue
            if self._running >= int(self._most):
                return
            if self._used_up(question.ask):
                if self.over is None:
                    return
            elif not self._send(question):
                return

    def _send(self, question: Question) -> bool:
        """Send the first question of the queue, or hold it back; False when it has to stay there."""
        question.begin()
        ask = question.ask
        straight = self._exchange.straight(ask.registry)
        plodding = question.plodding or straight is False or self._strange.get(self._kind(ask), 0) >= _MOST_STRANGE
        known = None if plodding or straight is None else self._exchange.known(ask)
        request = self._request(ask, known) if known is not None else None
        if known is not None and request is None:
            known, plodding = None, True
        if known is None or request is None:
            gate = None if plodding else ask.repository if straight else _ANYWHERE
            self._queue.popleft()
            if gate in self._held:
                self._held[gate].append(question)
            else:
                self._hand(question, gate)
            return True
        if _ANYWHERE in self._held or ask.repository in self._held:
            self._queue.popleft()
            self._held[ask.repository if ask.repository in self._held else _ANYWHERE].append(question)
            return True
        if not self._idle:
            if self._dialing + self._running < int(self._most) and self._dialing < len(self._queue):
                self._dial(known.url)
                return True
            return False
        self._queue.popleft()
        self._over_wire(self._idle.pop(), question, known, request)
        return True

    def _over_wire(self, wire: Wire, question: Question, known: Known, request: bytes) -> None:
        ask = question.ask
        question.header = known.header
        self.busy[wire] = question
        self._timers[wire] = _Timer(self._settings, self._loop.waited)
        self._exchange.count(ask.method, ask.target)
        try:
            wire.ask(ask.method, request, question.limit)
        except BrokenError as broken:
            self.broke(wire, broken)
            return
        if wire.sending:
            self._loop.watch(self, wire)

    def _request(self, ask: Ask, known: Known) -> bytes | None:
        """Write the question down; None for one with a body, or letters that would have to be written differently."""
        unless = ask.headers.get(UNLESS, "")  # each question has its own, all else they have in common
        common = {name: value for name, value in ask.headers.items() if name != UNLESS} if unless else ask.headers
        key = (*common.items(), known.header)
        tail = self._tails.get(key)
        if tail is None:
            headers = {"Accept-Encoding": "identity", "User-Agent": self._settings.user_agent, **common}
            if known.header:
                headers["Authorization"] = known.header
            if not all(map(is_plain, headers.values())):
                return None
            lines = [f"Host: {self._server}", *(f"{name}: {value}" for name, value in headers.items())]
            tail = "".join(f"{line}\r\n" for line in lines) + "\r\n"
            if len(self._tails) >= _MOST_TAILS:
                self._tails.clear()
            self._tails[key] = tail
        if ask.body is not None or not can_carry(ask.target):
            return None
        own = f"{UNLESS}: {unless}\r\n" if unless else ""
        return f"{ask.method} {ask.target} HTTP/1.1\r\n{own}{tail}".encode("ascii")

    def _hand(self, question: Question, gate: str | None) -> None:
        """Ask in a thread, by the way that knows everything; what waits behind `gate` goes on when it is done."""
        if gate is not None:
            self._held[gate] = deque()
        self._handed += 1
        ask, limit, exchange = question.ask, question.limit, self._exchange

        def work() -> Reply:
            answer = exchange.attempt(ask)
            try:
                answer.read(limit)
            finally:
                answer.close()
            return answer

        def done(answer: Any, problem: ImqError | None) -> None:
            self._handed -= 1
            if gate is not None:
                self._queue.extendleft(reversed(self._held.pop(gate, ())))
            if question.call.called_off:
                return
            if problem is None:
                self._met(question, answer)
            else:
                self._missed(question, problem)

        self._loop.hand(work, done)

    def _dial(self, url: str) -> None:
        self._dialing += 1
        exchange = self._exchange

        def done(made: Any, problem: ImqError | None) -> None:
            self._dialing -= 1
            if problem is None:
                self._idle.append(wire := Wire(made, url))
                self._loop.watch(self, wire)
            elif self.busy or self._idle:
                self._limit = len(self.busy) + len(self._idle)  # it wants no more connections than it has
                self._most = min(self._most, self._limit)
            elif not self._dialing:
                wait = self._patience.wait_after(problem) if isinstance(problem, RegistryError) else None
                if wait is None:
                    self._end(problem)
                else:
                    self.paused = time.monotonic() + wait

        self._loop.hand(lambda: exchange.dial(url), done)

    # Receiving

    def come(self, wire: Wire) -> None:
        """Read what has come over a connection, or send on what did not go out."""
        question = self.busy.get(wire)
        try:
            if question is None:  # the server closes it, or says what nobody has asked
                self._drop(wire)
            elif wire.sending:
                wire.push()
                self._loop.watch(self, wire)
            else:
                answer = wire.take(question.ask.target)
                if answer is not None:
                    self._come_whole(wire, question, answer)
                elif (speed := self._timers[wire].note(wire, self._loop.waited)) is not None:
                    slow = too_slow(self.registry, f"sends {question.what}", speed, self._settings.least_speed)
                    self._cut_off(wire, slow)
        except BrokenError as broken:
            self.broke(wire, broken)
        except StrangeError:
            self._drop(wire)
            self._plod(self.busy.pop(wire))

    def _come_whole(self, wire: Wire, question: Question, answer: Reply) -> None:
        del self.busy[wire]
        if wire.over:
            self._drop(wire)
        else:
            self._idle.append(wire)
        if not question.call.called_off:
            self._exchange.note_allowance(answer, self._server)
            self._lean(question, answer)

    def broke(self, wire: Wire, broken: BrokenError) -> None:
        """Ask again what a broken connection left without an answer."""
        question = self.busy.pop(wire)
        served = wire.answers > 0 and not wire.begun
        self._drop(wire)
        if question.call.called_off:
            return
        if served and question.stale < _MOST_STALE:  # kept too long, most likely: that is nobody's fault
            question.stale += 1
            self._queue.appendleft(question)
            return
        from http.client import RemoteDisconnected

        problem = failure(broken.cause or RemoteDisconnected(""), self.registry, "broke off while answering")
        self._missed(question, problem)

    def late(self) -> None:
        """Give up what has had no word for too long, and what does not end."""
        now = self._loop.waited
        for wire in [wire for wire in self.busy if self._timers[wire].due <= now]:
            self._cut_off(wire, self._timers[wire].problem(now, self.registry, self.busy[wire].what))

    def _cut_off(self, wire: Wire, problem: RegistryError) -> None:
        """Close a connection whose answer is not waited for any longer."""
        question = self.busy.pop(wire)
        self._drop(wire)
        if not question.call.called_off:
            self._missed(question, problem)

    def _lean(self, question: Question, answer: Reply) -> None:
        """Take an answer that came over a connection of ours, which knows no credentials and no redirects."""
        if answer.status == HTTPStatus.UNAUTHORIZED:
            question.refusals += 1
            known = self._exchange.known(question.ask)
            renewed = known is not None and known.header != question.header
            if not renewed or question.refusals > 1:
                self._ask_for_all(question)
            else:
                self._queue.appendleft(question)
        elif answer.status in REDIRECTS and answer.header("Location"):
            self._plod(question)
        else:
            self._met(question, answer)

    def _ask_for_all(self, question: Question) -> None:
        """Have one question find out what lets all of its repository in."""
        gate = question.ask.repository
        if gate in self._held:
            self._held[gate].append(question)
        else:
            self._hand(question, gate)

    def _plod(self, question: Question) -> None:
        kind = self._kind(question.ask)
        self._strange[kind] = self._strange.get(kind, 0) + 1
        question.plodding = True
        self._queue.appendleft(question)

    def _met(self, question: Question, answer: Reply) -> None:
        """Take an answer that is not to be asked for in another way."""
        allowance = answer.allowance
        if allowance is not None and allowance.remaining >= 0 and answer.header("RateLimit-Remaining"):
            self._count_down(allowance.remaining)
        if errors.is_temporary(answer.status):
            self._again(question, errors.refusal(answer, self.registry, question.what), answer)
            return
        try:
            more = question.take(answer)
        except RegistryError as problem:
            if problem.temporary:
                self._again(question, problem, None)
                return
            self._well(answer)
            if problem.status == HTTPStatus.UNAUTHORIZED:
                self._shut_out(question, problem)
            self._give_up(question, problem)
        except ImqError as problem:
            self._well(answer)
            self._give_up(question, problem)
        else:
            self._well(answer)
            if more is None:
                question.call.outstanding -= 1
                return
            question.ask, question.tries, question.plodding = more, 0, False
            (question.call.parked if question.call.ready else self._queue).append(question)

    def _well(self, answer: Reply) -> None:
        """Note that the host answers, which is what hosts are patient for."""
        self.answered += 1
        self._last = time.monotonic()
        self._vain = 0
        self._patience.renew()
        if self._most < self._limit:
            self._most = min(self._limit, self._most + 1 / self._most)
        if answer.status != HTTPStatus.UNAUTHORIZED:
            self._refused, self._let_in = 0, True

    # Failing

    def _missed(self, question: Question, problem: ImqError) -> None:
        """Take a failure that is no answer."""
        if isinstance(problem, RegistryError):
            if problem.temporary:
                self._again(question, problem, None)
                return
            if problem.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):  # said by its token server
                self._shut_out(question, problem)
            elif problem.code in _WHOLE and not self._lives(problem):
                self._end(problem)
            else:
                self._in_vain(problem)
        self._give_up(question, problem)

    def _again(self, question: Question, problem: RegistryError, answer: Reply | None) -> None:
        """Ask again later, if the host or the item has not had its chances."""
        now = time.monotonic()
        asked = retry_after(answer.headers) if answer is not None else 0.0
        if problem.status == HTTPStatus.TOO_MANY_REQUESTS or asked:
            self._slow_down(question, problem, asked, now)
            return
        self._in_vain(problem)
        is_slow = problem.code == "too-slow"
        if question.tries >= self._settings.retries or (is_slow and question.was_slow):
            self._give_up(question, problem)
            return
        wait = min(self._settings.first_wait * (1 << question.tries), self._settings.longest_wait)
        question.tries += 1
        question.was_slow = question.was_slow or is_slow
        self._number += 1
        heappush(self._later, (now + wait, self._number, question))

    def _slow_down(self, question: Question, problem: RegistryError, asked: float, now: float) -> None:
        """Wait, all of the host, as long as it asks; once for all answers of the same burst."""
        self._queue.appendleft(question)
        if now < self.paused:
            self.paused = max(self.paused, now + min(asked, self._settings.longest_wait))
            return
        wait = self._patience.wait(asked)
        if wait is None:
            hints = (*problem.hints[:-1], self._told(asked), *problem.hints[-1:])
            found = RegistryError(
                problem.message, code=problem.code, hints=hints, host=self.registry, status=problem.status
            )
            self._end(found, now + asked)
            return
        self.paused = now + wait
        self._left = None
        self._most = max(1.0, self._most / 2)

    def _used_up(self, ask: Ask) -> bool:
        """Whether the host's budget allows no more such questions now; waits for a new one, or ends the host."""
        if self._left is None or not counts(self.registry, ask.method, ask.target):
            return False
        if self._left - self._running > 0:
            return False
        if self._running:
            return True
        allowance = self._exchange.allowance(self.registry)
        wait = _renewal(allowance)
        now = time.monotonic()
        said = "" if allowance is None else str(allowance.replace(remaining=max(0, self._left)))
        self._left = None
        if 0 <= wait <= self._settings.longest_wait:
            self.paused = now + wait
            return True
        error = RegistryError(
            f"{self.registry} allows no more requests for now: {said}",
            code="too-many-requests",
            hints=(self._told(wait), f"log in for a higher limit: {errors.login(self.registry)}"),
            host=self.registry,
            status=HTTPStatus.TOO_MANY_REQUESTS,
        )
        self._end(error, now + max(wait, 0))
        return True

    def _count_down(self, remaining: int) -> None:
        """Note how many requests are left. Answers may overtake one another; a lot more than before is a new budget."""
        if self._left is None or remaining < self._left or remaining > self._left + self._limit:
            self._left = remaining

    def _told(self, wait: float) -> str:
        answers = f"{self.answered} questions were answered before"
        return f"{answers}: go on in {spelled(wait)}" if wait > 0 else f"{answers}: go on later"

    def _shut_out(self, question: Question, problem: ImqError) -> None:
        """Ask no more about a repository that does not let us in; nor the host, when it is so everywhere."""
        self._closed[question.ask.repository] = problem
        self._refused += 1
        if self._refused >= _MOST_REFUSING and not self._let_in:
            self._end(problem)

    def _in_vain(self, problem: ImqError) -> None:
        """Count a request that was of no use; the host is given up when there are too many."""
        self._vain += 1
        if self._vain >= _MOST_IN_VAIN and self.over is None:
            self._end(problem)

    def _lives(self, problem: RegistryError) -> bool:
        """Whether the host has answered others since the failed question can have gone out."""
        if problem.code == "timeout":
            return bool(self._last) and time.monotonic() - self._last < self._settings.read_timeout
        return bool(self.busy or self._idle)

    def _end(self, problem: ImqError, until: float = 0.0) -> None:
        """Ask nothing more: what waits has the same error."""
        self.over, self.until = problem, until
        for held in self._held.values():
            self._queue.extend(held)
            held.clear()
        while self._later:
            self._queue.append(heappop(self._later)[2])

    def _give_up(self, question: Question, problem: ImqError) -> None:
        question.tell(problem)
        question.call.outstanding -= 1

    def _drop(self, wire: Wire) -> None:
        self._loop.unwatch(wire)
        wire.close()
        self._timers.pop(wire, None)
        if wire in self._idle:
            self._idle.remove(wire)

    def _kind(self, ask: Ask) -> str:
        return kind_of(ask.method, ask.target)


def _renewal(allowance: Allowance | None) -> float:
    """Return the seconds until a budget is whole again, as far as the host says; -1 when it does not."""
    if allowance is None:
        return -1.0
    return float(allowance.reset if allowance.reset >= 0 else allowance.window)
