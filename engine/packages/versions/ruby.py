"""RubyGems: `Gem::Version`. Words and numbers are compared one by one, words before numbers; missing ones are 0.

Zeros at the end do not count, nor do those before the first word: `1.0.a` is `1.a`. A version with a word is a
prerelease, and `-` is short for `.pre.`.
"""

from __future__ import annotations

import re

from .sort_key import encode_number, encode_word

_VERSION = re.compile(r"[0-9]+(?:\.[0-9a-zA-Z]+)*(?:-[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?")
_SEGMENT = re.compile(r"[0-9]+|[a-zA-Z]+")
_WORD, _ZEROS_WORD, _END, _ZEROS_NUMBER, _NUMBER = (bytes((number,)) for number in range(1, 6))
_MAX_ZEROS = 0xFFFF


def make_key(text: str) -> bytes | None:
    """Return the key of a version; None if RubyGems rejects it."""
    text = text.strip()
    if _VERSION.fullmatch(text) is None:
        return None
    segments = _SEGMENT.findall(text.replace("-", ".pre."))
    first_word = next((at for at, segment in enumerate(segments) if segment.isalpha()), len(segments))
    return _encode_segments(_drop_zeros(segments[:first_word]) + _drop_zeros(segments[first_word:]))


def _drop_zeros(segments: list[str]) -> list[str]:
    end = len(segments)
    while end and not segments[end - 1].strip("0"):
        end -= 1
    return segments[:end]


def _encode_segments(segments: list[str]) -> bytes:
    """Return the key of segments, after which zeros follow without end.

    A run of zeros takes a length. Before a number, a longer run sorts first; before a word, a shorter one.
    """
    pieces, zeros = [], 0
    for segment in segments:
        if not segment.strip("0"):
            zeros = min(zeros + 1, _MAX_ZEROS)
        elif segment.isalpha():
            pieces.append((_ZEROS_WORD + zeros.to_bytes(2) if zeros else b"") + _WORD + encode_word(segment))
            zeros = 0
        else:
            pieces.append(
                (_ZEROS_NUMBER + (_MAX_ZEROS - zeros).to_bytes(2) if zeros else b"") + _NUMBER + encode_number(segment)
            )
            zeros = 0
    return b"".join(pieces) + _END
