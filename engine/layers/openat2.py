"""Linux's openat2(2), which Python does not have: opens a path, and the kernel ensures that it stays in a folder."""

from __future__ import annotations

import os

_NUMBER = 437  # on every architecture
_NO_MAGICLINKS, _NO_SYMLINKS, _BENEATH = 0x02, 0x04, 0x08
_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Openat2:
    """Opens folders inside of others. Creating it raises `OSError` when the kernel lacks or forbids openat2."""

    def __init__(self) -> None:
        import ctypes  # 10 ms

        self._call = ctypes.CDLL(None, use_errno=True).syscall
        self._errno = ctypes.get_errno
        how = (ctypes.c_uint64 * 3)(_FLAGS, 0, _BENEATH | _NO_MAGICLINKS | _NO_SYMLINKS)
        self._how = ctypes.byref(how)
        self._size = ctypes.c_size_t(ctypes.sizeof(how))
        here = os.open(".", _FLAGS)
        try:
            os.close(self.open(here, "."))
        finally:
            os.close(here)

    def open(self, folder: int, path: str) -> int:
        """Open the folder at `path` inside of `folder`; no part of the path may be a link. Raises `OSError`."""
        descriptor: int = self._call(_NUMBER, folder, os.fsencode(path), self._how, self._size)
        if descriptor < 0:
            number = self._errno()
            raise OSError(number, os.strerror(number), path)
        return descriptor


def load_openat2() -> Openat2 | None:
    """Return a caller of openat2; None where it is not available."""
    try:
        return Openat2()
    except (OSError, ImportError, AttributeError):
        return None
