"""Docker's command lines in a session: lines that are no statements of the language, and that docker has."""

from __future__ import annotations

import shlex

from imq.cli.docker_words import DOCKER_COMMANDS, list_keywords
from imq.grammar.errors import StatementError
from imq.grammar.parser import parse
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from imq.cli.options import Options
    from imq.cli.output import Console
    from imq.engine.session.session import Session
    from imq.grammar.lexer import Vocabulary

_PROGRAMS = ("docker", "podman", "imq")
"""First words of a line that was copied from a shell."""
_TAG_WORDS = 3


def find_docker_line(text: str, vocabulary: Vocabulary) -> list[str] | None:
    """Return the arguments of a docker command line; None for a statement of the language.

    What the language can parse is a statement: `rm redis:7` removes an image. Only `tag A B` is docker's.
    """
    first, *rest = text.split(maxsplit=2) or [""]
    first = rest[0] if first in _PROGRAMS and rest else first
    if first not in DOCKER_COMMANDS or "\n" in text.strip():
        return None
    try:
        words = shlex.split(text)
    except ValueError:
        return None
    words = words[1:] if words[0] in _PROGRAMS else words
    is_tag = words[0] == "tag" and len(words) == _TAG_WORDS and not any("," in word for word in words)
    if not is_tag and _is_statement(text, vocabulary):
        return None
    from imq.docker.detect import parse_docker_line

    from_docker = parse_docker_line(words, list_keywords())
    return words if from_docker is not None and (from_docker.error is None or _has_flag(words)) else None


def has_docker_flag(text: str) -> bool:
    """Whether a text that is being typed begins like a docker command line with a flag."""
    first, *rest = text.split() or [""]
    first, rest = (rest[0], rest[1:]) if first in _PROGRAMS and rest else (first, rest)
    return first in DOCKER_COMMANDS and _has_flag(rest)


def run_docker_line(console: Console, session: Session, options: Options, arguments: list[str]) -> int:
    """Run a docker command line in this session, and return its exit code."""
    from imq.docker.run import run_in_session

    return run_in_session(console, session, options, arguments, list_keywords())


def _is_statement(text: str, vocabulary: Vocabulary) -> bool:
    try:
        parse(text, vocabulary)
    except StatementError:
        return False
    return True


def _has_flag(words: list[str]) -> bool:
    return any(word.startswith("-") for word in words)
