"""Selects the files of a layer that hold package information.

| package system | files |
|---|---|
| dpkg | `var/lib/dpkg/status`, `info/*.list`, `info/*.md5sums`, `status.d/*` (distroless) |
"""

from __future__ import annotations

from imq.grammar.record import TYPE_CHECKING

from . import dpkg
from .reader import MAX_TEXT, Reader

if TYPE_CHECKING:
    from collections.abc import Callable

_DPKG_LIST = Reader("dpkg file list", dpkg.read_file_list, MAX_TEXT)
_DPKG_MD5SUMS = Reader("dpkg checksums", dpkg.read_checksums, MAX_TEXT)
_DISTROLESS = Reader("dpkg status of distroless", dpkg.read_distroless)

_PATHS: dict[bytes, Reader] = {
    b"var/lib/dpkg/status": Reader("dpkg status", dpkg.read_status, MAX_TEXT),
}
"""Readers by the whole path: databases of the system, of which an image has one."""


def _find_dpkg(path: bytes) -> Reader | None:
    """Return the reader of a file in a folder of dpkg's database."""
    folder, _, name = path.rpartition(b"/")
    _, _, extension = name.rpartition(b".")
    if folder == b"var/lib/dpkg/info":
        return {b"list": _DPKG_LIST, b"md5sums": _DPKG_MD5SUMS}.get(extension)
    if folder == b"var/lib/dpkg/status.d":
        if extension in {b"list", b"preinst", b"postinst", b"prerm", b"postrm"}:
            return None
        return _DPKG_MD5SUMS if extension == b"md5sums" else _DISTROLESS
    return None


_ENDINGS: dict[bytes, Callable[[bytes], Reader | None]] = {}
"""Functions that decide by the whole path, by the last bytes of the path."""
_ENDING_SIZE = 5


def find_reader(path: bytes, mode: int = 0) -> Reader | None:
    """Return the reader of a regular file that holds package information; None for all other files.

    `path` is relative to the root, without a leading slash or `./`. `mode` are the permission bits: an executable can
    have been built by Go. Its reader looks at the first bytes and stops unless they are an ELF header.

    It takes about 0.3 µs for a path that is of no interest.
    """
    if path.startswith(b"var/lib/dpkg/"):
        return _PATHS.get(path) or _find_dpkg(path)
    del mode  # no reader of executables yet
    decide = _ENDINGS.get(path[-_ENDING_SIZE:])
    if decide is not None and (reader := decide(path)) is not None:
        return reader
    return _PATHS.get(path)
