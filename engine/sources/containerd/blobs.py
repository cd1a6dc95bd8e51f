"""The blobs of namespaces, with the images that need them."""

from __future__ import annotations

from imq.engine.sources.blob_rows import BlobScan, References
from imq.grammar.errors import ImqError
from imq.grammar.record import TYPE_CHECKING

from .content import name_of_record

if TYPE_CHECKING:
    from collections.abc import Mapping

    from imq.engine.oci.digest import Digest
    from imq.engine.query.source import ScanRequest
    from imq.engine.sources.blob_rows import Blob

    from .reader import ContainerdReader


def open_blobs(reader: ContainerdReader, request: ScanRequest) -> BlobScan:
    """Return the scan of the namespaces of a request: `containerd:*` is all of them."""
    refs = tuple(ref.replace(text=name) for ref in request.refs for name in reader.expand(ref.text))
    return BlobScan(
        reader.connection, request.replace(refs=refs), lambda text: _read_blobs(reader, text), reader.add_problem
    )


def _read_blobs(reader: ContainerdReader, text: str) -> tuple[list[Blob], Mapping[str, ImqError]]:
    """Return the blobs of a namespace, and its problems by the image that they concern. Raises `ImqError`.

    A lease can keep a blob that no image needs. containerd deletes the others when it next collects.
    """
    reader.check_namespace(text)
    references, sizes, problems = read_references(reader, text)
    return list(references.make_blobs(sizes.items())), problems


def read_references(
    reader: ContainerdReader, text: str, *, by_digest: bool = False
) -> tuple[References, Mapping[Digest, int], Mapping[str, ImqError]]:
    """Return which images need the blobs of a namespace, the sizes of all blobs, and the problems by image.

    An image is its name, or with `by_digest` the digest of its target.
    """
    namespace = reader.get_namespace(text)
    documents = reader.make_namespace_reader(namespace)
    references = References()
    problems: dict[str, ImqError] = {}
    for record in reader.client.list_images(namespace):
        name = None if by_digest else name_of_record(record.name)
        image = str(record.target.digest) if by_digest else str(name) if name is not None else record.name
        references.add(image, record.target)
        try:
            for descriptor, document in documents.walk(record.target):
                references.add(image, descriptor, document)
        except ImqError as error:
            references.unreadable[image] = None
            problems[image] = error
    return references, {digest: blob.size for digest, blob in documents.blobs.items()}, problems
