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
    import sqlite3
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from typing import Any, Self

    from imq.grammar.errors import ImqError

    from .indexer import LayerIndexer
    from .protocol import ImageLayers, LayerContents

_CHECKS = 500
"""The most paths that are looked for in the filter of a part, on average: reading the whole index costs as much."""
_NOTES = (OS_NOTE, LICENCE_NOTE, PROBLEM_NOTE)
"""The kinds of notes that the tables of packages read."""


class PartSelection(Record):
    """What a statement needs of the indexes of layers: the rows of a `table`, `entry` or `package`, that it selects.

    `text` is the SQL of the condition on a row, which has the name of the table. Entries have the fields of `FIELDS`,
    and packages their columns in the index. `functions` are the names of those that the condition calls.
    """

    table: str
    text: str
    parameters: Mapping[str, Any] = {}
    functions: tuple[str, ...] = ()

    def __hash__(self) -> int:
        """Hash by the text: a mapping is unhashable."""
        return hash((self.table, self.text))

    @property
    def packages(self) -> str:
        """The condition on the packages that are needed; "" when none is."""
        return self.text if self.table == "package" else ""

    @property
    def notes(self) -> tuple[str, ...]:
        """The kinds of notes that are needed."""
        return _NOTES if self.packages else ()

    def describe(self) -> dict[str, Any]:
        """Return the selection as JSON: the arguments for one of another process."""
        return {
            "table": self.table,
            "text": self.text,
            "parameters": dict(self.parameters),
            "functions": list(self.functions),
        }

    def write(self, schema: str, layers: str = "") -> str:
        """Return the SQL of the `directory` and the `name` of the selected entries in the tables of a scan.

        Those of packages are the lists that have them. In the tables of the index of files, `layers` is the SQL of
        their `layer`, which the rows have too.
        """
        own, layer = (f"{layers} AS own CROSS JOIN ", "own.layer AS layer, ") if layers else ("", "")

        def join(table: str) -> str:
            return f"{own}{schema}.{table}" + (f" ON {table}.layer = own.layer" if layers else "")

        if self.packages:
            kinds = ", ".join(f"'{kind}'" for kind in _NOTES)
            return f"""SELECT {layer}package.directory AS directory, package.file AS name FROM {join("package")}
                WHERE {self.packages}
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
    connection = indexer.index.connection
    with _PlaceTables(connection, stacks.values(), selection) as tables:
        if tables.count_checks() > _CHECKS * len(indexer.parts):
            return set(indexer.parts.values())
        return {
            indexer.parts[Digest(name)]
            for name, bits, paths in tables.list_checks()
            if any(may_contain(bits, path) for path in json.loads(paths))
        }


class _PlaceTables:
    """Temporary tables of stacks: `part_pair` has the layers with a part above each layer, `part_place` the paths.

    The paths are those of the selected entries of a layer, and of the folders above them.
    """

    def __init__(
        self, connection: sqlite3.Connection, stacks: Iterable[StackKeys | ImqError], selection: PartSelection
    ) -> None:
        self._connection = connection
        self._stacks = stacks
        self._selection = selection

    def __enter__(self) -> Self:
        connection = self._connection
        connection.execute("CREATE TEMP TABLE part_stack (number INTEGER, position INTEGER, layer INTEGER)")
        rows = (
            (number, position, layer)
            for number, keys in enumerate(self._stacks)
            if isinstance(keys, StackKeys)
            for position, layer in enumerate(keys.layers)
        )
        connection.execute("SAVEPOINT listing")
        connection.executemany("INSERT INTO part_stack VALUES (?, ?, ?)", rows)
        connection.execute("RELEASE listing")
        connection.execute("CREATE INDEX temp.part_stack_number ON part_stack (number, position)")
        connection.execute(
            "CREATE TEMP TABLE part_pair (layer INTEGER, upper INTEGER, PRIMARY KEY (layer, upper)) WITHOUT ROWID"
        )
        connection.execute("CREATE INDEX temp.part_pair_upper ON part_pair (upper)")
        connection.execute(
            f"""INSERT OR IGNORE INTO part_pair SELECT lower.layer, upper.layer FROM part_stack AS upper
            CROSS JOIN part_stack AS lower ON lower.number = upper.number AND lower.position < upper.position
            WHERE EXISTS (
                SELECT 1 FROM {SCHEMA}.note WHERE note.layer = upper.layer AND note.kind = '{DROPPED_NOTE}')"""
        )
        connection.execute(
            "CREATE TEMP TABLE part_place (layer INTEGER, path TEXT, PRIMARY KEY (layer, path)) WITHOUT ROWID"
        )
        selected = self._selection.write(SCHEMA, "(SELECT DISTINCT layer FROM part_pair)")
        connection.execute(
            f"""INSERT INTO part_place WITH RECURSIVE selected AS MATERIALIZED ({selected}),
                way (layer, key) AS (
                    SELECT layer, directory FROM selected
                    UNION SELECT way.layer, directory.parent FROM way JOIN {SCHEMA}.directory USING (key)
                        WHERE directory.parent IS NOT NULL)
            SELECT layer, directory.path FROM way JOIN {SCHEMA}.directory USING (key)
            UNION SELECT layer, directory.path || '/' || selected.name
                FROM selected JOIN {SCHEMA}.directory ON directory.key = selected.directory""",
            self._selection.parameters,
        )
        return self

    def __exit__(self, *_: object) -> None:
        for name in ("part_stack", "part_pair", "part_place"):
            self._connection.execute(f"DROP TABLE IF EXISTS temp.{name}")

    def count_checks(self) -> int:
        """Return the number of paths to look for, in the filters of all parts together."""
        count: int
        (count,) = self._connection.execute(
            """SELECT coalesce(sum(own.places), 0) FROM part_pair
            JOIN (SELECT layer, count(*) AS places FROM part_place GROUP BY layer) AS own USING (layer)"""
        ).fetchone()
        return count

    def list_checks(self) -> Iterator[tuple[str, bytes, str]]:
        """Yield the name of each part, its filter, and the paths to look for in it, a JSON list."""
        yield from self._connection.execute(
            f"""SELECT layer.diff_id, note.document, (
                SELECT json_group_array(path) FROM part_pair AS pair JOIN part_place USING (layer)
                WHERE pair.upper = one.upper)
            FROM (SELECT DISTINCT upper FROM part_pair) AS one
            CROSS JOIN {SCHEMA}.layer ON layer.key = one.upper
            CROSS JOIN {SCHEMA}.note ON note.layer = one.upper AND note.kind = '{DROPPED_NOTE}'"""
        )
