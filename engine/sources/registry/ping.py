"""Checks whether registries respond: one short request to each."""

from __future__ import annotations

from http import HTTPStatus

from imq.engine.registry.client import Client
from imq.engine.registry.http.client import Request
from imq.grammar.errors import ImqError
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from imq.engine.registry.settings import Settings

_TIMEOUT = 3.0
"""Seconds that a registry has to respond."""


def ping_hosts(hosts: Iterable[str], settings: Settings) -> dict[str, bool]:
    """Return for each host whether it serves the distribution API, with or without access."""
    quick = settings.replace(retries=0, connect_timeout=_TIMEOUT, read_timeout=_TIMEOUT)
    with Client(quick) as client:
        return {host: _ping(client, host) for host in dict.fromkeys(hosts)}


def _ping(client: Client, host: str) -> bool:
    try:
        answer = client.http.send(Request("GET", host, "", "/v2/"))
    except ImqError:
        return False
    answer.close()
    return answer.status in (HTTPStatus.OK, HTTPStatus.UNAUTHORIZED)
