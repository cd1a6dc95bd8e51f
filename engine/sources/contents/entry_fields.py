"""The fields of entries of layers, whatever image a layer is in: in the index of files, and in the scan of a layer."""

from __future__ import annotations

from imq.engine.layer_index.entry_types import NAMES, SYMLINK
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping, Sequence

_NS_PER_SECOND = 1_000_000_000
_CAPABILITY = "security.capability"
_TYPE_LETTERS = "-dl-cbp--d"


def write_case(column: str, values: Mapping[int, str] | Sequence[str]) -> str:
    """Return the SQL of the name of a number."""
    items = values.items() if isinstance(values, dict) else enumerate(values)
    return f"CASE {column} " + " ".join(f"WHEN {number} THEN '{value}'" for number, value in items) + " END"


def _write_permissions() -> str:
    letters = [f"substr('{_TYPE_LETTERS}', entry.type + 1, 1)"]
    special = {6: (0o4000, "s", "S"), 3: (0o2000, "s", "S"), 0: (0o1000, "t", "T")}
    for bit in range(8, -1, -1):
        plain = "rwx"[(8 - bit) % 3]
        has_bit = f"entry.mode & {1 << bit}"
        if bit in special:
            mask, with_execute, without = special[bit]
            letters.append(
                f"iif(entry.mode & {mask}, iif({has_bit}, '{with_execute}', '{without}'), iif({has_bit}, 'x', '-'))"
            )
        else:
            letters.append(f"iif({has_bit}, '{plain}', '-')")
    return " || ".join(letters)


FIELDS = {
    "path": "directory.path || '/' || entry.name",
    "name": "entry.name",
    "directory": "iif(directory.path = '', '/', directory.path)",
    "type": write_case("entry.type", NAMES),
    "size": "entry.size",
    "mode": "printf('%04o', entry.mode)",
    "permissions": _write_permissions(),
    "uid": "entry.uid",
    "gid": "entry.gid",
    "mtime": f"entry.mtime * {_NS_PER_SECOND} + coalesce(entry.mtime_ns, 0)",
    "link_target": "entry.link",
    "setuid": "entry.mode & 2048 > 0",
    "setgid": "entry.mode & 1024 > 0",
    "sticky": "entry.mode & 512 > 0",
    "world_writable": f"entry.mode & 2 > 0 AND entry.type <> {SYMLINK}",
    "xattrs": "coalesce(entry.details ->> 'xattrs', '{}')",
    "capabilities": f"imq_capabilities(entry.details ->> '$.xattrs.\"{_CAPABILITY}\"')",
}
"""The SQL of the fields that an entry of a layer has, whatever image the layer is in."""


def register_functions(connection: sqlite3.Connection) -> None:
    """Register the functions that the SQL of fields calls."""
    connection.create_function("imq_capabilities", 1, _show_capabilities, deterministic=True)


def _show_capabilities(value: str | None) -> str | None:
    if value is None:
        return None
    from .capabilities import show_capabilities

    return show_capabilities(value)
