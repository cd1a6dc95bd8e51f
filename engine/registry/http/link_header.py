"""The Link header (RFC 8288): links with their parameters, of which pages of lists use the relation `next`."""

from __future__ import annotations

import re

from imq.grammar.record import Record

_TARGET = re.compile(r"[ \t]*<([^<>\s]*)>")
_NAME = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_PARAMETER = re.compile(
    rf'[ \t]*;(?:[ \t]*({_NAME})(?:[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)"|([^\s",;\\]+)))?)?(?=[ \t]*(?:[;,]|\Z))'
)
_END = re.compile(r"[ \t]*(?:,[ \t,]*|\Z)")
_BEGINNING = re.compile(r"[ \t,]*")
_ESCAPED = re.compile(r"\\(.)")
_RELATION = re.compile(r"[A-Za-z][A-Za-z0-9.-]*|[A-Za-z][A-Za-z0-9+.-]*:[!-~]+")


class LinkError(ValueError):
    """A Link header that does not follow the grammar."""


class Link(Record):
    """One link: its target as it is written, its relations in lower case, and what it is about if that is said."""

    target: str
    relations: tuple[str, ...]
    anchor: str | None = None


def parse_links(header: str) -> tuple[Link, ...]:
    """Return the links of a header, of which several are joined by commas. Raises `LinkError`."""
    links: list[Link] = []
    place = _skip(_BEGINNING, header, 0)
    while place < len(header):
        target = _TARGET.match(header, place)
        if target is None:
            raise LinkError
        place = target.end()
        parameters: dict[str, str] = {}
        while parameter := _PARAMETER.match(header, place):
            name, quoted, bare = parameter.groups()
            if name is not None:  # an empty parameter is allowed; the first of a name counts
                parameters.setdefault(name.lower(), _ESCAPED.sub(r"\1", quoted) if quoted is not None else bare or "")
            place = parameter.end()
        end = _END.match(header, place)
        if end is None:
            raise LinkError
        place = end.end()
        relations = tuple(parameters.get("rel", "").lower().split())
        if not relations or not all(map(_RELATION.fullmatch, relations)):
            raise LinkError
        links.append(Link(target[1], relations, parameters.get("anchor")))
    return tuple(links)


def _skip(pattern: re.Pattern[str], text: str, place: int) -> int:
    """Return the place behind what a pattern that may match nothing matches."""
    found = pattern.match(text, place)
    return found.end() if found is not None else place
