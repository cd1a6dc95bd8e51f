"""Unpacking a stack of layers to the folder that they describe together, whatever they try.

Everything is done beneath the folder (`beneath`), which nobody else can look into until it is whole. The folders in it
get their modes, owners and times last: so a user can fill those that he may not write to, and times stay as they are.
A thread reads, inflates and hashes ahead; what is left here is system calls, four or five for a file.
"""

from __future__ import annotations

import errno
import os
import stat

from imq.grammar.errors import ImqError, Malformed
from imq.grammar.record import TYPE_CHECKING, Record

from .beneath import Beneath, cleaned
from .inode import Inodes
from .sparse import SparseContent
from .stack import about, unpacked_pieces
from .tar import TarWalker
from .unpacked import LayerLimits
from .whiteout import OPAQUE, hidden_by, is_bookkeeping

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .stack import StackedLayer
    from .tar import Entry

_WRITE = 32 * 1024
"""Bytes written at once: what the page cache takes without looking for large blocks."""
_IMPLIED = 0o755
"""The mode of folders that no entry tells of."""
_UNFIT = frozenset({errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ, errno.ENOENT, errno.ELOOP, errno.ENOTDIR})
"""What the kernel says to names and numbers that cannot be: the archive is wrong, not the disk."""


class UnpackLimits(Record):
    """How much a whole image may ask for before it is refused; each layer has limits beside."""

    most_bytes: int = 64 << 30
    """Bytes of all files, the holes of sparse ones counted."""
    most_entries: int = 4_000_000
    most_depth: int = 128
    """Names in a path; a descriptor is open for each. At most 200."""
    layer: LayerLimits = LayerLimits()


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
            inodes = Inodes(privileged=os.geteuid() == 0 if privileged is None else privileged, allowed=allowed)
            tree = _Tree(beneath, inodes, limits)
            pieces = unpacked_pieces(layers, limits.layer)
            waiting = iter(layers)
            layer = next(waiting, None)
            try:
                for piece in pieces:
                    if piece is not None:
                        tree.feed(piece)
                    else:
                        tree.end_layer()
                        layer = next(waiting, None)
            except ImqError as problem:
                raise about(layer, problem) if layer is not None else problem from None
            finally:
                pieces.close()
                tree.close()
            tree.dress_folders()
    except BaseException:
        discard(folder)
        raise
    return Unpacked(tree.size, tree.entries, tuple(sorted(inodes.left_out.items())))


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


