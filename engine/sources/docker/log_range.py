"""The part of a log that a statement needs, as the parameters of a request."""

from __future__ import annotations

from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from imq.engine.query.source import FetchRequest

_NS_PER_SECOND = 1_000_000_000
_MAX_TAIL = 100_000
"""The most lines of each log that are requested from its end. For more, the log is read from its start."""


def make_range_query(fetch: FetchRequest, *, counts_lines: bool) -> dict[str, str]:
    """Return the parameters since, until and tail, without those that limit nothing.

    Engines compare fractions of a second differently, so the bounds are the whole seconds around those of the
    statement. One line more than needed is requested from the end: it shows that no further line has the same time.
    `counts_lines`: the engine can count lines from the end. Podman (4.3) then joins the parts of a long line with the
    line before it.
    """
    query: dict[str, str] = {}
    if fetch.since is not None and fetch.since > 0:
        query["since"] = str(fetch.since // _NS_PER_SECOND)
    if fetch.until is not None:
        query["until"] = str(max(fetch.until // _NS_PER_SECOND + 1, 1))
    if counts_lines and 0 < fetch.last < _MAX_TAIL:
        query["tail"] = str(fetch.last + 1)
    return query
