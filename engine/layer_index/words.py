"""The words of the names in a layer, each once: whether a layer can match a glob is known without reading its rows.

A word is a run of letters and digits. Names share most of their words, so these take a fraction of the names' bytes.
"""

from __future__ import annotations

import re

from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from imq.engine.layers.zstd import zstd

    ZstdCompressor = zstd.ZstdCompressor

_LEVEL = 3
_WORD = re.compile(rb"[^\x00-/:-@\[-`{-\x7f]+")
"""Letters and digits of ASCII, and the bytes of other characters."""
_WILDCARDS = "*?["


_idle: list[ZstdCompressor] = []
"""Compressors of earlier calls: a new one costs as much as compressing a list of files."""


def pack_text(text: bytes) -> bytes:
    """Return a text, compressed."""
    from imq.engine.layers.zstd import zstd

    try:
        compressor = _idle.pop()
    except IndexError:
        compressor = zstd.ZstdCompressor(_LEVEL)
    packed = bytes(compressor.compress(text, zstd.ZstdCompressor.FLUSH_FRAME))
    _idle.append(compressor)
    return packed


def unpack_text(packed: bytes) -> bytes:
    """Return the text of `pack_text`."""
    from imq.engine.layers.zstd import zstd

    return bytes(zstd.decompress(packed))


def pack_words(names: str) -> bytes:
    """Return the words of names, compressed."""
    return pack_text(b"\n".join(dict.fromkeys(_WORD.findall(names.encode()))))


def split_literal(literal: str) -> list[bytes]:
    """Return the parts of a string of which each is in one word, if a name has the string."""
    return _WORD.findall(literal.encode())


def has_words(packed: bytes, parts: Iterable[bytes]) -> bool:
    """Whether each part, by `split_literal`, is in one of the words of `pack_words`."""
    words = unpack_text(packed)
    return all(part in words for part in parts)


def longest_literal(glob: str) -> str:
    """Return the longest string without a slash that each path of a glob has; "" when there is none.

    The glob has the syntax of SQLite's GLOB. Names and folders are packed separately, so a slash ends a string.
    """
    parts: list[str] = [""]
    position = 0
    while position < len(glob):
        character = glob[position]
        if character == "[":
            end = glob.find("]", position + 2)
            if end < 0:
                return ""
            class_ = glob[position + 1 : end]
            if len(class_) == 1:  # how a wildcard is escaped
                parts[-1] += class_
            else:
                parts.append("")
            position = end + 1
            continue
        if character in "*?/":
            parts.append("")
        else:
            parts[-1] += character
        position += 1
    return max(parts, key=len)
