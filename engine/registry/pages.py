"""Lists that come in pages (Link headers, RFC 8288): read one after the other, as far as they are wanted."""

from __future__ import annotations

import contextlib
from http import HTTPStatus

from imq.grammar.errors import Malformed, RegistryError
from imq.grammar.record import TYPE_CHECKING, Record

from .exchange import joined

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from .answers import Reply
    from .exchange import Ask, Exchange

PAGE = 1000
"""Entries asked for at once; registries may give fewer."""
LARGEST_PAGE = 16 << 20
_MOST_PAGES = 100_000


class Listing(Record):
    """A list to be read: `ask` is the question for its first page, and `what` names it in errors.

    `read` finds the entries in a page's JSON document, None when it is no such page; `refused` makes the error of an
    answer of another status than 200.
    """

    ask: Ask
    what: str
    read: Callable[[Any], list[Any] | None]
    refused: Callable[[Reply], RegistryError]


class Pager:
    """Goes through the pages of one list: `ask` is the question for the next page, None after the last."""

    def __init__(self, listing: Listing) -> None:
        self._listing = listing
        self._asked = {hash(listing.ask.target)}
        self._met: set[int] = set()
        self.ask: Ask | None = listing.ask

    def take(self, answer: Reply) -> list[Any]:
        """Return the entries of the page that an answer to `ask` brings, and turn to the next.

        Pages that go round in a circle, or never end, raise `RegistryError` (code `pagination`) after the last that
        is new; an answer that is no list, `Malformed`.
        """
        asked, self.ask = self.ask, None
        assert asked is not None
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
                raise self._endless(asked)
            self._met.add(mark)
        target = _next_page(answer.header("Link"), answer.url)
        if target:
            self.ask = asked.replace(target=target)
        return entries

    def turn(self) -> None:
        """Note that the next page is to be asked for; raises when it has been before."""
        if self.ask is None:
            return
        mark = hash(self.ask.target)
        if mark in self._asked or len(self._asked) >= _MOST_PAGES:
            raise self._endless(self.ask)
        self._asked.add(mark)

    def _endless(self, ask: Ask) -> RegistryError:
        return RegistryError(
            f"{ask.registry} lists the {self._listing.what} in a circle",
            code="pagination",
            host=ask.registry,
            hints=("this is a fault of the registry",),
        )


def paged(exchange: Exchange, listing: Listing) -> Iterator[Any]:
    """Yield the entries of all pages of a list, each page asked for when the one before has been used up."""
    pager = Pager(listing)
    while pager.ask is not None:
        yield from pager.take(exchange.read(pager.ask, LARGEST_PAGE, listing.what))
        pager.turn()


def document(answer: Reply) -> Any:
    """Return the JSON document of an answer, None when it is none or has more bytes than a page may have."""
    import json

    content = answer.read(LARGEST_PAGE)
    with contextlib.suppress(ValueError, RecursionError):
        return json.loads(content) if len(content) <= LARGEST_PAGE else None
    return None


def texts(value: Any) -> list[str] | None:
    """Return a list of texts, empty for null, as Go writes it; None when it is something else."""
    value = [] if value is None else value
    return value if isinstance(value, list) and all(isinstance(text, str) for text in value) else None


def _next_page(link: str, url: str) -> str:
    """Return the path of the page that a Link header calls next, empty when it calls none."""
    for part in link.split(","):
        address, _, parameters = part.partition(">")
        if "<" in address and any(p.strip().lower() in ('rel="next"', "rel=next") for p in parameters.split(";")):
            found = joined(url, address.partition("<")[2].strip())
            rest = found.partition("://")[2].partition("/")
            return rest[1] + rest[2]  # always of the same registry, whatever host the link names
    return ""
