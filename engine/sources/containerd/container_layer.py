"""The changes of a container of containerd as a layer, from the folder of its snapshot."""

from __future__ import annotations

import os

from imq.engine.layers.pack import pack_overlay_layer
from imq.engine.sources.contents.container_layer import ContainerLayer
from imq.grammar.errors import EngineError
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from imq.engine.containerd_client.client import ContainerdClient, ContainerRecord

_UPPER = "upperdir="


def read_container_layer(
    client: ContainerdClient, namespace: str, container: ContainerRecord, environment: Mapping[str, str]
) -> ContainerLayer:
    """Return the changes of a container as a layer: only its writable folder is read, and nothing is mounted.

    Raises `EngineError` for a snapshotter without such a folder, or when this process cannot read it.
    """
    layer = ContainerLayer(environment)
    for piece in pack_overlay_layer(_find_upper(client, namespace, container)):
        layer.write(piece)
    return layer


def _find_upper(client: ContainerdClient, namespace: str, container: ContainerRecord) -> str:
    mounts = client.list_mounts(namespace, container.snapshotter, container.snapshot_key)
    options = [option for mount in mounts if mount.type == "overlay" for option in mount.options]
    upper = next((option.removeprefix(_UPPER) for option in options if option.startswith(_UPPER)), None)
    if upper is None:
        raise EngineError(
            f"the changes of {container.id} cannot be read: the snapshotter {container.snapshotter} does not keep them"
            " in a folder of their own",
            code="unsupported",
        )
    if not os.access(upper, os.R_OK | os.X_OK):
        raise EngineError(
            f"the changes of {container.id} cannot be read: {upper} is not readable here",
            code="permission",
            hints=("run imq as root on the host of containerd",),
        )
    return upper
