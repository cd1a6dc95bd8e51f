"""Shows what is longer than the screen in a pager: `less`, or what $IMQ_PAGER or $PAGER names."""

from __future__ import annotations

import os

from imq.engine.render.text_table import display_width
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import TextIO

DISABLED = frozenset({"", "cat", "off"})
"""What a pager is called that is none."""
_DEFAULT_ENVIRONMENT = {"LESS": "FRX", "LESSCHARSET": "utf-8", "LV": "-c"}
"""What pagers are told when the user tells them nothing: end at once when all fits, leave the screen as it is."""
_PROMPT_ROWS = 2
"""Rows of the screen that the prompt before and behind an answer take."""


def pager_command(environment: Mapping[str, str]) -> str:
    """Return the pager's command line, empty when none is to be used."""
    for name in ("IMQ_PAGER", "PAGER"):
        if name in environment:
            return "" if environment[name].strip() in DISABLED else environment[name]
    return "less"


def write_paged(texts: Iterable[str], stream: TextIO, command: str, environment: Mapping[str, str]) -> None:
    """Write texts to a terminal, through the pager when they are longer than its screen."""
    try:
        wide, high = os.get_terminal_size(stream.fileno())
    except (OSError, ValueError):
        wide, high = 0, 0
    argv = _resolve_command(command, environment) if wide and high > _PROMPT_ROWS else []
    if not argv:
        stream.writelines(texts)
        return
    rest, held, rows = iter(texts), [], 0
    for text in rest:
        held.append(text)
        rows += sum(max(1, -(-display_width(line) // wide)) for line in text.splitlines())
        if rows > high - _PROMPT_ROWS:
            _run_pager(argv, _chain(held, rest), stream, environment)
            return
    stream.write("".join(held))


def _resolve_command(command: str, environment: Mapping[str, str]) -> list[str]:
    """Return the pager's program and arguments; nothing when there is none, or when it is not installed."""
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


def _chain(held: list[str], rest: Iterator[str]) -> Iterator[str]:
    yield "".join(held)
    yield from rest


def _run_pager(argv: list[str], texts: Iterator[str], stream: TextIO, environment: Mapping[str, str]) -> None:
    """Run the pager on texts, as many of them as it reads. Ctrl-C ends what is written, and is the pager's own then."""
    import subprocess

    stream.flush()
    told = {**_DEFAULT_ENVIRONMENT, **environment}
    try:
        pager = subprocess.Popen(argv, stdin=subprocess.PIPE, env=told)  # noqa: S603 - the user named it
    except OSError:
        stream.writelines(texts)
        return
    assert pager.stdin is not None
    try:
        for text in texts:
            pager.stdin.write(text.encode("utf-8", "surrogateescape"))
    except (BrokenPipeError, KeyboardInterrupt):
        pass  # the user has seen enough
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
