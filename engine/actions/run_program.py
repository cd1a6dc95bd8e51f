"""Running other programs, one for a row."""

from __future__ import annotations

import sys

from imq.grammar.errors import ImqError
from imq.grammar.record import TYPE_CHECKING

from .base import Outcome, describe

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .base import Exec


class ProgramFailed(ImqError):
    """A program could not be started, or said that it failed."""

    code = "exec"


def execute(action: Exec, environment: Mapping[str, str]) -> Outcome:
    """Run the program, which writes where this process writes and reads nothing; raises `ProgramFailed`."""
    import subprocess  # 10 ms, and only exec needs it

    sys.stdout.flush()
    planned = describe(action)
    try:
        ended = subprocess.run(  # noqa: S603 - it is what the user asked for, word by word, and no shell reads it
            action.argv, stdin=subprocess.DEVNULL, env=dict(environment), check=False
        )
    except (OSError, ValueError) as problem:
        why = getattr(problem, "strerror", None) or str(problem)
        raise ProgramFailed(f"{action.argv[0]} cannot be run: {why}") from None
    if ended.returncode < 0:
        raise ProgramFailed(f"{action.argv[0]} was ended by the signal {-ended.returncode}")
    if ended.returncode:
        raise ProgramFailed(f"{action.argv[0]} ended with {ended.returncode}")
    return Outcome(planned.action, planned.target)
