"""What index.json names and the tables know no image of: artifacts, and images whose documents cannot be read.

They are reached by their names and digests alone.
"""

from __future__ import annotations

from imq.engine.oci.digest import parse_hex_prefix
from imq.engine.oci.reference import LayoutName, Reference
from imq.grammar.errors import InvalidReference, NotFound
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from .layout import IndexEntry
    from .store import Store

_ROOTS = """
SELECT 1 FROM descriptor WHERE key IN (SELECT root FROM reaching)
AND NOT EXISTS (SELECT 1 FROM entry WHERE entry.root = descriptor.digest AND image IS NOT NULL)
LIMIT 1
"""


def list_unindexed(store: Store) -> list[IndexEntry]:
    """Return the entries of index.json of which the tables know no image."""
    connection = store.index.connection
    if connection.execute(_ROOTS).fetchone() is None:
        return []
    shown = {root for (root,) in connection.execute("SELECT DISTINCT root FROM entry WHERE image IS NOT NULL")}
    return [entry for entry in store.layout.read_entries() if entry.descriptor.digest not in shown]


def find_unindexed(store: Store, text: str) -> IndexEntry | None:
    """Return what `text` names: a name, or a digest or the start of one. Raises `NotFound` when it may be several."""
    entries = list_unindexed(store)
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
            same = entry.name is not None and entry.name.canonical_name == name.canonical_name
            known = (entry.digest, entry.descriptor.digest, *entry.other_digests)
            if same and name.digest is not None and name.digest in known:
                return entry
    digits = parse_hex_prefix(text)
    found = [entry for entry in entries if digits and entry.descriptor.digest.encoded.startswith(digits)]
    if len({entry.descriptor.digest for entry in found}) > 1:
        raise NotFound(
            f'the id "{text}" is ambiguous',
            code="ambiguous-id",
            hints=("it could be:", *(entry.descriptor.digest for entry in found)),
        )
    return found[0].replace(name=None) if found else None
