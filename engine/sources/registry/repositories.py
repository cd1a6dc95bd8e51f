"""The table `repositories`: the catalog, with tag counts and total sizes."""

from __future__ import annotations

from imq.engine.query.source import FetchRequest
from imq.grammar.record import TYPE_CHECKING

from .table_scan import RegistryScan, get_location_columns
from .tables import ROOT_MANIFEST, TABLES, TAG_COUNT
from .tags import ResolvedNames

if TYPE_CHECKING:
    from collections.abc import Sequence

    from imq.engine.catalog.schema import Raw


class Repositories(RegistryScan):
    """Rows of repositories. Tag counts and sizes are fetched on demand."""

    columns = ("_lookup", "registry", "_path", "name", "source")
    fetched_columns = ("tag_count", "size")

    def list_rows(self, _names: Sequence[tuple[Raw, ...]], /) -> None:
        """List the catalogs of the source references."""
        self.create({})
        self.insert(
            (name, registry, path, name, registry, None)
            for registry, name, path in map(
                get_location_columns, self.reader.list_repositories(self.scan.refs, self.error_view)
            )
        )

    def fetch(self, request: FetchRequest, /) -> None:
        """List the tags of the rows in `selected_rows`. For sizes, also fetch all manifests reachable from the tags."""
        names = self.read_selected("t.problem IS NULL", "t.name")
        scan = self.scan.replace(targets=(), refs=(), lookup_fields=("name",))
        tags = ResolvedNames(self.reader, scan, repositories=True)
        tags.list_rows(names)
        count_sql = f"SELECT count(*) FROM temp.{tags.rows} AS tag WHERE tag._lookup = {self.rows}.name"
        selected_sql = f"_row IN (SELECT _row FROM temp.{self.selected})"
        self.connection.execute(f"UPDATE temp.{self.rows} SET tag_count = ({count_sql}) WHERE {selected_sql}")
        if request.level is not TAG_COUNT:
            tags.select_all()
            tags.fetch(FetchRequest(ROOT_MANIFEST, frozenset({TABLES["tags"].get_field("media_type")})))
            tags.fetch_index_entries()
            self.connection.execute(
                f"""UPDATE temp.{self.rows} SET size = (
                WITH top AS (
                    SELECT DISTINCT digest FROM temp.{tags.rows} AS tag WHERE tag._lookup = {self.rows}.name),
                manifest AS (SELECT digest FROM top UNION SELECT child.digest FROM top
                    JOIN cache.child ON child.parent = top.digest),
                blob AS (SELECT digest, size FROM manifest JOIN cache.document USING (digest)
                    UNION SELECT config, config_size FROM manifest JOIN cache.document USING (digest)
                        WHERE config IS NOT NULL
                    UNION SELECT layer.digest, layer.size FROM manifest
                        JOIN cache.layer ON layer.manifest = manifest.digest)
                SELECT coalesce(sum(size), 0) FROM (SELECT digest, max(size) AS size FROM blob GROUP BY digest))
                WHERE {selected_sql}"""
            )
        tags.close()
