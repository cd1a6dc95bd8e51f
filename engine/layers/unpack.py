"""Unpacks a stack of untrusted layers to a folder.

All operations stay inside of the folder (see `rooted_fs`), and no other user can read it until it is complete. Folders
in it get their mode, owner and time last, so that files can be added to read-only folders, and times do not change.
A thread reads, decompresses and hashes ahead; this one makes four or five system calls for a file. Long runs of zeros
become holes, so that they take no space on the disk.
"""

from __future__ import annotations

import fcntl
import os
import stat

from imq.engine.atomic_writer import is_hole
from imq.grammar.errors import Malformed
from imq.grammar.record import TYPE_CHECKING, Record

from .file_metadata import MetadataWriter
from .overlay import OverlayApplier, UnpackLimits, apply_layers
from .remove_tree import remove_tree
from .rooted_fs import RootedDirectory
from .tar_sparse import SparseWriter

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .layer_stack import StackedLayer
    from .tar_entry import TarEntry

_WRITE_SIZE = 32 * 1024
"""Bytes of one write: the page cache takes them without allocating large blocks."""
_DEFAULT_DIRECTORY_MODE = 0o755
"""The mode of folders without an entry."""


class UnpackResult(Record):
    """The result of unpacking. `skipped` counts, by reason, the metadata that could not be set."""

    size: int
    """The number of bytes written to files."""
    entries: int
    """The number of entries of all layers, whiteouts included."""
    skipped: tuple[tuple[str, int], ...]


def unpack_layers(
    layers: Sequence[StackedLayer],
    directory: str,
    *,
    limits: UnpackLimits | None = None,
    privileged: bool | None = None,
    use_openat2: bool = True,
) -> UnpackResult:
    """Create the folder and unpack the layers into it, bottom first. After an error the folder is removed.

    `privileged`: set owners, devices and all attributes; the default for root. `use_openat2`: see `RootedDirectory`.

    Raises `Malformed`, naming layer and entry, with the code `path-escape`, `path-depth`, `path-parent`, `path`,
    `whiteout`, `link-target`, `device`, `owner`, `entry-type`, `archive`, `bomb`, `compression` or `truncated`;
    `DigestMismatch` when a layer does not match its diff ID; `OSError` for errors of the disk.
    """
    limits = limits or UnpackLimits()
    os.mkdir(directory, 0o777)
    try:
        creation_mask = make_private(directory)
        with RootedDirectory(directory, limits.max_depth, use_openat2=use_openat2) as root:
            lock(root.open_directory(""))
            metadata = MetadataWriter(
                privileged=os.geteuid() == 0 if privileged is None else privileged, creation_mask=creation_mask
            )
            writer = TreeWriter(root, metadata, limits)
            try:
                for _ in apply_layers(layers, writer, limits.layer):
                    pass
            finally:
                writer.close()
            writer.apply_directory_metadata()
    except BaseException:
        remove_tree(directory)
        raise
    return UnpackResult(writer.size, writer.entries, tuple(sorted(metadata.skipped.items())))


