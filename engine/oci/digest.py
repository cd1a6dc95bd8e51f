"""Content digests: the names of blobs.

A digest that exists is well formed. Documents may name blobs by algorithms that cannot be computed here: such a digest
is kept as it is, and refused when the blob is needed.
"""

from __future__ import annotations

import re

from imq.grammar.errors import Malformed
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    import hashlib

_HEX_LENGTH = {"sha256": 64, "sha384": 96, "sha512": 128}
"""The algorithms that can be computed here, and the hex digits of each."""
_SUPPORTED = r"(sha256:[0-9a-f]{64}|sha384:[0-9a-f]{96}|sha512:[0-9a-f]{128})\Z"
_GRAMMAR = r"([a-z0-9]+(?:[+._-][a-z0-9]+)*):[A-Za-z0-9=_-]+\Z"
"""The image specification's grammar of all digests."""
_MAX_LENGTH = 255
"""Characters of a digest: as many as the name of a file may have."""


class Digest(str):
    """`ALGORITHM:ENCODED`, of sha256, sha384 and sha512 the hex digits. Being a `str`, it is stored as it is."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: object) -> Digest:
        """Return the digest that `text` writes, of an algorithm that can be computed, or raise `Malformed`."""
        digest = cls.parse_any(text)
        digest.require_supported()
        return digest

    @classmethod
    def parse_any(cls, text: object) -> Digest:
        """Return the digest that `text` writes, of whatever algorithm, or raise `Malformed`."""
        if isinstance(text, str) and not re.match(_SUPPORTED, text):
            match = re.match(_GRAMMAR, text) if len(text) <= _MAX_LENGTH else None
            if match is not None and match[1] not in _HEX_LENGTH:
                return cls(text)
        elif isinstance(text, str):
            return cls(text)
        raise Malformed(
            f"not a digest: {str(text)[:100]!r}",
            code="digest",
            hints=("a digest is sha256: and 64 hex digits, sha384: and 96, or sha512: and 128",),
        )

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
    def encoded(self) -> str:
        """The part after the colon."""
        return self.partition(":")[2]

    @property
    def short(self) -> str:
        """The first twelve hex digits, as docker shows an id."""
        return self.encoded[:12]

    @property
    def is_supported(self) -> bool:
        """Whether content can be checked against it here."""
        return self.algorithm in _HEX_LENGTH

    def require_supported(self, name: str = "the digest") -> None:
        """Raise `Malformed` (code `digest-algorithm`) when no content can be checked against it; `what` says whose."""
        if not self.is_supported:
            raise Malformed(
                f"{name} {self[:100]!r} cannot be checked: the algorithm {self.algorithm[:40]!r} is not known",
                code="digest-algorithm",
                hints=("sha256, sha384 and sha512 are known; ask its publisher to build the image with sha256",),
            )

    def new_hash(self) -> hashlib._Hash:
        """Return a fresh hash object of this digest's algorithm; raises `Malformed` when it is unknown."""
        import hashlib

        self.require_supported()
        return hashlib.new(self.algorithm)


def is_digest(text: str) -> bool:
    """Whether `text` is a whole digest of an algorithm that can be computed here."""
    return re.match(_SUPPORTED, text) is not None


def parse_hex_prefix(text: str) -> str | None:
    """Return the lower-case hex digits of a short id, with or without `sha256:` before it; None if it is not one."""
    digits = text.lower().removeprefix("sha256:")
    if 0 < len(digits) <= _HEX_LENGTH["sha256"] and all(c in "0123456789abcdef" for c in digits):
        return digits
    return None
