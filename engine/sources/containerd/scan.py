"""The tables `images`, `layers` and `history` of containerd."""

from __future__ import annotations

from imq.engine.sources.layouts.scan import PlaceScan
from imq.grammar.errors import ImqError
from imq.grammar.record import TYPE_CHECKING

from .tables import USERS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from imq.engine.catalog.schema import Raw
    from imq.engine.query.source import FetchRequest, ScanRequest
    from imq.engine.sources.layouts.content import ListedImage

    from .reader import ContainerdReader


class NamespaceScan(PlaceScan):
    """The rows of one table in one or several namespaces."""

    def __init__(self, reader: ContainerdReader, request: ScanRequest) -> None:
        super().__init__(reader, request)
        self._containerd = reader
        if request.table.name == "images":
            self.columns = (*self.columns, "complete", "pinned")
            self.fetched_columns = (*self.fetched_columns, "last_used")

    def list_rows(self, names: Sequence[tuple[Raw, ...]], /) -> None:
        """List the rows of the namespaces that the statement names: `containerd:*` is all of them."""
        refs = [
            ref if name == ref.text else ref.replace(text=name)
            for ref in self.scan.refs
            for name in self._containerd.expand(ref.text)
        ]
        self.scan = self.scan.replace(refs=tuple(refs))
        super().list_rows(names)

    def report_problems(self, listed: Iterable[ListedImage], text: str) -> None:
        """Report images that cannot be read. Missing layers are normal on a node, and said in the row alone."""
        super().report_problems((one for one in listed if not one.images), text)

    def fetch(self, request: FetchRequest, /) -> None:
        """Fetch the fields of a level for the chosen rows."""
        if request.level is USERS:
            self._fetch_users()
        else:
            super().fetch(request)

    def _fetch_users(self) -> None:
        """Fetch which containers use the chosen images.

        The rows of a namespace that does not answer are dropped: what is unknown about them must not widen an answer.
        """
        ids: dict[str, set[str]] = {}
        for source, id_ in self.read_selected("1", "t.source, t.id"):
            ids.setdefault(str(source), set()).add(str(id_))
        for source, chosen in ids.items():
            try:
                uses = self._containerd.read_containers(source)
            except ImqError as error:
                if len(ids) == 1:
                    raise
                self._containerd.add_problem(self.scan.view, source, error)
                self.connection.execute(f"DELETE FROM temp.{self.rows} WHERE source = ?", (source,))
                continue
            rows = []
            for id_ in chosen:
                own = [use for use in uses if id_ in use.used_ids]
                last = max((use.last_use(self._containerd.now()) or 0 for use in own), default=0)
                rows.append((bool(own), len(own), last or None, source, id_))
            self.connection.executemany(
                f"UPDATE temp.{self.rows} SET in_use = ?, containers = ?, last_used = ? WHERE source = ? AND id = ?",
                rows,
            )
