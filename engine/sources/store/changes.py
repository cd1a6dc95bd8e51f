"""The table `changes` of the store: the paths that its containers changed."""

from __future__ import annotations

from imq.engine.layer_index.path_text import to_text
from imq.grammar.errors import ImqError, Interrupted
from imq.grammar.record import TYPE_CHECKING

from .container_rows import ContainerRows

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from imq.engine.catalog.schema import Raw
    from imq.engine.query.source import ScanRequest
    from imq.engine.store.store import Store


class StoreChanges(ContainerRows):
    """The rows of `changes` of the store."""

    columns = (
        "_lookup", "source", "container", "container_id", "image", "path", "name", "directory", "status", "type",
        "size", "mode", "mtime", "link_target",
    )  # fmt: skip

    def __init__(
        self,
        store: Store,
        request: ScanRequest,
        environment: Mapping[str, str],
        problems: list[tuple[str, str, ImqError]],
    ) -> None:
        super().__init__(store, request)
        self._environment = environment
        self._problems = problems

    def list_rows(self, names: Sequence[tuple[Raw, ...]], /) -> None:
        """List the changes of all containers, or those of the containers that are named. Raises `NotFound`.

        A container that cannot be read has no rows, and is a problem of the statement.
        """
        self.create({})
        for looked_up, id_, name, image in self.choose_containers(names):
            try:
                self.insert((looked_up, "store", name, id_, image, *change, None) for change in self._list_changes(id_))
            except Interrupted:
                raise
            except ImqError as problem:
                self._problems.append((self.scan.view, name, problem))

    def _list_changes(self, id_: str) -> Iterator[tuple[Raw, ...]]:
        from imq.engine.containers.factory import make_containers

        containers = make_containers(self.store, "", self._environment)
        for change in containers.list_changes(containers.read(id_)):
            path = to_text(change.path)
            directory, _, name = path.rpartition("/")
            mode = None if change.mode is None else f"{change.mode:04o}"
            target = None if change.link_target is None else to_text(change.link_target)
            kind = (change.status, change.type, change.size, mode, change.modified, target)
            yield (path, name, directory or "/", *kind)
