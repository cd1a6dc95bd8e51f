"""Members of a team share manifests and configs of registries by their catalogue."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from registry.conftest import changeable
from registry.support.fault_proxy import FaultProxy
from registry.support.query import execute, open_session

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from registry.conftest import RunningRegistry
    from support.postgresql import PostgresqlServer

__all__ = ["changeable"]

DOCUMENT = "GET .*/(manifests/sha256:|manifests/[^s]|blobs/)"


@pytest.fixture
def proxied(changeable: RunningRegistry) -> Iterator[FaultProxy]:
    with FaultProxy(changeable.host) as proxy:
        yield proxy


def ask(root: Path, url: str, proxied: FaultProxy) -> list[dict[str, Any]]:
    """Return the rows that a member with a store of its own gets."""
    session = open_session(root)
    session.define("catalogue", url)
    try:
        return execute(session, f"tags of {proxied.host}/mixed select tag, created, platforms, size, id").rows
    finally:
        session.close()


def test_what_one_member_has_requested_no_other_one_requests(
    tmp_path: Path, proxied: FaultProxy, server: PostgresqlServer, database: str
) -> None:
    expected = ask(tmp_path / "alone", "none", proxied)
    before = proxied.count_requests(DOCUMENT)
    assert ask(tmp_path / "first", server.url(database), proxied) == expected
    requested = proxied.count_requests(DOCUMENT) - before
    assert requested > 10
    assert ask(tmp_path / "second", server.url(database), proxied) == expected
    repeated = proxied.count_requests(DOCUMENT) - before - requested
    assert repeated <= 2  # documents that are invalid are not shared


def test_forged_documents_are_requested_again(
    tmp_path: Path, proxied: FaultProxy, server: PostgresqlServer, database: str
) -> None:
    expected = ask(tmp_path / "first", server.url(database), proxied)
    server.execute("UPDATE imq.document SET content = overlay(content PLACING 'x' FROM 3 FOR 1)", database)
    assert ask(tmp_path / "second", server.url(database), proxied) == expected


def test_a_member_who_may_only_read_uses_them(
    tmp_path: Path, proxied: FaultProxy, server: PostgresqlServer, database: str
) -> None:
    expected = ask(tmp_path / "first", server.url(database), proxied)
    server.execute("GRANT USAGE ON SCHEMA imq TO imq", database)
    server.execute("GRANT SELECT ON ALL TABLES IN SCHEMA imq TO imq", database)
    before = proxied.count_requests(DOCUMENT)
    assert ask(tmp_path / "second", server.tcp_url(database), proxied) == expected
    assert proxied.count_requests(DOCUMENT) - before <= 2
