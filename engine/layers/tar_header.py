"""Parses the fields of tar headers: numbers, names and pax records, in every format that layers have.

The formats are those of Go's archive/tar, which docker, containerd and skopeo use: v7, ustar, pax, GNU and star.
All functions raise `ValueError` with a short reason; the walker adds the position.
"""

from __future__ import annotations

from imq.grammar.record import TYPE_CHECKING
from isal.isal_zlib import adler32  # twice as fast as zlib's on few bytes

if TYPE_CHECKING:
    from collections.abc import Mapping

BLOCK_SIZE = 512
MAX_NUMBER = (1 << 63) - 1
"""The largest accepted number: sizes are summed and stored in 64 bits."""

_NANO_DIGITS = 9
_OCTAL_DIGITS = b"01234567"
_TERMINATORS = b"\0 "
_SPARSE_PAIR_KEYS = ("GNU.sparse.offset", "GNU.sparse.numbytes")
_USTAR, _GNU = b"ustar\x00", b"ustar "


def parse_number(field: bytes) -> int:
    """Read a numeric field: octal digits, or base 256 when the first bit is set (GNU, star)."""
    if field[-1] in _TERMINATORS and (common := field[:-1]).isdigit() and not common.strip(_OCTAL_DIGITS):
        return int(common, 8)  # as nearly all are written
    if field[0] & 0x80:
        raw = int.from_bytes(field) & ((1 << (8 * len(field) - 1)) - 1)
        value = raw - (1 << (8 * len(field) - 1)) if field[0] & 0x40 else raw
        if abs(value) > MAX_NUMBER:
            raise ValueError("a number of more than 63 bits")
        return value
    digits = field.strip(b" \x00").partition(b"\x00")[0].rstrip(b" ")
    if not digits:
        return 0
    if digits.strip(_OCTAL_DIGITS):
        shown = digits.decode("ascii", "backslashreplace")
        printable = "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in shown)
        raise ValueError(f'"{printable}" is not a number')
    return int(digits, 8)


def parse_size(field: bytes) -> int:
    """Read a size; it must not be negative."""
    value = parse_number(field)
    if value < 0:
        raise ValueError("a negative size")
    return value


def decode_name(raw: bytes) -> str:
    """Decode a name. Bytes that are not UTF-8 become surrogates, as in Python's file names."""
    return raw.partition(b"\x00")[0].decode("utf-8", "surrogateescape")


def sum_bytes(data: bytes) -> int:
    """Sum up to 256 bytes: adler32's low half is 1 + their sum, modulo 65,521, and computed in C."""
    return (adler32(data) & 0xFFFF) - 1


def has_valid_checksum(header: bytes) -> bool:
    """Whether the checksum of a header is right: the sum of its unsigned bytes or, as in old SunOS, signed bytes."""
    stored = parse_number(header[148:156])
    covered = header[:148] + header[156:]
    unsigned = 8 * 32 + sum_bytes(covered[:256]) + sum_bytes(covered[256:])
    if stored == unsigned:
        return True
    return stored == unsigned - 256 * sum(byte > 127 for byte in covered)


def read_path(header: bytes) -> bytes:
    """Return the name in the header itself, with the prefix field of ustar and star."""
    name = header[:100].partition(b"\x00")[0]
    if header[257:263] != _USTAR:
        return name
    width = 131 if header[508:512] == b"tar\x00" else 155
    prefix = header[345 : 345 + width].partition(b"\x00")[0]
    return prefix + b"/" + name if prefix else name


def read_owner_names(header: bytes) -> tuple[str, str]:
    """Return the names of user and group; empty in v7 headers."""
    if header[257:263] not in (_USTAR, _GNU):
        return "", ""
    return decode_name(header[265:297]), decode_name(header[297:329])


def read_device(header: bytes) -> tuple[int, int]:
    """Return the major and minor number of a device."""
    if header[257:263] not in (_USTAR, _GNU):
        return 0, 0
    return parse_number(header[329:337]), parse_number(header[337:345])


def parse_pax_records(body: bytes) -> dict[str, bytes]:
    """Read the records of a pax header: `LENGTH KEY=VALUE` and a newline; LENGTH is the size of the whole record."""
    records: dict[str, bytes] = {}
    pairs: list[bytes] = []
    start = 0
    while start < len(body) and body[start]:
        space = body.find(b" ", start, start + 20)
        digits = body[start:space]
        if space < 0 or not digits.isdigit():
            raise ValueError("a pax record without a length")
        end = start + int(digits)
        if end > len(body) or end <= space + 1 or body[end - 1] != 0x0A:
            raise ValueError("a pax record with a wrong length")
        key, equals, value = body[space + 1 : end - 1].partition(b"=")
        if not (key and equals):
            raise ValueError("a pax record without a key")
        name = key.decode("utf-8", "surrogateescape")
        if name in _SPARSE_PAIR_KEYS:
            pairs.append(value)
        else:
            records[name] = value
        start = end
    if pairs:  # format 0.0 has a record for each number, format 0.1 one for all
        records["GNU.sparse.map"] = b",".join(pairs)
    return records


def get_pax_number(records: Mapping[str, bytes], key: str, default: int) -> int:
    """Read a decimal number from pax records; an empty value revokes the record."""
    value = records.get(key)
    if not value:
        return default
    if not value.removeprefix(b"-").isdigit() or len(value) > len(str(MAX_NUMBER)) + 1:
        raise ValueError(f"{key} is not a number in a pax header")
    result = int(value)
    if abs(result) > MAX_NUMBER:
        raise ValueError(f"{key} has more than 63 bits in a pax header")
    return result


def get_pax_size(records: Mapping[str, bytes], key: str, default: int) -> int:
    """Read a size from pax records."""
    size = get_pax_number(records, key, default)
    if size < 0:
        raise ValueError("a negative size in a pax header")
    return size


def get_pax_string(records: Mapping[str, bytes], key: str, default: str) -> str:
    """Read a name from pax records."""
    value = records.get(key)
    if not value:
        return default
    if b"\x00" in value:
        raise ValueError(f"{key} has a NUL byte in a pax header")
    return value.decode("utf-8", "surrogateescape")


def get_pax_time(records: Mapping[str, bytes], key: str, default: int) -> int:
    """Read a time in seconds with a fraction; return it in nanoseconds since the epoch, rounded down."""
    value = records.get(key)
    if not value:
        return default
    seconds, _, fraction = value.removeprefix(b"-").partition(b".")
    if not (seconds + fraction).isdigit() or len(seconds) > _NANO_DIGITS + 3:
        raise ValueError(f"{key} is not a time in a pax header")
    nanoseconds = int((seconds or b"0") + fraction[:_NANO_DIGITS].ljust(_NANO_DIGITS, b"0"))
    return -nanoseconds if value.startswith(b"-") else nanoseconds
