"""The tables `changes` and `mounts`: what containers changed in the files of their images, and what hides these."""

from __future__ import annotations

from imq.engine.catalog.schema import DataType, Field, Table, TargetKind

from .files import FILES

_FILE_FIELDS = {field.name: field for field in FILES.fields}

CHANGES = Table(
    "changes",
    "One row for each path of a container that is not as in its image, as docker diff shows it: changes of web, changes"
    " of (containers in docker where …), changes in docker.",
    (
        Field("container", DataType.TEXT, "the name of the container"),
        Field("container_id", DataType.DIGEST, "the ID of the container", title="CONTAINER ID"),
        Field("image", DataType.REFERENCE, "the name of the image that the container was created with"),
        *(_FILE_FIELDS[name] for name in ("path", "name", "directory")),
        Field(
            "status",
            DataType.TEXT,
            "added, changed or deleted; a directory is changed when its entries are",
            values=("added", "changed", "deleted"),
        ),
        _FILE_FIELDS["type"].replace(
            values=("file", "directory", "symlink", "char", "block", "fifo", "socket"),
            doc="the type; unknown of a deleted path",
        ),
        *(_FILE_FIELDS[name] for name in ("size", "mode", "mtime")),
        _FILE_FIELDS["link_target"].replace(doc="where a symlink leads, as the engine resolves it"),
        Field("source", DataType.TEXT, "the source that holds the container"),
    ),
    default_columns=("container", "status", "size", "path"),
    order=("source", "container", "path"),
    key=("source", "container_id", "path"),
    target=TargetKind.CONTAINERS,
)

MOUNTS = Table(
    "mounts",
    "One row for each mount of a container, running or stopped: mounts of web, mounts of (containers in docker where"
    " …), mounts in docker.",
    (
        Field("container", DataType.TEXT, "the name of the container"),
        Field("container_id", DataType.DIGEST, "the ID of the container", title="CONTAINER ID", has_algorithm=False),
        Field("image", DataType.REFERENCE, "the name of the image that the container was created with"),
        Field(
            "type",
            DataType.TEXT,
            "bind is a path of the host, volume is managed by the engine, tmpfs is memory",
            values=("bind", "volume", "tmpfs", "image", "cluster", "npipe", "devpts"),
        ),
        Field("source_path", DataType.TEXT, "the path on the host; unknown of a tmpfs"),
        Field("volume", DataType.TEXT, "the name of the volume"),
        Field("target", DataType.TEXT, "the path in the container", aliases=("destination", "path")),
        Field("read_only", DataType.BOOLEAN, "the container cannot write to it"),
        Field("driver", DataType.TEXT, "the driver of the volume. Example: local"),
        Field("propagation", DataType.TEXT, "how mounts in it are passed on. Example: rprivate, rshared"),
        Field("source", DataType.TEXT, "the source that holds the container"),
    ),
    default_columns=("container", "type", "source_path", "volume", "target", "read_only"),
    order=("source", "container", "target"),
    key=("source", "container_id", "target"),
    target=TargetKind.CONTAINERS,
)
