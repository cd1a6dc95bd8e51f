"""The table `changes`: what containers changed in the files of their images."""

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
