"""Values of JSON documents of engines. A value of another type than its field has counts as missing."""

from __future__ import annotations

import re

from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

_HEX_ID = re.compile(r"[0-9a-f]{64}\Z")
_IMAGE_ID = re.compile(r"sha256:[0-9a-f]{64}\Z")
_MAX_INTEGER = (1 << 63) - 1
"""The largest integer of SQLite."""


def read_object(value: object) -> Mapping[str, Any]:
    """Return an object; an empty one for another value."""
    return value if isinstance(value, dict) else {}


def read_objects(value: object) -> list[dict[str, Any]]:
    """Return the objects in an array."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def read_text(value: object) -> str | None:
    """Return a string that is not empty."""
    return value if isinstance(value, str) and value else None


def read_texts(value: object) -> list[str]:
    """Return the strings in an array."""
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []


def read_map(value: object) -> dict[str, str]:
    """Return an object of strings. Another value in it counts as an empty string."""
    return {key: item if isinstance(item, str) else "" for key, item in read_object(value).items()}


def read_integer(value: object) -> int | None:
    """Return an integer of at most 63 bits that is not negative."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MAX_INTEGER else None


def read_boolean(value: object) -> bool | None:
    """Return a boolean."""
    return value if isinstance(value, bool) else None


def read_image_id(value: object) -> str | None:
    """Return an image ID with its algorithm, which some documents of podman leave out."""
    if not isinstance(value, str):
        return None
    if _IMAGE_ID.match(value):
        return value
    return f"sha256:{value}" if _HEX_ID.match(value) else None


def read_container_image(value: object) -> str | None:
    """Return the image ID of a listed container; an empty string for a container without an image, None if unknown.

    Podman writes `sha256:` for one that was made of a folder (`--rootfs`).
    """
    return "" if value in ("", "sha256:") else read_image_id(value)
