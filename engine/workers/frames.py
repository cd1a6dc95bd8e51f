"""Messages over a pipe: a JSON document and bytes, each after its length."""

from __future__ import annotations

import json
import struct

from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import IO, Any

_LENGTHS = struct.Struct("<IQ")


def write_frame(stream: IO[bytes], document: dict[str, Any], content: bytes = b"") -> None:
    """Write one message. Raises `OSError` when the reader is gone."""
    header = json.dumps(document, separators=(",", ":")).encode("utf-8", "surrogatepass")
    stream.write(_LENGTHS.pack(len(header), len(content)))
    stream.write(header)
    stream.write(content)
    stream.flush()


def read_frame(stream: IO[bytes]) -> tuple[dict[str, Any], bytes] | None:
    """Return the next message; None at the end, also in the middle of a message: the writer is gone."""
    lengths = stream.read(_LENGTHS.size)
    if len(lengths) < _LENGTHS.size:
        return None
    header_size, content_size = _LENGTHS.unpack(lengths)
    header, content = stream.read(header_size), stream.read(content_size)
    if len(header) < header_size or len(content) < content_size:
        return None
    return json.loads(header), content
