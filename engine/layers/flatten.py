"""Flattens a stack of layers to one archive, like `docker export` does for a container.

The layers are read twice. The first pass plans the resulting tree, and which entry each file comes from; all errors are
raised before a byte is written. The second pass writes the files that remain, in the order of the layers. Nothing is
unpacked to disk, and only names are held in memory. Sparse files stay sparse. Hard links follow the files. Folders come
last, the deepest first: tar sets the time of a folder when it reads its entry, and later files would change it.
"""

from __future__ import annotations

import os
import stat

from imq.grammar.errors import Malformed
from imq.grammar.record import TYPE_CHECKING

from . import tar_writer
from .file_metadata import HOST_XATTRS, owner_of
from .overlay import OverlayApplier, UnpackLimits, apply_layers
from .rooted_fs import DirectoryTree
from .tar_header import BLOCK_SIZE
from .tar_sparse import SparseWriter, encode_map
from .tar_walker import TarWalker
from .tar_writer import TarHeader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from .layer_stack import StackedLayer
    from .tar_entry import TarEntry

_DEFAULT_DIRECTORY_MODE = 0o755
"""The mode of folders without an entry."""
_MAX_NAME, _MAX_PATH = 255, 4095
"""The limits of Linux in bytes."""
_NS_PER_SECOND = 1_000_000_000
_RECORD_SIZE = 20 * BLOCK_SIZE
"""Archives are padded to a multiple of this size."""
_TYPES = {
    "file": tar_writer.FILE, "symlink": tar_writer.SYMLINK, "char": tar_writer.CHAR, "block": tar_writer.BLOCK,
    "fifo": tar_writer.FIFO, "directory": tar_writer.DIRECTORY,
}  # fmt: skip


class _PlannedFile:
    """A file that is not a folder, with one or more names: the number of its entry, and the target of a link."""

    __slots__ = ("entry_number", "link_target", "mode")

    def __init__(self, entry_number: int, mode: int, link_target: str) -> None:
        self.entry_number = entry_number
        self.mode = mode
        self.link_target = link_target


class _PlannedTree(DirectoryTree):
    """Folders by path, with their children by name; None is a folder."""

    def __init__(self, max_depth: int) -> None:
        super().__init__(max_depth)
        self.directories: dict[str, dict[str, _PlannedFile | None]] = {"": {}}

    def require_directory(self, directory: str) -> None:
        if directory not in self.directories:
            raise FileNotFoundError

    def mode_of(self, directory: str, name: str) -> int | None:
        children = self.directories[directory]
        if name not in children:
            return None
        file = children[name]
        return stat.S_IFDIR if file is None else file.mode

    def list_names(self, directory: str) -> list[str]:
        return list(self.directories[directory])

    def make_directory(self, directory: str, name: str) -> None:
        self.directories[directory][name] = None
        self.directories[_join(directory, name)] = {}

    def read_link(self, directory: str, name: str) -> str:
        link = self.directories[directory][name]
        assert link is not None
        return link.link_target

    def remove(self, directory: str, name: str, on_removed: Callable[[str], None]) -> None:
        if self.directories[directory].pop(name) is not None:
            return
        path = _join(directory, name)
        for child in self.list_names(path):
            self.remove(path, child, on_removed)
        del self.directories[path]
        on_removed(path)


def _join(directory: str, name: str) -> str:
    return f"{directory}/{name}" if directory else name


