"""Checks whether a registry responds: one short request."""

from __future__ import annotations

from http import HTTPStatus

from imq.engine.registry.client import Client
from imq.engine.registry.http.client import Request
from imq.grammar.errors import RegistryError
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from imq.engine.registry.settings import Settings

_TIMEOUT = 3.0
"""Timeout of a request in seconds."""


def ping_host(host: str, settings: Settings) -> None:
    """Return when a host serves the distribution API. Access to it is not required. Raises `RegistryError`."""
    quick = settings.replace(retries=0, connect_timeout=_TIMEOUT, read_timeout=_TIMEOUT)
    with Client(quick) as client:
        response = client.http.send(Request("GET", host, "", "/v2/"))
        response.close()
    if response.status not in (HTTPStatus.OK, HTTPStatus.UNAUTHORIZED):
        raise RegistryError(f"{host} does not serve the distribution API: HTTP {int(response.status)} for /v2/")
