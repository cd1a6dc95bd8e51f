"""The OCI runtime specification of a container, as the client of containerd that made the container wrote it."""

from __future__ import annotations

from imq.grammar.record import TYPE_CHECKING, Record

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

_SYSTEM_MOUNTS = frozenset(
    (
        ("/proc", "proc"), ("/sys", "sysfs"), ("/sys/fs/cgroup", "cgroup"), ("/sys/fs/cgroup", "cgroup2"),
        ("/dev", "tmpfs"), ("/dev/pts", "devpts"), ("/dev/shm", "tmpfs"), ("/dev/mqueue", "mqueue"),  # noqa: S108 - paths in containers
    )
)  # fmt: skip
"""The targets and types of what every container has: no engine lists these as its mounts."""
_RUN = ("/run", "tmpfs", frozenset(("nosuid", "strictatime", "mode=755", "size=65536k")))
"""The tmpfs at /run that containerd adds; with other options it is one of the user."""
_PROPAGATIONS = ("private", "shared", "slave", "unbindable")
_BIND_OPTIONS = frozenset(("bind", "rbind"))


class SpecifiedMount(Record):
    """A mount of a container. `source` is a path of the host, None for a tmpfs; `propagation` is None by default."""

    type: str
    source: str | None
    target: str
    read_only: bool
    propagation: str | None


def parse_specification(content: bytes) -> tuple[Mapping[str, Any], str | None]:
    """Return the specification of a container, and why it cannot be read."""
    import json

    try:
        document = json.loads(content) if content else {}
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        return {}, "its specification is not a JSON object"
    return document, None


def get_object(document: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """Return an object of a specification; an empty one when it is missing or of another type."""
    value = document.get(key)
    return value if isinstance(value, dict) else {}


def read_strings(value: object) -> list[str]:
    """Return the strings of a list of a specification."""
    return [word for word in value if isinstance(word, str)] if isinstance(value, list) else []


def list_mounts(specification: Mapping[str, Any]) -> Iterator[SpecifiedMount]:
    """Yield the mounts of a container without those that every container has.

    The last one at a target hides the others there. A value of another type than its field counts as missing.
    """
    mounts = specification.get("mounts")
    by_target: dict[str, tuple[Mapping[str, Any], str]] = {}
    for mount in mounts if isinstance(mounts, list) else ():
        target = mount.get("destination") if isinstance(mount, dict) else None
        if isinstance(target, str) and target:
            by_target[target] = mount, target.rstrip("/") or "/"
    for mount, target in by_target.values():
        options, type_, source = read_strings(mount.get("options")), mount.get("type"), mount.get("source")
        if not _BIND_OPTIONS.isdisjoint(options):
            type_ = "bind"
        if (
            not isinstance(type_, str)
            or (target, type_) in _SYSTEM_MOUNTS
            or (target, type_, frozenset(options)) == _RUN
        ):
            continue
        has_source = isinstance(source, str) and source and type_ != "tmpfs"
        modes = [option for option in options if option in ("ro", "rw", "rro")]
        passed_on = [option for option in options if option.removeprefix("r") in _PROPAGATIONS]
        yield SpecifiedMount(
            type_,
            source if has_source else None,
            target,
            bool(modes) and modes[-1] != "rw",
            passed_on[-1] if passed_on else None,
        )
