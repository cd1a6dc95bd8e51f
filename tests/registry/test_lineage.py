"""Lineage of images in a registry: from their configs, without pulling a layer."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from registry.support.fault_proxy import FaultProxy
from registry.support.query import execute, open_session
from registry.support.thousand_tags import RegistryWriter

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from imq.engine.session.session import Session
    from registry.conftest import RunningRegistry


class Lineage:
    """Tags of images on each other, behind a proxy that counts requests."""

    def __init__(self, session: Session, proxy: FaultProxy) -> None:
        self.session = session
        self.proxy = proxy

    def names(self, text: str) -> set[str]:
        """Return the repositories and tags of the rows of a query."""
        found = execute(self.session, f"{text} select name").column("name")
        return {name.removeprefix(f"{self.proxy.host}/") for name in found}


@pytest.fixture
def lineage(changeable: RunningRegistry, tmp_path: Path) -> Iterator[Lineage]:
    writer = RegistryWriter(f"{changeable.registry.folder}/data")

    def add(repository: str, tag: str, *below: str) -> None:
        moment = datetime(2024, 1, 1, tzinfo=UTC)
        writer.tag(repository, tag, writer.add_image(repository, f"{repository}-{tag}", moment, below=below))

    add("line/os", "1")
    add("line/app", "1", "line/os-1")
    add("line/app", "2", "line/os-1", "line/app-1")
    add("line/app", "3")
    with FaultProxy(changeable.host) as proxy:
        session = open_session(tmp_path / "store")
        yield Lineage(session, proxy)
        session.close()


def test_based_on_and_common_layers(lineage: Lineage) -> None:
    host = lineage.proxy.host
    assert lineage.names(f"tags in {host}/line/* where based on {host}/line/os:1") == {"line/app:1", "line/app:2"}
    assert lineage.names(f"tags of {host}/line/app where based on {host}/line/app:1") == {"line/app:2"}
    assert lineage.names(f"tags of {host}/line/app where shares layers with {host}/line/os:1") == {
        "line/app:1",
        "line/app:2",
        "line/app:3",  # all images of these tests have their lowest layer in common
    }
    assert lineage.names(f"tags of {host}/line/app where based on (tags of {host}/line/os all)") == {
        "line/app:1",
        "line/app:2",
    }
    layers = {row["digest"] for row in execute(lineage.session, f"layers of {host}/line/os:1 select digest").rows}
    assert not [request for request in lineage.proxy.requests if request.path.rpartition("/")[2] in layers]


def test_base_and_children_among_the_tags_of_the_query(lineage: Lineage) -> None:
    host = lineage.proxy.host
    rows = execute(lineage.session, f"tags in {host}/line/* select name, base.name as base, count(children) as n").rows
    found = {
        row["name"].removeprefix(f"{host}/"): (row["base"] and row["base"].removeprefix(f"{host}/"), row["n"])
        for row in rows
    }
    assert found == {
        "line/os:1": (None, 1),
        "line/app:1": ("line/os:1", 1),
        "line/app:2": ("line/app:1", 0),
        "line/app:3": (None, 0),
    }
    one = execute(lineage.session, f"tags of {host}/line/app where base is known select name").column("name")
    assert one == [f"{host}/line/app:2"], "the repository of the other base is not in the query"
    narrowed = f"tags in {host}/line/* where name = {host}/line/app:2 select base.name as base"
    assert execute(lineage.session, narrowed).column("base") == [f"{host}/line/app:1"]


def test_explain_tells_the_most_requests(lineage: Lineage) -> None:
    host = lineage.proxy.host
    query = f"tags of {host}/line/app select name, base.name"
    execute(lineage.session, f"tags of {host}/line/app")
    (explained,) = lineage.session.run(f"explain {query}")
    lineage.proxy.requests.clear()
    execute(lineage.session, query)
    most = [int(count) for count in re.findall(r"at most (\d+)", explained.text)]
    assert len(lineage.proxy.requests) <= sum(most)
    lineage.proxy.requests.clear()
    execute(lineage.session, query)
    assert not [one for one in lineage.proxy.requests if "/blobs/" in one.path], "configs are remembered"


def test_pulled_images_on_a_tag(lineage: Lineage) -> None:
    host = lineage.proxy.host
    list(lineage.session.run(f"pull {host}/line/app:1, {host}/line/app:3"))
    assert lineage.names(f"images where based on (tags of {host}/line/os where tag = 1)") == {"line/app:1"}
    assert lineage.names(f"tags of {host}/line/app where based on (images in store all)") == {"line/app:2"}
