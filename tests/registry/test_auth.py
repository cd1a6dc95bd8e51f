"""Authentication: challenges, basic auth, tokens, credential files and helpers."""

from __future__ import annotations

import base64
import json
import os
import threading
import time
import uuid
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from imq.engine.oci.platform import Platform
from imq.engine.oci.reference import Reference
from imq.engine.progress import NullProgress
from imq.engine.registry.auth.challenge import Challenge, parse_challenges
from imq.engine.registry.auth.credentials import Credentials, find_credentials
from imq.engine.registry.auth.login import erase_credentials, store_credentials
from imq.engine.registry.settings import Settings
from imq.engine.registry.transfer.pull import pull
from imq.engine.registry.transfer.push import push
from imq.grammar.errors import RegistryError
from registry.support import sample_images
from registry.support.sample_images import PASSWORD, USER
from registry.support.scripted_server import ScriptedServer, Step
from registry.support.token_server import SERVICE, TokenServer
from support import servers
from support.waiting import DEADLINE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from imq.engine.registry.client import Client
    from registry.conftest import RunningRegistry
    from support.servers import Registry

AMD64 = Platform("linux", "amd64")
REFRESH = "a-refresh-token"


def make_auth(user: str = USER, password: str = PASSWORD) -> dict[str, str]:
    return {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}


def write_config(folder: Path, **document: Any) -> dict[str, str]:
    """Write a config.json and return an environment with its path."""
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(document))
    return {"DOCKER_CONFIG": str(folder), "PATH": os.environ["PATH"]}


def install_helper(folder: Path, script: str, name: str = "tests") -> str:
    """Write a credential helper into `folder` and return a PATH with it."""
    folder.mkdir(exist_ok=True)
    program = folder / f"docker-credential-{name}"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return f"{folder}:{os.environ['PATH']}"


# Challenges


def test_challenges_with_quoted_commas_and_several_schemes() -> None:
    header = (
        'Negotiate, NTLM abc==, Bearer realm="https://a.b/token?x=1,2",service="one, \\"two\\"", scope="repository:a/b:'
        'pull,push" , Basic realm=plain, charset="UTF-8"'
    )
    assert parse_challenges(header) == (
        Challenge("negotiate"),
        Challenge("ntlm"),
        Challenge(
            "bearer",
            (
                ("realm", "https://a.b/token?x=1,2"),
                ("service", 'one, "two"'),
                ("scope", "repository:a/b:pull,push"),
            ),
        ),
        Challenge("basic", (("realm", "plain"), ("charset", "UTF-8"))),
    )


@settings(deadline=None)
@given(st.text(max_size=80))
def test_the_parser_accepts_or_rejects_any_header(header: str) -> None:
    assert all(challenge.scheme for challenge in parse_challenges(header))


_WORD = st.from_regex(r"[a-z]{1,8}", fullmatch=True)
_TEXT = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=20)


@settings(deadline=None)
@given(st.lists(st.tuples(_WORD, st.dictionaries(_WORD, _TEXT, min_size=1, max_size=4)), max_size=4))
def test_formatted_headers_are_parsed_back(challenges: list[tuple[str, dict[str, str]]]) -> None:
    def quoted(text: str) -> str:
        return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'

    header = ", ".join(s + " " + ", ".join(f"{k}={quoted(v)}" for k, v in p.items()) for s, p in challenges)
    assert parse_challenges(header) == tuple(Challenge(s, tuple(p.items())) for s, p in challenges)


# Basic auth


def test_basic_auth_from_config_json(connect: Callable[..., Client], guarded: Registry, tmp_path: Path) -> None:
    client = connect(environment=write_config(tmp_path, auths={guarded.host: make_auth()}))
    name = Reference.parse(f"{guarded.host}/team/basic:1")
    source_store, there = sample_images.MemoryStore(), sample_images.MemoryStore()
    manifest = sample_images.add_image(source_store)
    push(client, name, manifest, source_store, NullProgress())
    pull(client, name, AMD64, there, NullProgress())
    assert there.blobs == source_store.blobs
    assert len(guarded.requests('"GET /v2/team/basic/', 5)) == 5, "once let in, no request is challenged again"


