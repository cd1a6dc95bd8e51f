"""Content digests, the identifiers of blobs.

A `Digest` is always well-formed. Documents may have digests of unsupported algorithms: such a digest is preserved, and
rejected only when its blob is needed.
"""

from __future__ import annotations

import re

from imq.grammar.errors import Malformed
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    import hashlib

_HEX_LENGTH = {"sha256": 64, "sha384": 96, "sha512": 128}
"""The supported algorithms, and the number of hex digits of each."""
_SUPPORTED = r"(sha256:[0-9a-f]{64}|sha384:[0-9a-f]{96}|sha512:[0-9a-f]{128})\Z"
_GRAMMAR = r"([a-z0-9]+(?:[+._-][a-z0-9]+)*):[A-Za-z0-9=_-]+\Z"
"""The grammar of digests in the image specification."""
_MAX_LENGTH = 255
"""The maximum length of a digest, which is that of a file name."""


class Digest(str):
    """`ALGORITHM:ENCODED`; for sha256, sha384 and sha512, ENCODED are hex digits. As a `str` it is stored directly."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: object) -> Digest:
        """Parse a digest of a supported algorithm. Raises `Malformed`."""
        digest = cls.parse_any(text)
        digest.require_supported()
        return digest

    @classmethod
    def parse_any(cls, text: object) -> Digest:
        """Parse a digest of any algorithm. Raises `Malformed`."""
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
        """Return the SHA-256 digest of `content`."""
        import hashlib  # loads OpenSSL, which queries of the index do not need

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
        """The first twelve hex digits, as in docker's short IDs."""
        return self.encoded[:12]

    @property
    def is_supported(self) -> bool:
        """Whether the algorithm is supported, so that content can be verified."""
        return self.algorithm in _HEX_LENGTH

    def require_supported(self, name: str = "the digest") -> None:
        """Raise `Malformed` (code `digest-algorithm`) for an unsupported algorithm; `name` starts the message."""
        if not self.is_supported:
            raise Malformed(
                f"{name} {self[:100]!r} cannot be verified: unknown algorithm {self.algorithm[:40]!r}",
                code="digest-algorithm",
                hints=("supported are sha256, sha384 and sha512; ask the publisher to build the image with sha256",),
            )

    def new_hash(self) -> hashlib._Hash:
        """Return a new hash object of this digest's algorithm. Raises `Malformed` when it is not supported."""
        import hashlib

        self.require_supported()
        return hashlib.new(self.algorithm)

    def matches(self, content: bytes | memoryview) -> bool:
        """Whether this is the digest of `content`; raises `Malformed` when the algorithm is unknown."""
        hasher = self.new_hash()
        hasher.update(content)
        return hasher.hexdigest() == self.encoded


def is_digest(text: str) -> bool:
    """Whether a string is a complete digest of a supported algorithm."""
    return re.match(_SUPPORTED, text) is not None


def explain_digest(text: str) -> str:
    """Return what is wrong with a string that is written like a digest; an empty string when it is not like one."""
    algorithm, colon, digits = text.lower().rpartition(":")
    if not colon:
        algorithm = "sha256"
        if len(digits) <= _HEX_LENGTH[algorithm]:
            return ""
    length = _HEX_LENGTH.get(algorithm)
    if length is None:
        return f'"{algorithm}" is not the algorithm of a digest: expected {", ".join(_HEX_LENGTH)}'
    if wrong := next((letter for letter in digits if letter not in "0123456789abcdef"), ""):
        return f'a digest is hexadecimal, and "{wrong}" is not a hex digit'
    return f"a digest of {algorithm} has {length} hex digits, not {len(digits)}" if len(digits) != length else ""


def parse_hex_prefix(text: str) -> str | None:
    """Return the lower-case hex digits of a short ID, with or without `sha256:`; None for other strings."""
    digits = text.lower().removeprefix("sha256:")
    if 0 < len(digits) <= _HEX_LENGTH["sha256"] and all(c in "0123456789abcdef" for c in digits):
        return digits
    return None
