"""Messages of protocol buffers by their field numbers, without generated classes.

A field is a number (varint), bytes (strings, messages) or, repeated, a list of them. Fields that are not read are
skipped, so newer servers may send more of them.
"""

from __future__ import annotations

from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    Encodable = int | str | bytes | Sequence[str] | Mapping[str, str]

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_NANOSECONDS = 1_000_000_000


class MessageError(Exception):
    """A message is invalid."""


class Message:
    """A received message. A field that is missing is empty: 0, "", or a message without fields."""

    def __init__(self, content: bytes = b"") -> None:
        self._fields: dict[int, list[int | bytes]] = {}
        for number, value in _read_fields(content):
            self._fields.setdefault(number, []).append(value)

    def has(self, field: int) -> bool:
        """Whether the message has the field."""
        return field in self._fields

    def number(self, field: int) -> int:
        """Return a number."""
        value = self._fields.get(field, (0,))[-1]
        if not isinstance(value, int):
            raise MessageError(f"field {field} is not a number")
        return value

    def content(self, field: int) -> bytes:
        """Return bytes."""
        value = self._fields.get(field, (b"",))[-1]
        if not isinstance(value, bytes):
            raise MessageError(f"field {field} is not a string")
        return value

    def text(self, field: int) -> str:
        """Return a string. Bytes that are not UTF-8 are replaced."""
        return self.content(field).decode("utf-8", "replace")

    def texts(self, field: int) -> list[str]:
        """Return the strings of a repeated field. Bytes that are not UTF-8 are replaced."""
        values = self._fields.get(field, ())
        return [value.decode("utf-8", "replace") for value in values if isinstance(value, bytes)]

    def message(self, field: int) -> Message:
        """Return a message."""
        return Message(self.content(field))

    def messages(self, field: int) -> list[Message]:
        """Return the messages of a repeated field."""
        return [Message(value) for value in self._fields.get(field, ()) if isinstance(value, bytes)]

    def strings(self, field: int) -> dict[str, str]:
        """Return a map of strings to strings."""
        return {entry.text(1): entry.text(2) for entry in self.messages(field)}

    def time(self, field: int) -> int | None:
        """Return a time in nanoseconds since the epoch; None for a missing one, and for times up to the epoch."""
        if not self.has(field):
            return None
        stamp = self.message(field)
        seconds = stamp.number(1)
        return seconds * _NANOSECONDS + stamp.number(2) if 0 < seconds < 1 << 62 else None


def _read_fields(content: bytes) -> Iterator[tuple[int, int | bytes]]:
    at = 0
    while at < len(content):
        key, at = _read_varint(content, at)
        number, wire_type = key >> 3, key & 7
        if wire_type == _VARINT:
            value, at = _read_varint(content, at)
            yield number, value
            continue
        if wire_type == _BYTES:
            length, at = _read_varint(content, at)
        elif wire_type in (_FIXED64, _FIXED32):
            length = 8 if wire_type == _FIXED64 else 4
        else:
            raise MessageError(f"field {number} has the unknown wire type {wire_type}")
        if at + length > len(content):
            raise MessageError("a message is truncated")
        yield number, content[at : at + length]
        at += length


def _read_varint(content: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while shift < 70:
        if at >= len(content):
            raise MessageError("a message is truncated")
        byte = content[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if not byte & 0x80:
            return number, at
        shift += 7
    raise MessageError("a number has more than 64 bits")


def encode(fields: Mapping[int, Encodable]) -> bytes:
    """Return a message. Fields with an empty value are omitted, as in proto3."""
    message = bytearray()
    for number, value in fields.items():
        if isinstance(value, int):
            if value:
                message += _varint(number << 3) + _varint(value)
        elif isinstance(value, str | bytes):
            if value:
                message += _encode_bytes(number, value)
        elif hasattr(value, "items"):
            for key, text in value.items():
                message += _encode_bytes(number, encode({1: key, 2: text}))
        else:
            for text in value:
                message += _encode_bytes(number, text)
    return bytes(message)


def _encode_bytes(number: int, value: str | bytes) -> bytes:
    content = value.encode() if isinstance(value, str) else value
    return _varint(number << 3 | _BYTES) + _varint(len(content)) + content


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number >= 0x80:
        encoded.append(0x80 | number & 0x7F)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)
