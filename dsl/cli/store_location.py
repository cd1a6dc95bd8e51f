"""Where the store is when no option names it."""

from __future__ import annotations

import os

from imq.grammar.errors import StoreError
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


def expand_home(root: str, environment: Mapping[str, str]) -> str:
    """Expand a leading `~`, which a shell leaves as it is in `--root=~/images`."""
    if not root.startswith("~"):
        return root
    if root != "~" and not root.startswith("~/"):
        raise StoreError(
            f"{root} is in the home directory of another user, which is not looked up",
            code="no-home",
            hints=(f"give the absolute path, or ./{root} for a folder with this name",),
        )
    return os.path.join(_find_home(environment, f"the store {root}"), root[2:])


def store_root(environment: Mapping[str, str], configured: str) -> str:
    """Return the root of the store: $IMQ_ROOT, else the configured root, else a folder in the XDG data directory."""
    if root := environment.get("IMQ_ROOT") or configured:
        return expand_home(root, environment)
    data = environment.get("XDG_DATA_HOME", "")
    if not os.path.isabs(data):
        data = os.path.join(_find_home(environment, "the store"), ".local", "share")
    return os.path.join(data, "imq")


def _find_home(environment: Mapping[str, str], subject: str) -> str:
    """Return the user's home directory. Raises `StoreError` when there is none."""
    from imq.engine.units.paths import home_directory

    home = home_directory(environment)
    if not home:
        raise StoreError(
            f"{subject} is in the user's home directory, which is unknown: HOME is not an absolute path, and user "
            f"{os.getuid()} has no entry in the passwd database",
            code="no-home",
            hints=("name the store: --root DIR or IMQ_ROOT",),
        )
    return home
