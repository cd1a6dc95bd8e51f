"""The seccomp filters that crun has compiled: it takes one that is given, which saves half of its time.

A file `unpacked/NUMBER.filter` has the filter of one profile, and says by which program and since which boot of the
machine it was compiled. Newer versions of crun keep such files themselves, also until the machine is started again.
runc takes no filters.
"""

from __future__ import annotations

import json
import os
from binascii import b2a_base64, crc32
from contextlib import suppress

from imq.grammar.record import TYPE_CHECKING

from .folder import read_boot_id, read_json, write_json
from .unpacked import FILTER

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

ANNOTATION = "run.oci.seccomp_bpf_data"
"""crun uses this filter in place of the profile; a runtime that does not know the annotation uses the profile."""
_COMPILED = "seccomp.bpf"
"""The filter in the folder where crun keeps the state of a container."""
_INSTRUCTION, _MOST_INSTRUCTIONS = 8, 4096
"""The bytes of an instruction, and how many the kernel accepts."""
_UNSUPPORTED = ("flags", "listenerPath", "listenerMetadata")
"""Parts of a profile that are not in its filter."""


def find_filter(unpacked: str, profile: Mapping[str, Any], runtime: str) -> str:
    """Return the filter of a profile as the annotation has it; "" when it is unknown.

    `unpacked` is the folder of this name in the store, `runtime` the path of crun. The folder must belong to this user.
    """
    text = json.dumps(profile)
    try:
        folder = os.open(unpacked, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        document = read_json(folder, _file_of(text)) if os.fstat(folder).st_uid == os.geteuid() else None
    except OSError:
        return ""
    finally:
        os.close(folder)
    if not isinstance(document, dict) or document.get("profile") != text:
        return ""
    return str(document.get("filter", "")) if document.get("compiler") == _identify(runtime) else ""


def keep_filter(unpacked: str, profile: Mapping[str, Any], runtime: str, state: str) -> None:
    """Keep the filter that crun has compiled for a container; `state` is the folder where it has the state of it.

    Errors are ignored: then the next container has its filter compiled too.
    """
    if any(profile.get(name) for name in _UNSUPPORTED):
        return
    with suppress(OSError):
        with open(os.path.join(state, _COMPILED), "rb") as file:
            content = file.read(_INSTRUCTION * _MOST_INSTRUCTIONS + 1)
        if not content or len(content) % _INSTRUCTION or len(content) > _INSTRUCTION * _MOST_INSTRUCTIONS:
            return
        text, encoded = json.dumps(profile), b2a_base64(content, newline=False).decode()
        document = {"profile": text, "compiler": _identify(runtime), "filter": encoded}
        folder = os.open(unpacked, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            write_json(folder, _file_of(text), document, 0o600, durable=False)
        finally:
            os.close(folder)


def _identify(runtime: str) -> str:
    """Return what another version of the program, or the machine after its next start, does not have."""
    status = os.stat(runtime)
    facts = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    return f"{runtime} {facts} {read_boot_id()}"


def _file_of(profile: str) -> str:
    return f"{crc32(profile.encode()):08x}{FILTER}"
