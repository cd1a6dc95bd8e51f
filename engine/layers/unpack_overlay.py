"""Unpacks one layer to a folder that overlayfs takes as a layer: its whiteouts become devices and attributes.

Such a folder does not depend on the layers below it, so images share it. As in docker, a hard link to a file of a lower
layer is refused. A folder that has files but no entry in the layer gets the mode 0755.
"""

from __future__ import annotations

import os
import stat

from imq.grammar.record import TYPE_CHECKING

from .file_metadata import MetadataWriter
from .overlay import UnpackLimits, apply_layers
from .remove_tree import remove_tree
from .rooted_fs import RootedDirectory
from .unpack import TreeWriter, UnpackResult, lock, make_private
from .whiteout import OPAQUE, OPAQUE_VALUE, WHITEOUT_DEVICE, opaque_attribute

if TYPE_CHECKING:
    from .layer_stack import StackedLayer
    from .tar_entry import TarEntry

_WHITEOUT_MODE = stat.S_IFCHR


def unpack_overlay_layer(layer: StackedLayer, directory: str, limits: UnpackLimits | None = None) -> UnpackResult:
    """Create the folder and unpack one layer into it. After an error the folder is removed.

    It needs root; root of a user namespace is enough.

    Raises the errors of `unpack_layers`.
    """
    limits = limits or UnpackLimits()
    os.mkdir(directory, 0o700)
    try:
        creation_mask = make_private(directory)
        with RootedDirectory(directory, limits.max_depth) as root:
            lock(root.open_directory(""))
            metadata = MetadataWriter(privileged=True, creation_mask=creation_mask)
            writer = _OverlayLayerWriter(root, metadata, limits)
            try:
                for _ in apply_layers((layer,), writer, limits.layer):
                    pass
            finally:
                writer.close()
            writer.apply_directory_metadata()
            writer.mark_opaque_directories()
    except BaseException:
        remove_tree(directory)
        raise
    return UnpackResult(writer.size, writer.entries, tuple(sorted(metadata.skipped.items())))


class _OverlayLayerWriter(TreeWriter):
    """Writes one layer, with whiteouts as overlayfs has them."""

    def __init__(self, root: RootedDirectory, metadata: MetadataWriter, limits: UnpackLimits) -> None:
        super().__init__(root, metadata, limits)
        self._opaque_directories: set[str] = set()
        self._whiteouts: set[tuple[str, str]] = set()

    def mark_opaque_directories(self) -> None:
        """Mark the folders that hide those of lower layers."""
        attribute = opaque_attribute()
        for directory in self._opaque_directories:
            os.setxattr(self._root.open_directory(directory), attribute, OPAQUE_VALUE)

    def _apply_whiteout(self, parent_path: str, name: str) -> None:
        parent = self._root.resolve(parent_path, self._on_implied_directory)
        assert parent is not None
        if name == OPAQUE:
            self._opaque_directories.add(parent)
        elif name in self._layer_names.get(parent, ()):  # the layer adds it too: only lower files are hidden
            mode = self._root.mode_of(parent, name)
            if mode is not None and stat.S_ISDIR(mode):
                self._opaque_directories.add(f"{parent}/{name}" if parent else name)
        elif (parent, name) not in self._whiteouts:
            device = os.makedev(WHITEOUT_DEVICE, WHITEOUT_DEVICE)
            os.mknod(name, _WHITEOUT_MODE, device, dir_fd=self._root.open_directory(parent))
            self._whiteouts.add((parent, name))

    def _make_directory(self, entry: TarEntry, parent: str, name: str) -> None:
        self._replace_whiteout(parent, name)
        super()._make_directory(entry, parent, name)

    def _replace_whiteout(self, parent: str, name: str) -> None:
        """Make a folder that replaces a whiteout of the same layer opaque."""
        if (parent, name) in self._whiteouts:
            self._whiteouts.discard((parent, name))
            self._opaque_directories.add(f"{parent}/{name}" if parent else name)

    def _on_removed(self, directory: str) -> None:
        super()._on_removed(directory)
        self._opaque_directories.discard(directory)
