"""Making one index of several images of registries."""

from __future__ import annotations

from imq.engine.actions import base as a
from imq.engine.oci import media_types
from imq.engine.oci.config import Config
from imq.engine.oci.digest import Digest
from imq.engine.oci.manifest import Descriptor, Index, read_manifest, write_json
from imq.engine.registry.transfer.copy import copy
from imq.grammar.errors import Conflict, StatementError
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from imq.engine.oci.reference import Reference
    from imq.engine.progress import Progress
    from imq.engine.registry.client import Client


def join(client: Client, action: a.Join, progress: Progress) -> a.Outcome:
    """Make the index, its images copied to its repository where they are of another; the entries of indexes are taken.

    Raises `Conflict` when two of them are for one platform.
    """
    entries: dict[str, Descriptor] = {}
    for name, digest in action.parts:
        source = name.replace(tag=None, digest=digest)
        for entry in _entries(client, source):
            assert entry.platform is not None
            platform = str(entry.platform.normalised())
            if platform in entries and entries[platform].digest != entry.digest:
                raise Conflict(f"two of the images are for {platform}", code="platforms")
            entries[platform] = entry
            if (name.registry, name.repository) != (action.name.registry, action.name.repository):
                part = source.replace(digest=entry.digest)
                target = action.name.replace(tag=None, digest=entry.digest)
                copy(client, part, target, (), progress)
    content = write_json(
        {
            "schemaVersion": 2,
            "mediaType": media_types.OCI_INDEX,
            "manifests": [entry.document() for _, entry in sorted(entries.items())],
        }
    )
    client.put_manifest(action.name, content, media_types.OCI_INDEX)
    note = f"digest: {Digest.of(content)}; for {', '.join(sorted(entries))}"
    return a.describe(action).replace(note=note)


def _entries(client: Client, source: Reference) -> list[Descriptor]:
    """Return what an image is as an entry of an index; of an index, its entries that are images."""
    fetched = client.manifest(source)
    document = read_manifest(fetched.content, fetched.media_type, f"the manifest of {source}")
    if isinstance(document, Index):
        return [entry for entry in document.manifests if entry.platform is not None and entry.platform.known]
    if not document.is_image:
        raise StatementError(f"{source} is no image, so it has no platform", code="operand")
    platform = Config.read(client.document(source, document.config)).platform
    return [Descriptor(document.media_type, fetched.digest, len(fetched.content), platform=platform)]
