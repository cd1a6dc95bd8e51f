"""The files of a stack of layers as one archive, as `docker export` gives those of a container.

The layers are gone through twice. The first time everything is drawn: what there is in the end, and which entry each
thing is of; all is checked before a byte is written. The second time what was found to stay is written as it comes, so
that nothing is unpacked to a disk and nothing but names is kept. Sparse files stay sparse. Hard links stand behind the
files, and folders behind all, the deepest first: tar gives a folder its mode and time when it meets it, and later files
would change both.
"""

from __future__ import annotations

import os
import stat
import tarfile

from imq.grammar.errors import Malformed
from imq.grammar.record import TYPE_CHECKING

from .file_metadata import HOST_ATTRIBUTES, owner_of
from .overlay import Layering, UnpackLimits, laid
from .rooted_fs import Places
from .tar_header import BLOCK
from .tar_sparse import SparseContent, map_of
from .tar_walker import TarWalker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from .layer_stack import StackedLayer
    from .tar_walker import Entry

_IMPLIED = 0o755
"""The mode of folders that no entry tells of."""
_LONGEST_NAME, _LONGEST_PATH = 255, 4095
"""Bytes: what Linux takes."""
_SECOND = 1_000_000_000
_RECORD = 20 * BLOCK
"""What archives are filled up to."""
_TYPES = {
    "file": tarfile.REGTYPE, "symlink": tarfile.SYMTYPE, "char": tarfile.CHRTYPE, "block": tarfile.BLKTYPE,
    "fifo": tarfile.FIFOTYPE, "directory": tarfile.DIRTYPE,
}  # fmt: skip


class _Thing:
    """What has one or more names and is no folder: the number of the entry that it is of, and where a link leads."""

    __slots__ = ("mode", "number", "target")

    def __init__(self, number: int, mode: int, target: str) -> None:
        self.number = number
        self.mode = mode
        self.target = target


class _Drawing(Places):
    """Folders by their places; None stands for a folder in a folder."""

    def __init__(self, most_depth: int) -> None:
        super().__init__(most_depth)
        self.folders: dict[str, dict[str, _Thing | None]] = {"": {}}

    def enter(self, place: str) -> None:
        if place not in self.folders:
            raise FileNotFoundError

    def look(self, place: str, name: str) -> int | None:
        folder = self.folders[place]
        if name not in folder:
            return None
        thing = folder[name]
        return stat.S_IFDIR if thing is None else thing.mode

    def names(self, place: str) -> list[str]:
        return list(self.folders[place])

    def make_folder(self, place: str, name: str) -> None:
        self.folders[place][name] = None
        self.folders[_below(place, name)] = {}

    def read_link(self, place: str, name: str) -> str:
        thing = self.folders[place][name]
        assert thing is not None
        return thing.target

    def remove(self, place: str, name: str, gone: Callable[[str], None]) -> None:
        if self.folders[place].pop(name) is not None:
            return
        whole = _below(place, name)
        for inner in self.names(whole):
            self.remove(whole, inner, gone)
        del self.folders[whole]
        gone(whole)


def _below(place: str, name: str) -> str:
    return f"{place}/{name}" if place else name


