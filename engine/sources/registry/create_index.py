"""The action that creates an index in a registry from images in registries."""

from __future__ import annotations

from imq.engine.oci import media_types
from imq.engine.oci.config import Config
from imq.engine.oci.digest import Digest
from imq.engine.oci.manifest import Descriptor, Index, encode_json, parse_manifest
from imq.engine.oci.reference import Reference, parse_tag_name
from imq.engine.sources.action import Outcome, RegistryWrite
from imq.engine.sources.action_options import get_option_values
from imq.grammar.errors import Conflict, RegistryError, StatementError, join_names
from imq.grammar.record import TYPE_CHECKING

from .digests import query_digests

if TYPE_CHECKING:
    from collections.abc import Iterator

    from imq.engine.registry.client import Client
    from imq.engine.sources.action import Action, ExecutionContext, PlanContext
    from imq.grammar import ast


class CreateIndex(RegistryWrite):
    """Create an index under the tag `name`, with one entry for each platform of the images."""

    name: Reference
    images: tuple[tuple[Reference, Digest], ...]

    def describe(self) -> Outcome:
        """Return the tag with the images."""
        return Outcome("index", str(self.name), note=f"of {join_names(str(image) for image, _ in self.images)}")

    def execute(self, context: ExecutionContext) -> Iterator[Outcome]:
        """Create the index. Raises `Conflict` if two images are for the same platform."""
        entries = self._collect_entries(context)
        content = encode_json(
            {
                "schemaVersion": 2,
                "mediaType": media_types.OCI_INDEX,
                "manifests": [entry.to_json() for _, entry in sorted(entries.items())],
            }
        )
        context.get_client().put_manifest(self.name, content, media_types.OCI_INDEX)
        yield self.describe().replace(note=f"digest: {Digest.of(content)}; for {', '.join(sorted(entries))}")

    def _collect_entries(self, context: ExecutionContext) -> dict[str, Descriptor]:
        """Return the entries by platform. Images in other repositories are first copied to that of the index."""
        from imq.engine.registry.transfer.copy import copy

        client = context.get_client()
        entries: dict[str, Descriptor] = {}
        for name, digest in self.images:
            source = name.replace(tag=None, digest=digest)
            for entry in _list_entries(client, source):
                assert entry.platform is not None
                platform = str(entry.platform.normalize())
                if platform in entries and entries[platform].digest != entry.digest:
                    raise Conflict(f"several images for {platform}", code="platforms")
                entries[platform] = entry
                if (name.registry, name.repository) != (self.name.registry, self.name.repository):
                    target = self.name.replace(tag=None, digest=entry.digest)
                    copy(client, source.replace(digest=entry.digest), target, (), context.progress)
        return entries


def plan_index(act: ast.ActionStatement, context: PlanContext) -> list[Action]:
    """Return the action that creates one index of the images that a query returns."""
    assert act.query is not None
    (text,) = get_option_values(act, "as", context)
    target = parse_tag_name(text)
    images = []
    for source, digest, problem in query_digests(act.query, context):
        if problem or digest is None:
            raise RegistryError(problem or f"{source} has no digest", code="unanswered")
        images.append((Reference.parse(source), Digest(digest)))
    if not images:
        raise StatementError("no image matches, so no index is created", code="nothing", span=act.query.span)
    return [CreateIndex(target, tuple(images))]


def _list_entries(client: Client, source: Reference) -> list[Descriptor]:
    """Return the index entry of an image, or the image entries of an index."""
    fetched = client.fetch_manifest(source)
    document = parse_manifest(fetched.content, fetched.media_type, f"the manifest of {source}")
    if isinstance(document, Index):
        return [entry for entry in document.manifests if entry.platform is not None and entry.platform.is_known]
    if not document.is_image:
        raise StatementError(f"{source} is not an image, so it has no platform", code="operand")
    platform = Config.parse(client.fetch_blob(source, document.config)).platform
    return [Descriptor(document.media_type, fetched.digest, len(fetched.content), platform=platform)]
