"""The user namespace of this process: which user and group IDs it has, and how owners are kept that it has not."""

from __future__ import annotations

_ALL = 1 << 32
"""The number of IDs of the initial user namespace, and one more."""
OWNER_ATTRIBUTE = "user.rootlesscontainers"
"""The owner of a file in an image, where the user namespace has a single ID: as umoci and runc's rootlesscontainers."""


def read_id_map(path: str = "/proc/self/uid_map") -> list[tuple[int, int, int]]:
    """Return the ranges of user IDs of a namespace: the first one inside, the first one outside, and their number.

    An unreadable map has all IDs, as where there are no user namespaces.
    """
    try:
        with open(path, encoding="ascii") as file:
            ranges = [tuple(map(int, line.split())) for line in file]
    except (OSError, ValueError):
        ranges = []
    return [(first, outside, count) for first, outside, count in ranges] or [(0, 0, _ALL - 1)]


def is_user_namespace() -> bool:
    """Whether this process is in another user namespace than the initial one, where `root` is an ordinary user."""
    return read_id_map() != [(0, 0, _ALL - 1)]


def has_single_id(path: str = "/proc/self/uid_map") -> bool:
    """Whether a user namespace has one user ID: all files have the same owner. `path`: its map."""
    return sum(count for _, _, count in read_id_map(path)) == 1


def encode_owner(uid: int, gid: int) -> bytes:
    """Return the value of `OWNER_ATTRIBUTE`: the message `Resource` of rootlesscontainers.proto."""
    return b"".join(key + _encode_number(value) for key, value in ((b"\x08", uid), (b"\x10", gid)) if value)


def decode_owner(value: bytes) -> tuple[int, int]:
    """Return the user and group ID of a value of `OWNER_ATTRIBUTE`. Raises `ValueError` for another message."""
    numbers = {0x08: 0, 0x10: 0}
    place = 0
    while place < len(value):
        key, shift, number = value[place], 0, 0
        place += 1
        while True:
            if place >= len(value) or shift > 28 or key not in numbers:
                raise ValueError("not the owner of a file")
            byte = value[place]
            place, number, shift = place + 1, number | (byte & 0x7F) << shift, shift + 7
            if byte < 0x80:
                break
        numbers[key] = number
    return numbers[0x08], numbers[0x10]


def _encode_number(number: int) -> bytes:
    encoded = bytearray()
    while number >= 0x80:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes((*encoded, number))
