"""Challenges: the WWW-Authenticate header of a 401 response (RFC 9110, 11.6.1)."""

from __future__ import annotations

import re

from imq.grammar.record import Record

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_PARAMETER = re.compile(r"\s*([!#$%&'*+.^_`|~0-9A-Za-z-]+)\s*=\s*(?:\"((?:[^\"\\]|\\.)*)\"|([^\s,\"]*))\s*(?:,|\Z)")
_TOKEN68 = re.compile(r"\s*[A-Za-z0-9._~+/-]+=*\s*(?:,|\Z)")


class Challenge(Record):
    """One challenge of a 401 response. `scheme` is lower case."""

    scheme: str
    parameters: tuple[tuple[str, str], ...] = ()

    def get(self, name: str) -> str:
        """Return a parameter, or an empty string."""
        return dict(self.parameters).get(name, "")


def parse_challenges(header: str) -> tuple[Challenge, ...]:
    """Parse a WWW-Authenticate header (RFC 9110, 11.6.1): several challenges, quoted commas, token68."""
    challenges: list[Challenge] = []
    position = 0
    while position < len(header):
        if header[position] in " \t,":
            position += 1
            continue
        scheme = _TOKEN.match(header, position)
        if scheme is None:
            break
        position = scheme.end()
        if header[position : position + 1] == " " and (token68 := _TOKEN68.match(header, position)):
            position = token68.end()
        parameters: list[tuple[str, str]] = []
        while parameter := _PARAMETER.match(header, position):
            name, quoted, unquoted = parameter.groups()
            value = re.sub(r"\\(.)", r"\1", quoted) if quoted is not None else unquoted
            parameters.append((name.lower(), value))
            position = parameter.end()
        challenges.append(Challenge(scheme[0].lower(), tuple(parameters)))
    return tuple(challenges)
