"""The table `logs` of engines: containers are listed, and each is replaced by the lines of its log."""

from __future__ import annotations

from contextlib import closing

from imq.engine.docker_engine.errors import protocol_error
from imq.engine.sources.scan_rows import ScanRows
from imq.engine.sources.side_by_side import iterate_side_by_side
from imq.grammar.errors import ImqError
from imq.grammar.record import TYPE_CHECKING

from .container_rows import ContainerRowsScan
from .json_documents import read_boolean, read_object
from .log_range import make_range_query
from .log_stream import DOCKER_PARTS, PODMAN_PARTS, LogError, LogReader

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Self

    from imq.engine.catalog.schema import Raw
    from imq.engine.query.source import FetchRequest

    from .log_stream import Line
    from .reader import EngineReader

_BATCH = 1000
_WORKERS_OF_ENGINE = 8
_MAX_WORKERS = 64
_GROWTH = 8
"""How many times as many lines are requested from the end of a log when those were not enough."""
_CLOCK_TOLERANCE = 2_000_000_000
"""Nanoseconds after the start of a response, by the clock of the engine, up to which its lines are read.

A program that writes faster than the log is read would keep it from ending.
"""
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


class Logs(ContainerRowsScan):
    """The rows of `logs`."""

    row_columns = ("time", "stream", "text")

    def fetch(self, request: FetchRequest, /) -> None:
        """Replace the chosen containers by the lines of their logs. The log of a container that fails is a problem."""
        containers = self.choose_containers()
        sources = {str(row[2]) for row in containers}
        workers = min(_WORKERS_OF_ENGINE * len(sources), _MAX_WORKERS)

        def read(container: tuple[Raw, ...]) -> Iterator[list[Line]]:
            return _read_log(self.reader, str(container[2]), str(container[4]), request)

        with closing(iterate_side_by_side(_interleave(containers), read, workers)) as batches:
            for container, batch in batches:
                if isinstance(batch, ImqError):
                    self.report_failure(container, batch, "the log of", len(containers))
                elif batch is not None:
                    own = container[1:]
                    rows = ((*own, 0, *line, None) for line in batch)
                    ScanRows.insert(self, rows)  # decoded: it has no lone surrogates
                    continue
                self.drop_container(container)


def _interleave(containers: list[tuple[Raw, ...]]) -> list[tuple[Raw, ...]]:
    """Return the containers in an order that takes one of each engine in turn."""
    by_source: dict[Raw, int] = {}
    ranked = []
    for container in containers:
        rank = by_source[container[2]] = by_source.get(container[2], 0) + 1
        ranked.append((rank, container))
    return [container for _, container in sorted(ranked, key=lambda one: one[0])]


def _read_log(reader: EngineReader, source: str, id_: str, request: FetchRequest) -> Iterator[list[Line]]:
    """Yield the lines of a log that a statement needs, in batches. Raises `ImqError`."""
    query = {"stdout": "1", "stderr": "1", "timestamps": "1"}
    query |= make_range_query(request, counts_lines=not reader.is_podman(source))
    while "tail" in query:
        lines, is_complete = _read_end(reader, source, id_, query, request.last)
        if is_complete:
            yield lines
            return
        query["tail"] = str(int(query["tail"]) * _GROWTH)
        if int(query["tail"]) > request.last * _GROWTH**2:
            del query["tail"]
    batch: list[Line] = []
    count, end = 0, None
    with _open_log(reader, source, id_, query) as log:
        for line in log:
            time = line[0]
            if time is not None and not _is_within(time, request):
                continue
            if end is not None and (time is None or time > end):
                break
            batch.append(line)
            count += 1
            if count == request.first:
                end = time  # further lines can have the same time
            if len(batch) == _BATCH:
                yield batch
                batch = []
    yield batch


def _is_within(time: int, request: FetchRequest) -> bool:
    return (request.since is None or time >= request.since) and (request.until is None or time <= request.until)


def _read_end(
    reader: EngineReader, source: str, id_: str, query: Mapping[str, str], needed: int
) -> tuple[list[Line], bool]:
    """Return the last lines of a log, and whether they include the newest `needed` ones.

    The first of several lines may be the end of a longer one, and lines before it may have the same time.
    """
    with _open_log(reader, source, id_, query) as log:
        lines = list(log)
        if log.messages < int(query["tail"]):
            return lines, True
    if len(lines) <= needed:
        return [], False
    first, boundary = lines[0][0], lines[-needed][0]
    return lines[1:], first is not None and boundary is not None and first < boundary


class _Log:
    """The lines of one log, which is closed at the end of a `with` block."""

    def __init__(self, reader: EngineReader, source: str, id_: str, query: Mapping[str, str]) -> None:
        self._client = reader.client(source)
        self._stream = self._client.open_stream("GET", f"containers/{id_}/logs", query)
        try:
            kind = self._stream.headers.get("content-type", "")
            if kind.startswith("application/vnd.docker."):  # since API 1.42
                is_multiplexed = "multiplexed" in kind
            else:
                config = read_object(reader.inspect_container(source, id_).get("Config"))
                is_multiplexed = not read_boolean(config.get("Tty"))
            parts = PODMAN_PARTS if reader.is_podman(source) else DOCKER_PARTS
            self._lines = LogReader(self._stream, is_multiplexed=is_multiplexed, parts=parts)
            self._end = _read_date(self._stream.headers.get("date", ""))
        except BaseException:
            self._stream.close()
            raise

    @property
    def messages(self) -> int:
        """The number of messages so far."""
        return self._lines.messages

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()

    def __iter__(self) -> Iterator[Line]:
        try:
            for line in self._lines:
                if self._end is not None and line[0] is not None and line[0] > self._end:
                    return
                yield line
        except LogError as error:
            raise protocol_error(self._client.endpoint, str(error)) from None


def _open_log(reader: EngineReader, source: str, id_: str, query: Mapping[str, str]) -> _Log:
    return _Log(reader, source, id_, query)


def _read_date(text: str) -> int | None:
    """Return when a response began by its header Date, and the tolerance, in nanoseconds; None when it is unknown."""
    from imq.engine.oci.timestamp import parse_time

    words = text.split()
    if len(words) != 6 or words[2] not in _MONTHS:
        return None
    month = _MONTHS.index(words[2]) + 1
    moment = parse_time(f"{words[3]}-{month:02}-{words[1]}T{words[4]}Z")
    return None if moment is None else moment + _CLOCK_TOLERANCE
