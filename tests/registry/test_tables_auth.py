"""Queries to registries with authentication: basic auth, tokens with scopes, a custom certificate."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING

import pytest
from imq.grammar.errors import ImqError
from registry.conftest import PASSWORD, USER
from registry.support.query import execute, open_session

if TYPE_CHECKING:
    from pathlib import Path

    from registry.conftest import Authority, RunningRegistry
    from registry.support.token_server import TokenServer


def make_environment(folder: Path, host: str) -> dict[str, str]:
    """Return an environment with a docker configuration that has the password of a host."""
    secret = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    (folder / "config.json").write_text(json.dumps({"auths": {host: {"auth": secret}}}))
    return {"DOCKER_CONFIG": str(folder), "HOME": str(folder)}


def test_basic_auth(thousand_guarded: RunningRegistry, tmp_path: Path) -> None:
    host = thousand_guarded.host
    session = open_session(tmp_path / "store", environment=make_environment(tmp_path, host))
    assert len(execute(session, f"tags of {host}/thousand where tag like 'v1?' and created is known").rows) == 10
    assert len(execute(session, f"repositories in {host}").rows) == 5
    session.close()


def test_a_missing_password_is_rejected(thousand_guarded: RunningRegistry, tmp_path: Path) -> None:
    with pytest.raises(ImqError) as caught:
        execute(tmp_path / "store", f"tags of {thousand_guarded.host}/thousand")
    assert caught.value.code == "unauthorized"
    assert PASSWORD not in str(caught.value)


def test_tokens(thousand_tokens: tuple[RunningRegistry, TokenServer], tmp_path: Path) -> None:
    server, _ = thousand_tokens
    session = open_session(tmp_path / "store")
    result = execute(session, f"tags of {server.host}/mixed where version > 1 and created is known select tag")
    assert "v2.0.0" in result.column("tag")
    assert (
        len(execute(session, f"tags of {server.host}/team/one, {server.host}/team/two select name, digest").rows) == 2
    )
    session.close()


def test_a_self_signed_certificate(thousand_tls: RunningRegistry, authority: Authority, tmp_path: Path) -> None:
    host = thousand_tls.host.replace("127.0.0.1", "localhost")
    environment = {"SSL_CERT_FILE": authority.certificate, "HOME": str(tmp_path)}
    session = open_session(tmp_path / "store", environment=environment)
    assert len(execute(session, f"tags of {host}/mixed where signed").rows) == 4
    session.close()
