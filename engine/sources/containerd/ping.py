"""The namespaces of containerd as places, and how many images they hold."""

from __future__ import annotations

from contextlib import closing
from functools import partial

from imq.engine.containerd_client.client import ContainerdClient
from imq.engine.query.source import Place
from imq.grammar.errors import NotFound
from imq.grammar.record import TYPE_CHECKING

from .names import NAME

if TYPE_CHECKING:
    from collections.abc import Sequence

_TIMEOUT = 3.0
"""Seconds of silence after which containerd counts as unreachable."""
_DEFAULT_TIMEOUT = 1.0
"""The same when imq looks for a default source: every command waits for it."""
_KIND = "a containerd namespace"


def make_place(address: str) -> Place:
    """Return the row of `sources` for containerd. Its request returns the namespaces, if there are any."""
    return Place(NAME, "containerd", address, request=partial(_list_namespaces, address))


def make_namespace_place(name: str, namespace: str, address: str) -> Place:
    """Return the row of `sources` for a namespace. Its request counts the images."""

    def request() -> int:
        with closing(ContainerdClient(address, timeout=_TIMEOUT)) as client:
            return _count_images(client, namespace)

    return Place(name, _KIND, address, request=request)


def _list_namespaces(address: str) -> Sequence[Place] | int:
    with closing(ContainerdClient(address, timeout=_TIMEOUT)) as client:
        namespaces = sorted(client.list_namespaces())
        return [Place(f"{NAME}:{name}", _KIND, address, _count_images(client, name)) for name in namespaces] or 0


def _count_images(client: ContainerdClient, namespace: str) -> int:
    return len({record.target.digest for record in client.list_images(namespace)})


def make_default(name: str, namespace: str, address: str) -> Place:
    """Return a namespace as a default source. Its request raises `NotFound` for a namespace without images."""

    def request() -> None:
        with closing(ContainerdClient(address, timeout=_DEFAULT_TIMEOUT)) as client:
            if not client.list_images(namespace):
                raise NotFound(f"{name} at {address} has no images", code="engine-empty")

    return Place(name, _KIND, address, request=request)
