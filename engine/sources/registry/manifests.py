"""The table `manifests`: those that tags stand for, the children of indexes, and those that were seen before.

RegistryReader do not list manifests. What has lost its tag is known when imq saw it with one, or in an index that is known.
"""

from __future__ import annotations

from imq.engine.oci.digest import Digest
from imq.engine.oci.reference import Reference
from imq.grammar.errors import ImqError
from imq.grammar.record import TYPE_CHECKING

from .table_scan import RegistryScan, is_gone, reference_of
from .tables import NAMED
from .tags import Named

if TYPE_CHECKING:
    from collections.abc import Sequence

    from imq.engine.catalog.schema import Raw
    from imq.engine.query.source import FetchRequest

_PLACED = "_asked, _path, registry, repository, source"


class Manifests(RegistryScan):
    """Rows of manifests, each once for a repository."""

    columns = ("_asked", "_path", "registry", "repository", "source", "name", "digest", "tags")

    def list_rows(self, names: Sequence[tuple[Raw, ...]], /) -> None:
        """Ask what the tags stand for and what indexes list, and whether the rest is still there."""
        self._make()
        if self.scan.lookup_fields:
            self._exact(names)
            return
        of = Named(self.source, self.scan, repositories=True)
        of.ask(names, NAMED, "media_type")
        of.children()
        tagged = f"SELECT registry, _path, digest FROM temp.{of.rows} WHERE digest IS NOT NULL AND problem IS NULL"
        repositories = f"SELECT DISTINCT {_PLACED.replace('_asked', 'NULL AS _asked')} FROM temp.{of.rows}"
        seen = self.connection.execute(
            f"""SELECT DISTINCT r.registry, r._path, NULL, seen.digest FROM ({repositories}) AS r
            JOIN remembered.seen ON seen.registry = r.registry AND seen.repository = r._path
            WHERE (r.registry, r._path, seen.digest) NOT IN ({tagged})
            UNION SELECT registry, _path, NULL, child.digest FROM temp.{of.rows} AS t
            JOIN remembered.child ON child.parent = t.digest WHERE (registry, _path, child.digest) NOT IN ({tagged})"""
        ).fetchall()
        there = self._still_there(seen)
        self.connection.execute(f"CREATE TEMP TABLE {self.rows}_known (registry, _path, digest)")
        self.connection.executemany(f"INSERT INTO temp.{self.rows}_known VALUES (?, ?, ?)", there)
        self.fill(
            f"""SELECT {_PLACED}, repository || '@' || digest, digest, json_group_array(tag), NULL
            FROM (SELECT {_PLACED.replace("_asked", "NULL AS _asked")}, digest, tag FROM temp.{of.rows}
                WHERE digest IS NOT NULL AND problem IS NULL ORDER BY tag)
            GROUP BY registry, _path, digest
            UNION ALL SELECT NULL, r._path, r.registry, r.repository, r.source, repository || '@' || k.digest, k.digest,
                NULL, NULL
            FROM temp.{self.rows}_known AS k JOIN ({repositories}) AS r USING (registry, _path)
            UNION ALL SELECT {_PLACED}, name, digest, json_array(tag), problem FROM temp.{of.rows}
            WHERE problem IS NOT NULL"""
        )
        self.connection.execute(f"DROP TABLE temp.{self.rows}_known")
        of.close()
        self.choose_all()
        self.documents("digest")
        self.wanted = "wanted"

    def _make(self) -> None:
        self.make(
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

    def _exact(self, names: Sequence[tuple[Raw, ...]]) -> None:
        """List those of these digests that are there: each name comes with one."""
        wanted = [(str(name), Reference.parse(str(name)), Digest(str(digest))) for name, digest in names if digest]
        heads = (reference.replace(tag=None, digest=digest) for _, reference, digest in wanted)
        for place, answer in self.source.many.heads(enumerate(heads)):
            asked, reference, digest = wanted[place]
            problem = None
            if isinstance(answer, ImqError):
                if is_gone(answer):
                    continue
                problem = self.source.problem(answer, reference.familiar_name, self.told)
            name = f"{reference.familiar_name}@{digest}"
            placed = (asked, reference.repository, reference.registry, reference.familiar_name, reference.registry)
            self.insert([(*placed, name, digest, None, problem)])

    def _still_there(self, seen: Sequence[Sequence[Raw]]) -> list[tuple[str, str, str]]:
        """Return which of these manifests their repositories still have; the others are forgotten."""
        there = []
        names = [reference_of(row).replace(digest=Digest(str(row[3]))) for row in seen]
        for place, answer in self.source.many.heads(enumerate(names)):
            name = names[place]
            if not isinstance(answer, ImqError):
                there.append((name.registry, name.repository, str(name.digest)))
            elif is_gone(answer):
                self.source.memory.forget(name)
            else:
                self.source.problem(answer, name.familiar_name, self.told)
        return there

    def fetch(self, _request: FetchRequest, /) -> None:
        """Fetch the configs of the rows in `wanted`."""
        self.configs("digest")
