"""Lists that come in pages (Link headers, RFC 8288): read one after the other, as far as they are wanted."""

from __future__ import annotations

import contextlib
from http import HTTPStatus

from imq.grammar.errors import Malformed, RegistryError
from imq.grammar.record import TYPE_CHECKING

from .exchange import Ask, joined

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any, TypeVar

    from .exchange import Exchange
    from .transport import Answer

    T = TypeVar("T")

PAGE = 1000
"""Entries asked for at once; registries may give fewer."""
LARGEST_PAGE = 16 << 20
_MOST_PAGES = 10_000


def paged(
    exchange: Exchange,
    ask: Ask,
    what: str,
    read: Callable[[Any], list[T] | None],
    refused: Callable[[Answer], RegistryError],
) -> Iterator[T]:
    """Yield the entries of all pages; `read` finds them in a page's JSON document, None when it is no such page.

    `what` names the list in errors. Pages that go round in a circle, or never end, raise `RegistryError` (code
    `pagination`); an answer that is no list, `Malformed`; one of another status than 200, what `refused` makes of it.
    """
    asked: set[str] = set()
    met: set[int] = set()
    target = ask.target
    while target:
        if target in asked or len(asked) >= _MOST_PAGES:
            raise _endless(ask, what)
        asked.add(target)
        answer = exchange.read(ask.replace(target=target), LARGEST_PAGE, what)
        if answer.status != HTTPStatus.OK:
            raise refused(answer)
        entries = read(document(answer))
        if entries is None:
            raise Malformed(
                f"{ask.registry} answers with no list of {what}",
                code="document",
                hints=("check the name of the registry; a proxy may stand in between",),
            )
        if entries:  # a page without entries may come more than once: some registries filter after they part
            mark = hash(answer.read(LARGEST_PAGE))
            if mark in met:
                raise _endless(ask, what)
            met.add(mark)
        yield from entries
        target = _next_page(answer.header("Link"), answer.url)


def document(answer: Answer) -> Any:
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


def _endless(ask: Ask, what: str) -> RegistryError:
    return RegistryError(
        f"{ask.registry} lists the {what} in a circle",
        code="pagination",
        host=ask.registry,
        hints=("this is a fault of the registry",),
    )


def _next_page(link: str, url: str) -> str:
    """Return the path of the page that a Link header calls next, empty when it calls none."""
    for part in link.split(","):
        address, _, parameters = part.partition(">")
        if "<" in address and any(p.strip().lower() in ('rel="next"', "rel=next") for p in parameters.split(";")):
            found = joined(url, address.partition("<")[2].strip())
            rest = found.partition("://")[2].partition("/")
            return rest[1] + rest[2]  # always of the same registry, whatever host the link names
    return ""
