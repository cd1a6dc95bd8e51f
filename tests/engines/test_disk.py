"""`until` and `when` by the space of the disk of an engine: known for one engine on this machine only."""

from __future__ import annotations

import os
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from imq.grammar.errors import StatementError
from registry.support.query import execute, open_session

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.prepared_engines import PreparedEngine

SIZE = 1_000_000
ORDERED = "images in E where not in use order by size desc, name"


@pytest.fixture(autouse=True)
def half_full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every disk has a million bytes, and half of them are free."""
    result = os.statvfs_result((1, 1, SIZE, SIZE // 2, SIZE // 2, 0, 0, 0, 0, 255))
    monkeypatch.setattr(os, "statvfs", lambda _path: result)


def list_taken(prepared: PreparedEngine, is_enough: Callable[[int, int], bool]) -> tuple[list[str], set[str]]:
    """Return the names that are taken, and their images, until the freed and the remaining bytes are enough.

    An image goes with its last name, and a layer with the last image that has it. What an image has besides its layers
    goes with it, and is no part of the total.
    """
    names = Counter(prepared.ask("images in E").column("id"))
    stacks: dict[str, dict[str, int]] = {}
    sizes: Counter[str] = Counter()
    for row in prepared.ask("layers in E select image, chain_id, size").rows:
        size = row["size"] or 0  # podman knows the sizes of an image without times from another image, or not at all
        stacks.setdefault(row["image"], {})[row["chain_id"]] = size
        sizes[row["chain_id"]] = max(size, sizes[row["chain_id"]])
    total = sum(sizes.values())
    users = Counter(chain for stack in stacks.values() for chain in stack)
    taken, images, freed = [], set(), 0
    for row in prepared.ask(f"{ORDERED} select id, name, size").rows:
        if is_enough(freed, total - freed):
            break
        taken.append(row["name"])
        images.add(row["id"])
        names[row["id"]] -= 1
        if not names[row["id"]]:
            stack = stacks[row["id"]]
            freed += max(row["size"] - sum(stack.values()), 0)
            users.subtract(list(stack))
            freed += sum(sizes[chain] for chain in stack if not users[chain])
    return taken, images


@pytest.mark.parametrize("missing", [-1, 0, 1, 10_000, 31_000, 60_000, 10_000_000])
def test_until_takes_images_until_their_own_layers_are_the_missing_bytes(
    prepared: PreparedEngine, missing: int
) -> None:
    expected, images = list_taken(prepared, lambda freed, _: freed >= missing)
    found = prepared.ask(f"{ORDERED} until free >= {SIZE // 2 + missing}B select name")
    assert found.column("name") == expected
    planned = prepared.ask(f"dry run rm {ORDERED} until free >= {SIZE // 2 + missing}B")
    assert set(planned.column("image")) <= images


@pytest.mark.parametrize("size", [0, 1, 20_000, 40_000, 50_000, 10_000_000])
@pytest.mark.parametrize("operator", ["<=", "<"])
def test_until_total_size_counts_each_layer_once(prepared: PreparedEngine, size: int, operator: str) -> None:
    is_enough = (lambda _, left: left <= size) if operator == "<=" else (lambda _, left: left < size)
    expected, images = list_taken(prepared, is_enough)
    found = prepared.ask(f"{ORDERED} until total size {operator} {size}B select name")
    assert found.column("name") == expected
    planned = prepared.ask(f"dry run rm {ORDERED} until total size {operator} {size}B")
    assert set(planned.column("image")) <= images


def test_layers_that_kept_images_have_are_not_freed(prepared_docker: PreparedEngine) -> None:
    """By the sizes of the images, the first ones would be enough."""
    sizes = prepared_docker.ask("images in E where not in use select id, size").rows
    naive = sum({row["id"]: row["size"] for row in sizes}.values())
    layers = prepared_docker.ask("layers in E select chain_id, size").rows
    assert sum({row["chain_id"]: row["size"] for row in layers}.values()) < naive
    by_all = prepared_docker.ask(f"{ORDERED} until free >= {SIZE // 2 + naive}B select name").column("name")
    assert by_all == prepared_docker.ask(f"{ORDERED} select name").column("name")


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


def test_until_total_size_is_refused_for_registries(tmp_path: Path) -> None:
    session = open_session(tmp_path / "store")
    with pytest.raises(StatementError, match='"until total size" is only for the removal of images'):
        execute(session, "rm tags in registry.local:5000/a/* where tag is known until total size <= 1GB")
    session.close()
