"""Which namespaces containerd has, and how many images they hold."""

from __future__ import annotations

from imq.engine.containerd_client.client import ContainerdClient
from imq.grammar.errors import ImqError

from .names import NAME

_PING_TIMEOUT = 3.0
"""Seconds that containerd has to answer."""
_KIND = "a containerd namespace"


def ping_address(address: str) -> list[tuple[str, str, str, bool, int | None]]:
    """Return a row of `sources` for each namespace: name, kind, address, whether it answers, and its images."""
    client = ContainerdClient(address, timeout=_PING_TIMEOUT)
    try:
        namespaces = sorted(client.list_namespaces())
        counts = [len({record.target.digest for record in client.list_images(namespace)}) for namespace in namespaces]
    except ImqError:
        return [(NAME, "containerd", address, False, None)]
    finally:
        client.close()
    if not namespaces:
        return [(NAME, "containerd", address, True, 0)]
    return [
        (f"{NAME}:{namespace}", _KIND, address, True, count)
        for namespace, count in zip(namespaces, counts, strict=True)
    ]
