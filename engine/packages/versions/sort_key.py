"""What all keys are put together from: the parts of a version, and bytes in the order of numbers and words."""

from __future__ import annotations

from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Final

WORD_END: Final = b"\0"
"""Follows a word, so that `ab` sorts before `abc`. No word contains it."""
_LONG: Final = 0xFF


def split_version(text: str) -> tuple[str, str, str]:
    """Return the epoch, the version and the revision of `[epoch:]version[-revision]`; "" for a missing one.

    What precedes a colon is an epoch only if it is a number.
    """
    epoch, colon, rest = text.partition(":")
    if not colon or not (epoch.isdecimal() and epoch.isascii()):
        epoch, rest = "", text
    version, _, revision = rest.rpartition("-") if "-" in rest else (rest, "", "")
    return epoch, version, revision


def encode_number(digits: str) -> bytes:
    """Return the key of a decimal number of any length: its length, then its digits. "" is 0."""
    digits = digits.lstrip("0")
    size = len(digits)
    if size < _LONG:
        return bytes((size,)) + digits.encode()
    return bytes((_LONG,)) + size.to_bytes(4) + digits.encode()


def encode_word(word: str) -> bytes:
    """Return the key of a word in the order of its bytes."""
    return word.encode("utf-8", "surrogatepass").replace(b"\0", b"\1") + WORD_END
