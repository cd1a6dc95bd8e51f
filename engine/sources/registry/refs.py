"""The meaning of a `SourceRef` of registries: a host and a pattern of repositories."""

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


def make_path_globs(ref: SourceRef) -> tuple[str, ...]:
    """Return globs for whole repository paths. A path matches if one of them does, or if there are none.

    A pattern is a glob whose `*` crosses slashes, or a repository or namespace with everything below it.
    """
    if not ref.pattern:
        return ()
    if any(sign in ref.pattern for sign in "*?["):
        return (ref.pattern,)
    return ref.pattern, f"{ref.pattern}/*"


def get_exact_repository(ref: SourceRef) -> str:
    """Return the repository that the pattern names, or "" for a glob or an empty pattern."""
    return "" if not ref.pattern or any(sign in ref.pattern for sign in "*?[") else ref.pattern


def normalize_host(host: str) -> str:
    """Return the canonical host of a registry."""
    return DEFAULT_REGISTRY if host == "index.docker.io" else host
