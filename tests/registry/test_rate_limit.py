"""Rate limits of registries: they are parsed, stored, reported and obeyed."""

from __future__ import annotations

import time
from email.utils import formatdate
from typing import TYPE_CHECKING

import pytest
from imq.engine.oci import media_types
from imq.engine.oci.reference import Reference
from imq.engine.registry.http.rate_limit import (
    RateLimit,
    format_wait,
    is_rate_limited,
    parse_rate_limit,
    parse_retry_after,
)
from imq.engine.registry.http.retry import RetryBudget
from imq.engine.registry.settings import Settings
from imq.grammar.errors import RegistryError
from registry.support.scripted_server import ScriptedServer, Step

if TYPE_CHECKING:
    from collections.abc import Callable

    from imq.engine.registry.client import Client

MANIFEST = "/v2/a/manifests/latest"
OCI = {"Content-Type": media_types.OCI_MANIFEST}
HUB = {
    "RateLimit-Limit": "100;w=21600",
    "RateLimit-Remaining": "76;w=21600",
    "Docker-RateLimit-Source": "203.0.113.7",
}


@pytest.mark.parametrize(
    ("headers", "limit", "text"),
    [
        (
            HUB,
            RateLimit(100, 76, 21600, "203.0.113.7"),
            "limit: 100 requests in 6 hours for 203.0.113.7, 76 remaining",
        ),
        ({"RateLimit-Limit": "5000"}, RateLimit(5000, -1, -1), "limit: 5000 requests"),
        ({"RateLimit-Remaining": "0;w=60"}, RateLimit(-1, 0, 60), "0 remaining"),
        ({"RateLimit-Limit": "10, 10;q=1;w=90"}, RateLimit(10, -1, -1), "limit: 10 requests"),
        ({"RateLimit-Limit": "10;comment=x;w=90"}, RateLimit(10, -1, 90), "limit: 10 requests in 90 seconds"),
        ({"RateLimit-Limit": "many", "Docker-RateLimit-Source": "x"}, None, ""),
        ({}, None, ""),
    ],
)
def test_parse_rate_limits(headers: dict[str, str], limit: RateLimit | None, text: str) -> None:
    assert parse_rate_limit(headers) == limit
    assert limit is None or str(limit) == text


def test_a_rate_limit_source_is_cleaned_and_truncated() -> None:
    parsed = parse_rate_limit({**HUB, "Docker-RateLimit-Source": "\x1b[31m" + "x" * 500})
    assert parsed is not None
    assert "\x1b" not in parsed.source
    assert len(parsed.source) <= 64


def test_reset_of_a_retry_budget() -> None:
    parsed = parse_rate_limit({"RateLimit-Remaining": "3", "RateLimit-Reset": "20"})
    assert parsed is not None
    assert parsed.reset == 20
    later = parse_rate_limit({"RateLimit-Remaining": "3", "RateLimit-Reset": str(int(time.time()) + 50)})
    assert later is not None
    assert 45 <= later.reset <= 50, "some servers send a time"
    assert parse_rate_limit({"RateLimit-Remaining": "3", "RateLimit-Reset": "soon"}) == RateLimit(-1, 3, -1)


def test_requests_that_docker_hub_counts() -> None:
    asked = [("GET", "/v2/a/manifests/1"), ("HEAD", "/v2/a/manifests/1"), ("GET", "/v2/a/blobs/sha256:0")]
    assert [is_rate_limited("docker.io", method, target) for method, target in asked] == [True, False, False]
    assert all(is_rate_limited("quay.io", method, target) for method, target in asked)


def test_retry_after() -> None:
    assert parse_retry_after({"Retry-After": " 7 "}) == 7
    assert 50 < parse_retry_after({"Retry-After": formatdate(time.time() + 60, usegmt=True)}) <= 60
    assert parse_retry_after({"Retry-After": "9" * 50}) > 1e8
    for nothing in ("", "-5", "soon", formatdate(time.time() - 60), "Fri, 99 Foo 2026", "²"):
        assert parse_retry_after({"Retry-After": nothing}) == 0


def test_format_wait() -> None:
    assert [format_wait(s) for s in (0.2, 1, 90, 120, 3600, 21600, 86400)] == [
        *("1 second", "1 second", "90 seconds", "2 minutes", "1 hour", "6 hours", "1 day")
    ]


def test_retry_delays_double_and_end() -> None:
    patience = RetryBudget(Settings(retries=4, first_wait=1, longest_wait=5))
    waits = [patience.next_delay() for _ in range(4)]
    assert patience.next_delay() is None
    assert all(
        wait is not None and low <= wait <= high
        for wait, (low, high) in zip(waits, ((0.5, 1), (1, 2), (2, 4), (4, 5)), strict=True)
    )
    patience.reset()
    assert patience.next_delay(5) == 5
    assert patience.next_delay(5.1) is None, "a longer wait is an error"


def test_the_remaining_images_are_kept(client: Client) -> None:
    with ScriptedServer(
        Step("GET", MANIFEST, 200, {**OCI, **HUB}, b"{}"), Step("GET", MANIFEST, 200, OCI, b"{}")
    ) as server:
        name = Reference.parse(f"{server.host}/a:latest")
        assert client.get_rate_limit(server.host) is None
        client.fetch_manifest(name)
        client.fetch_manifest(name)
        assert client.get_rate_limit(server.host) == RateLimit(100, 76, 21600, "203.0.113.7")


def test_a_rate_limit_error_states_the_limit_and_the_wait(client: Client) -> None:
    spent = {**HUB, "RateLimit-Remaining": "0;w=21600", "Retry-After": "7200"}
    with ScriptedServer(Step("GET", MANIFEST, 429, spent)) as server, pytest.raises(RegistryError) as caught:
        client.fetch_manifest(Reference.parse(f"{server.host}/a:latest"))
    assert caught.value.message.startswith(f"{server.host} rate limit exceeded")
    assert caught.value.hints == (
        "limit: 100 requests in 6 hours for 203.0.113.7, 0 remaining",
        f"try again in 2 hours, or log in for a higher limit: imq login {server.host}",
    )


def test_a_long_outage_fails(connect: Callable[..., Client]) -> None:
    date = formatdate(time.time() + 900, usegmt=True)
    with (
        ScriptedServer(Step("GET", MANIFEST, 503, {"Retry-After": date})) as server,
        pytest.raises(RegistryError) as caught,
    ):
        connect().fetch_manifest(Reference.parse(f"{server.host}/a:latest"))
    assert "try again in " in caught.value.hints[0]


def test_retry_after_may_be_a_date(client: Client) -> None:
    with ScriptedServer() as server:
        start = time.monotonic()
        server.add(
            Step("GET", MANIFEST, 503, {"Retry-After": formatdate(time.time() + 2, usegmt=True)}),
            Step("GET", MANIFEST, 200, OCI, b"{}"),
        )
        client.fetch_manifest(Reference.parse(f"{server.host}/a:latest"))
        assert time.monotonic() - start >= 0.5, "dates are in whole seconds"
