"""Licences as SPDX expressions: those that package databases state as such, and the names that they use instead.

The grammar is that of annex D of the SPDX 2.3 specification.
"""

from __future__ import annotations

import re
from functools import cache, lru_cache

from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_OPERATOR = re.compile(r"([()]| (?:and|or)\b(?! later))", re.IGNORECASE)
_WITH = re.compile(r"( with )", re.IGNORECASE)
_LICENCE_REF = re.compile(r"(?:DocumentRef-[A-Za-z0-9.\-]+:)?LicenseRef-[A-Za-z0-9.\-]+")
_MAX_LENGTH, _MAX_NAME = 10_000, 60
_MAX_DEPTH = 50
_GNU = re.compile(r"(a|l)?gpl[ -]?v?(\d(?:\.\d)?)?(?:\.0)?(\+|-only|-or-later|[ -]or[ -]later)?", re.IGNORECASE)
_GNU_DEFAULT = {"": "GPL-1.0-or-later", "l": "LGPL-2.0-or-later", "a": "AGPL-3.0-or-later"}
"""What a name without version means: any version that was ever published."""
_GNU_VERSIONS = {"": ("1.0", "2.0", "3.0"), "l": ("2.0", "2.1", "3.0"), "a": ("1.0", "3.0")}

_NAMES = {
    "0bsd": "0BSD",
    "apache": "Apache-2.0",
    "apache 2": "Apache-2.0",
    "apache 2.0": "Apache-2.0",
    "apache license 2.0": "Apache-2.0",
    "apache license, version 2.0": "Apache-2.0",
    "apache license version 2.0": "Apache-2.0",
    "apache software license 2.0": "Apache-2.0",
    "apache-2": "Apache-2.0",
    "asl 1.1": "Apache-1.1",
    "asl 2.0": "Apache-2.0",
    "artistic": "Artistic-1.0-Perl",
    "artistic-1": "Artistic-1.0",
    "artistic-2": "Artistic-2.0",
    "artistic 2.0": "Artistic-2.0",
    "boost": "BSL-1.0",
    "bsd with advertising": "BSD-4-Clause",
    "boost software license 1.0 (bsl-1.0)": "BSL-1.0",
    "bsd 2-clause": "BSD-2-Clause",
    "bsd 3-clause": "BSD-3-Clause",
    "bsd 3-clause license": "BSD-3-Clause",
    "3-clause bsd license": "BSD-3-Clause",
    "new bsd license": "BSD-3-Clause",
    "simplified bsd": "BSD-2-Clause",
    "bsd-2": "BSD-2-Clause",
    "bsd-3": "BSD-3-Clause",
    "bsd-4": "BSD-4-Clause",
    "bsl-1": "BSL-1.0",
    "cc0": "CC0-1.0",
    "cc0 1.0": "CC0-1.0",
    "cc0 1.0 universal (cc0 1.0) public domain dedication": "CC0-1.0",
    "expat": "MIT",
    "gnu affero general public license v3": "AGPL-3.0-only",
    "gnu affero general public license v3 or later (agplv3+)": "AGPL-3.0-or-later",
    "gnu general public license v2 (gplv2)": "GPL-2.0-only",
    "gnu general public license v2 or later (gplv2+)": "GPL-2.0-or-later",
    "gnu general public license v3 (gplv3)": "GPL-3.0-only",
    "gnu general public license v3 or later (gplv3+)": "GPL-3.0-or-later",
    "gnu lesser general public license v2 (lgplv2)": "LGPL-2.0-only",
    "gnu lesser general public license v2 or later (lgplv2+)": "LGPL-2.0-or-later",
    "gnu lesser general public license v3 (lgplv3)": "LGPL-3.0-only",
    "gnu lesser general public license v3 or later (lgplv3+)": "LGPL-3.0-or-later",
    "isc license": "ISC",
    "isc license (iscl)": "ISC",
    "mit license": "MIT",
    "mit/x11": "MIT",
    "the mit license": "MIT",
    "the mit license (mit)": "MIT",
    "mozilla public license 1.1 (mpl 1.1)": "MPL-1.1",
    "mozilla public license 2.0 (mpl 2.0)": "MPL-2.0",
    "mpl 2.0": "MPL-2.0",
    "mplv2.0": "MPL-2.0",
    "mplv1.1": "MPL-1.1",
    "openldap": "OLDAP-2.8",
    "psf": "PSF-2.0",
    "psf-2": "PSF-2.0",
    "psf license": "PSF-2.0",
    "python": "Python-2.0",
    "python software foundation license": "PSF-2.0",
    "ruby": "Ruby",
    "sleepycat": "Sleepycat",
    "the unlicense (unlicense)": "Unlicense",
    "universal permissive license (upl)": "UPL-1.0",
    "zpl 2.1": "ZPL-2.1",
    "zlib": "Zlib",
    "zlib/libpng license": "Zlib",
}
"""Names that mean one licence, in lower case. Names of several, such as "BSD", have no entry."""


@lru_cache(maxsize=1024)
def to_expression(text: str) -> str | None:
    """Return a licence as an SPDX expression with the official spelling; None if it is none and has no known name.

    `GPLv2+ and MIT` of older RPMs and `GPL-2+ or Artistic` of Debian become expressions if every name is known.
    """
    return _parse(text, lambda _name: None)


