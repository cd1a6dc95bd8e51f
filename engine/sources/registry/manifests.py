"""The table `manifests`: manifests of tags, entries of indexes, and manifests that were seen before.

Registries do not list manifests. An untagged manifest is known when imq has seen it with a tag, or in a known index.
"""

from __future__ import annotations

from imq.engine.oci.digest import Digest
from imq.engine.oci.reference import Reference
from imq.grammar.errors import ImqError
from imq.grammar.record import TYPE_CHECKING

from .table_scan import RegistryScan, is_not_found, row_reference
from .tables import ROOT_MANIFEST
from .tags import ResolvedNames

if TYPE_CHECKING:
    from collections.abc import Sequence

    from imq.engine.catalog.schema import Raw
    from imq.engine.query.source import FetchRequest

_LOCATION_COLUMNS = "_lookup, _path, registry, repository, source"


class Manifests(RegistryScan):
    """Rows of manifests, each once for a repository."""

    columns = ("_lookup", "_path", "registry", "repository", "source", "name", "digest", "tags")

    def list_rows(self, names: Sequence[tuple[Raw, ...]], /) -> None:
        """Resolve the tags, list the entries of indexes, and check whether the other known manifests still exist."""
        self._make_view()
        if self.scan.lookup_fields:
            self._list_digests(names)
            return
        of = ResolvedNames(self.reader, self.scan, repositories=True)
        of.resolve(names, ROOT_MANIFEST, "media_type")
        of.fetch_index_entries()
        tagged = f"SELECT registry, _path, digest FROM temp.{of.rows} WHERE digest IS NOT NULL AND problem IS NULL"
        repositories = f"SELECT DISTINCT {_LOCATION_COLUMNS.replace('_lookup', 'NULL AS _lookup')} FROM temp.{of.rows}"
        seen = self.connection.execute(
            f"""SELECT DISTINCT r.registry, r._path, NULL, seen.digest FROM ({repositories}) AS r
            JOIN remembered.seen ON seen.registry = r.registry AND seen.repository = r._path
            WHERE (r.registry, r._path, seen.digest) NOT IN ({tagged})
            UNION SELECT registry, _path, NULL, child.digest FROM temp.{of.rows} AS t
            JOIN remembered.child ON child.parent = t.digest WHERE (registry, _path, child.digest) NOT IN ({tagged})"""
        ).fetchall()
        there = self._check_existing(seen)
        self.connection.execute(f"CREATE TEMP TABLE {self.rows}_known (registry, _path, digest)")
        self.connection.executemany(f"INSERT INTO temp.{self.rows}_known VALUES (?, ?, ?)", there)
        self.insert_query(
            f"""SELECT {_LOCATION_COLUMNS}, repository || '@' || digest, digest, json_group_array(tag), NULL
            FROM (SELECT {_LOCATION_COLUMNS.replace("_lookup", "NULL AS _lookup")}, digest, tag FROM temp.{of.rows}
                WHERE digest IS NOT NULL AND problem IS NULL ORDER BY tag)
            GROUP BY registry, _path, digest
            UNION ALL SELECT NULL, r._path, r.registry, r.repository, r.source, repository || '@' || k.digest, k.digest,
                NULL, NULL
            FROM temp.{self.rows}_known AS k JOIN ({repositories}) AS r USING (registry, _path)
            UNION ALL SELECT {_LOCATION_COLUMNS}, name, digest, json_array(tag), problem FROM temp.{of.rows}
            WHERE problem IS NOT NULL"""
        )
        self.connection.execute(f"DROP TABLE temp.{self.rows}_known")
        of.close()
        self.select_all()
        self.fetch_manifests("digest")
        self.selected = "selected_rows"

    def _make_view(self) -> None:
        self.create(
            {
                "parent_index": f"""(SELECT min(child.parent) FROM remembered.child JOIN temp.{self.rows} AS above
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
            """LEFT JOIN remembered.document AS d ON d.digest = t.digest
            LEFT JOIN remembered.config AS config ON config.digest = d.config""",
        )

    def _list_digests(self, names: Sequence[tuple[Raw, ...]]) -> None:
        """List the manifests with these digests that exist; each name comes with a digest."""
        wanted = [(str(name), Reference.parse(str(name)), Digest(str(digest))) for name, digest in names if digest]
        heads = (reference.replace(tag=None, digest=digest) for _, reference, digest in wanted)
        for place, answer in self.reader.batch.fetch_heads(enumerate(heads)):
            asked, reference, digest = wanted[place]
            problem = None
            if isinstance(answer, ImqError):
                if is_not_found(answer):
                    continue
                problem = self.reader.add_problem(answer, reference.familiar_name, self.error_view)
            name = f"{reference.familiar_name}@{digest}"
            placed = (asked, reference.repository, reference.registry, reference.familiar_name, reference.registry)
            self.insert([(*placed, name, digest, None, problem)])

    def _check_existing(self, seen: Sequence[Sequence[Raw]]) -> list[tuple[str, str, str]]:
        """Return the manifests that still exist; the others are removed from the cache."""
        there = []
        names = [row_reference(row).replace(digest=Digest(str(row[3]))) for row in seen]
        for place, answer in self.reader.batch.fetch_heads(enumerate(names)):
            name = names[place]
            if not isinstance(answer, ImqError):
                there.append((name.registry, name.repository, str(name.digest)))
            elif is_not_found(answer):
                self.reader.cache.forget(name)
            else:
                self.reader.add_problem(answer, name.familiar_name, self.error_view)
        return there

    def fetch(self, _request: FetchRequest, /) -> None:
        """Fetch the configs of the rows in `selected_rows`."""
        self.fetch_configs("digest")
