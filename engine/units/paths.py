"""Paths as statements write them."""

from __future__ import annotations

import os

from imq.grammar.errors import Span, StatementError
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


def home_directory(environment: Mapping[str, str]) -> str:
    """Return the user's home folder: $HOME when that is a whole path, else what the system says; "" for none."""
    home = environment.get("HOME", "")
    if not os.path.isabs(home):
        import pwd  # nearly everybody has a HOME

        try:
            home = pwd.getpwuid(os.getuid()).pw_dir
        except KeyError:  # as in containers that run with any user number
            return ""
    return home if os.path.isabs(home) else ""


def expand_path(text: str, base: str, home: str | None, span: Span | None = None) -> str:
    """Return the path that a text means: from `folder`, `~/` from the user's `home`; None: `~` means nothing there.

    Raises `StatementError` for a text that can be no path: one with a NUL, or `~/` where the home is not known ("").
    """
    if "\0" in text:
        raise StatementError("a path has no NUL character", code="path", span=span)
    if home is not None and text.startswith("~/"):
        if not home:
            raise StatementError(
                f"{text} begins in the home folder of the user, and none is known",
                code="no-home",
                span=span,
                hints=("set HOME, or write the path from /",),
            )
        return os.path.join(home, text[2:])
    return text if base == os.curdir else os.path.join(base, text)
