"""Names of images and containers of engines: `tag` and `rm containers`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .conftest import ONE

if TYPE_CHECKING:
    from .conftest import Place


def test_a_reference_gets_another_name(place: Place) -> None:
    result = place.connection(f"tag localhost/app:1 as localhost/x:2 from {place.name}")
    assert [(row.action, row.target, row.image, row.note) for row in result] == [
        ("tag", "localhost/x:2", ONE.id, f"in {place.name}")
    ]
    assert place.names()["localhost/x:2"].removeprefix("sha256:") == ONE.id.removeprefix("sha256:")
