"""The shared cache of indexes of layers: a folder, or a place that fsspec can write, such as a bucket of S3.

An object is the packed index of one layer (`packed_index.py`), named by the version of the scan and by the diff ID of
the layer: `v5/sha256/3a/3a7b….sqlite.zst`. It is a pure function of these, so each writer writes the same bytes, and it
never changes. Writing is atomic and idempotent: an object is there as a whole or not at all, and the first one stays.
"""

from __future__ import annotations

import os
import tempfile
import time
from contextlib import contextmanager, suppress

from imq.engine.units.urls import get_file_path, import_fsspec
from imq.grammar.errors import ImqError
from imq.grammar.record import TYPE_CHECKING, Record

from .schema import SCAN_VERSION

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from concurrent.futures import Future
    from typing import Any, Protocol

    from imq.engine.oci.digest import Digest

    class _Objects(Protocol):
        """Where the objects are: names are relative, with slashes."""

        def get(self, name: str, /) -> bytes | None:
            """Return an object; None when it does not exist."""

        def has(self, name: str, /) -> bool:
            """Whether an object exists."""

        def put(self, name: str, content: bytes, /) -> None:
            """Write an object unless it exists."""

        def list(self) -> Iterator[_Object]:
            """Yield all objects, and what interrupted writers left."""

        def delete(self, names: Iterable[str], /) -> None:
            """Delete objects. Those that do not exist are ignored."""


_SUFFIX = ".sqlite.zst"
_TEMPORARY = ".tmp-"
_LEFTOVER_AGE = 24 * 3600
"""Seconds after which a temporary file is one of a dead writer."""
_MAX_SINGLE = 2000
"""Objects that are looked for one by one: a listing returns 1,000 of S3 at once."""
_THREADS = 16
"""Objects that are read at once: each takes a round trip to the storage."""


class _Object(Record):
    """An object: its size in bytes, and when it was written, in seconds since the epoch."""

    name: str
    size: int
    modified: float


class CacheUsage(Record):
    """What the cache takes: the number of layers and bytes, and those of other versions of the scan."""

    layers: int
    size: int
    other_size: int


class IndexCache:
    """The cache at a URL. Its methods raise `ImqError` (code `index-cache`) when it cannot be read or written."""

    def __init__(self, url: str, objects: _Objects) -> None:
        self.url = url
        self._objects = objects

    def get(self, diff_id: Digest) -> bytes | None:
        """Return the packed index of a layer; None when the cache does not have it."""
        with self._convert_errors("read"):
            return self._objects.get(_make_name(diff_id))

    def get_all(self, diff_ids: Iterable[Digest]) -> Iterator[tuple[Digest, bytes]]:
        """Yield the packed indexes of layers that the cache has, several read at once, in any order."""
        from concurrent.futures import ThreadPoolExecutor, as_completed

        pool = ThreadPoolExecutor(_THREADS, "index-cache")
        waiting = iter(diff_ids)
        reads: dict[Future[bytes | None], Digest] = {}
        try:
            while True:
                while len(reads) < 2 * _THREADS and (diff_id := next(waiting, None)) is not None:
                    reads[pool.submit(self.get, diff_id)] = diff_id
                if not reads:
                    return
                done = next(as_completed(reads))
                diff_id = reads.pop(done)
                packed = done.result()
                if packed is not None:
                    yield diff_id, packed
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def put(self, diff_id: Digest, packed: bytes) -> None:
        """Write the packed index of a layer, unless the cache has it."""
        with self._convert_errors("written"):
            self._objects.put(_make_name(diff_id), packed)

    def list_known(self, diff_ids: Iterable[Digest]) -> set[Digest]:
        """Return the layers whose index the cache has: by a request for each, or by a listing if they are many."""
        from concurrent.futures import ThreadPoolExecutor

        names = {_make_name(diff_id): diff_id for diff_id in diff_ids}
        with self._convert_errors("read"):
            if len(names) > _MAX_SINGLE:
                return {names[one.name] for one in self._objects.list() if one.name in names}
            with ThreadPoolExecutor(_THREADS, "index-cache") as pool:
                found = pool.map(self._objects.has, names)
                return {diff_id for diff_id, is_known in zip(names.values(), found, strict=True) if is_known}

    def measure(self) -> CacheUsage:
        """Return what the cache takes."""
        own, others = self._divide()
        size = sum(one.size for one in own)
        other_size = sum(one.size for one in others)
        return CacheUsage(len(own), size + other_size, other_size)

    def trim(self, limit: int | None) -> int:
        """Delete objects until the cache has at most `limit` bytes; return the bytes freed. None: no limit.

        Those of other versions of the scan go first, then the oldest. What interrupted writers left goes always.
        """
        own, others = self._divide()
        leftovers = [one for one in others if _is_leftover(one)]
        kept = [one for one in others if not _is_temporary(one)] + own
        deleted = leftovers
        excess = sum(one.size for one in kept) - limit if limit is not None else 0
        for one in kept:
            if excess <= 0:
                break
            deleted.append(one)
            excess -= one.size
        with self._convert_errors("trimmed"):
            self._objects.delete([one.name for one in deleted])
        return sum(one.size for one in deleted)

    def _divide(self) -> tuple[list[_Object], list[_Object]]:
        """Return the objects of this version of the scan, and the others, each the oldest first."""
        with self._convert_errors("listed"):
            everything = sorted(self._objects.list(), key=lambda one: (one.modified, one.name))
        own: list[_Object] = []
        others: list[_Object] = []
        for one in everything:
            is_own = one.name.startswith(_VERSION) and not _is_temporary(one)
            (own if is_own else others).append(one)
        return own, others

    @contextmanager
    def _convert_errors(self, verb: str) -> Iterator[None]:
        """Raise `ImqError` for each error of a storage: the packages of fsspec have exceptions of their own."""
        try:
            yield
        except ImqError:
            raise
        except Exception as error:
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise ImqError(
                f"the index cache {self.url} cannot be {verb}: {reason.splitlines()[0]}",
                code="index-cache",
                hints=("to do without it: set index_cache = none",),
            ) from error


