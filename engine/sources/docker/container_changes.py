"""The paths that a container of an engine changed, as `docker diff` lists them, and what a path is."""

from __future__ import annotations

import base64
import json

from imq.engine.docker_engine.errors import protocol_error
from imq.engine.oci.timestamp import parse_time
from imq.grammar.record import TYPE_CHECKING, Record

from .json_documents import read_integer, read_text

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from imq.engine.docker_engine.client import EngineClient

_KINDS = ("changed", "added", "deleted")
"""The kind of a change by its number in the API."""
_STAT_HEADER = "x-docker-container-path-stat"
_TYPES = {
    1 << 31: "directory",
    1 << 27: "symlink",
    1 << 25: "fifo",
    1 << 24: "socket",
    1 << 21: "char",
    1 << 26: "block",
}
"""The type by the bits of Go's `FileMode`, the first that is set; a character device has two of them."""
_SPECIAL_BITS = ((1 << 23, 0o4000), (1 << 22, 0o2000), (1 << 20, 0o1000))
"""Setuid, setgid and sticky in Go's `FileMode`, and in the mode of a file."""


class PathStat(Record):
    """What a path of a container is: its type, bytes of a file, mode, time in nanoseconds, and target of a link."""

    kind: str
    size: int | None
    mode: int
    mtime: int | None
    link_target: str | None


def list_changes(client: EngineClient, id_: str) -> Iterator[tuple[str, str]]:
    """Yield each path with what happened to it: `added`, `changed` or `deleted`. Raises `EngineError`."""
    for change in client.get_objects(f"containers/{id_}/changes"):
        path, kind = read_text(change.get("Path")), read_integer(change.get("Kind"))
        if path is None or not path.startswith("/") or kind is None or kind not in range(len(_KINDS)):
            raise protocol_error(client.endpoint, f"it reports an unknown change: {str(change)[:80]}")
        yield path, _KINDS[kind]


def read_stat(client: EngineClient, id_: str, path: str) -> PathStat:
    """Return what a path of a container is. Raises `NotFound` and `EngineError`."""
    with client.open_stream("HEAD", f"containers/{id_}/archive", {"path": path}) as response:
        encoded = response.headers.get(_STAT_HEADER, "")
    try:
        stat: dict[str, Any] = json.loads(base64.b64decode(encoded))
        bits = int(stat["mode"])
    except (ValueError, TypeError, KeyError):
        raise protocol_error(client.endpoint, f"it does not describe the path {path}") from None
    kind = next((name for bit, name in _TYPES.items() if bits & bit), "file")
    return PathStat(
        kind,
        read_integer(stat.get("size")) if kind == "file" else 0,
        bits & 0o777 | sum(own for bit, own in _SPECIAL_BITS if bits & bit),
        parse_time(stat.get("mtime")),
        read_text(stat.get("linkTarget")) if kind == "symlink" else None,
    )
