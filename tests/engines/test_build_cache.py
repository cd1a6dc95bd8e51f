"""Records of a build cache are removed: what the plan lists goes, and what a build needs stays."""

from __future__ import annotations

from typing import TYPE_CHECKING

import imq
import pytest
from support.engine_content import build_image
from support.engine_images import Place, clear, connect
from support.engines import ScriptedEngine, http_answer

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterator

    from support.engines import Dockerd


@pytest.fixture
def built(dockerd: Dockerd, tmp_path: pathlib.Path) -> Iterator[Place]:
    """A dockerd with the image `cached:1` and its build cache."""
    clear(dockerd)
    with connect(tmp_path, "docker", dockerd) as connection:
        connection("rm all build_cache in docker")
        build_image(dockerd, "cached:1", b'FROM scratch\nCOPY wait /wait\nCOPY wait /more\nCMD ["/wait"]\n')
        yield Place("docker", dockerd, connection, tmp_path)
        connection("rm all build_cache in docker")
    clear(dockerd)


def list_ids(place: Place, condition: str = "") -> set[str]:
    return set(place.connection(f"build_cache in docker {condition}").column("id"))


def test_prune_keeps_what_images_share(built: Place) -> None:
    every, shared = list_ids(built), list_ids(built, "where shared")
    assert shared
    assert shared < every
    planned = built.connection("prune build_cache in docker", dry_run=True)
    assert {(row.action, row.target) for row in planned} == {("remove", id_) for id_ in every - shared}
    assert list_ids(built) == every, "a dry run removes nothing"
    done = built.connection("prune build_cache in docker")
    assert {row.target for row in done} == every - shared
    assert sum(row.size for row in done) > 0
    assert list_ids(built) == shared
    assert "cached:1" in built.names()


def test_records_go_before_those_that_they_are_built_on(built: Place) -> None:
    every = list_ids(built)
    done = built.connection("rm all build_cache in docker")
    assert {(row.target, row.error) for row in done} == {(id_, None) for id_ in every}
    assert list_ids(built) == set()


def test_a_record_that_another_needs_stays(built: Place) -> None:
    parents = {record["Parent"] for record in _list_records(built) if record["Parent"]}
    (parent,) = parents
    result = built.connection(f"rm build_cache in docker where id = {parent}")
    (row,) = result
    assert (row.target, row.error) == (parent, "conflict")
    assert "another record" in row.message
    assert parent in list_ids(built)


def test_only_records_of_the_condition_go(built: Place) -> None:
    assert list(built.connection("rm build_cache in docker where older than 1h")) == []
    with pytest.raises(imq.StatementError, match="would apply to all"):
        built.connection("rm build_cache in docker")
    assert list_ids(built)


RECORD = b'{"BuildCache": [{"ID": "a", "Type": "regular", "InUse": %s, "Shared": false, "Size": 9, "UsageCount": %d}]}'


def connect_to(engine: ScriptedEngine, folder: pathlib.Path) -> imq.Connection:
    return imq.connect(root=folder / "store", environment={"DOCKER_HOST": engine.address, "HOME": str(folder)})


def test_a_record_in_use_is_refused_and_one_used_since_the_plan_stays(tmp_path: pathlib.Path) -> None:
    with ScriptedEngine(tmp_path / "s", {}) as engine, connect_to(engine, tmp_path) as connection:
        engine.answer("system/df", http_answer(RECORD % (b"true", 1)))
        (row,) = connection("rm all build_cache in docker")
        assert (row.error, row.message) == ("conflict", "unable to remove a: a build uses it")
        engine.answer("system/df", http_answer(RECORD % (b"false", 1)), http_answer(RECORD % (b"false", 2)))
        (row,) = connection("rm all build_cache in docker")
        assert (row.error, row.target) == ("changed", "a")
        engine.answer("system/df", http_answer(RECORD % (b"false", 1)), http_answer(b'{"BuildCache": null}'))
        (row,) = connection("rm all build_cache in docker")
        assert (row.error, row.target) == ("not-found", "a")
        assert not [line for line in engine.requests if line.startswith("POST")]


def test_containers_without_processes_are_pruned(built: Place) -> None:
    built.engine.run("create", "--network", "none", "--name", "made", "cached:1")
    built.engine.run("run", "-d", "--network", "none", "--name", "runs", "cached:1")
    assert {row.target for row in built.connection("prune containers in docker")} == {"made"}
    assert built.engine.run("ps", "-a", "--format", "{{.Names}}") == "runs"


def _list_records(place: Place) -> list[dict[str, str]]:
    from imq.engine.docker_engine.client import EngineClient
    from imq.engine.docker_engine.endpoint import find_endpoint

    endpoint = find_endpoint(place.engine.address, {}, "/nonexistent")
    assert endpoint is not None
    with EngineClient(endpoint) as client:
        records: list[dict[str, str]] = client.get_object("system/df")["BuildCache"]
        return records
