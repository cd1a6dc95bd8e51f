"""The tasks of engine_tasks.toml: statements about engines run against dockerd, with actions as dry runs."""

from __future__ import annotations

import os
import pathlib
import subprocess
import tarfile
import tomllib
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from imq.engine.result import RowSet
from imq.engine.session.context import SessionContext
from imq.engine.session.session import Session
from imq.grammar.parser import parse
from imq.grammar.unparser import unparse
from registry.support.query import open_session
from support.engine_content import load_waiting, wait_arguments
from support.engine_images import clear, connect
from support.engines import Containerd
from support.images import Image, Layout, docker_archive, layer
from support.inside_images import make_inside_images
from support.prepared_engines import PreparedEngine
from support.servers import Registry, require_programs
from support.statement_rows import check_rows, read_all_rows

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.engines import Dockerd, PodmanService

TASKS: list[dict[str, Any]] = tomllib.loads(
    (pathlib.Path(__file__).parent / "engine_tasks.toml").read_text(encoding="utf-8")
)["task"]
INSIDE = [task for task in TASKS if "inside" in task]
RUN = [task for task in TASKS if task.keys() & {"expected", "includes"} and "inside" not in task]
CHECKED = [task for task in TASKS if "checked" in task]

CLUSTER = """apiVersion: v1
kind: List
items:
- kind: Pod
  metadata: {name: web-1, namespace: shop, uid: a1}
  spec:
    initContainers: [{name: init, image: "old.host/tools/init:3"}]
    containers: [{name: web, image: "old.host/shop/web:1"}, {name: log, image: "new.host/log:2"}]
- kind: Pod
  metadata: {name: web-2, namespace: shop, uid: a2}
  spec:
    containers: [{name: web, image: "old.host/shop/web:1"}, {name: two, image: "old.host/shop/web:1"}]
    volumes: [{name: data, emptyDir: {}}]
    nodeName: node-1
- kind: Pod
  metadata: {name: web-1, namespace: batch, uid: a3}
  spec:
    containers: [{name: job, image: "new.host/log:2"}]
"""
"""As kubectl lists pods, in a shorter form of the same YAML."""


def ids(tasks: list[dict[str, Any]]) -> list[str]:
    return [str(task["id"]) for task in tasks]