class _TreePlanner(OverlayApplier):
    """Plans the tree that results from all layers."""

    def __init__(self, planned: _PlannedTree, limits: UnpackLimits) -> None:
        super().__init__(planned, limits)
        self._planned = planned
        self._handlers = {
            "file": self._plan_file,
            "directory": self._plan_directory,
            "symlink": self._plan,
            "link": self._plan_link,
            "char": self._plan_device,
            "block": self._plan_device,
            "fifo": self._plan,
        }

    def entry_of(self, directory: str) -> TarEntry | None:
        """Return the last entry of a folder; None when it has none."""
        return self._directory_entries.get(directory)

    def group_paths_by_entry(self) -> dict[int, list[str]]:
        """Return the paths of files that are not folders, by the number of their entry."""
        paths: dict[int, list[str]] = {}
        for directory, children in self._planned.directories.items():
            for name, file in children.items():
                if file is not None:
                    paths.setdefault(file.entry_number, []).append(_join(directory, name))
        for names in paths.values():
            names.sort()
        return paths

    def _add(self, directory: str, name: str, file: _PlannedFile) -> None:
        if self._planned.mode_of(directory, name) is not None:
            self._remove(directory, name)
        self._planned.directories[directory][name] = file

    def _plan(self, entry: TarEntry, directory: str, name: str) -> None:
        _check_name(name, entry)
        if len(os.fsencode(entry.link_target)) > _MAX_PATH:
            raise Malformed(f"{entry.path[:200]!r} cannot be created: the target of the link is too long", code="path")
        mode = {"symlink": stat.S_IFLNK, "fifo": stat.S_IFIFO}.get(entry.type, stat.S_IFREG)
        owner_of(entry)
        self._add(directory, name, _PlannedFile(self.entries, mode, entry.link_target))

    def _plan_file(self, entry: TarEntry, directory: str, name: str) -> None:
        self._count_content(entry)
        self._plan(entry, directory, name)

    def _plan_device(self, entry: TarEntry, directory: str, name: str) -> None:
        try:
            os.makedev(*entry.device)
        except (OverflowError, ValueError):
            raise Malformed(f"{entry.path!r} has invalid device numbers", code="device") from None
        self._plan(entry, directory, name)

    def _plan_directory(self, entry: TarEntry, directory: str, name: str) -> None:
        mode = self._planned.mode_of(directory, name)
        if mode is not None and not stat.S_ISDIR(mode):
            self._remove(directory, name)
            mode = None
        if mode is None:
            self._planned.make_directory(directory, name)
        _check_name(name, entry)
        owner_of(entry)
        self._directory_entries[_join(directory, name)] = entry

    def _plan_link(self, entry: TarEntry, directory: str, name: str) -> None:
        _check_name(name, entry)
        target_directory, target_name = self._resolve_hard_link(entry)
        file = self._planned.directories[target_directory][target_name]
        assert file is not None
        if (target_directory, target_name) != (directory, name):
            self._add(directory, name, file)


def _check_name(name: str, entry: TarEntry) -> None:
    if len(os.fsencode(name)) > _MAX_NAME:
        raise Malformed(f"{entry.path[:200]!r} cannot be created: its name is too long", code="path")


class _ArchiveWriter:
    """Writes the remaining files of the layers in the second pass; `paths` has their paths by entry number."""

    def __init__(self, paths: Mapping[int, list[str]], limits: UnpackLimits) -> None:
        self.pieces: list[bytes | memoryview] = []
        self.size = 0
        self.links: list[tuple[str, str, TarEntry]] = []
        self._paths = paths
        self._limits = limits
        self._entry_number = 0
        self._remaining = 0  # bytes of the content that are not written yet
        self._padding = 0  # bytes of zeros after it
        self._sparse: SparseWriter | None = None
        self._begin_layer()

    def _begin_layer(self) -> None:
        self._walker = TarWalker(self._write_entry, self._limits.layer.archive)
        self._offset = 0

    def feed(self, piece: bytes | memoryview) -> None:
        """Process the next piece of the current layer's archive."""
        self._piece, self._piece_offset = memoryview(piece), self._offset
        self._offset += len(piece)
        if self._remaining:
            self._write_content(0)
        self._walker.feed(piece)

    def end_layer(self) -> None:
        """End the current layer. Raises `Malformed` when its archive is incomplete."""
        self._walker.finish()
        self._begin_layer()

    def _write_entry(self, entry: TarEntry) -> None:
        self._entry_number += 1
        names = self._paths.get(self._entry_number)
        if names is None:
            return
        first, *others = names
        self.links += [(name, first, entry) for name in others]
        sparse_map = encode_map(entry.segments) if entry.segments is not None and not entry.map_in_content else b""
        self.pieces += [encode_header(entry, first, map_size=len(sparse_map)), sparse_map]
        if entry.type != "file":
            return
        self._remaining, self._padding = entry.size, -(len(sparse_map) + entry.size) % BLOCK_SIZE
        self.size += entry.real_size
        if is_sparse(entry):
            self._sparse = SparseWriter(lambda view, _offset: len(view), entry)  # which checks the map
        self._write_content(entry.offset - self._piece_offset)

    def _write_content(self, position: int) -> None:
        """Write the content in the current piece, from `position` on, and the padding at the end of the file."""
        content = self._piece[position : position + self._remaining]
        self._remaining -= len(content)
        if self._sparse is not None:
            self._sparse.write(content)
        self.pieces.append(content)
        if self._remaining:
            return
        if self._sparse is not None:
            self._sparse.finish()
            self._sparse = None
        self.pieces.append(bytes(self._padding))

    def take_pieces(self) -> list[bytes | memoryview]:
        """Return the bytes written since the last call."""
        pieces, self.pieces = self.pieces, []
        return pieces


