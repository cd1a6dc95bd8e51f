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
"""Timeout of a request in seconds."""


def ping_hosts(hosts: Iterable[str], settings: Settings) -> dict[str, bool]:
    """Return whether each host serves the distribution API. Access to it is not required."""
    quick = settings.replace(retries=0, connect_timeout=_TIMEOUT, read_timeout=_TIMEOUT)
    with Client(quick) as client:
        return {host: _ping(client, host) for host in dict.fromkeys(hosts)}


def _ping(client: Client, host: str) -> bool:
    try:
        response = client.http.send(Request("GET", host, "", "/v2/"))
    except ImqError:
        return False
    response.close()
    return response.status in (HTTPStatus.OK, HTTPStatus.UNAUTHORIZED)
