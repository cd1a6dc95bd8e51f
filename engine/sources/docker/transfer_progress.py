"""The progress of a pull or push by an engine, from the messages of its stream."""

from __future__ import annotations

from imq.engine.oci.digest import Digest
from imq.engine.progress import DOWNLOADING, PUSHED, PUSHING
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from imq.engine.progress import Progress

_MOVING = (DOWNLOADING, PUSHING)
_SHORT = 12
_HEX = frozenset("0123456789abcdef")


class TransferReport:
    """What a stream said besides progress: status lines, the digest and size of the manifest, and the moved bytes."""

    def __init__(self) -> None:
        self.statuses: list[str] = []
        self.digest: str | None = None
        self.manifest_size: int | None = None
        self.moved_bytes = 0


def follow_transfer(name: str, messages: Iterable[Mapping[str, Any]], progress: Progress) -> TransferReport:
    """Read the messages of a transfer to their end, and report the progress of its layers.

    The total is unknown before the end, because an engine announces the size of a layer with its first bytes. Raises
    `EngineError` in the words of the engine.
    """
    report = TransferReport()
    done: dict[Digest, int] = {}
    sizes: dict[Digest, int] = {}
    progress.begin(name, 0)
    try:
        for message in messages:
            status, layer = str(message.get("status") or ""), str(message.get("id") or "")
            aux = message.get("aux")
            if isinstance(aux, dict) and isinstance(aux.get("Digest"), str):
                size = aux.get("Size")
                report.digest, report.manifest_size = aux["Digest"], size if isinstance(size, int) else None
            if len(layer) != _SHORT or not _HEX.issuperset(layer):
                _read_status(status, report)
                continue
            digest = Digest(f"sha256:{layer}")  # engines send the first 12 digits only
            detail = message.get("progressDetail")
            current, total = _read_detail(detail if isinstance(detail, dict) else {})
            sizes[digest] = max(sizes.get(digest, 0), total)
            progress.set_layer_status(digest, status, sizes[digest])
            if status in _MOVING:
                done[digest] = max(done.get(digest, 0), current)
            elif status in (PUSHED, "Verifying Checksum", "Download complete"):
                done[digest] = max(done.get(digest, 0), sizes[digest])
            else:
                continue
            report.moved_bytes = sum(done.values())
            progress.advance(digest, done[digest], report.moved_bytes)
    finally:
        progress.end()
    return report


def _read_detail(detail: Mapping[str, Any]) -> tuple[int, int]:
    """Return the bytes so far and the total in a message; the total is at least the bytes so far."""
    current, total = detail.get("current"), detail.get("total")
    current = current if isinstance(current, int) else 0
    return current, max(total if isinstance(total, int) else 0, current)


def _read_status(status: str, report: TransferReport) -> None:
    if status.startswith("Digest: "):
        report.digest = status.removeprefix("Digest: ").strip()
    elif ": digest: " in status:  # `1: digest: sha256:… size: 528`
        digest, *rest = status.partition(": digest: ")[2].split()
        report.digest = digest
        if len(rest) == 2 and rest[0] == "size:" and rest[1].isdecimal():
            report.manifest_size = int(rest[1])
    if status:
        report.statuses.append(status)
