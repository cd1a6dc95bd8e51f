"""The small questions that are asked by the thousand: what each asks, and what it makes of the answers.

A question belongs to one item of one call. `take` reads an answer, adds what it tells to the call's results, and says
what is to be asked next: nothing, mostly.
"""

from __future__ import annotations

from collections import deque
from http import HTTPStatus

from imq.engine.oci.manifest import check_size
from imq.engine.registry import errors
from imq.engine.registry.auth.scopes import pull_scope
from imq.engine.registry.catalog import tags_of
from imq.engine.registry.http.client import Ask, check_length
from imq.engine.registry.http.pagination import LARGEST_PAGE, Pager
from imq.engine.registry.manifests import ask_manifest, checked_blob, no_manifest, read_fetched, read_head
from imq.engine.registry.referrers import NoReferrersError, entries_of, fallback, referrers_of
from imq.grammar.errors import DigestMismatch
from imq.grammar.record import TYPE_CHECKING, Record

if TYPE_CHECKING:
    from typing import Any

    from imq.engine.oci.digest import Digest
    from imq.engine.oci.manifest import Descriptor
    from imq.engine.oci.reference import Reference
    from imq.engine.registry.http.response import Reply


class Page(Record):
    """Some of the tags of a repository, as they were listed together; `last` when no more follow."""

    tags: tuple[str, ...]
    last: bool


class Call:
    """What one caller wants: its results, and how many items are still to have theirs."""

    __slots__ = ("called_off", "outstanding", "parked", "ready")

    def __init__(self) -> None:
        self.ready: deque[tuple[int, Any]] = deque()
        self.outstanding = 0
        self.parked: deque[Question] = deque()
        """Questions for more pages, while those that are here have not been taken yet."""
        self.called_off = False


class Question:
    """One question, and how often it has been asked in vain."""

    __slots__ = (
        "ask",
        "call",
        "due",
        "header",
        "key",
        "limit",
        "plodding",
        "reference",
        "refusals",
        "stale",
        "tries",
        "was_slow",
    )

    def __init__(self, call: Call, key: int, reference: Reference, ask: Ask, limit: int) -> None:
        self.call = call
        self.key = key
        self.reference = reference
        self.ask = ask
        self.limit = limit
        """The most bytes of an answer that are read, and one more."""
        self.plodding = False
        """Whether it must go the way that knows everything."""
        self.header: str | None = None
        """The Authorization header it went out with."""
        self.due = 0.0
        self.tries = 0
        self.was_slow = False
        """Whether its answer was too slow once: it is not asked a third time."""
        self.refusals = 0
        self.stale = 0

    @property
    def what(self) -> str:
        """What is asked for, in errors."""
        return f"the manifest of {self.reference}"

    def begin(self) -> None:
        """See to it that what is asked is still the right thing: others may have learnt more in the meantime."""

    def take(self, answer: Reply) -> Ask | None:
        """Read an answer and tell what it says; return what to ask next. Raises `ImqError` when it is none."""
        raise NotImplementedError

    def tell(self, result: Any) -> None:
        """Add a result."""
        self.call.ready.append((self.key, result))


class HeadQuestion(Question):
    """What a reference stands for: a descriptor. `known` is what it stood for when it was last asked.

    Then the question is whether that has changed, which costs a registry less: docker-registry need not read the
    manifest.
    """

    __slots__ = ("answering", "known", "probing")

    def __init__(
        self,
        call: Call,
        key: int,
        reference: Reference,
        limit: int,
        answering: set[tuple[str, str]],
        known: Descriptor | None = None,
        *,
        probing: bool = False,
    ) -> None:
        self.known = known
        self.probing = probing
        """Whether most of these names are not there: then HEAD is believed where it answers for others."""
        self.answering = answering
        """The repositories in which HEAD has found something: learnt here, and shared by all such questions."""
        unless = known.digest if known is not None else None
        super().__init__(call, key, reference, ask_manifest("HEAD", reference, unless=unless), limit)

    def take(self, answer: Reply) -> Ask | None:
        """Tell the descriptor; ask with GET where HEAD does not say enough, or refuses."""
        place = (self.reference.registry, self.reference.repository)
        if answer.status == HTTPStatus.NOT_MODIFIED and self.known is not None:
            if answer.header("Docker-Content-Digest") in ("", self.known.digest):
                self.answering.add(place)
                self.tell(self.known)
                return None
            self.known = None
            return ask_manifest("HEAD", self.reference)
        if self.ask.method == "HEAD":
            if answer.status == HTTPStatus.NOT_FOUND and self.probing and place in self.answering:
                raise no_manifest(answer, self.reference)
            found = read_head(answer, self.reference)
            if found is None:
                return ask_manifest("GET", self.reference)
            self.answering.add(place)
        else:
            check_length(answer, self.ask, self.limit, self.what)
            found = read_fetched(answer, self.reference, limit=self.limit).descriptor
        self.tell(found)
        return None