def to_expression_with_references(text: str, make_reference: Callable[[str], str]) -> str:
    """Return a licence as an SPDX expression. `make_reference` returns the `LicenseRef-` of a name that is not known.

    It takes the whole text, if that is no expression or no name in it is known.
    """
    names = 0

    def refer(name: str) -> str | None:
        nonlocal names
        names += 1
        return f"LicenseRef-{names}" if len(name) <= _MAX_NAME else None

    parsed = _parse(text, refer)
    if parsed is None or names == len(_OPERATOR.split(text)[::2]):
        return make_reference(" ".join(text.split()))
    return _parse(text, make_reference) or make_reference(text)


def _find_name(text: str) -> str | None:
    """Return the identifier for an identifier in any case, or for a name that means one licence."""
    lowered = text.lower()
    if (known := _identifiers().get(lowered)) is not None and not _GNU.fullmatch(text):
        return known
    if (known := _NAMES.get(lowered)) is not None:
        return known
    match = _GNU.fullmatch(text)
    return _name_gnu(match) if match is not None else None


def _name_gnu(match: re.Match[str]) -> str | None:
    """Return the identifier for names such as `GPL-2+`, `LGPLv2.1` and `gpl-3.0-only`."""
    family, version = (match[1] or "").lower(), match[2]
    if not version:
        return _GNU_DEFAULT[family] if not match[3] or match[3] == "+" else None
    version = version if "." in version else f"{version}.0"
    if version not in _GNU_VERSIONS[family]:
        return None
    return f"{family.upper()}GPL-{version}-{'or-later' if match[3] and match[3] != '-only' else 'only'}"


@cache
def _identifiers() -> Mapping[str, str]:
    from .spdx_license_ids import LICENCES

    return {name.lower(): name for name in LICENCES}


@cache
def _exceptions() -> Mapping[str, str]:
    from .spdx_license_ids import EXCEPTIONS

    return {name.lower(): name for name in EXCEPTIONS}


class _NotAnExpressionError(Exception):
    """The text does not follow the grammar, or has an unknown identifier."""


def _parse(text: str, resolve_unknown: Callable[[str], str | None]) -> str | None:
    """Return the expression of a text; None if it is none, or if `resolve_unknown` returns None for a name in it."""
    text = " ".join(text.split())
    if not text or len(text) > _MAX_LENGTH:
        return None
    if (name := _find_name(text)) is not None:
        return name
    tokens = [token.strip() for token in _OPERATOR.split(text)]
    parser = _Parser([token for token in tokens if token], resolve_unknown)
    try:
        expression = parser.parse_or(0)
    except _NotAnExpressionError:
        return None
    return expression if parser.is_at_end() else None


class _Parser:
    """Parses an expression by descent: OR binds weakest, then AND, then WITH."""

    def __init__(self, tokens: list[str], resolve_unknown: Callable[[str], str | None]) -> None:
        self._tokens = tokens
        self._resolve_unknown = resolve_unknown
        self._at = 0

    def is_at_end(self) -> bool:
        """Whether all tokens have been parsed."""
        return self._at == len(self._tokens)

    def parse_or(self, depth: int) -> str:
        """Parse alternatives."""
        parts = [self._parse_and(depth)]
        while self._take("OR"):
            parts.append(self._parse_and(depth))
        return " OR ".join(parts)

    def _parse_and(self, depth: int) -> str:
        parts = [self._parse_one(depth)]
        while self._take("AND"):
            parts.append(self._parse_one(depth))
        return " AND ".join(parts)

    def _parse_one(self, depth: int) -> str:
        if self._take("("):
            if depth >= _MAX_DEPTH:
                raise _NotAnExpressionError
            inner = self.parse_or(depth + 1)
            if not self._take(")"):
                raise _NotAnExpressionError
            return f"({inner})"
        if self.is_at_end() or self._tokens[self._at].upper() in {"AND", "OR", ")"}:
            raise _NotAnExpressionError
        name = self._tokens[self._at]
        self._at += 1
        found = _resolve(name) or self._resolve_unknown(name)
        if found is None:
            raise _NotAnExpressionError
        return found

    def _take(self, word: str) -> bool:
        if not self.is_at_end() and self._tokens[self._at].upper() == word:
            self._at += 1
            return True
        return False


def _resolve(name: str) -> str | None:
    """Return the identifier for a name, or `IDENTIFIER WITH EXCEPTION`."""
    licence, separator, exception = _WITH.split(name)[:3] if _WITH.search(name) else (name, "", "")
    found = _find_name(licence)
    if found is None and licence.endswith("+") and (known := _identifiers().get(licence[:-1].lower())) is not None:
        found = f"{known}+"
    if found is None and _LICENCE_REF.fullmatch(licence):
        found = licence
    if not separator or found is None:
        return found
    known = _exceptions().get(exception.lower())
    return f"{found} WITH {known}" if known is not None else None


def is_identifier(expression: str) -> bool:
    """Whether an expression is a single identifier of the license list."""
    return _identifiers().get(expression.lower()) == expression
