"""How much packages and files grow from one image to another; an unknown size makes an unknown growth."""

from __future__ import annotations

from typing import TYPE_CHECKING

from store.support.stores import StoreSession
from support.images import Image, Layout, layer
from support.inside_images import make_inside_images

if TYPE_CHECKING:
    from pathlib import Path

STATUS = "Package: tool\nStatus: install ok installed\nArchitecture: all\nVersion: {}\n{}"


def test_the_growth_of_packages(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "store")
    for image, names in make_inside_images().values():
        layout.add(image, *names)
    with StoreSession(tmp_path / "store") as session:
        rows = session.rows("differences of web:1, web:2 where kind = package select key, size_before, growth")
    growth = {row["key"]: (row["size_before"], row["growth"]) for row in rows}
    assert growth["curl (deb, amd64)"] == (None, 500 * 1024)
    assert growth["openssl (deb, amd64)"] == (2000 * 1024, 500 * 1024)
    assert growth["requests (python)"] == (None, None)


def test_a_size_on_one_side_is_no_growth(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "store")
    for tag, text in (("1", STATUS.format("1.0", "")), ("2", STATUS.format("2.0", "Installed-Size: 7\n"))):
        layout.add(Image([layer({"var/lib/dpkg/status": text.encode()})]), f"app:{tag}")
    with StoreSession(tmp_path / "store") as session:
        (row,) = session.rows("differences of app:1, app:2 where kind = package select size_before, size_after, growth")
    assert row == {"size_before": None, "size_after": 7 * 1024, "growth": None}
