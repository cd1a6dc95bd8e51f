"""The rows of one scan: a temporary table, and the view of it that the query reads."""

from __future__ import annotations

from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Mapping

    from imq.engine.catalog.schema import Raw
    from imq.engine.query.source import ScanRequest


class ScanRows:
    """The rows of one scan, in the temporary table `VIEW_rows`.

    `columns` are what a listing says of a row, in order; `further` ones start unknown. `hidden` ones are
    in the view as well. `problem` says why a row could
    not be fetched whole.
    """

    columns: tuple[str, ...] = ()
    further: tuple[str, ...] = ()
    hidden: tuple[str, ...] = ("_asked",)

    def __init__(self, connection: sqlite3.Connection, scan: ScanRequest) -> None:
        self.connection = connection
        self.scan = scan
        self.rows = f"{scan.view}_rows"
        self.wanted = "wanted"
        """The temporary table of the rows that something is to be fetched for."""

    def make(self, fields: Mapping[str, str], joined: str = "") -> None:
        """Make the table and the view. `fields` maps fields to SQL, in which `t` is the table; others are its columns.

        Other fields are unknown. `joined` are further tables of the view.
        """
        columns = ", ".join(f'"{name}"' for name in (*self.columns, *self.further, "problem"))
        self.connection.execute(f"CREATE TEMP TABLE {self.rows} (_row INTEGER PRIMARY KEY, {columns})")
        own = {*self.columns, *self.further, "problem"}
        said = ["t._row AS _row", "NULL AS _image", "NULL AS _root", "NULL AS _entry"]
        said += [f"{f't.{name}' if name in own else 'NULL'} AS {name}" for name in self.hidden]
        for field in self.scan.table.stored_fields:
            value = fields.get(field.name) or (f't."{field.name}"' if field.name in own else "NULL")
            said.append(f'{value} AS "{field.name}"')
        text = f"SELECT {', '.join(said)} FROM temp.{self.rows} AS t {joined}"
        self.connection.execute(f"CREATE TEMP VIEW {self.scan.view} AS {text}")

    def insert(self, rows: Iterable[tuple[object, ...]]) -> None:
        """Add rows, each with a value for each of `columns`, and its problem."""
        names = ", ".join(f'"{name}"' for name in (*self.columns, "problem"))
        places = ", ".join("?" * (len(self.columns) + 1))
        self.connection.execute("SAVEPOINT listing")
        try:
            self.connection.executemany(f"INSERT INTO temp.{self.rows} ({names}) VALUES ({places})", rows)
        finally:
            self.connection.execute("RELEASE listing")

    def fill(self, query: str) -> None:
        """Add the rows of a query, with a value for each of `columns`, and their problem."""
        names = ", ".join(f'"{name}"' for name in (*self.columns, "problem"))
        self.connection.execute(f"INSERT INTO temp.{self.rows} ({names}) {query}")

    def chosen(self, condition: str, columns: str = "registry, _path, tag, digest") -> list[tuple[Raw, ...]]:
        """Return columns of the chosen rows that meet a condition, in which `t` is the table."""
        text = f"SELECT {columns} FROM temp.{self.rows} AS t JOIN temp.{self.wanted} USING (_row) WHERE {condition}"
        return self.connection.execute(text).fetchall()

    def choose_all(self) -> None:
        """Choose all rows for the next fetch."""
        self.wanted = f"{self.rows}_wanted"
        self.connection.execute(f"CREATE TEMP TABLE IF NOT EXISTS {self.wanted} (_row INTEGER PRIMARY KEY)")
        self.connection.execute(f"INSERT OR IGNORE INTO temp.{self.wanted} SELECT _row FROM temp.{self.rows}")

    def retain(self, rows: str) -> None:
        """Drop the rows whose `_row` is not in this temporary table."""
        self.connection.execute(f"DELETE FROM temp.{self.rows} WHERE _row NOT IN (SELECT _row FROM temp.{rows})")

    def close(self) -> bool:
        """Drop the view and the table; False when they cannot be, because an answer is being read from them."""
        try:
            self.connection.execute(f"DROP VIEW IF EXISTS temp.{self.scan.view}")
            self.connection.execute(f"DROP TABLE IF EXISTS temp.{self.rows}")
            self.connection.execute(f"DROP TABLE IF EXISTS temp.{self.rows}_wanted")
        except Exception:  # noqa: BLE001 - SQLite's, whose module only the index and the runner load
            return False
        return True