_VERSION = f"v{SCAN_VERSION}/"


def _make_name(diff_id: Digest) -> str:
    return f"{_VERSION}{diff_id.algorithm}/{diff_id.encoded[:2]}/{diff_id.encoded}{_SUFFIX}"


def _is_temporary(one: _Object) -> bool:
    return _TEMPORARY in one.name


def _is_leftover(one: _Object) -> bool:
    return _is_temporary(one) and time.time() - one.modified > _LEFTOVER_AGE


def open_cache(url: str) -> IndexCache:
    """Return the cache at a URL or an absolute path. Raises `ImqError` when its scheme needs a missing package."""
    path = get_file_path(url)
    return IndexCache(url, _FolderObjects(path) if path is not None else _RemoteObjects(url))


class _FolderObjects:
    """Objects in a folder, which may be on a network file system."""

    def __init__(self, root: str) -> None:
        self._root = root

    def get(self, name: str) -> bytes | None:
        """Return a file."""
        try:
            with open(os.path.join(self._root, name), "rb") as file:
                return file.read()
        except FileNotFoundError:
            return None

    def has(self, name: str) -> bool:
        """Whether a file exists."""
        return os.path.exists(os.path.join(self._root, name))

    def put(self, name: str, content: bytes) -> None:
        """Write to a temporary file, and link it to its name unless that exists."""
        target = os.path.join(self._root, name)
        if os.path.exists(target):
            return
        folder = os.path.dirname(target)
        os.makedirs(folder, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=folder, prefix=_TEMPORARY)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(handle)
            os.chmod(temporary, 0o644)
            try:
                os.link(temporary, target)
            except FileExistsError:
                pass
            except OSError:  # a file system without hard links
                os.replace(temporary, target)
        finally:
            with suppress(FileNotFoundError):
                os.unlink(temporary)

    def list(self) -> Iterator[_Object]:
        """Yield all files of caches below the folder: others are not touched."""
        for folder, _, names in os.walk(self._root):
            for name in names:
                path = os.path.join(folder, name)
                if name.endswith(_SUFFIX) or name.startswith(_TEMPORARY):
                    with suppress(FileNotFoundError):
                        status = os.stat(path)
                        yield _Object(os.path.relpath(path, self._root), status.st_size, status.st_mtime)

    def delete(self, names: Iterable[str]) -> None:
        """Remove files."""
        for name in names:
            with suppress(FileNotFoundError):
                os.unlink(os.path.join(self._root, name))


class _RemoteObjects:
    """Objects in a storage of fsspec. Credentials are those that its package finds: environment, files, roles."""

    def __init__(self, url: str) -> None:
        fsspec = import_fsspec(url)
        self._files: Any
        self._files, self._root = fsspec.core.url_to_fs(url)
        self._root = self._root.rstrip("/")

    def get(self, name: str) -> bytes | None:
        """Return an object."""
        try:
            content: bytes = self._files.cat_file(f"{self._root}/{name}")
        except FileNotFoundError:
            return None
        return content

    def has(self, name: str) -> bool:
        """Whether an object exists."""
        return bool(self._files.exists(f"{self._root}/{name}"))

    def put(self, name: str, content: bytes) -> None:
        """Write an object unless it exists: in one request where the storage has a condition for it."""
        path = f"{self._root}/{name}"
        try:
            self._files.pipe_file(path, content, mode="create")
        except FileExistsError:
            return
        except (NotImplementedError, TypeError, ValueError):  # a storage without the condition; its writes are atomic
            if not self._files.exists(path):
                self._files.pipe_file(path, content)

    def list(self) -> Iterator[_Object]:
        """Yield all objects of caches below the URL."""
        self._files.invalidate_cache()
        for path, about in self._files.find(self._root, detail=True).items():
            if path.endswith(_SUFFIX):
                modified = about.get("LastModified") or about.get("mtime") or about.get("created") or 0.0
                seconds = modified.timestamp() if hasattr(modified, "timestamp") else float(modified)
                yield _Object(path[len(self._root) + 1 :], int(about.get("size") or 0), seconds)

    def delete(self, names: Iterable[str]) -> None:
        """Delete objects."""
        paths = [f"{self._root}/{name}" for name in names]
        if paths:
            self._files.rm(paths)
