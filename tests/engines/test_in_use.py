"""Conditions on the use of images by containers, and removals that depend on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from imq.engine.result import Message
from imq.grammar.errors import EngineError, Refused, RegistryError, StatementError
from registry.support.query import execute, open_session

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from imq.engine.session.session import Session
    from support.prepared_engines import PreparedEngine

USED = {"wait", "full", "same-layers"}


@pytest.fixture
def both(prepared_docker: PreparedEngine, prepared_podman: PreparedEngine, tmp_path: Path) -> Iterator[Session]:
    """A session for both engines."""
    environment = {**prepared_docker.environment, **prepared_podman.environment}
    session = open_session(tmp_path / "store", environment=environment)
    yield session
    session.close()


def ids(prepared: PreparedEngine, condition: str) -> set[str]:
    """Return what tests call the images for which a condition holds."""
    names = {id_: name for name, id_ in prepared.ids.items()}
    found = prepared.ask(f"images in E where {condition} select id").column("id")
    return {names.get(id_, "built") for id_ in found}


class TestConditions:
    def test_every_container_counts(self, prepared: PreparedEngine) -> None:
        used = USED | ({"epoch"} if prepared.kind == "podman" else set())  # a working container of buildah
        assert ids(prepared, "in use") == used
        assert ids(prepared, "any containers") == used
        assert ids(prepared, "containers > 0") == used

    def test_the_rest_is_unused(self, prepared: PreparedEngine) -> None:
        unused = ids(prepared, "not in use")
        assert unused == ids(prepared, "no containers") == ids(prepared, "containers = 0")
        assert not unused & ids(prepared, "in use")
        assert ids(prepared, "in use") | unused >= set(prepared.ids)

    def test_an_image_that_lost_its_tag_is_in_use_by_its_id(self, prepared: PreparedEngine) -> None:
        rows = prepared.ask("images in E where in use select id, name, containers").rows
        names = [row["name"] for row in rows if row["id"] == prepared.ids["wait"]]
        assert len(names) == 4, "every name of the image"
        assert {row["containers"] for row in rows if row["id"] == prepared.ids["wait"]} == {3}

    def test_an_image_on_the_layers_of_a_used_one_is_not_in_use(self, prepared: PreparedEngine) -> None:
        assert "timeless" in ids(prepared, "not in use")  # it has a layer of `wait`

    def test_conditions_on_containers(self, prepared: PreparedEngine) -> None:
        assert ids(prepared, "any containers where status = running") == {"wait"}
        assert ids(prepared, "any containers where exit_code = 72") == {"full"}
        assert ids(prepared, "no containers where status = exited") >= {"same-layers", "zero"}
        assert ids(prepared, "count(containers) = 3") == {"wait"}

    def test_last_used(self, prepared: PreparedEngine) -> None:
        rows = prepared.ask("images in E where last_used is known select id, last_used").rows
        used = {row["id"]: row["last_used"] for row in rows}
        assert used.keys() >= {prepared.ids[name] for name in USED}
        assert used[prepared.ids["wait"]] > used[prepared.ids["full"]], "a container of it runs now"
        (ended,) = prepared.inspect("container", "sick")
        assert used[prepared.ids["full"]][:19] in (
            ended["State"]["FinishedAt"][:19], ended["State"]["StartedAt"][:19],
        )  # fmt: skip
        assert prepared.ids["zero"] not in used

    def test_containers_that_run_an_image_by_its_id(self, prepared: PreparedEngine) -> None:
        id_ = prepared.ids["wait"]
        rows = prepared.ask(f"containers in E where image_id = {id_} select name").rows
        assert {row["name"] for row in rows} == {"made", "runs", "ended"}

    def test_images_used_in_another_engine(self, both: Session, prepared_docker: PreparedEngine) -> None:
        text = "images in docker where id in (containers in podman select image_id) select id"
        names = {image.id: name for name, image in prepared_docker.images.items()}
        assert {names[id_] for id_ in execute(both, text).column("id")} == USED | {"epoch"}

    def test_each_engine_counts_its_own_containers(self, both: Session, prepared_docker: PreparedEngine) -> None:
        epoch = prepared_docker.ids["epoch"]
        rows = execute(both, f"images in docker, podman where id = {epoch} select source, in_use").rows
        assert {row["source"]: row["in_use"] for row in rows} == {"docker": False, "podman": True}


class TestRemovals:
    def test_no_used_image_is_in_the_plan(self, prepared: PreparedEngine) -> None:
        rows = prepared.ask("dry run rm images in E where not in use as json").rows
        planned = {row["image"] for row in rows}
        assert planned == set(prepared.ask("images in E where not in use select id").column("id"))
        assert {row["error"] for row in rows} == {None}

    def test_prune_takes_untagged_unused_images(self, prepared: PreparedEngine) -> None:
        rows = prepared.ask(f"dry run prune from {prepared.kind} as json").rows
        assert {row["image"] for row in rows} == {prepared.ids[name] for name in ("nameless", "timeless")}

    @pytest.mark.parametrize("condition", ["in use", "containers = 0", "last_used is unknown", "no containers"])
    def test_a_registry_does_not_know(self, both: Session, condition: str) -> None:
        with pytest.raises(StatementError) as error:
            execute(both, f"dry run rm tags of 127.0.0.1:1/app where not {condition}")
        assert error.value.code == "unseen"
        assert "unknown in a registry" in error.value.message
        assert any("containers in docker select image_digest" in hint for hint in error.value.hints)

    def test_the_containers_of_an_engine_are_the_way_out(self, both: Session) -> None:
        """Nothing listens at the registry: the condition is not what stops the statement."""
        for source in ("docker", "podman", "docker, podman"):
            text = (
                f"dry run rm tags of 127.0.0.1:1/app where digest not in (containers in {source} select image_digest)"
            )
            with pytest.raises(RegistryError):
                execute(both, text)
        text = "dry run rm tags of 127.0.0.1:1/app where digest not in (images in docker where in use select digest)"
        with pytest.raises(RegistryError):
            execute(both, text)

    def test_containers_with_an_unknown_digest_may_use_any_image(self, both: Session) -> None:
        """Images that were never in a registry have no digest, so the list does not name the images in use."""
        text = "dry run rm images in docker where digest not in (containers in docker {} select image_digest)"
        with pytest.raises(Refused) as error:
            execute(both, text.format(""))
        assert error.value.code == "unknown-items"
        assert "where image_digest is known" in error.value.hints[0]
        execute(both, text.format("where image_digest is known"))
        execute(both, text.format("").replace("not in", "in"))

    @pytest.mark.parametrize("inner", ["containers in store select image_digest", "images in store where in use"])
    def test_the_store_is_not(self, both: Session, inner: str) -> None:
        with pytest.raises(StatementError) as error:
            execute(both, f"dry run rm tags of 127.0.0.1:1/app where digest not in ({inner})")
        assert error.value.code == "unseen"

    def test_a_place_on_disk_beside_an_engine_does_not_know(self, both: Session, tmp_path: Path) -> None:
        with pytest.raises(StatementError) as error:
            execute(both, f'dry run rm images in docker, "oci:{tmp_path}" where not in use')
        assert error.value.code == "unseen"

    def test_every_engine_of_a_list_must_answer(self, both: Session) -> None:
        nowhere = '"unix:///nonexistent/engine.sock"'
        text = f"dry run rm images in docker where id not in (containers in podman, {nowhere} select image_id)"
        with pytest.raises(EngineError) as error:
            execute(both, text)
        assert error.value.code == "engine-unreachable"


def test_the_use_by_containers_decides_before_a_registry_is_asked(both: Session) -> None:
    """One request to the engine, instead of one to a registry for each image that no container uses."""
    (message,) = both.run("explain images in docker where outdated and in use")
    assert isinstance(message, Message)
    stages = [line for line in message.text.splitlines() if line.startswith("stage:")]
    (use,) = [at for at, stage in enumerate(stages) if "which containers use" in stage]
    (remote,) = [at for at, stage in enumerate(stages) if "look up tags" in stage]
    assert use < remote


def test_outdated_containers_are_compared_by_the_digest_of_their_image(both: Session) -> None:
    (message,) = both.run("explain containers in docker where outdated")
    assert isinstance(message, Message)
    assert "the digests of their images" in message.text
    assert "look up tags by the image" in message.text
