"""Laying the layers of an image over each other, entry by entry: what each brings, and what it hides of those below.

What things are made of is the matter of who derives from `Layering`: files of a folder, or a drawing of them.
"""

from __future__ import annotations

import errno
import stat

from imq.grammar.errors import ImqError, Malformed
from imq.grammar.record import TYPE_CHECKING, Record

from .layer_reader import LayerLimits
from .layer_stack import iter_unpacked, with_layer_context
from .rooted_fs import MAX_DEPTH, clean_path
from .tar_walker import TarWalker
from .whiteout import OPAQUE, is_aufs_metadata, whiteout_target

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Protocol

    from .layer_stack import StackedLayer
    from .rooted_fs import DirectoryTree
    from .tar_entry import TarEntry

    class LayerSink(Protocol):
        """What takes the pieces of layers."""

        def feed(self, piece: bytes | memoryview, /) -> None:
            """Take the next piece of the current layer's archive."""

        def end_layer(self) -> None:
            """Take note that the current layer is whole."""


_INVALID_ENTRY_ERRNOS = frozenset(
    {errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ, errno.ENOENT, errno.ELOOP, errno.ENOTDIR}
)
"""What the kernel says to names and numbers that cannot be: the archive is wrong, not the disk."""


_MAX_FILE_SIZE = 16 << 40
"""Bytes: what ext4 takes, holes counted."""


class UnpackLimits(Record):
    """How much a whole image may ask for before it is refused; each layer has limits beside."""

    max_bytes: int = 64 << 30
    """Bytes of all files, without the holes of sparse ones."""
    max_entries: int = 4_000_000
    max_depth: int = MAX_DEPTH
    """Names in a path; a descriptor is open for each. At most 200."""
    layer: LayerLimits = LayerLimits()


