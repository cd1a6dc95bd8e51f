"""The command line in this process, with an environment of its own."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, NamedTuple

from imq.cli.main import Cli

if TYPE_CHECKING:
    from collections.abc import Mapping


class Ran(NamedTuple):
    """The exit code of a command line, and what it wrote."""

    code: int
    stdout: str
    stderr: str

    def words(self) -> list[list[str]]:
        """Return the words of each line of standard output."""
        return [line.split() for line in self.stdout.splitlines()]


def run_imq(environment: Mapping[str, str], *arguments: str) -> Ran:
    """Run `imq` with these arguments. Standard input is empty."""
    stdout, stderr = io.StringIO(), io.StringIO()
    code = Cli(io.StringIO(), stdout, stderr, environment).main(list(arguments))
    return Ran(code, stdout.getvalue(), stderr.getvalue())
