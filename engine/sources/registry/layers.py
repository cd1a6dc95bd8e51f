"""The tables `layers` and `history` of images in registries, told by manifests and configs that are remembered."""

from __future__ import annotations

from imq.grammar.record import TYPE_CHECKING

from .table_scan import RegistryScan
from .tables import CONFIG, MANIFEST
from .tags import Named

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from imq.engine.catalog.schema import Raw
    from imq.engine.oci.platform import Platform
    from imq.engine.query.source import FetchRequest, ScanRequest

    from .reader import RegistryReader

_IMAGE = ("_asked", "_path", "name", "registry", "repository", "source", "manifest_digest")
"""What each row tells of its image."""
_NAMED = "t._asked, t._path, t.name, t.registry, t.repository, t.source, t.manifest"
_OF_CONFIG = """LEFT JOIN remembered.document AS manifest ON manifest.digest = t.manifest_digest
    LEFT JOIN remembered.config AS config ON config.digest = manifest.config"""


class _Inside(RegistryScan):
    """Rows of what is inside of images. These are asked for as tags are, at once: there are no rows without them.

    `platform` is the one whose image is meant of an index.
    """

    needs = MANIFEST
    by = "layer_count"
    """A field of tags of this cost."""
    fields: Mapping[str, str] = {}
    """The SQL of fields that are no columns."""
    joined = _OF_CONFIG
    """The tables that they are taken from."""
    listed = ""
    """The SQL of the columns behind those of the image, for the rows of all images."""
    within = ""
    """The tables that these are taken from, joined to that of the images, `t`."""

    def __init__(self, source: RegistryReader, scan: ScanRequest, platform: Platform) -> None:
        super().__init__(source, scan)
        self._platform = platform

    def list_rows(self, names: Sequence[tuple[Raw, ...]], /) -> None:
        """Ask for the images, and list what is inside of them."""
        self.make(self.fields, self.joined)
        of = Named(self.source, self.scan, self._platform)
        of.ask(names, self.needs, self.by)
        images = f"FROM temp.{of.rows} AS t"
        self.fill(f"SELECT {_NAMED}, {self.listed}, NULL {images} {self.within} WHERE t.problem IS NULL")
        unknown = ", ".join(("NULL",) * (len(self.columns) - len(_IMAGE)))
        self.fill(f"SELECT {_NAMED}, {unknown}, t.problem {images} WHERE t.problem IS NOT NULL")
        of.close()


_PLACE = """'$[' || t."index" || ']'"""


class Layers(_Inside):
    """Rows of layers. What only configs tell is fetched when it is asked for."""

    columns = (*_IMAGE, "index", "digest", "download_size", "media_type")
    fields = {  # noqa: RUF012 - nobody changes it
        "image": "manifest.config",
        "size": "t.download_size",
        "diff_id": f"json_extract(config.diff_ids, {_PLACE})",
        "chain_id": f"json_extract(config.chain_ids, {_PLACE})",
        "created": "step.created",
        "created_by": "step.created_by",
        "images": "coalesce((SELECT max(images) FROM main.layers WHERE digest = t.digest), 0)",
        "platform": "config.platform",
    }
    joined = f"""{_OF_CONFIG}
        LEFT JOIN remembered.step AS step ON step.config = config.digest AND step.layer = t."index\""""
    listed = "position, layer.digest, layer.size, layer.media_type"
    within = "JOIN remembered.layer ON layer.manifest = t.manifest"

    def fetch(self, _request: FetchRequest, /) -> None:
        """Fetch the configs of the images of the rows in `wanted`."""
        self.configs("manifest_digest")


class History(_Inside):
    """Rows of steps."""

    columns = (*_IMAGE, "index", "created", "created_by", "size", "empty", "comment", "layer")
    needs = CONFIG
    by = "created"
    fields = {"image": "manifest.config", "platform": "config.platform"}  # noqa: RUF012 - nobody changes it
    listed = """step.position, step.created, step.created_by, coalesce(layer.size, 0), step.layer IS NULL,
        step.comment, layer.digest"""
    within = """JOIN remembered.document AS manifest ON manifest.digest = t.manifest
        JOIN remembered.step ON step.config = manifest.config
        LEFT JOIN remembered.layer ON layer.manifest = t.manifest AND layer.position = step.layer"""
