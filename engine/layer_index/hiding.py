"""What the top layer of a stack hides of the layers below (OCI image specification, layer.md).

The layers below are the rows of the temporary table `lower`. The cost grows with the entries of the top layer, not with
those of the stack. Large layers on many others are an exception: what these show is sorted once then.
"""

from __future__ import annotations

from imq.grammar.record import TYPE_CHECKING

from .entry_types import DELETED, DIRECTORY, IMPLIED, OPAQUE, OVERWRITTEN, WHITEOUT
from .schema import SCHEMA

if TYPE_CHECKING:
    import sqlite3

_MARKERS = f"({WHITEOUT}, {OPAQUE})"
_DIRECTORIES = f"({DIRECTORY}, {IMPLIED})"
_WHITEOUT_PREFIX = len(".wh.")

_FREE_LOOKUPS = 1_000
_READING_COST = 2
"""The cost of an entry in the table `shown`, in lookups."""

IS_VISIBLE = f"""NOT EXISTS (SELECT 1 FROM {SCHEMA}.hidden JOIN lower AS upper ON upper.chain = hidden.chain
    WHERE hidden.layer = old.layer AND hidden.directory = old.directory AND hidden.name = old.name)"""
"""Whether the stack `lower` shows the entry `old` of one of its layers."""


