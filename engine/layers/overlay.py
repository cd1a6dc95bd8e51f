"""Applies the layers of an image to a tree, entry by entry: each adds files, and its whiteouts hide lower ones.

Subclasses of `OverlayApplier` create the files: in a folder, or in a plan of the tree.
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
        """A consumer of the pieces of layers."""

        def feed(self, piece: bytes | memoryview, /) -> None:
            """Process the next piece of the current layer's archive."""

        def end_layer(self) -> None:
            """End the current layer. Raises `Malformed` when its archive is incomplete."""


_INVALID_ENTRY_ERRNOS = frozenset(
    {errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ, errno.ENOENT, errno.ELOOP, errno.ENOTDIR}
)
"""Errors of the kernel for invalid names and numbers: the archive is at fault, not the disk."""


_MAX_FILE_SIZE = 16 << 40
"""The limit of ext4 in bytes, holes included."""


class UnpackLimits(Record):
    """The limits of a whole image, in addition to those of each layer."""

    max_bytes: int = 64 << 30
    """The size of all files in bytes, without the holes of sparse files."""
    max_entries: int = 4_000_000
    max_depth: int = MAX_DEPTH
    """The number of names in a path; a descriptor is open for each. At most 200."""
    layer: LayerLimits = LayerLimits()


class OverlayApplier:
    """Applies layers to `tree`, one after the other. `_handlers` create the file of an entry, by the type of entry."""

    def __init__(self, tree: DirectoryTree, limits: UnpackLimits) -> None:
        self.entries = 0
        self._tree = tree
        self._limits = limits
        self._directory_entries: dict[str, TarEntry] = {}  # by resolved path; their metadata is set at the end
        self._content_size = 0  # bytes of files
        self._parent_path, self._parent = "", ""  # the folder of the last entry: its path in the archive, and resolved
        self._handlers: dict[str, Callable[[TarEntry, str, str], None]] = {}
        self._begin_layer()

    def _begin_layer(self) -> None:
        self._walker = TarWalker(self._apply, self._limits.layer.archive)
        self._layer_names: dict[str, set[str]] = {}  # names added by this layer, which its whiteouts do not hide
        self._opaque: set[str] = set()  # folders without files of lower layers

    def feed(self, piece: bytes | memoryview) -> None:
        """Process the next piece of the current layer's archive."""
        self._walker.feed(piece)

    def end_layer(self) -> None:
        """End the current layer. Raises `Malformed` when its archive is incomplete."""
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
                raise Malformed(f"{entry.path[:200]!r} cannot be created: {error.strerror}", code="path") from None
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
                raise Malformed(f"{entry.path!r} would replace the root by a {entry.type}", code="path")
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
            raise Malformed(f"{entry.path!r} has an unknown entry type", code="entry-type")
        handler(entry, self._parent, name)

    def _record_directory(self, directory: str) -> set[str]:
        """Record that this layer adds files to a folder, and so also the folder and its parents."""
        names = self._layer_names[directory] = set()
        while directory:
            directory, _, name = directory.rpartition("/")
            known = self._layer_names.get(directory)
            self._layer_names.setdefault(directory, set()).add(name)
            if known is not None:
                break
        return names

    def _count_content(self, entry: TarEntry) -> None:
        """Count the bytes of a file, without the holes of a sparse file."""
        if entry.real_size > _MAX_FILE_SIZE:
            raise Malformed(f"{entry.path[:200]!r} is too large: {entry.real_size:,} bytes", code="bomb")
        self._content_size += entry.size
        if self._content_size > self._limits.max_bytes:
            raise Malformed(f"the image unpacks to more than {self._limits.max_bytes:,} bytes", code="bomb")

    def _resolve_hard_link(self, entry: TarEntry) -> tuple[str, str]:
        """Return the folder and the name of the target of a hard link."""
        target = clean_path(entry.link_target, self._limits.max_depth, clamp=True)
        parent_path, _, target_name = target.rpartition("/")
        parent = self._tree.resolve(parent_path)
        mode = self._tree.mode_of(parent, target_name) if parent is not None and target_name else None
        if parent is None or mode is None or stat.S_ISDIR(mode):
            raise Malformed(f"{entry.path!r} is a hard link to {target!r}, which is not a file", code="link-target")
        return parent, target_name

    def _remove(self, directory: str, name: str) -> None:
        self._parent_path, self._parent = "", ""  # its path may contain the removed name
        self._tree.remove(directory, name, self._on_removed)

    def _on_removed(self, directory: str) -> None:
        """Forget a removed folder."""
        self._directory_entries.pop(directory, None)
        self._layer_names.pop(directory, None)
        self._opaque.discard(directory)

    def _on_implied_directory(self, directory: str) -> None:
        """Handle a folder that was created for a path, without an entry of its own."""

    def _apply_whiteout(self, parent_path: str, name: str) -> None:
        """Remove a file of lower layers; for `OPAQUE`, all files of lower layers in the folder."""
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
    """Feed the pieces of the layers to `sink`, bottom first, and yield after each. Errors name the layer."""
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
