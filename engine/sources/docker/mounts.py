"""The table `mounts` of engines: what containers mount, as a listing of containers has it."""

from __future__ import annotations

from imq.grammar.record import TYPE_CHECKING

from .container_listing import name_container
from .container_rows import ContainerRowsScan
from .json_documents import read_boolean, read_objects, read_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

_COLUMNS = ("type", "source_path", "volume", "target", "read_only", "driver", "propagation")


class Mounts(ContainerRowsScan):
    """The rows of `mounts`. They are known when containers are listed, so no row is a container."""

    row_columns = _COLUMNS

    def _add_containers(self, source: str, items: Any) -> None:
        self.insert(
            (name, source, name_container(item), item["Id"], read_text(item.get("Image")), 0, *mount, None)
            for name, item in items
            for mount in list_mounts(item)
        )


def list_mounts(document: Mapping[str, Any]) -> Iterator[tuple[object, ...]]:
    """Yield the values of the columns of each mount of a container, as it is listed or inspected."""
    for mount in read_objects(document.get("Mounts")):
        target = read_text(mount.get("Destination"))
        if target is None:
            continue
        writable = read_boolean(mount.get("RW"))
        yield (
            read_text(mount.get("Type")) or None, read_text(mount.get("Source")) or None,
            read_text(mount.get("Name")) or None, target, None if writable is None else not writable,
            read_text(mount.get("Driver")) or None, read_text(mount.get("Propagation")) or None,
        )  # fmt: skip
