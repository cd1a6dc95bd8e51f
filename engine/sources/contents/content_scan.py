"""The common part of the scans of contents: the images of a scan, their layers, and what each image shows of them."""

from __future__ import annotations

from imq.engine.layer_index.schema import SCHEMA
from imq.engine.query.fetch_plan import weaken_condition
from imq.engine.query.sql.statements import Sql, write_row_condition
from imq.engine.sources.scan_rows import ScanRows
from imq.engine.store.file_index import open_file_index
from imq.grammar.errors import ImqError
from imq.grammar.record import TYPE_CHECKING

from .indexer import LayerIndexer
from .protocol import ARTIFACT

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from imq.engine.catalog.schema import Raw
    from imq.engine.oci.digest import Digest
    from imq.engine.query import ir
    from imq.engine.query.source import FetchRequest, ScanRequest
    from imq.engine.sources.context import SourceContext

    from .layer_parts import PartSelection
    from .protocol import ImageLayers, LayerContents

_KEY_VALUES = 2
"""The number of values by which an image is looked up."""


class ContentScan(ScanRows):
    """Rows of the contents of images.

    The temporary table `stack` has the layers of each image: its `number`, the value of `_lookup`, its ID, name and
    source, and for each layer the position, the diff ID and the keys in the index of files. `layers` has the keys of
    the layers.
    """

    hidden: tuple[str, ...] = ("_lookup",)
    takes_tables = False
    """Whether tables of contents of layers are enough for the rows, without the contents of files."""
    view_fields: Mapping[str, str] = {}
    """The SQL of the fields that are not columns."""

    def __init__(self, context: SourceContext, contents: LayerContents, request: ScanRequest) -> None:
        super().__init__(context.runner.connection, request)
        self.context = context
        self.contents = contents
        self.images: Sequence[ImageLayers] = ()
        self.stack = f"{request.view}_stack"
        self.layers = f"{request.view}_layers"
        self._has_whole_stack = False
        self.parts: Mapping[Digest, Digest] = {}
        """The diff IDs of layers of which the index has a part, by the names of the parts."""

    def list_rows(self, names: Sequence[tuple[Raw, ...]], /) -> None:
        """List the rows of the images, of those layers alone that can have a row of the result."""
        self.create(self.view_fields)
        self.unread = f"{self.scan.view}_unread"
        self.connection.execute(f"CREATE TEMP TABLE {self.unread} (_lookup, source, place)")
        self.prepare_images(self._list_images(names))
        self.insert_rows()

    def prepare_images(self, images: Sequence[ImageLayers]) -> None:
        """Index the layers of the images, and describe their stacks."""
        indexer = LayerIndexer(self.context)
        if self.takes_tables:
            images = indexer.list_by_tables(images)
        selection = self.select_part() if indexer.can_have_parts() else None
        if selection is not None:
            images = indexer.prepare_parts(self.contents, images, selection.describe())
        failed = indexer.prepare(self.contents, images)
        if indexer.parts and selection is not None:
            from .layer_parts import complete_parts

            images = complete_parts(indexer, self.contents, images, failed, selection, self.context.clock())
        self.parts = indexer.parts
        for position, error in failed.items():
            self.add_unread(images[position], error, is_only=len(images) == 1)
        self._describe_stacks(indexer, [image for position, image in enumerate(images) if position not in failed])

    def select_part(self) -> PartSelection | None:
        """Return what the rows need of layers; None when only whole indexes are enough for them."""
        return None

    def _list_images(self, names: Sequence[tuple[Raw, ...]]) -> list[ImageLayers]:
        """Return the images of the scan. A third value of `names` is the name by which a row of an image was selected.

        An image that several names select is listed once, with the first of them.
        """
        if not any(len(name) > _KEY_VALUES for name in names):
            return list(self.contents.list_images(self.scan, names))
        shown: dict[tuple[Raw, ...], str] = {}
        for *key, name in names:
            if name is not None:
                shown.setdefault(tuple(key), str(name))
        keys = list(dict.fromkeys(name[:_KEY_VALUES] for name in names))
        return [
            image.replace(name=name)
            if (name := shown.get((image.lookup, image.source)) or shown.get((image.lookup, image.digest)))
            else image
            for image in self.contents.list_images(self.scan, keys)
        ]

    def add_unread(self, image: ImageLayers, error: ImqError, *, is_only: bool = False) -> None:
        """Record an image that could not be read completely. Raises the error of the only image that a query is of."""
        if is_only and not self.scan.lookup_fields:
            raise error
        from copy import copy

        subject = image.name or image.lookup or image.id
        named = copy(error)
        if subject not in error.message:
            named.message = f"{subject}: {error.message}"
        if error.code != ARTIFACT or not (self.scan.lookup_fields or self.scan.has_target_queries):
            self.contents.add_problem(self.scan.view, subject, named)
        if self.scan.lookup_fields:
            self.connection.execute(f"INSERT INTO temp.{self.unread} VALUES (?1, ?2, ?2)", (image.lookup, image.source))

    def insert_rows(self) -> None:
        """Insert the rows of the layers in `layers` that the images in `stack` show."""
        raise NotImplementedError

    def fetch(self, _request: FetchRequest, /) -> None:
        """Fetch nothing: a table without levels is listed whole."""

    def _describe_stacks(self, indexer: LayerIndexer, images: Sequence[ImageLayers]) -> None:
        """Write the layers of the images to temporary tables."""
        self.images = images
        self._write_stack(self.stack, indexer, list(enumerate(images)))
        self.connection.execute(
            f"CREATE TEMP TABLE {self.layers} AS SELECT DISTINCT layer AS key FROM temp.{self.stack}"
        )

    def _write_stack(self, table: str, indexer: LayerIndexer, images: Sequence[tuple[int, ImageLayers]]) -> None:
        """Create a table like `stack` of numbered images."""
        now = self.context.clock()
        rows = []
        stacks = indexer.index.describe_stacks((image.indexed for _, image in images), now, indexer.parts)
        for number, image in images:
            keys = stacks[image.indexed]
            if isinstance(keys, ImqError):
                self.add_unread(image, keys, is_only=len(images) == 1)
                continue
            common = (number, image.lookup, image.id, image.name, image.source)
            rows += [
                (*common, position, layer, chain, diff_id)
                for position, (layer, chain, diff_id) in enumerate(
                    zip(keys.layers, keys.chains, image.diff_ids, strict=True)
                )
            ]
        connection = self.connection
        indexer.index.touch((row[6] for row in rows), now)
        connection.execute(  # an index serves a comparison with a column of the same type only
            f"""CREATE TEMP TABLE {table} (number INTEGER, lookup, image, name, source, position INTEGER,
            layer INTEGER, chain INTEGER, diff_id)"""
        )
        connection.execute("SAVEPOINT listing")
        connection.executemany(f"INSERT INTO temp.{table} VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)
        connection.execute("RELEASE listing")
        connection.execute(f"CREATE INDEX temp.{table}_layer ON {table} (layer)")
        connection.execute(f"CREATE INDEX temp.{table}_chain ON {table} (chain, number)")
        connection.execute(f"CREATE INDEX temp.{table}_number ON {table} (number, position)")

    def stack_whole_layers(self) -> str:
        """Return the table like `stack` in which every layer is scanned as a whole, none by its table of contents.

        Images that cannot be read are left out: their rows are dropped, since an unknown value must not select more.
        """
        if all(image.indexed == image.diff_ids for image in self.images):
            return self.stack
        table = f"{self.scan.view}_whole"
        if self._has_whole_stack:
            return table
        whole = [image.replace(keys=()) for image in self.images]
        indexer = LayerIndexer(self.context)
        failed = indexer.prepare(self.contents, whole)
        for number, error in failed.items():
            self.add_unread(whole[number], error, is_only=len(whole) == 1)
            self.connection.execute(f"DELETE FROM temp.{self.rows} WHERE _number = ?", (number,))
        self._write_stack(table, indexer, [one for one in enumerate(whole) if one[0] not in failed])
        self._has_whole_stack = True
        return table

    def write_filter(self, row: str, is_covered: Callable[[ir.Expr], bool] = lambda _: True) -> Sql:
        """Return the SQL of the condition of the scan on the columns of `row`: of the part that is covered."""
        part = weaken_condition(self.scan.condition, is_covered) if self.scan.condition is not None else None
        if part is None:
            return Sql("1", {})
        condition = write_row_condition(part, row, self.scan.now)
        self.context.runner.register_functions(condition)
        return condition

    def write_hidden(self, columns: str, layer: str, directory: str, name: str, table: str = "") -> str:
        """Return the SQL of the reason why an image, a row of `stack`, does not show an entry: no row if it does.

        `table` is the table of which `stack` is a row, if it is another one.
        """
        # many images of one base hide the same entry, each in a stack of its own: those of this image are looked up
        return f"""SELECT {columns} FROM (SELECT 1 FROM {SCHEMA}.hidden AS known WHERE known.layer = {layer}
                AND known.directory = {directory} AND known.name = {name} LIMIT 1)
            CROSS JOIN temp.{table or self.stack} AS upper ON upper.number = stack.number
                AND upper.position >= stack.position
            CROSS JOIN {SCHEMA}.hidden ON hidden.layer = {layer} AND hidden.directory = {directory}
                AND hidden.name = {name} AND hidden.chain = upper.chain"""

    def close(self) -> bool:
        """Drop the view and the tables. Return False if a cursor still reads from them."""
        if not super().close():
            return False
        view = self.scan.view
        for table in (self.stack, self.layers, *(f"{view}_{name}" for name in ("unread", "whole", "paths", "parts"))):
            self.connection.execute(f"DROP TABLE IF EXISTS temp.{table}")
        if self.parts:
            open_file_index(self.context.store).drop(self.parts)
        return True
