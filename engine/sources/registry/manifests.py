"""The table `manifests`: manifests of tags, entries of indexes, and manifests that were seen before.

Registries do not list manifests. An untagged manifest is known if imq has seen it with a tag, or in a known index.
"""

from __future__ import annotations

from imq.engine.oci.digest import Digest
from imq.engine.oci.reference import Reference
from imq.grammar.errors import ImqError
from imq.grammar.record import TYPE_CHECKING

from .table_scan import RegistryScan, is_not_found, parse_row_reference
from .tables import ROOT_MANIFEST
from .tags import ResolvedNames

if TYPE_CHECKING:
    from collections.abc import Sequence

    from imq.engine.catalog.schema import Raw
    from imq.engine.query.source import FetchRequest

_LOCATION_COLUMNS = "_lookup, _path, registry, repository, source"


class Manifests(RegistryScan):
    """Rows of manifests, one for each manifest and repository."""

    columns = ("_lookup", "_path", "registry", "repository", "source", "name", "digest", "tags")

    def list_rows(self, names: Sequence[tuple[Raw, ...]], /) -> None:
        """Resolve the tags, list the entries of indexes, and check which other cached manifests still exist."""
        self._make_view()
        if self.scan.lookup_fields:
            self._list_digests(names)
            return
        tags = ResolvedNames(self.reader, self.scan, repositories=True)
        tags.resolve(names, ROOT_MANIFEST, "media_type")
        tags.fetch_index_entries()
        tagged_sql = (
            f"SELECT registry, _path, digest FROM temp.{tags.rows} WHERE digest IS NOT NULL AND problem IS NULL"
        )
        repositories_sql = (
            f"SELECT DISTINCT {_LOCATION_COLUMNS.replace('_lookup', 'NULL AS _lookup')} FROM temp.{tags.rows}"
        )
        candidates = self.connection.execute(
            f"""SELECT DISTINCT r.registry, r._path, NULL, m.digest FROM ({repositories_sql}) AS r
            JOIN cache.repository_manifest AS m ON m.registry = r.registry AND m.repository = r._path
            WHERE (r.registry, r._path, m.digest) NOT IN ({tagged_sql})
            UNION SELECT registry, _path, NULL, child.digest FROM temp.{tags.rows} AS t
            JOIN cache.child ON child.parent = t.digest WHERE (registry, _path, child.digest) NOT IN ({tagged_sql})"""
        ).fetchall()
        existing = self._check_existing(candidates)
        self.connection.execute(f"CREATE TEMP TABLE {self.rows}_known (registry, _path, digest)")
        self.connection.executemany(f"INSERT INTO temp.{self.rows}_known VALUES (?, ?, ?)", existing)
        self.insert_query(
            f"""SELECT {_LOCATION_COLUMNS}, repository || '@' || digest, digest, json_group_array(tag), NULL
            FROM (SELECT {_LOCATION_COLUMNS.replace("_lookup", "NULL AS _lookup")}, digest, tag FROM temp.{tags.rows}
                WHERE digest IS NOT NULL AND problem IS NULL ORDER BY tag)
            GROUP BY registry, _path, digest
            UNION ALL SELECT NULL, r._path, r.registry, r.repository, r.source, repository || '@' || k.digest, k.digest,
                NULL, NULL
            FROM temp.{self.rows}_known AS k JOIN ({repositories_sql}) AS r USING (registry, _path)
            UNION ALL SELECT {_LOCATION_COLUMNS}, name, digest, json_array(tag), problem FROM temp.{tags.rows}
            WHERE problem IS NOT NULL"""
        )
        self.connection.execute(f"DROP TABLE temp.{self.rows}_known")
        tags.close()
        self.select_all()
        self.fetch_manifests("digest")
        self.selected = "selected_rows"

    def _make_view(self) -> None:
        self.create(
            {
                "parent_index": f"""(SELECT min(child.parent) FROM cache.child JOIN temp.{self.rows} AS above
                    ON above.digest = child.parent AND above.registry = t.registry AND above._path = t._path
                    WHERE child.digest = t.digest)""",
                "subject": "d.subject",
                "media_type": "d.media_type",
                "artifact_type": "d.artifact_type",
                "annotations": "d.annotations",
                "size": "d.download_size",
                "layer_count": "d.layer_count",
                "id": "d.config",
                "created": "config.created",
                "platform": "config.platform",
            },
            """LEFT JOIN cache.document AS d ON d.digest = t.digest
            LEFT JOIN cache.config AS config ON config.digest = d.config""",
        )

    def _list_digests(self, names: Sequence[tuple[Raw, ...]]) -> None:
        """List those of the given manifests that exist. Each is a name and a digest."""
        requests = [(str(name), Reference.parse(str(name)), Digest(str(digest))) for name, digest in names if digest]
        heads = (reference.replace(tag=None, digest=digest) for _, reference, digest in requests)
        for number, result in self.reader.batch.fetch_heads(enumerate(heads)):
            lookup_name, reference, digest = requests[number]
            problem = None
            if isinstance(result, ImqError):
                if is_not_found(result):
                    continue
                problem = self.reader.add_problem(result, reference.familiar_name, self.error_view)
            name = f"{reference.familiar_name}@{digest}"
            location = (
                lookup_name,
                reference.repository,
                reference.registry,
                reference.familiar_name,
                reference.registry,
            )
            self.insert([(*location, name, digest, None, problem)])

    def _check_existing(self, rows: Sequence[Sequence[Raw]]) -> list[tuple[str, str, str]]:
        """Return the manifests that still exist. The others are removed from the cache."""
        existing = []
        names = [parse_row_reference(row).replace(digest=Digest(str(row[3]))) for row in rows]
        for number, result in self.reader.batch.fetch_heads(enumerate(names)):
            name = names[number]
            if not isinstance(result, ImqError):
                existing.append((name.registry, name.repository, str(name.digest)))
            elif is_not_found(result):
                self.reader.cache.forget(name)
            else:
                self.reader.add_problem(result, name.familiar_name, self.error_view)
        return existing

    def fetch(self, _request: FetchRequest, /) -> None:
        """Fetch the configs of the rows in `selected_rows`."""
        self.fetch_configs("digest")
