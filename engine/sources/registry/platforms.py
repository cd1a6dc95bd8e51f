"""The table `platforms`: the entries of an index, and one row for a single image."""

from __future__ import annotations

from imq.grammar.record import TYPE_CHECKING

from .table_scan import RegistryScan
from .tables import CONFIG
from .tags import ResolvedNames

if TYPE_CHECKING:
    from collections.abc import Sequence

    from imq.engine.catalog.schema import Raw
    from imq.engine.query.source import FetchRequest

_ENTRY = ["platform", "os", "architecture", "variant", "os_version", "media_type", "annotations"]


class Platforms(RegistryScan):
    """Rows of index entries. Listing the rows fetches the indexes, because rows depend on them."""

    columns = (
        "_lookup", "_path", "name", "registry", "repository", "source", "position", "digest", "attestation", *_ENTRY,
    )  # fmt: skip

    def list_rows(self, names: Sequence[tuple[Raw, ...]], /) -> None:
        """Resolve the indexes, and list their entries."""
        self.create(
            {
                "size": "manifest.download_size",
                "layer_count": "manifest.layer_count",
                "id": "manifest.config",
                "created": "config.created",
            },
            """LEFT JOIN cache.document AS manifest ON manifest.digest = t.digest
            LEFT JOIN cache.config AS config ON config.digest = manifest.config""",
        )
        names_scan = ResolvedNames(self.reader, self.scan)
        names_scan.resolve(names, CONFIG, "platform")
        name_columns = "t._lookup, t._path, t.name, t.registry, t.repository, t.source"
        self.insert_query(
            f"""SELECT {name_columns}, position, child.digest, attestation,
                {", ".join(f"child.{name}" for name in _ENTRY)}, NULL
            FROM temp.{names_scan.rows} AS t JOIN cache.child ON child.parent = t.digest WHERE t.problem IS NULL
            UNION ALL SELECT {name_columns}, 0, t.digest, 0, {", ".join(f"config.{name}" for name in _ENTRY[:5])},
                d.media_type, '{{}}', NULL
            FROM temp.{names_scan.rows} AS t JOIN cache.document AS d USING (digest)
            LEFT JOIN cache.config ON config.digest = d.config WHERE d.kind <> 'index' AND t.problem IS NULL
            UNION ALL SELECT {name_columns}, {", ".join(("NULL",) * (len(_ENTRY) + 3))}, t.problem
            FROM temp.{names_scan.rows} AS t WHERE t.problem IS NOT NULL"""
        )
        names_scan.close()

    def fetch(self, request: FetchRequest, /) -> None:
        """Fetch the manifests of the rows in `selected_rows`, and their configs."""
        self.fetch_manifests("digest")
        if request.level is CONFIG:
            self.fetch_configs("digest")
