"""Reads the JSON files in which docker and podman store endpoints."""

from __future__ import annotations

from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

_MAX_FILE_BYTES = 4 << 20


def read_json_object(path: str) -> dict[str, Any]:
    """Return the object in a JSON file. Raises `OSError`, and `ValueError` for other content."""
    import json

    with open(path, "rb") as file:
        try:
            document = json.loads(file.read(_MAX_FILE_BYTES))
        except RecursionError:
            raise ValueError("the document is nested too deeply") from None
    if not isinstance(document, dict):
        raise ValueError("expected a JSON object")  # noqa: TRY004 - it is the content that is wrong
    return document
