"""What the top layer of a stack hides of the layers below (OCI image specification, layer.md).

The layers below are the rows of the temporary table `lower`. The cost grows with the entries of the top layer, not with
those of the stack, except for a large layer on many others: their paths are sorted once then.
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

IS_VISIBLE = f"""NOT EXISTS (SELECT 1 FROM {SCHEMA}.hidden JOIN lower AS upper ON upper.chain = hidden.chain
    WHERE hidden.layer = old.layer AND hidden.directory = old.directory AND hidden.name = old.name)"""
"""Whether the stack `lower` shows the entry `old` of one of its layers."""


def hide_lower_entries(connection: sqlite3.Connection, layer: int, chain: int) -> None:
    """Write the rows of `hidden` for `layer` on top of the layers in `lower`; `chain` is the key of the stack."""
    values = {"layer": layer, "chain": chain}
    hide = f"INSERT OR IGNORE INTO {SCHEMA}.hidden (layer, directory, name, chain, status)"
    old = _join_lower(connection, layer)
    # an entry of a path replaces the one below; a folder without an entry of its own does so only if that is no folder
    connection.execute(
        f"""{hide} SELECT old.layer, old.directory, old.name, :chain, {OVERWRITTEN} {old}
        WHERE new.layer = :layer AND new.type NOT IN {_MARKERS} AND old.type NOT IN {_MARKERS}
            AND NOT (new.type = {IMPLIED} AND old.type IN {_DIRECTORIES}) AND {IS_VISIBLE}""",
        values,
    )
    # a whiteout hides a path and what is below it, as does an entry that is no folder
    connection.execute(
        f"""{hide} SELECT old.layer, old.directory, old.name, :chain, {DELETED}
        FROM {SCHEMA}.entry AS new CROSS JOIN lower CROSS JOIN {SCHEMA}.entry AS old ON old.layer = lower.layer
            AND old.directory = new.directory AND old.name = substr(new.name, {_WHITEOUT_PREFIX + 1})
        WHERE new.layer = :layer AND new.type = {WHITEOUT} AND {IS_VISIBLE}""",
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
        WHERE new.layer = :layer AND new.type = {IMPLIED} AND old.type IN {_DIRECTORIES} AND {IS_VISIBLE}
            AND NOT EXISTS (SELECT 1 FROM {SCHEMA}.hidden WHERE hidden.layer = old.layer
                AND hidden.directory = old.directory AND hidden.name = old.name AND hidden.chain = :chain)""",
        values,
    )
    connection.execute("DROP TABLE cleared")


def _join_lower(connection: sqlite3.Connection, layer: int) -> str:
    """Return the SQL that joins the entries `new` of a layer to the entries `old` of lower layers at the same path."""
    new, old, stack = connection.execute(
        f"""SELECT (SELECT paths FROM {SCHEMA}.layer WHERE key = ?),
            (SELECT sum(paths) FROM lower JOIN {SCHEMA}.layer ON layer.key = lower.layer), count(*) FROM lower""",
        (layer,),
    ).fetchone()
    same_path = "old.layer = lower.layer AND old.directory = new.directory AND old.name = new.name"
    if new * stack <= 4 * (old or 0) + 1_000:
        return f"FROM {SCHEMA}.entry AS new CROSS JOIN lower CROSS JOIN {SCHEMA}.entry AS old ON {same_path}"
    return (
        f"FROM lower CROSS JOIN {SCHEMA}.entry AS old ON old.layer = lower.layer"
        f" CROSS JOIN {SCHEMA}.entry AS new ON new.directory = old.directory AND new.name = old.name"
    )
