"""The places of one statement: each is read once, and their problems are collected."""

from __future__ import annotations

from copy import copy

from imq.grammar.record import TYPE_CHECKING

from .places import STORAGE, name_match, parse_place

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping, Sequence

    from imq.engine.sources.blob_rows import Blob
    from imq.engine.sources.context import SourceContext
    from imq.engine.sources.platform_rows import PlatformRow
    from imq.grammar.errors import ImqError

    from .places import Place
    from .rows import PlaceRows


class PlaceReader:
    """Reads places by the strings that name them."""

    def __init__(self, context: SourceContext) -> None:
        self._context = context
        self._rows: dict[str, PlaceRows] = {}
        self._problems: dict[tuple[str, str, str], ImqError] = {}

    @property
    def connection(self) -> sqlite3.Connection:
        """The connection that holds the rows."""
        return self._context.store.index.connection

    def begin(self) -> None:
        """Forget what earlier statements read: the places may have changed."""
        self._rows = {}
        self._problems = {}

    def parse(self, text: str) -> Place | None:
        """Return the place of a string; None when it names none."""
        context = self._context
        return parse_place(text, context.folder, context.home, context.environment)

    def name_matches(self, pattern: str, paths: Sequence[str]) -> list[str]:
        """Return the strings that name these paths, as the pattern that they match is written."""
        return [name_match(pattern, path, self._context.folder) for path in paths]

    @property
    def max_document(self) -> int:
        """The maximum size of a document, in bytes."""
        return self._context.store.largest_document

    def read(self, text: str) -> PlaceRows:
        """Return the rows of a place, which is read at its first use in a statement."""
        rows = self._rows.get(text)
        if rows is None:
            from .reader import measure_place, read_place
            from .rows import PlaceRows

            place = self.parse(text)
            assert place is not None
            max_size = self.max_document
            content = read_place(place, max_size)
            rows = self._rows[text] = PlaceRows(content, text, lambda layers: measure_place(place, max_size, layers))
            rows.is_stacked = place.kind == STORAGE
        return rows

    def read_platforms(self, text: str, target: str | None) -> list[PlatformRow]:
        """Return the platforms of the images with a name, an ID or a digest in a place; of all images for None."""
        from .platforms import read_platforms

        place = self.parse(text)
        assert place is not None
        chosen = None
        if target is not None:
            chosen = frozenset(listed.descriptor.digest for listed in self.read(text).find(target))
        return read_platforms(place, self.max_document, chosen)

    def read_blobs(self, text: str) -> tuple[list[Blob], Mapping[str, ImqError]]:
        """Return the blobs of a place, and its problems by the image that they concern."""
        from .blobs import read_blobs

        place = self.parse(text)
        assert place is not None
        return read_blobs(place, self.max_document)

    def add_problem(self, view: str, subject: str, error: ImqError) -> None:
        """Record a problem of a scan with `subject`, which its message names."""
        named = copy(error)
        if subject not in error.message:
            named.message = f"{subject}: {error.message}"
        self._problems[view, subject, error.message] = named

    def take_problems(self) -> tuple[tuple[str, str, ImqError], ...]:
        """Return and clear the problems: the scan, the subject and the error."""
        found, self._problems = self._problems, {}
        return tuple((view, subject, error) for (view, subject, _), error in found.items())
