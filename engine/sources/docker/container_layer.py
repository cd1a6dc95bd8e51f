"""The changes of a container of an engine as a layer: the paths that it lists, each with its archive."""

from __future__ import annotations

import tarfile

from imq.engine.sources.contents.container_layer import ContainerLayer
from imq.grammar.errors import EngineError, NotFound
from imq.grammar.record import TYPE_CHECKING

from .container_changes import list_changes, read_stat
from .json_documents import read_object, read_objects, read_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from imq.engine.docker_engine.client import EngineClient

_WHITEOUT = ".wh."


def read_container_layer(client: EngineClient, id_: str, environment: Mapping[str, str]) -> ContainerLayer:
    """Return the changes of a container as a layer. A path that goes meanwhile is left out. Raises `ImqError`.

    A folder that was added comes with what it contains, in one archive. Sockets are in no archive. What is mounted is
    not part of the container: a mount point is an empty folder or file, as in `docker export`.
    """
    kinds = dict(list_changes(client, id_))
    mount_points = _list_mount_points(client, id_)
    holders = {path[:at] for path in mount_points for at, character in enumerate(path) if character == "/" and at}
    layer = ContainerLayer(environment)
    with tarfile.open(fileobj=layer, mode="w|", format=tarfile.PAX_FORMAT) as target:  # type: ignore[call-overload]
        covered = "/"
        for path in sorted(kinds):
            if path.startswith(covered) and covered != "/":
                continue
            directory, _, name = path.rpartition("/")
            if kinds[path] == "deleted":
                target.addfile(tarfile.TarInfo(f"{directory}/{_WHITEOUT}{name}".lstrip("/")))
                continue
            if path in mount_points:
                _add_mount_point(client, id_, path, target)
                continue
            takes_whole = kinds[path] == "added" and path not in holders
            if _copy_path(client, id_, path, target, takes_whole=takes_whole):
                covered = f"{path}/"
    return layer


def _list_mount_points(client: EngineClient, id_: str) -> frozenset[str]:
    """Return the paths of a container where something is mounted."""
    document = client.get_object(f"containers/{id_}/json")
    targets = (read_text(mount.get("Destination")) for mount in read_objects(document.get("Mounts")))
    tmpfs = read_object(read_object(document.get("HostConfig")).get("Tmpfs"))
    return frozenset("/" + target.strip("/") for target in (*targets, *tmpfs) if target is not None)


def _add_mount_point(client: EngineClient, id_: str, path: str, target: tarfile.TarFile) -> None:
    """Add an empty folder or file, with the mode and time of what is mounted there: engines do not show its own."""
    member = tarfile.TarInfo(path.lstrip("/"))
    try:
        stat = read_stat(client, id_, path)
    except NotFound:
        return  # it is gone by now
    except EngineError as error:
        if error.code != EngineError.code or client.ping().kind != "podman":
            raise
        # podman describes no path at which a file is mounted: it takes it for a folder
    else:
        member.type = tarfile.DIRTYPE if stat.kind == "directory" else tarfile.REGTYPE
        member.mode, member.mtime = stat.mode, (stat.mtime or 0) // 1_000_000_000
    target.addfile(member)


def _copy_path(client: EngineClient, id_: str, path: str, target: tarfile.TarFile, *, takes_whole: bool) -> bool:
    """Copy a path to an archive; return whether it is a folder that was copied with all that it contains.

    Of a folder without `takes_whole`, only its own entry is copied: its changed entries are listed by themselves.
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
                    is_whole_folder = member.isdir() and takes_whole
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
