"""A store with bases, shared layers, hidden files, equal layers and hostile text."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.images import Image, Layout, layer

if TYPE_CHECKING:
    import pathlib

HOSTILE = '</script><img src=x onerror="window.attacked=1">{a|b}${x}\u2028'
"""Text that would run a program if a page took it as HTML or as a script."""


def fill_store(folder: pathlib.Path) -> None:
    """Write a store of seven images with eight names."""
    system = layer({"etc/os-release": b"ID=debian\n" * 100, "bin/sh": b"s" * 40_000})
    runtime = layer({"usr/bin/python": b"p" * 30_000})
    store = Layout(folder)
    store.add(Image([system], created="2020-01-01T00:00:00Z"), "docker.io/library/debian:12")
    store.add(Image([system, runtime], created="2021-01-01T00:00:00Z"), "docker.io/library/python:3")
    for number in range(3):
        own = layer({"srv/app": bytes([97 + number]) * (5_000 + number), "bin/sh": b"n" * 10_000})
        store.add(
            Image([system, runtime, own]), f"docker.io/team/app:{number}", *["docker.io/team/app:old"] * (not number)
        )
    store.add(Image([system, runtime], labels={"same": "layers"}), "docker.io/team/python:3")
    store.add(
        Image(
            [layer({HOSTILE.replace("/", "_"): b"h" * 2_000})],
            created=None,
            platform={"os": "linux", "architecture": HOSTILE},
            labels={HOSTILE: HOSTILE},
            changes={"author": HOSTILE, "history": [{"created_by": HOSTILE}]},
        )
    )


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("report") / "store"
    fill_store(folder)
    return folder
