"""The machine for which an ELF file was built, in Go's names of architectures."""

from __future__ import annotations

HEADER_SIZE = 20
"""The first bytes of a file, which tell its machine."""
_MAGIC = b"\x7fELF"
_CLASS_32, _LITTLE = 1, 1
_MACHINES = {
    2: "sparc", 3: "386", 4: "m68k", 8: "mips", 15: "parisc", 20: "ppc", 21: "ppc64", 22: "s390x", 40: "arm",
    41: "alpha", 42: "sh", 43: "sparc64", 50: "ia64", 62: "amd64", 183: "arm64", 243: "riscv64", 247: "bpf",
    258: "loong64",
}  # fmt: skip
"""The name by the number of a machine; those that Go does not know have their usual names."""
_NAMES_OF_32_BITS = {
    "amd64": "amd64p32",
    "riscv64": "riscv",
    "s390x": "s390",
    "loong64": "loong32",
    "arm64": "arm64p32",
}
_OTHER_ORDER = {"ppc64": "ppc64le", "ppc": "ppcle", "arm": "armbe", "arm64": "arm64be"}
"""The names of machines in the byte order that their plain names do not stand for."""
_BIG_ENDIAN = frozenset({"ppc", "ppc64"})


def find_machine(head: bytes) -> str | None:
    """Return the machine by the first bytes of a file, `elf-N` for a number without name; None for no ELF file."""
    if len(head) < HEADER_SIZE or head[:4] != _MAGIC or head[4] not in (1, 2) or head[5] not in (1, 2):
        return None
    is_32, is_little = head[4] == _CLASS_32, head[5] == _LITTLE
    number = int.from_bytes(head[18:20], "little" if is_little else "big")
    name = _MACHINES.get(number)
    if name is None:
        return f"elf-{number}"
    if name == "mips":
        return f"mips{'' if is_32 else '64'}{'le' if is_little else ''}"
    if is_32:
        name = _NAMES_OF_32_BITS.get(name, name)
    if name in _OTHER_ORDER and is_little == (name in _BIG_ENDIAN):
        return _OTHER_ORDER[name]
    return name
