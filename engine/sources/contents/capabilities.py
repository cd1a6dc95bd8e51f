"""The text of the extended attribute `security.capability`, as getcap and setcap write it (cap_from_text(3))."""

from __future__ import annotations

from struct import unpack_from

from imq.engine.containers.privileges import CAPABILITIES

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
            name = CAPABILITIES[number].lower() if number < len(CAPABILITIES) else str(number)
            groups.setdefault(flags, []).append(name)
    text = " ".join(f"{','.join(names)}={flags}" for flags, names in groups.items())
    if revision == max(_SIZES):
        (root,) = unpack_from("<I", data, 20)
        return f"{text} [rootid={root}]" if root else text
    return text
