"""What a registry says of how often it may be asked: Retry-After, and rate-limit headers as Docker Hub sends them."""

from __future__ import annotations

import re
import time

from imq.engine.registry.settings import DOCKER_HUB
from imq.grammar.record import TYPE_CHECKING, Record

if TYPE_CHECKING:
    from collections.abc import Mapping

_COUNT = re.compile(r"\s*([0-9]{1,12})\s*(?:;.*?\bw=([0-9]{1,9})\b)?")
_LONGEST_SOURCE = 64
_LONGEST_RESET = 10 * 365 * 86400
"""Seconds; more of them is a time since 1970."""
_UNITS = ((86400, "day"), (3600, "hour"), (60, "minute"), (1, "second"))


class Allowance(Record):
    """How many requests a host grants: `limit` in `window` seconds, of which `remaining` are left.

    A number that the host does not say is -1. `source` is whom it counts them for: an address or an account.
    `reset` is in how many seconds it begins to count anew.
    """

    limit: int
    remaining: int
    window: int
    source: str = ""
    reset: int = -1

    def __str__(self) -> str:
        """Return the numbers as a sentence without an end: `100 requests in 6 hours are allowed, 0 are left`."""
        within = f" in {spelled(self.window)}" if self.window > 0 else ""
        said = [f"{self.limit} requests{within} are allowed" + (f" to {self.source}" if self.source else "")]
        if self.limit < 0:
            said = []
        if self.remaining >= 0:
            said.append(f"{self.remaining} are left")
        return ", ".join(said)


def read_allowance(headers: Mapping[str, str]) -> Allowance | None:
    """Return what the headers `RateLimit-Limit`, `-Remaining` and `Docker-RateLimit-Source` say; None for nothing."""
    limit = _COUNT.match(headers.get("RateLimit-Limit") or "")
    remaining = _COUNT.match(headers.get("RateLimit-Remaining") or "")
    if limit is None and remaining is None:
        return None
    window = (limit and limit[2]) or (remaining and remaining[2])
    source = "".join(c for c in headers.get("Docker-RateLimit-Source") or "" if c.isprintable())
    return Allowance(
        int(limit[1]) if limit else -1,
        int(remaining[1]) if remaining else -1,
        int(window) if window else -1,
        source[:_LONGEST_SOURCE].strip(),
        _reset(headers.get("RateLimit-Reset") or ""),
    )


def _reset(text: str) -> int:
    """Return the seconds that a RateLimit-Reset header says: some give the time of day instead; -1 for none."""
    said = _COUNT.match(text)
    if said is None:
        return -1
    seconds = int(said[1])
    return seconds if seconds < _LONGEST_RESET else max(0, seconds - int(time.time()))


def counts(registry: str, method: str, target: str) -> bool:
    """Whether the registry counts such a request: Docker Hub counts the manifests that are fetched, and no more."""
    return registry != DOCKER_HUB or (method == "GET" and "/manifests/" in target)


def retry_after(headers: Mapping[str, str]) -> float:
    """Return the seconds that the Retry-After header asks to wait, given as such or as a date; 0 for none."""
    text = (headers.get("Retry-After") or "").strip()
    if not text:
        return 0.0
    if text.isascii() and text.isdigit():
        return float(text[:9])
    from email.utils import parsedate_to_datetime

    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return 0.0


def spelled(seconds: float) -> str:
    """Return a time in its largest whole unit: `6 hours`, `90 seconds`."""
    whole = max(1, round(seconds))
    size, unit = next((size, unit) for size, unit in _UNITS if whole % size == 0)
    count = whole // size
    return f"{count} {unit}{'' if count == 1 else 's'}"
