"""Manifests and configs of registries that a team shares: what one member has requested, no other one requests again.

They are kept by their digests and compared with these when they are read. So a member who can write to the catalogue
cannot change what a digest means. Without access to them, documents are requested from the registry.
"""

from __future__ import annotations

from imq.engine.oci.digest import Digest
from imq.engine.query.sql.postgresql_functions import SCHEMA
from imq.grammar.errors import ImqError
from imq.grammar.record import TYPE_CHECKING

from .connection import CatalogueError, get_driver_error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from imq.engine.catalog.schema import Raw
    from psycopg import Connection

_BATCH = 500
"""The number of documents that are read at once."""


class SharedDocuments:
    """The documents of a catalogue. `connect` returns its connection, or raises `CatalogueError`."""

    def __init__(self, connect: Callable[[], Connection[tuple[Raw, ...]]]) -> None:
        self._connect = connect
        self._is_readable = self._is_writable = True

    def read(self, digests: Sequence[Digest]) -> Iterator[tuple[Digest, str, bytes]]:
        """Yield the documents that are known of these digests, each with its media type, "" when it is not stated."""
        text = f"SELECT digest, media_type, content FROM {SCHEMA}.document WHERE digest = ANY(%s)"
        for start in range(0, len(digests), _BATCH):
            if not self._is_readable:
                return
            try:
                connection = self._connect()
                rows = connection.execute(text, (list(digests[start : start + _BATCH]),)).fetchall()
            except (CatalogueError, get_driver_error()):
                self._is_readable = self._is_writable = False  # the answer of the query reports it
                return
            for name, media_type, content in rows:
                document = bytes(content)  # type: ignore[arg-type] # a column of bytes
                digest = Digest(str(name))
                if _is_content(digest, document):
                    yield digest, str(media_type), document

    def add(self, documents: Iterable[tuple[Digest, str, bytes]]) -> None:
        """Add documents; those that are known already stay."""
        rows = list(documents)
        if not rows or not self._is_writable:
            return
        try:
            connection = self._connect()
            with connection.transaction():
                connection.execute(
                    "CREATE TEMP TABLE new_document (digest text, media_type text, content bytea) ON COMMIT DROP"
                )
                with connection.cursor() as cursor, cursor.copy("COPY new_document FROM STDIN") as copy:
                    for row in sorted(
                        rows
                    ):  # in one order: two writers of the same documents never wait for each other
                        copy.write_row(row)
                connection.execute(
                    f"INSERT INTO {SCHEMA}.document (digest, media_type, content)"
                    " SELECT DISTINCT ON (digest) digest, media_type, content FROM new_document ORDER BY digest"
                    " ON CONFLICT DO NOTHING"
                )
        except (CatalogueError, get_driver_error()):
            self._is_writable = False  # such as a user who may only read


def _is_content(digest: Digest, document: bytes) -> bool:
    try:
        return digest.matches(document)
    except ImqError:  # an unknown algorithm
        return False
