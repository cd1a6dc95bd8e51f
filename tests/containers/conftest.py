"""Stores with containers that really run: runc, crun and a static busybox, as root."""

from __future__ import annotations

import io
import json
import os
import pathlib
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from imq.cli.main import Cli
from imq.engine.containers import runtime
from imq.engine.containers.containers import Containers
from store.support.stores import StoreSession
from support.engines import Dockerd, mounts_under
from support.servers import require_programs

if TYPE_CHECKING:
    from collections.abc import Iterator

BUSYBOX = "/bin/busybox"
APPLETS = (
    "cat", "chmod", "chown", "date", "echo", "env", "false", "head", "hostname", "id", "kill", "ln", "ls", "mkdir",
    "mv", "printf", "ps", "pwd", "rm", "seq", "sh", "sleep", "stat", "sync", "touch", "true", "wc", "yes",
)  # fmt: skip
PASSWD = "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1001::/home/app:/bin/sh\n"
GROUP = "root:x:0:\napp:x:1001:\nextra:x:2000:app,other\n"
CHANGES = '"CMD [\\"sh\\"]", "ENV A=image B=image", "VOLUME /data", "LABEL tier=test", "EXPOSE 80"'


class Machine(StoreSession):
    """A store with the image `box:1`, in which containers can run."""

    def __init__(self, root: pathlib.Path, **world: Any) -> None:
        super().__init__(root, environment=dict(os.environ), **world)

    @property
    def containers(self) -> Containers:
        """The containers, without the language."""
        return Containers(self.session.store, "auto", os.environ)

    def container(self, name: str) -> dict[str, Any]:
        """Return all fields of a container."""
        (row,) = self.rows(f"containers where name = {name} select * as json")
        lists = ("command", "env", "label", "ports", "mounts", "networks")
        return row | {field: json.loads(row[field]) for field in lists}

    def do_all(self, *texts: str) -> None:
        """Run actions that must succeed."""
        for text in texts:
            self.do(text)

    def folder(self, name: str) -> pathlib.Path:
        """Return the folder of a container."""
        return pathlib.Path(self.root, "containers", self.container(name)["id"])

    def state(self, name: str) -> dict[str, Any]:
        """Return the state that the monitor of a container wrote."""
        document: dict[str, Any] = json.loads((self.folder(name) / "state.json").read_text())
        return document

    def monitor_of(self, name: str) -> int:
        """Return the process ID of the monitor of a running container."""
        with open(f"/proc/{self.state(name)['pid']}/status") as file:
            return int(next(line for line in file if line.startswith("PPid")).split()[1])

    @property
    def prefix(self) -> list[str]:
        """The first words of command lines of imq on this store."""
        return [sys.executable, "-m", "imq", "--root", self.root]

    def command(self, *words: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run the command line of imq on this store."""
        return subprocess.run(
            [*self.prefix, *words], capture_output=True, text=True, check=False, timeout=60, **options
        )

    def line(self, *words: str) -> tuple[int, str, str]:
        """Run a command line in this process; return its exit code and what imq itself writes."""
        output, errors = io.StringIO(), io.StringIO()
        environment = {**os.environ, "C": "of-process"}
        code = Cli(io.StringIO(), output, errors, environment).main(["--root", self.root, *words])
        return code, output.getvalue(), errors.getvalue()

    def clear(self) -> None:
        """Remove all containers."""
        for row in self.rows("containers select id"):
            self.containers.remove(self.containers.read(row["id"]), force=True)


def write_root(folder: pathlib.Path) -> pathlib.Path:
    """Write a small root file system with busybox."""
    for name in ("bin", "data", "etc", "root", "tmp"):
        (folder / name).mkdir(parents=True)
    (folder / "tmp").chmod(0o1777)
    shutil.copy(BUSYBOX, folder / "bin" / "busybox")
    for applet in APPLETS:
        (folder / "bin" / applet).symlink_to("busybox")
    (folder / "etc" / "passwd").write_text(PASSWD)
    (folder / "etc" / "group").write_text(GROUP)
    (folder / "data" / "seed").write_text("seed\n")
    (folder / "data" / "seed").chmod(0o640)
    os.chown(folder / "data", 1000, 1001)
    return folder


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """An archive with the image `box:1`."""
    require_programs("runc", "busybox")
    if os.geteuid() != 0 and not os.environ.get("IMQ_REQUIRE_SERVERS"):
        pytest.skip("containers of the store need root")
    folder = tmp_path_factory.mktemp("box")
    tree = write_root(folder / "root")
    with StoreSession(folder / "store") as store:
        store.do(f'import "{tree}" as box:1 change {CHANGES}')
        store.do(f'save box:1 to "{folder}/box.tar"')
    return folder / "box.tar"


@pytest.fixture(scope="module")
def shared_machine(archive: pathlib.Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A store with the image, in which the tests of a file leave no container."""
    folder = tmp_path_factory.mktemp("shared")
    with Machine(folder / "store") as machine:
        machine.do(f'load "{archive}"')
        yield machine
        assert machine.rows("containers") == []
    assert mounts_under(str(folder)) == []


@pytest.fixture
def machine(archive: pathlib.Path, tmp_path: pathlib.Path) -> Iterator[Machine]:
    """A store with the image, whose containers are removed. Nothing of them stays on the machine."""
    machine = Machine(tmp_path / "store")
    machine.do(f'load "{archive}"')
    try:
        yield machine
        ids = [row["id"] for row in machine.rows("containers select id")]
    finally:
        machine.clear()
        machine.close()
    assert mounts_under(str(tmp_path)) == []
    assert [id_ for id_ in ids if os.path.exists(f"/sys/fs/cgroup/memory/imq/{id_}")] == []
    runtime = tmp_path / "store" / "containers" / "runtime"
    assert not runtime.exists() or list(runtime.iterdir()) == []


@pytest.fixture(params=["crun", "runc"])
def each_runtime(request: pytest.FixtureRequest, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run a test with each of the runtimes, in this process and in others; return its name."""
    name: str = request.param
    require_programs(name)
    monkeypatch.setattr(runtime, "_NAMES", (name,))
    (tmp_path / "config.toml").write_text(f'[settings]\nruntime = "{name}"\n')
    monkeypatch.setenv("IMQ_CONFIG", str(tmp_path / "config.toml"))
    return name


@pytest.fixture(scope="session")
def dockerd(tmp_path_factory: pytest.TempPathFactory, archive: pathlib.Path) -> Iterator[Dockerd]:
    """A dockerd with the image `box:1`."""
    require_programs("dockerd", "docker")
    with Dockerd(tmp_path_factory.mktemp("dockerd")) as engine:
        engine.run("load", "-i", str(archive))
        yield engine
