"""The tables `layers` and `history` of images in registries, told by manifests and configs that are remembered."""

from __future__ import annotations

from imq.engine.tables import Cost
from imq.grammar.record import TYPE_CHECKING

from .filled import Filled
from .named import Named

if TYPE_CHECKING:
    from collections.abc import Sequence

    from imq.engine.oci.platform import Platform
    from imq.engine.render.cell import Raw
    from imq.engine.stages import Scan, Stage

    from .source import Registries

_IMAGE = ("_asked", "_path", "name", "registry", "repository", "source", "manifest_digest")
"""What each row tells of its image."""
_NAMED = "t._asked, t._path, t.name, t.registry, t.repository, t.source, t.manifest"
_OF_CONFIG = """LEFT JOIN remembered.document AS manifest ON manifest.digest = t.manifest_digest
    LEFT JOIN remembered.config AS config ON config.digest = manifest.config"""


class _Inside(Filled):
    """Rows of what is inside of images. These are asked for as tags are, at once: there are no rows without them.

    `platform` is the one whose image is meant of an index.
    """

    needs = Cost.MANIFEST
    by = "layer_count"
    """A field of tags of this cost."""

    def __init__(self, source: Registries, scan: Scan, platform: Platform) -> None:
        super().__init__(source, scan)
        self._platform = platform

    def begin(self, names: Sequence[tuple[Raw, ...]], /) -> None:
        """Ask for the images, and list what is inside of them."""
        self._make()
        of = Named(self.source, self.scan, self._platform)
        of.ask(names, self.needs, self.by)
        self.fill(self._rows(f"temp.{of.rows} AS t"))
        unknown = ", ".join(("NULL",) * (len(self.columns) - len(_IMAGE)))
        self.fill(f"SELECT {_NAMED}, {unknown}, t.problem FROM temp.{of.rows} AS t WHERE t.problem IS NOT NULL")
        of.drop()

    def _make(self) -> None:
        """Make the table and the view."""
        raise NotImplementedError

    def _rows(self, images: str) -> str:
        """Return the query for the rows of all images, in which `t` is the table of them."""
        raise NotImplementedError


class Layers(_Inside):
    """Rows of layers. What only configs tell is fetched when it is asked for."""

    columns = (*_IMAGE, "index", "digest", "download_size", "media_type")

    def _make(self) -> None:
        place = """'$[' || t."index" || ']'"""
        self.make(
            {
                "image": "manifest.config",
                "size": "t.download_size",
                "diff_id": f"json_extract(config.diff_ids, {place})",
                "chain_id": f"json_extract(config.chain_ids, {place})",
                "created": "step.created",
                "created_by": "step.created_by",
                "images": "coalesce((SELECT max(images) FROM main.layers WHERE digest = t.digest), 0)",
                "platform": "config.platform",
            },
            f"""{_OF_CONFIG}
            LEFT JOIN remembered.step AS step ON step.config = config.digest AND step.layer = t."index\"""",
        )

    def _rows(self, images: str) -> str:
        return f"""SELECT {_NAMED}, position, layer.digest, layer.size, layer.media_type, NULL
            FROM {images} JOIN remembered.layer ON layer.manifest = t.manifest WHERE t.problem IS NULL"""

    def fetch(self, _stage: Stage, /) -> None:
        """Fetch the configs of the images of the rows in `wanted`."""
        self.configs("manifest_digest")


class History(_Inside):
    """Rows of steps."""

    columns = (*_IMAGE, "index", "created", "created_by", "size", "empty", "comment", "layer")
    needs = Cost.CONFIG
    by = "created"

    def _make(self) -> None:
        self.make({"image": "manifest.config", "platform": "config.platform"}, _OF_CONFIG)

    def _rows(self, images: str) -> str:
        return f"""SELECT {_NAMED}, step.position, step.created, step.created_by, coalesce(layer.size, 0),
                step.layer IS NULL, step.comment, layer.digest, NULL
            FROM {images} JOIN remembered.document AS manifest ON manifest.digest = t.manifest
            JOIN remembered.step ON step.config = manifest.config
            LEFT JOIN remembered.layer ON layer.manifest = t.manifest AND layer.position = step.layer
            WHERE t.problem IS NULL"""
