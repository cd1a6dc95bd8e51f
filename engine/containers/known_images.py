"""The images that containers were made from, by the names that the user gave: a container of one needs no index.

Opening the index takes as long as all the other work for a container. A file `unpacked/NAME.image` is valid as long as
index.json and the lock of the store are the files of that time: any change of an image replaces index.json. It is read
only if it belongs to this user, as the unpacked layers do.
"""

from __future__ import annotations

import os
from contextlib import suppress

from imq.grammar.record import TYPE_CHECKING

from .document import ImageFacts
from .folder import read_json, write_json
from .unpacked import FOLDER, IMAGE

if TYPE_CHECKING:
    from imq.engine.store.directory import Directory
    from imq.engine.store.layout import Layout

_LONGEST_NAME = 200
"""The most bytes of a name: those of a file have 255."""


def find_known(layout: Layout, text: str) -> ImageFacts | None:
    """Return the image of a name as it was remembered; None when it is unknown, or index.json has changed since."""
    name = _file_of(text)
    try:
        folder = layout.root_directory.open_directory(FOLDER)
    except FileNotFoundError:
        return None
    if not name or os.fstat(folder.descriptor).st_uid != os.geteuid():
        return None
    document = read_json(folder.descriptor, name)
    if not isinstance(document, dict) or document.pop("store", "") != _identify(layout):
        return None
    try:
        facts = ImageFacts(**document)
    except TypeError:  # of another version
        return None
    if facts.signature != layout.read_signature():
        return None
    return facts.replace(diff_ids=tuple(facts.diff_ids), blobs=tuple((one, kind) for one, kind in facts.blobs))


def remember(layout: Layout, folder: Directory, text: str, image: ImageFacts) -> None:
    """Remember the image that a name has. Errors are ignored: it is looked up again."""
    if (name := _file_of(text)) and image.signature:
        document = {field: getattr(image, field) for field in ImageFacts.compared_fields()}
        with suppress(OSError):
            write_json(folder.descriptor, name, {**document, "store": _identify(layout)}, 0o600, durable=False)


def _identify(layout: Layout) -> str:
    """Return what differs in copies of a store, and on machines that choose another image of several platforms."""
    return f"{layout.origin()} {os.uname().machine}"


def _file_of(text: str) -> str:
    """Return the name of the file of an image, "" without one."""
    name = text.replace("%", "%25").replace("/", "%2f")
    return f"{name}{IMAGE}" if len(os.fsencode(name)) <= _LONGEST_NAME and "\0" not in name else ""
