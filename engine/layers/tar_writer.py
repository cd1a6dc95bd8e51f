"""Writes the headers of tar archives in the pax format: plain ustar, and a record for what does not fit into it.

The bytes are those of the standard library (`tarfile.PAX_FORMAT`), whose module takes 4 ms to import, as long as the
headers of a hundred files.
"""

from __future__ import annotations

from imq.grammar.record import TYPE_CHECKING

from .tar_header import BLOCK_SIZE, sum_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping

FILE, HARD_LINK, SYMLINK, CHAR, BLOCK, DIRECTORY, FIFO = b"0", b"1", b"2", b"3", b"4", b"5", b"6"
"""Types of entries."""
_RECORDS = b"x"
"""The type of the header before the records of an entry."""
_RECORDS_NAME = "././@PaxHeader"
_NAME_SIZE = 100
_MAGIC = b"ustar\x0000"
_CHECKSUM = slice(148, 156)
_NO_CHECKSUM = b" " * 8
_NO_DEVICE = bytes(16)
_OWNER_NAMES = bytes(64)
_BINARY = b"21 hdrcharset=BINARY\n"
"""The record before others whose values are not all UTF-8."""


class TarHeader:
    """The header of one entry. Names that are not UTF-8 have surrogates; `mtime` is in seconds since the epoch.

    `records` are further pax records by their keys. Owners are numeric only.
    """

    __slots__ = ("device", "gid", "kind", "link_target", "mode", "mtime", "name", "records", "size", "uid")

    def __init__(self, name: str, kind: bytes = FILE) -> None:
        self.name = name
        self.kind = kind
        self.mode = 0o644
        self.uid = 0
        self.gid = 0
        self.size = 0
        self.mtime = 0
        self.link_target = ""
        self.device = (0, 0)
        """The major and minor number of a device."""
        self.records: Mapping[str, str] = {}

    def encode(self) -> bytes:
        """Return the blocks of the header. Raises `ValueError` for a device number of more than 21 bits."""
        name = f"{self.name}/" if self.kind == DIRECTORY and not self.name.endswith("/") else self.name
        records = dict(self.records)
        for key, text in (("path", name), ("linkpath", self.link_target)):
            if key not in records and (len(text) > _NAME_SIZE or not text.isascii()):
                records[key] = text
        numbers = []
        for key, value, digits in (
            ("uid", self.uid, 7),
            ("gid", self.gid, 7),
            ("size", self.size, 11),
            ("mtime", self.mtime, 11),
        ):
            fits = 0 <= value < 8**digits
            if not fits:
                records.setdefault(key, str(value))
            numbers.append(_encode_number(value if fits else 0, digits))
        device = _NO_DEVICE
        if self.kind in (CHAR, BLOCK):
            device = b"".join(_encode_number(number, 7) for number in self.device)
        fields = (_encode_number(self.mode & 0o7777, 7), *numbers)
        own = _encode_block(name, self.kind, fields, self.link_target, device)
        return _encode_records(records) + own if records else own


def _encode_number(value: int, digits: int) -> bytes:
    if not 0 <= value < 8**digits:
        raise ValueError(f"{value} does not fit into {digits} octal digits")
    return b"%0*o\0" % (digits, value)


def _encode_name(text: str) -> bytes:
    return text.encode("ascii", "replace")[:_NAME_SIZE].ljust(_NAME_SIZE, b"\0")


def _encode_block(name: str, kind: bytes, fields: tuple[bytes, ...], link_target: str, device: bytes) -> bytes:
    """Return one header block. `fields` are mode, owner, group, size and time."""
    before, after = _encode_name(name) + b"".join(fields), kind + _encode_name(link_target) + _MAGIC
    block = (before + _NO_CHECKSUM + after + _OWNER_NAMES + device).ljust(BLOCK_SIZE, b"\0")
    checksum = sum_bytes(block[: BLOCK_SIZE // 2]) + sum_bytes(block[BLOCK_SIZE // 2 :])
    return b"%b%06o\0 %b" % (block[: _CHECKSUM.start], checksum, block[_CHECKSUM.stop :])


def _encode_records(records: Mapping[str, str]) -> bytes:
    """Return the header with the records of the entry after it, and the records, as whole blocks."""
    content = b"".join(_encode_record(key, value) for key, value in records.items())
    if not all(map(_is_utf8, records.values())):
        content = _BINARY + content
    zero, size = _encode_number(0, 7), _encode_number(len(content), 11)
    block = _encode_block(_RECORDS_NAME, _RECORDS, (zero, zero, zero, size, _encode_number(0, 11)), "", _NO_DEVICE)
    return block + content + bytes(-len(content) % BLOCK_SIZE)


def _encode_record(key: str, value: str) -> bytes:
    """Return a record, which begins with its own length in decimal digits."""
    body = b" %b=%b\n" % (key.encode(), value.encode("utf-8", "surrogateescape"))
    length = len(body)
    while (whole := len(body) + len(str(length))) != length:
        length = whole
    return b"%d%b" % (length, body)


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
