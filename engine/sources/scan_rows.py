"""The rows of one scan: a temporary table, and the view of it that the query reads."""

from __future__ import annotations

from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Mapping
    from typing import Any

    from imq.engine.catalog.schema import Raw
    from imq.engine.query.source import ScanRequest


class ScanRows:
    """The rows of one scan, in the temporary table `VIEW_rows`.

    - `columns` are filled when a row is listed, in this order.
    - `fetched_columns` are NULL until they are fetched.
    - `hidden` columns are in the view but are no fields of the table.
    - `unread`: see `TableScan`.

    The column `problem` holds the reason why a row could not be fetched completely.
    """

    columns: tuple[str, ...] = ()
    fetched_columns: tuple[str, ...] = ()
    hidden: tuple[str, ...] = ("_lookup",)
    unread: str = ""

    def __init__(self, connection: sqlite3.Connection, scan: ScanRequest) -> None:
        self.connection = connection
        self.scan = scan
        self.rows = f"{scan.view}_rows"
        self.selected = "selected_rows"
        """The temporary table with the `_row` of each row to fetch."""

    def create(self, fields: Mapping[str, str], joins: str = "") -> None:
        """Create the table and the view.

        `fields` maps field names to SQL expressions, in which `t` is the table. Other fields are the columns of the
        table of the same name, or NULL. `joins` is SQL that joins more tables to the view.
        """
        columns = ", ".join(f'"{name}"' for name in (*self.columns, *self.fetched_columns, "problem"))
        self.connection.execute(f"CREATE TEMP TABLE {self.rows} (_row INTEGER PRIMARY KEY, {columns})")
        own_columns = {*self.columns, *self.fetched_columns, "problem"}
        projection = ["t._row AS _row", "NULL AS _image", "NULL AS _root", "NULL AS _entry"]
        projection += [
            f"{fields.get(name) or (f't.{name}' if name in own_columns else 'NULL')} AS {name}" for name in self.hidden
        ]
        for field in self.scan.table.stored_fields:
            value = fields.get(field.name) or (f't."{field.name}"' if field.name in own_columns else "NULL")
            projection.append(f'{value} AS "{field.name}"')
        joined = self.scan.join_fields or (("_lookup",) if self.scan.lookup_fields else ())
        for name in {*joined} & own_columns - {"source"}:  # without it, a join would read all rows for each outer row
            self.connection.execute(f'CREATE INDEX temp.{self.rows}_{name} ON {self.rows} ("{name}")')
        text = f"SELECT {', '.join(projection)} FROM temp.{self.rows} AS t {joins}"
        self.connection.execute(f"CREATE TEMP VIEW {self.scan.view} AS {text}")

    def insert(self, rows: Iterable[tuple[object, ...]]) -> None:
        """Insert rows. Each has a value for each of `columns`, then its problem or None."""
        names = ", ".join(f'"{name}"' for name in (*self.columns, "problem"))
        markers = ", ".join("?" * (len(self.columns) + 1))
        self.connection.execute("SAVEPOINT listing")
        try:
            self.connection.executemany(f"INSERT INTO temp.{self.rows} ({names}) VALUES ({markers})", rows)
        finally:
            self.connection.execute("RELEASE listing")

    def insert_query(self, select: str) -> None:
        """Insert the rows of an SQL query, which returns each of `columns`, then the problem or NULL."""
        names = ", ".join(f'"{name}"' for name in (*self.columns, "problem"))
        self.connection.execute(f"INSERT INTO temp.{self.rows} ({names}) {select}")

    def read_selected(
        self, condition: str, columns: str = "registry, _path, tag, digest", joins: str = ""
    ) -> list[tuple[Any, ...]]:
        """Return columns of the selected rows for which an SQL condition holds; `t` is the table in both.

        `joins` is SQL that joins more tables.
        """
        text = (
            f"SELECT {columns} FROM temp.{self.rows} AS t JOIN temp.{self.selected} USING (_row) {joins}"
            f" WHERE {condition}"
        )
        return self.connection.execute(text).fetchall()

    def select_all(self) -> None:
        """Select all rows for the next fetch."""
        self.selected = f"{self.rows}_selected"
        self.connection.execute(f"CREATE TEMP TABLE IF NOT EXISTS {self.selected} (_row INTEGER PRIMARY KEY)")
        self.connection.execute(f"INSERT OR IGNORE INTO temp.{self.selected} SELECT _row FROM temp.{self.rows}")

    def set_bases(self, images: Iterable[tuple[Raw, ...]]) -> None:
        """Set `base_chain_id` of the selected rows. `images` are all images of the sources of these rows.

        Each is its source, its ID, its chain ID and the chain IDs of all its layers as JSON.
        """
        chains = f"{self.rows}_chains"
        self.connection.execute(f"DROP TABLE IF EXISTS temp.{chains}")
        self.connection.execute(f"CREATE TEMP TABLE {chains} (source, id, chain, chains, base)")
        self.connection.execute("SAVEPOINT bases")
        try:
            self.connection.executemany(f"INSERT INTO temp.{chains} VALUES (?, ?, ?, ?, NULL)", images)
        finally:
            self.connection.execute("RELEASE bases")
        self.connection.execute(f"CREATE INDEX temp.{chains}_id ON {chains} (source, id)")
        self.connection.execute(f"CREATE INDEX temp.{chains}_chain ON {chains} (source, chain)")
        self.connection.execute(
            f"""UPDATE temp.{chains} SET base = (SELECT one.value FROM json_each({chains}.chains) AS one
            WHERE one.value <> {chains}.chain AND EXISTS (SELECT 1 FROM temp.{chains} AS other
                WHERE other.source = {chains}.source AND other.chain = one.value)
            ORDER BY one.key DESC LIMIT 1)"""
        )
        self.connection.execute(
            f"""UPDATE temp.{self.rows} SET base_chain_id = (SELECT own.base
            FROM temp.{self.scan.view} AS row JOIN temp.{chains} AS own ON own.source = row.source AND own.id = row.id
            WHERE row._row = {self.rows}._row)
            WHERE _row IN (SELECT _row FROM temp.{self.selected})"""
        )
        self.connection.execute(f"DROP TABLE temp.{chains}")

    def retain(self, rows: str) -> None:
        """Drop the rows whose `_row` is not in this temporary table."""
        self.connection.execute(f"DELETE FROM temp.{self.rows} WHERE _row NOT IN (SELECT _row FROM temp.{rows})")

    def close(self) -> bool:
        """Drop the view and the table. Return False if a cursor still reads from them."""
        try:
            self.connection.execute(f"DROP VIEW IF EXISTS temp.{self.scan.view}")
            self.connection.execute(f"DROP TABLE IF EXISTS temp.{self.rows}")
            self.connection.execute(f"DROP TABLE IF EXISTS temp.{self.rows}_selected")
        except Exception:  # noqa: BLE001 - sqlite3.Error; only the index and the executor import sqlite3
            return False
        return True
