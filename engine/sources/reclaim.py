"""The rows of `reclaim`: what a source frees when exactly these names of its images are removed.

A source lists its names and what each image occupies; the rest is SQL. An image goes with its last name, and a blob or
layer with the last image that has it. As in docker, the names with a digest go with the last tag of their repository.
"""

from __future__ import annotations

from imq.engine.sources.scan_rows import ScanRows
from imq.grammar import ast
from imq.grammar.errors import ImqError, Interrupted
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from imq.engine.catalog.schema import Raw
    from imq.engine.query.source import FetchRequest, ScanRequest
    from imq.engine.sources.action import PlanContext

NAMES = "(image, id, name, registry, repository, tag)"
"""The columns of the names of a source. `image` identifies what is removed with its last name."""
PARTS = "(image, part, size)"
"""The columns of what images occupy: a blob or a layer, with its bytes, NULL when these are unknown."""


def measure_removals(source: str, ids: Sequence[str], context: PlanContext) -> dict[str, int | None]:
    """Return the bytes that are freed with each image when these images of a source are removed in this order.

    They are unknown when a request for them fails: the removal itself may be possible.
    """
    images = ast.Query(
        "images",
        sources=(ast.Literal(source, quoted=True),),
        where=ast.In(ast.Field(("id",)), tuple(ast.Literal(id_, quoted=True) for id_ in ids)),
    )
    columns = tuple(ast.Column(ast.Field((name,))) for name in ("id", "size"))
    sizes: dict[str, int | None] = {}
    try:
        rows = context.lookup(ast.Query("reclaim", (images,), select=columns), ())[1]
    except Interrupted:
        raise
    except ImqError:
        return sizes
    for id_, size in rows:
        before = sizes.setdefault(str(id_), 0)
        sizes[str(id_)] = None if before is None or size is None else before + int(size)
    return sizes


_CREATE = """
CREATE TEMP TABLE reclaim_requested (step INTEGER PRIMARY KEY, id, name);
CREATE TEMP TABLE reclaim_names (key INTEGER PRIMARY KEY, image, id, name, repository, is_tag INTEGER, step INTEGER);
CREATE TEMP TABLE reclaim_removed (image PRIMARY KEY, step INTEGER) WITHOUT ROWID;
CREATE TEMP TABLE reclaim_parts (image, part, size INTEGER);
CREATE TEMP TABLE reclaim_kept (part PRIMARY KEY) WITHOUT ROWID;
CREATE TEMP TABLE reclaim_freed (part, size INTEGER, owner, step INTEGER);
CREATE TEMP TABLE reclaim_steps (step INTEGER PRIMARY KEY, size INTEGER, parts INTEGER);
CREATE TEMP TABLE reclaim_owned (image PRIMARY KEY, size INTEGER) WITHOUT ROWID
"""
_INDEX = """
CREATE INDEX temp.reclaim_names_id ON reclaim_names (id, name);
CREATE INDEX temp.reclaim_names_image ON reclaim_names (image, repository)
"""
_DROP = """
DROP TABLE IF EXISTS temp.reclaim_requested;
DROP TABLE IF EXISTS temp.reclaim_names;
DROP TABLE IF EXISTS temp.reclaim_removed;
DROP TABLE IF EXISTS temp.reclaim_parts;
DROP TABLE IF EXISTS temp.reclaim_kept;
DROP TABLE IF EXISTS temp.reclaim_freed;
DROP TABLE IF EXISTS temp.reclaim_steps;
DROP TABLE IF EXISTS temp.reclaim_owned
"""
_CHOOSE = """
UPDATE temp.reclaim_names SET step = (
    SELECT min(step) FROM temp.reclaim_requested AS one
    WHERE one.id = reclaim_names.id AND one.name IS reclaim_names.name)
WHERE id IN (SELECT id FROM temp.reclaim_requested)
"""
_REMOVE = """
INSERT INTO temp.reclaim_removed
SELECT image, max(step) FROM temp.reclaim_names AS chosen WHERE step IS NOT NULL GROUP BY image
HAVING NOT EXISTS (
    SELECT 1 FROM temp.reclaim_names AS kept WHERE kept.image = chosen.image AND kept.step IS NULL AND NOT (
        kept.name IS NOT NULL AND NOT kept.is_tag AND EXISTS (
            SELECT 1 FROM temp.reclaim_names AS one WHERE one.image = kept.image
            AND one.repository = kept.repository AND one.is_tag AND one.step IS NOT NULL)
        AND NOT EXISTS (
            SELECT 1 FROM temp.reclaim_names AS one WHERE one.image = kept.image
            AND one.repository = kept.repository AND one.is_tag AND one.step IS NULL))
)
"""
_COUNT = """
INSERT INTO temp.reclaim_freed
SELECT parts.part, iif(count(parts.size) > 0, max(parts.size), NULL),
    iif(min(parts.image) = max(parts.image), parts.image, NULL), max(removed.step)
FROM temp.reclaim_parts AS parts JOIN temp.reclaim_removed AS removed ON removed.image = parts.image
WHERE parts.part NOT IN (SELECT part FROM temp.reclaim_kept) GROUP BY parts.part;
INSERT INTO temp.reclaim_steps
SELECT step, iif(count(*) = count(size), sum(size), NULL), count(*) FROM temp.reclaim_freed GROUP BY step;
INSERT INTO temp.reclaim_owned
SELECT owner, iif(count(*) = count(size), sum(size), NULL) FROM temp.reclaim_freed
WHERE owner IS NOT NULL GROUP BY owner
"""
"""A part that several images have is freed with the last of them. One that is in a single image has an owner."""
_MEASURE = """
SELECT chosen.id, chosen.name, removed.image IS NOT NULL, removed.step IS chosen.step,
    iif(removed.step IS chosen.step AND steps.step IS NOT NULL, steps.size, 0),
    iif(owned.image IS NULL OR EXISTS (
        SELECT 1 FROM temp.reclaim_names AS other
        WHERE other.image = chosen.image AND other.key <> chosen.key AND NOT (
            chosen.is_tag AND other.name IS NOT NULL AND NOT other.is_tag AND other.repository = chosen.repository)
    ), 0, owned.size),
    iif(removed.step IS chosen.step, coalesce(steps.parts, 0), 0), chosen.image
FROM temp.reclaim_names AS chosen
LEFT JOIN temp.reclaim_removed AS removed ON removed.image = chosen.image
LEFT JOIN temp.reclaim_steps AS steps ON steps.step = removed.step
LEFT JOIN temp.reclaim_owned AS owned ON owned.image = removed.image
WHERE chosen.step IS NOT NULL ORDER BY chosen.step, chosen.key
"""
_KEPT = "another name keeps the image"
USED_IMAGE = "a container uses the image"
"""The note on an image that `rm` leaves because a container was made from it."""


