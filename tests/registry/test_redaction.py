"""Messages of servers are shown without the secrets that they echo, and secrets are sent to no other host."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest
from imq.engine.oci.reference import Reference
from imq.engine.registry.batch.client import BatchClient
from imq.engine.units.redaction import Secrets
from imq.grammar.errors import ImqError, RegistryError
from registry.support.scripted_server import ScriptedServer, Step

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from imq.engine.registry.client import Client

USER, PASSWORD = "ann", 'p"ä/s +word'
PACKED = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
ECHOES = [
    PASSWORD,
    PACKED,
    PACKED.lower(),
    f"Basic {PACKED}",
    quote(PASSWORD, safe=""),
    base64.b64encode(PASSWORD.encode()).decode(),
    json.dumps({"p": PASSWORD}),
]
CHALLENGE = {"WWW-Authenticate": 'Basic realm="x"'}
MANIFEST = "/v2/a/manifests/latest"


def write_credentials(folder: Path, host: str) -> dict[str, str]:
    (folder / "config.json").write_text(json.dumps({"auths": {host: {"auth": PACKED}}}))
    return {"DOCKER_CONFIG": str(folder)}


def format_error(problem: ImqError) -> str:
    return " ".join((problem.message, *problem.hints, problem.host if isinstance(problem, RegistryError) else ""))


def fetch_with_client(client: Client, reference: Reference) -> str:
    with pytest.raises(ImqError) as caught:
        client.fetch_manifest(reference)
    return format_error(caught.value)


def fetch_with_batch(client: Client, reference: Reference) -> str:
    with BatchClient(client) as batch_client:
        ((_, problem),) = batch_client.fetch_manifests([(0, reference)])
    assert isinstance(problem, ImqError)
    return format_error(problem)


WAYS = pytest.mark.parametrize("fetch", [fetch_with_client, fetch_with_batch])


@WAYS
@pytest.mark.parametrize("echo", ECHOES)
def test_an_error_that_echoes_credentials(
    connect: Callable[..., Client], tmp_path: Path, fetch: Callable[[Client, Reference], str], echo: str
) -> None:
    output = f"you sent {echo}, which is wrong"
    body = json.dumps({"errors": [{"code": "DENIED", "message": output}, {"code": echo, "message": "x" * 590 + echo}]})
    with ScriptedServer(Step("GET", MANIFEST, 401, CHALLENGE), Step("GET", MANIFEST, 403, {}, body.encode())) as server:
        reference = Reference(server.host, "a", "latest")
        text = fetch(connect(environment=write_credentials(tmp_path, server.host)), reference).lower()
    assert "denied: you sent" in text
    assert "which is wrong" in text
    for secret in (PASSWORD, PACKED.rstrip("="), quote(PASSWORD), PASSWORD[:4]):
        assert secret.lower() not in text


@WAYS
@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (200, {"Content-Type": f"text/{PACKED}"}),
        (307, {"Location": f"http://{PACKED.rstrip('=')}.invalid/"}),
        (307, {"Location": f"gopher://{PACKED.rstrip('=')}/"}),
        (429, {"Docker-RateLimit-Source": PACKED, "RateLimit-Limit": "1;w=60", "Retry-After": "600"}),
    ],
)
def test_a_header_that_echoes_credentials(
    connect: Callable[..., Client],
    tmp_path: Path,
    fetch: Callable[[Client, Reference], str],
    status: int,
    headers: dict[str, str],
) -> None:
    with ScriptedServer(Step("GET", MANIFEST, 401, CHALLENGE), Step("GET", MANIFEST, status, headers)) as server:
        client = connect(
            environment=write_credentials(tmp_path, server.host), insecure=frozenset({f"{PACKED}.invalid"})
        )
        text = fetch(client, Reference(server.host, "a", "latest"))
    assert PACKED.rstrip("=").lower() not in text.lower()
    assert "***" in text


def test_a_token_server_that_echoes_credentials_and_tokens(connect: Callable[..., Client], tmp_path: Path) -> None:
    with ScriptedServer() as server:
        challenge = {"WWW-Authenticate": f'Bearer realm="{server.url}/token",service="s"'}
        denied = json.dumps({"errors": [{"code": "DENIED", "message": f"not Bearer t0ken-of-ann nor {PACKED}"}]})
        server.add(
            Step("GET", MANIFEST, 401, challenge),
            Step("GET", "/token", 200, {}, b'{"token":"t0ken-of-ann"}'),
            Step("GET", MANIFEST, 403, {}, denied.encode()),
            Step("GET", "/token", 403, {}, denied.encode()),
        )
        client = connect(environment=write_credentials(tmp_path, server.host))
        texts = [fetch_with_client(client, Reference(server.host, name, "latest")) for name in ("a", "b")]
    assert [text.count("***") for text in texts] == [2, 2]
    assert not any("t0ken" in text or PACKED.rstrip("=") in text for text in texts)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_an_identity_token_is_not_redirected_to_another_origin(
    connect: Callable[..., Client], tmp_path: Path, status: int
) -> None:
    with ScriptedServer() as server, ScriptedServer(any_order=True) as other_server:
        challenge = {"WWW-Authenticate": f'Bearer realm="{server.url}/token",service="s"'}
        (tmp_path / "config.json").write_text(json.dumps({"auths": {server.host: {"identitytoken": "identity"}}}))
        server.add(
            Step("GET", MANIFEST, 401, challenge),
            Step("POST", "/token", status, {"Location": f"{other_server.url}/token"}),
        )
        text = fetch_with_client(
            connect(environment={"DOCKER_CONFIG": str(tmp_path)}), Reference(server.host, "a", "latest")
        )
    assert other_server.requests == []
    assert b"identity" in server.requests[-1].body
    assert server.host in text


def test_an_identity_token_is_redirected_within_its_origin(connect: Callable[..., Client], tmp_path: Path) -> None:
    with ScriptedServer() as server:
        challenge = {"WWW-Authenticate": f'Bearer realm="{server.url}/token",service="s"'}
        (tmp_path / "config.json").write_text(json.dumps({"auths": {server.host: {"identitytoken": "identity"}}}))
        server.add(
            Step("GET", "/v2/a/tags/list", 401, challenge),
            Step("POST", "/token", 307, {"Location": "/v2/token"}),
            Step("POST", "/v2/token", 200, {}, b'{"token":"t"}'),
            Step("GET", "/v2/a/tags/list", 200, {}, b'{"tags":["b"]}'),
        )
        client = connect(environment={"DOCKER_CONFIG": str(tmp_path)})
        assert list(client.list_tags(Reference(server.host, "a"))) == ["b"]


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("basic authentication required", "basic authentication required"),
        ("Bearer token expected", "Bearer token expected"),
        ("got Basic dXNlcjpwYXNz==, sorry", "got Basic ***, sorry"),
        ("Authorization:Bearer eyJhbGciOi.J9-x_1", "Authorization:Bearer ***"),
        ("a short word: pw; not opwen", "a short word: ***; not opwen"),
        ("", ""),
    ],
)
def test_header_like_values_are_always_redacted(text: str, redacted: str) -> None:
    secrets = Secrets()
    secrets.add("pw", "")
    assert secrets.redact(text) == redacted
