"""Containers of engines: those that were killed or restarted, pods, ports; and IDs that several images begin with."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import imq
import pytest
from support.engine_content import load_waiting, wait_arguments
from support.engine_images import ONE
from support.scripted_session import A, Script, answer, container, image
from support.waiting import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from support.engine_images import Place

WAIT, OTHER = "localhost/wait:1", "localhost/team/b:2"
FIELDS = "oom_killed, exit_code, memory_limit, restart_count, restart_policy, pod, kind, status"


def inspect(place: Place, name: str) -> dict[str, Any]:
    """Return what the engine's own client says of a container."""
    (document,) = json.loads(place.engine.run("container", "inspect", name))
    return dict(document)


def find(place: Place, name: str) -> Any:
    """Return the row of a container."""
    (row,) = place.connection(f"containers in {place.name} where name = {name} select {FIELDS}")
    return row


class TestStates:
    def test_killed_for_lack_of_memory(self, docker_place: Place, tmp_path: Path) -> None:
        load_waiting(docker_place.engine, tmp_path)
        words = [
            "run",
            "-d",
            "--name",
            "hog",
            "--memory",
            "8m",
            *wait_arguments(docker_place.engine),
            WAIT,
            "/wait",
            "m",
        ]
        docker_place.engine.run(*words)
        wait_until(lambda: inspect(docker_place, "hog")["State"]["Status"] == "exited")
        state, row = inspect(docker_place, "hog")["State"], find(docker_place, "hog")
        assert row.oom_killed is state["OOMKilled"]
        assert row.exit_code == state["ExitCode"] == 137
        assert row.memory_limit == 8 << 20

    def test_restarts_are_counted(self, docker_place: Place, tmp_path: Path) -> None:
        load_waiting(docker_place.engine, tmp_path)
        own = wait_arguments(docker_place.engine)
        docker_place.engine.run("run", "-d", "--name", "loop", "--restart", "on-failure:1", *own, WAIT, "/wait", "3")
        wait_until(lambda: inspect(docker_place, "loop")["State"]["Status"] == "exited")
        row = find(docker_place, "loop")
        assert (row.restart_count, row.restart_policy, row.exit_code) == (1, "on-failure", 3)

    def test_pods(self, place: Place) -> None:
        has_pods = place.name == "podman"
        if has_pods:
            place.engine.run("pod", "create", "--infra=false", "--name", "group")
        try:
            pod = ("--pod", "group") if has_pods else ()
            place.engine.run("create", "--name", "member", *pod, "--network", "none", OTHER, "/x")
            row = find(place, "member")
            assert (row.pod, row.kind, row.status) == ("group" if has_pods else None, "container", "created")
        finally:
            if has_pods:
                place.engine.run("pod", "rm", "-f", "group")


class TestListing:
    @pytest.mark.parametrize(
        ("ports", "shown", "published"),
        [
            ([], [], []),
            ([{"PrivatePort": 80, "Type": "tcp"}], ["80/tcp"], []),
            (
                [{"IP": "0.0.0.0", "PrivatePort": 80, "PublicPort": 8080, "Type": "tcp"}],
                ["0.0.0.0:8080->80/tcp"],
                ["8080/tcp"],
            ),
            (
                [
                    {"IP": "0.0.0.0", "PrivatePort": 53, "PublicPort": 53, "Type": "udp"},
                    {"IP": "::", "PrivatePort": 53, "PublicPort": 53, "Type": "udp"},
                ],
                ["0.0.0.0:53->53/udp", "[::]:53->53/udp"],
                ["53/udp"],
            ),
        ],
    )
    def test_ports(self, tmp_path: Path, ports: list[Any], shown: list[str], published: list[str]) -> None:
        listed = container(A, Ports=ports, Names=["/web/alias", "/web"])
        script = Script(tmp_path / "script", {"containers/json": answer([listed])})
        try:
            (row,) = script.ask("containers in docker select name, ports, published_ports").rows
            assert row == {"name": "web", "ports": shown, "published_ports": published}
            assert bool(script.ask("containers in docker where published_ports has 53/udp").rows) == (
                "53/udp" in published
            )
        finally:
            script.close()

    @pytest.mark.parametrize("state", ["created", "running", "paused", "restarting", "exited", "dead"])
    def test_every_state_uses_the_image(self, tmp_path: Path, state: str) -> None:
        answers = {"images/json": [image(A, "a:1")], "containers/json": [container(A, State=state)]}
        script = Script(tmp_path / "script", {part: answer(one) for part, one in answers.items()})
        try:
            assert script.ask("images in docker where in use select name").column("name") == ["a:1"]
            assert script.ask("containers in docker select status").column("status") == [state]
        finally:
            script.close()


class TestIdentity:
    def test_a_name_comes_before_an_id(self, docker_place: Place) -> None:
        prefix = docker_place.two[7:11]
        docker_place.engine.run("tag", "localhost/app:1", f"{prefix}:latest")
        (row,) = docker_place.connection(f"rm {prefix} from docker", dry_run=True)
        assert (row.action, row.target, row.image) == ("untag", f"{prefix}:latest", docker_place.one)
        (row,) = docker_place.connection(f"rm sha256:{prefix} from docker", dry_run=True)
        assert row.image == docker_place.two

    def test_the_beginning_of_several_ids(self, tmp_path: Path) -> None:
        ids = [f"sha256:{'ab' + digit * 62}" for digit in "12"]
        answers = {"images/json": [image(ids[0], "a:1"), image(ids[1], "b:1")], "containers/json": []}
        script = Script(tmp_path / "script", {part: answer(one) for part, one in answers.items()})
        try:
            with pytest.raises(imq.Conflict, match="beginning of several IDs"):
                script.ask("rm ab from docker")
            assert script.removals == []
            (row,) = script.ask("dry run rm ab1 from docker as json").rows
            assert row["image"] == ids[0]
        finally:
            script.close()

    def test_a_digest_is_of_its_repository(self, docker_place: Place) -> None:
        with pytest.raises(imq.NotFound, match="No such image"):
            docker_place.connection(f"rm localhost/other@{ONE.digest} from docker")


def test_a_container_keeps_the_name_of_its_image_when_that_moves(place: Place) -> None:
    """The engine lists the ID then: the name has another image."""
    for name, made_from in (("old", "localhost/app:1"), ("other", "localhost/team/b:2")):
        place.engine.run("create", "--name", name, "--network", "none", made_from, "/x")
    place.engine.run("tag", "localhost/team/b:2", "localhost/app:1")
    rows = place.connection(f"containers in {place.name} select name, image, image_id order by name")
    assert [(row.name, row.image, row.image_id) for row in rows] == [
        ("old", "localhost/app:1", place.one),
        ("other", "localhost/team/b:2", place.two),
    ]
    statement = f"containers in {place.name} where image = localhost/app:1 select name"
    assert place.connection(statement).column("name") == ["old"]
    counted = f"containers in {place.name} group by image select image, count as n order by image"
    assert [(row.image, row.n) for row in place.connection(counted)] == [
        ("localhost/app:1", 1),
        ("localhost/team/b:2", 1),
    ]
