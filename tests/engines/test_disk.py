"""`until` and `when` by the space of the disk of an engine: known for one engine on this machine only."""

from __future__ import annotations

import os
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from imq.grammar.errors import StatementError
from registry.support.query import execute, open_session

if TYPE_CHECKING:
    from pathlib import Path

    from support.prepared_engines import PreparedEngine

SIZE = 1_000_000
ORDERED = "images in E where not in use order by size desc, name"


@pytest.fixture(autouse=True)
def half_full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every disk has a million bytes, and half of them are free."""
    result = os.statvfs_result((1, 1, SIZE, SIZE // 2, SIZE // 2, 0, 0, 0, 0, 255))
    monkeypatch.setattr(os, "statvfs", lambda _path: result)


@pytest.mark.parametrize("missing", [-1, 0, 1, 10_000, 31_000, 60_000, 10_000_000])
def test_until_takes_images_until_their_sizes_are_the_missing_bytes(prepared: PreparedEngine, missing: int) -> None:
    """An image counts with its last name."""
    names = Counter(prepared.ask("images in E").column("id"))
    expected, taken, freed = [], [], 0
    for row in prepared.ask(f"{ORDERED} select id, name, size").rows:
        if freed >= missing:
            break
        expected.append(row["name"])
        taken.append(row["id"])
        names[row["id"]] -= 1
        freed += row["size"] if not names[row["id"]] else 0
    found = prepared.ask(f"{ORDERED} until free >= {SIZE // 2 + missing}B select name")
    assert found.column("name") == expected
    planned = prepared.ask(f"dry run rm {ORDERED} until free >= {SIZE // 2 + missing}B")
    assert set(planned.column("image")) <= set(taken)


@pytest.mark.parametrize(
    ("when", "is_full"), [("disk use > 49%", True), ("disk use > 50%", False), ("free < 1kB", False)]
)
def test_when_selects_rows_of_a_full_disk_only(prepared: PreparedEngine, when: str, is_full: bool) -> None:
    assert bool(prepared.ask(f"images in E when {when}").rows) == is_full
    assert bool(prepared.ask(f"dry run rm images in E where dangling when {when}").rows) == is_full


@pytest.mark.parametrize("clause", ["when disk use > 1%", "until disk use <= 1%", "until free >= 1GB"])
@pytest.mark.parametrize("sources", ["tcp://127.0.0.1:1", "docker, podman", "registry.local:5000"])
def test_the_disk_of_another_machine_is_unknown(
    sources: str, clause: str, prepared_docker: PreparedEngine, tmp_path: Path
) -> None:
    session = open_session(tmp_path / "store", environment=prepared_docker.environment)
    with pytest.raises(StatementError, match="the space of the disk is unknown") as caught:
        execute(session, f"rm images in {sources} where tag is known {clause}")
    assert caught.value.code == "unseen"
    session.close()


def test_until_total_size_is_refused(prepared_docker: PreparedEngine) -> None:
    with pytest.raises(StatementError, match="only for images of the store"):
        prepared_docker.ask("rm images in E where tag is known until total size <= 1GB")
