"""What the tables of registries have in common: a temporary table of rows, and the view of it that the query reads."""

from __future__ import annotations

from imq.engine.oci.digest import Digest
from imq.engine.oci.manifest import Descriptor
from imq.engine.oci.reference import Reference
from imq.grammar.errors import ImqError
from imq.grammar.record import TYPE_CHECKING, Record

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Mapping, Sequence

    from imq.engine.query.fetch_plan import Scan, Stage
    from imq.engine.render.values import Raw
    from imq.engine.sources.registry.provider import Registries


HIDDEN = ("_asked", "_path", "_gone")
"""Columns beside those of the fields: by what a row was asked, its repository's path, whether it has vanished since."""
AT_ONCE = 200
"""Answers that are written down together."""
_GONE = ("manifest-unknown", "name-unknown", "not-found")


class Asked(Record):
    """One name that is asked for: `text` is how it was said, `digest` what it stands for, when that is known."""

    text: str
    reference: Reference
    digest: str | None = None


def is_gone(error: ImqError) -> bool:
    """Whether an error says that there is no such thing, rather than that it could not be asked for."""
    return error.code in _GONE


class Filled:
    """The rows of one scan, in the temporary table `VIEW_rows`.

    `columns` are what a listing says of a row, in order; further ones start unknown. `problem` says why a row could not
    be told more of.
    """

    columns: tuple[str, ...] = ()
    further: tuple[str, ...] = ()

    def __init__(self, source: Registries, scan: Scan) -> None:
        self.source = source
        self.scan = scan
        self.rows = f"{scan.view}_rows"
        self.told = scan.view
        """The scan whose problem it is when something goes wrong."""
        self.wanted = "wanted"
        """The temporary table of the rows that something is to be fetched for."""

    @property
    def connection(self) -> sqlite3.Connection:
        """The index's connection."""
        return self.source.connection

    def make(self, fields: Mapping[str, str], joined: str = "", more: str = "") -> None:
        """Make the table and the view. `fields` maps fields to SQL, in which `t` is the table; others are its columns.

        What is neither is unknown. `joined` are further tables of the view, `more` a query of further rows.
        """
        columns = ", ".join(f'"{name}"' for name in (*self.columns, *self.further, "problem"))
        self.connection.execute(f"CREATE TEMP TABLE {self.rows} (_row INTEGER PRIMARY KEY, {columns})")
        own = {*self.columns, *self.further, "problem"}
        said = ["t._row AS _row", "NULL AS _image", "NULL AS _root", "NULL AS _entry"]
        said += [f"{f't.{name}' if name in own else 'NULL'} AS {name}" for name in HIDDEN]
        for field in self.scan.table.kept:
            value = fields.get(field.name) or (f't."{field.name}"' if field.name in own else "NULL")
            said.append(f'{value} AS "{field.name}"')
        text = f"SELECT {', '.join(said)} FROM temp.{self.rows} AS t {joined}"
        text += f" UNION ALL {more}" if more else ""
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

    def fetch(self, _stage: Stage, /) -> None:
        """Fetch what a stage asks for of the wanted rows; of some tables all of it was listed."""

    def want_all(self) -> None:
        """Let what is fetched be for all rows: what a table needs of names before it has rows of its own."""
        self.wanted = f"{self.rows}_wanted"
        self.connection.execute(f"CREATE TEMP TABLE IF NOT EXISTS {self.wanted} (_row INTEGER PRIMARY KEY)")
        self.connection.execute(f"INSERT OR IGNORE INTO temp.{self.wanted} SELECT _row FROM temp.{self.rows}")

    def failed(self, failures: Iterable[tuple[int, ImqError, str]]) -> None:
        """Let rows say what went wrong: `_row`, the error, and what it was about."""
        said = [(self.source.problem(error, what, self.told), row) for row, error, what in failures]
        self.connection.executemany(f"UPDATE temp.{self.rows} SET problem = ? WHERE _row = ?", said)

    def fill(self, query: str) -> None:
        """Add the rows of a query, with a value for each of `columns`, and their problem."""
        names = ", ".join(f'"{name}"' for name in (*self.columns, "problem"))
        self.connection.execute(f"INSERT INTO temp.{self.rows} ({names}) {query}")

    def chosen(self, condition: str, columns: str = "registry, _path, tag, digest") -> list[tuple[Raw, ...]]:
        """Return columns of the wanted rows that meet a condition, in which `t` is the table."""
        text = f"SELECT {columns} FROM temp.{self.rows} AS t JOIN temp.{self.wanted} USING (_row) WHERE {condition}"
        return self.connection.execute(text).fetchall()

    def documents(self, column: str) -> None:
        """Fetch the documents of these digests that are not remembered."""
        missing = f"""t.{column} IS NOT NULL AND t.problem IS NULL AND t.registry IS NOT NULL AND NOT EXISTS (
            SELECT 1 FROM remembered.document WHERE document.digest = t.{column}) GROUP BY t.{column}"""
        wanted = self.chosen(missing, f"registry, _path, NULL, t.{column}")
        failed = self.source.documents([(reference_of(row), Digest(str(row[3]))) for row in wanted])
        self._fail_all(column, ((str(wanted[place][3]), error) for place, error in failed))

    def _fail_all(self, column: str, failed: Iterable[tuple[str, ImqError]]) -> None:
        """Let all rows with these digests say what went wrong."""
        for digest, error in failed:
            rows = f"SELECT _row, repository FROM temp.{self.rows} WHERE {column} = ?"
            self.failed((row, error, str(name)) for row, name in self.connection.execute(rows, (digest,)).fetchall())

    def configs(self, column: str, condition: str = "") -> None:
        """Fetch the configs of the manifests in a column that are not remembered, of rows that meet a condition."""
        alone = f"AND {condition}" if condition else ""
        text = f"""SELECT registry, _path, NULL, d.config, d.config_type, d.config_size, t.{column}
            FROM temp.{self.rows} AS t JOIN temp.{self.wanted} USING (_row)
            JOIN remembered.document AS d ON d.digest = t.{column}
            WHERE t.problem IS NULL AND d.kind = 'image' {alone}
            AND NOT EXISTS (SELECT 1 FROM remembered.config WHERE config.digest = d.config) GROUP BY d.config"""
        wanted = self.connection.execute(text).fetchall()
        failed = self.source.configs(
            [(reference_of(row), Descriptor(str(row[4]), Digest(row[3]), int(row[5]))) for row in wanted]
        )
        self._fail_all(column, ((str(wanted[place][6]), error) for place, error in failed))

    def keep(self, rows: str) -> None:
        """Drop the rows whose `_row` is not in this temporary table."""
        self.connection.execute(f"DELETE FROM temp.{self.rows} WHERE _row NOT IN (SELECT _row FROM temp.{rows})")

    def drop(self) -> bool:
        """Drop the view and the table; False when they cannot be, because an answer is being read from them."""
        try:
            self.connection.execute(f"DROP VIEW IF EXISTS temp.{self.scan.view}")
            self.connection.execute(f"DROP TABLE IF EXISTS temp.{self.rows}")
            self.connection.execute(f"DROP TABLE IF EXISTS temp.{self.rows}_wanted")
        except Exception:  # noqa: BLE001 - SQLite's, whose module only the index and the runner load
            return False
        return True


def place_of(reference: Reference) -> tuple[str, str, str]:
    """Return what rows say of where they are: the registry, the repository as one writes it, its path there."""
    return reference.registry, reference.familiar_name, reference.repository


def reference_of(row: Sequence[Raw]) -> Reference:
    """Return the name that a row's registry, path and tag make."""
    return Reference(str(row[0]), str(row[1]), None if row[2] is None else str(row[2]))
