"""The unpacked layers of the store, `unpacked/`: each is unpacked once, verified, and shared by all containers.

    unpacked/NAME        a layer of the overlay file system; NAME is the beginning of its diff ID
    unpacked/NAME.json   its whole diff ID and its size
    unpacked/base        the lowest layer of every container: mount points, and files that containers expect
    unpacked/ids         which IDs the user had who unpacked the layers, unless it was root
    unpacked/overlay     where overlayfs was found to work
    unpacked/NAME.image  what an image is that containers were made from by this name: see `known_images`
    unpacked/NUMBER.filter  what crun has compiled of a seccomp profile: see `seccomp_filters`
    unpacked/lock        shared while layers are added to a new container, exclusive while unneeded ones are removed

The mount options of a file system have at most 4095 bytes, and an image up to 127 layers: so the names are short.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager, suppress

from imq.engine.layers.user_namespace import has_single_id, is_user_namespace
from imq.grammar.errors import DigestMismatch, Malformed, NotFound, StoreError
from imq.grammar.record import TYPE_CHECKING, Record

from .folder import DOCUMENT, read_json, read_path, write_file, write_json
from .folder import FOLDER as CONTAINERS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from typing import Any

    from imq.engine.layers.layer_stack import StackedLayer
    from imq.engine.oci.digest import Digest
    from imq.engine.store.directory import Directory
    from imq.engine.store.store import Store

    from .document import ImageFacts

FOLDER = "unpacked"
BASE = "base"
_LOCK = "lock"
_NAME_LENGTH = 24
"""Hex digits of a name: nobody can find another layer with the same 96 bits."""
PARTIAL = ".partial"
"""The end of the name of what is being made."""
TESTED = "overlay"
"""The file that says on which file system, and with which kernel, overlayfs works: see `drivers`."""
_REMOVED = ".removed"
IMAGE = ".image"
"""The end of the name of a file about an image."""
FILTER = ".filter"
"""The end of the name of a compiled seccomp profile."""
IDS = "ids"
"""The file that says which IDs the user namespace of an ordinary user had when layers were unpacked."""
_SINGLE, _SEVERAL = "a single ID", "the IDs of /etc/subuid"
_LONGEST_IDS = 64
_BASE_FOLDERS = ("dev", "dev/pts", "dev/shm", "etc", "proc", "sys")
_BASE_FILES = ("dev/console", "etc/hosts", "etc/hostname", "etc/resolv.conf")
_BASE_LINKS = {"etc/mtab": "/proc/mounts"}


class LayerRow(Record):
    """A layer of an image in the store."""

    digest: Digest
    diff_id: Digest
    media_type: str


def name_of(diff_id: str) -> str:
    """Return the name of an unpacked layer in its folder."""
    return diff_id.partition(":")[2][:_NAME_LENGTH]


def stack_layers(document: Mapping[str, Any]) -> list[str]:
    """Return the names of the unpacked layers of a container, the highest first. A layer is mounted once."""
    names = [name_of(diff_id) for diff_id in document["Layers"]]
    highest = list(dict.fromkeys(reversed(names)))
    return [*highest, BASE]


def open_folder(store: Store) -> Directory:
    """Open the folder of unpacked layers, created if it is missing. Only its owner can read it.

    Raises `StoreError` (`permission`) for root when it is that of another user: the owners in it are other ones.
    """
    folder = store.layout.make_directory(FOLDER)
    check_owner(store)
    os.chmod(folder.descriptor, 0o700)
    return folder


def check_owner(store: Store) -> None:
    """Raise `StoreError` when the files of the unpacked layers of a store have other owners than in their images.

    They do when another user has unpacked them (`permission`), and when this one had other IDs (`user-namespace`).
    """
    path = os.path.join(store.root, FOLDER)
    if os.path.exists(path) and os.stat(path).st_uid != os.geteuid():
        raise StoreError(
            f"the unpacked layers in {path} are those of another user",
            code="permission",
            hints=("run imq as the owner of the store, or use another store: --root",),
        )
    if is_user_namespace() and os.path.exists(path):
        _check_ids(path)


def _check_ids(path: str) -> None:
    """Compare the IDs of this user namespace with those of the time when the first layer was unpacked."""
    ids = _SINGLE if has_single_id() else _SEVERAL
    try:
        with open(os.path.join(path, IDS), encoding="ascii") as file:
            known = file.read(_LONGEST_IDS)
    except FileNotFoundError:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            with suppress(OSError):  # on a full disk: the next one writes it
                write_file(descriptor, IDS, ids.encode(), durable=False)
        finally:
            os.close(descriptor)
        return
    if known != ids:
        raise StoreError(
            f"the layers in {path} were unpacked with {known}, and this user has {ids} now:"
            " their files have other owners than in their images",
            code="user-namespace",
            hints=(
                "restore the lines of this user in /etc/subuid and /etc/subgid",
                f"or unpack them again: commit what is needed of the containers, remove them, then remove {path}",
            ),
        )


@contextmanager
def hold_layers(folder: Directory) -> Iterator[None]:
    """Keep unneeded layers from being removed during the block."""
    folder.ensure_file(_LOCK)
    descriptor = folder.open_file(_LOCK, os.O_RDWR)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        yield
    finally:
        os.close(descriptor)


def unpack_missing(
    store: Store, folder: Directory, layers: Sequence[LayerRow], on_read: Callable[[int], None] = lambda _: None
) -> None:
    """Unpack the layers that are not there yet. The caller holds the layers.

    Raises `DigestMismatch` and `Malformed` for a corrupt layer, and `StoreError`, for example for a full disk.
    """
    from imq.engine.store.atomic_files import store_errors

    with store_errors("unpack a layer", store.root):
        _make_base(folder)
        for layer in layers:
            status = folder.status(name_of(layer.diff_id))
            if status is None:
                _unpack(store, folder, layer, on_read)
            elif (facts := read_json(folder.descriptor, f"{name_of(layer.diff_id)}.json")) is None or facts.get(
                "diff_id"
            ) != layer.diff_id:
                raise Malformed(f"{folder.path_of(name_of(layer.diff_id))} is not the layer {layer.diff_id}")


def unpack_root(
    store: Store,
    folder: Directory,
    layers: Sequence[LayerRow],
    root: str,
    on_read: Callable[[int], None] = lambda _: None,
) -> None:
    """Create a folder with the files of all layers, and the base below them, for a container without overlayfs.

    Raises `DigestMismatch` and `Malformed` for a corrupt layer, and `OSError`.
    """
    import hashlib
    from io import BytesIO

    from imq.engine.layers.layer_stack import StackedLayer
    from imq.engine.layers.pack import pack_tree
    from imq.engine.layers.unpack import unpack_layers
    from imq.engine.oci.digest import Digest
    from imq.engine.store.measure import find_corruption

    _make_base(folder)
    content = b"".join(map(bytes, pack_tree(folder.path_of(BASE))))
    digest = Digest(f"sha256:{hashlib.sha256(content).hexdigest()}")
    base = StackedLayer(digest, digest, "", lambda: BytesIO(content))
    try:
        unpack_layers((base, *(_stack_layer(store, layer, on_read) for layer in layers)), root, privileged=True)
    except (DigestMismatch, Malformed) as problem:
        raise find_corruption(store, [layer.digest for layer in layers], problem) from None


def _stack_layer(store: Store, layer: LayerRow, on_read: Callable[[int], None]) -> StackedLayer:
    from imq.engine.layers.layer_stack import StackedLayer
    from imq.engine.oci import media_types
    from imq.engine.progress import CountingReader

    if not media_types.is_layer(layer.media_type):
        from imq.engine.oci.manifest import Descriptor
        from imq.engine.store.layout import unknown_layer_type

        raise unknown_layer_type(Descriptor(layer.media_type, layer.digest, 0))
    return StackedLayer(
        layer.digest, layer.diff_id, None, lambda: CountingReader(store.open_blob(layer.digest), on_read)
    )


def _unpack(store: Store, folder: Directory, layer: LayerRow, on_read: Callable[[int], None]) -> None:
    from imq.engine.layers.remove_tree import remove_tree
    from imq.engine.layers.unpack_overlay import unpack_overlay_layer
    from imq.engine.store.atomic_files import sync_file_system
    from imq.engine.store.measure import find_corruption

    name = name_of(layer.diff_id)
    partial = f"{name}.{os.getpid()}{PARTIAL}"
    path = folder.path_of(partial)
    try:
        result = unpack_overlay_layer(_stack_layer(store, layer, on_read), path)
    except (DigestMismatch, Malformed) as problem:
        raise find_corruption(store, [layer.digest], problem) from None
    try:
        write_json(folder.descriptor, f"{name}.json", {"diff_id": layer.diff_id, "size": result.size})
        sync_file_system(folder)
        os.rename(partial, name, src_dir_fd=folder.descriptor, dst_dir_fd=folder.descriptor)
    except BaseException as problem:
        remove_tree(path)
        if isinstance(problem, OSError) and folder.status(name) is not None:  # another process was faster
            return
        raise
    folder.sync()


def _make_base(folder: Directory) -> None:
    """Create the lowest layer of every container. Files of an image replace its files."""
    if folder.status(BASE) is not None:
        return
    from imq.engine.layers.remove_tree import remove_tree

    partial = f"{BASE}.{os.getpid()}{PARTIAL}"
    path = folder.path_of(partial)
    os.mkdir(path)
    try:
        os.chmod(path, 0o755)  # noqa: S103 - containers see it; its parent is private
        for name in _BASE_FOLDERS:
            os.mkdir(f"{path}/{name}")
            os.chmod(f"{path}/{name}", 0o755)  # noqa: S103
        for name in _BASE_FILES:
            with open(f"{path}/{name}", "xb") as file:
                os.fchmod(file.fileno(), 0o755)
        for name, target in _BASE_LINKS.items():
            os.symlink(target, f"{path}/{name}")
        for name in (*_BASE_FOLDERS, *_BASE_FILES, "."):
            os.utime(f"{path}/{name}", (0, 0))
        os.rename(path, folder.path_of(BASE))
    except OSError:
        remove_tree(path)
        if folder.status(BASE) is None:
            raise


def measure_usage(store: Store) -> tuple[int, int, int, int]:
    """Return the number of unpacked layers, how many of them containers use, their bytes, and those of the unused."""
    try:
        folder = store.layout.root_directory.open_directory(FOLDER)
        names = [name for name in folder.list_names() if name.endswith(".json")]
    except OSError:
        return 0, 0, 0, 0
    used = set()
    containers = os.path.join(store.root, CONTAINERS)
    for (id_,) in store.index.connection.execute("SELECT id FROM container"):
        with suppress(OSError):
            document = read_path(os.path.join(containers, id_, DOCUMENT))
            used |= {name_of(diff_id) for diff_id in document["Layers"]} if isinstance(document, dict) else set()
    sizes = {}
    for name in names:
        facts = read_json(folder.descriptor, name)
        sizes[name.removesuffix(".json")] = facts.get("size", 0) if isinstance(facts, dict) else 0
    unused = sum(size for name, size in sizes.items() if name not in used)
    return len(sizes), len(used & sizes.keys()), sum(sizes.values()), unused


def remove_unneeded(store: Store, list_needed: Callable[[], set[str]]) -> int:
    """Remove the layers that no container or image needs, and leftovers; return the number of bytes freed.

    `list_needed` returns the diff IDs that are needed. Nothing is removed while a container is being created.
    """
    from imq.engine.layers.remove_tree import remove_tree

    try:
        folder = store.layout.root_directory.open_directory(FOLDER)
        descriptor = folder.open_file(_LOCK, os.O_RDWR)
    except (FileNotFoundError, PermissionError):
        return 0
    freed = 0
    removed: list[str] = []
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return 0
        needed = {name_of(diff_id) for diff_id in list_needed()}
        for name in folder.list_names():
            base, _, ending = name.partition(".")
            if (
                name in (BASE, _LOCK, TESTED, IDS)
                or (base in needed and not ending)
                or (base in needed and ending == "json")
            ):
                continue
            if name.endswith(FILTER) and needed:
                continue
            if any(name.endswith(one) or f"{one}." in name for one in (IMAGE, FILTER)):  # the second: a part of one
                folder.remove_file(name)
            elif ending == "json":
                facts = read_json(folder.descriptor, name)
                if isinstance(facts, dict):
                    freed += facts.get("size", 0)
                folder.remove_file(name)
            elif name.endswith(_REMOVED):
                removed.append(name)
            else:
                trash = f"{name}.{os.getpid()}{_REMOVED}"
                with suppress(OSError):
                    folder.rename(name, trash)
                    removed.append(trash)
    finally:
        os.close(descriptor)
    for name in removed:
        with suppress(OSError):
            remove_tree(folder.path_of(name))
    return freed


def list_layers(image: ImageFacts) -> list[LayerRow]:
    """Return the layers of an image, bottom first."""
    from imq.engine.oci.digest import Digest

    return [
        LayerRow(Digest(digest), Digest(diff_id), media_type)
        for (digest, media_type), diff_id in zip(image.blobs, image.diff_ids, strict=True)
    ]


def list_image_layers(store: Store, manifest: str) -> list[LayerRow]:
    """Return the layers of an image of the store, bottom first. Raises `NotFound` when the image is gone."""
    from imq.engine.oci.digest import Digest

    connection = store.index.connection
    rows = connection.execute(
        "SELECT digest, diff_id, media_type FROM layer WHERE image = (SELECT key FROM image WHERE manifest = ?)"
        " ORDER BY position",
        (manifest,),
    ).fetchall()
    if not rows and connection.execute("SELECT 1 FROM image WHERE manifest = ?", (manifest,)).fetchone() is None:
        raise NotFound(f"the image {manifest} was removed", code="changed")
    return [LayerRow(Digest(digest), Digest(diff_id), media_type) for digest, diff_id, media_type in rows]


def list_needed_diff_ids(store: Store, of_containers: Iterable[str]) -> set[str]:
    """Return the diff IDs of the layers that images of the store have, and those of containers."""
    rows = store.index.connection.execute("SELECT DISTINCT diff_id FROM layer")
    return {row[0] for row in rows} | set(of_containers)
