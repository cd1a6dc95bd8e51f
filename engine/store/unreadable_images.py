"""Documents of images that cannot be read: what the index remembers of them, and what is said of them.

What a manifest or index names is not known while it cannot be read, so its blobs look as if nothing needed them. The
index therefore remembers that, and the next question tries again: until then nothing is collected.
"""

from __future__ import annotations

from imq.engine.oci import media_types
from imq.engine.oci.digest import Digest
from imq.engine.oci.manifest import Descriptor
from imq.grammar.errors import Malformed, StoreError
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
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_PEEKED = 64 << 10
"""Bytes that are read to see whether a document begins as a JSON object does."""
_MAX_LISTED = 5
"""Images that are named in warnings; of more their number is told."""
_HINTS = (
    "verify all names everything that is damaged; verify all repair fetches it again; rm NAME removes the image",
    "it is tried again at the next question; until then no blob is removed from the store",
)


class UnreadableDocument(Record):
    """A document that cannot be read. `manifest` is the manifest or index whose row is shown without an image.

    `is_absent` says that it is missing from an index of which nothing says what it holds.
    """

    document: Descriptor
    problem: ImqError
    manifest: Descriptor | None = None
    is_config: bool = False
    is_absent: bool = False

    @property
    def is_final(self) -> bool:
        """Whether the document is whole and not what it should be: another attempt reads the same."""
        return isinstance(self.problem, Malformed) and self.problem.code != "document-size"

    def __hash__(self) -> int:
        """Hash by what is unreadable: errors are compared by identity."""
        return hash((self.document.digest, self.is_config))


def is_opaque(descriptor: Descriptor, problem: ImqError, open_blob: Callable[[Digest], BinaryIO]) -> bool:
    """Whether a document is certainly no manifest: index.json and indexes may name blobs of any media type.

    A media type is a claim of another document, so the content decides. What may be a JSON object may name blobs, also
    when it is refused or too large to be read.
    """
    if descriptor.media_type in _MANIFEST_TYPES:
        return False
    if not isinstance(problem, Malformed) or problem.code not in ("json", "document"):
        return False
    try:
        with open_blob(descriptor.digest) as source:
            beginning = source.read(_PEEKED)
    except OSError:
        return False
    text = beginning.removeprefix(_BYTE_ORDER_MARK).lstrip()
    return not text.startswith(b"{") if text else len(beginning) < _PEEKED


def insert(connection: Connection, found: Iterable[tuple[Digest, UnreadableDocument]]) -> None:
    """Remember the documents that could not be read of these descriptors of index.json."""
    connection.executemany(_INSERT, [_build_row(root, one) for root, one in found])


def delete(connection: Connection, roots: Iterable[str]) -> None:
    """Forget what could not be read of these descriptors."""
    connection.executemany("DELETE FROM unreadable WHERE root = ?", [(root,) for root in roots])


def find_roots(connection: Connection) -> set[str]:
    """Return the descriptors of which something could not be read, or is absent though nothing says so."""
    return {root for (root,) in connection.execute("SELECT DISTINCT root FROM unreadable")}


def find_unreadable_roots(connection: Connection) -> set[str]:
    """Return the descriptors of which something that ought to be here could not be read."""
    return {root for (root,) in connection.execute("SELECT DISTINCT root FROM unreadable WHERE NOT is_absent")}


def find_incomplete_roots(connection: Connection) -> dict[str, str]:
    """Return the descriptors of index.json that name blobs nobody knows of now, and what they are called."""
    rows = connection.execute(
        "SELECT DISTINCT root, (SELECT min(name) FROM entry WHERE entry.root = unreadable.root)"
        " FROM unreadable WHERE NOT is_config ORDER BY root"
    )
    return {root: name or Digest(root).short for root, name in rows}


def iter_retryable(connection: Connection) -> Iterator[tuple[Digest, Descriptor, bool]]:
    """Yield each document that may have become readable: its root, its descriptor, and whether it is a config."""
    rows = connection.execute("SELECT root, media_type, digest, size, is_config FROM unreadable WHERE NOT is_final")
    for root, media_type, digest, size, is_config in rows.fetchall():
        yield Digest(root), Descriptor(media_type, Digest(digest), size), bool(is_config)


def list_problems(connection: Connection) -> tuple[ImqError, ...]:
    """Return an error for each image that cannot be read, for the first of many and one for the rest."""
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


def unreadable_image(name: str) -> StoreError:
    """Return the error for an image that something has to be known of, and cannot be read."""
    return StoreError(f"{name} cannot be read, so it was left alone", code="unreadable", hints=_HINTS[:1])


def collection_blocked(unreadable: Iterable[str]) -> StoreError:
    """Return the error that says why no blob is removed; `unreadable` are the names of images."""
    names = sorted(unreadable)
    shown = ", ".join(names[:_MAX_LISTED]) + (
        f" and {len(names) - _MAX_LISTED} more" if len(names) > _MAX_LISTED else ""
    )
    return StoreError(
        f"nothing is collected: {shown} cannot be read as a whole, and may need any of the blobs",
        code="unreadable",
        hints=("verify all names what is wrong; verify all repair fetches it again; rm NAME removes the image",),
    )


def _build_row(root: Digest, one: UnreadableDocument) -> tuple[str | int | None, ...]:
    document, shown = one.document, one.manifest
    platform = shown.platform if shown is not None and shown.platform is not None and shown.platform.is_known else None
    said = (platform.canonical, platform.os, platform.architecture) if platform is not None else (None, None, None)
    further = (platform.variant or None, platform.os_version or None) if platform is not None else (None, None)
    return (
        root,
        document.digest,
        document.media_type,
        document.size,
        one.is_config,
        one.is_absent,
        one.is_final,
        one.problem.message,
        shown.digest if shown is not None else None,
        *said,
        *further,
    )
