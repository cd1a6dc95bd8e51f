"""Brings the table `container` of the store's index up to date with the folders of the containers."""

from __future__ import annotations

import json
import os
import stat

from imq.engine.catalog.tables import CONTAINERS
from imq.engine.oci.timestamp import parse_time
from imq.engine.store.index_rows import to_json
from imq.grammar.errors import StoreError
from imq.grammar.record import TYPE_CHECKING

from .document import damaged_container
from .folder import DOCUMENT, FOLDER, LISTING, LOG, State, driver_of, is_container_id, read_json, read_state
from .removal import list_uses

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from imq.engine.store.directory import Directory
    from imq.engine.store.index import StoreIndex
    from imq.engine.store.layout import Layout

_COLUMNS = tuple(field.name for field in CONTAINERS.stored_fields if field.name not in ("size_rw", "log_size"))
_CPU = 1_000_000_000
_KNOWN_EMPTY = "[]"


def synchronize(index: StoreIndex, layout: Layout) -> None:
    """Update the table to the folders. Raises `StoreError` when one cannot be read: its image may be in use."""
    try:
        folder = layout.root_directory.open_directory(FOLDER)
    except FileNotFoundError:
        folder = None
    except OSError as problem:
        if _may_be_old(layout, problem):
            return
        raise _unreadable(layout, problem) from None
    connection = index.connection
    known = {
        id_: (signature, name)
        for id_, signature, name in connection.execute("SELECT id, signature, name FROM container")
    }
    rows: list[tuple[object, ...]] = []
    present: set[str] = set()
    for id_ in folder.list_names() if folder is not None else ():
        if not is_container_id(id_):
            continue
        try:
            state_signature, state, own = _read_signature(folder, id_) if folder is not None else ("", State(), None)
        except FileNotFoundError:
            continue  # it was removed meanwhile
        except OSError as problem:
            if _may_be_old(layout, problem):
                return
            raise _unreadable(layout, problem) from None
        present.add(id_)
        if own is None or known.get(id_, ("", ""))[0] == state_signature:
            if own is not None:
                os.close(own)
            continue
        path = folder.path_of(id_) if folder is not None else ""
        document = _read_document(own, path)
        if document is not None:
            rows.append((state_signature, document.get("ImageManifest"), *_make_row(document, state, path)))
    gone = known.keys() - present
    uses = list_uses(folder.path) if folder is not None else {}
    old_uses = dict(connection.execute("SELECT image_id, used FROM image_use"))
    if not rows and not gone and uses == old_uses:
        return
    names = ", ".join(("signature", "manifest", *_COLUMNS))
    marks = ", ".join("?" * (len(_COLUMNS) + 2))
    with index.sql_transaction() as transaction:
        transaction.executemany("DELETE FROM container WHERE id = ?", [(id_,) for id_ in gone])
        transaction.executemany("DELETE FROM container WHERE id = ?", [(row[2],) for row in rows])
        insert = f"INSERT INTO container ({names}) VALUES ({marks})"  # noqa: S608 - the names of fields
        transaction.executemany(insert, rows)
        if uses != old_uses:
            transaction.execute("DELETE FROM image_use")
            transaction.executemany("INSERT INTO image_use VALUES (?, ?)", uses.items())


def _may_be_old(layout: Layout, problem: OSError) -> bool:
    """Whether this user may only read the store, and so removes nothing: the rows of the index are good enough."""
    return isinstance(problem, PermissionError) and not layout.is_writable()


def _unreadable(layout: Layout, problem: OSError) -> StoreError:
    return StoreError(
        f"the containers of the store {layout.root} cannot be read: {problem.strerror}",
        code="permission",
        hints=("run as the owner of the store: whether an image is in use is unknown otherwise",),
    )


def _read_document(own: int, path: str) -> dict[str, Any] | None:
    """Return the document of a container, and close its folder; None when it was removed meanwhile.

    Raises `StoreError` for a damaged document.
    """
    try:
        document = read_json(own, DOCUMENT)
    finally:
        os.close(own)
    if isinstance(document, dict):
        return document
    if not os.path.lexists(path):
        return None
    raise damaged_container(path)


def _read_signature(folder: Directory, id_: str) -> tuple[str, State, int]:
    """Return what changes when the row of a container changes, its state, and the descriptor of its folder."""
    descriptor = os.open(id_, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder.descriptor)
    try:
        state = read_state(descriptor)
    except BaseException:
        os.close(descriptor)
        raise
    facts = (
        _read_identity(descriptor),
        state.status,
        state.started,
        state.finished,
        state.exit_code,
        state.is_watched,
        state.error,
        state.restart_count,
        state.health,
    )
    return json.dumps(facts), state, descriptor