def lock(descriptor: int) -> None:
    """Lock an open file or folder, to show other processes that it is in use. Errors are ignored."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        pass


def make_private(directory: str) -> int:
    """Make a new folder private, and return the mode bits that files keep when they are created in it."""
    creation_mask = stat.S_IMODE(os.stat(directory).st_mode) & 0o777
    for inherited in ("system.posix_acl_default", "system.posix_acl_access"):
        try:
            os.removexattr(directory, inherited)
        except OSError:
            pass  # almost no folder has one
    os.chown(directory, -1, os.getegid())  # below a folder with the setgid bit it inherits another group
    os.chmod(directory, 0o700)
    return creation_mask


class TreeWriter(OverlayApplier):
    """Writes the files of layers to a folder, one layer after the other."""

    def __init__(self, root: RootedDirectory, metadata: MetadataWriter, limits: UnpackLimits) -> None:
        super().__init__(root, limits)
        self.size = 0
        self._root = root
        self._metadata = metadata
        self._offset = 0
        self._descriptor = -1
        self._entry: TarEntry | None = None  # the entry of the file that is being written
        self._has_final_mode = False  # whether the file was created with the mode of the entry
        self._remaining = 0  # bytes of content that are not written yet
        self._ends_in_hole = False  # whether the last bytes written so far are zeros that were skipped
        self._sparse: SparseWriter | None = None  # the writer of a sparse file
        self._handlers = {
            "file": self._make_file,
            "directory": self._make_directory,
            "symlink": self._make_symlink,
            "link": self._make_hard_link,
            "char": self._make_device,
            "block": self._make_device,
            "fifo": self._make_fifo,
        }

    def feed(self, piece: bytes | memoryview) -> None:
        """Process the next piece of the current layer's archive."""
        self._piece, self._piece_offset = memoryview(piece), self._offset
        self._offset += len(piece)
        if self._remaining:
            self._write_content(0)
        super().feed(piece)

    def end_layer(self) -> None:
        """End the current layer. Raises `Malformed` when its archive is incomplete."""
        super().end_layer()
        self._offset = 0

    def close(self) -> None:
        """Close the file that is being written, if there is one."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def apply_directory_metadata(self) -> None:
        """Set the metadata of folders from their last entries, the deepest first; a root without one gets 0755."""
        for directory in sorted(self._directory_entries, reverse=True):
            self._metadata.apply(
                self._root.open_directory(directory), self._directory_entries[directory], created=False
            )
        if "" not in self._directory_entries:
            self._on_implied_directory("")

    # Entries

    def _create_replacing(self, create: Callable[[], object], directory: str, name: str) -> None:
        """Create a file with `create`, replacing an existing one."""
        try:
            create()
        except FileExistsError:
            self._remove(directory, name)
            create()

    def _on_implied_directory(self, directory: str) -> None:
        """Set the default mode of a folder without an entry."""
        os.chmod(self._root.open_directory(directory), _DEFAULT_DIRECTORY_MODE)

    def _make_directory(self, entry: TarEntry, parent: str, name: str) -> None:
        descriptor = self._root.open_directory(parent)
        try:
            os.mkdir(name, 0o700, dir_fd=descriptor)
        except FileExistsError:
            mode = self._root.mode_of(parent, name)
            if mode is None or not stat.S_ISDIR(mode):
                self._remove(parent, name)
                os.mkdir(name, 0o700, dir_fd=self._root.open_directory(parent))
        self._directory_entries[f"{parent}/{name}" if parent else name] = entry

    def _make_file(self, entry: TarEntry, parent: str, name: str) -> None:
        self._count_content(entry)
        self._has_final_mode = not (entry.xattrs or entry.mode & ~0o777)
        mode = entry.mode if self._has_final_mode else 0o600
        try:
            self._descriptor = self._root.create_file(parent, name, mode)
        except FileExistsError:
            self._remove(parent, name)
            self._descriptor = self._root.create_file(parent, name, mode)
        self._entry, self._remaining = entry, entry.size
        if entry.segments is not None or entry.map_in_content:
            self._sparse = SparseWriter(lambda view, offset: os.pwrite(self._descriptor, view, offset), entry)
        self._write_content(entry.offset - self._piece_offset)

    def _write_content(self, position: int) -> None:
        """Write the content in the current piece, from `position` on, and at its end set the metadata of the file."""
        content = self._piece[position : position + self._remaining]
        self._remaining -= len(content)
        self.size += len(content)
        if self._sparse is not None:
            self._sparse.write(content)
        else:
            while content:
                piece = content[:_WRITE_SIZE]
                self._ends_in_hole = is_hole(piece)
                if self._ends_in_hole:
                    os.lseek(self._descriptor, len(piece), os.SEEK_CUR)
                    content = content[len(piece) :]
                else:
                    content = content[os.write(self._descriptor, piece) :]
        if self._remaining:
            return
        assert self._entry is not None
        if self._sparse is not None:
            self._sparse.finish()
            os.truncate(self._descriptor, self._entry.real_size)
            self._sparse = None
        elif self._ends_in_hole:
            os.truncate(self._descriptor, self._entry.size)
            self._ends_in_hole = False
        self._metadata.apply(self._descriptor, self._entry, created=self._has_final_mode)
        self.close()

    def _make_symlink(self, entry: TarEntry, parent: str, name: str) -> None:
        self._create_replacing(
            lambda: os.symlink(entry.link_target, name, dir_fd=self._root.open_directory(parent)), parent, name
        )
        self._metadata.apply_at(self._root.open_directory(parent), name, entry)

    def _make_hard_link(self, entry: TarEntry, parent: str, name: str) -> None:
        target_parent, target_name = self._resolve_hard_link(entry)
        if (target_parent, target_name) != (parent, name):
            self._create_replacing(
                lambda: os.link(
                    target_name,
                    name,
                    src_dir_fd=self._root.open_directory(target_parent),
                    dst_dir_fd=self._root.open_directory(parent),
                    follow_symlinks=False,
                ),
                parent,
                name,
            )

    def _make_device(self, entry: TarEntry, parent: str, name: str) -> None:
        kind = stat.S_IFCHR if entry.type == "char" else stat.S_IFBLK
        try:
            device = os.makedev(*entry.device)
        except (OverflowError, ValueError):
            raise Malformed(f"{entry.path!r} has invalid device numbers", code="device") from None
        if self._metadata.privileged:
            try:
                self._create_replacing(
                    lambda: os.mknod(name, kind | entry.mode & 0o777, device, dir_fd=self._root.open_directory(parent)),
                    parent,
                    name,
                )
            except PermissionError:
                pass  # root in a container without the right to create devices
            else:
                self._metadata.apply_at(self._root.open_directory(parent), name, entry)
                return
        self._metadata.count_skipped("devices, replaced by empty files")
        self._make_file(entry, parent, name)

    def _make_fifo(self, entry: TarEntry, parent: str, name: str) -> None:
        self._create_replacing(
            lambda: os.mkfifo(name, entry.mode & 0o777, dir_fd=self._root.open_directory(parent)), parent, name
        )
        self._metadata.apply_at(self._root.open_directory(parent), name, entry)
