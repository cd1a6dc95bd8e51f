"""How statements name containerd: `containerd`, `containerd:NAMESPACE`, `containerd:*`; and where its socket is."""

from __future__ import annotations

import os
import re

from imq.grammar.errors import StatementError
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

NAME = "containerd"
ALL_NAMESPACES = "*"
KUBERNETES = "k8s.io"
"""The namespace in which the kubelet keeps its images."""
ADDRESSES = ("/run/containerd/containerd.sock", "/run/k3s/containerd/containerd.sock")
"""The sockets of containerd, and of the one that k3s and RKE2 bring along. The first is the default of ctr."""
_DEFAULT_NAMESPACE = "default"
_NAMESPACE_PATTERN = r"[A-Za-z0-9]+(?:[._-][A-Za-z0-9]+)*\Z"
_MAX_NAMESPACE = 76


def parse_name(text: str, environment: Mapping[str, str]) -> str | None:
    """Return the namespace that a string names, `*` for all; None for a string that names none.

    `containerd` alone is the namespace of ctr: $CONTAINERD_NAMESPACE, else `default`. Raises `StatementError`.
    """
    prefix, colon, namespace = text.partition(":")
    if prefix.lower() != NAME:
        return None
    if not colon:
        return environment.get("CONTAINERD_NAMESPACE") or _DEFAULT_NAMESPACE
    is_valid = re.match(_NAMESPACE_PATTERN, namespace) is not None and len(namespace) <= _MAX_NAMESPACE
    if namespace != ALL_NAMESPACES and not is_valid:
        raise StatementError(
            f'"{namespace}" is not a namespace of containerd',
            code="namespace",
            hints=("example: in containerd:k8s.io; in containerd:* for all namespaces",),
        )
    return namespace


def find_address(environment: Mapping[str, str]) -> str:
    """Return the path of the socket: $CONTAINERD_ADDRESS, else that of k3s when only it exists, else the default."""
    address = environment.get("CONTAINERD_ADDRESS", "").removeprefix("unix://")
    return address or next(filter(os.path.exists, ADDRESSES), ADDRESSES[0])
