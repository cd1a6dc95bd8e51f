"""Entries of images as frozen values, with which actions read and write them later."""

from __future__ import annotations

import json
import os
from tempfile import SpooledTemporaryFile

from imq.engine.layer_index.contents import StoredContent
from imq.engine.layer_index.entry_types import FROM_TAR, HARD_LINK, IMPLIED, NAMES, SYMLINK
from imq.engine.layer_index.path_text import to_path
from imq.engine.layer_index.schema import SCHEMA
from imq.engine.layers.tar_entry import TarEntry
from imq.engine.oci.digest import Digest
from imq.engine.query.source import ScanRequest
from imq.grammar.errors import NotFound
from imq.grammar.record import TYPE_CHECKING, Record

from .reading import read_contents_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import IO

    from imq.engine.layer_index.contents import ContentSink

    from .protocol import ImageLayers, LayerContents

_COLUMNS = (
    "type", "mode", "uid", "gid", "size", "mtime", "coalesce(mtime_ns, 0)", "link", "offset",
    "coalesce(stored_size, size)", "details",
)  # fmt: skip


def write_content(parts: str) -> str:
    """Return the SQL of the hidden column `_content`.

    The table `parts` has the diff IDs of layers of which the index has a part, by their names.
    """
    columns = (
        f"entry.{name}" if name.isidentifier() else name.replace("(", "(entry.", 1).replace(", size", ", entry.size")
        for name in _COLUMNS
    )
    return f"""(SELECT json_array(
            coalesce((SELECT part.diff_id FROM temp.{parts} AS part WHERE part.key = layer.diff_id), layer.diff_id),
            {", ".join(columns)})
        FROM {SCHEMA}.entry JOIN {SCHEMA}.layer ON layer.key = coalesce(entry.content_layer, entry.layer)
        WHERE entry.layer = t._layer AND entry.directory = t._directory AND entry.name = t._entry_name)"""


_NS_PER_SECOND = 1_000_000_000
_MAX_IN_MEMORY = 8 << 20
_PIECE = 1 << 20
_TAR_TYPES = {number: name for name, number in FROM_TAR.items()} | {IMPLIED: "directory", HARD_LINK: "file"}


class EntryValues(Record):
    """An entry of an image: its path, the image and the layer with its content, and what its headers say.

    `source` and `image` are the source and the ID of the image.
    """

    path: str
    source: str
    image: str
    layer: Digest
    type: int
    mode: int
    uid: int
    gid: int
    size: int
    mtime: int
    link: str | None
    offset: int
    stored_size: int
    details: str | None

    @classmethod
    def parse(cls, path: str, source: str, image: str, content: str) -> EntryValues:
        """Return the entry of a row, by its column `_content`."""
        layer, type_, mode, uid, gid, size, seconds, nanoseconds, link, offset, stored_size, details = json.loads(
            content
        )
        mtime = (seconds or 0) * _NS_PER_SECOND + nanoseconds
        return cls(
            path, source, image, Digest(layer), type_, mode or 0, uid or 0, gid or 0, size or 0, mtime, link,
            offset or 0, stored_size or 0, details,
        )  # fmt: skip

    @property
    def type_name(self) -> str:
        """The type, as the field `type` has it."""
        return NAMES[self.type]

    @property
    def has_content(self) -> bool:
        """Whether it is a file, or a further name of one."""
        return _TAR_TYPES.get(self.type) == "file"

    @property
    def content_path(self) -> str:
        """The path under which its layer has the content."""
        return self.link if self.type == HARD_LINK and self.link else self.path

    @property
    def stored_content(self) -> StoredContent:
        """Where the archive of the layer has the content."""
        return StoredContent(self.offset, self.stored_size, self.size, self.details)

    def make_tar_entry(self) -> TarEntry:
        """Return the entry of an archive that has this file alone. Sparse files become ordinary ones."""
        details = json.loads(self.details) if self.details else {}
        size = self.size if self.has_content else 0
        return TarEntry(
            path=to_path(self.path).lstrip("/"), type=_TAR_TYPES[self.type], size=size, real_size=size, mode=self.mode,
            uid=self.uid, gid=self.gid, uname="", gname="", mtime=self.mtime,
            link_target=to_path(self.link or "") if self.type == SYMLINK else "",
            xattrs=tuple((to_path(name), bytes.fromhex(value)) for name, value in details.get("xattrs", {}).items()),
            device=tuple(details.get("device", (0, 0))), offset=0,
        )  # fmt: skip


class _Spool:
    """Writes a content to a file. The holes of a sparse file stay holes."""

    def __init__(self, file: SpooledTemporaryFile[bytes]) -> None:
        self._file = file
        self.write = file.write

    def skip(self, size: int) -> None:
        """Leave a hole."""
        self._file.rollover()
        self._file.seek(size, os.SEEK_CUR)
        self._file.truncate()


class ContentSpools:
    """Keeps the contents of rows until their layer is verified, small ones in memory."""

    def __init__(self) -> None:
        self._files: dict[int, SpooledTemporaryFile[bytes]] = {}

    def open_sinks(self, row: int) -> Iterable[ContentSink]:
        """Return an empty file for the content of a row."""
        file = self._files.get(row)
        if file is None:
            file = self._files[row] = SpooledTemporaryFile(_MAX_IN_MEMORY)  # noqa: SIM115 - closed in `pass_on`
        file.seek(0)
        file.truncate()
        return (_Spool(file),)

    def take(self, row: int) -> IO[bytes]:
        """Return the file with the content of a row, which the caller closes."""
        file = self._files.pop(row)
        file.seek(0)
        return file

    def pass_on(self, row: int, sink: ContentSink) -> None:
        """Write the content of a row to its sink."""
        with self.take(row) as file:
            while piece := file.read(_PIECE):
                sink.write(piece)


def read_entries(contents: LayerContents, entries: Sequence[tuple[EntryValues, ContentSink]]) -> None:
    """Write the content of each entry of one image to its sink, in one pass over each layer, which is verified before.

    Raises `DigestMismatch` for a layer that is not the one of the config, and `NotFound` when the image has gone.
    """
    if not entries:
        return
    image = find_image(contents, entries[0][0].source, entries[0][0].image)
    by_layer: dict[Digest, list[int]] = {}
    for row, (entry, _) in enumerate(entries):
        by_layer.setdefault(entry.layer, []).append(row)
    for layer, rows in by_layer.items():
        spools = ContentSpools()
        parts = [(row, entries[row][0].content_path, entries[row][0].stored_content) for row in rows]
        read_contents_of(contents, image, layer, parts, spools)
        for row in rows:
            spools.pass_on(row, entries[row][1])


def find_image(contents: LayerContents, source: str, image_id: str) -> ImageLayers:
    """Return the layers of an image in a source, by its ID. Raises `NotFound` when it has gone."""
    from imq.engine.catalog.tables import TABLES
    from imq.engine.query.source import SourceRef

    refs = (SourceRef(source, source),)
    request = ScanRequest("", TABLES["files"], (), refs, ("id", "source"))
    for image in contents.list_images(request, [(image_id, source)]):
        return image
    raise NotFound(f"the image {image_id[:19]} is no longer in {source}", code="changed")
