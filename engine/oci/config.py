"""The image config: the configuration of its containers, its build history, and its diff IDs."""

from __future__ import annotations

from imq.grammar.errors import Malformed
from imq.grammar.record import TYPE_CHECKING, Record

from . import json_schema
from .digest import Digest
from .manifest import parse_json_object
from .platform import Platform, parse_platform
from .timestamp import parse_time

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any


class HistoryEntry(Record):
    """One step of the build. `created` is in nanoseconds since the epoch; None when unknown."""

    created: int | None
    created_by: str
    comment: str
    empty_layer: bool


class Config(Record):
    """An image config. `runtime` is its `config` object, unchanged; `created` is as in `HistoryEntry`.

    `problems` has errors that make some tools reject the config, but not imq.
    """

    platform: Platform
    created: int | None
    diff_ids: tuple[Digest, ...]
    history: tuple[HistoryEntry, ...]
    runtime: Mapping[str, Any]
    document: Mapping[str, Any]
    problems: tuple[str, ...] = ()

    @classmethod
    def parse(cls, content: bytes, name: str = "the config") -> Config:
        """Parse a config. Missing keys, and null, are empty. Raises `Malformed` for a config that no tool can read."""
        document = parse_json_object(content, name, replace_invalid=True)
        rootfs = document.get("rootfs")
        if not isinstance(rootfs, dict) or not isinstance(rootfs.get("diff_ids") or [], list):
            raise Malformed(f"{name} has no list rootfs.diff_ids", code="document")
        problems = json_schema.CONFIG.check(document, name)
        try:
            diff_ids = tuple(Digest.parse(diff_id) for diff_id in rootfs.get("diff_ids") or ())
        except Malformed as error:
            raise Malformed(f"{name}: rootfs.diff_ids: {error.message}", code=error.code) from None
        history = tuple(_parse_history_entry(entry or {}) for entry in document.get("history") or ())
        layer_steps = sum(not entry.empty_layer for entry in history)
        if layer_steps > len(diff_ids):
            problems += (
                f"{name}: history has {layer_steps} steps that made a layer, and there are {len(diff_ids)} layers",
            )
        return cls(
            parse_platform(document),
            parse_time(document.get("created")),
            diff_ids,
            history,
            document.get("config") or {},
            document,
            problems,
        )

    @property
    def healthcheck(self) -> list[str] | None:
        """The words of the health check; None without one. Values of wrong types are returned as JSON."""
        import json

        health = self.runtime.get("Healthcheck")
        test = health.get("Test") if isinstance(health, dict) else health
        if not test or test == ["NONE"]:
            return None
        if not isinstance(test, list):
            return [test if isinstance(test, str) else json.dumps(test)]
        return [word if isinstance(word, str) else json.dumps(word) for word in test]


def check_ambiguous_keys(content: bytes, name: str) -> None:
    """Raise `Malformed` for a config with ambiguous keys; all other errors are ignored."""
    try:
        Config.parse(content, name)
    except Malformed as error:
        if error.code in ("ambiguous-key", "duplicate-key"):
            raise


def _parse_history_entry(document: Mapping[str, Any]) -> HistoryEntry:
    return HistoryEntry(
        parse_time(document.get("created")),
        document.get("created_by") or "",
        document.get("comment") or "",
        document.get("empty_layer") is True,
    )
