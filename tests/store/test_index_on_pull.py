"""`set index_files = pull`: the files of layers are indexed while they are verified, in the same walk."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import pytest
from imq.engine.sources.store.contents import StoreContents
from layer_index.test_image_contents import make_layer
from layers.stacks import link, member, symlink
from store.support.serve_image import serve
from support.images import Image, layer

if TYPE_CHECKING:
    from store.support.stores import StoreSession
    from support.servers import Registry

STATUS = b"Package: bash\nStatus: install ok installed\nArchitecture: amd64\nVersion: 5.2\n"
LOWER = layer({"etc/os-release": b"ID=debian\n", "var/lib/dpkg/status": STATUS, "a": b"a" * 3_000_000}, "gzip")
UPPER = make_layer(member("b", b"b"), symlink("c", "b"), link("d", "b"), member(".wh.a"))
IMAGE = Image([LOWER, UPPER])
ROWS = "all files of {} select path, type, size, mode, status, layer order by path, layer_index"


@pytest.fixture
def repository() -> str:
    """A repository that no other test uses."""
    return f"team/{uuid.uuid4().hex[:8]}"


def refuse(*_: Any) -> None:
    raise AssertionError("a layer is read")


def test_a_pulled_image_is_queried_without_reading_its_layers(
    store: StoreSession, registry: Registry, repository: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = serve(registry, f"{repository}:1", IMAGE)
    store.do(f"pull {name}")
    expected = store.rows(ROWS.format(name))
    store.rows("rm all images")
    list(store.session.run("set index_files = pull"))
    store.do(f"pull {name}")
    monkeypatch.setattr(StoreContents, "read_layers", refuse)
    assert store.rows(ROWS.format(name)) == expected
    assert [row["name"] for row in store.rows(f"packages of {name} select name")] == ["bash"]


def test_a_layer_that_cannot_be_scanned_is_pulled(store: StoreSession, registry: Registry, repository: str) -> None:
    broken = Image([LOWER, make_layer(member("../outside", b"x"), member("inside", b"y" * 2_000_000))])
    name = serve(registry, f"{repository}:1", broken)
    list(store.session.run("set index_files = pull"))
    (outcome,) = store.do(f"pull {name}")
    assert outcome["image"] == broken.id
    assert store.rows(f"layers of {name} count") == [{"count": 2}]
    assert store.failure_code(f"files of {name}") == "path-escape"


def test_a_lazy_pull_indexes_nothing(store: StoreSession, registry: Registry, repository: str) -> None:
    name = serve(registry, f"{repository}:1", IMAGE)
    for setting in ("index_files = pull", "verify = lazy"):
        list(store.session.run(f"set {setting}"))
    store.do(f"pull {name}")
    assert store.session.context.root + "/files.db" not in map(str, __import__("pathlib").Path(store.root).iterdir())