def _read_identity(folder: int) -> tuple[int, int] | None:
    """Return what changes when the document of a container is replaced, as its rename does; None without a document."""
    try:
        status = os.stat(DOCUMENT, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_mtime_ns


def _make_row(document: Mapping[str, Any], state: State, path: str) -> tuple[object, ...]:
    """Return the values of `_COLUMNS`."""
    config, host = document["Config"], document["HostConfig"]
    runs = state.status in ("running", "paused")
    command = [document.get("Path"), *(document.get("Args") or ())]
    env = {name: value for name, _, value in (pair.partition("=") for pair in config.get("Env") or () if "=" in pair)}
    mounts = [
        f"{mount.get('Name') or mount['Source']}:{mount['Destination']}{'' if mount.get('RW', True) else ':ro'}"
        for mount in document.get("Mounts") or ()
    ]
    values: dict[str, object] = {
        "id": document["Id"],
        "name": document["Name"],
        "image": config.get("Image"),
        "image_id": document["Image"],
        "image_digest": document.get("ImageDigest"),
        "command": to_json(command),
        "env": to_json(env),
        "label": to_json(config.get("Labels") or {}),
        "status": state.status,
        "health": state.health or None if runs else None,
        "exit_code": None if runs else state.exit_code,
        "oom_killed": state.oom_killed,
        "restart_count": state.restart_count,
        "restart_policy": host["RestartPolicy"]["Name"],
        "created": parse_time(document["Created"]),
        "started": state.started,
        "finished": None if runs else state.finished,
        "log_path": os.path.join(path, LOG) if state.started else None,
        "ports": to_json(sorted(config.get("ExposedPorts") or ())),
        "published_ports": _KNOWN_EMPTY,
        "mounts": to_json(mounts),
        "volumes_from": _KNOWN_EMPTY,
        "networks": to_json([host["NetworkMode"]]),
        "memory_limit": host.get("Memory") or None,
        "cpu_limit": host["NanoCpus"] / _CPU if host.get("NanoCpus") else None,
        "privileged": bool(host.get("Privileged")),
        "network_mode": host["NetworkMode"],
        "pid_mode": host.get("PidMode") or None,
        "user": config.get("User") or None,
        "read_only": bool(host.get("ReadonlyRootfs")),
        "driver": driver_of(document),
        "kind": "container",
        "source": "store",
    }
    return tuple(values.get(name) for name in _COLUMNS)


def write_sizes(index: StoreIndex, layout: Layout, written: Mapping[str, int | None]) -> None:
    """Set what containers wrote to their own layers, in bytes by their IDs, and the sizes of their logs."""
    logs = (os.path.join(layout.root, FOLDER, id_, LOG) for id_ in written)
    sizes = [(size, _size_of(log), id_) for (id_, size), log in zip(written.items(), logs, strict=True)]
    with index.sql_transaction() as transaction:
        transaction.executemany("UPDATE container SET size_rw = ?, log_size = ? WHERE id = ?", sizes)


def measure_changes(path: str) -> int | None:
    """Return the bytes of the files that a container wrote; None when they cannot be read."""
    listing = os.path.join(path, LISTING)
    try:
        with open(listing, "rb") as lines:
            from imq.engine.layers.pack_changes import measure_changes

            return measure_changes(os.path.join(path, "rootfs"), lines)
    except FileNotFoundError:
        return measure_tree(os.path.join(path, "upper"))
    except OSError:
        return None


def _size_of(path: str) -> int | None:
    try:
        return os.lstat(path).st_size
    except OSError:
        return None


def measure_tree(path: str) -> int | None:
    """Return the bytes of the regular files below a folder, each counted once; None when it cannot be read."""
    total = 0
    seen: set[tuple[int, int]] = set()
    pending = [path]
    while pending:
        try:
            with os.scandir(pending.pop()) as entries:
                for entry in entries:
                    status = entry.stat(follow_symlinks=False)
                    if stat.S_ISDIR(status.st_mode):
                        pending.append(entry.path)
                    elif stat.S_ISREG(status.st_mode) and (status.st_dev, status.st_ino) not in seen:
                        if status.st_nlink > 1:
                            seen.add((status.st_dev, status.st_ino))
                        total += status.st_size
        except FileNotFoundError:
            continue  # the container removed it meanwhile
        except OSError:
            return None
    return total
