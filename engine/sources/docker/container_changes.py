"""The paths that a container of an engine changed, as `docker diff` lists them."""

from __future__ import annotations

from imq.engine.docker_engine.errors import protocol_error
from imq.grammar.record import TYPE_CHECKING

from .json_documents import read_integer, read_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from imq.engine.docker_engine.client import EngineClient

_KINDS = ("changed", "added", "deleted")
"""The kind of a change by its number in the API."""


def list_changes(client: EngineClient, id_: str) -> Iterator[tuple[str, str]]:
    """Yield each path with what happened to it: `added`, `changed` or `deleted`. Raises `EngineError`."""
    for change in client.get_objects(f"containers/{id_}/changes"):
        path, kind = read_text(change.get("Path")), read_integer(change.get("Kind"))
        if path is None or not path.startswith("/") or kind is None or kind not in range(len(_KINDS)):
            raise protocol_error(client.endpoint, f"it reports an unknown change: {str(change)[:80]}")
        yield path, _KINDS[kind]
