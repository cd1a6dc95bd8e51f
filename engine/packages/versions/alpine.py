"""Alpine: `digits{.digits}[letter]{_suffix[digits]}[~commit][-rdigits]`, apk-version(8).

Numbers after the first that begin with 0 are compared as text. `_alpha`, `_beta`, `_pre` and `_rc` sort before the end;
`_cvs`, `_svn`, `_git`, `_hg` and `_p` after it. Of two versions of which one ends or goes on otherwise, the part that
stands earlier in the pattern is greater.
"""

from __future__ import annotations

import re

from .sort_key import encode_number, encode_word

_SUFFIXES = {
    suffix: bytes((number,))
    for number, suffix in enumerate(("alpha", "beta", "pre", "rc", "cvs", "svn", "git", "hg", "p"), start=1)
}
_PRERELEASES = frozenset({"alpha", "beta", "pre", "rc"})
# In the order in which the kinds of parts sort, where two versions differ in them:
_PRERELEASE, _INVALID, _END, _REVISION, _COMMIT, _SUFFIX_NUMBER, _SUFFIX, _LETTER, _NUMBER = (
    bytes((number,)) for number in range(1, 10)
)
_TEXT, _INTEGER = b"\x01", b"\x02"
_FIRST = re.compile(r"[0-9]+")
_PART = re.compile(r"(\.?)([0-9]+)|([a-z])|_([a-z]+)|~([0-9a-f]+)|-r([0-9]+)")
# What can precede each kind of part, by its place in the pattern:
_AT_NUMBER, _AT_LETTER, _AT_SUFFIX, _AT_SUFFIX_NUMBER, _AT_COMMIT, _AT_REVISION = range(6)


def make_key(text: str) -> bytes | None:
    """Return the key of a version; None if it does not begin with a digit.

    What does not follow the pattern sorts before the end and ends the comparison, as in apk.
    """
    text = text.strip()
    first = _FIRST.match(text)
    if first is None:
        return None
    pieces, at, place = [encode_number(first[0])], first.end(), _AT_NUMBER
    while at < len(text):
        match = _PART.match(text, at)
        piece = _encode_part(match, place) if match is not None else None
        if match is None or piece is None:
            return b"".join(pieces) + _INVALID
        encoded, place = piece
        pieces.append(encoded)
        at = match.end()
    return b"".join(pieces) + _END


def _encode_part(match: re.Match[str], place: int) -> tuple[bytes, int] | None:
    """Return the key of a part and its place in the pattern; None if it must not follow what is before it."""
    dot, number, letter, suffix, commit, revision = match.groups()
    if number is not None:
        if place == _AT_SUFFIX and not dot:
            return _SUFFIX_NUMBER + encode_number(number), _AT_SUFFIX_NUMBER
        if place != _AT_NUMBER:
            return None
        return _NUMBER + (_TEXT + encode_word(number) if number[0] == "0" else _INTEGER + encode_number(number)), place
    if letter is not None:
        return (_LETTER + letter.encode(), _AT_LETTER) if place == _AT_NUMBER else None
    if suffix is not None:
        if place > _AT_SUFFIX_NUMBER or suffix not in _SUFFIXES:
            return None
        return (_PRERELEASE if suffix in _PRERELEASES else _SUFFIX) + _SUFFIXES[suffix], _AT_SUFFIX
    if commit is not None:
        return (_COMMIT + encode_word(commit), _AT_COMMIT) if place < _AT_COMMIT else None
    return (_REVISION + encode_number(revision), _AT_REVISION) if place < _AT_REVISION else None
