"""Laying the layers of an image over each other, entry by entry: what each brings, and what it hides of those below.

What things are made of is the matter of who derives from `Layering`: files of a folder, or a drawing of them.
"""

from __future__ import annotations

import errno
import stat

from imq.grammar.errors import ImqError, Malformed
from imq.grammar.record import TYPE_CHECKING, Record

from .layer_reader import LayerLimits
from .layer_stack import about, unpacked_pieces
from .rooted_fs import DEEPEST, cleaned
from .tar_walker import TarWalker
from .whiteout import OPAQUE, hidden_by, is_bookkeeping

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Protocol

    from .layer_stack import StackedLayer
    from .rooted_fs import Places
    from .tar_walker import Entry

    class Taker(Protocol):
        """What takes the pieces of layers."""

        def feed(self, piece: bytes | memoryview, /) -> None:
            """Take the next piece of the current layer's archive."""

        def end_layer(self) -> None:
            """Take note that the current layer is whole."""


_UNFIT = frozenset({errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ, errno.ENOENT, errno.ELOOP, errno.ENOTDIR})
"""What the kernel says to names and numbers that cannot be: the archive is wrong, not the disk."""


_LARGEST_FILE = 16 << 40
"""Bytes: what ext4 takes, holes counted."""


class UnpackLimits(Record):
    """How much a whole image may ask for before it is refused; each layer has limits beside."""

    most_bytes: int = 64 << 30
    """Bytes of all files, without the holes of sparse ones."""
    most_entries: int = 4_000_000
    most_depth: int = DEEPEST
    """Names in a path; a descriptor is open for each. At most 200."""
    layer: LayerLimits = LayerLimits()


class Layering:
    """Layers that are laid into `places`, one after the other. `_makers` make what an entry says, by its type."""

    def __init__(self, places: Places, limits: UnpackLimits) -> None:
        self.entries = 0
        self._places = places
        self._limits = limits
        self._folders: dict[str, Entry] = {}  # by their places; what is to be said of them in the end
        self._declared = 0  # bytes of files
        self._above, self._place = "", ""  # the folder of the last entry, as the archive and as the disk has it
        self._makers: dict[str, Callable[[Entry, str, str], None]] = {}
        self._begin_layer()

    def _begin_layer(self) -> None:
        self._walker = TarWalker(self._take, self._limits.layer.archive)
        self._own: dict[str, set[str]] = {}  # what this layer has brought, which its whiteouts do not hide
        self._bare: set[str] = set()  # folders that have nothing of lower layers any more

    def feed(self, piece: bytes | memoryview) -> None:
        """Take the next piece of the current layer's archive."""
        self._walker.feed(piece)

    def end_layer(self) -> None:
        """Say that the current layer is whole; raises when its archive is not."""
        self._walker.finish()
        self._begin_layer()

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
            place = self._places.find(above, self._implied)
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

    def _declare(self, entry: Entry) -> None:
        """Count the bytes of a file: what it holds, without the holes of a sparse one."""
        if entry.real_size > _LARGEST_FILE:
            raise Malformed(f"{entry.path[:200]!r} is a file of {entry.real_size:,} bytes", code="bomb")
        self._declared += entry.size
        if self._declared > self._limits.most_bytes:
            raise Malformed(f"the image unpacks to more than {self._limits.most_bytes:,} bytes", code="bomb")

    def _linked(self, entry: Entry) -> tuple[str, str]:
        """Return the place and the name of what a hard link is to."""
        target = cleaned(entry.link_target, self._limits.most_depth, clamped=True)
        above, _, linked = target.rpartition("/")
        found = self._places.find(above)
        mode = self._places.look(found, linked) if found is not None and linked else None
        if found is None or mode is None or stat.S_ISDIR(mode):
            raise Malformed(f"{entry.path!r} is a hard link to {target!r}, which is no file here", code="link-target")
        return found, linked

    def _clear(self, place: str, name: str) -> None:
        self._above, self._place = "", ""  # it may go through what is removed
        self._places.remove(place, name, self._forget)

    def _forget(self, place: str) -> None:
        """Take note that a folder is gone."""
        self._folders.pop(place, None)
        self._own.pop(place, None)
        self._bare.discard(place)

    def _implied(self, place: str) -> None:
        """Take note of a folder that was made on the way, and that no entry tells of."""

    def _hide(self, above: str, name: str) -> None:
        """Remove what lower layers have under a name, or (`OPAQUE`) everything that they have in its folder."""
        place = self._places.find(above)
        if place is None:
            return
        if name == OPAQUE:
            self._bare_of_lower(place)
            return
        found = self._places.look(place, name)
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
        for name in self._places.names(place):
            if name not in own:
                self._clear(place, name)
                continue
            found = self._places.look(place, name)
            if found is not None and stat.S_ISDIR(found):
                self._bare_of_lower(f"{place}/{name}" if place else name)


def laid(layers: Sequence[StackedLayer], taker: Taker, limits: LayerLimits) -> Iterator[None]:
    """Feed the pieces of the layers to `taker`, bottom first, and yield after each; errors name the layer."""
    pieces = unpacked_pieces(layers, limits)
    waiting = iter(layers)
    layer = next(waiting, None)
    try:
        for piece in pieces:
            if piece is not None:
                taker.feed(piece)
            else:
                taker.end_layer()
                layer = next(waiting, None)
            yield
    except ImqError as problem:
        raise about(layer, problem) if layer is not None else problem from None
    finally:
        pieces.close()
