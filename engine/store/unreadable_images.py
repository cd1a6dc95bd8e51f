"""Unreadable documents of images: their table in the index, and the errors about them.

The blobs of a manifest or index are unknown while it is unreadable, so they look unreachable. The index therefore
records unreadable documents. Each statement reads them again; until that succeeds no blob is collected.
"""

from __future__ import annotations

from imq.engine.oci import media_types
from imq.engine.oci.digest import Digest
from imq.engine.oci.manifest import Descriptor
from imq.grammar.errors import Malformed, NotFound, StoreError
from imq.grammar.record import TYPE_CHECKING, Record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from sqlite3 import Connection
    from typing import BinaryIO

    from imq.grammar.errors import ImqError

_COLUMNS = (
    "root, digest, media_type, size, is_config, is_absent, is_final, message, manifest,"
    " platform, os, architecture, variant, os_version"
)
_INSERT = f"INSERT INTO unreadable ({_COLUMNS}) VALUES ({', '.join('?' * (_COLUMNS.count(',') + 1))})"
_MANIFEST_TYPES = frozenset(
    media_types.INDEXES | media_types.MANIFESTS | {"", media_types.DOCKER_SCHEMA1, media_types.DOCKER_SCHEMA1_SIGNED}
)
UNREADABLE = "unreadable"
"""The code of the error for an image that cannot be read."""
_BLANKS = b" \t\r\n\0\xef\xbb\xbf\xfe\xff"
"""Bytes before a JSON object: blanks, and byte order marks, also of UTF-16 and UTF-32, where a letter has zeros."""
_PEEK_SIZE = 64 << 10
"""Bytes that are read to check whether a document begins like a JSON object."""
_MAX_LISTED = 5
"""The maximum number of images that a message names."""
_HINTS = (
    "verify all lists everything that is damaged; verify all repair fetches it again; rm NAME removes the image",
    "each statement reads it again; until that succeeds no blob is removed from the store",
)


class UnreadableDocument(Record):
    """A document that cannot be read. `manifest` is the manifest or index that has a row without an image.

    `is_absent`: it is missing, but its index does not say which manifests it holds, so it may never have been here.
    """

    document: Descriptor
    problem: ImqError
    manifest: Descriptor | None = None
    is_config: bool = False
    is_absent: bool = False

    @property
    def is_final(self) -> bool:
        """Whether the document is intact but invalid, so that reading it again does not help."""
        return isinstance(self.problem, Malformed) and self.problem.code != "document-size"

    def __hash__(self) -> int:
        """Hash by document: errors are compared by identity."""
        return hash((self.document.digest, self.is_config))


def is_opaque(descriptor: Descriptor, problem: ImqError, open_blob: Callable[[Digest], BinaryIO]) -> bool:
    """Whether a document is certainly not a manifest: index.json and indexes may list blobs of any media type.

    The media type is a claim of another document, so the content decides. Anything that may be a JSON object may refer
    to blobs, even if it is invalid or too large to be read.
    """
    if descriptor.media_type in _MANIFEST_TYPES:
        return False
    if not isinstance(problem, Malformed) or problem.code not in ("json", "document"):
        return False
    try:
        with open_blob(descriptor.digest) as source:
            beginning = source.read(_PEEK_SIZE)
    except OSError:
        return False
    text = beginning.lstrip(_BLANKS)
    return not text.startswith(b"{") if text else len(beginning) < _PEEK_SIZE


def insert(connection: Connection, documents: Iterable[tuple[Digest, UnreadableDocument]]) -> None:
    """Insert unreadable documents, each with its root: the digest of the descriptor in index.json."""
    connection.executemany(_INSERT, [_build_row(root, unreadable) for root, unreadable in documents])


def delete(connection: Connection, roots: Iterable[str]) -> None:
    """Delete the unreadable documents of these roots."""
    connection.executemany("DELETE FROM unreadable WHERE root = ?", [(root,) for root in roots])


def find_roots(connection: Connection) -> set[str]:
    """Return the roots with unreadable documents, absent ones included."""
    return {root for (root,) in connection.execute("SELECT DISTINCT root FROM unreadable")}


def find_unreadable_roots(connection: Connection) -> set[str]:
    """Return the roots with unreadable documents that should be in the store."""
    return {root for (root,) in connection.execute("SELECT DISTINCT root FROM unreadable WHERE NOT is_absent")}


