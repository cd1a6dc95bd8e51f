"""What the top layers of stacks hide of the layers below (OCI image specification, layer.md).

The stacks are the rows of the temporary table `top`, and the layers below those of `lower`. The cost grows with the
entries of the top layers, not with those of the stacks. Large layers on many others are an exception: what these show
is sorted once then.
"""

from __future__ import annotations

from imq.grammar.record import TYPE_CHECKING

from .entry_types import DELETED, DIRECTORY, HARD_LINK, IMPLIED, OPAQUE, OVERWRITTEN, SYMLINK, WHITEOUT
from .schema import SCHEMA

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable
    from typing import Self

_MARKERS = f"({WHITEOUT}, {OPAQUE})"
_DIRECTORIES = f"({DIRECTORY}, {IMPLIED})"
_WHITEOUT_PREFIX = len(".wh.")
_HIDDEN_NAME = f"substr(new.name, {_WHITEOUT_PREFIX + 1})"
"""The SQL of the name that the whiteout `new` hides."""

_FREE_LOOKUPS = 1_000
_READING_COST = 2
"""The cost of an entry in the table `shown`, in lookups."""

_TABLES = {
    "top": "(chain INTEGER PRIMARY KEY, layer INTEGER NOT NULL)",
    "lower": """(top INTEGER NOT NULL, position INTEGER NOT NULL, layer INTEGER NOT NULL, chain INTEGER NOT NULL,
        PRIMARY KEY (top, position)) WITHOUT ROWID""",
    "folder": """(layer INTEGER NOT NULL, directory INTEGER NOT NULL, entries INTEGER NOT NULL,
        PRIMARY KEY (layer, directory)) WITHOUT ROWID""",
    "marker": """(layer INTEGER NOT NULL, type INTEGER NOT NULL, directory INTEGER NOT NULL, name TEXT NOT NULL,
        PRIMARY KEY (layer, type, directory, name)) WITHOUT ROWID""",
    "meeting": """(top INTEGER NOT NULL, position INTEGER NOT NULL, directory INTEGER NOT NULL, entries INTEGER,
        PRIMARY KEY (top, position, directory)) WITHOUT ROWID""",
    "same": """(top INTEGER NOT NULL, layer INTEGER NOT NULL, directory INTEGER NOT NULL, name TEXT NOT NULL,
        type INTEGER NOT NULL, old_layer INTEGER NOT NULL, old_type INTEGER NOT NULL)""",
}
"""The temporary tables.

`top` has stacks with their highest layers, and `lower` the layers and stacks below, the lowest at position 0. `folder`
has the folders of the highest layers, `marker` their whiteouts. `meeting` has the folders that a lower layer has too,
and `same` the paths in them that a stack shows and its highest layer has again.
"""

IS_VISIBLE = f"""NOT EXISTS (SELECT 1 FROM lower AS upper CROSS JOIN {SCHEMA}.hidden ON hidden.layer = old.layer
        AND hidden.directory = old.directory AND hidden.name = old.name AND hidden.chain = upper.chain
    WHERE upper.top = lower.top AND upper.position >= lower.position)"""
"""Whether a stack shows the entry `old` of its layer `lower`."""


