"""Shows text longer than the screen in a pager: $IMQ_PAGER, else $PAGER, else `less`."""

from __future__ import annotations

import os

from imq.engine.render.text_table import display_width
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import TextIO

DISABLED = frozenset({"", "cat", "off"})
"""Values of the environment variables that disable the pager."""
_DEFAULT_ENVIRONMENT = {"LESS": "FRX", "LESSCHARSET": "utf-8", "LV": "-c"}
"""Defaults of the pagers' options: exit when the text fits on the screen, keep colours, do not clear the screen."""
_PROMPT_ROWS = 2
"""The rows of the screen that the prompts before and after a result take."""


def pager_command(environment: Mapping[str, str]) -> str:
    """Return the pager's command line; an empty string when the pager is disabled."""
    for name in ("IMQ_PAGER", "PAGER"):
        if name in environment:
            return "" if environment[name].strip() in DISABLED else environment[name]
    return "less"


def write_paged(texts: Iterable[str], stream: TextIO, command: str, environment: Mapping[str, str]) -> None:
    """Write texts to a terminal, through the pager when they are longer than its screen."""
    try:
        columns, lines = os.get_terminal_size(stream.fileno())
    except (OSError, ValueError):
        columns, lines = 0, 0
    argv = _resolve_command(command, environment) if columns and lines > _PROMPT_ROWS else []
    if not argv:
        stream.writelines(texts)
        return
    rest, buffered, rows = iter(texts), [], 0
    for text in rest:
        buffered.append(text)
        rows += sum(max(1, -(-display_width(line) // columns)) for line in text.splitlines())
        if rows > lines - _PROMPT_ROWS:
            _run_pager(argv, _chain(buffered, rest), stream, environment)
            return
    stream.write("".join(buffered))


def _resolve_command(command: str, environment: Mapping[str, str]) -> list[str]:
    """Return the pager's program and arguments; an empty list when it is disabled or not installed."""
    if not command:
        return []
    import shlex
    import shutil

    try:
        argv = shlex.split(command)
    except ValueError:
        return []
    program = shutil.which(argv[0], path=environment.get("PATH")) if argv else None
    return [program, *argv[1:]] if program else []


def _chain(buffered: list[str], rest: Iterator[str]) -> Iterator[str]:
    yield "".join(buffered)
    yield from rest


def _run_pager(argv: list[str], texts: Iterator[str], stream: TextIO, environment: Mapping[str, str]) -> None:
    """Run the pager and write texts to it until it exits. Ctrl-C stops the writing; the pager handles it itself."""
    import subprocess

    stream.flush()
    variables = {**_DEFAULT_ENVIRONMENT, **environment}
    try:
        pager = subprocess.Popen(argv, stdin=subprocess.PIPE, env=variables)  # noqa: S603 - the user's choice
    except OSError:
        stream.writelines(texts)
        return
    assert pager.stdin is not None
    try:
        for text in texts:
            pager.stdin.write(text.encode("utf-8", "surrogateescape"))
    except (BrokenPipeError, KeyboardInterrupt):
        pass  # the user quit the pager
    finally:
        try:
            pager.stdin.close()
        except (BrokenPipeError, KeyboardInterrupt):
            pass
        while pager.poll() is None:
            try:
                pager.wait()
            except KeyboardInterrupt:
                continue
