"""Removal of images and names: what the plan lists is what happens, and an image that changed meanwhile is left."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING, Any

import imq
import pytest
from imq.engine.docker_engine.client import EngineClient
from support.engine_content import build_images, load_waiting, wait_arguments
from support.engine_images import ONE, TWO, clear, connect
from support.servers import Registry, require_programs
from support.waiting import wait_until

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Callable, Iterator, Mapping

    from support.engine_images import Place
    from support.engines import Engine

CREATE = ("create", "--network", "none")
APP, LATEST, OTHER = "localhost/app:1", "localhost/app:latest", "localhost/team/b:2"


def ids(place: Place) -> set[str]:
    """Return the IDs of all images, as the engine's own client tells them."""
    return set(place.engine.run("images", "-aq", "--no-trunc").split())


def rows(result: Any) -> list[tuple[str, str, str | None]]:
    """Return action, target and image of each row."""
    return [(row.action, row.target, row.image) for row in result]


@pytest.fixture(scope="module")
def registry_host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The host of a registry without authentication."""
    require_programs("docker-registry")
    with Registry(tmp_path_factory.mktemp("registry")) as registry:
        yield registry.host


@pytest.fixture
def before_removal(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], Any]], None]:
    """Run something once, after the plan was made and before the first removal asks the engine again."""

    def install(work: Callable[[], Any]) -> None:
        from imq.engine.sources.docker.remove import _EngineRemoval

        check, done = _EngineRemoval.check_unchanged, []

        def checked(self: _EngineRemoval, client: EngineClient) -> Mapping[str, Any]:
            if not done:
                done.append(work())
            return check(self, client)

        monkeypatch.setattr(_EngineRemoval, "check_unchanged", checked)

    return install


class TestPlan:
    @pytest.mark.parametrize(
        "statement",
        [
            "rm localhost/app:1 from {}",
            "rm localhost/app:1, localhost/app:latest from {}",
            "rm localhost/team/b:2 from {}",
            "rm images in {} where label.part = one",
            "rm images in {} where tag = latest",
            "rm images in {} where not in use",
            "untag localhost/app:latest from {}",
            "rm {two} from {}",
            "rm {one} from {} force",
        ],
    )
    def test_a_dry_run_is_what_happens(self, place: Place, statement: str) -> None:
        text = statement.format(place.name, one=place.one, two=place.two)
        planned = rows(place.connection(text, dry_run=True))
        before, all_ids = place.names(), ids(place)
        done = rows(place.connection(text))
        assert done == planned
        assert planned
        names = {name for _, target, _ in planned for name in target.split(", ")}
        removed = {image for action, _, image in planned if action == "remove"}
        assert place.names() == {name: id_ for name, id_ in before.items() if name not in names}
        assert ids(place) == all_ids - removed

    def test_each_name_but_the_last_is_taken_away(self, place: Place) -> None:
        result = place.connection(f"rm {APP} from {place.name}")
        assert rows(result) == [("untag", APP, place.one)]
        result = place.connection(f"rm {LATEST} from {place.name}")
        assert rows(result) == [("remove", LATEST, place.one)]
        assert ids(place) == {place.two}

    def test_both_names_at_once_are_one_removal(self, place: Place) -> None:
        result = place.connection(f"rm {LATEST}, {APP} from {place.name}")
        assert [(row.action, sorted(row.target.split(", "))) for row in result] == [("remove", [APP, LATEST])]

    def test_an_id_with_several_names(self, place: Place) -> None:
        (row,) = place.connection(f"rm {place.one} from {place.name}")
        assert row.error == "conflict"
        assert "several names" in row.message
        assert len(place.names()) == 3
        place.connection(f"rm {place.one[7:19]} from {place.name} force")
        assert set(place.names()) == {OTHER}

    def test_the_last_name_is_not_untagged(self, place: Place) -> None:
        (row,) = place.connection(f"untag {OTHER} from {place.name}")
        assert row.error == "conflict"
        assert "last name" in row.message
        assert OTHER in place.names()

    def test_names_without_a_registry(self, place: Place) -> None:
        if place.name == "podman":
            result = place.connection("rm app:1 from podman")
            assert rows(result) == [("untag", APP, place.one)]
        else:
            with pytest.raises(imq.NotFound, match="No such image: app:1"):
                place.connection("rm app:1 from docker")

    def test_names_that_are_not_there(self, place: Place) -> None:
        with pytest.raises(imq.NotFound, match="No such image"):
            place.connection(f"rm localhost/no:1 from {place.name}")
        result = list(place.connection(f"rm localhost/no:1, {OTHER} from {place.name}"))
        assert [(row.action, row.error) for row in result] == [("remove", None), ("rm", "no-such-image")]
        assert OTHER not in place.names()

    def test_nameless_images(self, place: Place) -> None:
        place.engine.run("tag", OTHER, APP)
        place.engine.run("tag", OTHER, LATEST)
        assert rows(place.connection(f"prune from {place.name}", dry_run=True)) == [("remove", "<none>", place.one)]
        assert rows(place.connection(f"prune from {place.name}")) == [("remove", "<none>", place.one)]
        assert ids(place) == {place.two}

    def test_an_image_in_use_is_a_conflict(self, place: Place) -> None:
        place.engine.run(*CREATE, "--name", "job", OTHER, "/x")
        for statement in (f"rm {OTHER} from {place.name}", f"rm images in {place.name} where label.part = two"):
            (row,) = place.connection(statement)
            assert row.error == "conflict"
            assert "a container uses the image" in row.message
        assert OTHER in place.names()

    def test_force_with_a_stopped_container(self, place: Place) -> None:
        place.engine.run(*CREATE, "--name", "job", OTHER, "/x")
        statement = f"rm {OTHER} from {place.name} force"
        (planned,) = place.connection(statement, dry_run=True)
        (row,) = place.connection(statement)
        assert (row.action, row.error, row.note) == (planned.action, planned.error, planned.note)
        assert row.error == (None if place.name == "docker" else "conflict")
        assert (place.two in ids(place)) == (place.name == "podman"), "podman would remove the container with it"
        assert place.engine.run("ps", "-a", "--format", "{{.Names}}") == "job"

    def test_force_does_not_stop_a_container(self, place: Place, tmp_path: pathlib.Path) -> None:
        load_waiting(place.engine, tmp_path)
        place.engine.run("run", "-d", "--name", "web", *wait_arguments(place.engine), "localhost/wait:1")
        try:
            for operand in ("localhost/wait:1", place.names()["localhost/wait:1"]):
                (row,) = place.connection(f"rm {operand} from {place.name} force")
                assert row.error == "conflict"
                assert "the container web runs from the image" in row.message
            assert "localhost/wait:1" in place.names()
            assert place.engine.run("ps", "--format", "{{.Names}}") == "web"
        finally:
            place.engine.run("kill", "web")
            wait_until(lambda: not place.engine.run("ps", "-q"))


class TestChangesSinceThePlan:
    def test_a_new_container(self, place: Place, before_removal: Callable[..., None]) -> None:
        before_removal(lambda: place.engine.run(*CREATE, "--name", "late", OTHER, "/x"))
        (row,) = place.connection(f"rm images in {place.name} where label.part = two and not in use")
        assert row.error == "changed"
        assert "the container late was made from" in row.message
        assert OTHER in place.names()

    def test_a_moved_tag(self, place: Place, before_removal: Callable[..., None]) -> None:
        before_removal(lambda: place.engine.run("tag", APP, OTHER))
        (row,) = place.connection(f"rm {OTHER} from {place.name}")
        assert row.error == "changed"
        assert place.names()[OTHER] == place.one

    def test_a_new_name(self, place: Place, before_removal: Callable[..., None]) -> None:
        before_removal(lambda: place.engine.run("tag", OTHER, "localhost/keep:1"))
        (row,) = place.connection(f"rm images in {place.name} where label.part = two")
        assert row.error == "changed"
        assert place.names()["localhost/keep:1"] == place.two

    def test_an_image_that_went(self, place: Place, before_removal: Callable[..., None]) -> None:
        before_removal(lambda: place.engine.run("rmi", OTHER))
        result = place.connection(f"rm images in {place.name} where tag in (1, 2)")
        outcomes = {row.target: row.error for row in result}
        assert outcomes == {OTHER: "not-found", APP: None}

    def test_the_others_go_on(self, place: Place, before_removal: Callable[..., None]) -> None:
        before_removal(lambda: place.engine.run(*CREATE, "--name", "late", OTHER, "/x"))
        result = place.connection(f"rm images in {place.name} where not in use")
        assert {row.image: row.error for row in result} == {place.one: None, place.two: "changed"}
        assert ids(place) == {place.two}


class TestDocker:
    def test_an_image_that_others_were_built_from_stays(self, docker_place: Place) -> None:
        build_images(docker_place.engine)
        parent = docker_place.engine.run("inspect", "-f", "{{.Parent}}", "classic:1")
        docker_place.engine.run("tag", parent, "parent:1")
        (row,) = docker_place.connection("rm parent:1 from docker")
        assert (row.action, row.error) == ("untag", None)
        assert "another image needs it" in row.note
        assert parent in ids(docker_place)
        (row,) = docker_place.connection("rm classic:1 from docker")
        assert (row.action, row.error) == ("remove", None)
        if docker_place.has_containerd_images:  # the parent lost its last name before: it stays until a prune
            assert parent in docker_place.connection("images in docker where dangling select id").column("id")
            docker_place.connection("prune from docker")
        assert parent not in ids(docker_place)

    def test_a_child_keeps_a_parent_that_the_engine_calls_deleted(self, docker_place: Place) -> None:
        """The image store of containerd says so, and keeps the parent without a name."""
        build_images(docker_place.engine)
        parent = docker_place.engine.run("inspect", "-f", "{{.Parent}}", "classic:1")
        docker_place.engine.run("tag", parent, "parent:1")
        said = docker_place.engine.run("rmi", "parent:1")
        assert (f"Deleted: {parent}" in said) == docker_place.has_containerd_images
        assert parent in ids(docker_place)
        docker_place.engine.run("rmi", "classic:1")

    def test_digests_go_with_the_last_tag(self, docker_place: Place, registry_host: str) -> None:
        engine = docker_place.engine
        for number in (1, 2):
            engine.run("tag", OTHER, f"{registry_host}/app:{number}")
            engine.run("push", "-q", f"{registry_host}/app:{number}")
        (row,) = docker_place.connection(f"rm {registry_host}/app:1 from docker")
        assert row.action == "untag"
        result = docker_place.connection("rm images in docker where label.part = two")
        (row,) = result
        assert row.action == "remove"
        assert sorted(row.target.split(", ")) == sorted([OTHER, f"{registry_host}/app:2"])
        assert docker_place.two not in ids(docker_place)

    def test_a_name_with_a_digest(self, docker_place: Place, registry_host: str) -> None:
        engine = docker_place.engine
        engine.run("tag", OTHER, f"{registry_host}/only:1")
        engine.run("push", "-q", f"{registry_host}/only:1")
        name = engine.run("inspect", "-f", "{{index .RepoDigests 0}}", OTHER)
        engine.run("rmi", OTHER, f"{registry_host}/only:1")
        engine.run("pull", "-q", name)
        planned = rows(docker_place.connection("prune from docker", dry_run=True))
        assert planned == [("remove", name, docker_place.two)]
        assert rows(docker_place.connection(f"rm {name} from docker")) == planned
        assert docker_place.two not in ids(docker_place)


class TestPodman:
    def test_a_working_container_holds_its_image(
        self, podman_service: Engine, archive: bytes, tmp_path: pathlib.Path
    ) -> None:
        clear(podman_service)
        podman_service.run("load", stdin=archive)
        storage = ["--root", f"{podman_service.folder}/root", "--runroot", f"{podman_service.folder}/run"]
        words = ["buildah", *storage, "from", "--pull-never", "--name", "working", OTHER]
        subprocess.run(words, capture_output=True, check=True, env={**os.environ, "BUILDAH_ISOLATION": "chroot"})
        try:
            with connect(tmp_path, "podman", podman_service) as connection:
                (row,) = connection(f"rm {OTHER} from podman")
                assert row.error == "conflict"
                assert rows(connection("rm images in podman where not in use", dry_run=True)) == [
                    ("remove", f"{APP}, {LATEST}", ONE.id)
                ]
                (row,) = connection("rm containers in podman where kind = build")
                assert (row.action, row.target, row.error) == ("remove", "working", None)
                assert rows(connection(f"rm {OTHER} from podman")) == [("remove", OTHER, TWO.id)]
        finally:
            subprocess.run(["buildah", *storage, "rm", "-a"], capture_output=True, check=False)
            clear(podman_service)


class TestTwoEngines:
    def test_one_statement_for_both(
        self, dockerd: Engine, podman_service: Engine, archive: bytes, tmp_path: pathlib.Path
    ) -> None:
        for engine in (dockerd, podman_service):
            clear(engine)
            engine.run("load", stdin=archive)
        dockerd.run(*CREATE, "--name", "job", OTHER, "/x")
        environment = {"DOCKER_HOST": dockerd.address, "CONTAINER_HOST": podman_service.address, "HOME": str(tmp_path)}
        with imq.connect(root=tmp_path / "store", environment=environment) as connection:
            statement = "rm images in docker, podman where not in use"
            planned = [(row.image, row.note) for row in connection(statement, dry_run=True)]
            assert sorted(planned) == sorted([(ONE.id, "in docker"), (ONE.id, "in podman"), (TWO.id, "in podman")])
            assert [(row.image, row.note) for row in connection(statement)] == planned
        assert dockerd.run("images", "-q", "--no-trunc") == TWO.id
        assert podman_service.run("images", "-q") == ""
        clear(dockerd)
