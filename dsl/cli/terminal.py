"""Streams that lead to a terminal: what images say is shown there, and never obeyed."""

from __future__ import annotations

from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any, TextIO


class Terminal:
    """A stream to a terminal. Controls in what is written are written out; only `bare` takes them."""

    def __init__(self, stream: TextIO) -> None:
        from imq.engine.render.text_table import escape_controls  # not for what goes into files and pipes

        self.bare = stream
        self._escape = escape_controls

    def write(self, text: str) -> int:
        """Write a text; return how many characters it has."""
        self.bare.write(self._escape(text))
        return len(text)

    def writelines(self, texts: Iterable[str]) -> None:
        """Write texts, each as it comes."""
        for text in texts:
            self.write(text)

    def __getattr__(self, name: str) -> Any:
        """Return everything else of the stream itself."""
        return getattr(self.bare, name)


def shielded(stream: TextIO) -> TextIO:
    """Return a stream through which no control reaches a terminal; one that leads elsewhere is returned as it is."""
    if isinstance(stream, Terminal) or not stream.isatty():
        return stream
    return Terminal(stream)  # type: ignore[return-value]


def bare(stream: TextIO) -> TextIO:
    """Return the stream that takes imq's own controls: colours, and the movements of progress bars."""
    return stream.bare if isinstance(stream, Terminal) else stream
