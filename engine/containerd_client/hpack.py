"""HPACK, the header compression of HTTP/2 (RFC 7541): as much as a client of one server on a unix socket needs.

Requests are encoded without compression. Responses may use everything that the RFC has.
"""

from __future__ import annotations

from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_STATIC = tuple(
    tuple(entry.replace(",", ", ").partition("=")[::2])
    for entry in [
        ":authority",
        ":method=GET",
        ":method=POST",
        ":path=/",
        ":path=/index.html",
        ":scheme=http",
        ":scheme=https",
        ":status=200",
        ":status=204",
        ":status=206",
        ":status=304",
        ":status=400",
        ":status=404",
        ":status=500",
        "accept-charset",
        "accept-encoding=gzip,deflate",
        "accept-language",
        "accept-ranges",
        "accept",
        "access-control-allow-origin",
        "age",
        "allow",
        "authorization",
        "cache-control",
        "content-disposition",
        "content-encoding",
        "content-language",
        "content-length",
        "content-location",
        "content-range",
        "content-type",
        "cookie",
        "date",
        "etag",
        "expect",
        "expires",
        "from",
        "host",
        "if-match",
        "if-modified-since",
        "if-none-match",
        "if-range",
        "if-unmodified-since",
        "last-modified",
        "link",
        "location",
        "max-forwards",
        "proxy-authenticate",
        "proxy-authorization",
        "range",
        "referer",
        "refresh",
        "retry-after",
        "server",
        "set-cookie",
        "strict-transport-security",
        "transfer-encoding",
        "user-agent",
        "vary",
        "via",
        "www-authenticate",
    ]
)
"""The static table, appendix A."""
_CODE_LENGTHS = (
    "=GLLLLLLLHNLLNLLLLLLLLNLLLLLLLLL6::<=68;::8;8666555666666678?6<:=677777777777777777777"
    "77878=C=>6?56565666577666567655677777?;>=LDFDDFFFGFGGGGGHGHHFGHGGGGEFGFGGHFEDFFGGEGFFH"
    "EFGGEEFEGFGGDFFFGFFGJJDCFGFIJJJKKJHICEJKKJKHEEJJLKKKDHDEFEEGFFIIHHJGJKJJKKKKKLKKKKKJN"
)
"""The number of bits of the Huffman code of each byte, and of the end of a string: the character `0` plus the number.

The code is canonical: its codes ascend by length, then by byte, so appendix B follows from the lengths.
"""
_END_OF_STRING = 256
_MAX_TABLE = 4096
"""The size of the dynamic table until a setting changes it, in bytes."""
_ENTRY_OVERHEAD = 32


class HeaderError(Exception):
    """A header block is invalid."""


def encode_headers(headers: Iterable[tuple[str, str]]) -> bytes:
    """Return a header block: each header as a literal that is not indexed."""
    block = bytearray()
    for name, value in headers:
        block.append(0)
        for text in (name, value):
            content = text.encode()
            block += _encode_number(len(content)) + content
    return bytes(block)


def _encode_number(number: int) -> bytes:
    """Encode a number with a prefix of 7 bits, of which the bit before is 0."""
    if number < 0x7F:
        return bytes((number,))
    encoded = bytearray((0x7F,))
    number -= 0x7F
    while number >= 0x80:
        encoded.append(0x80 | number & 0x7F)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


class HeaderDecoder:
    """Decodes the header blocks of one connection, in their order."""

    def __init__(self) -> None:
        self._dynamic: list[tuple[str, str]] = []  # the newest first
        self._max_size = _MAX_TABLE

    def decode(self, block: bytes) -> list[tuple[str, str]]:
        """Return the headers of a block. Raises `HeaderError`."""
        try:
            return self._decode(block)
        except IndexError:
            raise HeaderError("a header block is truncated, or has an unknown index") from None

    def _decode(self, block: bytes) -> list[tuple[str, str]]:
        headers: list[tuple[str, str]] = []
        at = 0
        while at < len(block):
            first = block[at]
            if first & 0x80:
                index, at = _read_number(block, at, 7)
                headers.append(self._get(index))
            elif first & 0xE0 == 0x20:
                self._max_size, at = _read_number(block, at, 5)
                if self._max_size > _MAX_TABLE:
                    raise HeaderError("the table of headers is larger than allowed")
                self._evict()
            else:
                is_indexed = bool(first & 0x40)
                index, at = _read_number(block, at, 6 if is_indexed else 4)
                if index:
                    name = self._get(index)[0]
                else:
                    name, at = _read_string(block, at)
                value, at = _read_string(block, at)
                headers.append((name, value))
                if is_indexed:
                    self._dynamic.insert(0, (name, value))
                    self._evict()
        return headers

    def _get(self, index: int) -> tuple[str, str]:
        if index == 0:
            raise HeaderError("a header has the index 0")
        if index <= len(_STATIC):
            name, value = _STATIC[index - 1]
            return name, value
        return self._dynamic[index - len(_STATIC) - 1]

    def _evict(self) -> None:
        size = sum(len(name) + len(value) + _ENTRY_OVERHEAD for name, value in self._dynamic)
        while size > self._max_size:
            name, value = self._dynamic.pop()
            size -= len(name) + len(value) + _ENTRY_OVERHEAD


def _read_number(block: bytes, at: int, bits: int) -> tuple[int, int]:
    """Return a number with a prefix of this many bits, and the position after it."""
    limit = (1 << bits) - 1
    number = block[at] & limit
    at += 1
    if number < limit:
        return number, at
    shift = 0
    while True:
        byte = block[at]
        at += 1
        number += (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            return number, at
        if shift > 28:
            raise HeaderError("a number of a header block is too large")


def _read_string(block: bytes, at: int) -> tuple[str, int]:
    is_compressed = bool(block[at] & 0x80)
    length, start = _read_number(block, at, 7)
    end = start + length
    if end > len(block):
        raise HeaderError("a header block is truncated")
    content = block[start:end]
    return (decode_huffman(content) if is_compressed else content).decode("utf-8", "replace"), end


_codes: dict[tuple[int, int], int] = {}


def _get_codes() -> dict[tuple[int, int], int]:
    """Return the bytes of the Huffman code, by their number of bits and their code."""
    if not _codes:
        lengths = [ord(character) - ord("0") for character in _CODE_LENGTHS]
        code = previous = 0
        for symbol in sorted(range(len(lengths)), key=lambda symbol: (lengths[symbol], symbol)):
            code = (code + 1) << (lengths[symbol] - previous) if previous else 0
            previous = lengths[symbol]
            _codes[previous, code] = symbol
    return _codes


def decode_huffman(content: bytes) -> bytes:
    """Return the bytes of a string in the Huffman code. Raises `HeaderError`."""
    codes = _get_codes()
    decoded = bytearray()
    code = bits = 0
    for byte in content:
        for shift in range(7, -1, -1):
            code = code << 1 | byte >> shift & 1
            bits += 1
            symbol = codes.get((bits, code))
            if symbol is not None:
                if symbol == _END_OF_STRING:
                    raise HeaderError("a string of a header goes on after its end")
                decoded.append(symbol)
                code = bits = 0
            elif bits > 30:
                raise HeaderError("a string of a header is not in the Huffman code")
    if bits > 7 or code != (1 << bits) - 1:
        raise HeaderError("a string of a header is padded with other bits than 1")
    return bytes(decoded)
