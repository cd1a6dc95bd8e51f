"""Creates containers: their folders, with a description, and the layers of their images."""

from __future__ import annotations

import os
from contextlib import suppress

from imq.grammar.errors import NotFound
from imq.grammar.record import TYPE_CHECKING

from . import unpacked
from .document import check_limits, make_document, name_taken
from .drivers import choose_driver
from .folder import COPY, CREATING, DOCUMENT, FOLDER, LISTING, State, has_layers, lock_container, write_json
from .image_checks import check_platform, check_source, check_user, fits_mount
from .reader import Container
from .removal import remove_folder
from .runtime import may_make_cgroups
from .volumes import create_volume

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from .document import CreateOptions, ImageFacts
    from .reader import ContainerReader


class Creator:
    """Creates containers of one store."""

    def __init__(self, containers: ContainerReader) -> None:
        self._containers = containers

    def create(
        self, options: CreateOptions, image: ImageFacts, now: int, on_read: Callable[[int], None] = lambda _: None
    ) -> Container:
        """Create a container. Its layers are unpacked if they are not yet. After an error nothing is left of it."""
        from imq.engine.store.atomic_files import store_errors

        check_platform(image)
        if not may_make_cgroups():
            check_limits(options)
        store = self._containers.store
        store.check_exists()
        id_ = os.urandom(32).hex()
        name = options.name or self._choose_name(id_)
        document = make_document(id_, options.replace(name=name), image, now, self._containers.path_of(id_))
        for mount in options.mounts:
            if mount.source:
                check_source(mount)
        with (
            store_errors("create the container", store.root),
            unpacked.hold_layers(folder := unpacked.open_folder(store)),
        ):
            layers = unpacked.list_layers(image)
            document["Driver"] = choose_driver(folder) if fits_mount(document) else COPY
            if has_layers(document):
                unpacked.unpack_missing(store, folder, layers, on_read)
                check_user([folder.path_of(one) for one in unpacked.stack_layers(document)], document["Config"]["User"])
            lock = -1
            try:
                lock = self._make_folder(id_, document)
                if not has_layers(document):
                    root = os.path.join(self._containers.path_of(id_) + CREATING, "rootfs")
                    unpacked.unpack_root(store, folder, layers, root, on_read)
                    check_user([root], document["Config"]["User"])
                    self._list_files(id_, durable=not options.auto_remove)
                volumes = [mount.volume for mount in options.mounts if mount.volume]
                self._publish(id_, name, image, volumes, now, durable=not options.auto_remove)
            except BaseException:
                with suppress(FileNotFoundError):
                    remove_folder(self._containers.path_of(id_) + CREATING, State())
                raise
            finally:
                if lock >= 0:
                    os.close(lock)
        return Container(id_, name, document)

    def _choose_name(self, id_: str) -> str:
        """Return a name for a container without one."""
        from .names import choose_name, read_names

        containers = self._containers.store.layout.make_directory(FOLDER)
        return choose_name(id_, read_names(containers.path))

    def _make_folder(self, id_: str, document: Mapping[str, Any]) -> int:
        """Make the folder of a new container, without its files, and return the descriptor that holds its lock."""
        containers = self._containers.store.layout.make_directory(FOLDER)
        os.chmod(containers.descriptor, 0o700)
        path = self._containers.path_of(id_) + CREATING
        os.mkdir(path, 0o700)
        folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        lock = -1
        try:
            lock = lock_container(folder)
            overlay = ("upper", "work", "rootfs") if has_layers(document) else ()
            for name in (*overlay, "volumes"):
                os.mkdir(name, 0o755, dir_fd=folder)
                os.chmod(name, 0o755, dir_fd=folder)  # noqa: S103 - whatever the umask is; the root of a container
            for mount in document["Mounts"]:
                if mount["Type"] == "volume" and not mount.get("Name"):
                    os.mkdir(os.path.join("volumes", os.path.basename(mount["Source"])), 0o755, dir_fd=folder)
            write_json(folder, DOCUMENT, document, 0o600, durable=not document["HostConfig"]["AutoRemove"])
        except BaseException:
            if lock >= 0:
                os.close(lock)
            raise
        finally:
            os.close(folder)
        return lock

    def _list_files(self, id_: str, *, durable: bool) -> None:
        """Write the listing of the files of a new container, by which its changes are known."""
        from imq.engine.layers.pack_changes import list_files
        from imq.engine.store.atomic_files import sync_file_system

        path = self._containers.path_of(id_) + CREATING
        with open(os.path.join(path, LISTING), "xb") as file:
            file.writelines(list_files(os.path.join(path, "rootfs")))
        if durable:
            sync_file_system(self._containers.store.layout.make_directory(FOLDER))

    def _publish(
        self, id_: str, name: str, image: ImageFacts, volumes: Sequence[str], now: int, *, durable: bool
    ) -> None:
        """Give the folder its name, unless another container has the same name, or the image was removed.

        The volumes that it mounts are created if they do not exist.
        """
        from .names import read_names

        with self._containers.store.layout.lock():
            if (other := read_names(self._containers.path).get(name)) is not None:
                raise name_taken(name, other)
            if not self._has_image(image):
                raise NotFound(f"another process removed the image {image.name}", code="changed")
            for volume in volumes:
                create_volume(self._containers.store.layout, volume, now)
            os.rename(self._containers.path_of(id_) + CREATING, self._containers.path_of(id_))
            if durable:
                self._containers.store.layout.make_directory(FOLDER).sync()

    def _has_image(self, image: ImageFacts) -> bool:
        """Whether the store has an image. The index is read only if index.json has changed meanwhile."""
        if image.signature and image.signature == self._containers.store.layout.read_signature():
            return True
        self._containers.store.index.sync_with_layout()
        found = self._containers.store.index.connection.execute(
            "SELECT 1 FROM image WHERE manifest = ?", (image.manifest,)
        )
        return found.fetchone() is not None
