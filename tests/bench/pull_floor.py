"""What the libraries alone take for the work of a verifying pull: no network, no files, no threads, no checks.

Usage: pull_floor.py BLOB…. Each gzip layer is hashed, decompressed by isal, hashed again for its diff ID, and its
archive is walked from header to header. Prints the processor time of each step in seconds, as JSON.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time

from isal import igzip_lib

READ_SIZE = 1 << 20
PIECE_SIZE = 256 << 10
"""Bytes that are decompressed at once: of 64 KiB to 1 MiB this takes the least time."""
BLOCK_SIZE = 512
STEPS = ("reading", "hashing the compressed bytes", "decompression", "hashing the unpacked bytes", "walking")


def main(paths: list[str]) -> dict[str, float]:
    steps = dict.fromkeys(STEPS, 0.0)
    clock = time.process_time
    started = clock()

    def count(step: str) -> None:
        nonlocal started
        ended = clock()
        steps[step] += ended - started
        started = ended

    for path in paths:
        compressed, unpacked = hashlib.sha256(), hashlib.sha256()
        stream = igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP)
        walk = Walk()
        with open(path, "rb") as source:
            while chunk := source.read(READ_SIZE):
                count("reading")
                compressed.update(chunk)
                count("hashing the compressed bytes")
                while not stream.eof and (piece := stream.decompress(chunk, PIECE_SIZE)):
                    count("decompression")
                    unpacked.update(piece)
                    count("hashing the unpacked bytes")
                    walk.feed(piece)
                    count("walking")
                    chunk = b""
        if not stream.eof:
            raise SystemExit(f"{path} is no single gzip stream")
    return steps


class Walk:
    """Jumps from header to header of a tar archive, in pieces of any size."""

    def __init__(self) -> None:
        self._rest = b""
        self._skipped = 0
        """Bytes of the next pieces before the next header."""
        self.headers = 0

    def feed(self, piece: bytes) -> None:
        if self._rest:
            piece = self._rest + piece
        position, last = self._skipped, len(piece) - BLOCK_SIZE
        while position <= last:
            size = int(piece[position + 124 : position + 136].strip(b" \0") or b"0", 8)
            position += BLOCK_SIZE + size + -size % BLOCK_SIZE
            self.headers += 1
        self._rest = piece[position:]
        self._skipped = max(position - len(piece), 0)


if __name__ == "__main__":
    json.dump(main(sys.argv[1:]), sys.stdout)
