"""The image config: what a container of the image runs as, how it was built, and its diff IDs."""

from __future__ import annotations

from imq.grammar.errors import Malformed
from imq.grammar.record import TYPE_CHECKING, Record

from . import json_schema
from .digest import Digest
from .manifest import read_json
from .platform import Platform, platform_of
from .timestamp import read_time

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any


class HistoryEntry(Record):
    """One step of the build. `created` is in nanoseconds since the epoch, None when not known."""

    created: int | None
    created_by: str
    author: str
    comment: str
    empty_layer: bool


class Config(Record):
    """An image config. `runtime` is its `config` object as it stands; `created` is as in `HistoryEntry`.

    `problems` is what some tools refuse and imq reads on with.
    """

    platform: Platform
    created: int | None
    author: str
    diff_ids: tuple[Digest, ...]
    history: tuple[HistoryEntry, ...]
    runtime: Mapping[str, Any]
    document: Mapping[str, Any]
    problems: tuple[str, ...] = ()

    @classmethod
    def read(cls, content: bytes, what: str = "the config") -> Config:
        """Parse a config; raises `Malformed` for what no tool reads. Absent details, and null, are empty."""
        document = read_json(content, what, replace_invalid=True)
        rootfs = document.get("rootfs")
        if not isinstance(rootfs, dict) or not isinstance(rootfs.get("diff_ids") or [], list):
            raise Malformed(f"{what} has no list rootfs.diff_ids", code="document")
        problems = json_schema.CONFIG.check(document, what)
        try:
            diff_ids = tuple(Digest.parse(diff_id) for diff_id in rootfs.get("diff_ids") or ())
        except Malformed as problem:
            raise Malformed(f"{what}: rootfs.diff_ids: {problem.message}", code=problem.code) from None
        history = tuple(_entry(entry or {}) for entry in document.get("history") or ())
        made = sum(not entry.empty_layer for entry in history)
        if made > len(diff_ids):
            problems += (f"{what}: history has {made} steps that made a layer, and there are {len(diff_ids)} layers",)
        return cls(
            platform_of(document),
            read_time(document.get("created")),
            document.get("author") or "",
            diff_ids,
            history,
            document.get("config") or {},
            document,
            problems,
        )

    def texts(self, key: str) -> dict[str, str]:
        """Return the map of texts at `key` of the runtime part: Labels. Null in it is an empty text, as in Go."""
        return {name: text or "" for name, text in (self.runtime.get(key) or {}).items()}

    def keys(self, key: str) -> list[str]:
        """Return the keys of a set that Go writes as a map to empty objects (ExposedPorts, Volumes), sorted."""
        return sorted(self.runtime.get(key) or ())

    def words(self, key: str) -> list[str] | None:
        """Return the list of texts at `key` (Entrypoint, Cmd, Env); None when there is none."""
        value = self.runtime.get(key)
        if isinstance(value, str):  # very old configs write a single command as one text
            return [value]
        return None if value is None else [word or "" for word in value]

    def text(self, key: str) -> str | None:
        """Return the text at `key` (User, WorkingDir, StopSignal); None when it is missing or empty."""
        return self.runtime.get(key) or None

    @property
    def healthcheck(self) -> list[str] | None:
        """The words of the health check; None when there is none. Of one of a wrong type, what is written there."""
        import json

        health = self.runtime.get("Healthcheck")
        test = health.get("Test") if isinstance(health, dict) else health
        if not test or test == ["NONE"]:
            return None
        if not isinstance(test, list):
            return [test if isinstance(test, str) else json.dumps(test)]
        return [word if isinstance(word, str) else json.dumps(word) for word in test]


def check_keys(content: bytes, what: str) -> None:
    """Raise `Malformed` for a config whose keys have two meanings; what else may be wrong with it is passed over."""
    try:
        Config.read(content, what)
    except Malformed as problem:
        if problem.code in ("ambiguous-key", "duplicate-key"):
            raise


def _entry(document: Mapping[str, Any]) -> HistoryEntry:
    return HistoryEntry(
        read_time(document.get("created")),
        document.get("created_by") or "",
        document.get("author") or "",
        document.get("comment") or "",
        document.get("empty_layer") is True,
    )
