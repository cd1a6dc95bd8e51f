"""The tasks as a scan process executes them: it reads one layer, and keeps nothing of it.

It hashes in the thread that decompresses, so that a process takes one processor: the others have layers of their own.
"""

from __future__ import annotations

import os
import tempfile
from functools import partial

from imq.engine.layer_index.contents import StoredContent, read_contents
from imq.engine.layer_index.readers import find_reader
from imq.engine.layer_index.scan import scan_layer
from imq.engine.layer_index.schema import SCAN_VERSION
from imq.engine.oci.digest import Digest
from imq.engine.query.searches import Search
from imq.engine.registry.client import Client
from imq.engine.sources.contents.indexer import check_diff_id, name_layer
from imq.engine.sources.contents.protocol import RESULT_TOO_LARGE
from imq.engine.sources.contents.reading import ContentFields
from imq.grammar.errors import DigestMismatch, ImqError, Malformed, NotFound
from imq.grammar.record import TYPE_CHECKING

from .locations import get_host, parse_descriptor, read_blob

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Any, TypeVar

    from imq.engine.layer_index.contents import ContentSink
    from imq.engine.registry.settings import Settings
    from imq.engine.sources.contents.line_search import FoundLine, LinePatterns
    from imq.engine.sources.contents.reading import RowSinks

    S = TypeVar("S", bound=RowSinks)

MAX_FOUND = 32 << 20
"""The most characters of lines that a worker returns for one layer, and holds in memory."""


class JobRunner:
    """Executes tasks one after the other; connections to registries stay open in between.

    `settings` are those of the client of registries; None: they are read from the configuration files and the
    environment of this process, when a task first needs them.
    """

    def __init__(self, settings: Settings | None, environment: Mapping[str, str]) -> None:
        self._settings = settings.replace(environment=environment) if settings is not None else None
        self._environment = environment
        self._clients: dict[frozenset[str], Client] = {}

    def run(self, task: Mapping[str, Any]) -> tuple[dict[str, Any], bytes]:
        """Execute a task; return a document and bytes: of a scan, the index or its place. Raises `ImqError`."""
        if task["version"] != SCAN_VERSION:
            raise ImqError(
                f"a worker has version {SCAN_VERSION} of the scanner of layers, the statement {task['version']}",
                code="worker-version",
                hints=("install the same version of imq on all machines",),
            )
        run = {"scan": self._scan, "read": self._read, "search": self._search, "verify": self._verify}[task["kind"]]
        return run(task, frozenset(task["insecure"]))

    def get_rate_limits(self, task: Mapping[str, Any]) -> dict[str, Any]:
        """Return the rate limits that the registries of a task stated, by host."""
        client = self._clients.get(frozenset(task["insecure"]))
        limits: dict[str, Any] = {}
        for location in task["locations"] if client is not None else ():
            host = get_host(location)
            limit = client.get_rate_limit(host) if client is not None and host else None
            if limit is not None and limit.remaining >= 0:
                limits[host] = {"remaining": limit.remaining, "reset": limit.reset, "window": limit.window}
        return limits

    def _open_client(self, insecure: frozenset[str]) -> Client:
        client = self._clients.get(insecure)
        if client is None:
            if self._settings is None:
                from imq.engine.configuration.load import load_configuration

                configuration = load_configuration(self._environment)
                self._settings = configuration.build_client_settings(self._environment)
            settings = self._settings.replace(
                insecure=self._settings.insecure | insecure, waits_for_limits=False, jobs=1
            )
            client = self._clients[insecure] = Client(settings)
        return client

    def _scan(self, task: Mapping[str, Any], insecure: frozenset[str]) -> tuple[dict[str, Any], bytes]:
        from imq.engine.layer_index.index_cache import open_cache
        from imq.engine.layer_index.packed_index import pack_index, unpack_index

        diff_id = Digest(task["diffId"])
        cache = open_cache(task["indexCache"]) if task["indexCache"] else None
        handle, path = tempfile.mkstemp(dir=task["folder"], prefix="imq-scan-")
        os.close(handle)
        is_kept = False
        try:
            packed = cache.get(diff_id) if cache is not None else None
            if packed is not None:
                try:
                    unpack_index(packed, path, diff_id)
                except Malformed:
                    packed = None  # scanned and written again
            is_scanned = packed is None
            if packed is None:
                self._scan_layer(task, insecure, diff_id, path)
                if cache is not None or not task["sharesFolder"]:
                    packed = pack_index(path)
                if cache is not None and packed is not None:
                    cache.put(diff_id, packed)
            document: dict[str, Any] = {"scanned": is_scanned}
            is_kept = bool(task["sharesFolder"])
            if is_kept:
                return document | {"path": path}, b""
            part = _pack_part(task["part"], path) if "part" in task else None
            if part is not None and packed is not None and _is_smaller(part, packed):
                return document | {"isPart": True}, part
            return document, packed or b""
        finally:
            if not is_kept:
                os.unlink(path)

    def _scan_layer(self, task: Mapping[str, Any], insecure: frozenset[str], diff_id: Digest, path: str) -> None:
        def read(chunks: Iterator[bytes | memoryview]) -> None:
            os.truncate(path, 0)  # another location may have sent a part
            try:
                actual = scan_layer(chunks, path, find_reader, algorithm=diff_id.algorithm, hashes_inline=True)
            except Malformed as error:
                raise name_layer(error, diff_id) from None
            check_diff_id(actual, diff_id)

        read_blob(parse_descriptor(task["descriptor"]), task["locations"], lambda: self._open_client(insecure), read)

    def _verify(self, task: Mapping[str, Any], insecure: frozenset[str]) -> tuple[dict[str, Any], bytes]:
        from imq.engine.layers.layer_meter import LayerMeter
        from imq.engine.sources.contents.blob_checks import identify_file
        from imq.engine.units.urls import get_file_path

        descriptor, diff_id = parse_descriptor(task["descriptor"]), Digest(task["diffId"])

        def read(chunks: Iterator[bytes | memoryview]) -> dict[str, Any]:
            size = 0
            with LayerMeter(None, diff_algorithm=diff_id.algorithm, hashes_inline=True) as meter:
                for chunk in chunks:
                    size += len(chunk)
                    meter.feed(chunk)
                measured = meter.finish()
            check_diff_id(measured.diff_id, diff_id)
            if size != descriptor.size:
                raise DigestMismatch(f"{descriptor.digest} has {size} bytes, and its descriptor says {descriptor.size}")
            return {"size": measured.size, "tarSize": measured.tar_size, "entries": measured.entries}

        problem: NotFound | None = None
        for location in task["locations"]:
            path = get_file_path(location)
            try:
                measures = read_blob(descriptor, (location,), lambda: self._open_client(insecure), read)
                return measures | {"file": identify_file(path) if path is not None else None}, b""
            except NotFound as error:
                problem = error
        assert problem is not None, "a task has a location"
        raise problem

    def _read(self, task: Mapping[str, Any], insecure: frozenset[str]) -> tuple[dict[str, Any], bytes]:
        checksums = {int(row): checksum for row, checksum in task["checksums"].items()}
        searches = frozenset(Search(*one) for one in task["searches"])
        fields, searched = frozenset(task["fields"]), frozenset(task["searched"])
        values = self._read_contents(task, insecure, lambda: ContentFields(fields, checksums, searches, searched))
        return {"rows": list(values.take_rows())}, b""

    def _search(self, task: Mapping[str, Any], insecure: frozenset[str]) -> tuple[dict[str, Any], bytes]:
        from imq.engine.sources.contents.line_search import LineQuery

        patterns = LineQuery.parse(task["lines"]).prepare()
        return {"lines": self._read_contents(task, insecure, lambda: FoundLines(patterns)).lines}, b""

    def _read_contents(self, task: Mapping[str, Any], insecure: frozenset[str], make: Callable[[], S]) -> S:
        """Read the contents of a task by the sinks of what `make` makes, which is returned."""
        diff_id = Digest(task["diffId"])
        contents = [(row, StoredContent(*place)) for row, *place in task["contents"]]
        made: list[S] = []

        def read(chunks: Iterator[bytes | memoryview]) -> None:
            made[:] = [make()]  # another location may have sent a part
            sinks = [(content, sink) for row, content in contents for sink in made[0].open_sinks(row)]
            try:
                actual = read_contents(chunks, sinks, algorithm=diff_id.algorithm, hashes_inline=True)
            except Malformed as error:
                raise name_layer(error, diff_id) from None
            check_diff_id(actual, diff_id)

        read_blob(parse_descriptor(task["descriptor"]), task["locations"], lambda: self._open_client(insecure), read)
        return made[0]


