"""The changes of a container of an engine as a layer: the paths that it lists, each with its archive."""

from __future__ import annotations

import tarfile

from imq.engine.sources.contents.container_layer import ContainerLayer
from imq.grammar.errors import EngineError, NotFound
from imq.grammar.record import TYPE_CHECKING

from .container_changes import list_changes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from imq.engine.docker_engine.client import EngineClient

_WHITEOUT = ".wh."


def read_container_layer(client: EngineClient, id_: str, environment: Mapping[str, str]) -> ContainerLayer:
    """Return the changes of a container as a layer. A path that goes meanwhile is left out. Raises `ImqError`.

    A folder that was added comes with what it contains, in one archive. Sockets are in no archive.
    """
    kinds = dict(list_changes(client, id_))
    layer = ContainerLayer(environment)
    with tarfile.open(fileobj=layer, mode="w|", format=tarfile.PAX_FORMAT) as target:  # type: ignore[call-overload]
        covered = "/"
        for path in sorted(kinds):
            if path.startswith(covered) and covered != "/":
                continue
            directory, _, name = path.rpartition("/")
            if kinds[path] == "deleted":
                target.addfile(tarfile.TarInfo(f"{directory}/{_WHITEOUT}{name}".lstrip("/")))
            elif _copy_path(client, id_, path, target, is_added=kinds[path] == "added"):
                covered = f"{path}/"
    return layer


def _copy_path(client: EngineClient, id_: str, path: str, target: tarfile.TarFile, *, is_added: bool) -> bool:
    """Copy a path to an archive; return whether it is a folder that was copied with all that it contains.

    Of a folder that was changed, only its own entry is copied: its changed entries are listed by themselves.
    """
    parent = path.rpartition("/")[0].lstrip("/")
    is_whole_folder = False
    try:
        with (
            client.open_stream("GET", f"containers/{id_}/archive", {"path": path}) as stream,
            tarfile.open(fileobj=stream, mode="r|") as archive,  # type: ignore[call-overload]
        ):
            for number, member in enumerate(archive):
                name = member.name.strip("/")
                if not number:
                    member.name = path.lstrip("/")
                    is_whole_folder = member.isdir() and is_added
                else:
                    member.name = f"{parent}/{name}".lstrip("/")
                if member.islnk():
                    member.linkname = f"{parent}/{member.linkname}".lstrip("/")
                target.addfile(member, archive.extractfile(member) if member.isreg() else None)
                if not is_whole_folder:
                    break
    except NotFound:
        return False  # it is gone by now
    except (tarfile.TarError, ValueError, OSError) as error:
        raise EngineError(f"the archive of {path} is damaged: {error}", endpoint=client.endpoint.name) from None
    return is_whole_folder
