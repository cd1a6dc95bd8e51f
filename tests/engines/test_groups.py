"""Groups of engines: one name in the configuration for several hosts, which are asked side by side."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from threading import Barrier
from typing import TYPE_CHECKING, Any

import imq
import pytest
from imq.engine.configuration.load import load_configuration
from imq.engine.docker_engine import client as client_module
from imq.engine.progress import NullProgress
from imq.engine.session.context import SessionContext
from imq.engine.session.session import Session
from imq.grammar.errors import EngineError, ImqError, UnknownName
from support.command import run_imq
from support.engine_images import ONE, TWO, clear
from support.engines import HANG, ScriptedEngine, http_answer
from support.servers import require_programs
from support.ssh_server import SshServer
from support.waiting import deadline

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterator

    from support.command import Ran
    from support.engines import Dockerd, PodmanService


class Fleet:
    """A group `prod` of dockerd and podman, and others; the names of engines and files that its statements use."""

    def __init__(self, folder: pathlib.Path, dockerd: Dockerd, podman: PodmanService) -> None:
        self.folder = folder
        self.docker, self.podman = dockerd, podman
        (folder / "home").mkdir()
        self.environment = {
            "HOME": str(folder / "home"),
            "PATH": os.environ["PATH"],
            "DOCKER_HOST": dockerd.address,
            "CONTAINER_HOST": podman.address,
            "IMQ_CONFIG": str(folder / "config.toml"),
            "IMQ_ROOT": str(folder / "store"),
        }
        self.write(
            prod=["docker", "podman"],
            half=["docker", f"unix://{folder}/missing.sock"],
            typo=["docker", "dokcer"],
            nested=["Prod", "store"],
        )

    def write(self, **groups: list[str]) -> None:
        """Write the groups of the configuration."""
        text = "".join(f"[group.{name}]\nsources = {json.dumps(members)}\n" for name, members in groups.items())
        (self.folder / "config.toml").write_text(text)

    def run(self, *arguments: str) -> Ran:
        """Run the command line."""
        return run_imq(self.environment, *arguments)

    def connect(self, source: str | None = None, **options: Any) -> imq.Connection:
        """Return a connection."""
        return imq.connect(source, environment=self.environment, **options)


@pytest.fixture
def fleet(tmp_path: pathlib.Path, dockerd: Dockerd, podman_service: PodmanService, archive: bytes) -> Iterator[Fleet]:
    """dockerd with three names, podman with the same, in the group `prod`."""
    for engine in (dockerd, podman_service):
        clear(engine)
        engine.run("load", stdin=archive)
    yield Fleet(tmp_path, dockerd, podman_service)
    for engine in (dockerd, podman_service):
        clear(engine)


COUNTS = [["docker", "3"], ["podman", "3"]]
GROUPED = "group by source select source, count(*) as count order by source as tsv"


def test_every_member_of_a_group_answers(fleet: Fleet) -> None:
    ran = fleet.run(f"images in prod {GROUPED}")
    assert (ran.code, ran.stderr) == (0, "")
    assert ran.words() == [["source", "count"], *COUNTS]
    ran = fleet.run("images in PROD where label.part = two select source, name as tsv")
    assert ran.words()[1:] == [["docker", "localhost/team/b:2"], ["podman", "localhost/team/b:2"]]


@pytest.mark.parametrize("words", [("--source", "prod"), ("--set", "jobs=2")], ids=["option", "use"])
def test_a_group_is_the_default_source(fleet: Fleet, words: tuple[str, str]) -> None:
    use = "" if words[0] == "--source" else "use prod; "
    ran = fleet.run(*words, f"{use}images {GROUPED}")
    assert ran.words()[1:] == COUNTS, ran.stderr
    why = fleet.run(*words, f"{use}use")
    assert why.stdout == f"prod: set by {'use' if use else '--source'}\n"


def test_the_environment_and_the_configuration_choose_a_group(fleet: Fleet) -> None:
    fleet.environment["IMQ_SOURCE"] = "prod"
    assert fleet.run("use").stdout == "prod: set by IMQ_SOURCE\n"
    del fleet.environment["IMQ_SOURCE"]
    path = fleet.folder / "config.toml"
    path.write_text('source = "prod"\n' + path.read_text())
    assert fleet.run("use").stdout == f"prod: from {path}\n"
    assert fleet.run(f"images {GROUPED}").words()[1:] == COUNTS


def test_python_connects_to_an_engine_and_to_a_group(fleet: Fleet) -> None:
    with fleet.connect("docker") as docker:
        assert {row.source for row in docker("images")} == {"docker"}
    with fleet.connect("prod") as prod:
        assert sorted((row.source, row.name) for row in prod("images where label.part = two")) == [
            ("docker", "localhost/team/b:2"),
            ("podman", "localhost/team/b:2"),
        ]
    with pytest.raises(UnknownName, match="dokcer"):
        fleet.connect("typo")


def test_a_group_in_a_group_stands_for_its_members(fleet: Fleet) -> None:
    ran = fleet.run(f"images in nested {GROUPED}")
    assert ran.words()[1:] == COUNTS, ran.stderr


def test_a_group_cannot_contain_itself(fleet: Fleet) -> None:
    fleet.write(a=["docker", "B"], b=["a"])
    ran = fleet.run("images in a")
    assert ran.code == 3
    assert "line 4, column 11: a group cannot contain itself: a, b, a" in ran.stderr


@pytest.mark.parametrize("name", ["docker", "store", "podman"])
def test_a_group_cannot_have_the_name_of_another_source(fleet: Fleet, name: str) -> None:
    fleet.write(**{name: ["podman"]})
    ran = fleet.run("images in store")
    assert ran.code == 3
    assert f"invalid group name '{name}': another source has this name" in ran.stderr


def test_a_group_comes_before_a_context_of_the_same_name(fleet: Fleet, tmp_path: pathlib.Path) -> None:
    fleet.environment["DOCKER_CONFIG"] = str(tmp_path / "docker")
    make_context(fleet, "prod", f"unix://{tmp_path}/nowhere.sock")
    assert fleet.run(f"images in prod {GROUPED}").words()[1:] == COUNTS
    assert "nowhere.sock is not reachable" in fleet.run("images in docker:prod").stderr


def test_a_registry_comes_before_a_context_of_the_same_name(fleet: Fleet, tmp_path: pathlib.Path) -> None:
    fleet.environment["DOCKER_CONFIG"] = str(tmp_path / "docker")
    make_context(fleet, "work", f"unix://{tmp_path}/nowhere.sock")
    (tmp_path / "config.toml").write_text('[registry.work]\nhost = "127.0.0.1:1"\n')
    assert "127.0.0.1:1 cannot be reached" in fleet.run("repositories in work").stderr


def make_context(fleet: Fleet, name: str, address: str) -> None:
    """Make a docker context with docker's own client."""
    words = ["docker", "context", "create", name, "--docker", f"host={address}"]
    done = subprocess.run(words, env=fleet.environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_an_unknown_member_names_the_group(fleet: Fleet) -> None:
    ran = fleet.run("images in typo")
    assert ran.code == 2
    assert 'unknown source "dokcer"' in ran.stderr
    assert "it is a source of the group typo in the configuration" in ran.stderr


def test_the_rest_answers_when_one_member_is_down(fleet: Fleet) -> None:
    ran = fleet.run(f"images in half {GROUPED}")
    assert ran.code == 3
    assert ran.words()[1:] == COUNTS[:1]
    assert "missing.sock is not reachable" in ran.stderr
    ran = fleet.run("images in half count")
    assert (ran.code, ran.stdout) == (3, "3\n")


def test_a_member_that_is_down_stops_no_removal_of_others(fleet: Fleet) -> None:
    ran = fleet.run("--yes", "rm images in half where label.part = two as tsv")
    assert ran.code == 3
    assert "missing.sock is not reachable" in ran.stderr
    assert [line[:2] for line in ran.words()[1:]] == [
        ["remove", "localhost/team/b:2"],
        ["rm", f"unix://{fleet.folder}/missing.sock"],
    ]
    assert "localhost/team/b" not in fleet.docker.run("images", "--format", "{{.Repository}}")


def test_a_name_that_no_other_member_has_is_unknown_while_one_is_down(fleet: Fleet) -> None:
    ran = fleet.run("--yes", "rm nothing:1 in half")
    assert ran.code == 3
    assert "missing.sock is not reachable" in ran.stderr
    assert "No such image" not in ran.stderr
    assert "No such image: nothing:1" in fleet.run("--yes", "rm nothing:1 in prod").stderr


@pytest.mark.parametrize(
    "statement",
    [
        "rm images in half order by size limit 2",
        "rm (images in half order by size limit 3) where label.part = two",
        "rm images in docker where not id in (containers in half select image_id)",
        "rm images in docker where not id in (images in half select id)",
    ],
)
def test_a_removal_that_needs_every_member_is_refused_while_one_is_down(fleet: Fleet, statement: str) -> None:
    ran = fleet.run("--yes", statement)
    assert ran.code == 3
    assert ran.stdout == ""
    assert "missing.sock" in ran.stderr.replace("\n    ", "")
    assert len(names_of(fleet.docker)) == 3


def test_a_limit_of_each_member_needs_no_other_member(fleet: Fleet) -> None:
    ran = fleet.run("--dry-run", "rm images in half order by size limit 2 per source as tsv")
    assert [line[0] for line in ran.words()[1:]] == ["remove", "rm"]
    ran = fleet.run("--dry-run", "rm images in half except newest 1 as tsv")
    assert [line[0] for line in ran.words()[1:]] == ["remove", "rm"]


def names_of(engine: Dockerd | PodmanService) -> list[str]:
    return sorted(engine.run("images", "--format", "{{.Repository}}:{{.Tag}}").splitlines())


@pytest.mark.parametrize("statement", ["rm localhost/team/b:2 in prod", "rm localhost/team/b:2 from docker, podman"])
def test_a_name_is_removed_in_every_member(fleet: Fleet, statement: str) -> None:
    ran = fleet.run("--dry-run", statement)
    assert [line[:3] for line in ran.words()[1:]] == 2 * [["remove", "localhost/team/b:2", TWO.id[7:19]]]
    assert len(names_of(fleet.docker)) == 3
    assert fleet.run("--yes", statement).code == 0
    assert names_of(fleet.docker) == names_of(fleet.podman) == ["localhost/app:1", "localhost/app:latest"]


@pytest.mark.parametrize("statement", ["prune in prod", "prune from prod", "prune images in prod"])
def test_prune_removes_what_is_dangling_in_every_member(fleet: Fleet, statement: str) -> None:
    for engine in (fleet.docker, fleet.podman):
        engine.run("tag", "localhost/team/b:2", "localhost/app:1")
        engine.run("rmi", "localhost/app:latest")  # the image has no name now
    ran = fleet.run("--yes", statement)
    assert ran.code == 0, ran.stderr
    for engine in (fleet.docker, fleet.podman):
        ids = set(engine.run("images", "--all", "--no-trunc", "--format", "{{.ID}}").splitlines())
        assert ids == {TWO.id} != {ONE.id}


def test_one_statement_prunes_in_docker_only(fleet: Fleet) -> None:
    fleet.podman.run("untag", "localhost/team/b:2")
    assert fleet.run("--yes", "prune in docker").code == 0
    assert len(set(fleet.podman.run("images", "-a", "-q").splitlines())) == 2


IMAGE = {"Id": f"sha256:{'a' * 64}", "RepoTags": ["slow:1"], "RepoDigests": [], "Created": 1, "Size": 1, "Labels": None}


def test_members_are_asked_at_the_same_time(tmp_path: pathlib.Path) -> None:
    """Each of two engines answers after both have been asked: in turn, they would wait forever."""
    both = Barrier(2, timeout=30)

    def wait_for_the_other(line: str) -> None:
        if "images/json" in line:
            both.wait()

    answers = {"images/json": http_answer(json.dumps([IMAGE]).encode())}
    (tmp_path / "config.toml").write_text(f'[group.both]\nsources = ["unix://{tmp_path}/a", "unix://{tmp_path}/b"]\n')
    environment = {"HOME": str(tmp_path), "IMQ_CONFIG": str(tmp_path / "config.toml"), "IMQ_ROOT": str(tmp_path / "s")}
    with (
        deadline(),
        ScriptedEngine(tmp_path / "a", answers, wait_for_the_other) as first,
        ScriptedEngine(tmp_path / "b", answers, wait_for_the_other) as second,
    ):
        ran = run_imq(environment, "images in both select source as tsv")
        assert ran.words()[1:] == [[first.address], [second.address]]
        sources = run_imq(environment, "sources where images = 1 select name as tsv")
        assert sources.words()[1:] == [[first.address], [second.address]], sources


class Recorder(NullProgress):
    """Records the tasks."""

    def __init__(self) -> None:
        self.tasks: list[tuple[str, int, int]] = []

    def report_items(self, label: str, done: int, total: int) -> None:
        self.tasks.append((label, done, total))


def test_progress_names_each_member_that_is_asked(fleet: Fleet) -> None:
    progress = Recorder()
    configuration = load_configuration(fleet.environment)
    context = SessionContext(
        str(fleet.folder / "s"), fleet.environment, lambda: 0, progress=progress, configuration=configuration
    )
    session = Session(context)
    for result in session.run("images in half"):
        assert result.exit_code == 3
    session.close()
    for member in ("docker", f"unix://{fleet.folder}/missing.sock"):
        assert [task for task in progress.tasks if task[0] == f"waiting for {member}"] == [
            (f"waiting for {member}", 0, 1),
            (f"waiting for {member}", 1, 1),
        ]


@pytest.fixture(scope="module")
def hosts(dockerd: Dockerd, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshServer]:
    """A host that is reached by ssh, whose docker is dockerd."""
    require_programs("ssh", "ssh-keygen", "sshd")
    with SshServer(tmp_path_factory.mktemp("ssh"), {"DOCKER_HOST": dockerd.address}) as running:
        yield running


def test_hosts_are_reached_by_ssh(fleet: Fleet, hosts: SshServer) -> None:
    key = hosts.make_key("fleet")
    hosts.authorize(key)
    fleet.environment.update(hosts.client_environment(key))
    fleet.write(prod=[hosts.address, "podman"])
    ran = fleet.run(f"images in prod {GROUPED}")
    assert ran.words()[1:] == [["podman", "3"], [hosts.address, "3"]], ran.stderr
    ran = fleet.run("--yes", "rm images in prod where label.part = two")
    assert ran.code == 0, ran.stderr
    assert names_of(fleet.docker) == names_of(fleet.podman) == ["localhost/app:1", "localhost/app:latest"]


def test_a_host_that_asks_for_a_password_is_a_problem_of_this_host(fleet: Fleet, hosts: SshServer) -> None:
    fleet.environment.update(hosts.client_environment(hosts.make_key("stranger")))
    fleet.write(prod=[hosts.address, "podman"])
    with deadline():
        ran = fleet.run(f"images in prod {GROUPED}")
    assert ran.code == 3
    assert ran.words()[1:] == COUNTS[1:]
    assert "imq does not ask for passwords" in ran.stderr


def test_sources_lists_groups_and_their_members(fleet: Fleet) -> None:
    shutil.rmtree(fleet.folder / "home")
    (fleet.folder / "home").mkdir()
    with fleet.connect() as session:
        rows = {row.name: row for row in session("sources where not name like 'containers-storage*'")}
    missing = f"unix://{fleet.folder}/missing.sock"
    assert set(rows) == {"store", "docker", "podman", missing, "dokcer", "prod", "half", "typo", "nested"}
    assert (rows["docker"].kind, rows["docker"].use) == ("a Docker engine", "in docker")
    assert (rows["docker"].reachable, rows["docker"].images, rows["docker"].problem) == (True, 2, None)
    assert (rows["prod"].kind, rows["prod"].address) == ("a group", "docker, podman")
    assert (rows["prod"].reachable, rows["prod"].images, rows["prod"].use) == (True, 4, "in prod")
    assert (rows["half"].reachable, rows["half"].problem) == (False, f"1 of 2 do not respond: {missing}")
    assert rows[missing].problem.endswith("is not reachable: no such file or directory")
    assert rows[missing].use == f"in {missing}"
    assert rows["dokcer"].problem == 'unknown source "dokcer"'
    assert rows["nested"].address == "docker, podman, store"


def test_a_member_that_hangs_costs_sources_a_few_seconds(fleet: Fleet) -> None:
    path = fleet.folder / "hang"
    fleet.write(prod=["docker", f"unix://{path}"])
    with deadline(20), ScriptedEngine(path, {"": HANG}), fleet.connect() as session:
        (row,) = session("sources where address = $place".replace("$place", f'"unix://{path}"'))
    assert not row.reachable
    assert "within 3 seconds" in row.problem


def test_a_member_that_hangs_delays_a_session_once(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "_PING_TIMEOUT", 0.2)
    path = fleet.folder / "hang"
    fleet.write(prod=["docker", f"unix://{path}"])
    with ScriptedEngine(path, {"": HANG}) as engine, fleet.connect("prod") as session:
        for _ in range(3):
            result = session("images")
            assert {row.source for row in result} == {"docker"}
            assert [error.code for error in result.errors] == ["engine-timeout"]
        assert len(engine.requests) == 1


def test_names_of_groups_contexts_and_connections_are_completed(fleet: Fleet, tmp_path: pathlib.Path) -> None:
    fleet.environment["DOCKER_CONFIG"] = str(tmp_path / "docker")
    make_context(fleet, "staging", "ssh://staging.local")

    def complete(line: str) -> set[str]:
        return {text.partition("\t")[0] for text in fleet.run("__complete", "zsh", line).stdout.splitlines()}

    assert complete("imq images in ") >= {"store", "docker", "podman", "docker:staging", "prod", "half"}
    assert complete("imq --source pr") == complete("imq use pr") == {"prod"}
    assert complete("imq images in docker:st") == {"docker:staging"}
    assert "prod" in complete("imq prune in ") & complete("imq rm app:1 in ") & complete("imq rm app:1 from ")


def test_rows_of_several_sources_show_their_source(fleet: Fleet) -> None:
    for sources in ("prod", "docker, podman", "docker, store"):
        assert fleet.run(f"images in {sources}").words()[0][-1] == "SOURCE"
    for sources in ("docker", "store"):
        assert fleet.run(f"images in {sources}").words()[0][-1] == "SIZE"
    assert fleet.run("containers in prod").words()[0][-1] == "SOURCE"


def test_explain_says_which_request_goes_to_which_engine(fleet: Fleet) -> None:
    ran = fleet.run("explain images in prod where in use and env.A = x")
    requests = [line.partition(":")[2].strip() for line in ran.stdout.splitlines() if line.startswith("requests:")]
    docker, podman = f"docker ({fleet.docker.address})", f"podman ({fleet.podman.address})"
    inspections = f"GET images/ID/json of {docker}; GET libpod/images/ID/json of {podman}"
    listing, own = "containers/json?all=1", "libpod/containers/json?all=true&external=true"
    assert requests == [
        f"1 request for each engine: GET images/json of {docker}, {podman}",
        f"1 request for each engine: GET {listing} of {docker}; GET {listing}, {own} of {podman}",
        f"1 request for each image that is new to this session: {inspections}",
    ]


def test_errors_are_those_of_engines(fleet: Fleet) -> None:
    with fleet.connect() as session:
        (error,) = session("images in half").errors
        assert isinstance(error, EngineError)
        assert error.endpoint == f"unix://{fleet.folder}/missing.sock"
        with pytest.raises(ImqError, match=r"missing\.sock"):
            session(f'images in "unix://{fleet.folder}/missing.sock"')


UNUSED = "id not in (containers in half select image_id)"
NEEDS_EVERY_MEMBER = (
    f"images in docker where {UNUSED}",
    "images in docker where id not in (images in half where in use select id)",
    "images in docker join containers in half as c on c.image_id = id where c.id is unknown",
    "images in docker full join containers in half as c on c.image_id = id where c.id is unknown",
    "images in docker where (containers in half count) = 0",
    f"(images in docker where tag is known) where {UNUSED}",
    "images in docker except images in half by id",
)


@pytest.mark.parametrize("rows", NEEDS_EVERY_MEMBER)
def test_a_condition_on_every_member_fails_when_one_does_not_answer(fleet: Fleet, rows: str) -> None:
    """An action by it does nothing and an assertion of it does not hold: the silent member can use any image."""
    words = [f"assert count ({rows}) < 100"]
    if "full join" not in rows:
        words.append(f"rm ({rows}) force" if "except" in rows else f"rm {rows} force")
    for text in words:
        ran = fleet.run("--yes", text)
        assert ran.code == 3, (text, ran.stdout, ran.stderr)
        assert "missing.sock" in ran.stderr
    assert len(fleet.docker.run("images", "-q").split()) == 3


def test_the_same_condition_on_members_that_answer_holds(fleet: Fleet) -> None:
    for rows in NEEDS_EVERY_MEMBER:
        ran = fleet.run(f"assert count ({rows.replace('half', 'prod')}) < 100")
        assert (ran.code, ran.stderr) == (0, ""), rows
