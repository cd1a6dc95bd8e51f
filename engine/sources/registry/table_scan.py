"""The common part of the scans of registries: names, manifests and configs that are fetched for rows."""

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


def is_not_found(error: ImqError) -> bool:
    """Whether an error means that the object does not exist, and not that the request failed."""
    return error.code in _GONE


class RegistryScan(ScanRows):
    """The rows of one scan of registries. `_path` is the repository of a row, `_gone` whether it no longer exists."""

    hidden = ("_lookup", "_path", "_gone")

    def __init__(self, source: RegistryReader, scan: ScanRequest) -> None:
        super().__init__(source.connection, scan)
        self.reader = source
        self.error_view = scan.view
        """The scan that problems are reported for."""

    def fetch(self, _request: FetchRequest, /) -> None:
        """Fetch the fields of the wanted rows; some tables list all of them."""

    def set_problems(self, failures: Iterable[tuple[int, ImqError, str]]) -> None:
        """Set the problems of rows: `_row`, the error, and its subject."""
        said = [(self.reader.add_problem(error, what, self.error_view), row) for row, error, what in failures]
        self.connection.executemany(f"UPDATE temp.{self.rows} SET problem = ? WHERE _row = ?", said)

    def fetch_manifests(self, column: str) -> None:
        """Fetch the manifests with the digests in a column that are not cached."""
        missing = f"""t.{column} IS NOT NULL AND t.problem IS NULL AND t.registry IS NOT NULL AND NOT EXISTS (
            SELECT 1 FROM remembered.document WHERE document.digest = t.{column}) GROUP BY t.{column}"""
        wanted = self.read_selected(missing, f"registry, _path, NULL, t.{column}")
        failed = self.reader.fetch_manifests([(row_reference(row), Digest(str(row[3]))) for row in wanted])
        self._set_problems_by_digest(column, ((str(wanted[place][3]), error) for place, error in failed))

    def _set_problems_by_digest(self, column: str, failed: Iterable[tuple[str, ImqError]]) -> None:
        """Set the problems of all rows with these digests."""
        for digest, error in failed:
            rows = f"SELECT _row, repository FROM temp.{self.rows} WHERE {column} = ?"
            self.set_problems(
                (row, error, str(name)) for row, name in self.connection.execute(rows, (digest,)).fetchall()
            )

    def fetch_configs(self, column: str, condition: str = "") -> None:
        """Fetch the configs of the manifests in a column that are not cached, for rows that meet a condition."""
        alone = f"AND {condition}" if condition else ""
        text = f"""SELECT registry, _path, NULL, d.config, d.config_type, d.config_size, t.{column}
            FROM temp.{self.rows} AS t JOIN temp.{self.selected} USING (_row)
            JOIN remembered.document AS d ON d.digest = t.{column}
            WHERE t.problem IS NULL AND d.kind = 'image' {alone}
            AND NOT EXISTS (SELECT 1 FROM remembered.config WHERE config.digest = d.config) GROUP BY d.config"""
        wanted = self.connection.execute(text).fetchall()
        failed = self.reader.fetch_configs(
            [(row_reference(row), Descriptor(str(row[4]), Digest(row[3]), int(row[5]))) for row in wanted]
        )
        self._set_problems_by_digest(column, ((str(wanted[place][6]), error) for place, error in failed))


def location_columns(reference: Reference) -> tuple[str, str, str]:
    """Return the location of a reference for a row: the registry, the familiar name, the repository's path."""
    return reference.registry, reference.familiar_name, reference.repository


def row_reference(row: Sequence[Raw]) -> Reference:
    """Return the reference of a row's registry, path and tag."""
    return Reference(str(row[0]), str(row[1]), None if row[2] is None else str(row[2]))
