"""The scan of the tables `files` and `all_files`.

Conditions on files are evaluated once for each layer, whatever images have it; only then are the rows of the images
made. A condition that needs a certain string skips the layers whose names do not contain it.
"""

from __future__ import annotations

import json
from itertools import chain

from imq.engine.layer_index.contents import StoredContent
from imq.engine.layer_index.entry_types import (
    DELETED,
    FILE,
    HARD_LINK,
    IMPLIED,
    OPAQUE,
    OVERWRITTEN,
    WHITEOUT,
)
from imq.engine.layer_index.schema import ACCOUNT_NOTE, SCHEMA
from imq.engine.oci.digest import Digest
from imq.engine.query import ir
from imq.grammar.errors import ImqError, Interrupted, StatementError
from imq.grammar.record import TYPE_CHECKING

from .content_scan import ContentScan
from .entry_fields import FIELDS, register_functions, write_case
from .entry_values import write_content
from .image_paths import PathResolver
from .literals import list_required_words

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

    from imq.engine.query.searches import Search
    from imq.engine.query.source import FetchRequest, ScanRequest
    from imq.engine.sources.context import SourceContext

    from .layer_parts import PartSelection
    from .protocol import ImageLayers, LayerContents

_MIN_SKIPPED = 4
"""The least number of layers for which their names are searched first."""
_MAX_HOLES = 8 << 30
"""The most bytes of the holes of a sparse file that are hashed: an archive of 1 KB can have one of a petabyte."""
FILTERED_FIELDS = frozenset(FIELDS)
FILTERED_FIELDS_OF_ALL = FILTERED_FIELDS | {"status"}
"""The status of an entry depends on the image; that of a file says how a container differs from its image."""
_IMAGE_COLUMNS = ("_lookup", "image", "image_name", "source", "layer_index", "layer")
_KEY_COLUMNS = ("_number", "_layer", "_directory", "_entry_name")


_WHITEOUT = "whiteout"
_HIDDEN = {"overwritten": OVERWRITTEN, "deleted": DELETED}
"""The statuses of entries that an upper layer hides, and why, as in the index."""
_STATUSES = ("visible", *_HIDDEN, _WHITEOUT)


def _write_markers(statuses: frozenset[str]) -> str:
    """Return the SQL that leaves out entries that cannot have these statuses, by their types."""
    if statuses == {_WHITEOUT}:
        return f"AND entry.type IN ({WHITEOUT}, {OPAQUE})"
    return "" if _WHITEOUT in statuses else f"AND entry.type NOT IN ({WHITEOUT}, {OPAQUE})"


def _reads_status_alone(condition: ir.Expr) -> bool:
    return all(name == "status" for name in _list_fields(condition))


def _reads_no_status(condition: ir.Expr) -> bool:
    return all(name != "status" for name in _list_fields(condition))


def _list_fields(condition: ir.Expr) -> list[str]:
    return [value.field.name for value in ir.walk((condition,)) if isinstance(value, ir.Column | ir.MapItem)]


