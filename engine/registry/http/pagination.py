"""Reads paginated lists (Link headers, RFC 8288), page by page on demand."""

from __future__ import annotations

from http import HTTPStatus

from imq.engine.oci.manifest import parse_json
from imq.engine.registry.settings import get_server
from imq.grammar.errors import Malformed, RegistryError
from imq.grammar.record import TYPE_CHECKING, Record

from .urls import get_authority, get_target, resolve_url

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from .client import RegistryHttp, Request
    from .response import ResponseLike

PAGE_SIZE = 1000
"""Number of entries to request for each page; registries may return fewer."""
MAX_PAGE_BYTES = 16 << 20
_PAGE_SIZE_REJECTED = frozenset(
    {HTTPStatus.BAD_REQUEST, HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, HTTPStatus.UNPROCESSABLE_ENTITY}
)
"""Statuses by which registries reject a page size above their limit."""


class Listing(Record):
    """A paginated list. `request` is its first page, `description` names it in errors.

    `parse_page` returns the entries of a page's JSON document, or None if it is not such a page. `make_error` maps a
    response with a status other than 200. With `accepts_page_size`, the request may specify a page size.
    """

    request: Request
    description: str
    parse_page: Callable[[Any], list[Any] | None]
    make_error: Callable[[ResponseLike], RegistryError]
    accepts_page_size: bool = False

    @property
    def first_request(self) -> Request:
        """The request for the first page."""
        return (
            self.request.replace(target=f"{self.request.target}?n={PAGE_SIZE}")
            if self.accepts_page_size
            else self.request
        )


class Pager:
    """Reads the pages of one list. `next_request` is None after the last page.

    `max_pages` is the maximum number of pages to read.
    """

    def __init__(self, listing: Listing, max_pages: int) -> None:
        self._listing = listing
        self._max_pages = max_pages
        self._page_count = 0
        self._requested_targets: set[int] = set()
        self._page_hashes: set[int] = set()
        self._link_error: RegistryError | None = None
        self.next_request: Request | None = listing.first_request

    def read_page(self, response: ResponseLike) -> list[Any]:
        """Return the entries of a page, and prepare the request for the next one.

        A response that is not a list raises `Malformed`. A rejected page size leads to a request without one.
        """
        request, self.next_request = self.next_request, None
        assert request is not None
        if (
            response.status in _PAGE_SIZE_REJECTED
            and request is not self._listing.request
            and not self._page_count
            and self._listing.accepts_page_size
        ):
            response.close()
            self.next_request = self._listing.request
            return []
        if response.status != HTTPStatus.OK:
            raise self._listing.make_error(response)
        entries = self._listing.parse_page(parse_page_json(response))
        if entries is None:
            raise Malformed(
                f"{request.registry} did not return a list of {self._listing.description}",
                code="document",
                hints=("check the name of the registry; the response may come from a proxy",),
            )
        if entries:  # empty pages may repeat: some registries filter after they paginate
            page_hash = hash(response.read(MAX_PAGE_BYTES))
            if page_hash in self._page_hashes:
                raise self._loop_error(request)
            self._page_hashes.add(page_hash)
        self._page_count += 1
        self._requested_targets.add(hash(request.target))
        self._follow_link(request, response)
        return entries

    def check_next(self) -> None:
        """Check that the next page may be requested; call it after the entries are used.

        A loop of pages, too many pages, or an invalid Link header raise `RegistryError` (code `pagination`): the list
        is incomplete.
        """
        if self._link_error is not None:
            raise self._link_error
        if self.next_request is None:
            return
        if hash(self.next_request.target) in self._requested_targets:
            raise self._loop_error(self.next_request)
        if self._page_count >= self._max_pages:
            raise RegistryError(
                f"{self.next_request.registry} lists more than {self._max_pages} pages of {self._listing.description}",
                code="pagination",
                host=self.next_request.registry,
                hints=("increase list-pages under [limits] in the configuration file to read more",),
            )

    def _follow_link(self, request: Request, response: ResponseLike) -> None:
        """Prepare the request for the page that a Link header names.

        An invalid header is an error, because more pages may follow.
        """
        header = response.header("Link")
        if not header:
            return
        target = _parse_next_target(header, response.url, request.registry)
        if target is None:
            self._link_error = RegistryError(
                f"{request.registry} sent an invalid Link header, "
                f"so the list of {self._listing.description} may be incomplete",
                code="pagination",
                host=request.registry,
                hints=("this is an error of the registry: the header does not follow RFC 8288",),
            )
        if target != "":
            self.next_request = request.replace(target=target or request.target)

    def _loop_error(self, request: Request) -> RegistryError:
        return RegistryError(
            f"{request.registry} returned a page of {self._listing.description} twice",
            code="pagination",
            host=request.registry,
            hints=("this is an error of the registry",),
        )


def iterate_pages(http: RegistryHttp, listing: Listing) -> Iterator[Any]:
    """Yield the entries of all pages; each page is requested after the entries of the one before are used."""
    pager = Pager(listing, http.settings.list_pages)
    while pager.next_request is not None:
        yield from pager.read_page(http.fetch(pager.next_request, MAX_PAGE_BYTES, listing.description))
        pager.check_next()


def parse_page_json(response: ResponseLike) -> Any:
    """Return the JSON document of a response, None when it is invalid or larger than a page may be."""
    content = response.read(MAX_PAGE_BYTES)
    if len(content) > MAX_PAGE_BYTES:
        return None
    try:
        return parse_json(content, "the list")
    except Malformed as problem:
        if problem.code != "json":
            raise
        return None


def read_string_list(value: Any) -> list[str] | None:
    """Return a list of strings, empty for null (Go writes it so); None for any other value."""
    value = [] if value is None else value
    return value if isinstance(value, list) and all(isinstance(text, str) for text in value) else None


def _parse_next_target(header: str, url: str, registry: str) -> str | None:
    """Return the target of the next page from a Link header.

    "" means that there is no next page, None that the header is invalid. The target is on the registry whatever host
    the link names: behind a proxy many registries do not know their own name. Only a redirected list continues at the
    host it was redirected to.
    """
    from .link_header import LinkError, parse_links

    try:
        links = parse_links(header)
    except LinkError:
        return None
    targets = {
        resolve_url(url, link.target)
        for link in links
        if "next" in link.relations and (link.anchor is None or resolve_url(url, link.anchor) == resolve_url(url, ""))
    }
    if not targets:
        return ""
    target = targets.pop()
    if targets or not target:
        return None
    authority = get_authority(url)
    return target if authority == get_authority(target) != get_server(registry) else get_target(target)
