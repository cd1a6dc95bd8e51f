"""The scan of the table `texts`: what has text is listed first, and then replaced by the lines that are needed of it.

A content is read once for each layer that has it, whatever images show it.
"""

from __future__ import annotations

from imq.engine.layer_index.contents import StoredContent
from imq.engine.layer_index.entry_types import FILE, HARD_LINK
from imq.engine.layer_index.schema import SCHEMA
from imq.engine.oci.digest import Digest
from imq.engine.query import ir
from imq.engine.query.fetch_plan import weaken_condition
from imq.engine.query.searches import Search, get_search
from imq.grammar.errors import ImqError, Interrupted, StatementError
from imq.grammar.record import TYPE_CHECKING

from .content_scan import ContentScan
from .line_search import LineQuery, LineSink
from .reading import ReadProgress, read_shared_contents

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from typing import Any

    from imq.engine.layer_index.contents import ContentSink
    from imq.engine.query.source import FetchRequest

    from .line_search import FoundLine, LinePatterns
    from .protocol import ImageLayers, LayerWorkers

    Holders = Mapping[tuple[str, StoredContent], Sequence[tuple[int, int]]]
    """The rows of each content of a layer, with the numbers of their images."""

FILTERED_FIELDS = frozenset({"kind", "key", "layer", "layer_index", "text", "occurrence"})
_LISTED_FIELDS = FILTERED_FIELDS - {"text", "occurrence"}
"""The fields that are known before a text is read."""
_COLUMNS = ("_lookup", "_number", "image", "image_name", "source", "kind", "key", "layer", "layer_index")
_LINE_COLUMNS = ("line", "text", "_found", "occurrence")
_LOCATION = "t.kind || coalesce(' ' || t.key, '') || coalesce(':' || t.line, '')"
_KINDS_OF_CONFIG = ("cmd", "entrypoint", "env", "history", "label")
MAX_UNSEARCHED = 16 << 20
"""The most bytes of files of which all lines are read."""
_BATCH = 1000