class FoundLines:
    """The lines that are found in the contents of a layer. Raises `ImqError` when they are too many to be sent."""

    def __init__(self, patterns: LinePatterns) -> None:
        self.lines: list[tuple[int, int | None, str, str, int]] = []
        self._patterns = patterns
        self._size = 0

    def open_sinks(self, row: int) -> Iterator[ContentSink]:
        """Yield the sink for the content of a row."""
        from imq.engine.sources.contents.line_search import LineSink

        yield LineSink(self._patterns, partial(self._take, row))

    def _take(self, row: int, line: FoundLine) -> None:
        self._size += len(line.text) + len(line.results)
        if self._size > MAX_FOUND:
            raise ImqError(f"the lines that were found have more than {MAX_FOUND} characters", code=RESULT_TOO_LARGE)
        self.lines.append((row, line.number, line.text, line.results, line.occurrence))


def _is_smaller(part: bytes, whole: bytes) -> bool:
    return len(part) < len(whole)


def _pack_part(task: Mapping[str, Any], path: str) -> bytes | None:
    """Return the packed part of the index at `path` that a task needs; None when it needs the whole."""
    from contextlib import closing

    from imq.engine.layer_index.index_part import write_part
    from imq.engine.layer_index.packed_index import pack_index
    from imq.engine.query.sql.statements import Sql
    from imq.engine.query.sqlite_executor import open_in_memory
    from imq.engine.sources.contents.entry_fields import register_functions
    from imq.engine.sources.contents.layer_parts import PartSelection

    handle, target = tempfile.mkstemp(dir=os.path.dirname(path), prefix="imq-part-")
    os.close(handle)
    try:
        selection = PartSelection(task["table"], task["text"], task["parameters"], tuple(task["functions"]))
        executor = open_in_memory()
        with closing(executor.connection):
            register_functions(executor.connection)
            executor.register_functions(Sql(selection.text, selection.parameters, frozenset(selection.functions)))
            is_written = write_part(path, target, Digest(task["key"]), executor.connection, selection)
        return pack_index(target) if is_written else None
    finally:
        os.unlink(target)
