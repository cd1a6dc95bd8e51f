"""The scopes of access tokens: what a request wants to do to which repository."""

from __future__ import annotations

CATALOG_SCOPE = ("registry:catalog:*",)
"""The scope of listing all repositories."""


def pull_scope(repository: str) -> tuple[str, ...]:
    """Return the scope of reading a repository."""
    return (f"repository:{repository}:pull",)


def delete_scope(repository: str) -> tuple[str, ...]:
    """Return the scope of removing from a repository, what is there being looked at before."""
    return (f"repository:{repository}:delete,pull",)


def push_scope(repository: str, source: str | None = None) -> tuple[str, ...]:
    """Return the scope of writing to a repository, and of reading the one that blobs are mounted from."""
    own = f"repository:{repository}:pull,push"
    return (own, f"repository:{source}:pull") if source and source != repository else (own,)
