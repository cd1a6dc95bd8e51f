"""Entries of index.json without an image in the index: artifacts, and images with unreadable documents.

They are found by name or digest only.
"""

from __future__ import annotations

from imq.engine.oci.digest import parse_hex_prefix
from imq.engine.oci.reference import LayoutName, Reference
from imq.grammar.errors import InvalidReference, NotFound
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from .index_json import IndexEntry
    from .store import Store

_ROOTS = """
SELECT 1 FROM descriptor WHERE key IN (SELECT root FROM reaching)
AND NOT EXISTS (SELECT 1 FROM entry WHERE entry.root = descriptor.digest AND image IS NOT NULL)
LIMIT 1
"""


def list_non_image_entries(store: Store) -> list[IndexEntry]:
    """Return the entries of index.json without an image in the index."""
    connection = store.index.connection
    if connection.execute(_ROOTS).fetchone() is None:
        return []
    indexed = {root for (root,) in connection.execute("SELECT DISTINCT root FROM entry WHERE image IS NOT NULL")}
    return [entry for entry in store.layout.read_entries() if entry.descriptor.digest not in indexed]


def find_non_image_entry(store: Store, text: str) -> IndexEntry | None:
    """Return the entry of a name, a digest or the beginning of a digest. Raises `NotFound` when it is ambiguous."""
    entries = list_non_image_entries(store)
    for entry in entries:
        if isinstance(entry.name, LayoutName) and entry.name.text == text:
            return entry
    try:
        name = Reference.parse(text)
    except InvalidReference:
        name = None
    if name is not None:
        tagged = name.with_default_tag()
        for entry in entries:
            if entry.name == tagged:
                return entry
            is_same_repository = entry.name is not None and entry.name.canonical_name == name.canonical_name
            digests = (entry.digest, entry.descriptor.digest, *entry.other_digests)
            if is_same_repository and name.digest is not None and name.digest in digests:
                return entry
    digits = parse_hex_prefix(text)
    candidates = [entry for entry in entries if digits and entry.descriptor.digest.encoded.startswith(digits)]
    if len({entry.descriptor.digest for entry in candidates}) > 1:
        raise NotFound(
            f'the id "{text}" is ambiguous',
            code="ambiguous-id",
            hints=("it could be:", *(entry.descriptor.digest for entry in candidates)),
        )
    return candidates[0].replace(name=None) if candidates else None
