"""What the text of the documents below each root mentions: which of them must be read before blobs are removed.

The tables of images are derived, and may lack rows. So blobs are removed only after the documents that may mention them
have been read. The beginnings of all digests in the text of a root's documents are stored with a checksum, apart from
those tables. A root without a valid record is read itself, as is one that mentions a blob.
"""

from __future__ import annotations

from zlib import crc32

from imq.engine.oci.digest import Digest
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from sqlite3 import Connection

_HEX_DIGITS = rb"[0-9a-f]{64,}"
"""The encoded part of a digest, in the text of a document."""
_LENGTH = 8
"""Bytes of a digest that are stored; an equal beginning of another one causes a document to be read."""
_RESIDUE = 0x2144DF1C
"""The CRC-32 of any content with its own CRC-32 at the end."""
_BATCH = 4096
"""The number of records that are read at once."""
_FEW = 64
"""The number of blobs up to which searching for each is faster than splitting the records."""


def find_mentions(content: bytes) -> bytes | None:
    """Return the beginnings of the digests in the text of a document; None when escapes may hide one."""
    import re

    if b"\\" in content:
        return None
    found = dict.fromkeys(digits[: 2 * _LENGTH] for digits in re.findall(_HEX_DIGITS, content.lower()))
    return bytes.fromhex(b"".join(found).decode())


def may_mention(content: bytes, blobs: Iterable[str]) -> bool:
    """Whether the text of a document may mention one of these blobs."""
    found, beginnings = find_mentions(content), _find_beginnings(blobs)
    return found is None or beginnings is None or not _split(found).isdisjoint(beginnings)


def insert(connection: Connection, mentions: Mapping[Digest, bytes]) -> None:
    """Store what the documents of each root mention."""
    connection.executemany(
        "INSERT OR REPLACE INTO mention (root, digests) VALUES (?, ?)",
        [(root, _seal(digests)) for root, digests in mentions.items()],
    )


def delete(connection: Connection, root: str) -> None:
    """Delete the record of a root."""
    connection.execute("DELETE FROM mention WHERE root = ?", (root,))


def find_possible_users(connection: Connection, roots: set[bytes], blobs: Iterable[str]) -> Iterator[str]:
    """Yield those of the roots that may mention any of the blobs, and those without a valid record.

    Records are checked and searched by the thousand: a call for each would take most of the time. `roots` is emptied:
    a second set of all of them would take as much memory again.
    """
    beginnings = _find_beginnings(blobs)
    cursor = connection.execute("SELECT CAST(root AS BLOB), CAST(digests AS BLOB) FROM mention")
    while beginnings is not None and (rows := cursor.fetchmany(_BATCH)):
        checksums = [crc32(record) for _, record in rows]
        if checksums.count(_RESIDUE) < len(rows):
            rows = [row for row, checksum in zip(rows, checksums, strict=True) if checksum == _RESIDUE]
        text = b"".join([record for _, record in rows])
        if (
            any(one in text for one in beginnings)
            if len(beginnings) <= _FEW
            else not beginnings.isdisjoint(_split(text))
        ):
            for root, record in rows:
                if root in roots and not beginnings.isdisjoint(_split(record)):
                    yield root.decode()
        roots.difference_update([root for root, _ in rows])
    for root in roots:
        yield root.decode()
    roots.clear()


def _find_beginnings(blobs: Iterable[str]) -> set[bytes] | None:
    """Return the beginnings of the digests of blobs; None when one is of an unsupported algorithm."""
    beginnings = set()
    for blob in map(Digest, blobs):
        if not blob.is_supported:
            return None
        beginnings.add(bytes.fromhex(blob.encoded[: 2 * _LENGTH]))
    return beginnings


def _split(records: bytes) -> set[bytes]:
    return {records[at : at + _LENGTH] for at in range(0, len(records), _LENGTH)}


def _seal(digests: bytes) -> bytes:
    """Return a record: what is mentioned, padding and a checksum, so that all records have the same checksum."""
    padded = digests + bytes(_LENGTH // 2)
    return padded + crc32(padded).to_bytes(_LENGTH // 2, "little")
