"""Lists that come in pages (Link headers, RFC 8288): read one after the other, as far as they are wanted."""

from __future__ import annotations

from http import HTTPStatus

from imq.engine.oci.manifest import read_json_value
from imq.engine.registry.settings import server_of
from imq.grammar.errors import Malformed, RegistryError
from imq.grammar.record import TYPE_CHECKING, Record

from .urls import authority, resolve, target_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from .client import Ask, Exchange
    from .response import Reply

PAGE = 1000
"""Entries asked for at once; registries may give fewer."""
LARGEST_PAGE = 16 << 20
_CAPPED = frozenset(
    {HTTPStatus.BAD_REQUEST, HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, HTTPStatus.UNPROCESSABLE_ENTITY}
)
"""How registries refuse a page that is larger than they allow."""


class Listing(Record):
    """A list to be read: `ask` is the question for its first page, and `what` names it in errors.

    `read` finds the entries in a page's JSON document, None when it is no such page; `refused` makes the error of an
    answer of another status than 200. `sized` says that the number of entries of a page may be asked for.
    """

    ask: Ask
    what: str
    read: Callable[[Any], list[Any] | None]
    refused: Callable[[Reply], RegistryError]
    sized: bool = False

    @property
    def first(self) -> Ask:
        """The question for the first page."""
        return self.ask.replace(target=f"{self.ask.target}?n={PAGE}") if self.sized else self.ask


class Pager:
    """Goes through the pages of one list: `ask` is the question for the next page, None after the last.

    `most` is how many pages are read.
    """

    def __init__(self, listing: Listing, most: int) -> None:
        self._listing = listing
        self._most = most
        self._pages = 0
        self._asked: set[int] = set()
        self._met: set[int] = set()
        self._problem: RegistryError | None = None
        self.ask: Ask | None = listing.first

    def take(self, answer: Reply) -> list[Any]:
        """Return the entries of the page that an answer to `ask` brings, and turn to the next.

        An answer that is no list raises `Malformed`. A registry that refuses the size of the page is asked without it.
        """
        asked, self.ask = self.ask, None
        assert asked is not None
        if answer.status in _CAPPED and asked is not self._listing.ask and not self._pages and self._listing.sized:
            answer.close()
            self.ask = self._listing.ask
            return []
        if answer.status != HTTPStatus.OK:
            raise self._listing.refused(answer)
        entries = self._listing.read(document(answer))
        if entries is None:
            raise Malformed(
                f"{asked.registry} answers with no list of {self._listing.what}",
                code="document",
                hints=("check the name of the registry; a proxy may stand in between",),
            )
        if entries:  # a page without entries may come more than once: some registries filter after they part
            mark = hash(answer.read(LARGEST_PAGE))
            if mark in self._met:
                raise self._circle(asked)
            self._met.add(mark)
        self._pages += 1
        self._asked.add(hash(asked.target))
        self._follow(asked, answer)
        return entries

    def turn(self) -> None:
        """Check that the next page can be asked for, once the entries before it are taken.

        Pages that go round in a circle, that never end, or whose Link header cannot be read, raise `RegistryError`
        (code `pagination`): the list is not whole.
        """
        if self._problem is not None:
            raise self._problem
        if self.ask is None:
            return
        if hash(self.ask.target) in self._asked:
            raise self._circle(self.ask)
        if self._pages >= self._most:
            raise RegistryError(
                f"{self.ask.registry} lists more than {self._most} pages of {self._listing.what}",
                code="pagination",
                host=self.ask.registry,
                hints=("raise list-pages under [limits] in the configuration file to read more of them",),
            )

    def _follow(self, asked: Ask, answer: Reply) -> None:
        """Note the page that a Link header calls next. One that cannot be read is a problem: more may follow."""
        header = answer.header("Link")
        if not header:
            return
        target = _next_target(header, answer.url, asked.registry)
        if target is None:
            self._problem = RegistryError(
                f"{asked.registry} sends a Link header that cannot be read, so the {self._listing.what} may not be all",
                code="pagination",
                host=asked.registry,
                hints=("this is a fault of the registry: the header does not follow RFC 8288",),
            )
        if target != "":
            self.ask = asked.replace(target=target or asked.target)

    def _circle(self, ask: Ask) -> RegistryError:
        return RegistryError(
            f"{ask.registry} lists the {self._listing.what} in a circle",
            code="pagination",
            host=ask.registry,
            hints=("this is a fault of the registry",),
        )


def paged(exchange: Exchange, listing: Listing) -> Iterator[Any]:
    """Yield the entries of all pages of a list, each page asked for when the one before has been used up."""
    pager = Pager(listing, exchange.settings.list_pages)
    while pager.ask is not None:
        yield from pager.take(exchange.read(pager.ask, LARGEST_PAGE, listing.what))
        pager.turn()


def document(answer: Reply) -> Any:
    """Return the JSON document of an answer, None when it is none or has more bytes than a page may have."""
    content = answer.read(LARGEST_PAGE)
    if len(content) > LARGEST_PAGE:
        return None
    try:
        return read_json_value(content, "the list")
    except Malformed as problem:
        if problem.code != "json":
            raise
        return None


def texts(value: Any) -> list[str] | None:
    """Return a list of texts, empty for null, as Go writes it; None when it is something else."""
    value = [] if value is None else value
    return value if isinstance(value, list) and all(isinstance(text, str) for text in value) else None


def _next_target(header: str, url: str, registry: str) -> str | None:
    """Return what is to be asked for the page that a Link header calls next.

    "" says that it calls none, None that it cannot be read. A link leads to the registry, whatever host it names:
    behind a proxy many do not know their own name. Only a list that was redirected goes on where it was found.
    """
    from .link_header import LinkError, parse_links

    try:
        links = parse_links(header)
    except LinkError:
        return None
    targets = {
        resolve(url, link.target)
        for link in links
        if "next" in link.relations and (link.anchor is None or resolve(url, link.anchor) == resolve(url, ""))
    }
    if not targets:
        return ""
    target = targets.pop()
    if targets or not target:
        return None
    found = authority(url)
    return target if found == authority(target) != server_of(registry) else target_of(target)