class FlatArchive:
    """The archive of a stack of layers, bottom first. `size` and `entries` are valid after the last piece.

    Raises the errors of `unpack_layers`, nearly all of them before the first piece.
    """

    def __init__(self, layers: Sequence[StackedLayer], limits: UnpackLimits | None = None) -> None:
        self.size = 0
        """The size of all files in bytes."""
        self.entries = 0
        self._layers = layers
        self._limits = limits or UnpackLimits()

    def iter_pieces(self) -> Iterator[bytes | memoryview]:
        """Yield the pieces of the archive; each is valid until the next one is requested."""
        tree = _PlannedTree(self._limits.max_depth)
        planner = _TreePlanner(tree, self._limits)
        for _ in apply_layers(self._layers, planner, self._limits.layer):
            pass
        written = 0
        for piece in self._iter_entries(tree, planner):
            written += len(piece)
            yield piece
        yield bytes(2 * BLOCK_SIZE + -(written + 2 * BLOCK_SIZE) % _RECORD_SIZE)

    def _iter_entries(self, tree: _PlannedTree, planner: _TreePlanner) -> Iterator[bytes | memoryview]:
        paths = planner.group_paths_by_entry()
        directories = sorted(directory for directory in tree.directories if directory)
        self.entries = len(directories) + sum(map(len, paths.values()))
        writer = _ArchiveWriter(paths, self._limits)
        for _ in apply_layers(self._layers, writer, self._limits.layer):
            yield from writer.take_pieces()
        self.size = writer.size
        for name, first, entry in writer.links:
            yield encode_header(entry, name, link=first)
        for directory in reversed(directories):
            yield encode_header(planner.entry_of(directory), directory)


def is_sparse(entry: TarEntry) -> bool:
    """Whether an entry is a sparse file."""
    return entry.segments is not None or entry.map_in_content


def encode_header(entry: TarEntry | None, path: str, *, link: str = "", map_size: int = 0) -> bytes:
    """Return the headers of an entry under another path; None: a folder without an entry.

    A sparse file stays sparse, in format 1.0: `map_size` is the size in bytes of the map before its content.
    """
    if entry is None:
        header = TarHeader(path, tar_writer.DIRECTORY)
        header.mode = _DEFAULT_DIRECTORY_MODE
        return header.encode()
    header = TarHeader(path, tar_writer.HARD_LINK if link else _TYPES[entry.type])
    header.link_target = link or (entry.link_target if entry.type == "symlink" else "")
    header.size = map_size + entry.size if entry.type == "file" and not link else 0
    header.mode = entry.mode
    header.uid, header.gid = owner_of(entry)
    if entry.type in ("char", "block"):
        header.device = entry.device
    header.mtime, nanoseconds = divmod(entry.mtime, _NS_PER_SECOND)
    records = (
        {}
        if link
        else {
            f"SCHILY.xattr.{name}": value.decode("utf-8", "surrogateescape")
            for name, value in entry.xattrs
            if not name.startswith(HOST_XATTRS)
        }
    )
    if is_sparse(entry) and not link:
        parent, _, name = path.rpartition("/")
        header.name = f"{parent}/GNUSparseFile.0/{name}".lstrip("/")
        records |= {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": path}
        records["GNU.sparse.realsize"] = str(entry.real_size)
    if nanoseconds:
        records["mtime"] = f"{header.mtime}.{nanoseconds:09}"
    header.records = records
    return header.encode()