class ReclaimScan(ScanRows):
    """The rows of `reclaim` of one source.

    A subclass measures a place: it chooses the names and adds the rows. It fills the temporary table `reclaim_parts`
    with what the removed images occupy, and `reclaim_kept` with the parts that other images have too.
    """

    columns = ("source", "id", "name", "removes", "size", "alone", "blobs", "note")

    def __init__(self, connection: sqlite3.Connection, request: ScanRequest) -> None:
        super().__init__(connection, request)
        self.places = tuple(dict.fromkeys(ref.text for ref in request.refs))

    def list_rows(self, names: Sequence[tuple[Raw, ...]], /) -> None:
        """List the requested names: those of the queries after `of`, or all names of the places without any."""
        self.create({})
        takes_all = not self.scan.has_target_queries
        for place in self.places:
            requested = [(id_, name) for id_, name, source in names if source == place]
            if requested or takes_all:
                self.measure_place(place, None if takes_all else requested)

    def measure_place(self, place: str, requested: Sequence[tuple[Raw, Raw]] | None) -> None:
        """Insert the rows of a place for these IDs and names, None: all of them, by `add_rows`."""
        raise NotImplementedError

    def fetch(self, _request: FetchRequest, /) -> None:
        """Fetch nothing: the rows are listed whole."""

    def choose(
        self,
        list_names: Callable[[], Iterable[tuple[Raw, ...]]],
        requested: Sequence[tuple[Raw, Raw]] | None,
    ) -> list[str]:
        """Choose the names to remove, and return the images that go with them.

        `requested` are IDs and names, None: all. `list_names` returns all names of the images that these are of, with
        the columns `NAMES`; the table `reclaim_requested` has the IDs.
        """
        self._run(_DROP, _CREATE)
        if requested is not None:
            self.connection.executemany("INSERT INTO temp.reclaim_requested (id, name) VALUES (?, ?)", requested)
        self.connection.executemany(
            "INSERT INTO temp.reclaim_names (image, id, name, repository, is_tag)"
            " VALUES (?1, ?2, ?3, ?4 || '/' || ?5, ?6 IS NOT NULL)",
            list_names(),
        )
        self._run(_INDEX)
        if requested is None:
            self.connection.execute(
                "INSERT INTO temp.reclaim_requested (id, name) SELECT id, name FROM temp.reclaim_names"
                " WHERE id IS NOT NULL GROUP BY id, name ORDER BY min(key)"
            )
        self.connection.execute("CREATE INDEX temp.reclaim_requested_id ON reclaim_requested (id, name)")
        self._run(_CHOOSE, _REMOVE)
        return [str(image) for (image,) in self.connection.execute("SELECT image FROM temp.reclaim_removed")]

    def keep(self, images: Iterable[str]) -> None:
        """Leave images where they are: something else than a name keeps them."""
        self.connection.executemany(
            "DELETE FROM temp.reclaim_removed WHERE image = ?", ((image,) for image in dict.fromkeys(images))
        )

    def add_parts(self, parts: Iterable[tuple[Raw, ...]]) -> None:
        """Add what all images occupy, with the columns `PARTS`."""
        self.connection.executemany("INSERT INTO temp.reclaim_parts VALUES (?, ?, ?)", parts)
        self.connection.execute(
            "INSERT INTO temp.reclaim_kept SELECT DISTINCT part FROM temp.reclaim_parts"
            " WHERE image NOT IN (SELECT image FROM temp.reclaim_removed)"
        )

    def add_rows(self, place: str, notes: Mapping[str, str]) -> None:
        """Insert the rows of a place. `notes` are remarks on images."""
        self._run(_COUNT)
        found = self.connection.execute(_MEASURE).fetchall()
        self.insert(
            (place, id_, name, removes, size, alone, blobs, notes.get(image) or (None if goes else _KEPT), None)
            for id_, name, goes, removes, size, alone, blobs, image in found
        )
        self._run(_DROP)

    def _run(self, *scripts: str) -> None:
        for script in scripts:
            for statement in script.split(";"):
                self.connection.execute(statement)
