"""Which engines are there, and whether they answer."""

from __future__ import annotations

from imq.engine.docker_engine.client import EngineClient
from imq.grammar.errors import ImqError
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from imq.engine.docker_engine.endpoint import Endpoint

PING_TIMEOUT = 3.0
"""Seconds that an engine has to answer."""


def ping_endpoints(endpoints: Sequence[Endpoint]) -> list[tuple[str, str, str, bool, int | None]]:
    """Return a row of `sources` for each engine: name, kind, address, whether it answers, and its images."""
    if len(endpoints) < 2:
        return [_ping(endpoint) for endpoint in endpoints]
    from concurrent.futures import ThreadPoolExecutor  # slow to import, and one engine needs none

    with ThreadPoolExecutor(len(endpoints)) as pool:
        return list(pool.map(_ping, endpoints))


def find_answering(endpoints: Sequence[Endpoint]) -> tuple[str, str] | None:
    """Return the name and address of the first engine that answers by a socket of this machine."""
    for endpoint in endpoints:
        if endpoint.socket_path is None or endpoint.problem is not None:
            continue
        client = EngineClient(endpoint, timeout=PING_TIMEOUT)
        try:
            client.ping()
        except ImqError:
            continue
        finally:
            client.close()
        return endpoint.name, endpoint.address
    return None


def _ping(endpoint: Endpoint) -> tuple[str, str, str, bool, int | None]:
    kind = "a Podman engine" if endpoint.kind == "podman" else "a Docker engine"
    if endpoint.problem is not None:
        return endpoint.name, kind, endpoint.address, False, None
    client = EngineClient(endpoint, timeout=PING_TIMEOUT)
    try:
        images = client.get_json("images/json", {})
        return endpoint.name, kind, endpoint.address, True, len(images)
    except ImqError:
        return endpoint.name, kind, endpoint.address, False, None
    finally:
        client.close()
