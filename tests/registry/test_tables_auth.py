"""Questions to registries that want to know who asks: basic auth, tokens for scopes, a certificate of one's own."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING

import pytest
from imq.grammar.errors import ImqError
from registry.conftest import PASSWORD, USER
from registry.support.query import ask, opened

if TYPE_CHECKING:
    from pathlib import Path

    from registry.conftest import Authority, Thousand
    from registry.support.token_server import TokenServer


def configured(folder: Path, host: str) -> dict[str, str]:
    """Return an environment with docker's configuration that knows the password of a host."""
    secret = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    (folder / "config.json").write_text(json.dumps({"auths": {host: {"auth": secret}}}))
    return {"DOCKER_CONFIG": str(folder), "HOME": str(folder)}


def test_basic_auth(thousand_guarded: Thousand, tmp_path: Path) -> None:
    host = thousand_guarded.host
    session = opened(tmp_path / "store", environment=configured(tmp_path, host))
    assert len(ask(session, f"tags of {host}/thousand where tag like 'v1?' and created is known").rows) == 10
    assert len(ask(session, f"repositories in {host}").rows) == 5
    session.close()


def test_nobody_gets_in_without_a_password(thousand_guarded: Thousand, tmp_path: Path) -> None:
    with pytest.raises(ImqError) as caught:
        ask(tmp_path / "store", f"tags of {thousand_guarded.host}/thousand")
    assert caught.value.code == "unauthorized"
    assert PASSWORD not in str(caught.value)


def test_tokens(thousand_tokens: tuple[Thousand, TokenServer], tmp_path: Path) -> None:
    running, _ = thousand_tokens
    session = opened(tmp_path / "store")
    found = ask(session, f"tags of {running.host}/mixed where version > 1 and created is known select tag")
    assert "v2.0.0" in found.column("tag")
    assert len(ask(session, f"tags of {running.host}/team/one, {running.host}/team/two select name, digest").rows) == 2
    session.close()


def test_a_certificate_of_ones_own(thousand_tls: Thousand, authority: Authority, tmp_path: Path) -> None:
    host = thousand_tls.host.replace("127.0.0.1", "localhost")
    environment = {"SSL_CERT_FILE": authority.certificate, "HOME": str(tmp_path)}
    session = opened(tmp_path / "store", environment=environment)
    assert len(ask(session, f"tags of {host}/mixed where signed").rows) == 4
    session.close()