def test_without_credentials_the_error_says_how_to_log_in(client: Client, guarded: Registry) -> None:
    with pytest.raises(RegistryError) as caught:
        client.fetch_manifest(Reference.parse(f"{guarded.host}/team/nobody"))
    assert caught.value.code == "unauthorized"
    assert f"imq login {guarded.host}" in caught.value.hints[0]
    assert guarded.host in caught.value.message
    assert "team/nobody" in caught.value.message


def test_wrong_credentials_are_not_shown(connect: Callable[..., Client], guarded: Registry, tmp_path: Path) -> None:
    client = connect(environment=write_config(tmp_path, auths={guarded.host: make_auth(password="wr0ng")}))
    with pytest.raises(RegistryError) as caught:
        client.fetch_manifest(Reference.parse(f"{guarded.host}/team/wrong"))
    assert caught.value.code == "unauthorized"
    displayed = repr(caught.value) + str(caught.value.hints) + repr(client.settings)
    assert "wr0ng" not in displayed
    assert make_auth(password="wr0ng")["auth"] not in displayed
    assert len(guarded.requests("/v2/team/wrong/", 2)) == 2, "the same credentials are not tried twice"


def test_a_helper_runs_once(connect: Callable[..., Client], guarded: Registry, tmp_path: Path) -> None:
    script = f"""echo "$1 $(cat)" >>{tmp_path}/asked
printf '{{"ServerURL":"","Username":"{USER}","Secret":"{PASSWORD}"}}'"""
    environment = write_config(tmp_path / "config", credHelpers={guarded.host: "tests"})
    client = connect(environment={**environment, "PATH": install_helper(tmp_path / "bin", script)})
    reference = Reference.parse(f"{guarded.host}/team/none:1")
    for _ in range(3):
        assert client.fetch_head(reference) is None
    assert (tmp_path / "asked").read_text() == f"get {guarded.host}\n"


# Tokens, with a registry that checks them


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TokenServer]:
    servers.require_programs("openssl")
    with TokenServer(tmp_path_factory.mktemp("tokens"), {USER: PASSWORD}, REFRESH) as running:
        yield running