@pytest.fixture
def folder(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """The current folder, with the lists that the statements read."""
    (tmp_path / "keep.txt").write_text("li*\n")
    (tmp_path / "registered.txt").write_text("7f3a\n")
    (tmp_path / "names.txt").write_text("wait:1\ngone:1\n")
    (tmp_path / "allowed.txt").write_text("/tmp/pid\n")
    (tmp_path / "allowed.txt").write_text("/tmp\n")
    (tmp_path / "requirements.csv").write_text("name,version\nrequests,2.32.3\nflask,3.0.3\n")
    (tmp_path / "pods.yaml").write_text(
        "".join(f"---\nkind: Pod\nspec:\n  containers:\n  - image: {name}\n" for name in ("web:1", "web:2"))
    )
    (tmp_path / "cluster.yaml").write_text(CLUSTER)
    (tmp_path / "eol.csv").write_text(
        "distribution,release,date\ndebian,10,2022-09-10\ndebian,12,2024-06-10\ndebian,sid,2999-01-01\n"
    )
    (tmp_path / "osv.json").write_text(
        '[{"id": "CVE-2024-1", "package": "openssl", "fixed": "3.0.14"},'
        ' {"id": "CVE-2024-2", "package": "bash", "fixed": "5.0"}]'
    )
    docker_archive(tmp_path / "app.tar", [(Image([layer({"app": b"app"})]), ["app:1"])])
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def offline(folder: pathlib.Path) -> Iterator[Session]:
    """A session without any engine."""
    session = Session(SessionContext(str(folder / "store"), {"HOME": str(folder)}, lambda: 0))
    yield session
    session.close()


def test_every_task_has_a_statement_and_is_of_one_kind() -> None:
    assert len({task["id"] for task in TASKS}) == len(TASKS) == 41
    assert len(RUN) + len(INSIDE) + len(CHECKED) == len(TASKS)


@pytest.fixture(scope="module")
def prepared_namespace(containerd: Containerd, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Containerd]:
    """A containerd with images in the namespace of Kubernetes; one of them lacks a layer."""
    folder = tmp_path_factory.mktemp("namespace")
    layout = Layout(folder / "layout")
    for number, name in enumerate(("team/pw:1", "team/pw:2", "team/pw-app:1", "other/team/pw:1", "library/broken:1")):
        broken = Image([layer({f"file-{number}": name.encode()})])
        layout.add(broken, f"docker.io/{name}")
    layout.close()
    with tarfile.open(folder / "images.tar", "w") as archive:
        archive.add(folder / "layout", ".")
    containerd.clear()
    containerd.run("-n", "k8s.io", "images", "import", "--all-platforms", str(folder / "images.tar"))
    containerd.run("-n", "k8s.io", "content", "rm", broken.layers[0].digest)
    yield containerd
    containerd.clear()


def environment_of(engine: PreparedEngine | Containerd) -> dict[str, str]:
    """Return the variables by which a statement reaches an engine."""
    return {"CONTAINERD_ADDRESS": engine.socket} if isinstance(engine, Containerd) else engine.environment


@pytest.mark.parametrize("task", RUN, ids=ids(RUN))
def test_engine_task(task: dict[str, Any], request: pytest.FixtureRequest, folder: pathlib.Path) -> None:
    engines = [request.getfixturevalue(name) for name in task.get("engines", ["prepared_docker"])]
    host = next((engine.host for engine in engines if isinstance(engine, PreparedEngine)), "registry.local:5000")
    text = task["imq"].replace("registry.local:5000", host).replace(*task.get("shorter", ("", "")))
    for name, own in task.get("replaced", ()):
        text = text.replace(name, own)
    if "ssh://" in text:  # one host that lacks the image, and one that has it
        other: Dockerd = request.getfixturevalue("dockerd")
        text = text.replace("ssh://a", f'"{other.address}"').replace("ssh://b", f'"{engines[0].engine.address}"')
    environment = {name: value for engine in engines for name, value in environment_of(engine).items()}
    session = open_session(folder / "store", environment=environment)
    statements = session.parse(text)
    assert parse("; ".join(map(unparse, statements)), session.vocabulary) == statements
    rows = read_all_rows(session, text)
    session.close()
    check_rows(task, rows, host)


@pytest.fixture(scope="module")
def inside_docker(dockerd: Dockerd, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dockerd]:
    """A dockerd with images that have files and packages of many kinds."""
    archive = tmp_path_factory.mktemp("inside") / "inside.tar"
    docker_archive(archive, list(make_inside_images().values()))
    clear(dockerd)
    dockerd.run("load", "-i", str(archive))
    yield dockerd
    clear(dockerd)


@pytest.fixture(scope="module")
def inside_root(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A store that keeps the index of the layers for all statements."""
    return tmp_path_factory.mktemp("index") / "store"


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("task", INSIDE, ids=ids(INSIDE))
def test_task_about_the_insides_of_images(
    task: dict[str, Any], inside_docker: Dockerd, inside_root: pathlib.Path
) -> None:
    with closing(open_session(inside_root, environment={"DOCKER_HOST": inside_docker.address})) as session:
        statements = session.parse(task["imq"])
        assert parse("; ".join(map(unparse, statements)), session.vocabulary) == statements
        check_rows(task, read_all_rows(session, task["imq"]))


@pytest.mark.parametrize("task", CHECKED, ids=ids(CHECKED))
def test_task_of_another_engine_is_bound(task: dict[str, Any], offline: Session) -> None:
    statements = offline.parse(task["imq"])
    assert parse("; ".join(map(unparse, statements)), offline.vocabulary) == statements
    for statement in statements:
        offline.check(statement)


def get_statements(number: int) -> str:
    """Return the statements of a task."""
    (text,) = (task["imq"] for task in TASKS if task["id"] == number)
    return str(text)


def test_every_running_container_is_backed_up(dockerd: Dockerd, folder: pathlib.Path) -> None:
    clear(dockerd)
    load_waiting(dockerd, folder)
    for name in ("one", "two"):
        dockerd.run("run", "-d", "--name", name, *wait_arguments(dockerd), "localhost/wait:1", "/wait")
    dockerd.run("create", "--name", "made", *wait_arguments(dockerd), "localhost/wait:1", "/wait")
    try:
        with connect(folder, "docker", dockerd) as connection:
            for statement in get_statements(267).split("; "):
                assert not connection(statement).errors
        assert dockerd.run("images", "-q", "backup/*") == ""
        assert {path.name for path in folder.glob("*.tar")} >= {"backup-one.tar", "backup-two.tar"}
        assert not (folder / "backup-made.tar").exists()
        with tarfile.open(folder / "backup-one.tar") as archive:
            listing = archive.extractfile("manifest.json")
            assert listing is not None
            assert b"backup/one:2024-08-01" in listing.read()
    finally:
        clear(dockerd)


def list_state(docker: Dockerd) -> tuple[list[str], list[str]]:
    """Return the containers with their states and the images with their digests, without times and in one order."""
    containers = docker.run("ps", "-a", "--no-trunc", "--format", "{{.ID}} {{.Names}} {{.Image}} {{.State}}")
    images = docker.run("images", "--no-trunc", "--digests", "--format", "{{.Repository}}:{{.Tag}} {{.Digest}} {{.ID}}")
    return sorted(containers.splitlines()), sorted(images.splitlines())


@pytest.mark.parametrize("engine", ["dockerd", "debian_dockerd"])
def test_running_containers_whose_tag_moved_in_the_registry(
    engine: str, request: pytest.FixtureRequest, folder: pathlib.Path
) -> None:
    """Another machine pushes an image under the name of one that runs here; this engine never sees it."""
    require_programs("docker-registry")
    docker: Dockerd = request.getfixturevalue(engine)
    clear(docker)
    load_waiting(docker, folder)
    docker_archive(folder / "next.tar", [(Image([layer({"next": b"next"})]), ["localhost/next:1"])])
    docker.run("load", "-i", str(folder / "next.tar"))
    own = wait_arguments(docker)
    with Registry(folder / "registry") as registry, connect(folder, "docker", docker) as connection:
        moved, kept = f"{registry.host}/team/moved:1", f"{registry.host}/team/kept:1"
        for source, name in (("wait", moved), ("wait", kept), ("next", f"{registry.host}/team/next:1")):
            docker.run("tag", f"localhost/{source}:1", name)
            docker.run("push", name)
        try:
            for number, name in enumerate((moved, kept)):
                docker.run("run", "-d", "--name", f"runs-{number}", *own, name, "/wait")
            docker.run("create", "--name", "made", *own, moved, "/wait")
            assert list(connection(get_statements(203))) == []
            assert not connection(f"copy {registry.host}/team/next:1 to {moved}").errors
            before = list_state(docker)
            with connect(folder, "docker", docker) as later:
                result = later(get_statements(203))
                assert [(row.name, row.image) for row in result] == [("runs-0", moved)]
                assert not result.errors
            assert list_state(docker) == before
            docker.run("pull", moved)  # the container goes on with the image that has lost its name
            with connect(folder, "docker", docker) as later:
                assert [row.name for row in later(get_statements(203))] == ["runs-0"]
            docker.run("rm", "-f", "runs-0")
            with connect(folder, "docker", docker) as later:
                assert list(later(get_statements(203))) == []
        finally:
            clear(docker)


def test_changes_of_running_containers_outside_a_list_fail_the_check(dockerd: Dockerd, folder: pathlib.Path) -> None:
    clear(dockerd)
    load_waiting(dockerd, folder)
    dockerd.run("run", "-d", "--name", "runs", *wait_arguments(dockerd), "localhost/wait:1", "/wait")
    try:
        dockerd.run("cp", str(folder / "names.txt"), "runs:/added")
        with closing(open_session(folder / "store", environment={"DOCKER_HOST": dockerd.address})) as session:
            (result,) = session.run(get_statements(271))
            assert isinstance(result, RowSet)
            found = [dict(zip([column.name for column in result.columns], row, strict=True)) for row in result.rows]
            assert [(row["container"], row["status"], row["path"]) for row in found] == [("runs", "added", "/added")]
            assert result.exit_code == 1
            (folder / "allowed.txt").write_text("/added\n")
            check_rows({"expected": []}, read_all_rows(session, get_statements(271)))
    finally:
        clear(dockerd)


def test_working_containers_of_a_build_and_their_image_are_removed(
    podman_service: PodmanService, folder: pathlib.Path
) -> None:
    require_programs("buildah")
    clear(podman_service)
    docker_archive(folder / "held.tar", [(Image([layer({"held": b"held"})]), ["localhost/app:1"])])
    podman_service.run("load", "-i", str(folder / "held.tar"))
    storage = ["--root", f"{podman_service.folder}/root", "--runroot", f"{podman_service.folder}/run"]
    words = ["buildah", *storage, "from", "--pull-never", "--name", "holds", "localhost/app:1"]
    subprocess.run(words, capture_output=True, check=True, env={**os.environ, "BUILDAH_ISOLATION": "chroot"})
    with connect(folder, "podman", podman_service) as connection:
        named, removed, image = get_statements(229).replace("app:1", "localhost/app:1").split("; ")
        assert [row.name for row in connection(named)] == ["holds"]
        assert [row.action for row in connection(removed)] == ["remove"]
        assert [row.target for row in connection(image)] == ["localhost/app:1"]
    assert podman_service.run("images", "-q") == ""
    clear(podman_service)
