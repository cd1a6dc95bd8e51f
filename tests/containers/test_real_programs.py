"""Redis and nginx of Debian in containers of the store: run, changed, committed, pushed, and run again by docker."""

from __future__ import annotations

import contextlib
import hashlib
import os
import pathlib
import shutil
import socket
import subprocess
import time
import urllib.request
from typing import TYPE_CHECKING

import pytest
from support.engines import Dockerd, PodmanService
from support.servers import Registry, find_free_port, require_programs

from .test_lifecycle import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .conftest import Machine

_LIMIT = 20.0


def copy_program(program: str, tree: pathlib.Path) -> None:
    """Copy an installed program into a tree, with the libraries that it loads."""
    lines = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout.splitlines()
    libraries = [word for line in lines for word in line.split() if word.startswith("/")]
    for path in (program, *libraries):
        target = tree / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)


def ask_redis(port: int, *words: str) -> str:
    """Send a command to a redis on the loopback interface, and return its answer."""
    deadline = time.monotonic() + _LIMIT
    while True:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
                connection.sendall((" ".join(words) + "\r\n").encode())
                answer = connection.recv(4096).decode()
            if not answer.startswith("-LOADING"):
                return answer
        except OSError:
            if time.monotonic() > deadline:
                raise
        time.sleep(0.05)


@pytest.fixture
def registry(tmp_path: pathlib.Path) -> Iterator[Registry]:
    require_programs("docker-registry")
    with Registry(tmp_path / "registry") as started:
        yield started


@pytest.fixture
def dockerd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dockerd]:
    require_programs("dockerd", "docker")
    with Dockerd(tmp_path_factory.mktemp("dockerd")) as engine:  # a short path, as its sockets require
        yield engine


@pytest.fixture
def podman(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PodmanService]:
    require_programs("podman")
    with PodmanService(tmp_path_factory.mktemp("podman")) as engine:
        yield engine


def test_redis_is_run_committed_pushed_and_run_by_docker(
    machine: Machine, registry: Registry, dockerd: Dockerd, tmp_path: pathlib.Path
) -> None:
    require_programs("redis-server")
    tree, port = tmp_path / "redis", find_free_port()
    copy_program(shutil.which("redis-server") or "", tree)
    (tree / "data").mkdir()
    server = shutil.which("redis-server")
    machine.do(f'import "{tree}" as redis:test change "ENTRYPOINT [\\"{server}\\"]", "WORKDIR /data"')
    options = f'"--port", "{port}", "--bind", "127.0.0.1"'
    machine.do(f"run redis:test run {options} with name = cache, network_mode = host, detach = true")
    assert ask_redis(port, "SET", "greeting", "hello") == "+OK\r\n"
    assert ask_redis(port, "SAVE") == "+OK\r\n"
    (outcome,) = machine.do("stop cache")
    assert outcome["note"] == "exit code 0", "redis ends at SIGTERM"
    name = f"127.0.0.1:{registry.port}/team/redis:saved"
    machine.do(f'commit cache as {name} change "LABEL saved=yes"')
    machine.do(f"push {name}")
    dockerd.run("pull", name)
    dockerd.run("run", "-d", "--name", "again", "--network=host", name)
    try:
        assert ask_redis(port, "GET", "greeting") == "$5\r\nhello\r\n"
    finally:
        dockerd.run("rm", "-f", "again")
    dockerd.run("run", "--name", "changed", "--network=none", "--entrypoint", server or "", name, "--version")
    dockerd.run("commit", "-c", "LABEL by=docker", "changed", f"{name}2")
    dockerd.run("push", f"{name}2")
    machine.do(f"pull {name}2")
    machine.do(f"run {name}2 run {options} with name = back, network_mode = host, detach = true")
    assert ask_redis(port, "GET", "greeting") == "$5\r\nhello\r\n"
    machine.do("rm container back force")


def test_incompressible_changes_are_a_plain_layer_that_engines_run(
    machine: Machine, registry: Registry, dockerd: Dockerd, podman: PodmanService
) -> None:
    name = f"127.0.0.1:{registry.port}/team/media:1"
    machine.line("run", "--name", "media", "box:1", "sh", "-c", "head -c 3000000 /dev/urandom > /noise")
    machine.line("commit", "media", name)
    _, layer = machine.rows(f"layers of {name} select media_type")
    assert layer["media_type"] == "application/vnd.oci.image.layer.v1.tar"
    machine.do(f"push {name}")
    digest = hashlib.sha256((machine.folder("media") / "upper" / "noise").read_bytes()).hexdigest()
    podman.run("pull", "--tls-verify=false", name)
    for engine, options in ((dockerd, ()), (podman, ("--ulimit=nofile=1024:1024", "--ulimit=nproc=1024:1024"))):
        printed = engine.run("run", "--rm", "--network=none", *options, name, "busybox", "sha256sum", "/noise")
        assert printed == f"{digest}  /noise"


def test_nginx_answers_and_reloads(machine: Machine, tmp_path: pathlib.Path) -> None:
    require_programs("nginx")
    tree, port = tmp_path / "nginx", find_free_port()
    program = shutil.which("nginx") or "/usr/sbin/nginx"
    copy_program(program, tree)
    for folder in ("etc/nginx", "var/log/nginx", "var/lib/nginx", "run", "srv", "tmp"):
        (tree / folder).mkdir(parents=True, exist_ok=True)
    (tree / "srv" / "index.html").write_text("from the container\n")
    (tree / "etc" / "passwd").write_text("root:x:0:0::/:/bin/sh\nwww-data:x:33:33::/:/bin/sh\n")
    (tree / "etc" / "group").write_text("root:x:0:\nwww-data:x:33:\n")
    (tree / "etc" / "nginx" / "nginx.conf").write_text(
        "daemon off; user www-data; pid /run/nginx.pid; error_log stderr; events {}\n"
        f"http {{ access_log /dev/stdout; server {{ listen 127.0.0.1:{port}; root /srv; }} }}\n"
    )
    machine.do(f'import "{tree}" as nginx:test change "CMD [\\"{program}\\"]", "STOPSIGNAL SIGQUIT"')
    machine.do("run nginx:test with name = web, network_mode = host, detach = true")
    deadline = time.monotonic() + _LIMIT
    content = b""
    while not content and time.monotonic() < deadline:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as answer:
            content = answer.read()
    assert content == b"from the container\n"
    wait_for(lambda: machine.rows("logs of web where stream = stdout"))
    (row,) = machine.rows("logs of web where stream = stdout")
    assert '"GET / HTTP' in row["text"]
    machine.do("kill web with signal = HUP")
    (outcome,) = machine.do("stop web")
    assert outcome["note"] == "exit code 0", "nginx ends at its stop signal"
    assert os.path.exists(machine.folder("web") / "upper" / "var")