def find_incomplete_roots(connection: Connection) -> dict[str, str]:
    """Return the roots whose blobs are not all known, with their names."""
    rows = connection.execute(
        "SELECT DISTINCT root, (SELECT min(name) FROM entry WHERE entry.root = unreadable.root)"
        " FROM unreadable WHERE NOT is_config ORDER BY root"
    )
    return {root: name or Digest(root).short for root, name in rows}


def iter_retryable(connection: Connection) -> Iterator[tuple[Digest, Descriptor, bool]]:
    """Yield the root and the descriptor of each document that may be readable now, and whether it is a config."""
    rows = connection.execute("SELECT root, media_type, digest, size, is_config FROM unreadable WHERE NOT is_final")
    for root, media_type, digest, size, is_config in rows.fetchall():
        yield Digest(root), Descriptor(media_type, Digest(digest), size), bool(is_config)


def list_problems(connection: Connection) -> tuple[ImqError, ...]:
    """Return an error for each unreadable image; after the first few, one error with the number of the others."""
    if connection.execute("SELECT 1 FROM unreadable WHERE NOT is_absent LIMIT 1").fetchone() is None:
        return ()
    rows = connection.execute(
        "SELECT root, (SELECT min(name) FROM entry WHERE entry.root = unreadable.root), min(message), count(*)"
        " FROM unreadable WHERE NOT is_absent GROUP BY root ORDER BY 2, 1"
    ).fetchall()
    errors: list[ImqError] = []
    for root, name, message, count in rows[:_MAX_LISTED]:
        more = f" (and {count - 1} more of its documents)" if count > 1 else ""
        errors.append(StoreError(f"{name or Digest(root).short} cannot be read: {message}{more}", code="unreadable"))
    if len(rows) > _MAX_LISTED:
        errors.append(StoreError(f"{len(rows) - _MAX_LISTED} more images cannot be read", code="unreadable"))
    errors[-1].hints = _HINTS
    return tuple(errors)


def find_problem(connection: Connection, root: str) -> NotFound | None:
    """Return the error of the unreadable documents of a root; None when all can be read, or were never here."""
    row = connection.execute(
        "SELECT (SELECT min(name) FROM entry WHERE entry.root = unreadable.root), message FROM unreadable"
        " WHERE root = ? AND NOT is_absent ORDER BY is_config, digest LIMIT 1",
        (root,),
    ).fetchone()
    if row is None:
        return None
    return NotFound(f"{row[0] or Digest(root).short} cannot be read: {row[1]}", code=UNREADABLE, hints=_HINTS[:1])


def find_named_problem(connection: Connection, name: str, digits: str) -> NotFound | None:
    """Return the error of the unreadable image with this name, or with these first digits of its root."""
    low, high = f"sha256:{digits}", f"sha256:{digits}g"
    condition = "name = ?" if not digits else "(name = ? OR root >= ? AND root < ?)"
    values = (name,) if not digits else (name, low, high)
    row = connection.execute(f"SELECT root FROM entry WHERE {condition} AND image IS NULL LIMIT 1", values).fetchone()
    return find_problem(connection, row[0]) if row is not None else None


def unreadable_image(name: str) -> StoreError:
    """Return the error for an action that needs an image that is unreadable."""
    return StoreError(f"{name} cannot be read, so it was left alone", code="unreadable", hints=_HINTS[:1])


def collection_blocked(unreadable: Iterable[str]) -> StoreError:
    """Return the error for a collection that is blocked by unreadable images; `unreadable` has their names."""
    names = sorted(unreadable)
    shown = ", ".join(names[:_MAX_LISTED]) + (
        f" and {len(names) - _MAX_LISTED} more" if len(names) > _MAX_LISTED else ""
    )
    return StoreError(
        f"nothing is collected: {shown} cannot be read completely and may need any of the blobs",
        code="unreadable",
        hints=("verify all lists the damage; verify all repair repairs it; rm NAME removes the image",),
    )


def _build_row(root: Digest, unreadable: UnreadableDocument) -> tuple[str | int | None, ...]:
    document, manifest = unreadable.document, unreadable.manifest
    platform = manifest.platform if manifest is not None else None
    platform_columns: tuple[str | None, ...] = (None,) * 5
    if platform is not None and platform.is_known:
        variant, os_version = platform.variant or None, platform.os_version or None
        platform_columns = (platform.canonical, platform.os, platform.architecture, variant, os_version)
    return (
        root,
        document.digest,
        document.media_type,
        document.size,
        unreadable.is_config,
        unreadable.is_absent,
        unreadable.is_final,
        unreadable.problem.message,
        manifest.digest if manifest is not None else None,
        *platform_columns,
    )
