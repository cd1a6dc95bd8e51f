"""Images of engines as archives: streams that an engine writes (`docker save`) and reads (`docker load`)."""

from __future__ import annotations

from imq.engine.oci.digest import Digest
from imq.grammar.errors import EngineError
from imq.grammar.record import TYPE_CHECKING

from .tag import find_id

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from imq.engine.docker_engine.client import EngineClient, EngineStream, Readable

SILENCE = 3600.0
"""The maximum seconds of silence: an engine writes nothing while it reads an archive, or before it sends one."""
_LOADED = "Loaded image: "
_LOADED_ID = "Loaded image ID: "


def export_archive(client: EngineClient, names: Sequence[str]) -> EngineStream:
    """Return an archive of the images with these names or IDs, as a stream that the caller closes."""
    return client.open_stream("GET", "images/get", {"names": names}, timeout=SILENCE)


def import_archive(
    client: EngineClient, archive: Readable | Iterable[bytes]
) -> Iterator[tuple[str | None, Digest | None]]:
    """Send an archive to an engine; yield the name and ID of each image that it has loaded.

    Raises `EngineError` in the words of the engine.
    """
    with client.open_stream("POST", "images/load", {"quiet": "1"}, body=archive, timeout=SILENCE) as stream:
        text = "".join(str(message.get("stream") or "") for message in stream.read_messages())
    loaded = list(_read_loaded(text))
    if not loaded:
        raise EngineError(f"{client.endpoint.name} loaded no image", endpoint=client.endpoint.name)
    for name, id_ in loaded:
        yield name, id_ or find_id(client, str(name))


def _read_loaded(text: str) -> Iterator[tuple[str | None, Digest | None]]:
    for line in text.splitlines():
        if line.startswith(_LOADED_ID):
            yield None, Digest(line.removeprefix(_LOADED_ID).strip())
        elif line.startswith(_LOADED):
            for name in line.removeprefix(_LOADED).split(","):
                stripped = name.strip()
                yield (None, Digest(stripped)) if stripped.startswith("sha256:") else (stripped, None)
