"""Cuts an executable of Go down to what `go version -m` reads, so that it is small enough to be a test file.

    python tests/packages/cut_go_executable.py EXECUTABLE CUT
    go version -m EXECUTABLE | tail -n +2 | diff - <(go version -m CUT | tail -n +2)

The rest becomes zeros. The headers, the tables of segments and sections, and the build information stay.
"""

from __future__ import annotations

import pathlib
import struct
import sys

HEADERS = 4096
PAGE = 4096


def main() -> None:
    content = pathlib.Path(sys.argv[1]).read_bytes()
    is_64, order = content[4] == 2, "<" if content[5] == 1 else ">"
    sections = struct.unpack_from(f"{order}Q" if is_64 else f"{order}I", content, 40 if is_64 else 32)[0]
    size, count, names = struct.unpack_from(f"{order}HHH", content, 58 if is_64 else 46)
    kept = [(0, HEADERS), (sections, size * count)]
    name_offset = struct.unpack_from(
        f"{order}Q" if is_64 else f"{order}I", content, sections + size * names + (24 if is_64 else 16)
    )
    kept.append((name_offset[0], PAGE))
    block = -1
    while (block := content.find(b"\xff Go buildinf:", block + 1)) >= 0:
        if block % 16 == 0 and content[block + 14] in (4, 8, 0):
            kept.append((block, PAGE))
            kept.extend(find_strings(content, block, is_64=is_64, order=order))
    cut = bytearray(len(content))
    for offset, length in kept:
        cut[offset : offset + length] = content[offset : offset + length]
    pathlib.Path(sys.argv[2]).write_bytes(cut)


def find_strings(content: bytes, block: int, *, is_64: bool, order: str) -> list[tuple[int, int]]:
    """Return where the two strings are to which a block of Go before 1.18 points, and the pointers to them."""
    if content[block + 15] & 2:
        return []
    letter, width = ("Q", 8) if is_64 else ("I", 4)
    kept = []
    for pointer in struct.unpack_from(f"{order}2{letter}", content, block + 16):
        header = find_offset(content, pointer, is_64=is_64, order=order)
        start, length = struct.unpack_from(f"{order}2{letter}", content, header)
        kept += [(header, 2 * width), (find_offset(content, start, is_64=is_64, order=order), length)]
    return kept


def find_offset(content: bytes, address: int, *, is_64: bool, order: str) -> int:
    table = struct.unpack_from(f"{order}Q" if is_64 else f"{order}I", content, 32 if is_64 else 28)[0]
    size, count = struct.unpack_from(f"{order}HH", content, 54 if is_64 else 42)
    for at in range(table, table + size * count, size):
        if is_64:
            _, _, offset, start, _, length = struct.unpack_from(f"{order}IIQQQQ", content, at)
        else:
            _, offset, start, _, length = struct.unpack_from(f"{order}IIIII", content, at)
        if start <= address < start + length:
            return offset + address - start
    raise SystemExit(f"no segment has the address {address:#x}")


if __name__ == "__main__":
    main()
