"""The table `platforms` of engines: the manifests of docker's containerd image store, else one row for each image."""

from __future__ import annotations

from imq.engine.oci.reference import Reference, parse_name
from imq.engine.store.index_rows import to_json
from imq.grammar.errors import EngineError, ImqError
from imq.grammar.record import TYPE_CHECKING

from .image_documents import list_names, read_config
from .images import list_inspected
from .manifests import LISTS_MANIFESTS, list_manifests
from .table_scan import EngineScan

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

    from imq.engine.catalog.schema import Raw

    from .manifests import ImageManifest

    Names = list[tuple[str | None, str | None, str | None]]
    """Names of an image, each with its registry and repository."""


class Platforms(EngineScan):
    """The rows of `platforms`: for each name of an image, one for each manifest.

    The older image store of docker and podman have one platform of an image, and keep no manifest.
    """

    columns = (
        "_lookup", "name", "registry", "repository", "source", "position", "platform", "os", "architecture", "variant",
        "os_version", "digest", "media_type", "attestation", "annotations", "size", "layer_count", "id", "created",
    )  # fmt: skip

    def list_rows(self, names: Sequence[tuple[Raw, ...]], /) -> None:
        """List the platforms of all images, of those whose IDs are looked up, or of those behind `of`."""
        self.create({})
        is_named = bool(names or self.scan.targets)
        inspected = list(list_inspected(self, names))
        sources = tuple(dict.fromkeys(source for source, _, _ in inspected))
        manifests = dict(self.reader.each_source(sources, self._list_manifests, self.scan.view))
        for source, lookup, document in inspected:
            if source not in manifests:
                continue  # the engine did not list them, which is a problem already
            try:
                rows = list(self._list_rows(source, document, manifests[source]))
            except ImqError as error:
                if is_named and len(inspected) == 1:
                    raise
                self.reader.add_problem(error, lookup, self.scan.view)
                continue
            own = self._read_names(document, lookup if is_named else None)
            self.insert((lookup, *name, source, *row, None) for name in own for row in rows)

    def _list_manifests(self, source: str) -> dict[str, list[ImageManifest]] | None:
        return list_manifests(self.reader, source)

    def _list_rows(
        self, source: str, document: Mapping[str, Any], manifests: Mapping[str, Sequence[ImageManifest]] | None
    ) -> Iterator[tuple[object, ...]]:
        """Yield the columns from `position` on. Raises `EngineError` when the engine has them but lists none."""
        listed = (manifests or {}).get(document["Id"])
        if listed is None:
            if self.reader.has_containerd_images(source):
                version = ".".join(map(str, LISTS_MANIFESTS))
                raise EngineError(
                    f"{source} lists the platforms of images since version {version} of its API, and has"
                    f" {self.reader.client(source).ping().api}",
                    code="engine-api-version",
                    hints=("the platform that a container of it has: images in docker select name, platform",),
                    endpoint=source,
                )
            config = read_config(document)
            yield (
                0, *config.platform.field_values, None, None, False, "{}", None, len(config.diff_ids), document["Id"],
                config.created,
            )  # fmt: skip
            return
        for position, one in enumerate(listed):
            values = one.platform.field_values if one.platform is not None else (None,) * 5
            yield (
                position, *values, one.digest, one.media_type, one.is_attestation, to_json({}), one.download_size,
                None, None, None,
            )  # fmt: skip

    @staticmethod
    def _read_names(document: Mapping[str, Any], requested: str | None) -> Names:
        """Return the names of an image; the one that a statement names, if it names one."""
        names: Names = [(name, registry, repository) for name, registry, repository, *_ in list_names(document)]
        if requested is None:
            return names
        parsed = parse_name(requested)
        text = str(parsed.with_default_tag()) if isinstance(parsed, Reference) else requested
        return [one for one in names if one[0] == text] or names[:1]
