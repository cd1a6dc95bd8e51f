"""Changes the configuration of images in a registry: only a config and a manifest are uploaded."""

from __future__ import annotations

import copy as copying
import io

from imq.engine.oci import media_types
from imq.engine.oci.config import Config
from imq.engine.oci.digest import Digest
from imq.engine.oci.dockerfile_changes import apply_instructions
from imq.engine.oci.manifest import Descriptor, Index, Manifest, encode_json, parse_manifest
from imq.engine.oci.reference import Reference, parse_tag_name
from imq.engine.sources.action import Outcome, RegistryWrite
from imq.engine.sources.action_options import get_option_values
from imq.engine.store.derived_image import BaseImage, Step, list_oci_layers, make_config
from imq.engine.store.image_builder import make_manifest
from imq.grammar.errors import StatementError
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from imq.engine.registry.client import Client
    from imq.engine.sources.action import Action, ExecutionContext, PlanContext
    from imq.grammar import ast


class ChangeRemote(RegistryWrite):
    """Apply Dockerfile instructions to the config of an image, or to those of all platforms of an index."""

    base: Reference
    name: Reference
    changes: tuple[str, ...]

    def describe(self) -> Outcome:
        """Return the new name and the image below."""
        return Outcome("change", str(self.name), note=f"from {self.base}")

    def execute(self, context: ExecutionContext) -> Iterator[Outcome]:
        """Upload the configs and manifests, then set the name: after an error the name is what it was."""
        client = context.get_client()
        fetched = client.fetch_manifest(self.base)
        document = parse_manifest(fetched.content, fetched.media_type, f"the manifest of {self.base}")
        if (self.base.registry, self.base.repository) != (self.name.registry, self.name.repository):
            self._copy_layers(client, document, fetched.digest, context)
        if isinstance(document, Index):
            content, media_type = self._change_index(client, document), media_types.OCI_INDEX
        else:
            content, media_type = self._change_image(client, document)[0], media_types.OCI_MANIFEST
        client.put_manifest(self.name, content, media_type)
        yield self.describe().replace(note=f"digest: {Digest.of(content)}; from {self.base}")

    def _copy_layers(
        self, client: Client, document: Manifest | Index, digest: Digest, context: ExecutionContext
    ) -> None:
        """Make the layers known in the repository of the new name: they are mounted where the registry can."""
        from imq.engine.registry.transfer.copy import copy

        children = document.manifests if isinstance(document, Index) else (Descriptor("", digest, 0),)
        for child in children:
            if child.platform is None or child.platform.is_known:
                source = self.base.replace(tag=None, digest=child.digest)
                copy(client, source, self.name.replace(tag=None, digest=child.digest), (), context.progress)

    def _change_index(self, client: Client, index: Index) -> bytes:
        """Change each image of an index, and return the new index. Attestations are of the old images: they go."""
        entries = []
        for child in index.manifests:
            if child.platform is None or not child.platform.is_known:
                continue
            source = self.base.replace(tag=None, digest=child.digest)
            fetched = client.fetch_manifest(source)
            document = parse_manifest(fetched.content, fetched.media_type, f"the manifest of {source}")
            if isinstance(document, Index):
                raise StatementError(f"{self.base} is an index of indexes", code="operand")
            content, _ = self._change_image(client, document)
            digest = client.put_manifest(self.name.replace(tag=None), content, media_types.OCI_MANIFEST)
            entries.append(Descriptor(media_types.OCI_MANIFEST, digest, len(content), platform=child.platform))
        return encode_json(
            {
                "schemaVersion": 2,
                "mediaType": media_types.OCI_INDEX,
                "manifests": [entry.to_json() for entry in entries],
            }
        )

    def _change_image(self, client: Client, manifest: Manifest) -> tuple[bytes, Digest]:
        """Upload the new config of an image; return its new manifest, and the digest of the config."""
        if not manifest.is_image:
            raise StatementError(f"{self.base} is not an image, so it has no configuration", code="operand")
        base = BaseImage(manifest, Config.parse(client.fetch_blob(self.base, manifest.config)))
        runtime = copying.deepcopy(dict(base.config.runtime))
        apply_instructions(runtime, self.changes)
        steps = [*self.list_steps(), *(Step(change, empty=True) for change in self.changes)]
        layers = self.upload_layers(client)
        config = make_config(base, runtime, steps, [diff_id for _, diff_id in layers])
        descriptor = Descriptor(media_types.OCI_CONFIG, Digest.of(config), len(config))
        client.upload_blob(self.name, descriptor, lambda: io.BytesIO(config))
        blobs = (*list_oci_layers(base), *(layer for layer, _ in layers))
        return make_manifest(descriptor, blobs), descriptor.digest

    def list_steps(self) -> Sequence[Step]:
        """Return the steps of the history before those of the instructions."""
        return ()

    def upload_layers(self, _client: Client) -> Sequence[tuple[Descriptor, Digest]]:
        """Upload further layers; return the descriptor and the diff ID of each."""
        return ()


def plan_change(act: ast.ActionStatement, context: PlanContext) -> list[Action]:
    """Return the change of one image of a registry."""
    image, *others = context.literals(act.references)
    changes = (*others, *get_option_values(act, "change", context))
    (name,) = get_option_values(act, "as", context)
    return [ChangeRemote(Reference.parse(image).with_default_tag(), parse_tag_name(name), changes)]
