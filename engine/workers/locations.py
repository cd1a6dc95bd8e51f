"""Opens the blob of a layer where a task says that it is: in a repository, or in a file at a URL."""

from __future__ import annotations

from contextlib import closing
from functools import partial

from imq.engine.oci.digest import Digest
from imq.engine.oci.manifest import Descriptor
from imq.engine.sources.contents.protocol import NO_LOCATION, REPOSITORY_SCHEME
from imq.grammar.errors import DigestMismatch, ImqError, Interrupted, NotFound
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any, BinaryIO, TypeVar

    from imq.engine.registry.client import Client

    T = TypeVar("T")

_CHUNK_SIZE = 256 * 1024


def get_host(location: str) -> str:
    """Return the host of a repository; "" for a file."""
    if not location.startswith(REPOSITORY_SCHEME):
        return ""
    return location.removeprefix(REPOSITORY_SCHEME).partition("/")[0]


def parse_descriptor(document: dict[str, Any]) -> Descriptor:
    """Return the descriptor of a task."""
    return Descriptor(document["mediaType"], Digest(document["digest"]), document["size"])


def read_blob(
    descriptor: Descriptor,
    locations: Sequence[str],
    open_client: Callable[[], Client],
    read: Callable[[Iterator[bytes | memoryview]], T],
) -> T:
    """Pass the bytes of a blob to `read`, from the first location that has them all; return what it returns.

    The bytes are verified: the last chunk is passed on only when the blob has the digest of the descriptor. Raises
    the error of the last location, and `NotFound` (`no-location`) when the locations are files that do not exist.
    """
    problem: ImqError | None = None
    for location in locations:
        try:
            if location.startswith(REPOSITORY_SCHEME):
                return _read_from_registry(descriptor, location, open_client(), read)
            with closing(_open_file(location)) as file:
                return read(_verify(descriptor, location, iter(partial(file.read, _CHUNK_SIZE), b"")))
        except Interrupted:
            raise
        except ImqError as error:
            problem = error
        except OSError as error:
            reason = error.strerror or type(error).__name__
            problem = NotFound(f"a worker cannot read {location}: {reason.lower()}", code=NO_LOCATION)
    assert problem is not None, "a task has a location"
    raise problem


def _read_from_registry(
    descriptor: Descriptor, location: str, client: Client, read: Callable[[Iterator[bytes | memoryview]], T]
) -> T:
    from imq.engine.oci.reference import Reference
    from imq.engine.registry.mirrors import list_mirrors
    from imq.engine.registry.transfer.blob_relay import BlobRelay

    registry, _, repository = location.removeprefix(REPOSITORY_SCHEME).partition("/")
    reference = Reference(registry, repository)
    own = [mirror.reference for mirror in list_mirrors(client.settings.mirrors, reference)]
    for source in own:  # mirrors near the worker
        try:
            with closing(BlobRelay(partial(client.open_blob, source, descriptor), source, descriptor)) as relay:
                return read(iter(relay.read, b""))
        except Interrupted:
            raise
        except ImqError:
            continue
    with closing(BlobRelay(partial(client.open_blob, reference, descriptor), reference, descriptor)) as relay:
        return read(iter(relay.read, b""))


def _open_file(location: str) -> BinaryIO:
    """Open a file by its URL. Raises `OSError`, and `ImqError` when its kind needs a package that is missing."""
    from imq.engine.units.urls import get_file_path, import_fsspec

    path = get_file_path(location)
    if path is not None:
        return open(path, "rb")
    fsspec = import_fsspec(location)
    file: BinaryIO = fsspec.open(location, "rb").open()
    return file


def _verify(descriptor: Descriptor, location: str, chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Yield chunks; the last one only when the blob has its digest."""
    hasher = descriptor.digest.new_hash()
    last: bytes | None = None
    for chunk in chunks:
        if last is not None:
            yield last
        hasher.update(chunk)
        last = chunk
    if hasher.hexdigest() != descriptor.digest.encoded:
        raise DigestMismatch(
            f"the content of {location} does not match {descriptor.digest}",
            hints=("the file is damaged: copy the image there again",),
        )
    if last is not None:
        yield last
