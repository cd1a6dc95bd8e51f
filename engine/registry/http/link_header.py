"""Parses the Link header (RFC 8288). Paginated lists use the relation `next`."""

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
    """One link: the target as written, the relations in lower case, and the anchor if there is one."""

    target: str
    relations: tuple[str, ...]
    anchor: str | None = None


def parse_links(header: str) -> tuple[Link, ...]:
    """Return the links of a header. Raises `LinkError`."""
    links: list[Link] = []
    position = _skip(_BEGINNING, header, 0)
    while position < len(header):
        target = _TARGET.match(header, position)
        if target is None:
            raise LinkError
        position = target.end()
        parameters: dict[str, str] = {}
        while parameter := _PARAMETER.match(header, position):
            name, quoted, unquoted = parameter.groups()
            if name is not None:  # an empty parameter is allowed; the first of each name counts
                parameters.setdefault(
                    name.lower(), _ESCAPED.sub(r"\1", quoted) if quoted is not None else unquoted or ""
                )
            position = parameter.end()
        end = _END.match(header, position)
        if end is None:
            raise LinkError
        position = end.end()
        relations = tuple(parameters.get("rel", "").lower().split())
        if not relations or not all(map(_RELATION.fullmatch, relations)):
            raise LinkError
        links.append(Link(target[1], relations, parameters.get("anchor")))
    return tuple(links)


def _skip(pattern: re.Pattern[str], text: str, position: int) -> int:
    """Return the position after a match of a pattern that may match nothing."""
    match = pattern.match(text, position)
    return match.end() if match is not None else position
