"""The source that statements without a source had last, in a file of the user: its next change is reported."""

from __future__ import annotations

import os

from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_MAX_NAME = 4096


def read_last_source(environment: Mapping[str, str]) -> str:
    """Return the source that was found last for statements that name none, "" when it is not known."""
    try:
        with open(_locate(environment), encoding="utf-8") as file:
            return file.read(_MAX_NAME).strip()
    except (OSError, UnicodeError):
        return ""


def remember_source(environment: Mapping[str, str], name: str) -> None:
    """Write the default source to a file of the user. Without one, its next change is not reported."""
    path = _locate(environment)
    if not path or read_last_source(environment) == name:
        return
    try:
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            file.write(f"{name}\n")
    except OSError:
        pass


def _locate(environment: Mapping[str, str]) -> str:
    """Return the path of the file, "" without a home folder."""
    state = environment.get("XDG_STATE_HOME", "")
    if not os.path.isabs(state):
        from imq.engine.units.paths import home_directory

        home = home_directory(environment)
        state = os.path.join(home, ".local", "state") if home else ""
    return os.path.join(state, "imq", "source") if state else ""
