"""The words that tell docker's command lines from statements."""

from __future__ import annotations

DOCKER_COMMANDS = frozenset({
    "attach", "commit", "container", "create", "exec", "history", "image", "images", "import", "inspect", "kill",
    "load", "login", "logout", "logs", "pause", "ps", "pull", "push", "restart", "rm", "rmi", "run", "save", "search",
    "start", "stop", "system", "tag", "unpause", "volume", "wait",
})  # fmt: skip
"""First words of docker's command lines."""
_SET_OPERATORS = ("union", "except", "intersect")
"""Keywords that the grammar's tables do not list: the lexer reads them as one terminal."""


def list_keywords() -> set[str]:
    """Return the words that mark a statement where docker has a name."""
    from imq.engine.catalog.tables import TABLES, UNAVAILABLE_TABLES
    from imq.grammar._lalr_tables import WORDS

    return {*(word for word in WORDS if word.isalpha()), *TABLES, *UNAVAILABLE_TABLES, *_SET_OPERATORS}
