"""The form of imq for notebooks: `%load_ext imq.notebook`, then `%imq STATEMENT` and cells that begin with `%%imq`.

    %%imq --source docker
    images where size > 1GB order by size desc

A cell shows the result of its last statement as a table, and `_` is that result. `NAME <<` on the first line keeps it
in a variable instead: `%%imq large <<`. `--source` and `--root` are those of `imq.connect`. Removals are executed
without confirmation only with `--yes`; without it they are refused, as in a script.
"""

from __future__ import annotations

import re
import shlex

import imq
from imq.grammar.errors import ImqError, NeedsConfirmation, StatementError, format_error
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

    from imq.api.results import Result

_VARIABLE = re.compile(r"([^\W\d]\w*)\s*<<\s*")


class Magic:
    """Runs the magics of one notebook, on a connection for each source and store."""

    def __init__(self, variables: dict[str, Any]) -> None:
        self._variables = variables
        self._connections: dict[tuple[str | None, str | None, bool], imq.Connection] = {}

    def run(self, line: str, cell: str | None = None) -> Result | None:
        """Run the statements of a cell, or of the line without one; return the result of the last statement.

        An error is written as the command line writes it, and None is returned.
        """
        try:
            return self._run(line, cell)
        except ImqError as error:
            import sys

            sys.stderr.write(format_error(error) + "\n")
            return None

    def _run(self, line: str, cell: str | None) -> Result | None:
        name = ""
        options: dict[str, str | None] = {"source": None, "root": None}
        confirmed = False
        if cell is None:
            text = line
        else:
            if (match := _VARIABLE.search(line)) is not None and match.end() == len(line):
                name, line = match[1], line[: match.start()]
            words = shlex.split(line)
            while words:
                word = words.pop(0)
                if word == "--yes":
                    confirmed = True
                elif word.removeprefix("--") in options and words:
                    options[word.removeprefix("--")] = words.pop(0)
                else:
                    raise StatementError(
                        f"unknown option {word}",
                        code="option",
                        hints=("options: --source S, --root DIR, --yes, NAME <<",),
                    )
            text = cell
        key = (options["source"], options["root"], confirmed)
        session = self._connections.get(key)
        if session is None:
            confirm = None if confirmed else _refuse
            session = self._connections[key] = imq.connect(options["source"], root=options["root"], confirm=confirm)
        result = session(text)
        if name:
            self._variables[name] = result
            return None
        return result


def _refuse(_plan: Result) -> bool:
    raise NeedsConfirmation("this removes something", hints=("to list it: dry run …", "to do it: %%imq --yes"))


def load_ipython_extension(shell: Any) -> None:
    """Register the magics in a shell of IPython: `%load_ext imq.notebook` calls this."""
    magic = Magic(shell.user_ns)
    shell.register_magic_function(magic.run, "line_cell", "imq")
