"""Images of engines as archives: streams that an engine writes (`docker save`) and reads (`docker load`)."""

from __future__ import annotations

from imq.engine.oci.digest import Digest
from imq.engine.oci.reference import Reference, parse_name
from imq.engine.sources.action import changed_error
from imq.grammar.errors import EngineError
from imq.grammar.record import TYPE_CHECKING, Record

from .clients import EngineClients
from .image_documents import read_tags, to_full_name
from .tag import TagEngineImage, find_id, read_id, set_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from imq.engine.docker_engine.client import EngineClient, EngineStream, Readable
    from imq.engine.sources.action import Action, ExecutionContext

SILENCE = 3600.0
"""The maximum seconds of silence: an engine writes nothing while it reads an archive, or before it sends one."""
_LOCAL = "localhost/"
"""Podman puts this before names without a registry in an archive, which are those of Docker Hub."""
_LOADED = "Loaded image: "
_LOADED_ID = "Loaded image ID: "


class EngineArchives(Record):
    """The images of engines as archives: see `sources/archives.py`."""

    def open_archive(self, source: str, names: Sequence[str], context: ExecutionContext) -> EngineStream:
        """Open an archive of the images with these names or IDs."""
        return export_archive(context.get_shared(EngineClients).get(source), names)

    def load_archive(
        self, source: str, archive: Readable | Iterable[bytes], names: Sequence[str], context: ExecutionContext
    ) -> None:
        """Load an archive. Raises `EngineError` when the engine did not load one of these names."""
        client = context.get_shared(EngineClients).get(source)
        before = _list_names(client) if client.ping().kind == "podman" else {}
        loaded: dict[str, Digest | None] = {}
        try:
            for loaded_name, id_ in import_archive(client, archive):
                if loaded_name is not None:
                    loaded[str(parse_name(loaded_name))] = id_
            for name in names:
                if name in loaded:
                    continue
                id_ = loaded.get(f"{_LOCAL}{name}")
                if id_ is None:
                    raise EngineError(f"{source} did not load {name}", endpoint=source)
                set_name(client, id_, Reference.parse(name))
        finally:
            _restore_local_names(client, names, before)

    def check_image(self, source: str, id_: Digest, names: Sequence[str], context: ExecutionContext) -> None:
        """Raise `NotFound` (`changed`) when the names are no longer those of this image."""
        client = context.get_shared(EngineClients).get(source)
        for name in names or (id_,):
            if find_id(client, name) != id_:
                raise changed_error(name)

    def add_name(self, source: str, name: Reference, id_: Digest, verb: str) -> Action:
        """Return the action that gives an image of the engine a name."""
        return TagEngineImage(source, name, id_, verb=verb)


def export_archive(client: EngineClient, names: Sequence[str]) -> EngineStream:
    """Return an archive of the images with these names or IDs, as a stream that the caller closes."""
    return client.open_stream("GET", "images/get", {"names": [to_full_name(name) for name in names]}, timeout=SILENCE)


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


def _list_names(client: EngineClient) -> dict[str, Digest]:
    images = client.get_objects("images/json")
    return {name: read_id(client, image, "a listed image") for image in images for name in read_tags(image)}


def _restore_local_names(client: EngineClient, names: Sequence[str], before: Mapping[str, Digest]) -> None:
    """Take back what podman did to its own names while it loaded these: they are no names of the archive."""
    if client.ping().kind != "podman":
        return
    now = _list_names(client)
    for local in {f"{_LOCAL}{name}" for name in names} - set(names):
        if local in before and now.get(local) != before[local]:
            set_name(client, before[local], Reference.parse(local))
        elif local not in before and local in now:
            client.delete_json(f"images/{local}")


def _read_loaded(text: str) -> Iterator[tuple[str | None, Digest | None]]:
    for line in text.splitlines():
        if line.startswith(_LOADED_ID):
            yield None, Digest(line.removeprefix(_LOADED_ID).strip())
        elif line.startswith(_LOADED):
            for name in line.removeprefix(_LOADED).split(","):
                stripped = name.strip()
                yield (None, Digest(stripped)) if stripped.startswith("sha256:") else (stripped, None)
