"""The words that tell docker's command lines from statements."""

from __future__ import annotations

DOCKER_COMMANDS = frozenset({
    "attach", "commit", "container", "create", "exec", "history", "image", "images", "import", "inspect", "kill",
    "load", "login", "logout", "logs", "pause", "ps", "pull", "push", "restart", "rm", "rmi", "run", "save", "search",
    "start", "stop", "system", "tag", "unpause", "volume", "wait",
})  # fmt: skip
"""First words of docker's command lines."""
TABLE_NAMES = (
    "all_files", "archive_files", "blobs", "build_cache", "changes", "containers", "differences", "files", "history",
    "images", "layers", "lines", "logs", "manifests", "mounts", "os_releases", "packages", "platforms", "reclaim",
    "referrers", "repositories", "rows", "search", "services", "sources", "tags", "texts", "usage", "volumes",
    "waste",
)  # fmt: skip
"""The names of all tables: their declarations take longer to import than most command lines to run."""
_SET_OPERATORS = ("union", "except", "intersect")
"""Keywords that the grammar's tables do not list: the lexer reads them as one terminal."""


def list_keywords() -> set[str]:
    """Return the words that mark a statement where docker has a name."""
    from imq.grammar._lalr_tables import WORDS

    return {*(word for word in WORDS if word.isalpha()), *TABLE_NAMES, *_SET_OPERATORS}
