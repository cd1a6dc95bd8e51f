"""The options that a container was made with, from its document, to make another one like it."""

from __future__ import annotations

import os

from imq.engine.oci.config_overrides import read_overrides
from imq.grammar.record import TYPE_CHECKING

from .bundle import Mount
from .document import CreateOptions

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

_CPU = 1_000_000_000
_SHORT = 12
_FIELDS = ("AutoRemove", "Binds", "Init", "Memory", "NanoCpus", "NetworkMode", "PidsLimit", "Privileged",
           "ReadonlyRootfs")  # fmt: skip
"""The keys of `HostConfig` for which `CreateOptions` has fields."""


def read_given_options(document: Mapping[str, Any], image: Mapping[str, Any], name: str) -> CreateOptions:
    """Return the options of a container for a new one with another name.

    `image` is the object `config` of the image that the container was made from.
    """
    own, host = read_overrides(document["Config"], image), document["HostConfig"]
    hostname = str(own.get("Hostname") or "")
    entrypoint = own.get("Entrypoint")
    is_replaced = (document["Config"].get("Entrypoint") or None) != (image.get("Entrypoint") or None)
    return CreateOptions(
        name=name,
        arguments=tuple(own.get("Cmd") or ()),
        entrypoint=tuple(entrypoint or ()) if is_replaced else None,
        environment=tuple(own["Env"]),
        labels=tuple((own.get("Labels") or {}).items()),
        user=own.get("User") or "",
        workdir=own.get("WorkingDir") or "",
        hostname="" if hostname == document["Id"][:_SHORT] else hostname,
        mounts=tuple(_read_mounts(document, image)),
        network=host["NetworkMode"],
        read_only=bool(host.get("ReadonlyRootfs")),
        memory=host.get("Memory") or 0,
        cpus=(host.get("NanoCpus") or 0) / _CPU,
        pids=host.get("PidsLimit") or 0,
        stop_signal=own.get("StopSignal") or "",
        stop_timeout=own.get("StopTimeout"),
        auto_remove=bool(host.get("AutoRemove")),
        keeps_stdin=bool(own.get("OpenStdin")),
        attaches=bool(own.get("StdinOnce")),
        terminal=bool(own.get("Tty")),
        privileged=bool(host.get("Privileged")),
        init=bool(host.get("Init")),
        ports=tuple(own.get("ExposedPorts") or ()),
        timeout=document.get("Timeout") or 0,
        health=own.get("Healthcheck") or {},
        host_config={key: value for key, value in host.items() if key not in _FIELDS},
    )


def _read_mounts(document: Mapping[str, Any], image: Mapping[str, Any]) -> Iterator[Mount]:
    """Yield the mounts that were given; the image's own volumes are not."""
    declared = {f"/{target.strip('/')}" for target in image.get("Volumes") or ()}
    for mount in document["Mounts"]:
        is_own_volume = mount["Type"] == "volume" and not mount.get("Name")
        if is_own_volume and mount["Destination"] in declared:
            continue
        yield Mount(
            mount["Source"] if mount["Type"] == "bind" else "",
            mount["Destination"],
            read_only=not mount["RW"],
            propagation=mount.get("Propagation") or "rprivate",
            volume=mount.get("Name") or "",
            copies=not mount.get("NoCopy"),
        )


def move_own_volumes(old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    """Move the volumes without a name from one stopped container to another that has them at the same places.

    Those that the other one has are exchanged, so the same call with the containers exchanged moves all back.
    """
    theirs = {mount["Destination"]: mount["Source"] for mount in _list_own_volumes(new)}
    for mount in _list_own_volumes(old):
        target = theirs.get(mount["Destination"])
        if target is None:
            continue
        aside = f"{target}.aside"
        os.rename(target, aside)
        os.rename(mount["Source"], target)
        os.rename(aside, mount["Source"])


def _list_own_volumes(document: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [mount for mount in document["Mounts"] if mount["Type"] == "volume" and not mount.get("Name")]