class TextScan(ContentScan):
    """The rows of `texts`. A listed row is a text, marked by `_text`, until its lines replace it.

    `_text` is the text of a setting, and "" for a file, of which the other hidden columns are the place in a layer.
    """

    columns = (*_COLUMNS, "_text", "_layer", "_path", "_offset", "_stored", "_size", "_details")
    fetched_columns = _LINE_COLUMNS
    hidden = ("_lookup", "_found")
    view_fields = {"location": _LOCATION}  # noqa: RUF012 - never modified

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._found = f"{self.scan.view}_lines"

    def prepare_images(self, images: Sequence[ImageLayers]) -> None:
        """Index the layers of the images, unless the condition needs no file."""
        if self._can_have(("file",)):
            super().prepare_images(images)
            return
        for image in images:
            if image.problem is not None:
                self.add_unread(image, image.problem, is_only=len(images) == 1)
        self.images = [image for image in images if image.problem is None]

    def _can_have(self, kinds: Iterable[str]) -> bool:
        """Whether rows of one of these kinds can be in the result, by the condition of the scan."""
        condition = self.write_filter("text", lambda part: _list_fields(part) <= {"kind"})
        values = ", ".join(f"('{kind}')" for kind in kinds)
        rows = self.connection.execute(
            f"SELECT 1 FROM (SELECT column1 AS kind FROM (VALUES {values})) AS text WHERE {condition.text}",
            condition.parameters,
        )
        return rows.fetchone() is not None

    def insert_rows(self) -> None:
        """Insert the texts of configs, and the files that the images show."""
        if self._can_have(_KINDS_OF_CONFIG):
            self._insert_settings()
        if self._can_have(("file",)):
            self._insert_files()

    def _insert_settings(self) -> None:
        for number, image in enumerate(self.images):
            try:
                config = self.contents.read_config(image)
            except Interrupted:
                raise
            except ImqError as error:
                self.add_unread(image, error, is_only=len(self.images) == 1)
                continue
            about = (image.lookup, number, image.id, image.name, image.source)
            nowhere = (None,) * 6
            self.insert(
                (
                    *about, kind, key,
                    None if position is None else image.diff_ids[position], position, text, *nowhere, None,
                )
                for kind, key, position, text in list_settings(config, len(image.diff_ids))
            )  # fmt: skip

    def _insert_files(self) -> None:
        condition = self.write_filter("text", lambda part: _list_fields(part) <= _LISTED_FIELDS)
        files = f"""SELECT stack.lookup, stack.number, stack.image, stack.name, stack.source, 'file' AS kind,
                directory.path || '/' || entry.name AS key, stack.diff_id AS layer, stack.position AS layer_index,
                '', coalesce(entry.content_layer, entry.layer),
                iif(entry.content_layer IS NULL, directory.path || '/' || entry.name, entry.link),
                entry.offset, coalesce(entry.stored_size, entry.size), entry.size, entry.details
            FROM temp.{self.stack} AS stack CROSS JOIN {SCHEMA}.entry ON entry.layer = stack.layer
            CROSS JOIN {SCHEMA}.directory ON directory.key = entry.directory
            WHERE entry.type IN ({FILE}, {HARD_LINK}) AND entry.size > 0
                AND NOT EXISTS ({self.write_hidden("1", "entry.layer", "entry.directory", "entry.name")})"""
        names = ", ".join(f'"{name}"' for name in self.columns)
        self.connection.execute(
            f"INSERT INTO temp.{self.rows} ({names}) SELECT * FROM ({files}) AS text WHERE {condition.text}",
            condition.parameters,
        )

    def fetch(self, request: FetchRequest, /) -> None:
        """Replace the selected texts by their lines."""
        condition = self.scan.condition
        part = weaken_condition(condition, _is_search) if condition is not None else None
        found = (_get_search(one) for one in ir.walk(() if part is None else (part,)))
        query = LineQuery(
            (*request.searches, *(one for one in found if one is not None)),
            _find_required(part),
            _find_most(condition),
            tuple(map(_describe_test, _list_alternatives(part))),
        )
        patterns = query.prepare()
        if patterns.required is None:
            self._check_size()
        self.connection.execute(f"CREATE TEMP TABLE IF NOT EXISTS {self._found} (holder, {', '.join(_LINE_COLUMNS)})")
        for row, text in self.read_selected("t._text <> ''", "t._row, t._text"):
            sink = _TextSink(self, row, patterns)
            sink.write(text.encode("utf-8", "surrogatepass"))
            sink.end_content()
            if "\n" not in text:
                self.connection.execute(f"UPDATE temp.{self._found} SET line = NULL WHERE holder = ?", (row,))
            self._replace([row], row)
        self._read_files(query, patterns)
        self.connection.execute(
            f"DELETE FROM temp.{self.rows} WHERE _text IS NOT NULL AND _row IN (SELECT _row FROM temp.{self.selected})"
        )

    def _check_size(self) -> None:
        """Refuse to read all lines of many files."""
        total = sum(size for (size,) in self.read_selected("t._layer IS NOT NULL", "t._size"))
        if total > MAX_UNSEARCHED:
            raise StatementError(
                f"these files have {total >> 20} MB, and texts shows all lines of {MAX_UNSEARCHED >> 20} MB at most",
                code="content-size",
                hints=(
                    'add a condition on text, which has no limit: … where text like "*TEXT*", text matches "REGEX"',
                    "or choose files: … where key = /etc/hosts",
                ),
            )

    def _read_files(self, query: LineQuery, patterns: LinePatterns) -> None:
        """Search the selected files, in one pass over each layer that has some of them."""
        by_layer: dict[int, dict[tuple[str, StoredContent], list[tuple[int, int]]]] = {}
        columns = "t._row, t._number, t._layer, t._path, t._offset, t._stored, t._size, t._details"
        for row, number, layer, path, *place in self.read_selected("t._layer IS NOT NULL", columns):
            rows = by_layer.setdefault(layer, {}).setdefault((path, StoredContent(*place)), [])
            rows.append((row, number))
        if not by_layer:
            return  # the index of files need not be there
        keys = ", ".join(map(str, by_layer))
        layers = self.connection.execute(
            f"SELECT key, diff_id, tar_size FROM {SCHEMA}.layer WHERE key IN ({keys})"
        ).fetchall()
        holders = {Digest(diff_id): by_layer[key] for key, diff_id, _ in layers}
        if (workers := self.context.workers) is not None:
            for diff_id in self._read_on_workers(workers, query, holders):
                del holders[diff_id]
        sizes = {diff_id: size for _, diff_id, size in layers}
        with ReadProgress(self.context.progress, sum(sizes[diff_id] for diff_id in holders)) as progress:
            for diff_id, contents in holders.items():
                self._read_layer(diff_id, contents, patterns, progress)

    def _read_on_workers(
        self, workers: LayerWorkers, query: LineQuery, holders: Mapping[Digest, Holders]
    ) -> list[Digest]:
        """Search files of layers on workers; return the layers that are done, also those that cannot be read."""
        from .remote_reading import RemoteReading

        unread = {(_list_numbers(own)[0], diff_id): _list_contents(own) for diff_id, own in holders.items()}
        remote = RemoteReading(self.contents, self.images, "search", lambda _: {"lines": query.describe()})
        for layer, document in remote.read(workers, self.context, unread):
            self._insert_lines(document["lines"])
            self._replace_contents(holders[layer])
        for (_, layer), error in remote.errors.items():
            self._leave_out(holders[layer], error)
        left = {layer for _, layer in unread}
        return [layer for layer in holders if layer not in left]

    def _read_layer(self, diff_id: Digest, holders: Holders, patterns: LinePatterns, progress: ReadProgress) -> None:
        """Search files of one layer."""
        images = [self.images[number] for number in _list_numbers(holders)]
        sinks = _LineSinks(self, patterns)
        try:
            read_shared_contents(self.contents, images, diff_id, _list_contents(holders), sinks, progress)
        except Interrupted:
            raise
        except ImqError as error:
            self._leave_out(holders, error)
        else:
            self._replace_contents(holders)

    def _leave_out(self, holders: Holders, error: ImqError) -> None:
        """Report the images with files of a layer that cannot be read."""
        for number in _list_numbers(holders):
            self.add_unread(self.images[number], error, is_only=len(self.images) == 1)
        self.connection.execute(f"DELETE FROM temp.{self._found}")

    def _replace_contents(self, holders: Holders) -> None:
        """Replace the rows of the files of a layer by the lines that were found in them."""
        for rows in holders.values():
            self._replace([row for row, _ in rows], rows[0][0])
        self.connection.execute(f"DELETE FROM temp.{self._found}")

    def add_lines(self, holder: int, lines: Iterable[FoundLine]) -> None:
        """Keep lines that were found in a text, until the layer that has it is verified."""
        self._insert_lines([(holder, line.number, line.text, line.results, line.occurrence) for line in lines])

    def _insert_lines(self, rows: Sequence[Sequence[object]]) -> None:
        """Insert lines, each with the row of its text first."""
        self.connection.executemany(f"INSERT INTO temp.{self._found} VALUES (?, ?, ?, ?, ?)", rows)

    def drop_lines(self, holder: int) -> None:
        """Forget the lines of a text."""
        self.connection.execute(f"DELETE FROM temp.{self._found} WHERE holder = ?", (holder,))

    def _replace(self, rows: Sequence[int], holder: int) -> None:
        """Insert the lines that were found in a text for each of the rows that are this text."""
        names = ", ".join((*_COLUMNS, *_LINE_COLUMNS))
        own = ", ".join(f"t.{name}" for name in _COLUMNS)
        lines = ", ".join(f"line.{name}" for name in _LINE_COLUMNS)
        self.connection.executemany(
            f"""INSERT INTO temp.{self.rows} ({names}) SELECT {own}, {lines} FROM temp.{self._found} AS line
            CROSS JOIN temp.{self.rows} AS t ON t._row = ?1 WHERE line.holder = ?2""",
            [(row, holder) for row in rows],
        )

    def close(self) -> bool:
        """Drop the view and the tables. Return False if a cursor still reads from them."""
        if not super().close():
            return False
        self.connection.execute(f"DROP TABLE IF EXISTS temp.{self._found}")
        return True


