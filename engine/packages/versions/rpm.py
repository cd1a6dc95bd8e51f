"""RPM: `[epoch:]version[-release]`, rpm-version(7).

Words and numbers are compared one by one; what separates them does not count. `~` sorts before the end, `^` after the
end but before everything else, words before numbers. A missing epoch is 0.

A version without a release equals each of its releases, as in the dependencies of packages. So `1.2-1 < 1.2` is false,
and `1.2-1 <= 1.2` is true.
"""

from __future__ import annotations

import re

from .sort_key import encode_number, encode_word, split_version

_PIECE = re.compile(r"[~^]|[0-9]+|[A-Za-z]+")
_TILDE, _END, _CARET, _WORD, _NUMBER = b"\x01", b"\x02", b"\x03", b"\x04", b"\x05"
AFTER_ALL_RELEASES = b"\xff"
"""Makes the key of a version without release sort after every release of it."""


def make_key(text: str) -> bytes | None:
    """Return the key of a version with release; any text has one but "". Without a release it has the lowest key."""
    text = text.strip()
    if not text:
        return None
    epoch, version, release = split_version(text)
    key = encode_number(epoch) + _encode_part(version)
    return key + _encode_part(release) if release else key


def _encode_part(part: str) -> bytes:
    pieces = []
    for word in _PIECE.findall(part):
        if word == "~":
            pieces.append(_TILDE)
        elif word == "^":
            pieces.append(_CARET)
        elif word.isdecimal():
            pieces.append(_NUMBER + encode_number(word))
        else:
            pieces.append(_WORD + encode_word(word))
    return b"".join(pieces) + _END
