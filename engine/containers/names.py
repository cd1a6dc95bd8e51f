"""The names of containers. Those that are created without one get two words, as in docker and podman."""

from __future__ import annotations

import os
from contextlib import suppress

from imq.grammar.record import TYPE_CHECKING

from .document import damaged_container
from .folder import DOCUMENT, is_container_id, read_path

if TYPE_CHECKING:
    from collections.abc import Container

_FIRST = (
    "agile", "amber", "blue", "bold", "brave", "bright", "calm", "clever", "crisp", "eager", "early", "fair", "fresh",
    "gentle", "golden", "green", "happy", "jolly", "keen", "kind", "light", "lively", "lucid", "mellow", "merry",
    "neat", "noble", "proud", "quick", "quiet", "rapid", "sharp", "silent", "silver", "smart", "steady", "sunny",
    "swift", "vivid", "wise",
)  # fmt: skip
_SECOND = (
    "acorn", "anchor", "aspen", "badger", "beacon", "birch", "brook", "canyon", "cedar", "comet", "coral", "crane",
    "delta", "ember", "falcon", "fern", "finch", "garnet", "harbor", "heron", "island", "lantern", "lark", "maple",
    "meadow", "nebula", "otter", "pebble", "pine", "quartz", "raven", "reef", "river", "sparrow", "spruce", "summit",
    "thistle", "tulip", "walnut", "willow",
)  # fmt: skip


def choose_name(id_: str, used: Container[str]) -> str:
    """Return a name from the digits of an ID that is not used yet."""
    number = int(id_[:16], 16)
    words = f"{_FIRST[number % len(_FIRST)]}_{_SECOND[number // len(_FIRST) % len(_SECOND)]}"
    return words if words not in used else f"{words}_{id_[:6]}"


def read_names(folder: str) -> dict[str, str]:
    """Return the IDs of the containers in a folder by their names. Raises `StoreError` for a damaged container.

    Their documents are read: the index would have to be brought up to date, which reads more of each and may write.
    """
    names: dict[str, str] = {}
    for id_ in filter(is_container_id, os.listdir(folder)):
        path = os.path.join(folder, id_)
        with suppress(FileNotFoundError):  # it was removed meanwhile
            document = read_path(os.path.join(path, DOCUMENT))
            if isinstance(document, dict):
                names[document["Name"]] = id_
            elif os.path.lexists(path):
                raise damaged_container(path)
    return names
