"""The rows of places that a statement names: a place is read whole, once in a statement."""

from __future__ import annotations

from imq.engine.sources.scan_rows import ScanRows
from imq.grammar.errors import ImqError, NotFound
from imq.grammar.record import TYPE_CHECKING

from .rows import HISTORY_COLUMNS, IMAGE_COLUMNS, LAYER_COLUMNS, PlaceRows
from .tables import BASES

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import Protocol

    from imq.engine.catalog.schema import Raw
    from imq.engine.query.source import FetchRequest, ScanRequest

    from .content import ListedImage

    class RowsReader(Protocol):
        """Reads places by the strings that name them, and collects their problems."""

        @property
        def connection(self) -> sqlite3.Connection:
            """The connection that holds the rows."""

        def read(self, text: str, /) -> PlaceRows:
            """Return the rows of a place."""

        def add_problem(self, view: str, subject: str, error: ImqError, /) -> None:
            """Record a problem of a scan with `subject`."""


_COLUMNS = {"images": IMAGE_COLUMNS, "layers": LAYER_COLUMNS, "history": HISTORY_COLUMNS}
_FETCHED = {"images": ("size", "shared_size", "base_chain_id"), "layers": ("size",), "history": ("size",)}
_FIELDS = {
    "images": {"unique_size": "t.size - t.shared_size"},
    "history": {"size": "iif(t.empty, 0, t.size)"},
}
"""The SQL of fields that are not columns."""


class PlaceScan(ScanRows):
    """The rows of one table in one or several places. `_listed` is the digest in the listing of the place."""

    hidden = ("_lookup", "_listed")

    def __init__(self, reader: RowsReader, scan: ScanRequest) -> None:
        super().__init__(reader.connection, scan)
        self.columns = _COLUMNS[scan.table.name]
        self.fetched_columns = _FETCHED[scan.table.name]
        self._reader = reader

    def list_rows(self, names: Sequence[tuple[Raw, ...]], /) -> None:
        """Read the places, and list all of their rows, or those of the names.

        The error of a single place is raised. With several places it becomes a problem, and the others are listed.
        """
        self.create(_FIELDS.get(self.scan.table.name, {}))
        if self.scan.lookup_fields or any(len(name) > 1 for name in names):
            self._look_up(names)
            return
        targets = [*self.scan.targets, *(str(name[0]) for name in names)]
        takes_all = not targets and not self.scan.has_target_queries
        found: set[str] = set()
        for text in dict.fromkeys(ref.text for ref in self.scan.refs):
            try:
                rows = self._reader.read(text)
            except ImqError as error:
                if len(self.scan.refs) == 1:
                    raise
                self._reader.add_problem(self.scan.view, text, error)
                continue
            if takes_all:
                self._insert(rows, rows.content.listed, None, text)
            for target in targets:
                if listed := rows.find(target):
                    found.add(target)
                    self._insert(rows, listed, target, text)
            for problem in rows.content.problems:
                self._reader.add_problem(self.scan.view, text, problem)
        for target in self.scan.targets:
            if target not in found:
                places = " and ".join(ref.text for ref in self.scan.refs)
                self._reader.add_problem(self.scan.view, target, NotFound(f"no image {target} in {places}"))

    def _look_up(self, names: Sequence[tuple[Raw, ...]]) -> None:
        """List the rows of images by their ids and their places."""
        for id_, text in dict.fromkeys(names):
            rows = self._reader.read(str(text))
            self._insert(rows, rows.with_id(str(id_)), str(id_), "")

    def _insert(self, rows: PlaceRows, listed: Iterable[ListedImage], lookup: str | None, text: str) -> None:
        """Insert the rows of entries. Problems are reported for the place `text`, or not at all if it is empty."""
        entries = list(listed)
        makers: dict[str, Callable[[Iterable[ListedImage], str | None], Iterator[tuple[object, ...]]]] = {
            "images": rows.image_rows,
            "layers": rows.layer_rows,
            "history": rows.history_rows,
        }
        self.insert(makers[self.scan.table.name](entries, lookup))
        if text:
            self.report_problems(entries, text)

    def report_problems(self, listed: Iterable[ListedImage], text: str) -> None:
        """Report the problems of the images of entries for the place `text`."""
        for one in listed:
            subject = ", ".join(map(str, one.names)) or one.descriptor.digest.short
            problems = [image.problem for image in one.images] + [unreadable.problem for unreadable in one.unreadable]
            for problem in problems:
                if problem is not None:
                    self._reader.add_problem(self.scan.view, f"{subject} in {text}", problem)

    def fetch(self, request: FetchRequest, /) -> None:
        """Fetch the bases or the sizes of the selected rows."""
        if request.level is BASES:
            places = dict.fromkeys(str(text) for (text,) in self.read_selected("1", "t.source"))
            self.set_bases(chain for text in places for chain in self._reader.read(text).list_chains())
            return
        is_image = self.scan.table.name == "images"
        columns = "t._row, t.source, t.id, t.manifest_digest" if is_image else "t._row, t.source, t._layer"
        by_place: dict[str, list[tuple[Raw, ...]]] = {}
        for row, text, *key in self.read_selected("1", columns):
            by_place.setdefault(str(text), []).append((row, *key))
        for text, found in by_place.items():
            rows = self._reader.read(text)
            if is_image:
                sizes = rows.get_image_sizes([(id_, manifest) for _, id_, manifest in found])
                values: list[tuple[Raw, ...]] = [(*size, row) for size, (row, *_) in zip(sizes, found, strict=True)]
                assign = "size = ?, shared_size = ?"
            else:
                layers = rows.get_layer_sizes([diff_id for _, diff_id in found])
                values = [(size, row) for size, (row, _) in zip(layers, found, strict=True)]
                assign = "size = ?"
            self.connection.executemany(f"UPDATE temp.{self.rows} SET {assign} WHERE _row = ?", values)