class _Tree:
    """A folder that layers are laid into, one after the other."""

    def __init__(self, beneath: Beneath, inodes: Inodes, limits: UnpackLimits) -> None:
        self.size = 0
        self.entries = 0
        self._beneath = beneath
        self._inodes = inodes
        self._limits = limits
        self._folders: dict[str, Entry] = {}  # by their places; what is to be said of them in the end
        self._declared = 0  # bytes of files
        self._above, self._place = "", ""  # the folder of the last entry, as the archive and as the disk has it
        self._file = -1
        self._entry: Entry | None = None  # whose content is being written to the file,
        self._final = False  # whether the file has the mode of the entry already,
        self._left = 0  # how much of it is still to come,
        self._sparse: SparseContent | None = None  # and where it goes when not one after the other
        self._makers: dict[str, Callable[[Entry, str, str], None]] = {
            "file": self._make_file,
            "directory": self._make_folder,
            "symlink": self._make_symlink,
            "link": self._make_link,
            "char": self._make_device,
            "block": self._make_device,
            "fifo": self._make_fifo,
        }
        self._begin_layer()

    def _begin_layer(self) -> None:
        self._walker = TarWalker(self._take, self._limits.layer.archive)
        self._fed = 0
        self._own: dict[str, set[str]] = {}  # what this layer has brought, which its whiteouts do not hide
        self._bare: set[str] = set()  # folders that have nothing of lower layers any more

    def feed(self, piece: bytes | memoryview) -> None:
        """Take the next piece of the current layer's archive."""
        self._piece, self._start = memoryview(piece), self._fed
        self._fed += len(piece)
        if self._left:
            self._pour(0)
        self._walker.feed(piece)

    def end_layer(self) -> None:
        """Say that the current layer is whole; raises when its archive is not."""
        self._walker.finish()
        self._begin_layer()

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

    def _take(self, entry: Entry) -> None:
        self.entries += 1
        if self.entries > self._limits.most_entries:
            raise Malformed(f"the image has more than {self._limits.most_entries:,} entries", code="bomb")
        try:
            self._make(entry)
        except OSError as error:
            if error.errno in _UNFIT:
                raise Malformed(f"{entry.path[:200]!r} cannot be made: {error.strerror}", code="path") from None
            raise

    def _make(self, entry: Entry) -> None:
        path = cleaned(entry.path, self._limits.most_depth)
        above, _, name = path.rpartition("/")
        if ".wh." in path:
            if is_bookkeeping(path):
                return
            hidden = hidden_by(name)
            if hidden is not None:
                self._hide(above, hidden)
                return
        if not name:
            if entry.type != "directory":
                raise Malformed(f"{entry.path!r} would put a {entry.type} in the root's place", code="path")
            self._folders[""] = entry
            return
        if above != self._above or not above:
            place = self._beneath.find(above, self._implied)
            assert place is not None
            self._above, self._place = above, place
        own = self._own.get(self._place)
        if own is None:
            own = self._own_of(self._place)
        own.add(name)
        make = self._makers.get(entry.type)
        if make is None:
            raise Malformed(f"{entry.path!r} is of a type that no file has", code="entry-type")
        make(entry, self._place, name)

    def _own_of(self, place: str) -> set[str]:
        """Note that this layer has something in a folder, and so the folder itself and those above."""
        own = self._own[place] = set()
        while place:
            place, _, name = place.rpartition("/")
            known = self._own.get(place)
            self._own.setdefault(place, set()).add(name)
            if known is not None:
                break
        return own

    # What is made

    def _anew(self, call: Callable[[], object], place: str, name: str) -> None:
        """Make something by `call`, in the place of what is there under its name."""
        try:
            call()
        except FileExistsError:
            self._clear(place, name)
            call()

    def _clear(self, place: str, name: str) -> None:
        self._above, self._place = "", ""  # it may go through what is removed
        self._beneath.remove(place, name, self._forget)

    def _forget(self, place: str) -> None:
        """Take note that a folder is gone."""
        self._folders.pop(place, None)
        self._own.pop(place, None)
        self._bare.discard(place)

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
        self._declared += max(entry.size, entry.real_size)
        if self._declared > self._limits.most_bytes:
            raise Malformed(f"the image unpacks to more than {self._limits.most_bytes:,} bytes", code="bomb")
        self._final = not (entry.xattrs or entry.mode & ~0o777)
        mode = entry.mode if self._final else 0o600
        try:
            self._file = self._beneath.create(place, name, mode)
        except FileExistsError:
            self._clear(place, name)
            self._file = self._beneath.create(place, name, mode)
        self._entry, self._left = entry, entry.size
        if entry.segments is not None or entry.map_in_content:
            self._sparse = SparseContent(self._file, entry)
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
                content = content[os.write(self._file, content[:_WRITE]) :]
        if self._left:
            return
        assert self._entry is not None
        if self._sparse is not None:
            self._sparse.finish()
            self._sparse = None
        self._inodes.dress(self._file, self._entry, created=self._final)
        self.close()

    def _make_symlink(self, entry: Entry, place: str, name: str) -> None:
        self._anew(lambda: os.symlink(entry.link_target, name, dir_fd=self._beneath.descriptor(place)), place, name)
        self._inodes.dress_name(self._beneath.descriptor(place), name, entry)

    def _make_link(self, entry: Entry, place: str, name: str) -> None:
        target = cleaned(entry.link_target, self._limits.most_depth)
        above, _, linked = target.rpartition("/")
        found = self._beneath.find(above)
        mode = self._beneath.look(found, linked) if found is not None and linked else None
        if found is None or mode is None or stat.S_ISDIR(mode):
            raise Malformed(f"{entry.path!r} is a hard link to {target!r}, which is no file here", code="link-target")
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

    # What is hidden

    def _hide(self, above: str, name: str) -> None:
        """Remove what lower layers have under a name, or (`OPAQUE`) everything that they have in its folder."""
        place = self._beneath.find(above)
        if place is None:
            return
        if name == OPAQUE:
            self._bare_of_lower(place)
            return
        found = self._beneath.look(place, name)
        if found is None:
            return
        if name not in self._own.get(place, ()):
            self._clear(place, name)
        elif stat.S_ISDIR(found):
            self._bare_of_lower(f"{place}/{name}" if place else name)

    def _bare_of_lower(self, place: str) -> None:
        if place in self._bare:
            return
        self._bare.add(place)
        own = self._own.get(place, ())
        for name in self._beneath.names(place):
            if name not in own:
                self._clear(place, name)
                continue
            found = self._beneath.look(place, name)
            if found is not None and stat.S_ISDIR(found):
                self._bare_of_lower(f"{place}/{name}" if place else name)
