"""Whether registries answer: one short question to each."""

from __future__ import annotations

from http import HTTPStatus

from imq.engine.registry.client import Client
from imq.engine.registry.http.client import Ask
from imq.grammar.errors import ImqError
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from imq.engine.registry.settings import Settings

_PATIENCE = 3.0
"""Seconds that a registry has to answer: it is only asked whether it is there."""


def ping_hosts(hosts: Iterable[str], settings: Settings) -> dict[str, bool]:
    """Return for each host whether it speaks the distribution API, whoever it would let in."""
    quick = settings.replace(retries=0, connect_timeout=_PATIENCE, read_timeout=_PATIENCE)
    with Client(quick) as client:
        return {host: _answers(client, host) for host in dict.fromkeys(hosts)}


def _answers(client: Client, host: str) -> bool:
    try:
        answer = client.exchange.ask(Ask("GET", host, "", "/v2/"))
    except ImqError:
        return False
    answer.close()
    return answer.status in (HTTPStatus.OK, HTTPStatus.UNAUTHORIZED)
