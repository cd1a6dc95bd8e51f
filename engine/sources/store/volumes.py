"""The table `volumes` of the store."""

from __future__ import annotations

from imq.engine.catalog.schema import FetchLevel
from imq.engine.sources.scan_rows import ScanRows
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from imq.engine.catalog.schema import Raw
    from imq.engine.query.source import FetchRequest, ScanRequest
    from imq.engine.store.store import Store

MEASURED = FetchLevel("measured", "the sizes of their files", "none: the files of the volumes are listed")


class StoreVolumes(ScanRows):
    """The rows of `volumes` of the store."""

    columns = ("source", "name", "path", "created", "in_use", "containers")
    fetched_columns = ("size",)
    hidden = ()

    def __init__(self, store: Store, request: ScanRequest, environment: Mapping[str, str]) -> None:
        super().__init__(store.index.connection, request)
        self._store = store
        self._environment = environment

    def list_rows(self, _names: Sequence[tuple[Raw, ...]], /) -> None:
        """List the volumes."""
        from imq.engine.containers.volumes import list_users, list_volumes
        from imq.engine.store.index_rows import to_json

        self.create({})
        rows = []
        for volume in list_volumes(self._store.layout):
            users = list_users(self._store.index, volume.name)
            rows.append(("store", volume.name, volume.path, volume.created, bool(users), to_json(users), None))
        self.insert(rows)

    def fetch(self, _request: FetchRequest, /) -> None:
        """Measure the chosen volumes."""
        from imq.engine.containers.factory import make_containers

        chosen = self.read_selected("1", "_row, path")
        sizes = make_containers(self._store, "", self._environment).measure_folders([path for _, path in chosen])
        self.connection.executemany(
            f"UPDATE temp.{self.rows} SET size = ? WHERE _row = ?",
            [(size, row) for size, (row, _) in zip(sizes, chosen, strict=True)],
        )
