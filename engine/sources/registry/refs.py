"""What a `SourceRef` of registries means: a host, and which of its repositories."""

from __future__ import annotations

from imq.engine.oci.reference import DEFAULT_REGISTRY, Reference
from imq.grammar.errors import InvalidReference
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from imq.engine.query.source import SourceRef


def is_host(text: str) -> bool:
    """Whether a string looks like the host of a registry: with a dot or a port, or `localhost`."""
    if "." not in text and ":" not in text and text != "localhost":
        return False
    try:
        return Reference.parse(f"{text}/a").registry in (text, DEFAULT_REGISTRY)
    except InvalidReference:
        return False


def globs_of(ref: SourceRef) -> tuple[str, ...]:
    """Return the pattern as globs of whole paths, of which one must match; none: every path does.

    A pattern is a glob whose `*` crosses slashes, or a repository or namespace with all that is in it.
    """
    if not ref.pattern:
        return ()
    if any(sign in ref.pattern for sign in "*?["):
        return (ref.pattern,)
    return ref.pattern, f"{ref.pattern}/*"


def repository_of(ref: SourceRef) -> str:
    """Return the repository that the pattern is, if it is one at all; empty when it is a glob, or all."""
    return "" if not ref.pattern or any(sign in ref.pattern for sign in "*?[") else ref.pattern


def normalize_host(host: str) -> str:
    """Return the host by which a registry is known."""
    return DEFAULT_REGISTRY if host == "index.docker.io" else host
