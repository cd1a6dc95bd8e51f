"""Paths as statements write them."""

from __future__ import annotations

import os

from imq.grammar.errors import Span, StatementError


def located(text: str, folder: str, home: str | None, span: Span | None = None) -> str:
    """Return the path that a text means: from `folder`, `~/` from the user's home.

    Raises `StatementError` for a text that can be no path, because of a NUL in it.
    """
    if "\0" in text:
        raise StatementError("a path has no NUL character", code="path", span=span)
    if home and text.startswith("~/"):
        return os.path.join(home, text[2:])
    return text if folder == os.curdir else os.path.join(folder, text)
