"""The scans of the tables `packages` and `os_releases`."""

from __future__ import annotations

from imq.engine.layer_index.schema import LICENCE_NOTE, OS_NOTE, PROBLEM_NOTE, SCHEMA
from imq.engine.query import ir
from imq.grammar.errors import ImqError, Interrupted, Malformed
from imq.grammar.record import TYPE_CHECKING

from .content_scan import ContentScan

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from imq.engine.packages.os_release import OsRelease
    from imq.engine.packages.package import Package
    from imq.engine.query.source import FetchRequest

    from .layer_parts import PartSelection

FIELDS = {
    "name": "package.name",
    "version": "package.version",
    "architecture": "package.architecture",
    "type": "package.type",
    "source": "coalesce(package.source, package.name)",
    "source_version": "coalesce(package.source_version, substr(package.version, instr(package.version, char(31)) + 1))",
    "size": "package.size",
    "path": "directory.path || '/' || package.file",
    "maintainer": "package.maintainer",
    "homepage": "package.homepage",
    "toolchain": "package.toolchain",
}
"""The SQL of the fields that a list of packages in a layer has, whatever image the layer is in."""
FILTERED_FIELDS = frozenset(FIELDS)
_NAMING_FIELDS = frozenset({"type", "name", "version", "architecture"})
"""The fields by which packages of several layers are the same; they are columns of the index."""
_IMAGE_COLUMNS = ("_lookup", "_number", "image", "image_name", "place", "last_layer")
_KEY_COLUMNS = ("_layer", "_package")


def _reads_names_alone(condition: ir.Expr) -> bool:
    values = ir.walk((condition,))
    return all(value.field.name in _NAMING_FIELDS for value in values if isinstance(value, ir.Column | ir.MapItem))


class PackageScan(ContentScan):
    """The rows of `packages`: those of the lists that the images show."""

    columns = (*_IMAGE_COLUMNS, *_KEY_COLUMNS, *FIELDS, "layer_index", "layer")
    fetched_columns = ("licence", "purl", "distribution", "image_digest", "image_created", "image_platform")

    def select_part(self) -> PartSelection:
        """Return the packages for which the condition holds, as far as it is about what names a package.

        The layers below decide in which of them a package was first: by the same values.
        """
        from .layer_parts import PartSelection

        condition = self.write_filter("package", _reads_names_alone)
        return PartSelection("package", condition.text, condition.parameters, tuple(sorted(condition.functions)))

    def insert_rows(self) -> None:
        """Insert the packages of the layers for which the condition of the scan holds, for each image."""
        condition = self.write_filter("package")
        fields = ", ".join(f'{text} AS "{name}"' for name, text in FIELDS.items())
        packages = f"""SELECT package.layer AS _layer, package.rowid AS _package, package.directory AS _directory,
                package.file AS _file, {fields}
            FROM temp.{self.layers} AS read CROSS JOIN {SCHEMA}.package ON package.layer = read.key
            CROSS JOIN {SCHEMA}.directory ON directory.key = package.directory"""
        first = f"""SELECT lower.position FROM temp.{self.stack} AS lower
            CROSS JOIN {SCHEMA}.package AS same ON same.layer = lower.layer AND same.name = package.name
                AND same.version = package.version AND same.type = package.type
                AND same.architecture IS package.architecture AND same.directory = package._directory
            WHERE lower.number = stack.number ORDER BY lower.position LIMIT 1"""
        columns = ", ".join(f'package."{name}"' for name in (*_KEY_COLUMNS, *FIELDS))
        hidden = self.write_hidden("1", "package._layer", "package._directory", "package._file")
        names = ", ".join(f'"{name}"' for name in self.columns)
        self.connection.execute(
            f"""INSERT INTO temp.{self.rows} ({names})
            SELECT shown.*, (SELECT diff_id FROM temp.{self.stack} AS first
                    WHERE first.number = shown.number AND first.position = shown.first)
            FROM (SELECT stack.lookup, stack.number AS number, stack.image, stack.name, stack.source, stack.position,
                    {columns}, ({first}) AS first
                FROM (SELECT * FROM ({packages}) AS package WHERE {condition.text}) AS package
                CROSS JOIN temp.{self.stack} AS stack ON stack.layer = package._layer
                WHERE NOT EXISTS ({hidden})) AS shown""",
            condition.parameters,
        )
        self._report_problems()

    def _report_problems(self) -> None:
        """Report the lists of packages that could not be read completely: their other rows are sound."""
        hidden = self.write_hidden("1", "note.layer", "note.directory", "note.name")
        rows = self.connection.execute(
            f"""SELECT stack.number, directory.path || '/' || note.name, note.document
            FROM temp.{self.stack} AS stack CROSS JOIN {SCHEMA}.note ON note.layer = stack.layer
                AND note.kind = '{PROBLEM_NOTE}'
            CROSS JOIN {SCHEMA}.directory ON directory.key = note.directory WHERE NOT EXISTS ({hidden})"""
        ).fetchall()
        if not rows:
            return
        import json

        for number, path, document in rows:
            image = self.images[number]
            offset, message = json.loads(document)
            place = path if offset is None else f"{path} at byte {offset}"
            error = Malformed(
                f"the packages of {image.name or image.id} are incomplete: {place}: {message}", code="package-database"
            )
            self.add_unread(image, error)

    def fetch(self, request: FetchRequest, /) -> None:
        """Fetch the licences or the package URLs of the selected rows, or read the configs of their images."""
        names = {field.name for field in request.fields}
        if "licence" in names:
            self._find_licences()
        elif names & {"purl", "distribution"}:
            self._make_urls()
        else:
            self._describe_images()

    def _find_licences(self) -> None:
        """Set the licences of the selected packages: their own, or those in files next to the lists of packages."""
        licences = f"{self.scan.view}_licences"
        connection = self.connection
        connection.execute(
            f"""CREATE TEMP TABLE {licences} (layer INTEGER, type TEXT, package TEXT, licence,
            PRIMARY KEY (layer, type, package)) WITHOUT ROWID"""
        )
        connection.execute(
            f"""INSERT OR IGNORE INTO temp.{licences} SELECT note.layer, note.document ->> 'type',
                note.document ->> 'package', note.document ->> 'licence'
            FROM temp.{self.layers} AS read CROSS JOIN {SCHEMA}.note ON note.layer = read.key
                AND note.kind = '{LICENCE_NOTE}'"""
        )
        connection.execute(
            f"""UPDATE temp.{self.rows} AS t SET licence = coalesce(
                (SELECT package.licence FROM {SCHEMA}.package WHERE package.rowid = t._package),
                (SELECT known.licence FROM temp.{self.stack} AS other
                    CROSS JOIN temp.{licences} AS known ON known.layer = other.layer AND known.type = t.type
                        AND known.package = t.name
                    WHERE other.number = t._number ORDER BY other.position DESC LIMIT 1))
            WHERE _row IN (SELECT _row FROM temp.{self.selected})"""
        )
        connection.execute(f"DROP TABLE temp.{licences}")

    def _describe_images(self) -> None:
        """Read the digests, times and platforms of the images of the selected rows."""
        from imq.engine.oci.platform import parse_platform
        from imq.engine.oci.timestamp import parse_time

        numbers = {number for (number,) in self.read_selected("1", "DISTINCT t._number")}
        for number in sorted(numbers):
            image = self.images[number]
            created = platform = None
            try:
                config = self.contents.read_config(image)
                created, platform = parse_time(config.get("created")), parse_platform(config).canonical
            except Interrupted:
                raise
            except ImqError as error:
                self.contents.add_problem(self.scan.view, image.name or image.id, error)
            self.connection.execute(
                f"""UPDATE temp.{self.rows} SET image_digest = ?, image_created = ?, image_platform = ?
                WHERE _number = ? AND _row IN (SELECT _row FROM temp.{self.selected})""",
                (image.digest, created, platform, number),
            )

    def _make_urls(self) -> None:
        from imq.engine.packages.purl import make_purl

        systems = dict(read_systems(self))
        rows = self.read_selected(
            "1", "t._row, t._number, " + ", ".join(f"package.{name}" for name in _PACKAGE_VALUES),
            f"JOIN {SCHEMA}.package ON package.rowid = t._package",
        )  # fmt: skip
        urls = [
            (make_purl(make_package(values), systems[number]), _describe(systems[number]), row)
            for row, number, *values in rows
        ]
        self.connection.execute("SAVEPOINT fetching")
        try:
            self.connection.executemany(f"UPDATE temp.{self.rows} SET purl = ?, distribution = ? WHERE _row = ?", urls)
        finally:
            self.connection.execute("RELEASE fetching")


