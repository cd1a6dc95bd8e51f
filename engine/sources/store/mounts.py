"""The table `mounts` of the store: what its containers mount."""

from __future__ import annotations

from imq.engine.sources.mount_rows import MOUNT_COLUMNS, list_mounts
from imq.grammar.record import TYPE_CHECKING

from .container_rows import ContainerRows

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from imq.engine.catalog.schema import Raw
    from imq.engine.query.source import ScanRequest
    from imq.engine.store.store import Store


class StoreMounts(ContainerRows):
    """The rows of `mounts` of the store."""

    columns = ("_lookup", "source", "container", "container_id", "image", *MOUNT_COLUMNS)

    def __init__(self, store: Store, request: ScanRequest, environment: Mapping[str, str]) -> None:
        super().__init__(store, request)
        self._environment = environment

    def list_rows(self, names: Sequence[tuple[Raw, ...]], /) -> None:
        """List the mounts of all containers, or those of the containers that are named. Raises `ImqError`."""
        from imq.engine.containers.containers import Containers

        self.create({})
        containers = Containers(self.store, "", self._environment)
        for looked_up, id_, name, image in self.choose_containers(names):
            document = containers.read(id_).document
            self.insert((looked_up, "store", name, id_, image, *mount, None) for mount in list_mounts(document))
