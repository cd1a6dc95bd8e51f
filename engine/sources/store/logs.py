"""The table `logs` of the store: the lines of the logs of its containers."""

from __future__ import annotations

import os

from imq.engine.containers.folder import FOLDER, LOG
from imq.engine.containers.log_file import read_log
from imq.grammar.record import TYPE_CHECKING

from .container_rows import ContainerRows

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from imq.engine.catalog.schema import Raw
    from imq.engine.containers.log_file import LogLine


class StoreLogs(ContainerRows):
    """The rows of `logs` of the store."""

    columns = ("_lookup", "source", "container", "container_id", "image", "time", "stream", "text")

    def list_rows(self, names: Sequence[tuple[Raw, ...]], /) -> None:
        """List the lines of all containers, or those of the containers that are named. Raises `NotFound`."""
        self.create({})
        for looked_up, id_, name, image in self.choose_containers(names):
            path = os.path.join(self.store.root, FOLDER, id_, LOG)
            self.insert(
                (looked_up, "store", name, id_, image, line.time, line.stream, line.text.rstrip("\r\n"), None)
                for line in _join(read_log(path))
            )


def _join(lines: Iterator[LogLine]) -> Iterator[LogLine]:
    """Yield whole lines: the parts of a long line are joined, each stream for itself."""
    pending: dict[str, list[LogLine]] = {}
    for line in lines:
        parts = pending.setdefault(line.stream, [])
        parts.append(line)
        if line.text.endswith("\n"):
            yield _join_parts(pending.pop(line.stream))
    for parts in pending.values():
        yield _join_parts(parts)


def _join_parts(parts: Sequence[LogLine]) -> LogLine:
    return parts[0] if len(parts) == 1 else parts[0].replace(text="".join(part.text for part in parts))