class LayerHider:
    """Writes the rows of `hidden` for the layers that are put on a stack, one after the other.

    Paths are looked up in each layer of `lower`. When that has cost more than reading these layers once, the temporary
    table `shown` gets what they show, and is kept up to date.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._lookups = 0
        self._has_shown = False

    def close(self) -> None:
        """Drop the temporary table."""
        self._connection.execute("DROP TABLE IF EXISTS temp.shown")

    def hide(self, layer: int, chain: int) -> None:
        """Write what `layer` hides of the layers in `lower`; `chain` is the key of the stack with it on top."""
        self._choose_table(layer)
        connection, values = self._connection, {"layer": layer, "chain": chain}
        hide = f"INSERT OR IGNORE INTO {SCHEMA}.hidden (layer, directory, name, chain, status)"
        old = self._join_old("new.name")
        # an entry of a path replaces the one below; a folder without an entry does so only if that is no folder
        connection.execute(
            f"""{hide} SELECT old.layer, old.directory, old.name, :chain, {OVERWRITTEN} {old}
            AND new.layer = :layer AND new.type NOT IN {_MARKERS} AND old.type NOT IN {_MARKERS}
                AND NOT (new.type = {IMPLIED} AND old.type IN {_DIRECTORIES})""",
            values,
        )
        # a whiteout hides a path and what is below it, as does an entry that is no folder
        connection.execute(
            f"""{hide} SELECT old.layer, old.directory, old.name, :chain, {DELETED}
            {self._join_old(f"substr(new.name, {_WHITEOUT_PREFIX + 1})")}
            AND new.layer = :layer AND new.type = {WHITEOUT}""",
            values,
        )
        connection.execute(
            f"""CREATE TEMP TABLE cleared AS WITH RECURSIVE cleared (key) AS (
                SELECT new.directory FROM {SCHEMA}.entry AS new WHERE new.layer = :layer AND new.type = {OPAQUE}
                UNION SELECT directory.key FROM {SCHEMA}.entry AS new JOIN {SCHEMA}.directory
                    ON directory.parent = new.directory AND directory.name = substr(new.name, {_WHITEOUT_PREFIX + 1})
                    WHERE new.layer = :layer AND new.type = {WHITEOUT}
                UNION SELECT directory.key FROM {SCHEMA}.hidden JOIN {SCHEMA}.entry AS old
                    ON old.layer = hidden.layer AND old.directory = hidden.directory AND old.name = hidden.name
                    AND old.type IN {_DIRECTORIES}
                    JOIN {SCHEMA}.entry AS new ON new.layer = :layer AND new.directory = old.directory
                    AND new.name = old.name AND new.type NOT IN {_DIRECTORIES}
                    JOIN {SCHEMA}.directory ON directory.parent = old.directory AND directory.name = old.name
                    WHERE hidden.chain = :chain
                UNION SELECT directory.key FROM cleared JOIN {SCHEMA}.directory ON directory.parent = cleared.key)
            SELECT key FROM cleared""",
            values,
        )
        connection.execute(
            f"""{hide} SELECT old.layer, old.directory, old.name, :chain, {DELETED}
            FROM cleared CROSS JOIN lower CROSS JOIN {SCHEMA}.entry AS old
                ON old.layer = lower.layer AND old.directory = cleared.key
            WHERE {IS_VISIBLE}""",
            values,
        )
        # a folder without an entry of its own has that of a lower layer, if there is one
        connection.execute(
            f"""{hide} SELECT new.layer, new.directory, new.name, :chain, {OVERWRITTEN} {old}
            AND new.layer = :layer AND new.type = {IMPLIED} AND old.type IN {_DIRECTORIES}
                AND NOT EXISTS (SELECT 1 FROM {SCHEMA}.hidden WHERE hidden.layer = old.layer
                    AND hidden.directory = old.directory AND hidden.name = old.name AND hidden.chain = :chain)""",
            values,
        )
        connection.execute("DROP TABLE cleared")
        if self._has_shown:
            self._update_shown(values)

    def _choose_table(self, layer: int) -> None:
        """Make the table `shown` once the paths were looked up in more entries than the lower layers have."""
        if self._has_shown:
            return
        new, old, stack = self._connection.execute(
            f"""SELECT (SELECT paths FROM {SCHEMA}.layer WHERE key = ?),
                (SELECT sum(paths) FROM lower JOIN {SCHEMA}.layer ON layer.key = lower.layer), count(*) FROM lower""",
            (layer,),
        ).fetchone()
        self._lookups += new * stack
        if self._lookups <= _READING_COST * (old or 0) + _FREE_LOOKUPS:
            return
        self._has_shown = True
        self._connection.execute(
            """CREATE TEMP TABLE shown (directory INTEGER NOT NULL, name TEXT NOT NULL, layer INTEGER NOT NULL,
            type INTEGER NOT NULL, PRIMARY KEY (directory, name)) WITHOUT ROWID"""
        )
        self._connection.execute(
            f"""INSERT INTO shown SELECT old.directory, old.name, old.layer, old.type
            FROM lower CROSS JOIN {SCHEMA}.entry AS old ON old.layer = lower.layer
            WHERE old.type NOT IN {_MARKERS} AND {IS_VISIBLE}"""
        )

    def _join_old(self, name: str) -> str:
        """Return the SQL that joins the entries `new` to those with a name that the lower layers show, `old`.

        It ends in a condition.
        """
        same_path = f"old.directory = new.directory AND old.name = {name}"
        if self._has_shown:
            return f"FROM {SCHEMA}.entry AS new CROSS JOIN shown AS old ON {same_path} WHERE true"
        return (
            f"FROM {SCHEMA}.entry AS new CROSS JOIN lower CROSS JOIN {SCHEMA}.entry AS old"
            f" ON old.layer = lower.layer AND {same_path} WHERE {IS_VISIBLE}"
        )

    def _update_shown(self, values: dict[str, int]) -> None:
        """Bring the table to what the stack shows with the new layer on top."""
        self._connection.execute(
            f"""DELETE FROM shown WHERE (directory, name) IN (
                SELECT directory, name FROM {SCHEMA}.hidden WHERE chain = :chain AND layer <> :layer)""",
            values,
        )
        self._connection.execute(
            f"""INSERT OR REPLACE INTO shown SELECT new.directory, new.name, new.layer, new.type
            FROM {SCHEMA}.entry AS new WHERE new.layer = :layer AND new.type NOT IN {_MARKERS}
            AND NOT EXISTS (SELECT 1 FROM {SCHEMA}.hidden WHERE hidden.layer = new.layer
                AND hidden.directory = new.directory AND hidden.name = new.name AND hidden.chain = :chain)""",
            values,
        )