class _TextSink:
    """Searches one text, and keeps the lines that are found in the table of the scan."""

    def __init__(self, scan: TextScan, holder: int, patterns: LinePatterns) -> None:
        self._scan = scan
        self._holder = holder
        self._lines: list[FoundLine] = []
        self._sink = LineSink(patterns, self._take)
        self.write, self.skip = self._sink.write, self._sink.skip

    def _take(self, line: FoundLine) -> None:
        self._lines.append(line)
        if len(self._lines) >= _BATCH:
            self._flush()

    def _flush(self) -> None:
        self._scan.add_lines(self._holder, self._lines)
        self._lines = []

    def end_content(self) -> None:
        """Search the rest of the text. Idempotent."""
        self._sink.end_content()
        self._flush()


class _LineSinks:
    """The sinks of the files of one layer."""

    def __init__(self, scan: TextScan, patterns: LinePatterns) -> None:
        self._scan = scan
        self._patterns = patterns
        self._opened: set[int] = set()

    def open_sinks(self, row: int) -> Iterator[ContentSink]:
        """Yield the sink for the content of a row."""
        if row in self._opened:  # the layer is read once more
            self._scan.drop_lines(row)
        self._opened.add(row)
        yield _TextSink(self._scan, row, self._patterns)


def _list_contents(holders: Holders) -> list[tuple[int, str, StoredContent]]:
    """Return the contents of a layer, each for the first of its rows, with its path."""
    return [(rows[0][0], path, content) for (path, content), rows in holders.items()]


