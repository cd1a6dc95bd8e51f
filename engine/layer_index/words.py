"""The words of the names in a layer, each once: whether a layer can match a glob is known without reading its rows.

A word is a run of letters and digits. Names share most of their words, so these take a fraction of the names' bytes.
"""

from __future__ import annotations

from imq.engine.layers.compression import pack_text, unpack_text
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable

_SEPARATORS = bytes(range(0x30)) + b":;<=>?@[\\]^_`{|}~\x7f"
"""All bytes but letters and digits of ASCII, and those of other characters."""
_SPACES = bytes.maketrans(_SEPARATORS, b" " * len(_SEPARATORS))
_WILDCARDS = "*?["


def pack_words(names: str) -> bytes:
    """Return the words of names, compressed."""
    return pack_text(b"\n".join(dict.fromkeys(_split_words(names))))


def collect_words(connection: sqlite3.Connection, schema: str) -> bytes:
    """Return the words of the names of the entries and of the folders of an attached scan, compressed."""
    (names,) = connection.execute(f"SELECT group_concat(name, char(10)) FROM {schema}.entry").fetchone()
    (paths,) = connection.execute(f"SELECT group_concat(path, char(10)) FROM {schema}.directory").fetchone()
    return pack_words(f"{names or ''}\n{paths or ''}")


def _split_words(text: str) -> list[bytes]:
    return text.encode().translate(_SPACES).split()


def split_literal(literal: str) -> list[bytes]:
    """Return the parts of a string of which each is in one word, if a name has the string."""
    return _split_words(literal)


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
