"""The tables `files` and `all_files`: the merged file systems of images, and what each layer contains."""

from __future__ import annotations

from imq.engine.catalog.schema import DataType, Field, Relation, Table, TargetKind
from imq.grammar.errors import StatementError

from .images import normalize_architecture

TYPES = ("file", "directory", "symlink", "hardlink", "char", "block", "fifo")
_MARKERS = ("whiteout", "opaque")
_STATUSES = ("visible", "overwritten", "deleted", "whiteout")
_MODE_DIGITS = 4


def _normalise_mode(text: str) -> str:
    """Return an octal mode with four digits: `755` is `0755`."""
    digits = text.removeprefix("0o")
    if not digits or len(digits) > _MODE_DIGITS + 1 or any(digit not in "01234567" for digit in digits):
        raise StatementError(
            f'"{text}" is not a mode', code="value", hints=("a mode is octal, as in chmod: mode = 4755, mode = 0644",)
        )
    return digits.lstrip("0").rjust(_MODE_DIGITS, "0")


_FIELDS = (
    Field("path", DataType.TEXT, "the path, from the root of the image. Example: /etc/passwd", prefix="/"),
    Field("name", DataType.TEXT, "the last name of the path"),
    Field("directory", DataType.TEXT, "the path without its last name"),
    Field("type", DataType.TEXT, "the type; a further name of a file is a hardlink", values=TYPES),
    Field("size", DataType.SIZE, "bytes of the content"),
    Field("mode", DataType.TEXT, "the permissions, octal. Example: 0644, 4755", normalise=_normalise_mode),
    Field("permissions", DataType.TEXT, "the type and the permissions, as ls shows them. Example: -rwsr-xr-x"),
    Field("uid", DataType.NUMBER, "the number of the owner"),
    Field("gid", DataType.NUMBER, "the number of the group"),
    Field("owner", DataType.TEXT, "the name of the owner in /etc/passwd of the image; unknown when it has none"),
    Field("group", DataType.TEXT, "the name of the group in /etc/group of the image; unknown when it has none"),
    Field("mtime", DataType.TIME, "when the content last changed"),
    Field("link_target", DataType.TEXT, "where a symlink or hardlink leads"),
    Field(
        "resolved",
        DataType.TEXT,
        "where a symlink leads in the image, all links followed; unknown for a loop. Example: /usr/lib/os-release",
    ),
    Field(
        "broken", DataType.BOOLEAN, "a symlink that leads to nothing in the image, as those into /proc do, or a loop"
    ),
    Field("setuid", DataType.BOOLEAN, "the program runs with the rights of the owner"),
    Field("setgid", DataType.BOOLEAN, "the program runs with the rights of the group"),
    Field("sticky", DataType.BOOLEAN, "only owners remove files in the directory"),
    Field("world_writable", DataType.BOOLEAN, "everyone may write; false for symlinks"),
    Field(
        "writable_by",
        DataType.LIST,
        "the users in /etc/passwd of the image that can write to it and reach it; see writable by. Symlinks are as"
        " writable as what they lead to, and have none",
        on_request=True,
        search_column="_found",
    ),
    Field(
        "executable_by",
        DataType.LIST,
        "the users in /etc/passwd of the image that can execute it, or search the folder, and reach it",
        on_request=True,
        search_column="_found",
    ),
    Field("xattrs", DataType.MAP, "the extended attributes, their values in hexadecimal"),
    Field(
        "capabilities",
        DataType.TEXT,
        "the capabilities of a program, as getcap shows them. Example: cap_net_bind_service=ep",
    ),
    Field(
        "machine",
        DataType.TEXT,
        "the architecture of an executable or a shared library, in the words of the field architecture; unknown when it"
        " is no ELF file. Example: amd64, arm64",
        normalise=normalize_architecture,
    ),
    Field(
        "package",
        DataType.TEXT,
        "the package that owns the path, by the lists of the packages in the image; of several, the first by name",
    ),
    Field(
        "package_checksum",
        DataType.TEXT,
        "the checksum that the package has for the file. Example: md5:d41d8cd98f00b204e9800998ecf8427e",
    ),
    Field(
        "modified",
        DataType.BOOLEAN,
        "the content differs from package_checksum; unknown for files without a package_checksum",
    ),
    Field("layer", DataType.DIGEST, "the diff ID of the layer that has it"),
    Field("layer_index", DataType.NUMBER, "the position of that layer, 0 for the lowest"),
    Field("sha256", DataType.DIGEST, "the digest of the content of a file", is_optional=True),
    Field(
        "content",
        DataType.TEXT,
        "the text of a file; unknown when it is not UTF-8, an error when it is larger than 16 MB. like and matches with"
        " a constant search the bytes of files of any kind and size; in a file above 8 MB, a match of a regular"
        " expression has at most 1 MB",
        search_column="_found",
    ),
    Field("image", DataType.DIGEST, "the ID of the image, or of the container"),
    Field(
        "image_name",
        DataType.TEXT,
        "the name of the image, as the statement has it, or of the container",
        title="IMAGE NAME",
    ),
    Field("source", DataType.TEXT, "the source that holds it"),
)
_IMAGE = Relation(
    "names", "images", "its image, one row for each name", "lookup image source", lookup_fields=("image", "source")
)

FILES = Table(
    "files",
    "One row for each path of the merged file system of an image, as a container sees it: files of app:1. files of"
    " container web are those of a container; their status says how they differ from its image.",
    (
        *_FIELDS,
        Field(
            "status",
            DataType.TEXT,
            "added, changed or deleted by the container, or unchanged; unknown in images. After of, the paths that a"
            " container deleted are rows too, as its image has them",
            values=("added", "changed", "deleted", "unchanged"),
        ),
    ),
    default_columns=("permissions", "uid", "gid", "size", "mtime", "path"),
    order=("image", "path"),
    key=("image", "path", "source"),
    relations=(),
    target=TargetKind.IMAGES,
)

ALL_FILES = FILES.replace(
    name="all_files",
    doc="One row for each path in each layer of an image, also those that upper layers hide: all files of app:1.",
    fields=(
        *(field.replace(values=(*TYPES, *_MARKERS)) if field.name == "type" else field for field in _FIELDS),
        Field(
            "status",
            DataType.TEXT,
            "visible; overwritten or deleted by an upper layer; or a whiteout, which deletes a path of lower layers",
            values=_STATUSES,
        ),
    ),
    default_columns=("layer_index", "status", "permissions", "size", "path"),
    order=("image", "path", "layer_index"),
    key=("image", "path", "layer_index", "source"),
)

_ARCHIVE_FIELDS = (
    "path", "name", "directory", "type", "size", "mode", "permissions", "uid", "gid", "mtime", "link_target", "layer",
    "layer_index", "image", "image_name", "source",
)  # fmt: skip

ARCHIVE_FILES = FILES.replace(
    name="archive_files",
    doc="One row for each path of an image, and for each member of the archives in it: files of app:1 with archives."
    " Archives are opened inside others too; a member has the path /app.jar!/lib/log4j-core.jar!/name.class. They are"
    " found by their names: jar, war, ear, aar, zip, whl, egg, nupkg, tar, and tar or tgz compressed by gzip, bzip2,"
    " xz or zstd.",
    fields=(
        *(FILES.get_field(name) for name in _ARCHIVE_FIELDS),
        Field("archive", DataType.TEXT, "the path of the file with the archive; unknown for files of the image itself"),
        Field("depth", DataType.NUMBER, "the number of archives around it, 0 for files of the image itself"),
    ),
    default_columns=("permissions", "size", "mtime", "path"),
)
