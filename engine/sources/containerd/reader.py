"""The reader of containerd: the client, the namespaces and the problems that all scans of a statement share."""

from __future__ import annotations

import os
from functools import partial

from imq.engine.containerd_client.client import ContainerdClient
from imq.engine.oci.digest import Digest
from imq.engine.oci.platform import host_platform
from imq.engine.sources.layouts.content import PlaceContent
from imq.grammar.errors import ImqError, NotFound, join_names
from imq.grammar.record import TYPE_CHECKING

from .content import Documents, NamespaceReader, NamespaceRows
from .names import ALL_NAMESPACES, NAME, find_address, parse_name

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Iterator
    from typing import BinaryIO

    from imq.engine.oci.platform import Platform
    from imq.engine.sources.contents.container_layer import ContainerLayer
    from imq.engine.sources.context import SourceContext
    from imq.engine.sources.layouts.content import LayerContent

    from .uses import ContainerUse

_CHUNK_SIZE = 256 * 1024


class ContainerdReader:
    """Reads namespaces by the strings that name them. Listings are kept for one statement, documents for a session."""

    def __init__(self, context: SourceContext) -> None:
        self._context = context
        self._client: ContainerdClient | None = None
        self._folder: str | None = None
        self._documents = Documents()
        self._rows: dict[str, NamespaceRows] = {}
        self._containers: dict[str, list[ContainerUse]] = {}
        self._changes: dict[tuple[str, str], ContainerLayer] = {}
        self._problems: dict[tuple[str, str, str], ImqError] = {}

    @property
    def connection(self) -> sqlite3.Connection:
        """The connection of the index, which has the temporary tables of scans."""
        return self._context.store.index.connection

    @property
    def client(self) -> ContainerdClient:
        """The client of the containerd that the environment names."""
        address = find_address(self._context.environment)
        if self._client is None or self._client.address != address:
            self.close()
            self._client = ContainerdClient(address)
        return self._client

    def begin(self) -> None:
        """Forget the listings of the last statement."""
        self._rows = {}
        self._containers = {}
        self._changes = {}

    def close(self) -> None:
        """Close the connection."""
        self.begin()
        self._folder = None
        if self._client is not None:
            self._client.close()
            self._client = None

    def now(self) -> int:
        """Return the time of the session, in nanoseconds since the epoch."""
        return self._context.clock()

    # Namespaces

    def get_namespace(self, text: str) -> str:
        """Return the namespace that a string names, whether or not it exists."""
        namespace = parse_name(text, self._context.environment)
        assert namespace is not None, text
        return namespace

    def expand(self, text: str) -> list[str]:
        """Return the names of all namespaces for `containerd:*`, else the name itself."""
        if self.get_namespace(text) != ALL_NAMESPACES:
            return [text]
        return [f"{NAME}:{namespace}" for namespace in sorted(self.client.list_namespaces())]

    def check_namespace(self, text: str) -> None:
        """Raise `NotFound` when the namespace of a name does not exist."""
        namespace = self.get_namespace(text)
        namespaces = self.client.list_namespaces()
        if namespace not in namespaces:
            names = join_names(f"{NAME}:{one}" for one in sorted(namespaces))
            raise NotFound(
                f'containerd has no namespace "{namespace}"',
                code="no-such-namespace",
                hints=(f"its namespaces: {names}",) if namespaces else ("it has none: nothing was pulled yet",),
            )

    def read(self, text: str) -> NamespaceRows:
        """Return the images of a namespace, which is read at its first use in a statement.

        One that does not exist has none, and a problem: images can be brought into it.
        """
        rows = self._rows.get(text)
        if rows is None:
            namespace = self.get_namespace(text)
            try:
                self.check_namespace(text)
            except NotFound as error:
                rows = self._rows[text] = NamespaceRows(PlaceContent((), (error,)), text, lambda _: {})
                return rows
            reader = self.make_namespace_reader(namespace)
            content = reader.read_targets(self.client.list_images(namespace))
            rows = NamespaceRows(content, text, lambda layers: self._measure(namespace, layers))
            self._rows[text] = rows
        return rows

    def make_namespace_reader(self, namespace: str) -> NamespaceReader:
        """Return the reader of the documents of a namespace."""
        return NamespaceReader(
            self.client.list_content(namespace),
            lambda digest, name: self._read_document(namespace, digest, name),
            self.platform,
            self._documents,
        )

    def read_containers(self, text: str) -> list[ContainerUse]:
        """Return the containers of a namespace, each with the image that it uses."""
        found = self._containers.get(text)
        if found is None:
            from .uses import read_containers

            rows = self.read(text)
            found = self._containers[text] = read_containers(self.client, self.get_namespace(text), rows)
        return found

    def read_changes(self, text: str, use: ContainerUse) -> ContainerLayer:
        """Return the changes of a container of a namespace as a layer; they are read once in a statement."""
        key = text, use.record.id
        if key not in self._changes:
            from .container_layer import read_container_layer

            namespace, environment = self.get_namespace(text), self._context.environment
            self._changes[key] = read_container_layer(self.client, namespace, use.record, environment)
        return self._changes[key]

    @property
    def platform(self) -> Platform:
        """The platform of which the image of an index counts."""
        return self._context.platform or host_platform()

    def _read_document(self, namespace: str, digest: Digest, name: str) -> bytes:
        """Return a document that the namespace has: from the content folder when this process may read it."""
        max_size = self._context.store.largest_document
        content = self._read_file(digest, max_size)
        return content if content is not None else self.client.read_document(namespace, digest, max_size, name)

    def read_blob(self, text: str, digest: Digest) -> Iterator[bytes]:
        """Yield a blob of a namespace, which is not verified: from its file when this process may read it.

        Raises `NotFound`.
        """
        file = self._open_file(digest)
        if file is None:
            yield from self.client.read_blob(self.get_namespace(text), digest)
            return
        with file:
            yield from iter(partial(file.read, _CHUNK_SIZE), b"")

    def _read_file(self, digest: Digest, max_size: int) -> bytes | None:
        """Return a blob from its file, verified; None when that is not possible.

        A blob is written once under its digest and never changed, so a file with this digest is the blob.
        """
        file = self._open_file(digest)
        if file is None:
            return None
        with file:
            content = file.read(max_size + 1)
        return content if len(content) <= max_size and digest.matches(content) else None

    def _open_file(self, digest: Digest) -> BinaryIO | None:
        """Open the file of a blob; None when it is of another user or another mount namespace: containerd reads it."""
        if self._folder is None:
            try:
                self._folder = self.client.find_content_folder() or ""
            except ImqError:
                self._folder = ""
        if not self._folder:
            return None
        try:
            return open(os.path.join(self._folder, "blobs", digest.algorithm, digest.encoded), "rb")
        except OSError:
            return None

    def _measure(self, namespace: str, layers: Iterable[LayerContent]) -> dict[Digest, int | None]:
        """Return the bytes of the snapshots of layers, by diff ID; None for a layer that is not unpacked."""
        sizes: dict[Digest, int | None] = {}
        for layer in layers:
            snapshotter, _, chain_id = layer.path.partition("/")
            try:
                size = self.client.get_snapshot_size(namespace, snapshotter, chain_id) if snapshotter else None
            except NotFound:
                size = None
            sizes[layer.diff_id] = size
        return sizes

    # Problems

    def add_problem(self, view: str, subject: str, error: ImqError) -> None:
        """Record a problem of a scan with `subject`."""
        self._problems[view, subject, error.message] = error

    def take_problems(self) -> tuple[tuple[str, str, ImqError], ...]:
        """Return and clear the problems: the scan, the subject and the error."""
        found, self._problems = self._problems, {}
        return tuple((view, subject, error) for (view, subject, _), error in found.items())
