"""Streams to a terminal, with control characters escaped: data of images must not control the terminal."""

from __future__ import annotations

from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any, TextIO


class EscapingStream:
    """A stream to a terminal that escapes control characters. `raw` is the stream without escaping."""

    def __init__(self, stream: TextIO) -> None:
        from imq.engine.render.text_table import escape_controls  # files and pipes do not need it

        self.raw = stream
        self._escape = escape_controls

    def write(self, text: str) -> int:
        """Write a text; return its number of characters."""
        self.raw.write(self._escape(text))
        return len(text)

    def writelines(self, texts: Iterable[str]) -> None:
        """Write texts one by one."""
        for text in texts:
            self.write(text)

    def __getattr__(self, name: str) -> Any:
        """Return other attributes of the underlying stream."""
        return getattr(self.raw, name)


def escape_terminal(stream: TextIO) -> TextIO:
    """Return a stream that escapes control characters; a stream to a file or pipe is returned unchanged."""
    if isinstance(stream, EscapingStream) or not stream.isatty():
        return stream
    return EscapingStream(stream)  # type: ignore[return-value]


def raw_stream(stream: TextIO) -> TextIO:
    """Return the stream for imq's own control sequences: colours, and the cursor movements of progress bars."""
    return stream.raw if isinstance(stream, EscapingStream) else stream
