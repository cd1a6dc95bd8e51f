"""The scan of the table `archive_files`: the files that images show, and the members of the archives among them.

An archive is read once for each layer that has it, whatever images have the layer.
"""

from __future__ import annotations

from imq.engine.layer_index.contents import StoredContent
from imq.engine.layer_index.entry_types import FILE
from imq.engine.layer_index.path_text import to_text
from imq.engine.layer_index.schema import SCHEMA
from imq.engine.oci.digest import Digest
from imq.grammar.errors import ImqError, Interrupted
from imq.grammar.record import TYPE_CHECKING

from .entry_values import ContentSpools
from .files import FileScan
from .reading import read_contents_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from imq.engine.layers.nested_archives import Member

_COLUMNS = (
    "_lookup", "image", "image_name", "source", "layer_index", "layer", "_number", "path", "name", "directory", "type",
    "size", "mode", "uid", "gid", "mtime", "link_target", "archive", "depth",
)  # fmt: skip
_CHUNK = 8
"""The most archives of a layer whose contents are held in temporary files at once."""


class ArchiveFileScan(FileScan):
    """The rows of `archive_files`."""

    takes_tables = False
    hidden = ("_lookup",)

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.view_fields = {"depth": "coalesce(t.depth, 0)"}
        self.fetched_columns = ("archive", "depth")

    def insert_rows(self) -> None:
        """Insert the files of the images, and then the members of archives."""
        super().insert_rows()
        by_layer: dict[int, dict[tuple[str, StoredContent], list[tuple[int, int]]]] = {}
        for layer, path, number, position, *place in self._list_archives():
            key = path, StoredContent(*place)
            by_layer.setdefault(layer, {}).setdefault(key, []).append((number, position))
        for layer, archives in by_layer.items():
            (diff_id,) = self.connection.execute(
                f"SELECT diff_id FROM {SCHEMA}.layer WHERE key = ?", (layer,)
            ).fetchone()
            items = list(archives.items())
            for at in range(0, len(items), _CHUNK):
                self._read_archives(Digest(diff_id), items[at : at + _CHUNK])

    def _list_archives(self) -> Iterator[tuple[Any, ...]]:
        """Yield the files that images show and that may be archives: the layer, the path, the image and the place."""
        from imq.engine.layers.nested_archives import ENDINGS

        hidden = self.write_hidden("1", "entry.layer", "entry.directory", "entry.name")
        has_ending = " OR ".join(f"lower(entry.name) LIKE '%{ending}'" for ending in ENDINGS)
        yield from self.connection.execute(
            f"""SELECT entry.layer, directory.path || '/' || entry.name, stack.number, stack.position, entry.offset,
                coalesce(entry.stored_size, entry.size), entry.size, entry.details
            FROM temp.{self.stack} AS stack CROSS JOIN {SCHEMA}.entry ON entry.layer = stack.layer
                AND entry.type = {FILE} AND ({has_ending})
            CROSS JOIN {SCHEMA}.directory ON directory.key = entry.directory WHERE NOT EXISTS ({hidden})"""
        ).fetchall()

    def _read_archives(
        self, diff_id: Digest, archives: list[tuple[tuple[str, StoredContent], list[tuple[int, int]]]]
    ) -> None:
        """Insert the members of archives of one layer, for each image that shows them."""
        from imq.engine.layers.nested_archives import list_members

        image = self.images[archives[0][1][0][0]]
        spools = ContentSpools()
        contents = [(row, path, content) for row, ((path, content), _) in enumerate(archives)]
        try:
            read_contents_of(self.contents, image, diff_id, contents, spools)
        except Interrupted:
            raise
        except ImqError as error:
            for number in {number for _, places in archives for number, _ in places}:
                self.add_unread(self.images[number], error, is_only=len(self.images) == 1)
            return
        for row, ((path, _), places) in enumerate(archives):
            with spools.take(row) as file:
                self.connection.execute("SAVEPOINT members")
                try:
                    for member in list_members(file, path):
                        self._insert_member(path, member, diff_id, places)
                except Interrupted:
                    raise
                except ImqError as error:
                    for number, _ in places:
                        self.add_unread(self.images[number], error)
                finally:
                    self.connection.execute("RELEASE members")

    def _insert_member(self, archive: str, member: Member, diff_id: Digest, places: list[tuple[int, int]]) -> None:
        """Insert a member of an archive, for each image and position of the layer."""
        inner = to_text(member.path)
        path = f"{archive}!/{inner}"
        directory, _, name = path.rpartition("/")
        mode = None if member.mode is None else f"{member.mode:04o}"
        target = None if member.link_target is None else to_text(member.link_target)
        about = (
            path, name, directory, member.type, member.size, mode, member.uid, member.gid, member.mtime, target,
            archive, member.depth,
        )  # fmt: skip
        names = ", ".join(f'"{name}"' for name in _COLUMNS)
        self.connection.executemany(
            f"INSERT INTO temp.{self.rows} ({names}) VALUES ({', '.join('?' * len(_COLUMNS))})",
            [
                (image.lookup, image.id, image.name, image.source, position, diff_id, number, *about)
                for number, position in places
                for image in (self.images[number],)
            ],
        )
