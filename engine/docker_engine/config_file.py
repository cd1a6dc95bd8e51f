"""Reads the JSON files in which docker and podman store endpoints."""

from __future__ import annotations

from imq.grammar.errors import Malformed
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

_MAX_FILE_BYTES = 4 << 20


def read_json_object(path: str, fields: Iterable[str]) -> dict[str, Any]:
    """Return the object in a JSON file, with the keys of `fields` as written there: Go's readers ignore their case.

    Raises `OSError`, and `ValueError` for other content, and for two keys of one field.
    """
    import json

    with open(path, "rb") as file:
        try:
            document = json.loads(file.read(_MAX_FILE_BYTES))
        except RecursionError:
            raise ValueError("the document is nested too deeply") from None
    return match_object_fields(document, fields)


def match_object_fields(document: object, fields: Iterable[str]) -> dict[str, Any]:
    """Return an object of a document with the keys of `fields` as written there. Raises `ValueError`."""
    from imq.engine.oci.json_schema import match_fields  # not on the path of queries without such files

    if not isinstance(document, dict):
        raise ValueError("expected a JSON object")  # noqa: TRY004 - it is the content that is wrong
    try:
        return match_fields(document, fields, "the object")
    except Malformed as problem:
        raise ValueError(problem.message) from None
