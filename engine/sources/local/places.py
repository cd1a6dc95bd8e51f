"""The rows of `sources`: every place that the sources and groups of a session have, and whether it responds."""

from __future__ import annotations

from imq.engine.query.source import Place
from imq.grammar import ast
from imq.grammar.errors import ImqError, Interrupted
from imq.grammar.record import TYPE_CHECKING, Record
from imq.grammar.unparser import unparse

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from imq.engine.catalog.schema import Raw
    from imq.engine.query.source import Sources

_MAX_REQUESTS = 64
"""Places that are asked at once."""


class _Response(Record):
    """What a place returned: the number of images, the places in it, or the error."""

    images: int | None = None
    problem: ImqError | None = None
    places: tuple[Place, ...] = ()


def list_place_rows(sources: Sources) -> Iterator[tuple[Raw, ...]]:
    """Yield the rows of `sources`. All places are asked side by side, so they take as long as the slowest."""
    places = {place.name: place for source in sources for place in source.list_places()}
    members = {name: [_find_place(member, sources) for member in group] for name, group in sources.groups.items()}
    for group in members.values():
        for place in group:
            places.setdefault(place.name, place)
    responses = dict(zip(places, _ask(tuple(places.values())), strict=True))
    rows: dict[str, tuple[Raw, ...]] = {}
    for place in places.values():
        response = responses[place.name]
        for inner in response.places:
            rows.setdefault(inner.name, _make_row(inner, _Response(inner.images)))
        if not response.places:
            rows[place.name] = _make_row(place, response)
    yield from rows.values()
    for name, group in members.items():
        address = ", ".join(place.name for place in group)
        yield _make_row(Place(name, "a group", address), _merge([(place, responses[place.name]) for place in group]))


def _find_place(text: str, sources: Sources) -> Place:
    """Return the place that a member of a group names; a place with a problem when it names none."""
    try:
        ref = sources.resolve(text)
    except ImqError as error:
        return Place(text, "unknown", "", problem=error)
    source = sources[ref.source]
    place = source.find_place(ref)
    return place if place is not None else Place(ref.text, source.name, ref.address)


def _ask(places: Sequence[Place]) -> Sequence[_Response]:
    remote = [place for place in places if place.request is not None and place.problem is None]
    if len(remote) < 2:
        return [_request(place) for place in places]
    from concurrent.futures import ThreadPoolExecutor  # slow to import, and one place needs none

    with ThreadPoolExecutor(min(_MAX_REQUESTS, len(remote))) as pool:
        return list(pool.map(_request, places))


def _request(place: Place) -> _Response:
    if place.problem is not None:
        return _Response(problem=place.problem)
    if place.request is None:
        return _Response(place.images)
    try:
        response = place.request()
    except Interrupted:
        raise
    except ImqError as error:
        return _Response(problem=error)
    return _Response(response) if response is None or isinstance(response, int) else _Response(places=tuple(response))


def _merge(members: Sequence[tuple[Place, _Response]]) -> _Response:
    """Return the response of a group: all images, unless one of its members does not respond or count them."""
    failed = [(place, response.problem) for place, response in members if response.problem is not None]
    if failed:
        names = ", ".join(place.name for place, _ in failed)
        return _Response(problem=ImqError(f"{len(failed)} of {len(members)} do not respond: {names}"))
    counts = [response.images for _, response in members]
    return _Response(None if None in counts else sum(count for count in counts if count is not None))


def _make_row(place: Place, response: _Response) -> tuple[Raw, ...]:
    use = unparse(ast.Query("images", sources=(ast.Literal(place.name),))).removeprefix("images ")
    problem = response.problem.message if response.problem is not None else None
    return place.name, place.kind, place.address or None, int(problem is None), response.images, use, problem