class _Drawer(Layering):
    """Draws what layers make together."""

    def __init__(self, drawing: _Drawing, limits: UnpackLimits) -> None:
        super().__init__(drawing, limits)
        self._drawing = drawing
        self._makers = {
            "file": self._draw_file,
            "directory": self._draw_folder,
            "symlink": self._draw,
            "link": self._draw_link,
            "char": self._draw_device,
            "block": self._draw_device,
            "fifo": self._draw,
        }

    def described(self, place: str) -> Entry | None:
        """Return the last entry of a folder; None when none tells of it."""
        return self._folders.get(place)

    def things(self) -> dict[int, list[str]]:
        """Return the paths of what is no folder, by the number of its entry."""
        paths: dict[int, list[str]] = {}
        for place, folder in self._drawing.folders.items():
            for name, thing in folder.items():
                if thing is not None:
                    paths.setdefault(thing.number, []).append(_below(place, name))
        for names in paths.values():
            names.sort()
        return paths

    def _put(self, place: str, name: str, thing: _Thing) -> None:
        if self._drawing.look(place, name) is not None:
            self._clear(place, name)
        self._drawing.folders[place][name] = thing

    def _draw(self, entry: Entry, place: str, name: str) -> None:
        _check_name(name, entry)
        if len(os.fsencode(entry.link_target)) > _LONGEST_PATH:
            raise Malformed(f"{entry.path[:200]!r} cannot be made: it leads too far", code="path")
        mode = {"symlink": stat.S_IFLNK, "fifo": stat.S_IFIFO}.get(entry.type, stat.S_IFREG)
        owner_of(entry)
        self._put(place, name, _Thing(self.entries, mode, entry.link_target))

    def _draw_file(self, entry: Entry, place: str, name: str) -> None:
        self._declare(entry)
        self._draw(entry, place, name)

    def _draw_device(self, entry: Entry, place: str, name: str) -> None:
        try:
            os.makedev(*entry.device)
        except (OverflowError, ValueError):
            raise Malformed(f"{entry.path!r} is a device of impossible numbers", code="device") from None
        self._draw(entry, place, name)

    def _draw_folder(self, entry: Entry, place: str, name: str) -> None:
        found = self._drawing.look(place, name)
        if found is not None and not stat.S_ISDIR(found):
            self._clear(place, name)
            found = None
        if found is None:
            self._drawing.make_folder(place, name)
        _check_name(name, entry)
        owner_of(entry)
        self._folders[_below(place, name)] = entry

    def _draw_link(self, entry: Entry, place: str, name: str) -> None:
        _check_name(name, entry)
        above, linked = self._linked(entry)
        thing = self._drawing.folders[above][linked]
        assert thing is not None
        if (above, linked) != (place, name):
            self._put(place, name, thing)


def _check_name(name: str, entry: Entry) -> None:
    if len(os.fsencode(name)) > _LONGEST_NAME:
        raise Malformed(f"{entry.path[:200]!r} cannot be made: its name is too long", code="path")


class _Writer:
    """Writes what stays of the layers, as they come by for the second time. `paths` is what `_Drawer.things` told."""

    def __init__(self, paths: Mapping[int, list[str]], limits: UnpackLimits) -> None:
        self.written: list[bytes | memoryview] = []
        self.size = 0
        self.links: list[tuple[str, str, Entry]] = []
        self._paths = paths
        self._limits = limits
        self._number = 0
        self._left = 0  # bytes of the content that are still to come,
        self._padding = 0  # and of the zeros behind it
        self._sparse: SparseContent | None = None
        self._begin_layer()

    def _begin_layer(self) -> None:
        self._walker = TarWalker(self._take, self._limits.layer.archive)
        self._fed = 0

    def feed(self, piece: bytes | memoryview) -> None:
        """Take the next piece of the current layer's archive."""
        self._piece, self._start = memoryview(piece), self._fed
        self._fed += len(piece)
        if self._left:
            self._pour(0)
        self._walker.feed(piece)

    def end_layer(self) -> None:
        """Take note that the current layer is whole."""
        self._walker.finish()
        self._begin_layer()

    def _take(self, entry: Entry) -> None:
        self._number += 1
        names = self._paths.get(self._number)
        if names is None:
            return
        first, *others = names
        self.links += [(name, first, entry) for name in others]
        where = map_of(entry.segments) if entry.segments is not None and not entry.map_in_content else b""
        self.written += [header(entry, first, before=len(where)), where]
        if entry.type != "file":
            return
        self._left, self._padding = entry.size, -(len(where) + entry.size) % BLOCK
        self.size += entry.real_size
        if is_sparse(entry):
            self._sparse = SparseContent(lambda view, _offset: len(view), entry)  # which checks the map
        self._pour(entry.offset - self._start)

    def _pour(self, position: int) -> None:
        """Write what the piece has of the content, from `position` on, and fill up the file when that was all."""
        content = self._piece[position : position + self._left]
        self._left -= len(content)
        if self._sparse is not None:
            self._sparse.write(content)
        self.written.append(content)
        if self._left:
            return
        if self._sparse is not None:
            self._sparse.finish()
            self._sparse = None
        self.written.append(bytes(self._padding))

    def taken(self) -> list[bytes | memoryview]:
        """Return what has been written since this was last called."""
        written, self.written = self.written, []
        return written


