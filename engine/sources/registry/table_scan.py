"""The common part of the scans of registries: fetching manifests and configs for rows."""

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

_NOT_FOUND_CODES = ("manifest-unknown", "name-unknown", "not-found")


def is_not_found(error: ImqError) -> bool:
    """Whether an error means that the object does not exist, and not that the request failed."""
    return error.code in _NOT_FOUND_CODES


class RegistryScan(ScanRows):
    """The rows of one scan. `_path` is the repository path of a row; `_gone` is 1 if the row no longer exists."""

    hidden = ("_lookup", "_path", "_gone")

    def __init__(self, source: RegistryReader, scan: ScanRequest) -> None:
        super().__init__(source.connection, scan)
        self.reader = source
        self.error_view = scan.view
        """The view of the scan for which problems are reported."""

    def fetch(self, _request: FetchRequest, /) -> None:
        """Do nothing: in some tables, listing fills all fields."""

    def set_problems(self, failures: Iterable[tuple[int, ImqError, str]]) -> None:
        """Set the problems of rows. Each failure is the `_row`, the error, and its subject."""
        messages = [(self.reader.add_problem(error, subject, self.error_view), row) for row, error, subject in failures]
        self.connection.executemany(f"UPDATE temp.{self.rows} SET problem = ? WHERE _row = ?", messages)

    def fetch_manifests(self, column: str) -> None:
        """Fetch the manifests whose digests are in a column of the selected rows, unless they are cached."""
        missing = f"""t.{column} IS NOT NULL AND t.problem IS NULL AND t.registry IS NOT NULL AND NOT EXISTS (
            SELECT 1 FROM cache.document WHERE document.digest = t.{column}) GROUP BY t.{column}"""
        missing_rows = self.read_selected(missing, f"registry, _path, NULL, t.{column}")
        failures = self.reader.fetch_manifests(
            [(parse_row_reference(row), Digest(str(row[3]))) for row in missing_rows]
        )
        self._set_problems_by_digest(column, ((str(missing_rows[number][3]), error) for number, error in failures))

    def _set_problems_by_digest(self, column: str, failed: Iterable[tuple[str, ImqError]]) -> None:
        """Set the problems of all rows with these digests."""
        for digest, error in failed:
            rows = f"SELECT _row, repository FROM temp.{self.rows} WHERE {column} = ?"
            self.set_problems(
                (row, error, str(name)) for row, name in self.connection.execute(rows, (digest,)).fetchall()
            )

    def fetch_configs(self, column: str, condition: str = "") -> None:
        """Fetch the configs of the manifests in a column, unless they are cached. `condition` is SQL."""
        condition_sql = f"AND {condition}" if condition else ""
        text = f"""SELECT registry, _path, NULL, d.config, d.config_type, d.config_size, t.{column}
            FROM temp.{self.rows} AS t JOIN temp.{self.selected} USING (_row)
            JOIN cache.document AS d ON d.digest = t.{column}
            WHERE t.problem IS NULL AND d.kind = 'image' {condition_sql}
            AND NOT EXISTS (SELECT 1 FROM cache.config WHERE config.digest = d.config) GROUP BY d.config"""
        missing_rows = self.connection.execute(text).fetchall()
        failures = self.reader.fetch_configs(
            [(parse_row_reference(row), Descriptor(str(row[4]), Digest(row[3]), int(row[5]))) for row in missing_rows]
        )
        self._set_problems_by_digest(column, ((str(missing_rows[number][6]), error) for number, error in failures))


def get_location_columns(reference: Reference) -> tuple[str, str, str]:
    """Return the location columns of a reference: the registry, the familiar name, the repository path."""
    return reference.registry, reference.familiar_name, reference.repository


def parse_row_reference(row: Sequence[Raw]) -> Reference:
    """Return the reference of a row that starts with registry, path and tag."""
    return Reference(str(row[0]), str(row[1]), None if row[2] is None else str(row[2]))
