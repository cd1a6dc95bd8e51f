"""The client and the programs of containerd that the actions of one statement share."""

from __future__ import annotations

from imq.engine.containerd_client.client import ContainerdClient
from imq.engine.containerd_client.ctr import Ctr
from imq.engine.oci.platform import host_platform
from imq.grammar.record import TYPE_CHECKING

from .content import Documents, NamespaceReader, NamespaceRows
from .names import find_address, parse_name

if TYPE_CHECKING:
    from imq.engine.oci.digest import Digest
    from imq.engine.sources.action import ExecutionContext


class ContainerdClients:
    """The client, which is opened when an action first needs it."""

    def __init__(self, context: ExecutionContext) -> None:
        self._context = context
        self._address = find_address(context.environment)
        self._client: ContainerdClient | None = None
        self._documents = Documents()

    def get(self) -> ContainerdClient:
        """Return the client."""
        if self._client is None:
            self._client = ContainerdClient(self._address)
        return self._client

    def get_namespace(self, source: str) -> str:
        """Return the namespace that a source names."""
        namespace = parse_name(source, self._context.environment)
        assert namespace is not None, source
        return namespace

    def get_ctr(self, source: str) -> Ctr:
        """Return the program for a namespace."""
        return Ctr(self._address, self.get_namespace(source), self._context.environment)

    def read_rows(self, source: str) -> NamespaceRows:
        """Return the images that a namespace has now."""
        client, namespace, store = self.get(), self.get_namespace(source), self._context.store

        def read(digest: Digest, name: str) -> bytes:
            return client.read_document(namespace, digest, store.largest_document, name)

        platform = store.platform or host_platform()
        reader = NamespaceReader(client.list_content(namespace), read, platform, self._documents)
        content = reader.read_targets(client.list_images(namespace))
        return NamespaceRows(content, source, lambda layers: {layer.diff_id: None for layer in layers})

    def close(self) -> None:
        """Close the connection."""
        if self._client is not None:
            self._client.close()