class FlatArchive:
    """The archive of a stack of layers, bottom first. `size` and `entries` are known when all pieces were taken.

    Raises as `unpack_layers` does, nearly all of it before the first piece.
    """

    def __init__(self, layers: Sequence[StackedLayer], limits: UnpackLimits | None = None) -> None:
        self.size = 0
        """Bytes of all files."""
        self.entries = 0
        self._layers = layers
        self._limits = limits or UnpackLimits()

    def pieces(self) -> Iterator[bytes | memoryview]:
        """Yield the archive; each piece is to be used before the next is asked for."""
        drawing = _Drawing(self._limits.most_depth)
        drawer = _Drawer(drawing, self._limits)
        for _ in laid(self._layers, drawer, self._limits.layer):
            pass
        written = 0
        for piece in self._all(drawing, drawer):
            written += len(piece)
            yield piece
        yield bytes(2 * BLOCK + -(written + 2 * BLOCK) % _RECORD)

    def _all(self, drawing: _Drawing, drawer: _Drawer) -> Iterator[bytes | memoryview]:
        paths = drawer.things()
        folders = sorted(place for place in drawing.folders if place)
        self.entries = len(folders) + sum(map(len, paths.values()))
        writer = _Writer(paths, self._limits)
        for _ in laid(self._layers, writer, self._limits.layer):
            yield from writer.taken()
        self.size = writer.size
        for name, first, entry in writer.links:
            yield header(entry, name, link=first)
        for place in reversed(folders):
            yield header(drawer.described(place), place)


def is_sparse(entry: Entry) -> bool:
    """Whether an entry says where its content lies in a larger file."""
    return entry.segments is not None or entry.map_in_content


def header(entry: Entry | None, path: str, *, link: str = "", before: int = 0) -> bytes:
    """Return what stands before the content of an entry under another path; None: a folder that no entry tells of.

    A sparse file stays one, in format 1.0: `before` are the bytes of a map that is put before its content.
    """
    info = tarfile.TarInfo(path)
    if entry is None:
        info.type, info.mode = tarfile.DIRTYPE, _IMPLIED
        return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
    info.type = tarfile.LNKTYPE if link else _TYPES[entry.type]
    info.linkname = link or (entry.link_target if entry.type == "symlink" else "")
    info.size = before + entry.size if entry.type == "file" and not link else 0
    info.mode = entry.mode
    info.uid, info.gid = owner_of(entry)
    if entry.type in ("char", "block"):
        info.devmajor, info.devminor = entry.device
    info.mtime, rest = divmod(entry.mtime, _SECOND)
    records = (
        {}
        if link
        else {
            f"SCHILY.xattr.{name}": value.decode("utf-8", "surrogateescape")
            for name, value in entry.xattrs
            if not name.startswith(HOST_ATTRIBUTES)
        }
    )
    if is_sparse(entry) and not link:
        above, _, name = path.rpartition("/")
        info.name = f"{above}/GNUSparseFile.0/{name}".lstrip("/")
        records |= {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": path}
        records["GNU.sparse.realsize"] = str(entry.real_size)
    if rest:
        records["mtime"] = f"{info.mtime}.{rest:09}"
    info.pax_headers = records
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
