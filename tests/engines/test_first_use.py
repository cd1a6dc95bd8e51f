"""First use: without a store and without a configuration, imq uses the engine that responds, and says so once."""

from __future__ import annotations

import io
import json
import os
import subprocess
from typing import TYPE_CHECKING

import imq
import pytest
from imq.cli.open_session import open_session
from imq.cli.options import read_options
from imq.cli.output import Console
from imq.repl.repl import Repl
from support.command import run_imq
from support.engine_images import ONE, TWO, clear
from support.engines import HANG, PING_ANSWER, ScriptedEngine, http_answer
from support.images import Image, Layout, docker_archive, layer
from support.servers import Registry, require_programs
from support.waiting import deadline

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterator

    from support.command import Ran
    from support.engines import Dockerd, PodmanService


class Newcomer:
    """A user with a home folder and no store, who has the engines whose sockets are given."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        self.store = folder / ".local" / "share" / "imq"
        self.docker = self.podman = ""
        self.more: dict[str, str] = {}

    def environment(self) -> dict[str, str]:
        missing = f"unix://{self.folder}/missing"
        engines = {
            "DOCKER_HOST": self.docker or f"{missing}-docker.sock",
            "CONTAINER_HOST": self.podman or f"{missing}-podman.sock",
        }
        return {"HOME": str(self.folder), "PATH": os.environ["PATH"], **engines, **self.more}

    def run(self, *arguments: str) -> Ran:
        """Run the command line."""
        return run_imq(self.environment(), *arguments)


@pytest.fixture
def newcomer(tmp_path: pathlib.Path) -> Newcomer:
    return Newcomer(tmp_path)


@pytest.fixture
def with_docker(newcomer: Newcomer, dockerd: Dockerd, archive: bytes) -> Iterator[Newcomer]:
    """A newcomer whose dockerd has three names of two images."""
    clear(dockerd)
    dockerd.run("load", stdin=archive)
    newcomer.docker = dockerd.address
    yield newcomer
    clear(dockerd)


def note(name: str, address: str) -> str:
    return f"source: {name} ({address}); change it with use, --source or the configuration\n"


@pytest.mark.parametrize("words", [("images", "select", "name", "as", "ids"), ("images", "-q", "--no-trunc")])
def test_images_are_those_of_the_engine(with_docker: Newcomer, words: tuple[str, ...]) -> None:
    ran = with_docker.run(*words)
    assert (ran.code, ran.stderr) == (0, note("docker", with_docker.docker))
    assert len(ran.stdout.split()) == 3
    assert not with_docker.store.exists()


def test_the_source_is_named_once_in_a_session(with_docker: Newcomer) -> None:
    ran = with_docker.run("images count; containers count; images where dangling; use")
    assert ran.stderr == note("docker", with_docker.docker)
    assert ran.words()[:2] == [["3"], ["0"]]
    assert ran.stdout.splitlines()[-1] == (
        f"docker: the store has no images, and this engine responds at {with_docker.docker}"
    )


def test_removals_go_to_the_engine_after_their_plan(with_docker: Newcomer, dockerd: Dockerd) -> None:
    ran = with_docker.run("--dry-run", "rm localhost/team/b:2")
    assert [line[:2] for line in ran.words()[1:]] == [["remove", "localhost/team/b:2"]]
    assert "in docker" in ran.stdout
    assert with_docker.run("--yes", "rm localhost/team/b:2").code == 0
    assert "localhost/team/b" not in dockerd.run("images", "--format", "{{.Repository}}")


def test_podman_is_used_without_docker(newcomer: Newcomer, podman_service: PodmanService, archive: bytes) -> None:
    clear(podman_service)
    podman_service.run("load", stdin=archive)
    newcomer.podman = podman_service.address
    ran = newcomer.run("images count")
    assert (ran.stdout, ran.stderr) == ("3\n", note("podman", podman_service.address))
    clear(podman_service)


@pytest.mark.parametrize(
    "statement", ["help images", "sources", "lines of stdin", "platforms of 127.0.0.1:1/x", "tags of 127.0.0.1:1/x"]
)
def test_statements_about_other_places_ask_no_engine(newcomer: Newcomer, statement: str) -> None:
    with ScriptedEngine(newcomer.folder / "engine", {"": PING_ANSWER}) as engine:
        newcomer.docker = engine.address
        ran = newcomer.run("--", statement) if statement == "lines of stdin" else newcomer.run(statement)
        assert "source: docker" not in ran.stderr
        assert statement == "sources" or not engine.requests


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("--source", "store", "use"), "store: set by --source"),
        (("--root", "$ROOT", "use"), "store: the default, $ROOT"),
        (("use store; use",), "store: set by use"),
    ],
)
def test_a_named_store_is_used(with_docker: Newcomer, words: tuple[str, ...], reason: str) -> None:
    root = str(with_docker.folder / "mine")
    ran = with_docker.run(*(word.replace("$ROOT", root) for word in words))
    assert (ran.stdout, ran.stderr) == (reason.replace("$ROOT", root) + "\n", "")


def test_a_store_in_the_environment_is_used(with_docker: Newcomer) -> None:
    with_docker.more["IMQ_ROOT"] = str(with_docker.folder / "mine")
    ran = with_docker.run("images count")
    assert (ran.stdout, ran.stderr) == ("0\n", f"WARNING: no store found at {with_docker.folder}/mine\n")


def test_the_store_is_the_default_when_it_has_images(with_docker: Newcomer) -> None:
    path = with_docker.folder / "one.tar"
    docker_archive(path, [(ONE, ["mine:1"])])
    assert with_docker.run(f'load "{path}"').code == 0
    ran = with_docker.run("images select name as ids")
    assert (ran.stdout, ran.stderr) == ("mine:1\n", "")
    assert with_docker.run("use").stdout == f"store: the default, since it has images, {with_docker.store}\n"
    assert with_docker.run("--yes", "rm mine:1").code == 0
    assert with_docker.run("images count").stderr == note("docker", with_docker.docker)


def test_the_change_from_an_engine_to_the_store_is_reported_once(with_docker: Newcomer) -> None:
    path = with_docker.folder / "one.tar"
    docker_archive(path, [(ONE, ["mine:1"])])
    changed = (
        "source: the store, since it has images now, and no longer docker; to keep docker: --source docker,"
        ' IMQ_SOURCE=docker, or source = "docker" in the configuration\n'
    )
    assert with_docker.run("images count").stderr == note("docker", with_docker.docker)
    assert with_docker.run("--source", "docker", f'load "{path}" to store').stderr == ""
    ran = with_docker.run("images count")
    assert (ran.stdout, ran.stderr) == ("1\n", changed), "by the first statement that reads another source"
    assert with_docker.run("images count").stderr == ""
    assert with_docker.run("--yes", "rm mine:1").stderr == ""
    ran = with_docker.run(f'images count; load "{path}"; images count')
    assert (ran.stdout.splitlines()[0], ran.stdout.splitlines()[-1]) == ("3", "3"), "a session keeps its source"
    assert ran.stderr == note("docker", with_docker.docker)
    assert with_docker.run("images count").stderr == changed
    assert with_docker.run("--yes", "rm mine:1").code == 0
    assert with_docker.run("images count").stderr == note("docker", with_docker.docker)
    assert with_docker.run(f'load "{path}"').stderr.endswith(changed), "by the action that brings the first image"
    assert with_docker.run("images count").stderr == ""


def test_the_last_source_is_kept_for_the_user(with_docker: Newcomer) -> None:
    """The file cannot be written: the note that names the engine is written each time, and no other."""
    with_docker.more["XDG_STATE_HOME"] = "/proc/none"
    for _ in range(2):
        assert with_docker.run("images count").stderr == note("docker", with_docker.docker)
    with_docker.more["XDG_STATE_HOME"] = str(with_docker.folder / "state")
    assert with_docker.run("images count").code == 0
    assert (with_docker.folder / "state" / "imq" / "source").read_text() == "docker\n"


@pytest.mark.parametrize("statement", ["images", "images count", "images where size > 1", "containers", "layers"])
def test_an_empty_result_says_where_imq_looked(newcomer: Newcomer, statement: str) -> None:
    ran = newcomer.run(statement)
    assert ran.code == 0
    table, _, _ = statement.partition(" ")
    first, docker, podman, add, sample, other = ran.stderr.splitlines()
    assert first == f"no {table} found: the store {newcomer.store} is empty, and no engine responds"
    assert docker.startswith(f"  docker at unix://{newcomer.folder}/missing-docker.sock is not reachable")
    assert podman.startswith(f"  podman at unix://{newcomer.folder}/missing-podman.sock is not reachable")
    assert "imq pull" in add
    assert "imq load" in add
    assert "imq demo" in sample
    assert "--source" in other
    assert "use SOURCE" in other
    assert not newcomer.store.exists()


def test_an_empty_result_of_a_registry_says_nothing_of_the_store(newcomer: Newcomer, tmp_path: pathlib.Path) -> None:
    require_programs("skopeo")
    layout = Layout(tmp_path / "layout")
    layout.add(Image([layer({"a": b"1"})]), "x")
    with Registry(tmp_path / "registry") as registry:
        name = f"{registry.host}/x:1"
        words = ["skopeo", "copy", "-q", "--dest-tls-verify=false", f"oci:{tmp_path / 'layout'}:x", f"docker://{name}"]
        subprocess.run(words, check=True, capture_output=True)
        ran = newcomer.run(f"files of {name} where name = nothing count")
    assert (ran.stdout, ran.code) == ("0\n", 0)
    assert "is empty" not in ran.stderr


def test_an_empty_result_is_explained_once(newcomer: Newcomer) -> None:
    assert newcomer.run("images; containers; images").stderr.count("no images found") == 1


@pytest.mark.parametrize("statement", ["images in store", "rows of stdin", "use store; images"])
def test_an_empty_result_of_a_named_source_is_quiet(newcomer: Newcomer, statement: str) -> None:
    assert "found" not in newcomer.run(statement).stderr


def test_an_empty_engine_is_quiet(newcomer: Newcomer) -> None:
    with ScriptedEngine(newcomer.folder / "engine", {"images/json": http_answer(b"[]")}) as engine:
        newcomer.docker = engine.address
        assert newcomer.run("images").stderr == note("docker", engine.address)


def test_an_engine_that_hangs_delays_a_session_once(newcomer: Newcomer) -> None:
    with deadline(20), ScriptedEngine(newcomer.folder / "engine", {"": HANG}) as engine:
        newcomer.docker = engine.address
        ran = newcomer.run("images; images; containers count; images where dangling")
        assert ran.code == 0
        assert len(engine.requests) == 1
    assert ran.stderr.startswith(f"WARNING: docker at {engine.address} did not respond within 1 second,")
    assert "so docker is not the default source" in ran.stderr


def test_an_engine_that_hangs_is_passed_over(newcomer: Newcomer, podman_service: PodmanService) -> None:
    newcomer.podman = podman_service.address
    with deadline(20), ScriptedEngine(newcomer.folder / "engine", {"": HANG}) as engine:
        newcomer.docker = engine.address
        ran = newcomer.run("images")
    assert ran.stderr.endswith(note("podman", podman_service.address))


def test_a_file_in_place_of_the_socket_is_a_warning(newcomer: Newcomer) -> None:
    path = newcomer.folder / "engine"
    path.write_text("")
    newcomer.docker = f"unix://{path}"
    assert f"WARNING: {path} is not a socket, so docker is not the default source" in newcomer.run("images").stderr


class Prompts:
    """A reader of statements that records the prompts."""

    def __init__(self, *statements: str) -> None:
        self.prompts: list[str] = []
        self._statements = iter(statements)

    def read(self, prompt: str, _default: str) -> str:
        self.prompts.append(prompt)
        try:
            return next(self._statements)
        except StopIteration:
            raise EOFError from None

    def invalidate(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


def test_the_prompt_names_the_engine(with_docker: Newcomer, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = Prompts("images count", "use store")
    monkeypatch.setattr(Repl, "_open_reader", lambda _: reader)
    stderr = io.StringIO()
    console = Console(io.StringIO(), io.StringIO(), stderr, with_docker.environment())
    options = read_options([])
    session = open_session(console, options)
    assert Repl(console, session, options).run() == 0
    session.close()
    assert reader.prompts == ["imq docker> ", "imq docker> ", "imq> "]
    assert stderr.getvalue() == note("docker", with_docker.docker)


def test_copies_are_of_the_images_of_the_engine(with_docker: Newcomer, tmp_path: pathlib.Path) -> None:
    """A registry has the same name: an engine that is shown as the source is the source."""
    require_programs("docker-registry")
    with Registry(tmp_path / "registry") as registry:
        name = "localhost/team/b:2"
        ran = with_docker.run(f"copy {name} to {registry.host}/copied:1 as json")
        assert ran.code == 0, ran.stdout
        assert ran.stderr.startswith(note("docker", with_docker.docker))
        (row,) = json.loads(ran.stdout)
        assert (row["action"], row["target"], row["error"]) == ("copy", f"{registry.host}/copied:1", None)
        assert row["image"] == TWO.id
        planned = with_docker.run("--dry-run", f"copy {name}, {registry.host}/copied:1 to {registry.host}/more as json")
        rows = json.loads(planned.stdout)
        assert [row["image"] for row in rows] == [TWO.id, None], "what the engine lacks is of its registry"
        ran = with_docker.run(f"copy {registry.host}/copied:1, {name} to oci:{tmp_path}/layout as json")
        assert {row["error"] for row in json.loads(ran.stdout)} == {None}
        chosen = with_docker.run("--source", "docker", f"copy {registry.host}/copied:1 to {registry.host}/again:1")
        assert chosen.code != 0
        assert f"No such image: {registry.host}/copied:1" in chosen.stderr


def test_a_program_names_its_source(with_docker: Newcomer) -> None:
    """The command line says which engine it uses; nobody reads that of a program, which may remove images."""
    with imq.connect(environment=with_docker.environment()) as connection:
        assert connection("images count").scalar() == 0
    with imq.connect("docker", environment=with_docker.environment()) as connection:
        assert connection("images count").scalar() == 3
