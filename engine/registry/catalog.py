"""Which repositories a registry has: its catalog, and on Docker Hub, which has none, its search; and their tags."""

from __future__ import annotations

from http import HTTPStatus

from imq.engine.registry.auth.scopes import CATALOG_SCOPE, pull_scope
from imq.engine.registry.http.client import Ask
from imq.engine.registry.http.pagination import LARGEST_PAGE, Listing, document, paged, texts
from imq.grammar.errors import Malformed, RegistryError
from imq.grammar.record import TYPE_CHECKING, Record

from . import errors
from .settings import DOCKER_HUB

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from imq.engine.oci.reference import Reference
    from imq.engine.registry.http.client import Exchange
    from imq.engine.registry.http.response import Reply

HUB_SEARCH = "index.docker.io"
"""The host that answers searches of Docker Hub; the API's own, registry-1.docker.io, does not."""
_HUB_PAGE = 100
"""Results that Docker Hub gives at once, at most."""
_NO_CATALOG = frozenset(
    {
        HTTPStatus.UNAUTHORIZED,
        HTTPStatus.FORBIDDEN,
        HTTPStatus.NOT_FOUND,
        HTTPStatus.METHOD_NOT_ALLOWED,
        HTTPStatus.NOT_IMPLEMENTED,
    }
)


class Repository(Record):
    """One repository that a search has found. What only Docker Hub knows is empty, zero or False elsewhere."""

    name: str
    description: str = ""
    stars: int = 0
    official: bool = False
    automated: bool = False


def catalog(exchange: Exchange, registry: str) -> Iterator[str]:
    """Yield the names of all repositories of a registry.

    Raises `RegistryError` with the code `no-catalog` for one that has no catalog, or shows it to nobody.
    """
    if registry == DOCKER_HUB:
        raise _no_catalog(registry, "", "Docker Hub can be searched")

    def refused(answer: Reply) -> RegistryError:
        problem = errors.refusal(answer, registry, "its catalog")
        if answer.status not in _NO_CATALOG:
            return problem
        return _no_catalog(registry, problem.message, *problem.hints[:1])

    ask = Ask("GET", registry, "", "/v2/_catalog", CATALOG_SCOPE)
    listing = Listing(ask, "repositories", lambda document: _texts(document, "repositories"), refused, sized=True)
    yield from paged(exchange, listing)


def tags_of(reference: Reference) -> Listing:
    """Return the list of the tags of the reference's repository."""
    name = reference.repository
    return Listing(
        Ask("GET", reference.registry, name, f"/v2/{name}/tags/list", pull_scope(name)),
        f"tags of {name}",
        lambda document: _texts(document, "tags"),
        lambda answer: errors.refusal(answer, reference.registry, f"repository {name}"),
        sized=True,
    )


def search(exchange: Exchange, term: str, registry: str, limit: int) -> Iterator[Repository]:
    """Yield at most `limit` repositories whose name (on Docker Hub also its description) has `term`.

    Of a registry other than Docker Hub its catalog is read, with `term` meant as a part of a name in any case.
    """
    if registry == DOCKER_HUB:
        yield from _hub(exchange, term, limit)
        return
    wanted, left = term.lower(), limit
    names = catalog(exchange, registry) if limit > 0 else iter(())
    for name in names:
        if wanted in name:
            yield Repository(name)
            left -= 1
            if left <= 0:
                return


def _hub(exchange: Exchange, term: str, limit: int) -> Iterator[Repository]:
    from urllib.parse import urlencode

    page, left, met = 1, limit, set[str]()
    while left > 0:
        # the size of a page stays the same, for the number of a page counts in pages of this size
        query = urlencode({"q": term, "n": min(limit, _HUB_PAGE), "page": page})
        ask = Ask("GET", HUB_SEARCH, "", f"/v1/search?{query}")
        answer = exchange.read(ask, LARGEST_PAGE, "the search")
        if answer.status != HTTPStatus.OK:
            raise errors.refusal(answer, DOCKER_HUB, "the search")
        found = document(answer)
        results = found.get("results") if isinstance(found, dict) else None
        if not isinstance(results, list):
            raise Malformed(f"{DOCKER_HUB} answers the search with no list of repositories", code="document")
        repositories = [repository for result in results if (repository := _repository(result)).name not in met]
        met.update(repository.name for repository in repositories)
        yield from repositories[:left]
        left -= len(repositories)
        pages = found.get("num_pages")
        if not repositories or not isinstance(pages, int) or page >= pages:
            return
        page += 1


def _texts(document: Any, key: str) -> list[str] | None:
    return texts(document.get(key)) if isinstance(document, dict) else None


def _repository(result: Any) -> Repository:
    """Read one result of Docker Hub's search; texts are cleaned, for anybody may write them."""
    name = result.get("name") if isinstance(result, dict) else None
    if not isinstance(name, str) or not name:
        raise Malformed(f"{DOCKER_HUB} answers the search with what is no repository", code="document")
    description, stars = result.get("description"), result.get("star_count")
    return Repository(
        errors.clean(name),
        errors.clean(description) if isinstance(description, str) else "",
        stars if isinstance(stars, int) and not isinstance(stars, bool) else 0,
        result.get("is_official") is True,
        result.get("is_automated") is True,
    )


def _no_catalog(registry: str, said: str, *hints: str) -> RegistryError:
    return RegistryError(
        f"{registry} lists its repositories to nobody" + (f": {said}" if said else ""),
        code="no-catalog",
        host=registry,
        hints=(*hints, "name the repository: its tags can be listed"),
    )