_PACKAGE_VALUES = (
    "type", "name", "version", "file", "architecture", "source", "source_version", "licence", "size", "maintainer",
    "homepage", "toolchain", "vendor",
)  # fmt: skip


def make_package(values: list[Any]) -> Package:
    """Return the package with these columns of the index."""
    from imq.engine.packages.package import Package
    from imq.engine.packages.versions.order import SEPARATOR

    type_, name, version, path, *texts = values
    size = texts.pop(4)
    architecture, source, source_version, licence, maintainer, homepage, toolchain, vendor = (
        text or "" for text in texts
    )
    return Package(
        type_, name, version.rpartition(SEPARATOR)[2], path, architecture, source, source_version, licence, size,
        maintainer, homepage, toolchain, vendor,
    )  # fmt: skip


def _describe(system: OsRelease | None) -> str | None:
    return f"{system.id} {system.version_id}".strip() if system is not None else None


def read_systems(scan: ContentScan) -> Iterator[tuple[int, OsRelease | None]]:
    """Yield the number of each image of a scan, and its operating system; None when it names none."""
    import json

    from imq.engine.packages.os_release import OS_FILES, read_os

    hidden = scan.write_hidden("1", "note.layer", "note.directory", "note.name")
    rows = scan.connection.execute(
        f"""SELECT stack.number, directory.path || '/' || note.name, note.document
        FROM temp.{scan.stack} AS stack CROSS JOIN {SCHEMA}.note ON note.layer = stack.layer AND note.kind = '{OS_NOTE}'
        CROSS JOIN {SCHEMA}.directory ON directory.key = note.directory
        WHERE NOT EXISTS ({hidden}) ORDER BY stack.number"""
    ).fetchall()
    files: dict[int, dict[bytes, bytes]] = {number: {} for number in range(len(scan.images))}
    for number, path, document in rows:
        encoded = path[1:].encode()
        if encoded in OS_FILES:
            files[number][encoded] = json.loads(document).encode()
    for number, found in files.items():
        yield number, read_os(found)


class OsReleaseScan(ContentScan):
    """The rows of `os_releases`."""

    columns = ("_lookup", "image", "image_name", "place", "id", "version_id", "pretty_name", "codename")

    def select_part(self) -> PartSelection:
        """Return no package, but the notes on systems."""
        from .layer_parts import PartSelection

        return PartSelection("package", "0")

    def insert_rows(self) -> None:
        """Insert one row for each image."""
        rows = []
        for number, system in read_systems(self):
            image = self.images[number]
            texts = (system.id, system.version_id, system.pretty_name, system.codename) if system else (None,) * 4
            rows.append((image.lookup, image.id, image.name, image.source, *(text or None for text in texts), None))
        self.insert(rows)