class FileScan(ContentScan):
    """The rows of `files`: what the images show; of `all_files`: the entries of all of their layers.

    The hidden column `_content` is the entry as a JSON list: see `entry_values.py`. `_found` has the results of
    searches in the content: see `query/searches.py`.
    """

    hidden: tuple[str, ...] = ("_lookup", "_content", "_found")
    takes_tables = True

    def __init__(self, context: SourceContext, contents: LayerContents, request: ScanRequest) -> None:
        super().__init__(context, contents, request)
        self._shows_all = request.table.name == "all_files"
        self.columns = (*_IMAGE_COLUMNS, *_KEY_COLUMNS, *FIELDS, "status")
        self.fetched_columns = (
            "owner", "group", "resolved", "broken", "machine", "package", "package_checksum", "sha256", "content",
            "modified", "writable_by", "executable_by", "_found",
        )  # fmt: skip
        self._paths = PathResolver(self)
        self._parts_table = f"{request.view}_parts"
        self.view_fields = {"_content": write_content(self._parts_table)}
        register_functions(self.connection)

    def select_part(self) -> PartSelection | None:
        """Return what the rows need of layers: the entries for which the condition holds, if there is one."""
        condition = self.write_filter("entry", _reads_no_status)
        if self._shows_all or condition.text == "1":
            return None
        from .layer_parts import PartSelection

        return PartSelection("entry", condition.text, condition.parameters, tuple(sorted(condition.functions)))

    def prepare_images(self, images: Sequence[ImageLayers]) -> None:
        """Index the layers of the images, or parts of them."""
        super().prepare_images(images)
        self.connection.execute(f"CREATE TEMP TABLE {self._parts_table} (key TEXT PRIMARY KEY, diff_id TEXT)")
        self.connection.executemany(f"INSERT INTO temp.{self._parts_table} VALUES (?, ?)", self.parts.items())

    def insert_rows(self) -> None:
        """Insert the entries of the layers for which the condition of the scan holds, for each image."""
        self._skip_layers()
        condition = self.write_filter("entry", _reads_no_status)
        fields = ", ".join(f'{text} AS "{name}"' for name, text in FIELDS.items())
        statuses = self._find_statuses() if self._shows_all else frozenset()
        entries = f"""SELECT entry.layer AS _layer, entry.directory AS _directory, entry.name AS _entry_name,
                entry.type AS _type, {fields}
            FROM {self._write_places(statuses)} {_write_markers(statuses)}
            CROSS JOIN {SCHEMA}.directory ON directory.key = entry.directory"""
        place = ("entry._layer", "entry._directory", "entry._entry_name")
        is_hidden = f"EXISTS ({self.write_hidden('1', *place)})"
        columns = ", ".join(("stack.number", *(f'entry."{name}"' for name in (*_KEY_COLUMNS[1:], *FIELDS))))
        status, visible = self._write_status(), f"NOT {is_hidden}"
        if self._shows_all:
            reason = self.write_hidden(
                write_case("hidden.status", {reason: name for name, reason in _HIDDEN.items()}), *place
            )
            status = f"""iif(entry._type IN ({WHITEOUT}, {OPAQUE}), '{_WHITEOUT}',
                coalesce(({reason} LIMIT 1), 'visible'))"""
            visible = f"NOT (entry._type = {IMPLIED} AND {is_hidden})"
            if len(statuses) < len(_STATUSES):
                listed = ", ".join(f"'{name}'" for name in sorted(statuses))
                visible += f" AND {status} IN ({listed})"
        names = ", ".join(f'"{name}"' for name in self.columns)
        image = "stack.lookup, stack.image, stack.name, stack.source, stack.position, stack.diff_id"
        chosen = f"""(SELECT * FROM ({entries}) AS entry WHERE {condition.text}) AS entry
            CROSS JOIN temp.{self.stack} AS stack ON stack.layer = entry._layer"""
        self.connection.execute(
            f"INSERT INTO temp.{self.rows} ({names}) SELECT {image}, {columns}, {status} FROM {chosen} WHERE {visible}",
            condition.parameters,
        )
        if self._shows_all or self.scan.lookup_fields or not self._list_tops():
            return
        # what a container deleted: rows without a place in a layer, so that nothing reads their content
        columns = ", ".join(("stack.number", "NULL, NULL, NULL", *(f'entry."{name}"' for name in FIELDS)))
        self.connection.execute(
            f"""INSERT INTO temp.{self.rows} ({names}) SELECT {image}, {columns}, 'deleted' FROM {chosen}
            CROSS JOIN temp.{self.stack} AS top ON top.number = stack.number AND {self._list_tops()}
            CROSS JOIN {SCHEMA}.hidden ON hidden.layer = entry._layer AND hidden.directory = entry._directory
                AND hidden.name = entry._entry_name AND hidden.chain = top.chain AND hidden.status = {DELETED}""",
            condition.parameters,
        )

    def _find_statuses(self) -> frozenset[str]:
        """Return the statuses in layers that rows of the result can have, by the condition of the scan."""
        condition = self.write_filter("entry", _reads_status_alone)
        values = ", ".join(f"('{name}')" for name in _STATUSES)
        rows = self.connection.execute(
            f"SELECT status FROM (SELECT column1 AS status FROM (VALUES {values})) AS entry WHERE {condition.text}",
            condition.parameters,
        )
        return frozenset(status for (status,) in rows)

    def _write_places(self, statuses: frozenset[str]) -> str:
        """Return the SQL of the entries of the layers; of the hidden ones alone if no others are needed."""
        if not statuses or not statuses <= _HIDDEN.keys():
            return f"temp.{self.layers} AS read CROSS JOIN {SCHEMA}.entry ON entry.layer = read.key"
        reasons = ", ".join(str(_HIDDEN[name]) for name in sorted(statuses))
        return f"""(SELECT DISTINCT hidden.layer, hidden.directory, hidden.name
            FROM (SELECT DISTINCT chain FROM temp.{self.stack}) AS upper
            CROSS JOIN {SCHEMA}.hidden ON hidden.chain = upper.chain AND hidden.status IN ({reasons})
            WHERE hidden.layer IN (SELECT key FROM temp.{self.layers})) AS place
            CROSS JOIN {SCHEMA}.entry ON entry.layer = place.layer AND entry.directory = place.directory
                AND entry.name = place.name"""

    def _list_tops(self) -> str:
        """Return the SQL of whether a row `top` of the stacks has the changes of a container; "" without containers."""
        tops = [
            f"({number}, {len(image.diff_ids) - 1})" for number, image in enumerate(self.images) if image.is_container
        ]
        return f"(top.number, top.position) IN (VALUES {', '.join(tops)})" if tops else ""

    def _write_status(self) -> str:
        """Return the SQL of how an entry of a container, of the row `stack`, differs from its image; unknown in images.

        The layer with the changes hides what it replaces.
        """
        tops = self._list_tops()
        if not tops:
            return "NULL"
        replaces = f"""EXISTS (SELECT 1 FROM temp.{self.stack} AS lower CROSS JOIN {SCHEMA}.hidden
                ON hidden.layer = lower.layer AND hidden.directory = entry._directory
                AND hidden.name = entry._entry_name AND hidden.chain = stack.chain
            WHERE lower.number = stack.number AND lower.position < stack.position)"""
        top = f"(SELECT top.position FROM temp.{self.stack} AS top WHERE top.number = stack.number AND {tops})"
        return f"""CASE {top} WHEN stack.position THEN iif({replaces}, 'changed', 'added')
            ELSE iif({top} IS NULL, NULL, 'unchanged') END"""

    def _skip_layers(self) -> None:
        """Leave out the layers whose names do not have a string that the condition needs."""
        from imq.engine.layer_index.words import has_words, split_literal

        connection = self.connection
        words = list_required_words(self.scan.condition)
        (count,) = connection.execute(f"SELECT count(*) FROM temp.{self.layers}").fetchone()
        if not words or count < _MIN_SKIPPED:
            return
        parts = [part for word in words for part in split_literal(word)]
        packed = connection.execute(f"SELECT layer, words FROM {SCHEMA}.word JOIN temp.{self.layers} ON key = layer")
        skipped = [(layer,) for layer, names in packed if not has_words(names, parts)]
        connection.execute("SAVEPOINT listing")
        connection.executemany(f"DELETE FROM temp.{self.layers} WHERE key = ?", skipped)
        connection.execute("RELEASE listing")

    def fetch(self, request: FetchRequest, /) -> None:
        """Fetch fields of the selected rows that their entries alone do not tell."""
        names = frozenset(field.name for field in request.fields)
        if self.parts and not names <= {"sha256", "content"}:
            self._use_whole_layers()
        if names & {"resolved", "broken"}:
            self._follow_links()
        if names & {"owner", "group"}:
            self._name_owners()
        if "machine" in names:
            self._read_machines()
        if names & {"writable_by", "executable_by"}:
            from .access import find_access

            find_access(self, names - request.searched_fields, request.searches)
        if names & {"package", "package_checksum"}:
            self._find_owners()
        if names & {"sha256", "content", "modified"}:
            self._read_contents(names - request.searched_fields, request.searches)

    def _use_whole_layers(self) -> None:
        """Let the stacks and the rows have whole layers in the place of parts."""
        table = self.stack_whole_layers()
        if table == self.stack:
            return
        self.connection.execute(
            f"""UPDATE temp.{self.rows} SET _layer = (SELECT whole.layer FROM temp.{table} AS whole
                WHERE whole.number = _number AND whole.position = layer_index)"""
        )
        self.connection.execute(f"DROP TABLE temp.{self.stack}")
        self.stack = table
        self.images = [image.replace(keys=()) for image in self.images]

    def _follow_links(self) -> None:
        rows = self.read_selected("t.type = 'symlink'", "t._row, t._number, t.directory, t.link_target")
        paths = {
            row: (number, target if target.startswith("/") else f"{directory}/{target}")
            for row, number, directory, target in rows
        }
        resolved = self._paths.resolve(paths.values())
        others = f"_row IN (SELECT _row FROM temp.{self.selected}) AND type <> 'symlink'"
        self.connection.execute(f"UPDATE temp.{self.rows} SET broken = 0 WHERE {others}")
        self._update(
            "resolved = ?, broken = ?",
            ((resolved[key].path, not resolved[key].exists, row) for row, key in paths.items()),
        )

    def _read_machines(self) -> None:
        """Read the machines of the selected files, which only a scan of their whole layer tells."""
        table = self.stack_whole_layers()
        layer = "t._layer"
        if table != self.stack:
            layer = f"""(SELECT stack.layer FROM temp.{table} AS stack
                WHERE stack.number = t._number AND stack.position = t.layer_index)"""
        self.connection.execute(
            f"""UPDATE temp.{self.rows} AS t SET machine = (SELECT entry.machine FROM {SCHEMA}.entry
                WHERE entry.layer = {layer} AND entry.directory = t._directory AND entry.name = t._entry_name)
            WHERE _row IN (SELECT _row FROM temp.{self.selected})"""
        )

    def _name_owners(self) -> None:
        """Name the users and groups of the selected files, by the lists that each image shows."""
        table = self.stack_whole_layers()
        for column, number, file in (("owner", "uid", "passwd"), ("group", "gid", "group")):
            hidden = self.write_hidden("1", "note.layer", "note.directory", "note.name", table)
            self.connection.execute(
                f"""UPDATE temp.{self.rows} AS t SET "{column}" = (
                    SELECT account.value FROM temp.{table} AS stack
                    CROSS JOIN {SCHEMA}.note ON note.layer = stack.layer AND note.kind = '{ACCOUNT_NOTE}'
                        AND note.name = '{file}'
                    CROSS JOIN json_each(note.document) AS account ON account.key = CAST(t.{number} AS TEXT)
                    WHERE stack.number = t._number AND NOT EXISTS ({hidden}))
                WHERE _row IN (SELECT _row FROM temp.{self.selected})"""
            )

    def _find_owners(self) -> None:
        """Find the packages of the selected paths, by the lists of the packages in each image."""
        from .owners import read_owners

        table = self.stack_whole_layers()
        rows = {row: (number, path) for row, number, path in self.read_selected("1", "t._row, t._number, t.path")}
        owners = read_owners(self, table, self._paths, rows.values())
        self._update(
            "package = ?, package_checksum = ?", ((*owners[key], row) for row, key in rows.items() if key in owners)
        )

    def _update(self, assignments: str, values: Iterable[tuple[object, ...]]) -> None:
        """Set columns of rows. Each value ends with the key of its row."""
        self.connection.execute("SAVEPOINT fetching")
        try:
            self.connection.executemany(f"UPDATE temp.{self.rows} SET {assignments} WHERE _row = ?", values)
        finally:
            self.connection.execute("RELEASE fetching")

    def _read_contents(self, names: frozenset[str], searches: frozenset[Search]) -> None:
        """Read the contents of the selected files, in one pass over each layer that has some of them.

        A file that several images show is read once, for the first of its rows.
        """
        from .reading import ContentFields, ReadProgress, read_shared_contents

        if "content" in names:
            self._drop_large_files()
        if names & {"sha256", "modified"}:
            self._drop_large_holes()

        needed = "1"
        if "modified" in names:
            self._find_owners()
            if names == {"modified"} and not searches:
                needed = "t.package_checksum IS NOT NULL"
        checksums: dict[int, str] = {}
        if "modified" in names:
            checksums.update(self.read_selected("t.package_checksum IS NOT NULL", "t._row, t.package_checksum"))
        keys = {search.key for search in searches}
        rows = self.read_selected(
            f"entry.type IN ({FILE}, {HARD_LINK}) AND entry.size IS NOT NULL AND {needed}",
            "t._row, t._number, coalesce(entry.content_layer, entry.layer),"
            " iif(entry.content_layer IS NULL, t.path, entry.link), entry.offset,"
            " coalesce(entry.stored_size, entry.size), entry.size, entry.details, t._found",
            f"JOIN {SCHEMA}.entry ON entry.layer = t._layer AND entry.directory = t._directory"
            " AND entry.name = t._entry_name",
        )
        searched: set[int] = set()
        shared = _SharedFiles()
        for row, number, layer, path, *place, found in rows:
            if found is not None and keys <= json.loads(found).keys():
                searched.add(row)
                if not names:
                    continue
            shared.add(row, number, layer, path, StoredContent(*place), (checksums.get(row), row in searched))
        values = ContentFields(names, checksums, searches, searched)
        of_layers: dict[tuple[int, Digest], list[tuple[int, str, StoredContent]]] = {}
        total = 0
        for layer, contents in shared.by_layer.items():
            diff_id, size = self.connection.execute(
                f"SELECT diff_id, tar_size FROM {SCHEMA}.layer WHERE key = ?", (layer,)
            ).fetchone()
            total += size
            whole = self.parts.get(diff_id, Digest(diff_id))
            of_layers[shared.numbers[contents[0][0]], whole] = contents
        rows_read: list[tuple[Any, ...]] = []
        if (workers := self.context.workers) is not None:
            from .remote_reading import RemoteReading

            remote = RemoteReading(self.contents, self.images, "read", values.describe)
            planned = dict(of_layers)
            for _, document in remote.read(workers, self.context, of_layers):
                rows_read += map(tuple, document["rows"])
            for key, error in remote.errors.items():
                self._leave_out(error, shared.list_rows(planned[key]))
        with ReadProgress(self.context.progress, total) as progress:
            for (_, diff_id), contents in of_layers.items():
                images = (self.images[number] for _, number in shared.list_rows(contents))
                try:
                    read_shared_contents(self.contents, images, diff_id, contents, values, progress)
                except Interrupted:
                    raise
                except ImqError as error:
                    values.discard(row for row, _, _ in contents)
                    self._leave_out(error, shared.list_rows(contents))
        self._update(
            "sha256 = coalesce(?, sha256), content = coalesce(?, content), modified = coalesce(?, modified),"
            " _found = json_patch(coalesce(_found, '{}'), coalesce(?, '{}'))",
            (
                (*found, row)
                for *found, first in chain(rows_read, values.take_rows())
                for row in shared.equal_rows[first]
            ),
        )

    def _leave_out(self, error: ImqError, rows: Sequence[tuple[int, int]]) -> None:
        """Report rows of images whose contents cannot be read. An unknown value must not select more rows."""
        for number in dict.fromkeys(number for _, number in rows):
            self.add_unread(self.images[number], error, is_only=len(self.images) == 1)
        self.connection.executemany(f"DELETE FROM temp.{self.rows} WHERE _row = ?", [(row,) for row, _ in rows])

    def _drop_large_files(self) -> None:
        """Report the selected files whose content is too large to be a value. Their rows are dropped."""
        from .reading import MAX_TEXT

        rows = self.read_selected(
            f"t.type IN ('file', 'hardlink') AND t.size > {MAX_TEXT}", "t._row, t._number, t.path"
        )
        hint = 'content like "*TEXT*" and content matches "REGEX" search files of any size'
        self._drop_rows(rows, f"is larger than the {MAX_TEXT >> 20} MB that content shows", hint)

    def _drop_large_holes(self) -> None:
        """Report the selected sparse files whose holes would take minutes to hash. Their rows are dropped."""
        holes = "entry.size - coalesce(entry.stored_size, entry.size)"
        rows = self.read_selected(
            f"{holes} > {_MAX_HOLES}",
            "t._row, t._number, t.path",
            f"JOIN {SCHEMA}.entry ON entry.layer = t._layer AND entry.directory = t._directory"
            " AND entry.name = t._entry_name",
        )
        self._drop_rows(rows, f"is a sparse file with holes of more than the {_MAX_HOLES >> 30} GB that are hashed", "")

    def _drop_rows(self, rows: Sequence[tuple[int, int, str]], reason: str, hint: str) -> None:
        """Report rows whose value is too large, and drop them: an unknown value must not select more rows."""
        for _, number, path in rows:
            image = self.images[number]
            message = f"{path} of {image.name or image.id} {reason}"
            self.add_unread(image, StatementError(message, code="content-size", hints=(hint,) if hint else ()))
        keys = [(row,) for row, _, _ in rows]
        self.connection.executemany(f"DELETE FROM temp.{self.rows} WHERE _row = ?", keys)
        self.connection.executemany(f"DELETE FROM temp.{self.selected} WHERE _row = ?", keys)


class _SharedFiles:
    """The files whose contents are needed, by the layer that has them: each once, whatever images show it.

    A file has the key of the first of its rows. `numbers` are those of the images of rows.
    """

    def __init__(self) -> None:
        self.by_layer: dict[int, list[tuple[int, str, StoredContent]]] = {}
        self.numbers: dict[int, int] = {}
        self.equal_rows: dict[int, list[int]] = {}
        self._rows: dict[tuple[object, ...], list[int]] = {}

    def add(self, row: int, number: int, layer: int, path: str, content: StoredContent, needs: object) -> None:
        """Add a row of an image. Rows of a file with different `needs` are read separately."""
        self.numbers[row] = number
        rows = self._rows.setdefault((layer, path, content, needs), [])
        rows.append(row)
        if len(rows) == 1:
            self.equal_rows[row] = rows
            self.by_layer.setdefault(layer, []).append((row, path, content))

    def list_rows(self, contents: Iterable[tuple[int, str, StoredContent]]) -> list[tuple[int, int]]:
        """Return all rows that have these contents, each with the number of its image."""
        return [(row, self.numbers[row]) for first, _, _ in contents for row in self.equal_rows[first]]
