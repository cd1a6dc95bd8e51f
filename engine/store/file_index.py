"""The index of the files of layers, in the folder of a store: `files.db`."""

from __future__ import annotations

from contextlib import contextmanager

from imq.engine.layer_index.index import FileIndex
from imq.engine.layer_index.schema import INDEX_TABLES, SCAN_VERSION, SCHEMA
from imq.grammar.record import TYPE_CHECKING

from .attached_database import AttachedDatabase

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from .store import Store

_DATABASE = AttachedDatabase("files.db", SCHEMA, INDEX_TABLES, SCAN_VERSION)


def open_file_index(store: Store) -> FileIndex:
    """Return the index of files, attached to the connection of the index of a store."""
    connection = store.index.connection
    _DATABASE.attach(connection, store.get_cache_layout())
    return FileIndex(connection)


def find_file_index(store: Store) -> FileIndex | None:
    """Return the index of files of a store that has one."""
    layout = store.layout
    return open_file_index(store) if layout.exists and layout.root_directory.has_file(_DATABASE.file) else None


def add_scans(store: Store, paths: Iterable[str], now: int) -> str | None:
    """Add scans to the index of files of a store; return why not, when that failed. `now` is in nanoseconds."""
    from imq.engine.layer_index.scan import SCAN_ERRORS

    try:
        index = open_file_index(store)
        with index.adding() as adder:
            for path in paths:
                adder.add(path, now)
    except SCAN_ERRORS as error:
        return getattr(error, "message", None) or str(error)
    return None


@contextmanager
def dropping_released_layers(store: Store) -> Iterator[None]:
    """Drop from the index of files the layers that images of the store lose meanwhile."""
    index = find_file_index(store)
    if index is not None:
        index.mark_held()
    yield
    if index is not None and (index := find_file_index(store)) is not None:  # its connection may be another one now
        index.drop_released()
