"""Decides for which layers the parts of indexes that workers returned are enough: see `layer_index/index_part.py`."""

from __future__ import annotations

import json

from imq.engine.layer_index.entry_types import OPAQUE, WHITEOUT
from imq.engine.layer_index.index_part import DROPPED_NOTE, may_contain
from imq.engine.layer_index.schema import SCHEMA
from imq.engine.layer_index.stacks import PartsAreNotEnough, StackKeys
from imq.engine.oci.digest import Digest
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from imq.engine.query.sql.statements import Sql
    from imq.grammar.errors import ImqError

    from .indexer import LayerIndexer
    from .protocol import ImageLayers, LayerContents


def complete_parts(
    indexer: LayerIndexer,
    contents: LayerContents,
    images: Sequence[ImageLayers],
    failed: dict[int, ImqError],
    paths: Sql,
    now: int,
) -> list[ImageLayers]:
    """Return the images with parts of layers where these are enough, and index the other layers completely.

    `failed` has the errors of images by position, and gets those of further ones. `paths` is the condition on paths of
    entries that the parts have. `now` is in nanoseconds.
    """
    images = list(images)
    while True:
        stacks = indexer.index.describe_stacks(
            (image.indexed for at, image in enumerate(images) if at not in failed), now, indexer.parts
        )
        layers = {
            diff_id
            for image in images
            if isinstance(stacks.get(image.indexed), PartsAreNotEnough)
            for diff_id in image.diff_ids
        } or _find_replacing(indexer, stacks, paths)
        if not layers:
            return images
        names = {name: diff_id for name, diff_id in indexer.parts.items() if diff_id in layers}
        images = [image.replace(keys=tuple(names.get(key, key) for key in image.indexed)) for image in images]
        failed |= indexer.prepare(contents, images)


def _find_replacing(
    indexer: LayerIndexer,
    stacks: Mapping[tuple[Digest, ...], StackKeys | ImqError],
    paths: Sql,
) -> set[Digest]:
    """Return the layers with a part that may have left out a file in the place of a folder on the way to an entry."""
    connection, stack, way = indexer.index.connection, "parts_stack", "parts_way"
    rows = (
        (number, position, layer)
        for number, keys in enumerate(stacks.values())
        if isinstance(keys, StackKeys)
        for position, layer in enumerate(keys.layers)
    )
    connection.execute(
        f"""CREATE TEMP TABLE {stack} (number INTEGER, position INTEGER, layer INTEGER,
        PRIMARY KEY (layer, number, position)) WITHOUT ROWID"""
    )
    connection.execute("SAVEPOINT listing")
    connection.executemany(f"INSERT INTO temp.{stack} VALUES (?, ?, ?)", rows)
    connection.execute("RELEASE listing")
    connection.execute(f"CREATE INDEX temp.{stack}_number ON {stack} (number, position)")
    connection.execute(
        f"""CREATE TEMP TABLE {way} AS WITH RECURSIVE way (layer, key) AS (
            SELECT DISTINCT entry.layer, entry.folder FROM (
                SELECT entry.layer AS layer, entry.directory AS folder, entry.type AS type, entry.name AS name,
                    directory.path || '/' || entry.name AS path,
                    iif(directory.path = '', '/', directory.path) AS "directory"
                FROM (SELECT DISTINCT layer FROM temp.{stack}) AS own
                CROSS JOIN {SCHEMA}.entry ON entry.layer = own.layer
                CROSS JOIN {SCHEMA}.directory ON directory.key = entry.directory) AS entry
            WHERE entry.type NOT IN ({WHITEOUT}, {OPAQUE}) AND ({paths.text})
            UNION SELECT way.layer, directory.parent FROM way JOIN {SCHEMA}.directory USING (key)
            WHERE directory.parent IS NOT NULL)
        SELECT layer, key FROM way""",
        paths.parameters,
    )
    places = connection.execute(
        f"""SELECT layer.diff_id, note.document, json_group_array(DISTINCT directory.path)
        FROM temp.{way} AS way
        CROSS JOIN temp.{stack} AS lower ON lower.layer = way.layer
        CROSS JOIN temp.{stack} AS upper ON upper.number = lower.number AND upper.position > lower.position
        CROSS JOIN {SCHEMA}.note ON note.layer = upper.layer AND note.kind = '{DROPPED_NOTE}'
        CROSS JOIN {SCHEMA}.layer ON layer.key = upper.layer
        CROSS JOIN {SCHEMA}.directory ON directory.key = way.key AND directory.path <> ''
        GROUP BY upper.layer"""
    ).fetchall()
    for table in (stack, way):
        connection.execute(f"DROP TABLE temp.{table}")
    return {
        indexer.parts[Digest(name)]
        for name, bits, folders in places
        if any(may_contain(bits, folder) for folder in json.loads(folders))
    }
