"""Streams that lead to a terminal: what images say is shown there, and never obeyed."""

from __future__ import annotations

from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any, TextIO


class EscapingStream:
    """A stream to a terminal. Controls in what is written are written out; only `bare` takes them."""

    def __init__(self, stream: TextIO) -> None:
        from imq.engine.render.text_table import escape_controls  # not for what goes into files and pipes

        self.raw = stream
        self._escape = escape_controls

    def write(self, text: str) -> int:
        """Write a text; return how many characters it has."""
        self.raw.write(self._escape(text))
        return len(text)

    def writelines(self, texts: Iterable[str]) -> None:
        """Write texts, each as it comes."""
        for text in texts:
            self.write(text)

    def __getattr__(self, name: str) -> Any:
        """Return everything else of the stream itself."""
        return getattr(self.raw, name)


def escape_terminal(stream: TextIO) -> TextIO:
    """Return a stream through which no control reaches a terminal; one that leads elsewhere is returned as it is."""
    if isinstance(stream, EscapingStream) or not stream.isatty():
        return stream
    return EscapingStream(stream)  # type: ignore[return-value]


def raw_stream(stream: TextIO) -> TextIO:
    """Return the stream that takes imq's own controls: colours, and the movements of progress bars."""
    return stream.raw if isinstance(stream, EscapingStream) else stream
