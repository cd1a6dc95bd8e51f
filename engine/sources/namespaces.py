"""Hosts and namespaces as destinations, under which images keep their repositories and tags."""

from __future__ import annotations

from imq.engine.oci.reference import DEFAULT_REGISTRY, Reference
from imq.grammar.errors import StatementError


def parse_namespace(text: str) -> str | None:
    """Return the host or namespace in a destination; None for a name with a tag."""
    if text.endswith("/") or _is_host(text):
        return text.rstrip("/")
    name = Reference.parse(text)
    if name.digest is not None:
        raise StatementError(f'"{text}" has a digest; a destination can only have a tag', code="reference")
    return text if name.tag is None else None


def add_namespace(namespace: str, source: Reference) -> Reference:
    """Return the name of a source under a host or namespace, with the same repository and tag."""
    name = source.familiar_name
    if source.registry != DEFAULT_REGISTRY:
        name = source.repository
    selector = f":{source.tag}" if source.tag else f"@{source.digest}"
    return Reference.parse(f"{namespace}/{name}{selector}")


def _is_host(text: str) -> bool:
    """Return whether a string is a host. `app:5000` is a name with a tag."""
    host = text.partition(":")[0]
    return "/" not in text and ("." in host or host == "localhost" or text.startswith("["))