def _list_numbers(holders: Holders) -> list[int]:
    """Return the numbers of the images with contents of a layer."""
    return list(dict.fromkeys(number for rows in holders.values() for _, number in rows))


def list_settings(config: Mapping[str, Any], layer_count: int) -> Iterator[tuple[str, str | None, int | None, str]]:
    """Yield the texts of the config of an image: the kind, the key, the position of the layer, and the text."""
    runtime = config.get("config")
    runtime = runtime if isinstance(runtime, dict) else {}
    for kind, name in (("cmd", "Cmd"), ("entrypoint", "Entrypoint")):
        for word in _read_list(runtime.get(name)):
            yield kind, None, None, str(word)
    for variable in map(str, _read_list(runtime.get("Env"))):
        yield "env", variable.partition("=")[0], None, variable
    labels = runtime.get("Labels")
    for name, value in labels.items() if isinstance(labels, dict) else ():
        yield "label", str(name), None, f"{name}={value}"
    position = 0
    for number, step in enumerate(_read_list(config.get("history"))):
        if not isinstance(step, dict):
            continue
        own = None if step.get("empty_layer") or position >= layer_count else position
        position += own is not None
        if text := step.get("created_by"):
            yield "history", str(number), own, str(text)


def _read_list(value: object) -> Sequence[Any]:
    return value if isinstance(value, list) else ()


def _list_fields(condition: ir.Expr) -> frozenset[str]:
    values = ir.walk((condition,))
    return frozenset(value.field.name for value in values if isinstance(value, ir.Column | ir.MapItem))


def _find_required(condition: ir.Expr | None) -> tuple[Search, ...] | None:
    """Return searches of which each line of the result has one; None when the condition implies none."""
    match condition:
        case ir.And(operands):
            found = [one for one in map(_find_required, operands) if one is not None]
            return min(found, key=len, default=None)
        case ir.Or(operands):
            either = list(map(_find_required, operands))
            return None if None in either else tuple(dict.fromkeys(one for part in either for one in part or ()))
        case ir.Comparison():
            search = _get_search(condition)
            return (search,) if search is not None else None
        case _:
            return None


def _get_search(condition: ir.Expr) -> Search | None:
    """Return the search of lines that a condition is; None if it is another condition."""
    match condition:
        case ir.Comparison("=", ir.Column(field, ""), ir.Literal(value)) if field.name == "text":
            escaped = "".join(f"\\{one}" if one in "*?[\\" else one for one in str(value))
            return Search(field.name, "like", escaped)
        case _:
            return get_search(condition)


def _is_search(condition: ir.Expr) -> bool:
    """Whether a condition is a search of lines, or the opposite of one."""
    return _get_search(condition.operand if isinstance(condition, ir.Not) else condition) is not None


def _list_alternatives(condition: ir.Expr | None) -> tuple[ir.Expr, ...]:
    """Return the conditions of which a line meets one: the first line of each is an occurrence of its own."""
    return condition.operands if isinstance(condition, ir.Or) else () if condition is None else (condition,)


def _describe_test(condition: ir.Expr) -> Any:
    """Return a condition of searches alone as a test of a `LineQuery`."""
    match condition:
        case ir.And(operands):
            return ["and", *map(_describe_test, operands)]
        case ir.Or(operands):
            return ["or", *map(_describe_test, operands)]
        case ir.Not(operand):
            return ["not", _describe_test(operand)]
        case _:
            search = _get_search(condition)
            return search.key if search is not None else None


def _find_most(condition: ir.Expr | None) -> int:
    """Return the highest `occurrence` that the condition allows; 0 for any."""
    parts = condition.operands if isinstance(condition, ir.And) else (condition,)
    bounds = [
        int(value)
        for part in parts
        if isinstance(part, ir.Comparison)
        and part.operator in ("=", "<=", "<")
        and isinstance(part.left, ir.Column)
        and part.left.field.name == "occurrence"
        and isinstance(part.right, ir.Literal)
        and isinstance(value := part.right.value, int | float)
        and value >= 1
    ]
    return min(bounds, default=0)
