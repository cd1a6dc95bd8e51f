"""Unpacking a stack of layers to the folder that they describe together, whatever they try.

Everything is done beneath the folder (`beneath`), which nobody else can look into until it is whole. The folders in it
get their modes, owners and times last: so a user can fill those that he may not write to, and times stay as they are.
A thread reads, inflates and hashes ahead; what is left here is system calls, four or five for a file. Long runs of
zeros become holes, so that a file takes the room of what it holds.
"""

from __future__ import annotations

import fcntl
import os
import stat

from imq.engine.atomic_writer import is_zero
from imq.grammar.errors import Malformed
from imq.grammar.record import TYPE_CHECKING, Record

from .file_metadata import Inodes
from .overlay import Layering, UnpackLimits, laid
from .rooted_fs import Beneath
from .tar_sparse import SparseContent

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .layer_stack import StackedLayer
    from .tar_walker import Entry

_WRITE = 32 * 1024
"""Bytes written at once: what the page cache takes without looking for large blocks."""
_IMPLIED = 0o755
"""The mode of folders that no entry tells of."""


class Unpacked(Record):
    """What came of it. `left_out` are things that could not be made or set as they are, and how many of each."""

    size: int
    """Bytes that were written into files."""
    entries: int
    """Entries of all layers, whiteouts too."""
    left_out: tuple[tuple[str, int], ...]


def unpack_layers(
    layers: Sequence[StackedLayer],
    folder: str,
    *,
    limits: UnpackLimits | None = None,
    privileged: bool | None = None,
    kernel: bool = True,
) -> Unpacked:
    """Make the folder and unpack the layers into it, bottom first; when that fails the folder goes again.

    `privileged` says whether owners, devices and all attributes are set: root's default. `kernel` lets openat2 lead.

    Raises `Malformed`, naming layer and entry, with the code `path-escape`, `path-depth`, `path-parent`, `path`,
    `whiteout`, `link-target`, `device`, `owner`, `entry-type`, `archive`, `bomb`, `compression` or `truncated`;
    `DigestMismatch` when a layer has not its diff ID; `OSError` for what the disk does not do.
    """
    limits = limits or UnpackLimits()
    os.mkdir(folder, 0o777)
    try:
        allowed = _closed(folder)
        with Beneath(folder, limits.most_depth, kernel=kernel) as beneath:
            hold(beneath.descriptor(""))
            inodes = Inodes(privileged=os.geteuid() == 0 if privileged is None else privileged, allowed=allowed)
            tree = _Tree(beneath, inodes, limits)
            try:
                for _ in laid(layers, tree, limits.layer):
                    pass
            finally:
                tree.close()
            tree.dress_folders()
    except BaseException:
        discard(folder)
        raise
    return Unpacked(tree.size, tree.entries, tuple(sorted(inodes.left_out.items())))


