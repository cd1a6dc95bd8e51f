"""Content digests: the names of blobs.

Only algorithms whose bytes can be checked here are accepted; a digest that exists is well formed.
"""

from __future__ import annotations

import re

from imq.grammar.errors import Malformed
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    import hashlib

_HEX_LENGTH = {"sha256": 64, "sha512": 128}
_FORM = r"(sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})\Z"


class Digest(str):
    """`sha256:…` or `sha512:…` with the full number of lower-case hex digits. Being a `str`, it is stored as it is."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: object) -> Digest:
        """Return the digest that `text` writes, or raise `Malformed`."""
        if not isinstance(text, str) or not re.match(_FORM, text):
            shown = str(text)
            raise Malformed(
                f"not a digest: {shown[:100]!r}",
                code="digest",
                hints=("a digest is sha256: and 64 hex digits, or sha512: and 128",),
            )
        return cls(text)

    @classmethod
    def of(cls, content: bytes | memoryview) -> Digest:
        """Return the sha256 digest of `content`."""
        import hashlib  # loads OpenSSL, which a question about the index does not need

        return cls("sha256:" + hashlib.sha256(content).hexdigest())

    @property
    def algorithm(self) -> str:
        """The part before the colon."""
        return self.partition(":")[0]

    @property
    def hex(self) -> str:
        """The part after the colon."""
        return self.partition(":")[2]

    @property
    def short(self) -> str:
        """The first twelve hex digits, as docker shows an id."""
        return self.hex[:12]

    def hasher(self) -> hashlib._Hash:
        """Return a fresh hash object of this digest's algorithm."""
        import hashlib

        return hashlib.new(self.algorithm)


def is_digest(text: str) -> bool:
    """Whether `text` is a whole digest."""
    return re.match(_FORM, text) is not None


def hex_prefix(text: str) -> str | None:
    """Return the lower-case hex digits of a short id, with or without `sha256:` before it; None if it is not one."""
    digits = text.lower().removeprefix("sha256:")
    if 0 < len(digits) <= _HEX_LENGTH["sha256"] and all(c in "0123456789abcdef" for c in digits):
        return digits
    return None
