"""Shows text longer than the screen in a pager: $IMQ_PAGER, else $PAGER, else `less`."""

from __future__ import annotations

import os
import re

from imq.grammar.display_width import display_width
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import TextIO

DISABLED = frozenset({"", "cat", "off"})
"""Values of the environment variables that disable the pager."""
_DEFAULT_ENVIRONMENT = {"LESS": "FRX", "LESSCHARSET": "utf-8", "LV": "-c"}
"""Defaults of the pagers' options: exit when the text fits on the screen, keep colours, do not clear the screen."""
_FIRST_WITH_HEADER = 600
"""The first version of `less` that can keep lines in view."""
_COLOR = r"\x1b\[[\d;]*m"
_PROMPT_ROWS = 2
"""The rows of the screen that the prompts before and after a result take."""


def pager_command(environment: Mapping[str, str]) -> str:
    """Return the pager's command line; an empty string when the pager is disabled."""
    for name in ("IMQ_PAGER", "PAGER"):
        if name in environment:
            return "" if environment[name].strip() in DISABLED else environment[name]
    return "less"


def write_paged(
    texts: Iterable[str], stream: TextIO, command: str, environment: Mapping[str, str], *, has_heading: bool = False
) -> None:
    """Write texts to a terminal, through the pager when they are longer than its screen.

    Text with a heading is a table: a line that is wider than the screen is not broken, and needs the pager too. `less`
    scrolls it sideways, and keeps the heading in view where its version can. Records in place of a table have no
    heading, and their lines are broken.
    """
    try:
        columns, lines = os.get_terminal_size(stream.fileno())
    except (OSError, ValueError):
        columns, lines = 0, 0
    argv = _resolve_command(command, environment) if columns and lines > _PROMPT_ROWS else []
    if not argv:
        stream.writelines(texts)
        return
    buffered: list[str] = []
    rest, rows = iter(texts), 0
    for text in rest:
        if has_heading and not buffered:
            from imq.engine.render.format_record import RULE

            has_heading = not text.startswith(RULE)
        buffered.append(text)
        widths = [display_width(re.sub(_COLOR, "", line)) for line in text.splitlines()]
        rows += sum(max(1, -(-width // columns)) for width in widths)
        if rows > lines - _PROMPT_ROWS or (has_heading and max(widths, default=0) > columns):
            options = _list_table_options(argv[0], environment) if has_heading else []
            _run_pager([*argv, *options], _chain(buffered, rest), stream, environment)
            return
    stream.write("".join(buffered))


def _list_table_options(program: str, environment: Mapping[str, str]) -> list[str]:
    """Return the options with which `less` does not break lines and keeps the first line; none for other pagers."""
    if os.path.basename(program) != "less":
        return []
    import subprocess

    try:
        run = subprocess.run(  # noqa: S603 - the pager that runs next
            [program, "--version"], capture_output=True, text=True, timeout=5, env=dict(environment), check=False
        )
    except (OSError, subprocess.SubprocessError):
        return []
    version = re.match(r"less (\d+)", run.stdout)
    has_header = version is not None and int(version[1]) >= _FIRST_WITH_HEADER
    return ["-S", "-+F", *(["--header=1"] if has_header else [])]


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