class OverlayApplier:
    """Layers that are laid into `places`, one after the other. `_makers` make what an entry says, by its type."""

    def __init__(self, tree: DirectoryTree, limits: UnpackLimits) -> None:
        self.entries = 0
        self._tree = tree
        self._limits = limits
        self._directory_entries: dict[str, TarEntry] = {}  # by their places; what is to be said of them in the end
        self._content_size = 0  # bytes of files
        self._parent_path, self._parent = "", ""  # the folder of the last entry, as the archive and as the disk has it
        self._handlers: dict[str, Callable[[TarEntry, str, str], None]] = {}
        self._begin_layer()

    def _begin_layer(self) -> None:
        self._walker = TarWalker(self._apply, self._limits.layer.archive)
        self._layer_names: dict[str, set[str]] = {}  # what this layer has brought, which its whiteouts do not hide
        self._opaque: set[str] = set()  # folders that have nothing of lower layers any more

    def feed(self, piece: bytes | memoryview) -> None:
        """Take the next piece of the current layer's archive."""
        self._walker.feed(piece)

    def end_layer(self) -> None:
        """Say that the current layer is whole; raises when its archive is not."""
        self._walker.finish()
        self._begin_layer()

    def _apply(self, entry: TarEntry) -> None:
        self.entries += 1
        if self.entries > self._limits.max_entries:
            raise Malformed(f"the image has more than {self._limits.max_entries:,} entries", code="bomb")
        try:
            self._apply_entry(entry)
        except OSError as error:
            if error.errno in _INVALID_ENTRY_ERRNOS:
                raise Malformed(f"{entry.path[:200]!r} cannot be made: {error.strerror}", code="path") from None
            raise

    def _apply_entry(self, entry: TarEntry) -> None:
        path = clean_path(entry.path, self._limits.max_depth)
        parent_path, _, name = path.rpartition("/")
        if ".wh." in path:
            if is_aufs_metadata(path):
                return
            hidden = whiteout_target(name)
            if hidden is not None:
                self._apply_whiteout(parent_path, hidden)
                return
        if not name:
            if entry.type != "directory":
                raise Malformed(f"{entry.path!r} would put a {entry.type} in the root's place", code="path")
            self._directory_entries[""] = entry
            return
        if parent_path != self._parent_path or not parent_path:
            parent = self._tree.resolve(parent_path, self._on_implied_directory)
            assert parent is not None
            self._parent_path, self._parent = parent_path, parent
        layer_names = self._layer_names.get(self._parent)
        if layer_names is None:
            layer_names = self._record_directory(self._parent)
        layer_names.add(name)
        handler = self._handlers.get(entry.type)
        if handler is None:
            raise Malformed(f"{entry.path!r} is of a type that no file has", code="entry-type")
        handler(entry, self._parent, name)

    def _record_directory(self, directory: str) -> set[str]:
        """Note that this layer has something in a folder, and so the folder itself and those above."""
        names = self._layer_names[directory] = set()
        while directory:
            directory, _, name = directory.rpartition("/")
            known = self._layer_names.get(directory)
            self._layer_names.setdefault(directory, set()).add(name)
            if known is not None:
                break
        return names

    def _count_content(self, entry: TarEntry) -> None:
        """Count the bytes of a file: what it holds, without the holes of a sparse one."""
        if entry.real_size > _MAX_FILE_SIZE:
            raise Malformed(f"{entry.path[:200]!r} is a file of {entry.real_size:,} bytes", code="bomb")
        self._content_size += entry.size
        if self._content_size > self._limits.max_bytes:
            raise Malformed(f"the image unpacks to more than {self._limits.max_bytes:,} bytes", code="bomb")

    def _resolve_hard_link(self, entry: TarEntry) -> tuple[str, str]:
        """Return the place and the name of what a hard link is to."""
        target = clean_path(entry.link_target, self._limits.max_depth, clamp=True)
        parent_path, _, target_name = target.rpartition("/")
        parent = self._tree.resolve(parent_path)
        mode = self._tree.mode_of(parent, target_name) if parent is not None and target_name else None
        if parent is None or mode is None or stat.S_ISDIR(mode):
            raise Malformed(f"{entry.path!r} is a hard link to {target!r}, which is no file here", code="link-target")
        return parent, target_name

    def _remove(self, directory: str, name: str) -> None:
        self._parent_path, self._parent = "", ""  # it may go through what is removed
        self._tree.remove(directory, name, self._on_removed)

    def _on_removed(self, directory: str) -> None:
        """Take note that a folder is gone."""
        self._directory_entries.pop(directory, None)
        self._layer_names.pop(directory, None)
        self._opaque.discard(directory)

    def _on_implied_directory(self, directory: str) -> None:
        """Take note of a folder that was made on the way, and that no entry tells of."""

    def _apply_whiteout(self, parent_path: str, name: str) -> None:
        """Remove what lower layers have under a name, or (`OPAQUE`) everything that they have in its folder."""
        parent = self._tree.resolve(parent_path)
        if parent is None:
            return
        if name == OPAQUE:
            self._remove_lower(parent)
            return
        mode = self._tree.mode_of(parent, name)
        if mode is None:
            return
        if name not in self._layer_names.get(parent, ()):
            self._remove(parent, name)
        elif stat.S_ISDIR(mode):
            self._remove_lower(f"{parent}/{name}" if parent else name)

    def _remove_lower(self, directory: str) -> None:
        if directory in self._opaque:
            return
        self._opaque.add(directory)
        layer_names = self._layer_names.get(directory, ())
        for name in self._tree.list_names(directory):
            if name not in layer_names:
                self._remove(directory, name)
                continue
            mode = self._tree.mode_of(directory, name)
            if mode is not None and stat.S_ISDIR(mode):
                self._remove_lower(f"{directory}/{name}" if directory else name)


def apply_layers(layers: Sequence[StackedLayer], sink: LayerSink, limits: LayerLimits) -> Iterator[None]:
    """Feed the pieces of the layers to `taker`, bottom first, and yield after each; errors name the layer."""
    pieces = iter_unpacked(layers, limits)
    remaining = iter(layers)
    layer = next(remaining, None)
    try:
        for piece in pieces:
            if piece is not None:
                sink.feed(piece)
            else:
                sink.end_layer()
                layer = next(remaining, None)
            yield
    except ImqError as error:
        raise with_layer_context(layer, error) if layer is not None else error from None
    finally:
        pieces.close()
