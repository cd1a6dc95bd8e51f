"""The parts of indexes that workers return (`layer_index/index_part.py`), and for which layers they are enough."""

from __future__ import annotations

import json

from imq.engine.layer_index.entry_types import OPAQUE, WHITEOUT
from imq.engine.layer_index.index_part import DROPPED_NOTE, may_contain
from imq.engine.layer_index.schema import LICENCE_NOTE, OS_NOTE, PROBLEM_NOTE, SCHEMA
from imq.engine.layer_index.stacks import PartsAreNotEnough, StackKeys
from imq.engine.oci.digest import Digest
from imq.grammar.record import TYPE_CHECKING, Record

from .entry_fields import FIELDS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from imq.grammar.errors import ImqError

    from .indexer import LayerIndexer
    from .protocol import ImageLayers, LayerContents

_NOTES = (OS_NOTE, LICENCE_NOTE, PROBLEM_NOTE)
"""The kinds of notes that the tables of packages read."""


class PartSelection(Record):
    """What a statement needs of the indexes of layers: entries for which a condition holds, or all packages.

    `text` is the SQL of the condition on the fields of a row `entry`, "" for the packages; `functions` are the names of
    those it calls.
    """

    text: str = ""
    parameters: Mapping[str, Any] = {}
    functions: tuple[str, ...] = ()

    def __hash__(self) -> int:
        """Hash by the text: a mapping is unhashable."""
        return hash(self.text)

    @property
    def packages(self) -> bool:
        """Whether the packages are needed."""
        return not self.text

    @property
    def notes(self) -> tuple[str, ...]:
        """The kinds of notes that are needed."""
        return _NOTES if self.packages else ()

    def describe(self) -> dict[str, Any]:
        """Return the selection as JSON: the arguments for one of another process."""
        return {"text": self.text, "parameters": dict(self.parameters), "functions": list(self.functions)}

    def write(self, schema: str, layers: str = "") -> str:
        """Return the SQL of the `directory` and the `name` of the selected entries in the tables of a scan.

        In those of the index of files, `layers` is the SQL of their `layer`, which the rows have too.
        """
        own, layer = (f"{layers} AS own CROSS JOIN ", "own.layer AS layer, ") if layers else ("", "")

        def join(table: str) -> str:
            return f"{own}{schema}.{table}" + (f" ON {table}.layer = own.layer" if layers else "")

        if self.packages:
            kinds = ", ".join(f"'{kind}'" for kind in _NOTES)
            return f"""SELECT {layer}package.directory AS directory, package.file AS name FROM {join("package")}
                UNION SELECT {layer}note.directory, note.name FROM {join("note")} WHERE note.kind IN ({kinds})"""
        fields = ", ".join(f'{text} AS "{name}"' for name, text in FIELDS.items())
        inner, outer = ("own.layer AS _layer, ", "_layer AS layer, ") if layers else ("", "")
        return f"""SELECT {outer}_folder AS directory, _name AS name FROM (
                SELECT {inner}entry.directory AS _folder, entry.name AS _name, {fields}
                FROM {join("entry")} CROSS JOIN {schema}.directory ON directory.key = entry.directory
                WHERE entry.type NOT IN ({WHITEOUT}, {OPAQUE})) AS entry
            WHERE {self.text}"""


def complete_parts(
    indexer: LayerIndexer,
    contents: LayerContents,
    images: Sequence[ImageLayers],
    failed: dict[int, ImqError],
    selection: PartSelection,
    now: int,
) -> list[ImageLayers]:
    """Return the images with parts of layers where these are enough, and index the other layers completely.

    `failed` has the errors of images by position, and gets those of further ones. `now` is in nanoseconds.
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
        } or _find_hiding(indexer, stacks, selection)
        if not layers:
            return images
        names = {name: diff_id for name, diff_id in indexer.parts.items() if diff_id in layers}
        images = [image.replace(keys=tuple(names.get(key, key) for key in image.indexed)) for image in images]
        failed |= indexer.prepare(contents, images)


def _find_hiding(
    indexer: LayerIndexer, stacks: Mapping[tuple[Digest, ...], StackKeys | ImqError], selection: PartSelection
) -> set[Digest]:
    """Return the layers with a part that may have left out what hides a selected entry of a lower layer."""
    connection, stack = indexer.index.connection, "parts_stack"
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
    places = connection.execute(
        f"""WITH RECURSIVE
            selected AS MATERIALIZED ({selection.write(SCHEMA, f"(SELECT DISTINCT layer FROM temp.{stack})")}),
            way (layer, key) AS (
                SELECT layer, directory FROM selected
                UNION SELECT way.layer, directory.parent FROM way JOIN {SCHEMA}.directory USING (key)
                    WHERE directory.parent IS NOT NULL),
            place (layer, path) AS (
                SELECT layer, directory.path FROM way JOIN {SCHEMA}.directory USING (key)
                UNION SELECT layer, directory.path || '/' || selected.name
                    FROM selected JOIN {SCHEMA}.directory ON directory.key = selected.directory)
        SELECT layer.diff_id, note.document, json_group_array(DISTINCT place.path) FROM place
        CROSS JOIN temp.{stack} AS lower ON lower.layer = place.layer
        CROSS JOIN temp.{stack} AS upper ON upper.number = lower.number AND upper.position > lower.position
        CROSS JOIN {SCHEMA}.note ON note.layer = upper.layer AND note.kind = '{DROPPED_NOTE}'
        CROSS JOIN {SCHEMA}.layer ON layer.key = upper.layer
        GROUP BY upper.layer""",
        selection.parameters,
    ).fetchall()
    connection.execute(f"DROP TABLE temp.{stack}")
    return {
        indexer.parts[Digest(name)]
        for name, bits, paths in places
        if any(may_contain(bits, path) for path in json.loads(paths))
    }