class DocumentQuestion(Question):
    """The manifest or index that a reference stands for: a `Fetched`."""

    __slots__ = ()

    def __init__(self, call: Call, key: int, reference: Reference, limit: int) -> None:
        super().__init__(call, key, reference, ask_manifest("GET", reference), limit)

    def take(self, answer: Reply) -> Ask | None:
        """Tell the document."""
        if answer.status == HTTPStatus.OK:
            check_length(answer, self.ask, self.limit, self.what)
        self.tell(read_fetched(answer, self.reference, limit=self.limit))
        return None


class ConfigQuestion(Question):
    """A small blob: its bytes."""

    __slots__ = ("descriptor",)

    def __init__(self, call: Call, key: int, reference: Reference, descriptor: Descriptor, most: int) -> None:
        check_size(descriptor.size, most, f"the config of {reference}")
        self.descriptor = descriptor
        name = reference.repository
        ask = Ask("GET", reference.registry, name, f"/v2/{name}/blobs/{descriptor.digest}", pull_scope(name))
        super().__init__(call, key, reference, ask, descriptor.size)

    @property
    def what(self) -> str:
        """What is asked for, in errors."""
        return f"blob {self.descriptor.digest.short} of {self.reference.repository}"

    def take(self, answer: Reply) -> Ask | None:
        """Tell the bytes, once they are known to be the right ones."""
        if answer.status != HTTPStatus.OK:
            raise errors.refusal(answer, self.ask.registry, self.what)
        check_length(answer, self.ask, self.limit, self.what)
        content = answer.read(self.limit)
        if len(content) != self.descriptor.size:
            more = "more than" if len(content) > self.descriptor.size else f"{len(content)} of"
            raise DigestMismatch(
                f"{self.ask.registry} sends {more} the {self.descriptor.size} bytes that {self.what} is said to have",
                hints=("the manifest and the blob do not belong together: push the image again",),
            )
        self.tell(checked_blob(content, self.reference, self.descriptor))
        return None


class ListingQuestion(Question):
    """The tags of a repository: a `Page` for each page."""

    __slots__ = ("pager",)

    def __init__(self, call: Call, key: int, reference: Reference, most: int) -> None:
        self.pager = Pager(listing := tags_of(reference), most)
        super().__init__(call, key, reference, listing.first, LARGEST_PAGE)

    @property
    def what(self) -> str:
        """What is asked for, in errors."""
        return f"tags of {self.reference.repository}"

    def take(self, answer: Reply) -> Ask | None:
        """Tell a page, and ask for the next."""
        if answer.status == HTTPStatus.OK:
            check_length(answer, self.ask, self.limit, self.what)
        tags = self.pager.take(answer)
        self.tell(Page(tuple(tags), self.pager.ask is None))
        self.pager.turn()
        return self.pager.ask


class ReferrersQuestion(Question):
    """What refers to a manifest: a list of descriptors."""

    __slots__ = ("digest", "found", "lacking", "pager")

    def __init__(
        self, call: Call, key: int, reference: Reference, digest: Digest, lacking: set[tuple[str, str]], most: int
    ) -> None:
        listing = referrers_of(reference, digest)
        self.digest = digest
        self.found: list[Descriptor] = []
        self.lacking = lacking
        """The repositories in whose registries the API is not: learnt here, and shared by all such questions."""
        self.pager: Pager | None = Pager(listing, most)
        super().__init__(call, key, reference, listing.first, LARGEST_PAGE)

    @property
    def what(self) -> str:
        """What is asked for, in errors."""
        return f"referrers of {self.digest.short} of {self.reference.repository}"

    def begin(self) -> None:
        """Read the fallback tag at once when it is known by now that there is no API."""
        if self.pager is not None and (self.reference.registry, self.reference.repository) in self.lacking:
            self.pager, self.ask = None, self._fallback(self.reference)

    def take(self, answer: Reply) -> Ask | None:
        """Gather the pages, and tell when all are here; read the fallback tag of a registry without the API."""
        if answer.status == HTTPStatus.OK:
            check_length(answer, self.ask, self.limit, self.what)
        if self.pager is None:
            name = fallback(self.reference, self.digest)
            if answer.status != HTTPStatus.NOT_FOUND:
                self.found.extend(entries_of(read_fetched(answer, name), name, self.digest))
            self.tell(self.found)
            return None
        try:
            self.found.extend(self.pager.take(answer))
        except NoReferrersError:
            self.pager = None
            self.lacking.add((self.reference.registry, self.reference.repository))
            return self._fallback(self.reference)
        self.pager.turn()
        if self.pager.ask is None:
            self.tell(self.found)
        return self.pager.ask

    def _fallback(self, reference: Reference) -> Ask:
        return ask_manifest("GET", fallback(reference, self.digest))
