"""Paths in statements and settings."""

from __future__ import annotations

import os

from imq.grammar.errors import Span, StatementError
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


def home_directory(environment: Mapping[str, str]) -> str:
    """Return the user's home folder: $HOME if it is an absolute path, else the system's entry; "" when unknown."""
    home = environment.get("HOME", "")
    if not os.path.isabs(home):
        import pwd  # rarely needed: HOME is nearly always set

        try:
            home = pwd.getpwuid(os.getuid()).pw_dir
        except KeyError:  # Example: a container that runs with an arbitrary user ID
            return ""
    return home if os.path.isabs(home) else ""


def expand_path(text: str, base: str, home: str | None, span: Span | None = None) -> str:
    """Return a path with `~/` replaced by `home`; a relative path is joined to `base`. None as `home`: `~` is literal.

    Raises `StatementError` for a path with a NUL character, and for `~/` when the home folder is unknown ("").
    """
    if "\0" in text:
        raise StatementError("a path cannot have a NUL character", code="path", span=span)
    if home is not None and text.startswith("~/"):
        if not home:
            raise StatementError(
                f"{text} is in the user's home folder, which is unknown",
                code="no-home",
                span=span,
                hints=("set HOME, or write an absolute path",),
            )
        return os.path.join(home, text[2:])
    return text if base == os.curdir else os.path.join(base, text)


def match_paths(path: str) -> list[str]:
    """Return the path if it exists or is no pattern, else the sorted paths that the pattern matches.

    `*`, `?` and `[…]` match within a name, `**` across folders; hidden files need a pattern with a dot.
    """
    if not any(sign in path for sign in "*?[") or os.path.lexists(path):
        return [path]
    from glob import glob  # imports fnmatch and re, which other statements do not need

    return sorted(glob(path, recursive=True))
