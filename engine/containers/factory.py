"""The containers of a store, as this process may work on them."""

from __future__ import annotations

import os

from imq.grammar.record import TYPE_CHECKING

from .containers import Containers

if TYPE_CHECKING:
    from collections.abc import Mapping

    from imq.engine.store.store import Store


def make_containers(store: Store, runtime: str, environment: Mapping[str, str]) -> Containers:
    """Return the containers of a store; those of an ordinary user are in a user namespace."""
    if os.geteuid() == 0:
        return Containers(store, runtime, environment)
    from .rootless import RootlessContainers

    return RootlessContainers(store, runtime, environment)
