"""The rows of the table `mounts`, from the document of a container as docker inspects it."""

from __future__ import annotations

from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

MOUNT_COLUMNS = ("type", "source_path", "volume", "target", "read_only", "driver", "propagation")


def list_mounts(document: Mapping[str, Any]) -> Iterator[tuple[object, ...]]:
    """Yield the values of `MOUNT_COLUMNS` of each mount. A value of another type than its field counts as missing.

    `Mounts` of a document lists a tmpfs only when it was made by `--mount`; the others are in its `HostConfig`.
    """
    mounts, host = document.get("Mounts"), document.get("HostConfig")
    targets = set()
    for mount in mounts if isinstance(mounts, list) else ():
        target = _read_text(mount, "Destination")
        if target is None:
            continue
        targets.add(target)
        writable = mount.get("RW")
        yield (
            _read_text(mount, "Type"), _read_text(mount, "Source"), _read_text(mount, "Name"), target,
            not writable if isinstance(writable, bool) else None, _read_text(mount, "Driver"),
            _read_text(mount, "Propagation"),
        )  # fmt: skip
    tmpfs = host.get("Tmpfs") if isinstance(host, dict) else None
    for target, options in tmpfs.items() if isinstance(tmpfs, dict) else ():
        if target not in targets:
            read_only = isinstance(options, str) and "ro" in options.split(",")
            yield "tmpfs", None, None, target, read_only, None, None


def _read_text(mount: object, key: str) -> str | None:
    value = mount.get(key) if isinstance(mount, dict) else None
    return value if isinstance(value, str) and value else None
