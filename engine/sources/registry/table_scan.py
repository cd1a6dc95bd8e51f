"""What the tables of registries have in common: names, documents and configs that are fetched for their rows."""

from __future__ import annotations

from imq.engine.oci.digest import Digest
from imq.engine.oci.manifest import Descriptor
from imq.engine.oci.reference import Reference
from imq.engine.sources.scan_rows import ScanRows
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from imq.engine.catalog.schema import Raw
    from imq.engine.query.source import FetchRequest, ScanRequest
    from imq.grammar.errors import ImqError

    from .reader import RegistryReader

_GONE = ("manifest-unknown", "name-unknown", "not-found")


def is_gone(error: ImqError) -> bool:
    """Whether an error says that there is no such thing, rather than that it could not be asked for."""
    return error.code in _GONE


class RegistryScan(ScanRows):
    """The rows of one scan of registries. `_path` is the path of a row's repository, `_gone` whether it has vanished."""

    hidden = ("_asked", "_path", "_gone")

    def __init__(self, source: RegistryReader, scan: ScanRequest) -> None:
        super().__init__(source.connection, scan)
        self.source = source
        self.told = scan.view
        """The scan whose problem it is when something goes wrong."""

    def fetch(self, _request: FetchRequest, /) -> None:
        """Fetch what is missing of the wanted rows; of some tables all of it was listed."""

    def failed(self, failures: Iterable[tuple[int, ImqError, str]]) -> None:
        """Let rows say what went wrong: `_row`, the error, and what it was about."""
        said = [(self.source.problem(error, what, self.told), row) for row, error, what in failures]
        self.connection.executemany(f"UPDATE temp.{self.rows} SET problem = ? WHERE _row = ?", said)

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


def place_of(reference: Reference) -> tuple[str, str, str]:
    """Return what rows say of where they are: the registry, the repository as one writes it, its path there."""
    return reference.registry, reference.familiar_name, reference.repository


def reference_of(row: Sequence[Raw]) -> Reference:
    """Return the name that a row's registry, path and tag make."""
    return Reference(str(row[0]), str(row[1]), None if row[2] is None else str(row[2]))
