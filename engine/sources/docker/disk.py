"""The disk of an engine: that of its root folder, when the engine runs on this machine."""

from __future__ import annotations

import os
import socket

from imq.engine.query.disk_space import measure_folder
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from imq.engine.query.disk_space import DiskSpace

    from .reader import EngineReader


def measure_engine_disk(reader: EngineReader, source: str) -> DiskSpace | None:
    """Return the space of the disk that holds the images of an engine; None when it is not a disk of this machine.

    A socket of this machine can lead to an engine in a virtual machine, which has another name and other folders.
    """
    folder, _ = find_root_folder(reader, source)
    if not folder:
        return None
    try:
        return measure_folder(folder)
    except OSError:
        return None


def find_root_folder(reader: EngineReader, source: str) -> tuple[str, str]:
    """Return the root folder of an engine on this machine, and its storage driver; "" for both elsewhere."""
    document = reader.get_document(source, "info") if reader.is_local(source) else None
    if not isinstance(document, dict) or document.get("Name") != socket.gethostname():
        return "", ""
    folder, driver = document.get("DockerRootDir"), document.get("Driver")
    if not isinstance(folder, str) or not os.path.isdir(folder):
        return "", ""
    return folder, driver if isinstance(driver, str) else ""
