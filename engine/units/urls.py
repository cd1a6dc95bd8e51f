"""URLs of files: on this machine, or where fsspec can read them."""

from __future__ import annotations

import os

from imq.grammar.errors import ImqError
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from types import ModuleType

_FILE = "file://"
_PACKAGES = {"s3": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "az": "adlfs", "abfs": "adlfs", "sftp": "paramiko"}
"""The packages that fsspec needs, by scheme."""


def make_file_url(path: str) -> str:
    """Return the URL of a file of this machine."""
    from urllib.parse import quote

    return _FILE + quote(os.path.abspath(path))


def get_file_path(url: str) -> str | None:
    """Return the path of a file of this machine, for its URL or an absolute path; None for other URLs."""
    if url.startswith("/"):
        return url
    if not url.startswith(_FILE):
        return None
    from urllib.parse import unquote

    return unquote(url.removeprefix(_FILE).removeprefix("localhost"))


def import_fsspec(url: str) -> ModuleType:
    """Return fsspec, with what it needs for the scheme of a URL.

    Raises `ImqError` (code `no-fsspec`) when a package is missing.
    """
    import importlib

    scheme = url.partition("://")[0]
    needed = _PACKAGES.get(scheme, "")
    try:
        fsspec = importlib.import_module("fsspec")  # heavy, and only present when it was installed
        if needed:
            importlib.import_module(needed)
    except ImportError as error:
        missing = error.name or needed or "fsspec"
        extra = "s3" if needed == "s3fs" else "dask"
        raise ImqError(
            f"{scheme}:// needs the Python package {missing}, which is not installed",
            code="no-fsspec",
            hints=(
                f'pip install "imq[{extra}]"' if extra == "s3" or not needed else f"pip install fsspec {needed}",
                "the single executable reads file:// only: install imq with pip for other URLs",
            ),
        ) from None
    return fsspec
