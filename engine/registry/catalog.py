"""Lists the repositories of a registry (catalog or Docker Hub search) and the tags of a repository."""

from __future__ import annotations

from http import HTTPStatus

from imq.engine.oci.json_schema import match_fields
from imq.engine.registry.auth.authorizer import CATALOG_SCOPE, make_pull_scope
from imq.engine.registry.http.client import Request
from imq.engine.registry.http.pagination import (
    MAX_PAGE_BYTES,
    Listing,
    iterate_pages,
    parse_page_json,
    read_string_list,
)
from imq.grammar.errors import Malformed, RegistryError
from imq.grammar.record import TYPE_CHECKING, Record

from . import errors
from .settings import DOCKER_HUB

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from imq.engine.oci.reference import Reference
    from imq.engine.registry.http.client import RegistryHttp
    from imq.engine.registry.http.response import ResponseLike

HUB_SEARCH_HOST = "index.docker.io"
"""The host of Docker Hub's search; the API host registry-1.docker.io does not search."""
_HUB_PAGE_SIZE = 100
"""The maximum number of results of one request to Docker Hub."""
_CATALOG_REFUSED = frozenset(
    {
        HTTPStatus.UNAUTHORIZED,
        HTTPStatus.FORBIDDEN,
        HTTPStatus.NOT_FOUND,
        HTTPStatus.METHOD_NOT_ALLOWED,
        HTTPStatus.NOT_IMPLEMENTED,
    }
)


class Repository(Record):
    """One search result. Only Docker Hub sets the fields after `name`."""

    name: str
    description: str = ""
    stars: int = 0
    official: bool = False
    automated: bool = False


def list_repositories(http: RegistryHttp, registry: str) -> Iterator[str]:
    """Yield the names of all repositories of a registry.

    Raises `RegistryError` (code `no-catalog`) if the registry has no catalog or denies access to it.
    """
    if registry == DOCKER_HUB:
        raise _no_catalog_error(registry, "", "search Docker Hub instead")

    def make_error(response: ResponseLike) -> RegistryError:
        error = errors.response_error(response, registry, "its catalog")
        if response.status not in _CATALOG_REFUSED:
            return error
        return _no_catalog_error(registry, error.message, *error.hints[:1])

    request = Request("GET", registry, "", "/v2/_catalog", CATALOG_SCOPE)
    listing = Listing(
        request,
        "repositories",
        lambda document: _get_strings(document, "repositories"),
        make_error,
        accepts_page_size=True,
    )
    yield from iterate_pages(http, listing)


def make_tag_listing(reference: Reference) -> Listing:
    """Return the paginated list of the tags of a repository."""
    name = reference.repository
    return Listing(
        Request("GET", reference.registry, name, f"/v2/{name}/tags/list", make_pull_scope(name)),
        f"tags of {name}",
        lambda document: _get_strings(document, "tags"),
        lambda response: errors.response_error(response, reference.registry, f"repository {name}"),
        accepts_page_size=True,
    )


def search_repositories(http: RegistryHttp, term: str, registry: str, limit: int) -> Iterator[Repository]:
    """Yield at most `limit` repositories whose name contains `term`; Docker Hub also searches descriptions.

    Other registries are searched through their catalog, case-insensitively.
    """
    if registry == DOCKER_HUB:
        yield from _search_docker_hub(http, term, limit)
        return
    lowered, remaining = term.lower(), limit
    names = list_repositories(http, registry) if limit > 0 else iter(())
    for name in names:
        if lowered in name:
            yield Repository(name)
            remaining -= 1
            if remaining <= 0:
                return


def _search_docker_hub(http: RegistryHttp, term: str, limit: int) -> Iterator[Repository]:
    from urllib.parse import urlencode

    page, remaining, seen = 1, limit, set[str]()
    while remaining > 0:
        # the page size stays constant, because page numbers count pages of this size
        query = urlencode({"q": term, "n": min(limit, _HUB_PAGE_SIZE), "page": page})
        request = Request("GET", HUB_SEARCH_HOST, "", f"/v1/search?{query}")
        response = http.fetch(request, MAX_PAGE_BYTES, "the search")
        if response.status != HTTPStatus.OK:
            raise errors.response_error(response, DOCKER_HUB, "the search")
        page_document = parse_page_json(response)
        results = page_document.get("results") if isinstance(page_document, dict) else None
        if not isinstance(results, list):
            raise Malformed(f"invalid search response from {DOCKER_HUB}: not a list of repositories", code="document")
        repositories = [repository for result in results if (repository := _read_repository(result)).name not in seen]
        seen.update(repository.name for repository in repositories)
        yield from repositories[:remaining]
        remaining -= len(repositories)
        pages = page_document.get("num_pages")
        if not repositories or not isinstance(pages, int) or page >= pages:
            return
        page += 1


def _get_strings(document: Any, key: str) -> list[str] | None:
    if not isinstance(document, dict):
        return None
    return read_string_list(match_fields(document, (key,), f"the list of {key}").get(key))


def _read_repository(result: Any) -> Repository:
    """Read one result of Docker Hub's search. Strings are cleaned: any user may write them."""
    name = result.get("name") if isinstance(result, dict) else None
    if not isinstance(name, str) or not name:
        raise Malformed(f"invalid search response from {DOCKER_HUB}: not a repository", code="document")
    description, stars = result.get("description"), result.get("star_count")
    return Repository(
        errors.clean_text(name),
        errors.clean_text(description) if isinstance(description, str) else "",
        stars if isinstance(stars, int) and not isinstance(stars, bool) else 0,
        result.get("is_official") is True,
        result.get("is_automated") is True,
    )


def _no_catalog_error(registry: str, reason: str, *hints: str) -> RegistryError:
    return RegistryError(
        f"{registry} does not list its repositories" + (f": {reason}" if reason else ""),
        code="no-catalog",
        host=registry,
        hints=(*hints, "specify a repository to list its tags"),
    )
