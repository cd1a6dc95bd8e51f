"""The names in a layer as one compressed string: whether a layer can match a glob is known without reading its rows."""

from __future__ import annotations

_LEVEL = 3
_WILDCARDS = "*?["


def pack_text(text: bytes) -> bytes:
    """Return a text, compressed."""
    from imq.engine.layers.zstd import zstd

    return bytes(zstd.compress(text, _LEVEL))


def unpack_text(packed: bytes) -> bytes:
    """Return the text of `pack_text`."""
    from imq.engine.layers.zstd import zstd

    return bytes(zstd.decompress(packed))


def has_word(packed: bytes, word: bytes) -> bool:
    """Whether a packed string contains a word."""
    from imq.engine.layers.zstd import zstd

    return word in zstd.decompress(packed)


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
