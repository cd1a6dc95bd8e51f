"""The table `blobs`: the manifests, configs and layers that the tags of repositories need.

Registries do not list blobs, so those that no tag needs are not known.
"""

from __future__ import annotations

from imq.grammar.record import TYPE_CHECKING

from .table_scan import RegistryScan
from .tables import ROOT_MANIFEST
from .tags import ResolvedNames

if TYPE_CHECKING:
    from collections.abc import Sequence

    from imq.engine.catalog.schema import Raw


class Blobs(RegistryScan):
    """Rows of blobs, one for each blob and registry. Listing the rows fetches the manifests of all tags."""

    columns = ("source", "digest", "size", "media_type", "referenced_by")

    def list_rows(self, names: Sequence[tuple[Raw, ...]], /) -> None:
        """Resolve the tags, fetch the entries of their indexes, and list what these documents need.

        An entry that the registry does not have is no blob. A tag that cannot be read is a problem of the scan.
        """
        self.create({})
        tags = ResolvedNames(self.reader, self.scan, repositories=True)
        tags.resolve(names, ROOT_MANIFEST, "media_type")
        tags.fetch_index_entries()
        self.insert_query(
            f"""WITH RECURSIVE need (source, name, digest) AS (
                SELECT source, name, digest FROM temp.{tags.rows} WHERE digest IS NOT NULL AND problem IS NULL
                UNION SELECT source, name, child.digest FROM need JOIN cache.child ON child.parent = need.digest),
            document AS (SELECT need.source, need.name, d.* FROM need JOIN cache.document AS d USING (digest)),
            blob AS (
                SELECT source, name, digest, size, media_type FROM document
                UNION SELECT source, name, config, config_size, config_type FROM document WHERE config IS NOT NULL
                UNION SELECT source, name, layer.digest, layer.size, layer.media_type
                    FROM document JOIN cache.layer ON layer.manifest = document.digest)
            SELECT source, digest, max(size), min(media_type), json_group_array(DISTINCT name), NULL
            FROM (SELECT * FROM blob ORDER BY source, digest, name) GROUP BY source, digest"""
        )
        tags.close()
