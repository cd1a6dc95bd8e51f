"""The index of one layer as one object: the database of its scan, compressed with zstd, with a checksum.

It is sent from a worker to the coordinator, and kept in the shared cache of indexes. Others may have written it, so
it is checked before it is attached: the checksum, the tables, the layer and the version of the scan.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from functools import cache

from imq.grammar.errors import Malformed
from imq.grammar.record import TYPE_CHECKING

from .schema import SCAN_TABLES, SCAN_VERSION

if TYPE_CHECKING:
    from typing import Any

    from imq.engine.oci.digest import Digest

_LEVEL = 3
_CHUNK = 1 << 20
MAX_UNPACKED = 4 << 30
"""The most bytes of the database of one layer: about 40,000,000 paths."""
_TABLES = "SELECT type, name, tbl_name, sql FROM {schema}.sqlite_schema ORDER BY type, name"


def pack_index(path: str) -> bytes:
    """Return the database of a scan at `path`, packed."""
    from imq.engine.layers.zstd import zstd

    options: dict[int, int] = {
        zstd.CompressionParameter.compression_level: _LEVEL,
        zstd.CompressionParameter.checksum_flag: 1,
    }
    compressor = zstd.ZstdCompressor(options=options)
    parts = []
    with open(path, "rb") as file:
        while piece := file.read(_CHUNK):
            parts.append(compressor.compress(piece))
    parts.append(compressor.flush())
    return b"".join(parts)


def read_index(packed: bytes, diff_id: Digest, limit: int) -> bytes | None:
    """Return the database of the index of a layer, which is not checked; None when it has more than `limit` bytes.

    Raises `Malformed` (code `layer-index`) when it is damaged.
    """
    from imq.engine.layers.zstd import zstd

    decompressor = zstd.ZstdDecompressor()
    try:
        content: bytes = decompressor.decompress(packed, limit + 1)
    except zstd.ZstdError as error:
        raise _make_error(diff_id, str(error)) from None
    if len(content) > limit:
        return None
    _check_end(decompressor, diff_id)
    return content


def _check_end(decompressor: Any, diff_id: Digest) -> None:
    if not decompressor.eof or decompressor.unused_data:
        raise _make_error(diff_id, "it is truncated" if not decompressor.eof else "more bytes follow it")


def unpack_index(packed: bytes, path: str, diff_id: Digest) -> None:
    """Write the database of the index of a layer to `path`.

    Raises `Malformed` (code `layer-index`) when it is damaged, not the index of this layer, or of another version.
    """
    from imq.engine.layers.zstd import zstd

    decompressor = zstd.ZstdDecompressor()
    size = 0
    try:
        with open(path, "wb") as file:
            piece = decompressor.decompress(packed, _CHUNK)
            while True:
                size += len(piece)
                if size > MAX_UNPACKED:
                    raise _make_error(diff_id, f"it has more than {MAX_UNPACKED >> 30} GiB")
                file.write(piece)
                if decompressor.eof or (not piece and decompressor.needs_input):
                    break
                piece = decompressor.decompress(b"", _CHUNK)
    except zstd.ZstdError as error:
        raise _make_error(diff_id, str(error)) from None
    _check_end(decompressor, diff_id)
    _check_database(path, diff_id)


def _check_database(path: str, diff_id: Digest) -> None:
    from urllib.parse import quote

    try:
        connection = sqlite3.connect(f"file:{quote(path)}?mode=ro&immutable=1", uri=True)
    except sqlite3.Error as error:
        raise _make_error(diff_id, str(error)) from None
    with closing(connection):
        check_tables(connection, "main", diff_id)


def check_tables(connection: sqlite3.Connection, schema: str, diff_id: Digest) -> None:
    """Check that an attached database has the tables of a scan and nothing else, for this layer and version.

    Raises `Malformed` (code `layer-index`).
    """
    try:
        tables = connection.execute(_TABLES.format(schema=schema)).fetchall()
        if tables != _list_tables():
            raise _make_error(diff_id, "it has other tables")
        rows = connection.execute(f"SELECT diff_id, version FROM {schema}.scan").fetchall()
    except sqlite3.Error as error:
        raise _make_error(diff_id, str(error)) from None
    if rows != [(str(diff_id), SCAN_VERSION)]:
        found = " and ".join(f"{layer} by version {version} of the scan" for layer, version in rows) or "no layer"
        raise _make_error(diff_id, f"it is of {found}, expected version {SCAN_VERSION}")


@cache
def _list_tables() -> list[tuple[str, str, str, str | None]]:
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(SCAN_TABLES)
        return connection.execute(_TABLES.format(schema="main")).fetchall()


def _make_error(diff_id: Digest, reason: str) -> Malformed:
    return Malformed(f"the index of the layer {diff_id} is damaged: {reason}", code="layer-index")
