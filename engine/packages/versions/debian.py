"""Debian: `[epoch:]upstream[-revision]`, deb-version(7).

Both parts are compared in turns: text without digits, in which `~` sorts before the end of the text and letters before
all else; then a number. Missing numbers, epochs and revisions are 0.
"""

from __future__ import annotations

import re

from .sort_key import encode_number, split_version

_PIECE = re.compile(r"([^0-9]*)([0-9]*)")
_TILDE, _END, _OTHER = b"\x01", b"\x02", b"\x80"


def make_key(text: str) -> bytes | None:
    """Return the key of a version. Any text has one, since dpkg compares invalid versions too; "" has none."""
    text = text.strip()
    if not text:
        return None
    epoch, upstream, revision = split_version(text)
    return encode_number(epoch) + _encode_part(upstream) + _encode_part(revision)


def _encode_part(part: str) -> bytes:
    pieces: list[bytes] = []
    for words, digits in _PIECE.findall(part):
        if not words and not digits and pieces:
            break
        pieces += [_encode_words(words), _END, encode_number(digits)]
    return b"".join(pieces) + _END


def _encode_words(words: str) -> bytes:
    pieces = []
    for character in words:
        if character == "~":
            pieces.append(_TILDE)
        elif character.isalpha() and character.isascii():
            pieces.append(character.encode())
        else:
            pieces.append(b"".join(_OTHER + bytes((byte,)) for byte in character.encode("utf-8", "surrogatepass")))
    return b"".join(pieces)
