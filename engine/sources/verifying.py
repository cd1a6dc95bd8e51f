"""Verifying an image of the store: every blob is hashed, every layer unpacked."""

from __future__ import annotations

from imq.engine.actions import Outcome
from imq.engine.oci.digest import Digest
from imq.engine.store.measuring import measure_layers
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from imq.engine.actions import Verify
    from imq.engine.store.index import Content
    from imq.engine.store.store import Store


def verify_image(store: Store, action: Verify, jobs: int) -> Outcome:
    """Check all that the image reaches and return the outcome; raises the first thing that is wrong."""
    connection = store.index.connection
    layers = connection.execute(
        "SELECT DISTINCT layer.digest, diff_id, download_size, layer.media_type FROM layer"
        " JOIN entry ON entry.image = layer.image WHERE entry.root = ?",
        (action.root,),
    ).fetchall()
    digests = {row[0] for row in layers}
    checked = 0
    for digest, size in connection.execute("SELECT digest, size FROM reach WHERE root = ?", (action.root,)).fetchall():
        if digest not in digests:
            store.read(Digest(digest))
        checked += size
    contents: list[Content] = []
    problems = measure_layers(
        store, [(Digest(d), Digest(i), s, m) for d, i, s, m in layers], jobs, contents.append, lambda _: None
    )
    store.index.measured(contents)
    if problems:
        raise problems[0]
    return Outcome("verify", action.name, action.id, checked, note="every blob is whole")
