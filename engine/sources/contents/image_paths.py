"""Follows symbolic links in what images show: many paths of many images at once, with few queries.

The paths are walked as a kernel does in a container. Entries of images are looked up in rounds, with one query for all
paths: a round for the folders on the way, and one more for each link that leads elsewhere.
"""

from __future__ import annotations

from imq.engine.layer_index.entry_types import DIRECTORY, IMPLIED, OPAQUE, SYMLINK, WHITEOUT
from imq.engine.layer_index.schema import SCHEMA
from imq.engine.layers.rooted_fs import MAX_LINKS
from imq.grammar.record import TYPE_CHECKING, Record

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from .content_scan import ContentScan


class ResolvedPath(Record):
    """Where a path leads in an image. `path` is None for a loop; `exists` is False where the image lacks it."""

    path: str | None
    exists: bool


LOOP = ResolvedPath(None, exists=False)
_Node = tuple[int, str]  # the type of an entry, and the target of a link


class PathResolver:
    """Resolves paths of the images of a scan. What it learns of them is kept for the next call."""

    def __init__(self, scan: ContentScan) -> None:
        self._scan = scan
        self._nodes: dict[tuple[int, str], _Node | None] = {}  # by the number of an image and a path

    def resolve(self, paths: Iterable[tuple[int, str]]) -> dict[tuple[int, str], ResolvedPath]:
        """Return where paths lead, all links followed, by the number of the image and the path."""
        resolved: dict[tuple[int, str], ResolvedPath] = {}
        pending = dict.fromkeys(paths)
        while pending:
            unknown: dict[tuple[int, str], None] = {}
            for key in list(pending):
                result = self._walk(*key, unknown)
                if result is not None:
                    resolved[key] = result
                    del pending[key]
            self._look_up(unknown)
        return resolved

    def _walk(self, number: int, path: str, unknown: dict[tuple[int, str], None]) -> ResolvedPath | None:
        """Return where a path leads; None when entries have to be looked up first, which are added to `unknown`."""
        pending = _split(path)
        current: list[str] = []
        links = 0
        exists = True
        while pending:
            name = pending.pop()
            if name == "..":
                if current:
                    current.pop()
                continue
            place = f"{_join(current)}/{name}"
            if (number, place) not in self._nodes:
                # the names that follow are likely no links either
                for part in [name, *reversed(pending)]:
                    if part == "..":
                        break
                    current.append(part)
                    unknown[number, _join(current)] = None
                return None
            node = self._nodes[number, place]
            if node is not None and node[0] == SYMLINK:
                links += 1
                if links > MAX_LINKS:
                    return LOOP
                if node[1].startswith("/"):
                    current.clear()
                pending += _split(node[1])
                continue
            current.append(name)
            if node is None or (pending and node[0] not in (DIRECTORY, IMPLIED)):
                exists = False
                current += [part for part in reversed(pending) if part != ".."]
                break
        return ResolvedPath(_join(current) or "/", exists)

    def _look_up(self, keys: Iterable[tuple[int, str]]) -> None:
        """Learn what images show at paths."""
        missing = [key for key in keys if key not in self._nodes]
        if not missing:
            return
        connection, table = self._scan.connection, f"{self._scan.scan.view}_paths"
        connection.execute(f"CREATE TEMP TABLE IF NOT EXISTS {table} (number, directory, name)")
        connection.execute("SAVEPOINT resolving")
        try:
            connection.execute(f"DELETE FROM temp.{table}")
            connection.executemany(
                f"INSERT INTO temp.{table} VALUES (?, ?, ?)",
                ((number, *_split_last(path)) for number, path in missing),
            )
            self._nodes.update(dict.fromkeys(missing))
            self._nodes.update(self._read_nodes(table))
        finally:
            connection.execute("RELEASE resolving")

    def _read_nodes(self, table: str) -> Iterator[tuple[tuple[int, str], _Node]]:
        scan = self._scan
        rows = scan.connection.execute(
            f"""SELECT path.number, path.directory || '/' || path.name, entry.type, entry.link
            FROM temp.{table} AS path CROSS JOIN {SCHEMA}.directory ON directory.path = path.directory
            CROSS JOIN temp.{scan.stack} AS stack ON stack.number = path.number
            CROSS JOIN {SCHEMA}.entry ON entry.layer = stack.layer AND entry.directory = directory.key
                AND entry.name = path.name AND entry.type NOT IN ({WHITEOUT}, {OPAQUE})
            WHERE NOT EXISTS ({scan.write_hidden("1", "entry.layer", "entry.directory", "entry.name")})"""
        )
        for number, path, type_, link in rows:
            yield (number, path), (type_, link or "")


def _split(path: str) -> list[str]:
    """Return the names of a path, the first one last."""
    return [name for name in reversed(path.split("/")) if name not in ("", ".")]


def _split_last(path: str) -> tuple[str, str]:
    directory, _, name = path.rpartition("/")
    return directory, name


def _join(names: list[str]) -> str:
    return "".join(f"/{name}" for name in names)