def hold(descriptor: int) -> None:
    """Lock an open file or folder, so that others see that somebody is at work there; not where there are no locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        pass


def _closed(folder: str) -> int:
    """Close a new folder to all others, and return which mode bits files keep that are created here."""
    allowed = stat.S_IMODE(os.stat(folder).st_mode) & 0o777
    for inherited in ("system.posix_acl_default", "system.posix_acl_access"):
        try:
            os.removexattr(folder, inherited)
        except OSError:
            pass  # it has none, as almost all
    os.chown(folder, -1, os.getegid())  # in a folder with the setgid bit it has another, and so would all in it
    os.chmod(folder, 0o700)
    return allowed


def discard(folder: str) -> None:
    """Remove a folder with all that is in it, also where the modes in it do not let its owner in."""
    from shutil import rmtree

    def let_in(_call: object, path: str, _error: object) -> None:
        os.chmod(os.path.dirname(path), 0o700)
        if stat.S_ISDIR(os.lstat(path).st_mode):
            os.chmod(path, 0o700)
            rmtree(path)
        else:
            os.unlink(path)

    rmtree(folder, onerror=let_in)


class _Tree(Layering):
    """A folder that layers are laid into, one after the other."""

    def __init__(self, beneath: Beneath, inodes: Inodes, limits: UnpackLimits) -> None:
        super().__init__(beneath, limits)
        self.size = 0
        self._beneath = beneath
        self._inodes = inodes
        self._fed = 0
        self._file = -1
        self._entry: Entry | None = None  # whose content is being written to the file,
        self._final = False  # whether the file has the mode of the entry already,
        self._left = 0  # how much of it is still to come,
        self._ends_in_hole = False  # whether its last bytes so far are zeros that were passed over,
        self._sparse: SparseContent | None = None  # and where it goes when not one after the other
        self._makers = {
            "file": self._make_file,
            "directory": self._make_folder,
            "symlink": self._make_symlink,
            "link": self._make_link,
            "char": self._make_device,
            "block": self._make_device,
            "fifo": self._make_fifo,
        }

    def feed(self, piece: bytes | memoryview) -> None:
        """Take the next piece of the current layer's archive."""
        self._piece, self._start = memoryview(piece), self._fed
        self._fed += len(piece)
        if self._left:
            self._pour(0)
        super().feed(piece)

    def end_layer(self) -> None:
        """Say that the current layer is whole; raises when its archive is not."""
        super().end_layer()
        self._fed = 0

    def close(self) -> None:
        """Close the file that is being written, if there is one."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def dress_folders(self) -> None:
        """Give every folder what its last entry said of it, the deepest first; those without one are 0755."""
        for place in sorted(self._folders, reverse=True):
            self._inodes.dress(self._beneath.descriptor(place), self._folders[place], created=False)
        if "" not in self._folders:
            self._implied("")

    # What is made

    def _anew(self, call: Callable[[], object], place: str, name: str) -> None:
        """Make something by `call`, in the place of what is there under its name."""
        try:
            call()
        except FileExistsError:
            self._clear(place, name)
            call()

    def _implied(self, place: str) -> None:
        """Open a folder to all that no entry tells of, as an entry would."""
        os.chmod(self._beneath.descriptor(place), _IMPLIED)

    def _make_folder(self, entry: Entry, place: str, name: str) -> None:
        folder = self._beneath.descriptor(place)
        try:
            os.mkdir(name, 0o700, dir_fd=folder)
        except FileExistsError:
            found = self._beneath.look(place, name)
            if found is None or not stat.S_ISDIR(found):
                self._clear(place, name)
                os.mkdir(name, 0o700, dir_fd=self._beneath.descriptor(place))
        self._folders[f"{place}/{name}" if place else name] = entry

    def _make_file(self, entry: Entry, place: str, name: str) -> None:
        self._declare(entry)
        self._final = not (entry.xattrs or entry.mode & ~0o777)
        mode = entry.mode if self._final else 0o600
        try:
            self._file = self._beneath.create(place, name, mode)
        except FileExistsError:
            self._clear(place, name)
            self._file = self._beneath.create(place, name, mode)
        self._entry, self._left = entry, entry.size
        if entry.segments is not None or entry.map_in_content:
            self._sparse = SparseContent(lambda view, offset: os.pwrite(self._file, view, offset), entry)
        self._pour(entry.offset - self._start)

    def _pour(self, position: int) -> None:
        """Write what the piece has of the file's content, from `position` on; dress the file when that was all."""
        content = self._piece[position : position + self._left]
        self._left -= len(content)
        self.size += len(content)
        if self._sparse is not None:
            self._sparse.write(content)
        else:
            while content:
                piece = content[:_WRITE]
                self._ends_in_hole = is_zero(piece)
                if self._ends_in_hole:
                    os.lseek(self._file, len(piece), os.SEEK_CUR)
                    content = content[len(piece) :]
                else:
                    content = content[os.write(self._file, piece) :]
        if self._left:
            return
        assert self._entry is not None
        if self._sparse is not None:
            self._sparse.finish()
            os.truncate(self._file, self._entry.real_size)
            self._sparse = None
        elif self._ends_in_hole:
            os.truncate(self._file, self._entry.size)
            self._ends_in_hole = False
        self._inodes.dress(self._file, self._entry, created=self._final)
        self.close()

    def _make_symlink(self, entry: Entry, place: str, name: str) -> None:
        self._anew(lambda: os.symlink(entry.link_target, name, dir_fd=self._beneath.descriptor(place)), place, name)
        self._inodes.dress_name(self._beneath.descriptor(place), name, entry)

    def _make_link(self, entry: Entry, place: str, name: str) -> None:
        found, linked = self._linked(entry)
        if (found, linked) != (place, name):
            self._anew(
                lambda: os.link(
                    linked,
                    name,
                    src_dir_fd=self._beneath.descriptor(found),
                    dst_dir_fd=self._beneath.descriptor(place),
                    follow_symlinks=False,
                ),
                place,
                name,
            )

    def _make_device(self, entry: Entry, place: str, name: str) -> None:
        kind = stat.S_IFCHR if entry.type == "char" else stat.S_IFBLK
        try:
            device = os.makedev(*entry.device)
        except (OverflowError, ValueError):
            raise Malformed(f"{entry.path!r} is a device of impossible numbers", code="device") from None
        if self._inodes.privileged:
            try:
                self._anew(
                    lambda: os.mknod(name, kind | entry.mode & 0o777, device, dir_fd=self._beneath.descriptor(place)),
                    place,
                    name,
                )
            except PermissionError:
                pass  # root of a container that may not make devices
            else:
                self._inodes.dress_name(self._beneath.descriptor(place), name, entry)
                return
        self._inodes.leave_out("devices, in whose place stand empty files")
        self._make_file(entry, place, name)

    def _make_fifo(self, entry: Entry, place: str, name: str) -> None:
        self._anew(lambda: os.mkfifo(name, entry.mode & 0o777, dir_fd=self._beneath.descriptor(place)), place, name)
        self._inodes.dress_name(self._beneath.descriptor(place), name, entry)