@pytest.fixture(scope="module")
def checked(tokens: TokenServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    servers.require_programs(servers.PROGRAM)
    with servers.Registry(tmp_path_factory.mktemp("checked"), token=tokens.configuration) as running:
        yield running


@pytest.fixture
def token_requests(tokens: TokenServer) -> list[dict[str, Any]]:
    """The requests to the token server in this test."""
    tokens.requests.clear()
    return tokens.requests


@pytest.fixture
def name(checked: Registry) -> Reference:
    return Reference.parse(f"{checked.host}/team/{uuid.uuid4().hex[:8]}:v1")


@pytest.mark.parametrize("word", ["token", "access_token"])
def test_tokens_are_fetched_and_cached_by_scope(
    connect: Callable[..., Client],
    checked: Registry,
    tokens: TokenServer,
    token_requests: list[dict[str, Any]],
    name: Reference,
    tmp_path: Path,
    word: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tokens, "token_key", word)
    source_store, there = sample_images.MemoryStore(), sample_images.MemoryStore()
    manifest = sample_images.add_image(source_store)
    push(
        connect(environment=write_config(tmp_path, auths={checked.host: make_auth()})),
        name,
        manifest,
        source_store,
        NullProgress(),
    )
    assert [a["scope"] for a in token_requests] == [[f"repository:{name.repository}:pull,push"]]
    assert token_requests[0]["account"] == [USER]
    assert token_requests[0]["service"] == [SERVICE]
    token_requests.clear()
    pull(connect(), name, AMD64, there, NullProgress())
    assert there.blobs == source_store.blobs
    assert [a["scope"] for a in token_requests] == [[f"repository:{name.repository}:pull"]]
    assert token_requests[0]["authorization"] == ""


def test_a_mount_requests_access_to_both_repositories(
    connect: Callable[..., Client],
    checked: Registry,
    token_requests: list[dict[str, Any]],
    name: Reference,
    tmp_path: Path,
) -> None:
    client = connect(environment=write_config(tmp_path, auths={checked.host: make_auth()}))
    source_store, other = sample_images.MemoryStore(), name.replace(repository=name.repository + "-b")
    manifest = sample_images.add_image(source_store)
    push(client, name, manifest, source_store, NullProgress())
    token_requests.clear()
    assert (
        push(client, other, manifest, source_store, NullProgress(), mount_from=name.repository).transferred_bytes == 0
    )
    scopes = {f"repository:{other.repository}:pull,push", f"repository:{name.repository}:pull"}
    assert scopes in [set(a["scope"]) for a in token_requests]


def test_an_anonymous_push_is_denied(client: Client, token_requests: list[dict[str, Any]], name: Reference) -> None:
    source_store = sample_images.MemoryStore()
    manifest = sample_images.add_image(source_store)
    with pytest.raises(RegistryError) as caught:
        push(client, name, manifest, source_store, NullProgress())
    assert caught.value.code == "unauthorized"
    assert "imq login" in caught.value.hints[0]
    assert len(token_requests) <= 8, "each thread tries once"


def test_wrong_credentials_at_the_token_server(
    connect: Callable[..., Client], checked: Registry, name: Reference, tmp_path: Path
) -> None:
    client = connect(environment=write_config(tmp_path, auths={checked.host: make_auth(password="wr0ng")}))
    with pytest.raises(RegistryError, match="incorrect username or password") as caught:
        client.fetch_manifest(name)
    assert caught.value.code == "unauthorized"
    assert caught.value.host == checked.host
    assert "wr0ng" not in repr(caught.value) + str(caught.value.hints)


@pytest.mark.parametrize("how", ["file", "helper"])
def test_an_identity_token_is_exchanged_for_access_tokens(
    connect: Callable[..., Client],
    checked: Registry,
    token_requests: list[dict[str, Any]],
    name: Reference,
    tmp_path: Path,
    how: str,
) -> None:
    if how == "file":
        environment = write_config(tmp_path, auths={checked.host: {"identitytoken": REFRESH}})
    else:
        path = install_helper(tmp_path / "bin", f"""printf '{{"Username":"<token>","Secret":"{REFRESH}"}}'""")
        environment = {**write_config(tmp_path / "config", credsStore="tests"), "PATH": path}
    source_store = sample_images.MemoryStore()
    manifest = sample_images.add_image(source_store, layers=1)
    push(connect(environment=environment), name, manifest, source_store, NullProgress())
    assert token_requests[0]["method"] == "POST"
    assert token_requests[0]["grant_type"] == ["refresh_token"]
    assert token_requests[0]["client_id"] == ["imq"]


def test_an_old_token_is_renewed(
    client: Client,
    tokens: TokenServer,
    token_requests: list[dict[str, Any]],
    name: Reference,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tokens, "lifetime", -120)  # expired from the start
    with pytest.raises(RegistryError):
        client.fetch_manifest(name)
    monkeypatch.setattr(tokens, "lifetime", 300)
    assert client.fetch_head(name) is None
    assert len(token_requests) == 2


# Token servers that a registry must not use


def test_concurrent_requests_share_a_token(
    client: Client, thousand_tokens: tuple[RunningRegistry, TokenServer]
) -> None:
    registry, tokens = thousand_tokens
    granted = tokens.grant

    def slowly(token_requests: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        time.sleep(0.1)
        return granted(token_requests)

    tokens.grant = slowly  # type: ignore[method-assign]
    found: list[object] = []
    threads = [
        threading.Thread(target=lambda tag=tag: found.append(client.fetch_head(registry.reference(tag))))
        for tag in ("v1", "v2", "v3", "v4", "v5")
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(found) == 5
    assert None not in found
    assert len(tokens.requests) == 1


def test_a_realm_over_plain_http_is_refused(connect: Callable[..., Client], tmp_path: Path) -> None:
    challenge = {"WWW-Authenticate": 'Bearer realm="http://tokens.example/t",service="s"'}
    with ScriptedServer(Step("GET", "/v2/a/manifests/latest", 401, challenge)) as server:
        client = connect(environment=write_config(tmp_path, auths={server.host: make_auth()}))
        with pytest.raises(RegistryError) as caught:
            client.fetch_manifest(Reference.parse(f"{server.host}/a"))
    assert caught.value.code == "insecure-realm"


def test_a_remote_registry_must_not_redirect_to_this_machine(connect: Callable[..., Client]) -> None:
    authorizer = connect().http.authorizer
    near = 'Bearer realm="http://127.0.0.1:1/t",service="s"'
    with pytest.raises(RegistryError) as caught:
        authorizer.answer_challenge(near, None, "registry.example", "a", ("repository:a:pull",), plain=False)
    assert caught.value.code == "insecure-realm"
    with pytest.raises(RegistryError) as caught:
        authorizer.answer_challenge(near, None, "localhost:5000", "a", ("repository:a:pull",), plain=False)
    assert caught.value.code == "unreachable", "a loopback registry may"


def test_a_token_that_is_always_refused_does_not_loop(client: Client) -> None:
    with ScriptedServer() as server:
        challenge = {"WWW-Authenticate": f'Bearer realm="{server.url}/t",service="s",scope="repository:a:pull"'}
        token = Step("GET", "/t", body=b'{"token":"nope"}')
        server.add(
            Step("GET", "/v2/a/manifests/latest", 401, challenge),
            token,
            Step("GET", "/v2/a/manifests/latest", 401, challenge),
        )
        with pytest.raises(RegistryError) as caught:
            client.fetch_manifest(Reference.parse(f"{server.host}/a"))
    assert caught.value.code == "unauthorized"
    assert server.requests[2].headers["Authorization"] == "Bearer nope"


@pytest.mark.parametrize("body", [b"", b"[]", b'{"token":5}', b'{"token":"a\\r\\nX: y"}', b"<html>"])
def test_a_token_server_without_tokens(client: Client, body: bytes) -> None:
    with ScriptedServer() as server:
        challenge = {"WWW-Authenticate": f'Bearer realm="{server.url}/t"'}
        server.add(Step("GET", "/v2/a/manifests/latest", 401, challenge), Step("GET", "/t", body=body))
        with pytest.raises(RegistryError, match="returned no token"):
            client.fetch_manifest(Reference.parse(f"{server.host}/a"))


# Sources of credentials


def find(registry: str, repository: str = "", **environment: str) -> Credentials | None:
    return find_credentials(Settings(environment={"PATH": os.environ["PATH"], **environment}), registry, repository)


def test_docker_hub_has_its_own_key(tmp_path: Path) -> None:
    environment = write_config(tmp_path, auths={"https://index.docker.io/v1/": make_auth()})
    assert find("docker.io", **environment) == Credentials(USER, PASSWORD)
    assert find("ghcr.io", **environment) is None


def test_old_keys_with_a_scheme_are_read(tmp_path: Path) -> None:
    environment = write_config(tmp_path, auths={"https://old.example:5000/v1/": make_auth()})
    assert find("old.example:5000", **environment) == Credentials(USER, PASSWORD)


OTHER = make_auth("other", "old")


@pytest.mark.parametrize(
    ("auths", "user"),
    [
        ({"https://a.io/v1/": OTHER, "a.io": make_auth(), "http://a.io/v2/": OTHER}, USER),
        ({"a.io": make_auth(), "https://a.io": {}}, USER),
        ({"a.io": {}, "https://a.io": make_auth()}, None),
        ({"http://a.io/v2/": OTHER, "https://a.io/v1/": make_auth()}, USER),
        ({"https://a.io/v1/": OTHER, "https://a.io": make_auth()}, USER),
        ({"https://a.io": {}, "https://a.io/v2/": make_auth()}, USER),
        ({"https://a.io/any/path": make_auth()}, USER),
        ({"a.io/v1/": make_auth()}, USER),
        ({"a.io:5000": OTHER, "https://b.a.io": OTHER, "ftp://a.io": OTHER, "https://a.io.b": OTHER}, None),
        ({"a.io": "text", "https://a.io": OTHER}, None),
    ],
)
def test_an_exact_host_takes_precedence_over_urls(tmp_path: Path, auths: dict[str, Any], user: str | None) -> None:
    assert getattr(find("a.io", **write_config(tmp_path, auths=auths)), "user", None) == user


@pytest.mark.parametrize(
    "document",
    [
        {"Auths": {"a.io": make_auth()}},
        {"auths": {"a.io": {"Auth": make_auth()["auth"]}}},
        {"AUTHS": {"a.io": {"UserName": USER, "PassWord": PASSWORD}}},
    ],
)
def test_keys_of_config_json_are_read_in_any_case(tmp_path: Path, document: dict[str, Any]) -> None:
    """As docker reads them; the names of hosts are data."""
    assert find("a.io", **write_config(tmp_path, **document)) == Credentials(USER, PASSWORD)
    assert find("A.io", **write_config(tmp_path, **document)) is None


@pytest.mark.parametrize(
    "document",
    [
        {"auths": {"a.io": make_auth()}, "Auths": {"a.io": OTHER}},
        {"auths": {"a.io": {**make_auth(), "Auth": OTHER["auth"]}}},
        {"credsStore": "one", "credsstore": "two", "auths": {}},
    ],
)
def test_keys_that_docker_reads_as_one_are_refused(tmp_path: Path, document: dict[str, Any]) -> None:
    with pytest.raises(RegistryError, match="which most tools read as one") as caught:
        find("a.io", **write_config(tmp_path, **document))
    assert caught.value.code == "credentials"
    assert "old" not in caught.value.message


def test_login_and_logout_change_the_entries_under_a_key_in_another_case(tmp_path: Path) -> None:
    environment = write_config(tmp_path, Auths={"a.io": OTHER, "b.io": OTHER}, HttpHeaders={"a": "b"})
    store_credentials(Settings(environment=environment), "a.io", Credentials(USER, PASSWORD))
    expected = {"auths": {"a.io": make_auth(), "b.io": OTHER}, "HttpHeaders": {"a": "b"}}
    assert json.loads((tmp_path / "config.json").read_text()) == expected
    assert erase_credentials(Settings(environment=environment), "a.io").changed
    assert json.loads((tmp_path / "config.json").read_text())["auths"] == {"b.io": OTHER}


def test_the_keys_of_a_token_are_read_in_any_case(client: Client) -> None:
    with ScriptedServer() as server:
        challenge = {"WWW-Authenticate": f'Bearer realm="{server.url}/t",service="s",scope="repository:a:pull"'}
        server.add(
            Step("GET", "/v2/a/tags/list?n=1000", 401, challenge),
            Step("GET", "/t", body=b'{"Token":"tok"}'),
            Step("GET", "/v2/a/tags/list?n=1000", body=b'{"tags":["b"]}'),
        )
        assert list(client.list_tags(Reference(server.host, "a"))) == ["b"]
        assert server.requests[2].headers["Authorization"] == "Bearer tok"


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_an_auth_value_may_contain_line_breaks(tmp_path: Path, end: str) -> None:
    packed = make_auth()["auth"]
    auths = {"a.io": {"auth": f"{packed[:8]}{end}{packed[8:]}{end}"}}
    assert find("a.io", **write_config(tmp_path, auths=auths)) == Credentials(USER, PASSWORD)


def test_a_password_of_any_bytes_is_sent_unchanged(tmp_path: Path) -> None:
    packed = base64.b64encode(b"ann:p\xe4ss\0\0").decode()
    credentials = find("a.io", **write_config(tmp_path, auths={"a.io": {"auth": packed}}))
    assert credentials is not None
    assert base64.b64decode(credentials.basic.removeprefix("Basic ")) == b"ann:p\xe4ss"


def test_an_empty_registry_helper_takes_precedence(tmp_path: Path) -> None:
    environment = write_config(tmp_path, credsStore="none", credHelpers={"a.io": ""}, auths={"a.io": make_auth()})
    assert find("a.io", **environment) == Credentials(USER, PASSWORD)
    with pytest.raises(RegistryError, match="docker-credential-none"):
        find("b.io", **environment)


def test_a_registry_token_is_sent_to_the_registry_unchanged(connect: Callable[..., Client], tmp_path: Path) -> None:
    """As in docker, the token server is not used, and a refused token is not sent again."""
    with ScriptedServer() as server:
        challenge = {"WWW-Authenticate": f'Bearer realm="{server.url}/token",service="s"'}
        listing = Step("GET", "/v2/a/tags/list", body=b'{"tags":["b"]}')
        refused = Step("GET", "/v2/c/tags/list", 401, challenge)
        server.add(Step("GET", "/v2/a/tags/list", 401, challenge), listing, refused)
        client = connect(environment=write_config(tmp_path, auths={server.host: {"registrytoken": "tok.en"}}))
        assert list(client.list_tags(Reference(server.host, "a"))) == ["b"]
        with pytest.raises(RegistryError):
            list(client.list_tags(Reference(server.host, "c")))
    displayed = [seen.headers.get("Authorization") for seen in server.requests]
    assert displayed == [None, "Bearer tok.en", "Bearer tok.en"]


def test_logout_removes_every_key_of_the_host(tmp_path: Path) -> None:
    others = {"b.io": OTHER, "a.io/team": OTHER, "a.io:5000": OTHER}
    environment = write_config(
        tmp_path, auths={"https://a.io/v2/": OTHER, "a.io": make_auth(), "http://a.io": OTHER, **others}
    )
    assert erase_credentials(Settings(environment=environment), "a.io").changed
    assert json.loads((tmp_path / "config.json").read_text()) == {"auths": others}


def test_podman_keys_may_include_a_namespace(tmp_path: Path) -> None:
    (tmp_path / "auth.json").write_text(
        json.dumps(
            {"auths": {"q.io/team": make_auth("team"), "q.io": make_auth("all"), "q.io/team/app": make_auth("app")}}
        )
    )
    environment = {"REGISTRY_AUTH_FILE": str(tmp_path / "auth.json")}
    users = [
        getattr(find("q.io", repository, **environment), "user", None)
        for repository in ("team/app", "team/other", "teams/x", "")
    ]
    assert users == ["app", "team", "all", "all"]


def test_the_first_file_with_the_registry_takes_precedence(tmp_path: Path) -> None:
    home, runtime = tmp_path / "home", tmp_path / "run"
    for folder in (home / ".docker", home / ".config" / "containers", runtime / "containers"):
        folder.mkdir(parents=True)
    (home / ".docker" / "config.json").write_text(json.dumps({"auths": {"a.io": make_auth("docker")}}))
    two = {"auths": {"a.io": make_auth("run"), "b.io": make_auth("run")}}
    (runtime / "containers" / "auth.json").write_text(json.dumps(two))
    three = {"auths": {"b.io": make_auth("home"), "c.io": {"username": "home", "password": "p"}}}
    (home / ".config" / "containers" / "auth.json").write_text(json.dumps(three))
    environment = {"HOME": str(home), "XDG_RUNTIME_DIR": str(runtime)}
    users = [getattr(find(host, **environment), "user", None) for host in ("a.io", "b.io", "c.io", "d.io")]
    assert users == ["docker", "run", "home", None]
    assert find("a.io") is None, "an empty environment has no file"


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("{", "is not JSON"),
        ("[]", "is not a JSON object"),
        ('{"auths":{"a.io":{"auth":"%%%"}}}', "not base64"),
        ('{"auths":{"a.io":{"auth":"c2VjcmV0"}}}', "without a password"),
    ],
)
def test_the_error_of_an_invalid_file_omits_its_content(tmp_path: Path, content: str, why: str) -> None:
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(RegistryError, match=why) as caught:
        find("a.io", DOCKER_CONFIG=str(tmp_path))
    assert caught.value.code == "credentials"
    assert str(tmp_path) in caught.value.message
    assert "secret" not in caught.value.message.lower().replace(str(tmp_path).lower(), "")


@pytest.mark.parametrize(
    ("script", "timeout", "why"),
    [
        ("echo secret-thing; exit 3", DEADLINE, "failed with status 3"),
        ("echo secret-thing", DEADLINE, "did not return a JSON object"),
        ("exec sleep 20", 0.2, "timed out after 0.2 seconds"),
    ],
)
def test_the_error_of_a_failing_helper_omits_its_output(tmp_path: Path, script: str, timeout: float, why: str) -> None:
    environment = {**write_config(tmp_path, credsStore="tests"), "PATH": install_helper(tmp_path / "bin", script)}
    with pytest.raises(RegistryError, match=why) as caught:
        find_credentials(Settings(environment=environment, helper_timeout=timeout), "a.io")
    assert "docker-credential-tests" in caught.value.message
    assert "secret-thing" not in repr(caught.value)


def test_a_missing_helper(tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match="docker-credential-none is not on the PATH"):
        find("a.io", **write_config(tmp_path, credsStore="none"))
    with pytest.raises(RegistryError, match="has an invalid name"):
        find("a.io", **write_config(tmp_path, credsStore="../bin/sh"))


def test_the_file_is_used_if_the_helper_has_no_credentials(tmp_path: Path) -> None:
    script = 'echo "credentials not found in native keychain"; exit 1'
    environment = write_config(tmp_path, credsStore="tests", auths={"a.io": make_auth()})
    environment["PATH"] = install_helper(tmp_path / "bin", script)
    assert find("a.io", **environment) == Credentials(USER, PASSWORD)
    assert PASSWORD not in repr(find("a.io", **environment))
