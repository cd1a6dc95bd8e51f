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
    if not reader.is_local(source):
        return None
    document = reader.get_document(source, "info")
    folder = document.get("DockerRootDir") if isinstance(document, dict) else None
    if not isinstance(folder, str) or document.get("Name") != socket.gethostname() or not os.path.isdir(folder):
        return None
    try:
        return measure_folder(folder)
    except OSError:
        return None
