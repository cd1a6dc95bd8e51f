"""Parses Retry-After and the rate-limit headers that Docker Hub sends."""

from __future__ import annotations

import re
import time

from imq.engine.registry.settings import DOCKER_HUB
from imq.grammar.record import TYPE_CHECKING, Record

if TYPE_CHECKING:
    from collections.abc import Mapping

_COUNT = re.compile(r"\s*([0-9]{1,12})\s*(?:;.*?\bw=([0-9]{1,9})\b)?")
_MAX_SOURCE_LENGTH = 64
_MAX_RESET_SECONDS = 10 * 365 * 86400
"""A larger value is a time since 1970."""
_UNITS = ((86400, "day"), (3600, "hour"), (60, "minute"), (1, "second"))


class RateLimit(Record):
    """The rate limit of a host: `limit` requests in `window` seconds, of which `remaining` remain.

    -1 means that a number is unknown. `source` is the address or account that the host counts for. `reset` is the
    number of seconds until the window starts again.
    """

    limit: int
    remaining: int
    window: int
    source: str = ""
    reset: int = -1

    def __str__(self) -> str:
        """Return a phrase. Example: `limit: 100 requests in 6 hours, 0 remaining`."""
        parts = []
        if self.limit >= 0:
            window = f" in {format_wait(self.window)}" if self.window > 0 else ""
            source = f" for {self.source}" if self.source else ""
            parts.append(f"limit: {self.limit} requests{window}{source}")
        if self.remaining >= 0:
            parts.append(f"{self.remaining} remaining")
        return ", ".join(parts)


def parse_rate_limit(headers: Mapping[str, str]) -> RateLimit | None:
    """Return the values of `RateLimit-Limit`, `-Remaining` and `Docker-RateLimit-Source`; None without them."""
    limit = _COUNT.match(headers.get("RateLimit-Limit") or "")
    remaining = _COUNT.match(headers.get("RateLimit-Remaining") or "")
    if limit is None and remaining is None:
        return None
    window = (limit and limit[2]) or (remaining and remaining[2])
    source = "".join(c for c in headers.get("Docker-RateLimit-Source") or "" if c.isprintable())
    return RateLimit(
        int(limit[1]) if limit else -1,
        int(remaining[1]) if remaining else -1,
        int(window) if window else -1,
        source[:_MAX_SOURCE_LENGTH].strip(),
        _parse_reset(headers.get("RateLimit-Reset") or ""),
    )


def _parse_reset(text: str) -> int:
    """Return the seconds of a RateLimit-Reset header, -1 without one. Some servers send a time of day."""
    match = _COUNT.match(text)
    if match is None:
        return -1
    seconds = int(match[1])
    return seconds if seconds < _MAX_RESET_SECONDS else max(0, seconds - int(time.time()))


def is_rate_limited(registry: str, method: str, target: str) -> bool:
    """Whether a request counts towards the rate limit. Docker Hub counts only GET of manifests."""
    return registry != DOCKER_HUB or (method == "GET" and "/manifests/" in target)


def parse_retry_after(headers: Mapping[str, str]) -> float:
    """Return the seconds of the Retry-After header, which holds seconds or a date; 0 without one."""
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


def format_wait(seconds: float) -> str:
    """Return a duration in its largest whole unit. Example: `6 hours`, `90 seconds`."""
    rounded = max(1, round(seconds))
    size, unit = next((size, unit) for size, unit in _UNITS if rounded % size == 0)
    count = rounded // size
    return f"{count} {unit}{'' if count == 1 else 's'}"
