"""The text of the extended attribute `security.capability`, as getcap and setcap write it (cap_from_text(3))."""

from __future__ import annotations

from struct import unpack_from

NAMES = (
    "chown", "dac_override", "dac_read_search", "fowner", "fsetid", "kill", "setgid", "setuid", "setpcap",
    "linux_immutable", "net_bind_service", "net_broadcast", "net_admin", "net_raw", "ipc_lock", "ipc_owner",
    "sys_module", "sys_rawio", "sys_chroot", "sys_ptrace", "sys_pacct", "sys_admin", "sys_boot", "sys_nice",
    "sys_resource", "sys_time", "sys_tty_config", "mknod", "lease", "audit_write", "audit_control", "setfcap",
    "mac_override", "mac_admin", "syslog", "wake_alarm", "block_suspend", "audit_read", "perfmon", "bpf",
    "checkpoint_restore",
)  # fmt: skip
"""The names of the capabilities without `cap_`, by number (linux/capability.h)."""
_SIZES = {1: 12, 2: 20, 3: 24}
"""The size in bytes of the attribute by its revision. The third one has the user of a namespace as well."""
_EFFECTIVE = 1
_REVISION_SHIFT, _BITS = 24, 32


def show_capabilities(value: str) -> str | None:
    """Return the text for a value in hexadecimal; None for what the kernel does not take for capabilities."""
    try:
        data = bytes.fromhex(value)
    except ValueError:
        return None
    if len(data) < 4:
        return None
    (magic,) = unpack_from("<I", data)
    revision = magic >> _REVISION_SHIFT
    if _SIZES.get(revision) != len(data):
        return None
    words = unpack_from("<4I" if revision > 1 else "<2I", data, 4)
    permitted = sum(word << (_BITS * place) for place, word in enumerate(words[::2]))
    inheritable = sum(word << (_BITS * place) for place, word in enumerate(words[1::2]))
    groups: dict[str, list[str]] = {}
    for number in range(_BITS * 2):
        is_permitted, is_inheritable = permitted >> number & 1, inheritable >> number & 1
        if is_permitted or is_inheritable:
            flags = ("e" if magic & _EFFECTIVE else "") + "i" * is_inheritable + "p" * is_permitted
            name = f"cap_{NAMES[number]}" if number < len(NAMES) else str(number)
            groups.setdefault(flags, []).append(name)
    text = " ".join(f"{','.join(names)}={flags}" for flags, names in groups.items())
    if revision == max(_SIZES):
        (root,) = unpack_from("<I", data, 20)
        return f"{text} [rootid={root}]" if root else text
    return text
