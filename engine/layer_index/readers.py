"""Chooses the files whose content a scan reads: databases of packages, and what names the distribution."""

from __future__ import annotations

from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from imq.engine.layers.tar_entry import TarEntry

    from .content_tap import ContentReader


def find_reader(_path: str, _entry: TarEntry) -> ContentReader | None:
    """Return the reader of the content of a file; None when the scan does not need it."""
    return None