class LayerHider:
    """Writes the rows of `hidden` for the stacks in `top`. The tables exist in its `with` block.

    Paths are looked up in each layer of `lower` that has their folder. With the table `shown`, they are looked up in
    the entries that a single stack shows. `hide` updates this table for the stack with the next layer on top.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._has_shown = False

    def __enter__(self) -> Self:
        for name, columns in _TABLES.items():
            self._connection.execute(f"CREATE TEMP TABLE IF NOT EXISTS {name} {columns}")
        return self

    def __exit__(self, *_: object) -> None:
        for name in _TABLES:
            self._connection.execute(f"DROP TABLE IF EXISTS temp.{name}")

    @staticmethod
    def is_costly(lookups: int, paths: int) -> bool:
        """Whether so many lookups cost more than reading the `paths` of the lower layers once."""
        return lookups > _READING_COST * paths + _FREE_LOOKUPS

    def find_meetings(self) -> dict[int, int]:
        """Fill the table `meeting`; return the number of lookups for each stack of `top`."""
        connection = self._connection
        for table, columns, condition in (
            ("marker", "layer, type, directory, name", f"type IN {_MARKERS}"),
            ("folder", "layer, directory, count(*)", "true GROUP BY layer, directory"),
        ):
            connection.execute(
                f"""INSERT INTO {table} SELECT {columns} FROM {SCHEMA}.entry
                WHERE layer IN (SELECT layer FROM top WHERE layer NOT IN (SELECT layer FROM folder)) AND {condition}"""
            )
        connection.execute("DELETE FROM meeting")
        if self._has_shown:
            return {}
        connection.execute(
            f"""INSERT INTO meeting SELECT top.chain, lower.position, folder.directory, folder.entries FROM top
            CROSS JOIN lower ON lower.top = top.chain CROSS JOIN folder ON folder.layer = top.layer
            WHERE EXISTS (SELECT 1 FROM {SCHEMA}.entry WHERE layer = lower.layer AND directory = folder.directory)"""
        )
        return dict(
            connection.execute(
                """SELECT chain, (SELECT count(*) FROM folder WHERE folder.layer = top.layer)
                    * (SELECT count(*) FROM lower WHERE lower.top = chain)
                    + (SELECT coalesce(sum(entries), 0) FROM meeting WHERE meeting.top = chain) FROM top"""
            )
        )

    def drop_tops(self, keys: Iterable[int]) -> None:
        """Leave out stacks."""
        for key in keys:
            for table, column in (("top", "chain"), ("meeting", "top"), ("same", "top")):
                self._connection.execute(f"DELETE FROM temp.{table} WHERE {column} = ?", (key,))

    def compare(self) -> None:
        """Fill the table `same`."""
        self._connection.execute("DELETE FROM same")
        if self._has_shown:
            source = f"""top CROSS JOIN {SCHEMA}.entry AS new ON new.layer = top.layer
                CROSS JOIN shown AS old ON old.directory = new.directory AND old.name = new.name"""
        else:
            source = f"""top CROSS JOIN meeting ON meeting.top = top.chain
                CROSS JOIN {SCHEMA}.entry AS new ON new.layer = top.layer AND new.directory = meeting.directory
                CROSS JOIN lower ON lower.top = meeting.top AND lower.position = meeting.position
                CROSS JOIN {SCHEMA}.entry AS old ON old.layer = lower.layer AND old.directory = new.directory
                    AND old.name = new.name
                WHERE {IS_VISIBLE}"""
        self._connection.execute(
            f"""INSERT INTO same SELECT top.chain, new.layer, new.directory, new.name, new.type, old.layer, old.type
            FROM {source}"""
        )

    def list_linked(self) -> list[int]:
        """Return the stacks of `top` whose highest layer may have paths that lead through links: see `resolve_links`.

        A layer has an entry for each folder that it uses, except for those with whiteouts alone.
        """
        rows = self._connection.execute(
            f"""SELECT chain FROM top JOIN {SCHEMA}.layer ON layer.key = top.layer
            WHERE has_link_parents OR has_lower_links
                OR (paths > 0 AND layer.key IN (SELECT layer FROM lower WHERE lower.top = top.chain))
                OR EXISTS (SELECT 1 FROM {SCHEMA}.replaced WHERE replaced.layer = top.layer
                    AND replaced.type IN ({SYMLINK}, {HARD_LINK}))
            UNION SELECT top FROM same WHERE type IN {_DIRECTORIES} AND old_type = {SYMLINK}
            UNION SELECT top.chain FROM (
                WITH RECURSIVE used (layer, key) AS (
                    SELECT layer, directory FROM marker WHERE layer IN (SELECT layer FROM top)
                    UNION SELECT used.layer, directory.parent FROM used JOIN {SCHEMA}.directory USING (key)
                    WHERE directory.parent IS NOT NULL)
                SELECT layer, parent, name FROM used JOIN {SCHEMA}.directory USING (key)) AS used
            CROSS JOIN top ON top.layer = used.layer CROSS JOIN lower ON lower.top = top.chain
            CROSS JOIN {SCHEMA}.entry AS old ON old.layer = lower.layer AND old.directory = used.parent
                AND old.name = used.name AND old.type = {SYMLINK}"""
        ).fetchall()
        return [chain for (chain,) in rows]

    def hide(self) -> None:
        """Write what the highest layers hide of the layers in `lower`."""
        connection = self._connection
        hide = f"INSERT OR IGNORE INTO {SCHEMA}.hidden (layer, directory, name, chain, status)"
        # an entry of a path replaces the one below; a folder without an entry does so only if that is no folder
        connection.execute(
            f"""{hide} SELECT old_layer, directory, name, top, {OVERWRITTEN} FROM same
            WHERE type NOT IN {_MARKERS} AND old_type NOT IN {_MARKERS}
                AND NOT (type = {IMPLIED} AND old_type IN {_DIRECTORIES})"""
        )
        # a whiteout hides a path and what is below it, as does an entry that is no folder
        whiteouts = f"top CROSS JOIN marker AS new ON new.layer = top.layer AND new.type = {WHITEOUT}"
        connection.execute(
            f"{hide} SELECT old.layer, old.directory, old.name, top.chain, {DELETED} FROM {whiteouts} "
            + (
                f"CROSS JOIN shown AS old ON old.directory = new.directory AND old.name = {_HIDDEN_NAME}"
                if self._has_shown
                else f"""CROSS JOIN lower ON lower.top = top.chain CROSS JOIN {SCHEMA}.entry AS old
                    ON old.layer = lower.layer AND old.directory = new.directory AND old.name = {_HIDDEN_NAME}
                WHERE {IS_VISIBLE}"""
            )
        )
        connection.execute(
            f"""CREATE TEMP TABLE cleared AS WITH RECURSIVE cleared (top, key) AS (
                SELECT top.chain, new.directory FROM top CROSS JOIN marker AS new ON new.layer = top.layer
                    AND new.type = {OPAQUE}
                UNION SELECT top.chain, directory.key FROM {whiteouts}
                    CROSS JOIN {SCHEMA}.directory ON directory.parent = new.directory
                        AND directory.name = {_HIDDEN_NAME}
                UNION SELECT same.top, directory.key FROM same CROSS JOIN {SCHEMA}.directory
                    ON directory.parent = same.directory AND directory.name = same.name
                    WHERE same.old_type IN {_DIRECTORIES} AND same.type NOT IN {_DIRECTORIES}
                UNION SELECT cleared.top, directory.key FROM cleared
                    JOIN {SCHEMA}.directory ON directory.parent = cleared.key)
            SELECT top, key FROM cleared"""
        )
        connection.execute(
            f"""{hide} SELECT old.layer, old.directory, old.name, cleared.top, {DELETED}
            FROM cleared CROSS JOIN lower ON lower.top = cleared.top CROSS JOIN {SCHEMA}.entry AS old
                ON old.layer = lower.layer AND old.directory = cleared.key
            WHERE {IS_VISIBLE}"""
        )
        # a folder without an entry of its own has that of a lower layer, if there is one
        connection.execute(
            f"""{hide} SELECT layer, directory, name, top, {OVERWRITTEN} FROM same
            WHERE type = {IMPLIED} AND old_type IN {_DIRECTORIES}
                AND NOT EXISTS (SELECT 1 FROM {SCHEMA}.hidden WHERE hidden.layer = same.old_layer
                    AND hidden.directory = same.directory AND hidden.name = same.name AND hidden.chain = same.top)"""
        )
        connection.execute("DROP TABLE cleared")
        if self._has_shown:
            self._update_shown()

    def make_shown(self) -> None:
        """Make the table `shown` of what the layers in `lower` show, those of a single stack."""
        self._has_shown = True
        self._connection.execute(
            """CREATE TEMP TABLE shown (directory INTEGER NOT NULL, name TEXT NOT NULL, layer INTEGER NOT NULL,
            type INTEGER NOT NULL, PRIMARY KEY (directory, name)) WITHOUT ROWID"""
        )
        self._connection.execute(
            f"""INSERT INTO shown SELECT old.directory, old.name, old.layer, old.type
            FROM lower CROSS JOIN {SCHEMA}.entry AS old ON old.layer = lower.layer
            WHERE old.type NOT IN {_MARKERS} AND (old.layer, old.directory, old.name) NOT IN (
                SELECT hidden.layer, hidden.directory, hidden.name
                FROM lower CROSS JOIN {SCHEMA}.hidden ON hidden.chain = lower.chain)"""
        )

    def drop_shown(self) -> None:
        """Drop the table `shown`."""
        self._has_shown = False
        self._connection.execute("DROP TABLE temp.shown")

    def _update_shown(self) -> None:
        """Bring the table to what the only stack in `top` shows."""
        connection = self._connection
        connection.execute(
            f"""DELETE FROM shown WHERE (directory, name) IN (
                SELECT hidden.directory, hidden.name FROM top CROSS JOIN {SCHEMA}.hidden ON hidden.chain = top.chain
                WHERE hidden.layer <> top.layer)"""
        )
        connection.execute(
            f"""INSERT OR REPLACE INTO shown SELECT new.directory, new.name, new.layer, new.type
            FROM top CROSS JOIN {SCHEMA}.entry AS new ON new.layer = top.layer
            WHERE new.type NOT IN {_MARKERS} AND NOT EXISTS (
                SELECT 1 FROM {SCHEMA}.hidden WHERE hidden.layer = new.layer AND hidden.directory = new.directory
                AND hidden.name = new.name AND hidden.chain = top.chain)"""
        )
