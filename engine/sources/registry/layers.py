"""The tables `layers` and `history` of images in registries, read from cached manifests and configs."""

from __future__ import annotations

from imq.grammar.record import TYPE_CHECKING

from .table_scan import RegistryScan
from .tables import CONFIG, MANIFEST
from .tags import ResolvedNames

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from imq.engine.catalog.schema import Raw
    from imq.engine.oci.platform import Platform
    from imq.engine.query.source import FetchRequest, ScanRequest

    from .reader import RegistryReader

_IMAGE_COLUMNS = ("_lookup", "_path", "name", "registry", "repository", "source", "manifest_digest")
"""The columns of a row that describe its image."""
_IMAGE_VALUES = "t._lookup, t._path, t.name, t.registry, t.repository, t.source, t.manifest"
_CONFIG_JOINS = """LEFT JOIN cache.document AS manifest ON manifest.digest = t.manifest_digest
    LEFT JOIN cache.config AS config ON config.digest = manifest.config"""


class _ImageContents(RegistryScan):
    """Rows of the contents of images. Listing the rows fetches the images, because rows depend on them.

    `platform` selects the image of an index.
    """

    level = MANIFEST
    level_field = "layer_count"
    """A field of the table `tags` that has this level."""
    field_sql: Mapping[str, str] = {}
    """SQL expressions of the fields that are not columns."""
    view_joins = _CONFIG_JOINS
    """SQL that joins the tables of these fields."""
    row_columns = ""
    """SQL expressions of the columns after those of the image."""
    row_joins = ""
    """SQL that joins the tables of these columns to the images, `t`."""

    def __init__(self, source: RegistryReader, scan: ScanRequest, platform: Platform) -> None:
        super().__init__(source, scan)
        self._platform = platform

    def list_rows(self, names: Sequence[tuple[Raw, ...]], /) -> None:
        """Resolve the images, and list their contents."""
        self.create(self.field_sql, self.view_joins)
        resolved = ResolvedNames(self.reader, self.scan, self._platform)
        resolved.resolve(names, self.level, self.level_field)
        images = f"FROM temp.{resolved.rows} AS t"
        self.insert_query(
            f"SELECT {_IMAGE_VALUES}, {self.row_columns}, NULL {images} {self.row_joins} WHERE t.problem IS NULL"
        )
        unknown = ", ".join(("NULL",) * (len(self.columns) - len(_IMAGE_COLUMNS)))
        self.insert_query(f"SELECT {_IMAGE_VALUES}, {unknown}, t.problem {images} WHERE t.problem IS NOT NULL")
        resolved.close()


_JSON_INDEX = """'$[' || t."index" || ']'"""


class Layers(_ImageContents):
    """Rows of layers. Fields from the config are fetched on demand."""

    columns = (*_IMAGE_COLUMNS, "index", "digest", "download_size", "media_type")
    field_sql = {  # noqa: RUF012 - never modified
        "image": "manifest.config",
        "size": "t.download_size",
        "diff_id": f"json_extract(config.diff_ids, {_JSON_INDEX})",
        "chain_id": f"json_extract(config.chain_ids, {_JSON_INDEX})",
        "created": "step.created",
        "created_by": "step.created_by",
        "images": "coalesce((SELECT max(images) FROM main.layers WHERE digest = t.digest), 0)",
        "platform": "config.platform",
    }
    view_joins = f"""{_CONFIG_JOINS}
        LEFT JOIN cache.step AS step ON step.config = config.digest AND step.layer = t."index\""""
    row_columns = "position, layer.digest, layer.size, layer.media_type"
    row_joins = "JOIN cache.layer ON layer.manifest = t.manifest"

    def fetch(self, _request: FetchRequest, /) -> None:
        """Fetch the configs of the images of the rows in `selected_rows`."""
        self.fetch_configs("manifest_digest")


class History(_ImageContents):
    """Rows of build steps."""

    columns = (*_IMAGE_COLUMNS, "index", "created", "created_by", "size", "empty", "comment", "layer")
    level = CONFIG
    level_field = "created"
    field_sql = {"image": "manifest.config", "platform": "config.platform"}  # noqa: RUF012 - never modified
    row_columns = """step.position, step.created, step.created_by, coalesce(layer.size, 0), step.layer IS NULL,
        step.comment, layer.digest"""
    row_joins = """JOIN cache.document AS manifest ON manifest.digest = t.manifest
        JOIN cache.step ON step.config = manifest.config
        LEFT JOIN cache.layer ON layer.manifest = t.manifest AND layer.position = step.layer"""
