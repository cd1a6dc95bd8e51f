"""The image config: what a container of the image runs as, how it was built, and its diff IDs."""

from __future__ import annotations

from imq.grammar.errors import Malformed
from imq.grammar.record import TYPE_CHECKING, Record

from .digest import Digest
from .document import read_json
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
    """An image config. `runtime` is its `config` object as it stands; `created` is as in `HistoryEntry`."""

    platform: Platform
    created: int | None
    author: str
    diff_ids: tuple[Digest, ...]
    history: tuple[HistoryEntry, ...]
    runtime: Mapping[str, Any]
    document: Mapping[str, Any]

    @classmethod
    def read(cls, content: bytes, what: str = "the config") -> Config:
        """Parse a config; a missing or malformed `rootfs.diff_ids` raises `Malformed`, absent details are empty."""
        document = read_json(content, what)
        rootfs = document.get("rootfs")
        ids = rootfs.get("diff_ids", []) if isinstance(rootfs, dict) else None
        if ids is None:
            ids = [] if isinstance(rootfs, dict) else None
        if not isinstance(ids, list):
            raise Malformed(f"{what} has no list rootfs.diff_ids", code="document")
        entries = document.get("history") or []
        runtime = document.get("config") or {}
        return cls(
            platform_of(document),
            read_time(document.get("created")),
            _text(document.get("author")),
            tuple(Digest.parse(diff_id) for diff_id in ids),
            tuple(_entry(entry) for entry in entries if isinstance(entry, dict)) if isinstance(entries, list) else (),
            runtime if isinstance(runtime, dict) else {},
            document,
        )

    def texts(self, key: str) -> dict[str, str]:
        """Return the map of texts at `key` of the runtime part, such as Labels; what is not text is left out."""
        value = self.runtime.get(key)
        if not isinstance(value, dict):
            return {}
        return {name: text for name, text in value.items() if isinstance(text, str)}

    def keys(self, key: str) -> list[str]:
        """Return the keys of a set that Go writes as a map to empty objects (ExposedPorts, Volumes), sorted."""
        value = self.runtime.get(key)
        return sorted(value) if isinstance(value, dict) else []

    def words(self, key: str) -> list[str] | None:
        """Return the list of texts at `key` (Entrypoint, Cmd, Env); None when there is none."""
        value = self.runtime.get(key)
        if isinstance(value, str):  # very old configs write a single command as one text
            return [value]
        return [word for word in value if isinstance(word, str)] if isinstance(value, list) else None

    def text(self, key: str) -> str | None:
        """Return the text at `key` (User, WorkingDir, StopSignal); None when it is missing or empty."""
        value = self.runtime.get(key)
        return value if isinstance(value, str) and value else None


def _entry(document: Mapping[str, Any]) -> HistoryEntry:
    return HistoryEntry(
        read_time(document.get("created")),
        _text(document.get("created_by")),
        _text(document.get("author")),
        _text(document.get("comment")),
        document.get("empty_layer") is True,
    )


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
